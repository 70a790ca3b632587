"""Independent cells of a comparison: one after another here, or on the nodes of a Ray cluster.

Nothing else knows of Ray (Moritz et al., arXiv:1712.05889). A cell is a function of its own
options, of what all cells share, and of a folder in which it keeps what it needs to continue.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import shutil
import signal
import socket
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, TypeAlias

import torch

from qcaan.checks import number, whole
from qcaan.files import atomic_write, reason
from qcaan.runs.directory import RunError

Record: TypeAlias = dict[str, Any]
Tell: TypeAlias = Callable[[str], None]
# cell, what all cells share, folder of the cell, and a function that is told how far it is
Work: TypeAlias = Callable[[Any, Any, Path, Tell], Record]

# number of times that a cell starts again if its worker or its node is lost
_RETRIES = 5
# seconds to wait for a cluster's answer
_PATIENCE = 10.0
# seconds between two looks at the cells
_INTERVAL = 1.0


@dataclass(frozen=True, kw_only=True)
class ClusterOptions:
    """Options of where the cells of a comparison are computed."""

    ray: str | None = None
    """Ray cluster that computes the cells, with the extra cluster: local (the cores of this
    machine), auto (the cluster that this machine belongs to), or its ADDRESS. Default: none, one
    cell after another in this process."""
    cpus_per_run: int = 1
    """Number of CPU threads of a cell. Rows do not depend on where they are computed, but their
    last digits depend on this."""
    gpus_per_run: float = 0.0
    """Number of GPUs of a cell on a Ray cluster; with .1, ten cells share one."""

    def __post_init__(self) -> None:
        whole("cpus_per_run", self.cpus_per_run)
        number("gpus_per_run", self.gpus_per_run, least=0)
        if self.gpus_per_run and self.ray is None:
            raise ValueError("`gpus_per_run` is for cells on a cluster, and needs `ray`")


@dataclass(frozen=True)
class Failed:
    """A cell that ended with an error.

    Attributes:
        why: what happened, in one sentence.
    """

    why: str


def compute(
    work: Work,
    shared: Any,
    cells: Iterable[tuple[str, Any]],
    folder: Path,
    options: ClusterOptions,
    tell: Callable[[str, str], None],
) -> Iterator[tuple[str, Record | Failed]]:
    """Compute cells, and yield the name and the record of each as it is finished.

    Each cell has a folder of its name in `folder`. If the workers of a cluster do not see that
    folder, the files of a finished cell are fetched into it. A cell whose worker or node is lost
    starts again, in the same folder if there is one. A cell that fails does not end the others.

    Args:
        work: function that computes a cell; importable on all nodes.
        shared: what all cells share; it is sent to each node once.
        cells: names and options of the cells. Without a cluster, the next one is taken when the
            one before is finished.
        folder: folder of the cells.
        options: where they are computed.
        tell: function that is told the name of a cell and how far it is.

    Raises:
        RunError: there is no such cluster, or the extra `cluster` is missing.
    """
    if options.ray is not None:
        yield from _on_ray(work, shared, dict(cells), folder, options, tell)
        return
    for name, cell in cells:
        with _threads(options.cpus_per_run):
            found = _attempt(work, cell, shared, folder / name, partial(tell, name))
        yield name, found


@contextlib.contextmanager
def _threads(n: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _attempt(work: Work, cell: Any, shared: Any, folder: Path, tell: Tell) -> Record | Failed:
    try:
        return work(cell, shared, folder, tell)
    # whatever it is, the other cells go on
    except Exception as error:
        name = "" if isinstance(error, RunError) else f"{type(error).__name__}: "
        return Failed(name + reason(error))


# ---- Ray --------------------------------------------------------------------------------------


class _Notes:
    """What the cells have told: an actor, which workers on all nodes write to."""

    def __init__(self) -> None:
        self._found: dict[str, str] = {}

    def tell(self, name: str, text: str) -> None:
        self._found[name] = text

    def take(self) -> dict[str, str]:
        """Return what is new."""
        found, self._found = self._found, {}
        return found


def _on_ray(
    work: Work,
    shared: Any,
    cells: dict[str, Any],
    folder: Path,
    options: ClusterOptions,
    tell: Callable[[str, str], None],
) -> Iterator[tuple[str, Record | Failed]]:
    """Compute cells on a Ray cluster; see `compute`."""
    folder = folder.resolve()  # workers have another working directory
    with _cluster(options) as ray, _token(folder) as token:
        notes = ray.remote(num_cpus=0, max_restarts=-1)(_Notes).remote()
        remote = ray.remote(
            num_cpus=options.cpus_per_run, num_gpus=options.gpus_per_run, max_retries=_RETRIES
        )(_remote_cell)
        everywhere = ray.put(shared)
        waiting = {
            remote.remote(
                work, cell, everywhere, folder, name, token, notes, options.cpus_per_run
            ): name
            for name, cell in cells.items()
        }
        try:
            while waiting:
                done, _ = ray.wait(list(waiting), timeout=_INTERVAL)
                with contextlib.suppress(ray.exceptions.RayError):  # its node may be lost
                    for name, text in ray.get(notes.take.remote(), timeout=10).items():
                        tell(name, text)
                for task in done:
                    name = waiting.pop(task)
                    try:
                        found, files = ray.get(task)
                    except ray.exceptions.RayError as error:
                        found, files = Failed(f"{type(error).__name__}: {reason(error)}"), {}
                    for path, content in files.items():
                        _write(folder / name / path, content)
                    yield name, found
        finally:
            for task in waiting:
                ray.cancel(task, force=True)


def _remote_cell(
    work: Work,
    cell: Any,
    shared: Any,
    folder: Path,
    name: str,
    token: tuple[str, str],
    notes: Any,
    n_threads: int,
) -> tuple[Record | Failed, dict[str, bytes]]:
    """Compute a cell on a worker, and return its record, and its files if the head lacks them."""
    ray: Any = import_module("ray")
    here = f"on {ray.util.get_node_ip_address()}"

    def tell(text: str) -> None:
        notes.tell.remote(name, f"{text} {here}")

    mark, own_folder = token
    seen = (folder / mark).is_file()
    tell("started" if seen else "started, far from the folder of the results,")
    # another attempt on this node, also by another command, finds what an earlier one has left
    place = folder if seen else Path(tempfile.gettempdir()) / own_folder
    place.mkdir(parents=True, exist_ok=True)
    with _threads(n_threads):
        found = _attempt(work, cell, shared, place / name, tell)
    if seen:
        return found, {}
    own = place / name
    files = {
        str(path.relative_to(own)): path.read_bytes()
        for path in own.rglob("*")
        if path.is_file() and not path.name.startswith(".")
    }
    shutil.rmtree(own, ignore_errors=True)
    with contextlib.suppress(OSError):  # other cells may be there
        place.rmdir()
    return found, files


def _check_address(address: str) -> None:
    """Check that something listens at HOST:PORT, since Ray itself tries for minutes.

    Raises:
        OSError, ValueError: nothing does.
    """
    host, colon, port = address.rpartition(":")
    if colon and "://" not in address:
        socket.create_connection((host, int(port)), timeout=_PATIENCE).close()


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as buffer:
        buffer.write(content)


@contextlib.contextmanager
def _token(folder: Path) -> Iterator[tuple[str, str]]:
    """Make a file in a folder, by whose name workers know whether they see the same folder.

    Yields that name, and a name for the folders of those that do not.
    """
    path = folder / f".{secrets.token_hex(8)}"
    place = hashlib.sha256(f"{socket.gethostname()} {os.getuid()} {folder}".encode()).hexdigest()
    path.touch()
    try:
        yield path.name, f"qcaan-{place[:16]}"
    finally:
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def _cluster(options: ClusterOptions) -> Iterator[Any]:
    """Join a cluster, or start one on this machine, and leave it at the end.

    Raises:
        RunError: there is no such cluster, no node is large enough, or the extra is missing.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would send them to its makers
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        ray: Any = import_module("ray")
    except ImportError:
        raise RunError("`ray` needs the extra `cluster`: pip install 'qcaan[cluster]'") from None
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
    joined = not ray.is_initialized()
    on_termination = signal.getsignal(signal.SIGTERM)
    try:
        if joined and options.ray == "local":
            ray.init(address="local", include_dashboard=False, **quiet)
        elif joined:
            _check_address(options.ray or "")
            ray.init(address=options.ray, **quiet)
    except (ConnectionError, ValueError, RuntimeError, OSError, TimeoutError) as error:
        raise RunError(f"no Ray cluster answers at {options.ray}: {reason(error)}") from None
    if threading.current_thread() is threading.main_thread():  # Ray has put its own there
        signal.signal(signal.SIGTERM, on_termination)
    try:
        wanted = {"CPU": options.cpus_per_run, "GPU": options.gpus_per_run}
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        if not any(all(node.get(k, 0) >= n for k, n in wanted.items()) for node in nodes):
            raise RunError(
                f"no node of the Ray cluster has {options.cpus_per_run} CPUs and "
                f"{options.gpus_per_run:g} GPUs for a cell; ask for less by --cpus-per-run and "
                "--gpus-per-run"
            )
        yield ray
    finally:
        if joined:
            ray.shutdown()
