"""NumPy's files `.npy` and `.npz`: their headers are checked before anything is allocated."""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, Any

from numpy.lib import format as npy
from numpy.typing import NDArray

from qcaan.data.opening import DataError, check_fits, check_regular, reading

NUMBERS = "biuf"  # NumPy's kinds: booleans, integers and real numbers
TEXT = "SU"
# bytes that a header may take; those of arrays of numbers take 128
_LONGEST_HEADER = 2**14
_HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}

ReadArray = Callable[..., NDArray[Any]]


def read_npy(path: Path) -> NDArray[Any]:
    """Return the array of numbers of an `.npy` file, in the machine's byte order.

    Raises:
        DataError: the file is not a regular one, is damaged, holds no array of numbers, or would
            take more than a quarter of the memory.
        OSError: the file cannot be opened.
    """
    size = check_regular(path)
    with path.open("rb") as file, reading(path):
        return _read(file, size, str(path))


@contextmanager
def open_npz(path: Path) -> Iterator[dict[str, ReadArray]]:
    """Yield the functions that read the arrays of an `.npz` file, by the names of the arrays.

    Each takes `kinds`, the allowed kinds of NumPy's dtypes; default those of real numbers.

    Raises:
        DataError: as `read_npy`.
        OSError: the file cannot be opened.
    """
    check_regular(path)
    with path.open("rb") as file, reading(path), zipfile.ZipFile(file) as archive:
        yield {
            info.filename.removesuffix(".npy"): partial(_read_member, archive, info, path)
            for info in archive.infolist()
        }


def _read_member(
    archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path, kinds: str = NUMBERS
) -> NDArray[Any]:
    name = info.filename.removesuffix(".npy")
    with archive.open(info) as file:
        return _read(file, info.file_size, f"{name} in {path}", kinds)


def _read(file: IO[bytes], n_bytes: int, name: str, kinds: str = NUMBERS) -> NDArray[Any]:
    """Return the array of an open `.npy` file of a size in bytes."""
    start = io.BytesIO(file.read(_LONGEST_HEADER))
    version = npy.read_magic(start)
    if version not in _HEADERS:
        raise DataError(
            f"cannot read {name}: its format is NumPy's {version[0]}.{version[1]}, and only 1.0 "
            "and 2.0 are read; save it again by numpy.save"
        )
    shape, _, dtype = _HEADERS[version](start)
    if dtype.hasobject:
        raise DataError(
            f"cannot read {name}: it holds Python objects, such as rows of different lengths; "
            "make it an array of one type, as by numpy.array(x, dtype=float), and save it again"
        )
    if dtype.kind not in kinds:
        wanted = "real numbers" if kinds == NUMBERS else "text or numbers"
        raise DataError(f"cannot read {name}: it must hold {wanted}, but its type is {dtype}")
    size = math.prod(shape) * dtype.itemsize
    check_fits(name, size)
    if min(shape, default=0) < 0 or size != n_bytes - start.tell():
        raise DataError(
            f"cannot read {name}: it holds {n_bytes - start.tell()} bytes, but its header says "
            f"{dtype} {list(shape)}"
        )
    file.seek(0)
    values = npy.read_array(file, allow_pickle=False)
    return values.astype(values.dtype.newbyteorder("="), copy=False)
