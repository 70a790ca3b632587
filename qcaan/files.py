"""Atomic writes, JSON, and the cache folder."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import re
import secrets
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

# the names that `atomic_write` gives
_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{16}\.part(\.\w+)?")


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path, which becomes `path` if the block succeeds, or else is deleted.

    The file and its folder are flushed to the disk, so that a file that is there is whole even
    after a power failure.
    """
    # savers choose the format by the suffix
    token = secrets.token_hex(8)
    temporary = path.with_name(f".{path.name}.{token}.part{path.suffix}")
    try:
        temporary.touch(exist_ok=False)  # with the permissions that the user's umask gives
        yield temporary
        _flush(temporary)
        os.replace(temporary, path)
        _flush(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    """Flush a file or a folder to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def delete_temporary_files(folder: Path) -> None:
    """Delete the files that a killed process left half written in a folder and its subfolders."""
    for path in folder.rglob(".*"):
        if _TEMPORARY.fullmatch(path.name):
            path.unlink()


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically."""
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2) + "\n")


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write rows of values as comma-separated text below a header, atomically."""
    with atomic_write(path) as temporary, temporary.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])


def write_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write named arrays as an .npz file, atomically."""
    with atomic_write(path) as temporary:
        np.savez(temporary, allow_pickle=False, **arrays)


def cache_folder(name: str) -> Path:
    """Return the folder `qcaan/<name>` in the user's cache folder; it is not made."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "qcaan" / name


def check_folder(path: Path) -> None:
    """Check, before work begins, that a file can be written at its end.

    Raises:
        ValueError: the folder of `path` does not exist.
    """
    if not path.parent.is_dir():
        raise ValueError(f"{path.parent} is not a folder to write {path.name} into")
