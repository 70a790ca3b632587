"""Fixtures: the command lines as a user runs them, and real MNIST where it lies."""

from __future__ import annotations

import os

os.environ.setdefault(
    "OMP_NUM_THREADS", "1"
)  # before torch: threads that wait by spinning starve parallel workers

import runpy
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ionq_server import IonQServer
from pytest_httpserver import HTTPServer

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def cache_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache for the session, so that a classifier is trained once and the user's own is left alone."""
    base = tmp_path_factory.getbasetemp()
    return (
        base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    ) / "cache"  # shared by the workers


@pytest.fixture(scope="session")
def run_script(cache_home: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run scripts/NAME with arguments, as a user would."""

    def run(name: str, *arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
        command = [
            sys.executable,
            "-W",
            "error",
            str(ROOT / "scripts" / name),
            *map(str, arguments),
        ]
        environment = {**os.environ, "XDG_CACHE_HOME": str(cache_home), "COLUMNS": "200"}
        return subprocess.run(
            command, capture_output=True, text=True, env=environment, timeout=300, **options
        )

    return run


@pytest.fixture
def call_script(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], cache_home: Path
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """As `run_script`, but in this process, where nothing has to be imported again."""

    def call(name: str, *arguments: object) -> subprocess.CompletedProcess[str]:
        monkeypatch.setenv("XDG_CACHE_HOME", str(cache_home))
        monkeypatch.syspath_prepend(ROOT / "scripts")
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        capsys.readouterr()
        code = 0
        try:
            runpy.run_path(str(ROOT / "scripts" / name), run_name="__main__")
        except SystemExit as ended:
            code = ended.code
        output = capsys.readouterr()
        return subprocess.CompletedProcess(sys.argv, code, output.out, output.err)

    return call


@pytest.fixture(scope="session")
def mnist_root() -> Path:
    root = os.environ.get("QCAAN_DATA")
    if not root or not (Path(root) / "MNIST").is_dir():
        pytest.skip("needs MNIST in $QCAAN_DATA")
    return Path(root)


@pytest.fixture
def ionq(monkeypatch: pytest.MonkeyPatch) -> Iterator[IonQServer]:
    """A server that speaks IonQ's API, and an environment in which IonQ's client talks to it."""
    with HTTPServer(host="127.0.0.1") as http:
        server = IonQServer(http)
        monkeypatch.setenv("IONQ_API_URL", server.url)
        monkeypatch.setenv("IONQ_API_KEY", "open-sesame")
        yield server
