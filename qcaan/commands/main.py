"""The entry point: `qcaan COMMAND ...`, `python -m qcaan COMMAND ...`, and the scripts.

A command is a function `main` in a module, which is imported when the command is called, so that
`qcaan --help` answers at once.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from importlib import import_module
from importlib.metadata import version
from typing import NoReturn

COMMANDS = {
    "train": ("train.associative", "train a QC-AAN on images"),
    "train-image": ("train.image", "train an image QGAN"),
    "train-wasserstein": ("train.wasserstein", "train a hybrid WGAN-GP QGAN on real numbers"),
    "train-qgan": ("train.distribution", "train a QGAN that loads a distribution into a circuit"),
    "generate": ("generate", "draw images from a run"),
    "export": ("export", "make a ready-made model of a run"),
    "page": ("page", "write a page to play with a trained circuit"),
    "evaluate": ("evaluate", "score the images of a run"),
    "compare priors": ("compare.priors", "train and score every prior with the same networks"),
    "compare fits": ("compare.fits", "fit the bits of a run with every optimiser and model"),
    "compare shots": (
        "compare.shots",
        "fit bits by every optimiser, at equal shots",
    ),
    "compare qgan": ("compare.qgan", "measure the QGAN on its standard cases"),
    "sweep": ("sweep", "search for options that score well"),
    "samplers": ("samplers", "list the samplers and the reasons why some are unavailable"),
    "benchmark": ("benchmark.speed", "time the parts that must be fast, as ratios"),
    "benchmark bits": ("benchmark.bits", "score models of bits on standard targets"),
    "benchmark growth": ("benchmark.growth", "measure how time and memory grow"),
    "classify": ("classify", "classify digits with and without a circuit"),
}

_USAGE = "usage: qcaan [-h] [--version] COMMAND ..."


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command that the command line names.

    Wrong input ends as one sentence on stderr and exit status 2.
    """
    # libgomp reads this when torch is loaded. Threads that wait by spinning make an epoch many
    # times longer if other processes use the cores too; libgomp takes this number itself if it
    # finds fewer cores than threads.
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if isinstance(sys.stdout, io.TextIOWrapper):  # names of files may hold anything
            sys.stdout.reconfigure(errors="backslashreplace")
        _dispatch(words)
        sys.stdout.flush()
    except KeyboardInterrupt:  # outside a training, which explains how to continue
        _fail("stopped", 130)
    except BrokenPipeError:  # the reader of our output has ended, as in `qcaan ... | head`
        raise SystemExit(1) from None
    except OSError as error:  # its disk is full
        _fail(f"standard output: {error.strerror}")
    finally:
        _drop_unwritten_output()


def _drop_unwritten_output() -> None:
    """Drop output that cannot be written, or Python would complain of it once more at its end."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _dispatch(words: list[str]) -> None:
    if words[:1] in ([], ["-h"], ["--help"]):
        print(_help())
        return
    if words == ["--version"]:
        print(f"qcaan {version('qcaan')}")
        return
    named = (name for name in COMMANDS if words[: name.count(" ") + 1] == name.split())
    name = max(named, key=len, default=None)  # `benchmark bits` before `benchmark`
    if name is None and words[1:] in ([], ["-h"], ["--help"]) and _family(words[0]):
        print(_help(words[0]))
        return
    if name is None:
        _fail(_unknown(words))
    module = f"qcaan.commands.{COMMANDS[name][0]}"
    _run(module, words[name.count(" ") + 1 :], f"qcaan {name}")


def _run(module: str, arguments: list[str], prog: str) -> None:
    # here, so that nothing heavy is imported before a command is known
    from rich.logging import RichHandler

    from qcaan.commands.arguments import call
    from qcaan.files import reason
    from qcaan.runs.session import console
    from qcaan.samplers.credentials import ScrubbingFormatter, scrub, scrubbed_warnings
    from qcaan.samplers.requests import JobError, log_retries
    from qcaan.training import is_out_of_memory

    handler = RichHandler(console=console, show_path=False, show_time=False, show_level=False)
    handler.setFormatter(ScrubbingFormatter("%(message)s"))  # vendors' clients log too
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logging.getLogger("qcaan").setLevel(logging.INFO)
    log_retries(logging.getLogger("qcaan").warning)
    try:
        with _terminated_as_interrupted(), scrubbed_warnings():
            call(import_module(module).main, arguments, prog)
    except BrokenPipeError:
        raise  # for `main`
    except (ValueError, OSError, JobError) as error:
        _fail(scrub(reason(error)))
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            _break(scrub(traceback.format_exc()))
        _fail("out of memory; choose smaller batches, networks or numbers of qubits")
    except Exception:
        _break(scrub(traceback.format_exc()))


@contextlib.contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """Treat SIGTERM, which Slurm and Kubernetes send before they kill, as Ctrl-C."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():  # only that one may set handlers
        yield
        return
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _family(word: str) -> dict[str, str]:
    """Return the commands that begin with a word, and their summaries."""
    found = {name: summary for name, (_, summary) in COMMANDS.items() if name.split()[0] == word}
    return {} if word in found else found


def _help(family: str = "") -> str:
    """Return the help page of all commands, or of those that begin with a word."""
    summaries = _family(family) or {name: summary for name, (_, summary) in COMMANDS.items()}
    return "\n".join(
        [
            f"usage: qcaan {family} [-h] NAME ..." if family else _USAGE,
            "",
            "Image GANs whose prior is a quantum circuit, and their sibling quantum GANs.",
            "",
            "commands:",
            *(f"  {name:<18} {summary}" for name, summary in summaries.items()),
            "",
            "`qcaan COMMAND --help` lists the options of a command.",
        ]
    )


def _unknown(words: list[str]) -> str:
    """Return the sentence for a command line that names no command."""
    if family := _family(words[0]):
        allowed = ", ".join(name.split()[1] for name in family)
        return f"unknown `{words[0]}` {words[1]!r}; choose from {allowed}"
    return f"unknown command {words[0]!r}; choose from {', '.join(COMMANDS)}"


def _break(report: str) -> NoReturn:
    """End after an error of the program itself, which a bug report should hold."""
    print(report, file=sys.stderr, end="")
    raise SystemExit(1) from None


def _fail(sentence: str, status: int = 2) -> NoReturn:
    # a file name may hold line breaks, control characters, or bytes that are no text
    words = " ".join(sentence.split())
    shown = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in words)
    with contextlib.suppress(OSError):
        print(f"error: {shown}", file=sys.stderr)
    raise SystemExit(status) from None
