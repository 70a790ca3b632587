"""Files that are whole or not there: atomic writes, records a line each, and checks of targets."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import re
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

# the names that `atomic_write` gives
_TEMPORARY = re.compile(r"\.[0-9a-f]{16}\.part")
# length of the longest path that is written inside a folder of results
_LONGEST_NAME = 40


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[io.BytesIO]:
    """Yield a buffer, whose bytes become the file `path` if the block succeeds.

    Every saver writes into the buffer, since each reports a full disk in its own way, or hides it.
    The file and its folder are flushed to the disk, so that a file that is there is whole even
    after a power failure.

    Raises:
        OSError: the file cannot be written, which the error names. An earlier file is left as it
            was.
    """
    buffer = io.BytesIO()
    yield buffer
    # a name of its own: that of the file may be as long as names can be
    temporary = path.with_name(f".{secrets.token_hex(8)}.part")
    with _naming(path):
        try:
            with temporary.open("xb") as file:
                file.write(buffer.getbuffer())
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
            _flush(path.parent)
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Name a file in the errors of its writing, most of which name none."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None


def reason(error: BaseException) -> str:
    """Return what an error says, on one line, with the name of the file that it is about."""
    text = str(error) or type(error).__name__
    if isinstance(error, OSError) and error.strerror is not None:
        text = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return " ".join(text.split())


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
        if is_temporary(path):
            path.unlink()


def is_temporary(path: Path) -> bool:
    """Return whether a file is one that a killed process left half written."""
    return bool(_TEMPORARY.fullmatch(path.name))


def write_text(path: Path, text: str) -> None:
    """Write text as UTF-8, atomically."""
    with atomic_write(path) as buffer:
        buffer.write(text.encode("utf-8", "backslashreplace"))


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write rows of values as comma-separated text below a header, atomically."""
    text = io.StringIO(newline="")
    csv.writer(text).writerows([header, *rows])
    write_text(path, text.getvalue())


def write_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write named arrays as an .npz file, atomically."""
    with atomic_write(path) as buffer:
        np.savez(buffer, allow_pickle=False, **arrays)


def read_arrays(path: Path, names: Sequence[str]) -> list[np.ndarray]:
    """Return the named arrays of an .npz file.

    Raises:
        ValueError: the file is damaged, or lacks one of them.
        OSError: it cannot be read.
    """
    try:
        # np.load would take a file that is no archive for a pickle
        with path.open("rb") as file, np.lib.npyio.NpzFile(file, allow_pickle=False) as saved:
            return [np.asarray(saved[name]) for name in names]
    except (OSError, MemoryError):
        raise
    # a damaged archive fails in many ways, inside zipfile and NumPy
    except Exception as error:
        raise ValueError(f"{path} is damaged ({type(error).__name__})") from None


def parse_json(text: str | bytes) -> Any:
    """Return the value of a text in JSON; None if it is not JSON."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def read_records(path: Path) -> list[dict[str, Any]]:
    """Return the records of a file that holds one a line, in JSON.

    A last line that a crash cut short is left out. There are none if there is no file.

    Raises:
        ValueError: another line is not a record.
        OSError: the file cannot be read.
    """
    if not os.path.lexists(path):
        return []
    records = []
    *lines, last = path.read_bytes().split(b"\n")
    for number, line in enumerate(lines, 1):
        record = parse_json(line)
        if not isinstance(record, dict):
            raise ValueError(f"{path} is damaged: line {number} is not a record")
        records.append(record)
    record = parse_json(last)
    return [*records, record] if isinstance(record, dict) else records


def append_record(path: Path, record: Mapping[str, Any]) -> None:
    """Append a record in JSON, on a line of its own, to a file, and flush it to the disk.

    Raises:
        OSError: it cannot be written, and the file is left without it.
    """
    append_line(path, json.dumps(record).encode() + b"\n")


def append_line(path: Path, line: bytes) -> None:
    """Append a whole line to a file or nothing, and flush it to the disk.

    A last line that a crash cut short goes, unless it is a record in JSON that lacks its end.

    Raises:
        OSError: it cannot be written.
    """
    # unbuffered, or what could not be written would be tried again when the file is closed
    with _naming(path), path.open("a+b", buffering=0) as file:
        end = file.seek(0, os.SEEK_END)
        if end and os.pread(file.fileno(), 1, end - 1) != b"\n":
            file.seek(0)
            cut = file.read().rpartition(b"\n")[2]
            if isinstance(parse_json(cut), dict):
                line = b"\n" + line
            else:
                end -= len(cut)
                file.truncate(end)
        left = memoryview(line)
        try:
            while left:
                left = left[file.write(left) :]
            os.fsync(file.fileno())
        except BaseException:
            with contextlib.suppress(OSError):
                file.truncate(end)
            raise


def cache_folder(name: str) -> Path:
    """Return the folder `qcaan/<name>` in the user's cache folder; it is not made."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "qcaan" / name


def check_folder(path: Path) -> None:
    """Check, before work begins, that a file can be written at its end.

    Raises:
        ValueError: the folder of `path` does not exist or takes no files, or `path` is a folder.
        OSError: there can be no such path.
    """
    if not path.parent.is_dir():
        raise ValueError(f"{path.parent} is not a folder to write {path.name} into")
    check_new_folder(path.parent)
    with contextlib.suppress(FileNotFoundError):
        os.lstat(path)  # its name may be too long
    if path.is_dir():
        raise ValueError(f"{path} is a folder, not a file to write")


def check_new_folder(folder: Path) -> None:
    """Check, before work begins, that files can be written into a folder, which is made if needed.

    Raises:
        ValueError: something else is in its place, or it takes no files.
        OSError: there can be no such path.
    """
    for place in (folder / ("a" * _LONGEST_NAME), folder, *folder.parents):
        try:
            with _naming(folder):
                os.lstat(place)
        except (FileNotFoundError, NotADirectoryError):
            continue
        if not place.is_dir():
            raise ValueError(f"{place} is not a folder to write into")
        if not os.access(place, os.R_OK | os.W_OK | os.X_OK):
            raise ValueError(f"no file can be written into {place}")
        return


def check_empty_folder(folder: Path) -> None:
    """Check, before work begins, that a folder is new or empty, and takes files.

    Raises:
        ValueError: it has something in it, or see `check_new_folder`.
        OSError: there can be no such path.
    """
    check_new_folder(folder)
    if folder.is_dir() and any(folder.iterdir()):
        raise ValueError(f"{folder} has something in it; name a new folder")


@contextlib.contextmanager
def new_folder(folder: Path) -> Iterator[None]:
    """Make a folder and those above it, and remove again those that are new if the block fails."""
    new = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        with _naming(folder):
            folder.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:
        for place in new:
            with contextlib.suppress(OSError):
                place.rmdir()
        raise
