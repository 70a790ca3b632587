"""Fixtures: the command lines as a user runs them, and real MNIST where it lies."""

from __future__ import annotations

import os

# before torch: threads that wait by spinning starve parallel workers
os.environ.setdefault("OMP_NUM_THREADS", "1")

import contextlib
import io
import multiprocessing
import runpy
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import settings
from ionq_server import IonQServer
from pytest_httpserver import HTTPServer

from qcaan.data.images import load_splits
from qcaan.metrics import classifier

ROOT = Path(__file__).parent.parent

# machines are shared, so examples have no deadline; the same examples are tried each time
settings.register_profile("shared", deadline=None, derandomize=True)
settings.load_profile("shared")


# a toy run of the QC-AAN, and its circuit
TOY = (
    *("--data", "digits8x8", "--device", "cpu"),
    *("--steps-per-epoch", 3, "--batch-size", 16, "--width", 4),
)
CIRCUIT = ("--n-qubits", 3, "--fit-evals", 50, "--bank-shots", 200)


def tensors(value, prefix=""):
    """All leaves of a checkpoint by their path."""
    if isinstance(value, dict):
        return {
            k: v for key, item in value.items() for k, v in tensors(item, f"{prefix}/{key}").items()
        }
    if isinstance(value, list | tuple):
        return {
            k: v
            for key, item in enumerate(value)
            for k, v in tensors(item, f"{prefix}/{key}").items()
        }
    return {prefix: value}


def assert_same_checkpoint(one: Path, other: Path):
    left, right = (
        tensors(torch.load(path / "checkpoint.pt", weights_only=True)) for path in (one, other)
    )
    assert left.keys() == right.keys()
    for key, value in left.items():
        same = (
            torch.equal(value, right[key])
            if isinstance(value, torch.Tensor)
            else value == right[key]
        )
        assert same, key


@pytest.fixture(scope="session")
def cache_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache for the session, with a classifier of the toy images; the user's is left alone."""
    base = tmp_path_factory.getbasetemp()
    in_worker = "PYTEST_XDIST_WORKER" in os.environ
    home = (base.parent if in_worker else base) / "cache"  # shared by the workers
    train_briefly("digits8x8", home)
    return home


def train_briefly(name: str, home: Path, steps: int = 80) -> None:
    """Cache a classifier of a data set, of fewer steps than the one in test_classifier.py."""
    splits = load_splits(name)
    key = classifier._fingerprint(*splits)  # of the classifier that commands look for
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(home))
        patch.setattr(classifier, "_fingerprint", lambda *_: key)
        patch.setattr(classifier, "_STEPS", steps)
        classifier.load_classifier(*splits)


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
            command,
            capture_output=True,
            text=True,
            env=environment,
            **{"timeout": 300, **options},
        )

    return run


@pytest.fixture(scope="session")
def call_script(cache_home: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """As `run_script`, but in this process, where nothing has to be imported again."""

    def call(name: str, *arguments: object) -> subprocess.CompletedProcess[str]:
        printed, errors = (io.TextIOWrapper(io.BytesIO(), "utf-8") for _ in range(2))
        code = 0
        with (
            pytest.MonkeyPatch.context() as patch,
            contextlib.redirect_stdout(printed),
            contextlib.redirect_stderr(errors),
        ):
            patch.setenv("XDG_CACHE_HOME", str(cache_home))
            patch.syspath_prepend(ROOT / "scripts")
            patch.setattr(sys, "argv", [name, *map(str, arguments)])
            try:
                runpy.run_path(str(ROOT / "scripts" / name), run_name="__main__")
            except SystemExit as ended:
                code = ended.code
            words = sys.argv
        told = [stream.detach().getvalue().decode() for stream in (printed, errors)]
        return subprocess.CompletedProcess(words, code, *told)

    return call


@pytest.fixture
def start_script(
    call_script: Callable[..., subprocess.CompletedProcess[str]],
) -> Iterator[Callable[..., Started]]:
    """Start a script in a process of its own, forked from this one; see `call_script`."""
    started = []

    def start(name: str, *arguments: object) -> Started:
        started.append(Started(call_script, name, *arguments))
        return started[-1]

    yield start
    for script in started:
        script.process.kill()
        script.process.join()


class Started:
    """A script that runs in a forked process."""

    def __init__(
        self, call: Callable[..., subprocess.CompletedProcess[str]], *words: object
    ) -> None:
        fork = multiprocessing.get_context("fork")
        self._answer, answer = fork.Pipe(duplex=False)

        def run() -> None:
            # a shell starts its background jobs with Ctrl-C ignored, and these tests may be one
            signal.signal(signal.SIGINT, signal.default_int_handler)
            result = call(*words)
            answer.send((result.returncode, result.stdout, result.stderr))

        self.process = fork.Process(target=run)
        self.process.start()
        answer.close()

    def end(self, number: signal.Signals | None = None) -> subprocess.CompletedProcess[str]:
        """Send the script a signal, if any, and return what it leaves."""
        if number is not None:
            os.kill(self.process.pid, number)
        assert self._answer.poll(300), "the script does not end"
        try:
            code, printed, errors = self._answer.recv()
        except EOFError:  # it was killed
            code, printed, errors = -signal.SIGKILL, "", ""
        self.process.join()
        return subprocess.CompletedProcess([], code, printed, errors)


@pytest.fixture(scope="session")
def associative_run(cache_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished toy run of the QC-AAN without scores. Tests must not change it."""
    from qcaan.commands.train.associative import main
    from qcaan.gans.associative.config import AssociativeConfig

    path = tmp_path_factory.mktemp("runs") / "379"
    config = AssociativeConfig(
        data="digits8x8",
        epochs=2,
        steps_per_epoch=3,
        batch_size=16,
        width=4,
        device="cpu",
        n_qubits=3,
        fit_evals=50,
        prompt=False,
        bank_shots=200,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(cache_home))
        main(config, out=path, eval_images=0)
    return path


@pytest.fixture(scope="session")
def mnist_root() -> Path:
    root = os.environ.get("QCAAN_DATA")
    if not root or not (Path(root) / "MNIST").is_dir():
        pytest.skip("needs MNIST in $QCAAN_DATA")
    return Path(root)


@pytest.fixture(scope="session")
def make_httpserver() -> Iterator[HTTPServer]:
    """The server behind `httpserver`, one for the session: to stop one takes a quarter second."""
    with HTTPServer(host="127.0.0.1", threaded=True) as server:
        yield server


@pytest.fixture
def ionq(httpserver: HTTPServer, monkeypatch: pytest.MonkeyPatch) -> IonQServer:
    """A server that speaks IonQ's API, and an environment in which IonQ's client talks to it."""
    server = IonQServer(httpserver)
    monkeypatch.setenv("IONQ_API_URL", server.url)
    monkeypatch.setenv("IONQ_API_KEY", "open-sesame")
    return server
