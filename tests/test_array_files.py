"""Files of arrays and what only looks like data: refused early, in little time and memory."""

from __future__ import annotations

import gzip
import io
import os
import re
import socket
import struct
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from data_files import fill, write_mnist, write_npz
from numpy.lib import format as npy

from qcaan.data.images import load_images
from qcaan.data.opening import DataError
from qcaan.data.samples import load_samples, read_samples

HUGE = 2**50


def header(shape: tuple[int, ...], dtype: str = "<f8", version: tuple[int, int] = (1, 0)) -> bytes:
    """Return the header of an .npy file."""
    file = io.BytesIO()
    fields = {"descr": dtype, "fortran_order": False, "shape": shape}
    (npy.write_array_header_1_0 if version == (1, 0) else npy.write_array_header_2_0)(file, fields)
    return file.getvalue()


@contextmanager
def little_memory(n_bytes: int = 30_000_000) -> Iterator[None]:
    """Check that a block allocates at most a number of bytes."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < n_bytes
    finally:
        tracemalloc.stop()


class TestSamples:
    def test_numbers_of_every_kind_become_doubles(self, tmp_path: Path):
        for dtype in (">f8", ">i2", "u1", "f2", ">u8", "g"):
            np.save(tmp_path / "x.npy", np.arange(6).reshape(3, 2).astype(dtype))
            samples = load_samples(tmp_path / "x.npy", 1, 0)
            assert samples.dtype == np.float64 and samples.dtype.isnative
            assert samples.tolist() == [[0, 1], [2, 3], [4, 5]]
        np.save(tmp_path / "x.npy", np.asfortranarray(np.arange(6).reshape(3, 2)))
        assert load_samples(tmp_path / "x.npy", 1, 0).tolist() == [[0, 1], [2, 3], [4, 5]]
        np.save(tmp_path / "x.npy", np.array([True, False]))
        assert load_samples(tmp_path / "x.npy", 1, 0).tolist() == [[1], [0]]

    def test_the_only_array_of_an_archive_is_read(self, tmp_path: Path):
        np.savez_compressed(tmp_path / "x.NPZ", prices=[1.5, 2.5])
        (tmp_path / "x.NPZ.npz").rename(tmp_path / "x.NPZ")
        samples = read_samples(tmp_path / "x.NPZ", 1, 0)
        assert samples.values.tolist() == [[1.5], [2.5]]
        assert samples.origin == f"{tmp_path}/x.NPZ (2 rows and 1 column; 1 from 1.5 to 2.5)"
        np.savez(tmp_path / "two.npz", a=[1.0], b=[2.0])
        with pytest.raises(
            DataError, match=r"two\.npz must hold one array .* its arrays are: a, b"
        ):
            load_samples(tmp_path / "two.npz", 1, 0)

    @pytest.mark.parametrize(
        ("array", "message"),
        [
            (np.array([[1], [1, 2]], dtype=object), "it holds Python objects, such as rows of"),
            (np.array([1 + 2j]), "it must hold real numbers, but its type is complex128"),
            (np.array(["1.5"]), "it must hold real numbers, but its type is <U3"),
            (np.array([b"1.5"]), "it must hold real numbers, but its type is |S3"),
            (np.zeros(2, "M8[s]"), "it must hold real numbers, but its type is datetime64[s]"),
            (np.zeros(2, [("a", "f4")]), "it must hold real numbers, but its type is [('a', "),
            (np.array([[1, 2], [3, np.nan]]), "finite numbers, got nan in row 2, column 2"),
            (np.array([1, -np.inf]), "must hold finite numbers, got -inf in row 2, column 1"),
            (np.array(1.0), "must hold samples [N] or [N, k], got []"),
            (np.zeros((2, 2, 2)), "must hold samples [N] or [N, k], got [2, 2, 2]"),
            (np.zeros((0, 2)), "must hold samples [N] or [N, k], got [0, 2]"),
        ],
    )  # fmt: skip
    def test_other_arrays_are_refused(self, tmp_path: Path, array: np.ndarray, message: str):
        np.save(tmp_path / "x.npy", array, allow_pickle=True)
        np.savez(tmp_path / "x.npz", array, allow_pickle=True)
        for path in (tmp_path / "x.npy", tmp_path / "x.npz"):
            with pytest.raises(DataError, match=re.escape(message)) as caught:
                load_samples(path, 1, 0)
            assert str(path) in str(caught.value) and "pickle" not in str(caught.value)

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"", "x.npy: EOF: reading magic string"),
            (b"\x93NUMPY", "x.npy: EOF: reading magic string"),
            (b"PK\x03\x04", "x.npy: "),
            (
                b"\x93NUMPY\x03\x00" + header((1,))[8:],
                "its format is NumPy's 3.0, and only 1.0 and",
            ),
            (header((HUGE,)), "x.npy: it would take 8,388,608.0 GiB, and at most"),
            (header((3, -1)) + bytes(24), "but its header says float64 [3, -1]"),
            (header((3,)) + bytes(23), "it holds 23 bytes, but its header says float64 [3]"),
            (header((3,)) + bytes(25), "it holds 25 bytes, but its header says float64 [3]"),
            (b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**31) + bytes(2**16), "x.npy: EOF"),
        ],
    )
    def test_headers_that_lie_are_refused(self, tmp_path: Path, content: bytes, message: str):
        path = tmp_path / "x.npy"
        path.write_bytes(content)
        with little_memory(), pytest.raises(DataError, match=re.escape(message)):
            load_samples(path, 1, 0)

    def test_a_version_2_header_is_read(self, tmp_path: Path):
        content = header((2,), version=(2, 0)) + np.array([1.5, 2.5]).tobytes()
        (tmp_path / "x.npy").write_bytes(content)
        assert load_samples(tmp_path / "x.npy", 1, 0).tolist() == [[1.5], [2.5]]


class TestArchivesOfImages:
    @pytest.mark.parametrize("dtype", ["u1", ">u2", "i8", ">i4"])
    def test_whole_numbers_in_range_are_pixels(self, tmp_path: Path, dtype: str):
        x = np.repeat(np.arange(216, 256), 28 * 28).reshape(40, 28, 28).astype(dtype)
        path = write_npz(tmp_path / "x.npz", x_train=x, y_train=np.zeros(40, ">i2"))
        images = load_images(path)
        assert images.labels.dtype == torch.int64 and set(images.labels.tolist()) == {0}
        assert fill(images.images)[:4] == [216, 217, 218, 220]
        assert images.provenance.endswith("; pixels from 216 to 255 of 255")

    @pytest.mark.parametrize(
        ("values", "message"),
        [
            (np.full((40, 28, 28), 0.5), "got float64 from 0.5 to 0.5; scale it and round it"),
            (np.full((40, 28, 28), np.nan), "got float64 from nan to nan; scale it and round it"),
            (np.full((40, 28, 28), 256), "got int64 from 256 to 256; scale it and round it"),
            (np.full((40, 28, 28), -1), "got int64 from -1 to -1; scale it and round it"),
            (np.full((40, 28, 28), True), "got bool from 1 to 1; scale it and round it"),
            (np.ones((40, 28, 28), np.uint8), "but it holds 0 and 1 only; multiply it by 255"),
            (np.full((40, 28, 28), 1j), "x_train in "),
            (np.full((40, 28, 28), "9"), "x_train in "),
        ],
    )
    def test_other_pixels_are_refused_with_their_range(
        self, tmp_path: Path, values: np.ndarray, message: str
    ):
        path = write_npz(tmp_path / "x.npz", x_train=values)
        with pytest.raises(DataError, match=re.escape(message)) as caught:
            load_images(path)
        assert str(path) in str(caught.value)

    @pytest.mark.parametrize("label", [2**63, "3", 1 + 1j, True])
    def test_labels_that_are_no_whole_numbers_are_refused(self, tmp_path: Path, label: Any):
        labels = np.array([label] * 40)
        path = write_npz(tmp_path / "x.npz", y_train=labels)
        with pytest.raises(DataError, match=re.escape(str(path))):
            load_images(path)

    def test_names_of_classes_are_text_in_bytes_too(self, tmp_path: Path):
        names = np.array(["null", "één", "zwei", "three"])
        for classes in (names, np.char.encode(names, "utf-8")):
            path = write_npz(tmp_path / "x.npz", classes=classes)
            images = load_images(path)
            assert list(images.class_names.values()) == names.tolist()
            assert "the labels are 0 (null), 1 (één), 2 (zwei), 3 (three)" in images.provenance

    @pytest.mark.parametrize(
        ("shape", "declared"), [((HUGE, 28, 28), None), ((200, 28, 28), 2**40), ((2, 28, 28), 9)]
    )
    def test_archives_that_lie_about_sizes_are_refused(
        self, tmp_path: Path, shape: tuple[int, ...], declared: int | None
    ):
        path = tmp_path / "x.npz"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("y_train.npy", header((2,), "<i8") + bytes(16))
            archive.writestr("x_train.npy", header(shape, "|u1") + bytes(2 * 28 * 28))
        if declared is not None:  # the uncompressed size, in the central directory
            content = bytearray(path.read_bytes())
            place = content.rindex(b"x_train.npy") - 46 + 24
            content[place : place + 4] = struct.pack("<I", min(declared, 2**32 - 2))
            path.write_bytes(content)
        with little_memory(), pytest.raises(DataError, match=f"cannot read .*{path}"):
            load_images(path)

    def test_an_archive_that_unpacks_beyond_the_memory_is_refused_at_once(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ):
        monkeypatch.setattr("qcaan.data.opening.memory_of", lambda: 2**20)
        path = write_npz(tmp_path / "x.npz", x_train=np.zeros((2000, 28, 28), np.uint8))
        with pytest.raises(DataError, match=r"x_train in .* would take 0\.0 GiB, and at most"):
            load_images(path)
        # one pixel each, which becomes 28x28 floats
        path = write_npz(
            tmp_path / "x.npz",
            x_train=np.full((2000, 1, 1), 9, np.uint8),
            y_train=np.zeros(2000, int),
        )
        with pytest.raises(DataError, match=r"x\.npz: it would take"):
            load_images(path)

    def test_a_file_that_is_no_archive_is_told_what_images_are(self, tmp_path: Path):
        np.save(tmp_path / "x.npy", np.zeros((4, 28, 28), np.uint8))
        with pytest.raises(DataError, match="images are read from a folder of class folders, or"):
            load_images(tmp_path / "x.npy")
        write_npz(tmp_path / "x.npz").rename(tmp_path / "x.data")
        assert len(load_images(tmp_path / "x.data").images) == 32


class TestIdx:
    def test_a_header_beyond_the_memory_is_refused(self, tmp_path: Path):
        root = write_mnist(tmp_path, images=lambda content: b"\0\0\x08\x04" + b"\x7f" * 16)
        with little_memory(), pytest.raises(DataError, match="ubyte: it would take"):
            load_images("mnist", root=root)

    def test_no_more_is_unpacked_than_the_header_says(self, tmp_path: Path):
        def bomb(content: bytes) -> bytes:
            return gzip.compress(gzip.decompress(content) + bytes(40_000_000), compresslevel=1)

        root = write_mnist(tmp_path, ".gz", images=bomb)
        with (
            little_memory(),
            pytest.raises(DataError, match=r"holds more than 15680 bytes, .* says \[20, 28, 28\]"),
        ):
            load_images("mnist", root=root)

    @pytest.mark.parametrize("given", ["MNIST", "MNIST/raw", "."])
    def test_the_root_may_be_a_folder_within_it(
        self, tmp_path: Path, given: str, monkeypatch: pytest.MonkeyPatch
    ):
        write_mnist(tmp_path)
        assert len(load_images("mnist", root=tmp_path / given).images) == 20
        monkeypatch.chdir(tmp_path / given)
        assert len(load_images("mnist", root=".").images) == 20

    def test_a_root_that_is_named_like_the_data_set_is_a_root(self, tmp_path: Path):
        write_mnist(tmp_path / "MNIST")
        assert len(load_images("mnist", root=tmp_path / "MNIST").images) == 20


@pytest.fixture
def not_files(tmp_path: Path) -> Iterator[dict[str, Path]]:
    """Paths that exist and are no regular files."""
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "device.csv").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket.csv"))
        yield {kind: tmp_path / f"{kind}.csv" for kind in ("pipe", "folder", "device", "socket")}


def test_only_regular_files_are_opened(not_files: dict[str, Path], tmp_path: Path):
    for kind, path in not_files.items():
        for suffix in (".csv", ".npy", ".npz"):
            link = tmp_path / f"link-{kind}{suffix}"
            link.symlink_to(path)
            with pytest.raises(DataError, match=f"{link}: it is a {kind}, and data must be in"):
                load_samples(link, 1, 0)
        if kind != "folder":
            for name in (path, tmp_path / f"link-{kind}.npz"):
                with pytest.raises(DataError, match=f"{name}: it is a {kind}, and data must be"):
                    load_images(name)


def test_a_pipe_among_the_files_of_a_data_set_is_refused(tmp_path: Path):
    path = write_mnist(tmp_path) / "MNIST" / "raw" / "train-images-idx3-ubyte"
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(DataError, match="ubyte: it is a pipe"):
        load_images("mnist", root=tmp_path)
    os.makedirs(tmp_path / "cifar-10-batches-py")
    os.mkfifo(tmp_path / "cifar-10-batches-py" / "data_batch_1")
    with pytest.raises(DataError, match="data_batch_1: it is a pipe"):
        load_images("cifar10", root=tmp_path)


@pytest.mark.parametrize(
    ("name", "write"),
    [("x.npy", lambda path: np.save(path, np.zeros(3))),
     ("x.npz", lambda path: np.savez(path, np.zeros(3)))],
)  # fmt: skip
def test_a_lack_of_memory_is_not_called_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, write: Callable[[Path], None]
):
    def fail(*_: object, **__: object) -> None:
        raise MemoryError

    write(tmp_path / name)
    monkeypatch.setattr(npy, "read_array", fail)
    with pytest.raises(MemoryError):
        load_samples(tmp_path / name, 1, 0)
