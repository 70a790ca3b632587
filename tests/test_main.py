"""The command `qcaan`: its commands, its help, and its errors in one sentence."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

import pytest

from qcaan.commands.main import COMMANDS, main


def test_help_lists_the_commands_and_imports_nothing_heavy():
    program = (
        "import sys; from qcaan.commands.main import main; main(['--help']);"
        "print([m for m in ('torch', 'qiskit', 'numpy', 'tyro', 'rich') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[-1] == "[]"
    assert all(len(line) <= 80 for line in lines)
    for name in COMMANDS:
        assert any(line.startswith(f"  {name} ") for line in lines)


def test_the_module_is_the_command_and_tells_its_version():
    result = subprocess.run(
        [sys.executable, "-m", "qcaan", "--version"], capture_output=True, text=True
    )
    assert (result.returncode, result.stdout) == (0, f"qcaan {version('qcaan')}\n")


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_every_command_fits_80_columns(name, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as ended:
        main([*name.split(), "--help"])
    assert ended.value.code == 0
    printed = capsys.readouterr().out
    assert f"usage: qcaan {name} " in printed
    assert max(map(len, printed.splitlines())) <= 80
    assert "..." not in printed.replace("[INT ...]", "").replace(" ...]", "")


def test_a_word_that_only_groups_commands_has_help_too(capsys):
    for words in (["compare"], ["compare", "--help"]):
        main(words)
        printed = capsys.readouterr().out
        assert printed.startswith("usage: qcaan compare [-h] NAME ...")
        assert all(f"  compare {name} " in printed for name in ("priors", "fits", "shots", "qgan"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["warp"], "unknown command 'warp'; choose from train, train-image"),
        (["compare", "warp"], "unknown `compare` 'warp'; choose from priors, fits, shots, qgan"),
        (["train", "--latent", "deep"], "unknown `latent` 'deep'; choose from bottleneck, skip"),
        (["train", "--epochs", "0"], "`epochs` must be at least 1, got 0"),
        (["train", "--seed", "-1"], "`seed` must be at least 0 and below 2**63, got -1"),
        (["train", "--lr", "nan"], "`lr` must be finite, got nan"),
        (["train", "--job-timeout", "0"], "`job_timeout` must be above 0, got 0.0"),
        (["evaluate"], "path"),
    ],
)
def test_wrong_command_lines_are_one_sentence_and_status_2(words, message, capsys):
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    printed = capsys.readouterr()
    assert printed.err.startswith("error: ") and message.lower() in printed.err.lower()
    assert len(printed.err.splitlines()) == 1


def test_every_command_has_a_script_of_the_same_name_or_more(request):
    scripts = {
        path.stem: path.read_text()
        for path in (request.path.parent.parent / "scripts").glob("*.py")
    }
    called = {
        name
        for name in COMMANDS
        for text in scripts.values()
        if "main([" + ", ".join(f'"{word}"' for word in name.split()) + ", " in text
    }
    assert called == set(COMMANDS)
    for place, _ in COMMANDS.values():
        assert callable(import_module(f"qcaan.commands.{place}").main)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_while_a_command_is_being_imported_is_one_sentence(number):
    """Programs are often stopped in the seconds in which torch is loaded."""
    program = (
        "import os, signal, sys; from qcaan.commands import main as m; import importlib;"
        "signal.signal(signal.SIGINT, signal.default_int_handler);"
        f"m.import_module = lambda name: os.kill(os.getpid(), {int(number)});"
        "m.main(['train'])"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (130, "error: stopped\n")


def test_names_that_a_console_cannot_show_are_escaped(tmp_path, capsys):
    """Names of files may hold other alphabets, control characters, and bytes that are no text."""
    folder = tmp_path / os.fsdecode("手\x1b[31m[red]".encode() + b"\xff")
    folder.mkdir()
    for words in (["generate", str(folder)], ["compare", "qgan", "--cases", str(folder)]):
        with pytest.raises(SystemExit):
            main(words)
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("error: ") and line.isprintable()
        assert r"\x1b[31m[red]\udcff" in line


def test_other_alphabets_are_printed_on_a_console_that_lacks_them(tmp_path):
    program = (
        "import sys; from qcaan.runs.session import console; from qcaan.commands import main as m;"
        "m._dispatch = lambda words: console.print('data: 手 [red] ± \\udcff'); m.main([])"
    )
    for encoding, printed in (("ascii", rb"\u624b [red] \xb1 \udcff"), ("utf-8", b"[red]")):
        environment = {**os.environ, "PYTHONIOENCODING": encoding}
        result = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, env=environment
        )
        assert (result.returncode, result.stderr) == (0, b"")
        assert printed in result.stdout


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("words", [["--help"], ["samplers", "--names", "exact"]])
def test_output_onto_a_full_disk_is_one_sentence(words):
    with Path("/dev/full").open("w") as full:
        result = subprocess.run(
            [sys.executable, "-m", "qcaan", *words], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1 and "No space left on device" in result.stderr


def test_control_characters_of_a_command_line_are_shown_escaped_on_one_line(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["train\x1b[31m\nx\udcff"])
    assert ended.value.code == 2
    sentence = capsys.readouterr().err
    assert sentence.startswith("error: unknown command 'train") and sentence.count("\n") == 1
    assert sentence[:-1].isprintable()
