from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import numpy as np
import pytest

from qcaan.files import (
    append_record,
    atomic_write,
    cache_folder,
    check_folder,
    check_new_folder,
    delete_temporary_files,
    new_folder,
    read_arrays,
    read_records,
    reason,
    write_arrays,
    write_csv,
    write_json,
    write_text,
)


def test_atomic_write_leaves_the_old_file_when_the_block_fails(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError), atomic_write(path) as buffer:
        buffer.write(b"half of the n")
        raise RuntimeError
    assert [p.name for p in tmp_path.iterdir()] == ["file.txt"]
    assert path.read_text() == "old"
    with atomic_write(path) as buffer:
        buffer.write(b"new")
    assert path.read_text() == "new"
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~mask


def test_only_what_a_kill_left_half_written_is_deleted(tmp_path):
    kept = tmp_path / ".notes.txt"
    kept.write_text("kept")
    left = tmp_path / f".{'0' * 16}.part"
    left.touch()
    delete_temporary_files(tmp_path)
    assert kept.exists() and not left.exists()


def test_the_cache_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder("data") == tmp_path / "qcaan" / "data"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder("data") == Path.home() / ".cache" / "qcaan" / "data"


def test_a_folder_that_is_not_there_is_named(tmp_path):
    check_folder(tmp_path / "file.txt")
    with pytest.raises(ValueError, match=r"is not a folder to write file\.txt into"):
        check_folder(tmp_path / "nowhere" / "file.txt")


@pytest.mark.parametrize(
    "error", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO]
)
def test_a_file_that_cannot_be_written_is_named_and_its_earlier_version_stays(
    tmp_path, monkeypatch, error
):
    path = tmp_path / "file.txt"
    path.write_text("old")

    def fail(handle: int) -> None:
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError) as caught:
        write_text(path, "new")
    assert reason(caught.value) == f"{path}: {os.strerror(error)}"
    assert [p.name for p in tmp_path.iterdir()] == ["file.txt"]
    assert path.read_text() == "old"


def test_a_real_full_device_is_named(tmp_path):
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("needs /dev/full")
    with pytest.raises(OSError, match="No space left on device: '/dev/full'"):
        append_record(full, {"epoch": 1})


def test_names_may_be_as_long_as_the_file_system_allows(tmp_path):
    path = tmp_path / ("n" * 250 + ".json")
    write_json(path, {"a": 1})
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    with pytest.raises(OSError, match="File name too long"):
        write_json(tmp_path / ("n" * 300), {})
    with pytest.raises(OSError, match="File name too long"):
        check_folder(tmp_path / ("n" * 300))


def test_a_record_that_does_not_fit_leaves_the_others(tmp_path, monkeypatch):
    """A full disk takes a part of a line, and then nothing."""
    path = tmp_path / "log.jsonl"
    append_record(path, {"epoch": 1})
    before = path.read_bytes()
    sync = os.fsync

    def fail(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="log"):
        append_record(path, {"epoch": 2})
    assert path.read_bytes() == before
    monkeypatch.setattr(os, "fsync", sync)
    append_record(path, {"epoch": 2})
    assert read_records(path) == [{"epoch": 1}, {"epoch": 2}]


@pytest.mark.parametrize(
    ("last", "kept"),
    [(b'{"epoch": 2, "lo', []), (b'{"epoch": 2}', [{"epoch": 2}]), (b"\0\0\0", []), (b"12", [])],
)
def test_a_last_line_cut_short_is_left_out_and_the_next_one_is_whole(tmp_path, last, kept):
    path = tmp_path / "log.jsonl"
    path.write_bytes(b'{"epoch": 1}\n' + last)
    assert read_records(path) == [{"epoch": 1}, *kept]
    append_record(path, {"epoch": 3})
    assert read_records(path) == [{"epoch": 1}, *kept, {"epoch": 3}]


@pytest.mark.parametrize("line", [b"[1]", b"true", b"\xff\xfe", b"", b"{'a': 1}", b"[" * 100_000])
def test_a_line_that_is_no_record_is_named(tmp_path, line):
    path = tmp_path / "log.jsonl"
    path.write_bytes(b'{"epoch": 1}\n' + line + b'\n{"epoch": 2}\n')
    with pytest.raises(ValueError, match=r"log\.jsonl is damaged: line 2 is not a record"):
        read_records(path)


def test_damaged_arrays_are_named(tmp_path):
    path = tmp_path / "arrays.npz"
    write_arrays(path, {"a": np.arange(3), "b": np.ones((2, 2))})
    a, b = read_arrays(path, ("a", "b"))
    assert a.tolist() == [0, 1, 2] and b.shape == (2, 2)
    with pytest.raises(ValueError, match=r"arrays\.npz is damaged \(KeyError\)"):
        read_arrays(path, ("a", "c"))
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(ValueError, match=r"arrays\.npz is damaged"):
        read_arrays(path, ("a",))


def test_text_is_utf_8_whatever_the_locale_and_the_names(tmp_path):
    write_csv(tmp_path / "table.csv", ["name", "value"], [["Größe", 1], ["b\udcff", 2]])
    assert (tmp_path / "table.csv").read_bytes() == (
        "name,value\r\nGröße,1\r\nb\\udcff,2\r\n".encode()
    )


def test_places_that_cannot_become_a_folder_are_refused_and_left_alone(tmp_path):
    (tmp_path / "file").write_text("")
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "dangling").symlink_to("nowhere")
    before = sorted(tmp_path.rglob("*"))
    for name in ("file", "file/below/it", "fifo", "dangling", "dangling/below"):
        with pytest.raises(ValueError, match="is not a folder to write into"):
            check_new_folder(tmp_path / name)
    for name in ("loop", "loop/below", "n" * 300, "deep/" * 1000):
        with pytest.raises(OSError, match=r"Too many levels|File name too long"):
            check_new_folder(tmp_path / name)
    for name in (".", "new", "new/below"):
        check_new_folder(tmp_path / name)
    with pytest.raises(ValueError, match="is a folder, not a file to write"):
        check_folder(tmp_path)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_folder_whose_files_could_not_be_made_goes_again(tmp_path):
    with pytest.raises(ZeroDivisionError), new_folder(tmp_path / "a" / "b"):
        1 / 0  # noqa: B018
    assert not (tmp_path / "a").exists()
    with new_folder(tmp_path / "a" / "b"):
        pass
    assert (tmp_path / "a" / "b").is_dir()
