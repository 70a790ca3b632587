"""The folder of a comparison: its options, and a record of each finished cell, made once.

Several processes may work on one folder.
"""

from __future__ import annotations

import contextlib
import json
import resource
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from rich.live import Live
from rich.table import Table
from rich.text import Text

from qcaan.files import check_new_folder, new_folder, parse_json, write_json
from qcaan.runs.cluster import ClusterOptions, Failed, Record, Work, compute
from qcaan.runs.directory import RunError
from qcaan.runs.session import console

_OPTIONS = "budget.json"
_CELLS = "cells"
# number of files that a process has open beside the claims of cells
_OTHER_FILES = 512
# number of differing options that an error names
_MOST_NAMED = 3


def check_folder(out: Path) -> None:
    """Check that a folder is new, or that of a comparison, and takes files.

    Raises:
        RunError: it holds something else.
        ValueError, OSError: it cannot be written.
    """
    check_new_folder(out)
    if not out.is_dir() or (out / _OPTIONS).is_file():
        return
    # while another process makes the folder, it holds empty folders and files of hidden names
    if any(path.name != _CELLS and not path.name.startswith(".") for path in out.rglob("*")):
        raise RunError(f"{out} holds something else than a comparison; name another --out")


def open_folder(out: Path, options: Mapping[str, Any]) -> None:
    """Make the folder of a comparison, or check that its cells have the same options.

    Raises:
        RunError: they have others, or cannot be read.
    """
    path, options = out / _OPTIONS, json.loads(json.dumps(options))  # tuples become lists
    if not path.is_file():
        with new_folder(out / _CELLS):
            write_json(path, options)
    elif (there := read(path)) != options:
        differing = [name for name in options if there.get(name) != options[name]][:_MOST_NAMED]
        raise RunError(
            f"{out} holds a comparison with other options ("
            + ", ".join(f"{name} is {there.get(name)} there" for name in differing)
            + "); name another --out"
        )


def cell_path(out: Path, name: str) -> Path:
    """Return the path of a cell's record; it exists if the cell is finished."""
    return out / _CELLS / f"{name}.json"


def compute_cells(
    out: Path,
    cells: Mapping[str, Any],
    work: Work,
    shared: Any,
    cluster: ClusterOptions,
    summary: Callable[[Record], str],
) -> int:
    """Compute the cells that nobody has finished or computes, and keep their records.

    Args:
        out: folder of the comparison.
        cells: options of each cell by its name.
        work: function that computes a cell; see `qcaan.runs.cluster.compute`.
        shared: what all cells share.
        cluster: where they are computed.
        summary: function that says in a clause what a record tells.

    Returns:
        The number of cells that failed.
    """
    failed = 0
    if cluster.ray:
        _allow_open_files(len(cells))
    finished = sum(cell_path(out, name).is_file() for name in cells)
    with _Board(cells) as board, contextlib.ExitStack() as claims:

        def unclaimed() -> Iterator[tuple[str, Any]]:
            for name, cell in cells.items():
                path = cell_path(out, name)
                # on a cluster all cells are claimed at once, else one while it is computed
                with contextlib.ExitStack() as stack:
                    holder = claims if cluster.ray else stack
                    if holder.enter_context(claimed(path)):
                        yield name, cell
                    elif path.is_file():
                        board.tell(name, f"finished: {summary(read(path))}")
                    else:
                        board.end(name, "another process computes it")

        start = time.perf_counter()
        try:
            for name, found in compute(
                work, shared, unclaimed(), out / _CELLS, cluster, board.tell
            ):
                if isinstance(found, Failed):
                    failed += 1
                    board.end(name, f"failed: {found.why}")
                    continue
                write_json(cell_path(out, name), found)
                finished += 1
                board.end(name, f"{summary(found)}; {time.perf_counter() - start:.0f} s")
                start = start if cluster.ray else time.perf_counter()
        except KeyboardInterrupt:
            board.stop()
            console.print(
                f"stopped; {finished} of {len(cells)} cells are finished. Continue with the same "
                "command."
            )
            raise SystemExit(130) from None
    return failed


def _allow_open_files(n: int) -> None:
    """Raise this process's limit of open files, if it can be, so that it can claim n cells."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = n + _OTHER_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def check_failures(failed: int, n_cells: int) -> None:
    """Check that no cell failed, once the others are reported.

    Raises:
        RunError: some did.
    """
    if failed:
        raise RunError(f"{failed} of {n_cells} cells failed; the same command tries them again")


class _Board:
    """The state of all cells: one live table in a terminal, else a line for each that ends."""

    def __init__(self, names: Iterable[str]) -> None:
        self._states = dict.fromkeys(names, "waiting")
        self._live = Live(console=console, auto_refresh=False, transient=True)

    def __enter__(self) -> _Board:
        if console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        self._live.stop()

    def tell(self, name: str, text: str) -> None:
        """Show how far a cell is."""
        self._states[name] = text
        if self._live.is_started:
            table = Table("cell", "state")
            for row in self._states.items():
                table.add_row(*map(Text, row))
            self._live.update(table, refresh=True)

    def end(self, name: str, text: str) -> None:
        """Show and print what became of a cell."""
        self.tell(name, text)
        console.print(f"{name}: {text}", markup=False)


@contextlib.contextmanager
def claimed(path: Path, *, wait: bool = False) -> Iterator[bool]:
    """Yield whether a cell is this process's to make: it is unfinished, and no other makes it.

    Until the end of the block no other process makes the cell. The lock is the operating system's,
    so it ends with the process, however that ends.

    Args:
        path: path of the cell's record.
        wait: wait for another process that makes the cell, rather than yield False.
    """
    lock = FileLock(path.with_name(f".{path.stem}.lock"))
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(lock.acquire(timeout=-1 if wait else 0))
        except Timeout:
            yield False
        else:
            yield not path.is_file()


def report_lock(out: Path) -> FileLock:
    """Return the lock under which cells are read and reported, so that the last report has all."""
    return FileLock(out / _CELLS / ".lock")


def records(out: Path, pattern: str = "*") -> Iterator[dict[str, Any]]:
    """Yield the records of finished cells whose names match a pattern, by their names."""
    yield from map(read, sorted((out / _CELLS).glob(f"{pattern}.json")))


def read(path: Path) -> dict[str, Any]:
    """Return a record of a comparison.

    Raises:
        RunError: it is damaged.
    """
    record = parse_json(path.read_bytes())
    if not isinstance(record, dict):
        raise RunError(f"{path} is damaged: it is not a record of a comparison")
    return record


def mean_and_deviation(values: Sequence[float], digits: int = 3) -> str:
    """Return the mean and the sample standard deviation, with `digits` and two digits."""
    if not values:
        return ""
    mean = statistics.mean(values)
    if mean >= 1000:
        return f"{mean:.0f}"
    return f"{mean:.{digits}g}" + (f" ± {statistics.stdev(values):.2g}" if len(values) > 1 else "")
