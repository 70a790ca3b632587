"""Files of data, before they are read: only regular files, within the memory of the machine."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qcaan.checks import memory_of

# share of the memory that the arrays of one file may take; a few copies must fit beside them
_MEMORY_SHARE = 4
_KINDS = {
    stat.S_ISDIR: "a folder",
    stat.S_ISFIFO: "a pipe",
    stat.S_ISSOCK: "a socket",
    stat.S_ISCHR: "a device",
    stat.S_ISBLK: "a device",
}


class DataError(ValueError):
    """Data cannot be read as asked; the message is one line that names the value or the file."""

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


def printable(text: str) -> str:
    """Return a text from outside, as a name of a file, without what a terminal cannot show."""
    return "".join(
        letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text
    )


def expanded(path: str | Path) -> Path:
    """Return the path with `~` expanded.

    Raises:
        DataError: there is no user of that name.
    """
    with reading(Path(path)):
        return Path(path).expanduser()


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn every error of a parser of damaged bytes into a DataError that names `path`."""
    try:
        yield
    except (DataError, MemoryError):  # a lack of memory is no damage
        raise
    # zlib.error, EOFError, BadZipFile, UnidentifiedImageError, SyntaxError, ...
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"cannot read {path}: {reason}") from error


def check_regular(path: Path) -> int:
    """Return the size in bytes of a file, which is not opened: to open a pipe may wait forever.

    Raises:
        DataError: the path leads to a folder, a pipe, a socket or a device.
        OSError: there is no such file.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        found = next((name for test, name in _KINDS.items() if test(status.st_mode)), "special")
        raise DataError(f"cannot read {path}: it is {found}, and data must be in a regular file")
    return status.st_size


def check_fits(name: str | Path, n_bytes: int) -> None:
    """Check, before anything is allocated, that data take at most a quarter of the memory.

    Raises:
        DataError: they take more.
    """
    most = memory_of() // _MEMORY_SHARE
    if n_bytes > most:
        raise DataError(
            f"cannot read {name}: it would take {n_bytes / 2**30:,.1f} GiB, and at most "
            f"{most / 2**30:.1f} GiB, a quarter of this machine's memory, are allowed"
        )


def listing(folder: Path) -> list[str]:
    """Return the sorted names in `folder` but hidden ones; none if there is no such folder."""
    with reading(folder):
        try:
            return sorted(name for name in os.listdir(folder) if not name.startswith("."))
        except FileNotFoundError:
            return []


def fingerprint(*arrays: NDArray[Any]) -> str:
    """Return the SHA-256 of arrays of numbers: of their types, shapes and values."""
    digest = hashlib.sha256()
    for array in arrays:
        values = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
        digest.update(f"{values.dtype.str} {values.shape} ".encode())
        digest.update(values.data)
    return digest.hexdigest()
