"""Data sets as they lie on disk or on the net, read into arrays of pixels and labels.

Reading writes nothing. Only a download writes into the data folder, and it puts whole files there or none.
"""

from __future__ import annotations

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
from typing import NamedTuple

import numpy as np

DATA_NAMES = ("auto", "mnist", "fashion-mnist", "cifar10", "digits8x8")
SIZES = {1: 28, 3: 32}  # number of channels: height and width in pixels unless asked otherwise
DOWNLOAD_SECONDS = 15.0  # for a whole data set

_DIGITS = tuple("0123456789")
_CLOTHES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
_PICTURE_SUFFIXES = (
    ".bmp",
    ".gif",
    ".jpeg",
    ".jpg",
    ".pgm",
    ".png",
    ".ppm",
    ".tif",
    ".tiff",
    ".webp",
)


class DataError(ValueError):
    """Images that cannot be had as asked; the message is one line that names the value or the file."""


class NotAvailable(DataError):
    """A known data set that is neither in the data folder nor downloadable; a damaged one is a plain DataError."""


class Pictures(NamedTuple):
    """A data set, or the asked split of it, as a reader found it; `load_images` checks the arrays."""

    pixels: np.ndarray  # uint8 [N, H, W] or [N, H, W, C]
    labels: np.ndarray  # integers [N]
    class_names: dict[int, str]
    origin: str
    is_split: bool = True  # False: the source has no test part of its own


def read(name: str, root: Path, split: str, size: int | None) -> Pictures:
    """The data set `name`, or where it has a test part the asked `split` of it; see `qcaan.data.images.load_images`."""
    match name:
        case "mnist":
            return _read_mnist("MNIST", _DIGITS, root, split)
        case "fashion-mnist":
            return _read_mnist("FashionMNIST", _CLOTHES, root, split)
        case "cifar10":
            return _read_cifar10(root, split)
        case "digits8x8":
            return _read_digits()
    path = expanded(name)
    if not name or not path.exists():
        raise DataError(
            f"unknown data {name!r}: choose from {', '.join(DATA_NAMES)}; nor is there a path of that name"
        )
    return _read_folder(path, size) if path.is_dir() else _read_npz(path, split)


def expanded(path: str | Path) -> Path:
    with _reading(Path(path)):  # a RuntimeError where there is no user of that name
        return Path(path).expanduser()


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn whatever a parser throws at damaged bytes into one DataError that names `path`."""
    try:
        yield
    except DataError:
        raise
    except (
        Exception
    ) as error:  # zlib.error, EOFError, BadZipFile, UnidentifiedImageError, SyntaxError, ...
        raise DataError(f"cannot read {path}: {str(error) or type(error).__name__}") from error


def _listing(folder: Path) -> list[str]:
    """Sorted names in `folder` but hidden ones; empty where there is no such folder."""
    with _reading(folder):
        try:
            return sorted(name for name in os.listdir(folder) if not name.startswith("."))
        except FileNotFoundError:
            return []


def _read_mnist(dataset: str, names: Sequence[str], root: Path, split: str) -> Pictures:
    """A data set in MNIST's format where torchvision keeps it; unlike for torchvision, the `.gz` files are enough."""
    folder = root / dataset / "raw"
    stem = {"train": "train", "test": "t10k"}[split]
    images, labels = (folder / f"{stem}-{kind}-ubyte" for kind in ("images-idx3", "labels-idx1"))
    there = _listing(folder)
    if any(path.name not in there and f"{path.name}.gz" not in there for path in (images, labels)):
        _download(dataset, dataset, root)
    return Pictures(
        _read_idx(images), _read_idx(labels), dict(enumerate(names)), f"{dataset} in {folder}"
    )


def _read_idx(path: Path) -> np.ndarray:
    """Array uint8 [...] in the IDX file `path`, or in `path`.gz where only that is there."""
    if not path.exists():
        path = path.with_name(f"{path.name}.gz")
    with _reading(path):
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        if data[:3] != b"\0\0\x08":  # 8: unsigned bytes; the fourth byte is the number of axes
            raise DataError(f"cannot read {path}: not an IDX file of unsigned bytes")
        shape = np.frombuffer(data, ">u4", data[3], offset=4).tolist()
        values = np.frombuffer(data, np.uint8, offset=4 + 4 * len(shape))
        if values.size != math.prod(shape):
            raise DataError(
                f"cannot read {path}: {values.size} bytes where its header tells of {shape}"
            )
        return values.reshape(shape)


