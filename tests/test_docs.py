"""The documentation: its Python runs, its commands and options exist, and its notebooks run."""

from __future__ import annotations

import inspect
import re
import runpy
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest
import torch
from conftest import train_briefly

from qcaan.commands.main import COMMANDS, main

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.py"))
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, cache_home: Path) -> Iterator[Path]:
    """A folder with a tiny run in runs/379, which the pages load."""
    train_briefly("mnist-5k", cache_home, steps=30)
    path = tmp_path_factory.mktemp("docs")
    sizes = "--epochs 1 --steps-per-epoch 2 --width 4 --n-qubits 2 --n-layers 2 --fit-evals 30"
    options = f"--data mnist-5k {sizes} --bank-shots 100 --eval-images 0 --out {path}/runs/379"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(cache_home))
        main(["train", *options.split()])
        yield path


@each_page
def test_python_of_a_page_runs_from_top_to_bottom(
    page: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
):
    text = page.read_text()
    blocks = list(re.finditer(r"^```python\n(.*?)^```", text, re.M | re.S))
    if not blocks:
        pytest.skip("no Python on this page")
    monkeypatch.chdir(folder)
    torch.manual_seed(0)
    source = ""
    for block in blocks:
        # empty lines before a block give tracebacks the line numbers of the page
        n_lines = text[: block.start(1)].count("\n") - source.count("\n")
        source += "\n" * n_lines + block[1]
    script = folder / f"{page.stem}.py"
    script.write_text(source)
    runpy.run_path(str(script), run_name="page")


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_at_toy_size(
    notebook: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("QCAAN_TOY", "1")
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(notebook))


@each_page
def test_commands_of_a_page_exist_and_have_their_options(page: Path):
    for words in shown_commands(page.read_text()):
        match words:
            case ["make", target, *_]:
                assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.M), words
                continue
            case ["python", script, *_]:
                command = command_of(ROOT / script)
            case _:
                named = [c for c in COMMANDS if words[1 : 1 + len(c.split())] == c.split()]
                assert named, words
                command = max(named, key=len)
        given = {word for word in words if word.startswith("--")}
        assert given <= options_of(command), (words, given - options_of(command))


@each_page
def test_options_that_a_page_names_exist(page: Path):
    known = {"--version"}.union(*map(options_of, COMMANDS))
    # what starts a command on a cluster has options of its own
    text = re.sub(r"^(#SBATCH|srun) .*|^torchrun .* -m qcaan", "", page.read_text(), flags=re.M)
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", text))
    assert named <= known, named - known


def test_the_table_of_commands_names_each_command_and_its_script():
    text = (ROOT / "docs" / "getting-started.md").read_text()
    rows = dict(re.findall(r"^\| `qcaan ([a-z -]+)` \| `(\w+\.py)` \|", text, re.M))
    scripts = {command_of(path): path.name for path in (ROOT / "scripts").glob("*.py")}
    assert rows == scripts
    assert rows.keys() == COMMANDS.keys()


def test_links_of_the_readme_lead_to_files():
    text = (ROOT / "README.md").read_text()
    for link in re.findall(r"\]\(([^)#]+)", text):
        assert link.startswith("https://") or (ROOT / link).exists(), link


def shown_commands(text: str) -> Iterator[list[str]]:
    """Yield the words of each command in the shell blocks and the code spans of a page."""
    blocks = re.findall(r"^```sh\n(.*?)^```", text, re.M | re.S)
    prose = re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)
    for line in [*"".join(blocks).splitlines(), *re.findall(r"`([^`]+)`", prose)]:
        words = line.partition("#")[0].split()
        if words[:1] not in (["qcaan"], ["make"]) and not line.startswith("python scripts/"):
            continue
        if len(words) > 1 and words[1] not in ("...", "COMMAND"):
            yield words


def command_of(script: Path) -> str:
    """Return the command that a script calls."""
    (found,) = re.findall(r"main\(\[(.+), \*sys\.argv", script.read_text())
    return found.replace('"', "").replace(",", "")


@cache
def options_of(command: str) -> frozenset[str]:
    """Return the options of a command: its parameters, and the fields of its configuration.

    Those that are on by default have a `--no-...` too.
    """
    function = import_module(f"qcaan.commands.{COMMANDS[command][0]}").main
    names = []
    for name, parameter in inspect.signature(function, eval_str=True).parameters.items():
        given = parameter.annotation
        options = (
            {field.name: field.default for field in fields(given)}
            if is_dataclass(given)
            else {name: parameter.default}
        )
        names += [*options, *(f"no_{name}" for name, value in options.items() if value is True)]
    return frozenset({"--help", *("--" + name.replace("_", "-") for name in names)})
