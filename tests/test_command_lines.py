"""Command lines made at random from the options of all commands: none ends in a traceback."""

from __future__ import annotations

import contextlib
import inspect
import io
import os
import random
import signal
import threading
import typing
from importlib import import_module
from pathlib import Path

import pytest

from qcaan.commands.arguments import option_groups
from qcaan.commands.main import COMMANDS, main

N_LINES, SEED = 120, 0
HANGS = 300  # seconds after which a line is taken to wait forever
# what makes a command small; options that follow replace them
_IMAGES = ("--data", "digits8x8", "--steps-per-epoch", "1", "--width", "2", "--n-qubits", "2")
SMALL = {
    "train": (*_IMAGES, "--fit-evals", "30", "--bank-shots", "20", "--n-layers", "1"),
    "train-image": (*_IMAGES, "--n-layers", "1", "--batch-size", "2"),
    "train-wasserstein": ("--n-layers", "1", "--steps-per-epoch", "1", "--batch-size", "2"),
    "train-qgan": ("--data", "binomial", "--n-samples", "100", "--batch-size", "50"),
    "classify": ("--digits", "3", "--n-qubits", "1", "--n-layers", "1", "--batch-size", "100"),
}
NUMBERS = (
    *("0", "1", "2", "3", "-1", "1.5", "1e3", "0x10", "1_0", "+3", "٣", "²"),
    *("nan", "inf", "-inf", "1e400", "-0.0", "1e-320"),
    *(str(10**9), str(10**12), str(2**63), str(-(2**63) - 1), "9" * 30, "9" * 5000),
)
SAMPLERS = (
    *("exact", "aer", "aer:single", "aer-gpu", "statevector", "aer-noise:ionq-aria", "aer-noise:x"),
    *("ibm:", "ibm:fake_manila", "ibm:fake_nothing", "aqt:ideal", "aqt:x:y", "ionq:simulator"),
    *("ionq:nothing", "warp", "warp:9", "Aer", "exact:x"),
)
TEXTS = (
    *("", " ", "x", "None", "True", "auto", "-", "--", "@x", "~", "~nobody/x", "%s", "{}", "a/b"),
    *("$", "$x^{", "[bold]", "[/red]", "\\", "a\nb", "a\tb", "\x1b[31m", "é", "日本", "\udcff"),
    *("qcbm", "mnist-5k", "lognormal", "gaussian-3d", "cpu", "cuda:99", "x" * 300, "x" * 5000),
)


def option_types(command):
    """Return the types of a command's options by their names in Python."""
    types = {}
    for name, parameter in inspect.signature(command, eval_str=True).parameters.items():
        if name != "config":
            types[name] = parameter.annotation
            continue
        for group in option_groups(parameter.annotation).values():
            types |= typing.get_type_hints(group)
    return types


def make_value(chance, option, kind, paths):
    """Return a value for an option of a type, good or not."""
    text = str(kind)
    if option in ("sampler", "train_sampler", "names") and chance.random() < 0.9:
        return chance.choice(SAMPLERS)
    if option == "data" and chance.random() < 0.4:
        return str(chance.choice(paths))
    if "Literal" in text and chance.random() < 0.5:
        return chance.choice(text.partition("Literal[")[2].partition("]")[0].split(", ")).strip("'")
    if "Path" in text and chance.random() < 0.8:
        return str(chance.choice(paths))
    if ("int" in text or "float" in text) and chance.random() < 0.9:
        return chance.choice(NUMBERS if chance.random() < 0.6 else ("0", "1", "2", "3", "0.5"))
    return chance.choice((*NUMBERS, *TEXTS, *map(str, paths)))


def make_line(chance, paths):
    """Return the words of a command line."""
    name = chance.choice(list(COMMANDS))
    command = import_module(f"qcaan.commands.{COMMANDS[name][0]}").main
    types = option_types(command)
    words = [*name.split(), *SMALL.get(name, ())]
    if chance.random() < 0.3:
        words += ["--sampler", chance.choice(SAMPLERS)] if "sampler" in types else []
    for option in chance.choices(list(types), k=chance.choice((1, 1, 1, 2, 3))):
        kind = types[option]
        if option in ("path", "run"):
            continue
        n_values = 1 if chance.random() < 0.9 else chance.choice((0, 2, 3))
        if kind is bool:
            n_values = 0 if chance.random() < 0.7 else 1
        words.append("--" + option.replace("_", "-"))
        words += [make_value(chance, option, kind, paths) for _ in range(n_values)]
    if chance.random() < 0.1:
        extra = ("--nothing", "-x", "--help", "-h", "extra", "--", "--=", "---")
        words.append(chance.choice(extra))
    *odd, run = paths
    if "path" in types and chance.random() < 0.9:
        words.append(str(run if chance.random() < 0.7 else chance.choice(odd)))
    if "run" in types:
        words.append(str(chance.choice(odd)))
    # commands without --dry-run get a wrong value at the end
    wrong = {
        "seeds": ("--seeds", "-1"),
        "qgan_steps": ("--qgan-steps", "-1"),
        "axes": ("--axes", "nothing"),
    }
    ends = [words for option, words in wrong.items() if option in types]
    return [*words, *(["--dry-run"] if "dry_run" in types else ends[0] if ends else [])]


@pytest.fixture
def paths(tmp_path, associative_run):
    """Return paths of odd things: files, folders, a pipe, a device, a run, and nothing."""
    odd = tmp_path / "odd"
    odd.mkdir()
    (odd / "empty").touch()
    (odd / "empty.csv").touch()
    (odd / "table.csv").write_text("a,b\n1,2\n3\n")
    (odd / "text.npz").write_text("no archive")
    (odd / "folder.npy").mkdir()
    (odd / "[bold] $x^{ é").mkdir()
    os.mkfifo(odd / "pipe.npy")
    (odd / "loop").symlink_to(odd / "loop")
    return [*sorted(odd.iterdir()), odd / "no" / "thing", Path("/dev/null"), associative_run]


@contextlib.contextmanager
def limited(seconds):
    """End what takes longer than a number of seconds."""

    def end(*_):
        raise AssertionError(f"did not end within {seconds} s")

    assert threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def call(words):
    """Return the status, the output and the errors of a command line."""
    output, errors, status = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors), limited(HANGS):
        try:
            main(words)
        except SystemExit as ended:
            status = ended.code or 0
    return status, output.getvalue(), errors.getvalue()


def everything(folder):
    """Return all paths in a folder."""
    return sorted(path for path in folder.rglob("*") if not path.is_relative_to(folder / "cwd"))


def test_no_command_line_ends_in_a_traceback_or_leaves_anything(
    tmp_path, paths, ionq, monkeypatch, cache_home
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache_home))
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    before = everything(tmp_path)
    chance = random.Random(SEED)
    for _ in range(N_LINES):
        words = make_line(chance, paths)
        try:
            status, output, errors = call(words)
        except BaseException as error:
            raise AssertionError(f"{words} ended in {error!r}") from error
        line = f"{words} ended with status {status}: {errors}"
        assert status in (0, 2), line
        if status == 2:
            (sentence,) = errors.splitlines()
            assert sentence.startswith("error: "), line
            assert sentence.isprintable(), line
        assert "open-sesame" not in output + errors, line
        assert not list(Path().iterdir()) and everything(tmp_path) == before, line
    assert not ionq.jobs
