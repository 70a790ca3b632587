"""The folder of a comparison: its options, and a record of each finished cell, made once."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from qcaan.files import check_new_folder, new_folder, parse_json, write_json
from qcaan.runs.directory import RunError

_OPTIONS = "budget.json"


def check_folder(out: Path) -> None:
    """Check that a folder is new, or that of a comparison, and takes files.

    Raises:
        RunError: it holds something else.
        ValueError, OSError: it cannot be written.
    """
    check_new_folder(out)
    if out.is_dir() and any(out.iterdir()) and not (out / _OPTIONS).is_file():
        raise RunError(f"{out} holds something else than a comparison; name another --out")


def open_folder(out: Path, options: Mapping[str, Any]) -> None:
    """Make the folder of a comparison, or check that its cells have the same options.

    Raises:
        RunError: they have others, or cannot be read.
    """
    path = out / _OPTIONS
    if not path.is_file():
        with new_folder(out / "cells"):
            write_json(path, options)
    elif (there := read(path)) != options:
        differing = [name for name in options if there.get(name) != options[name]]
        raise RunError(
            f"{out} holds a comparison with other options ("
            + ", ".join(f"{name} is {there.get(name)} there" for name in differing)
            + "); name another --out"
        )


def cell_path(out: Path, name: str) -> Path:
    """Return the path of a cell's record; it exists if the cell is finished."""
    return out / "cells" / f"{name}.json"


def records(out: Path, pattern: str = "*") -> Iterator[dict[str, Any]]:
    """Yield the records of finished cells whose names match a pattern, by their names."""
    yield from map(read, sorted((out / "cells").glob(f"{pattern}.json")))


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
