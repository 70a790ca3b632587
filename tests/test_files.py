from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from qcaan.files import atomic_write, cache_folder, check_folder, delete_temporary_files


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