def _read_cifar10(root: Path, split: str) -> Pictures:
    folder = root / "cifar-10-batches-py"
    if not _listing(folder):
        _download("CIFAR10", folder.name, root)
    from torchvision.datasets import CIFAR10

    with _reading(folder):
        data = CIFAR10(
            root, train=split == "train"
        )  # checks every file's MD5 sum before it unpickles one
    return Pictures(
        data.data, np.array(data.targets), dict(enumerate(data.classes)), f"CIFAR10 in {folder}"
    )


def _download(dataset: str, folder: str, root: Path) -> None:
    """Let torchvision fetch `root`/`folder`, whole or not at all, and give up after `DOWNLOAD_SECONDS`.

    A child process does it: torchvision tries mirror after mirror and waits for slow ones for ever, and only a process
    can be stopped in that.
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
        f'to fetch it without a time limit: cd {root} && python -c "{program}"'
    )


def _read_digits() -> Pictures:
    from sklearn.datasets import load_digits

    digits = load_digits()
    pixels = (digits.images * (255 / 16)).round().astype(np.uint8)  # [N, 8, 8], were 0..16
    origin = "the handwritten digits that ship with scikit-learn"
    return Pictures(pixels, digits.target, dict(enumerate(_DIGITS)), origin, is_split=False)


def _read_npz(path: Path, split: str) -> Pictures:
    # Not np.load, which takes what is not an archive for a pickle and advises to allow that.
    with (
        _reading(path),
        path.open("rb") as file,
        np.lib.npyio.NpzFile(file, allow_pickle=False) as archive,
    ):
        has_test = not {"x_test", "y_test"}.isdisjoint(archive.files)
        part = split if has_test else "train"
        if missing := [key for key in (f"x_{part}", f"y_{part}") if key not in archive.files]:
            raise DataError(
                f"{path} has no {', '.join(missing)}; it needs x_train, y_train, may have x_test, y_test"
            )
        pixels, labels = np.asarray(archive[f"x_{part}"]), np.asarray(archive[f"y_{part}"])
        if "classes" in archive.files:
            class_names = dict(enumerate(archive["classes"].astype(str).ravel().tolist()))
        else:
            class_names = {label: str(label) for label in np.unique(labels).tolist()}
    return Pictures(pixels, labels, class_names, str(path), is_split=has_test)


def _read_folder(path: Path, size: int | None) -> Pictures:
    folders = [name for name in _listing(path) if (path / name).is_dir()]
    numbers = {
        int(name) for name in folders if name.isascii() and name.isdigit() and len(name) < 19
    }  # int64
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
    return Pictures(
        pixels, labels, class_names, f"{path}, each resized to {side}x{side}", is_split=False
    )


def _is_grey(path: Path) -> bool:
    from PIL import Image

    with _reading(path), Image.open(path) as picture:
        if picture.mode.startswith(("I", "F")):  # Pillow would clip these to 255, not scale them
            raise DataError(
                f"cannot read {path}: it must have 8 bits a channel, but its mode is {picture.mode}"
            )
        if picture.mode == "P":
            palette = np.array(picture.getpalette()).reshape(-1, 3)
            return bool((palette == palette[:, :1]).all())
        return picture.mode in ("1", "L", "LA")


def _read_picture(path: Path, mode: str, side: int) -> np.ndarray:
    """Picture as uint8 [side, side] in mode `L`, [side, side, 3] in mode `RGB`."""
    from PIL import Image

    with _reading(path), Image.open(path) as picture:
        unpacked = (
            picture.convert("RGBA") if picture.mode == "P" else picture
        )  # or Pillow warns of transparency
        return np.array(unpacked.convert(mode).resize((side, side), Image.Resampling.BILINEAR))
