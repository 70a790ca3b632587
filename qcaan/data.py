"""Labelled images: a whole data set as one tensor [N, C, H, W] in [-1, 1].

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
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

DATA_NAMES = ("auto", "mnist", "fashion-mnist", "cifar10", "digits8x8")
SPLITS = ("train", "test")
SIZES = {1: 28, 3: 32}  # number of channels: height and width in pixels unless asked otherwise
DOWNLOAD_SECONDS = 15.0  # for a whole data set

_DIGITS = tuple("0123456789")
_CLOTHES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
_PICTURE_SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")


class DataError(ValueError):
    """Images that cannot be had as asked; the message is one line that names the value or the file."""


class _NotAvailable(DataError):
    """A known data set that is neither in the data folder nor downloadable; a damaged one is a plain DataError."""


@dataclass(frozen=True, eq=False)
class ImageSet:
    """One split of a data set.

    Attributes:
        images: [N, C, H, W] float32 in [-1, 1]; C = 1 (grey) or 3 (RGB), H = W = 28 or 32.
        labels: [N] int64, the data set's own label values.
        name: `mnist`, `fashion-mnist`, `cifar10`, `digits8x8` or the path; never `auto`.
        provenance: one sentence: how many images, from where, how resized, and whether they stand in for others.
        class_names: human name of each label that occurs, in ascending order of the labels.
    """

    images: Tensor
    labels: Tensor
    name: str
    provenance: str
    class_names: dict[int, str]

    def to(self, device: str | torch.device) -> ImageSet:
        """The same set with its tensors on `device`."""
        return replace(self, images=self.images.to(device), labels=self.labels.to(device))

    def only(self, classes: Sequence[int]) -> ImageSet:
        """The images of `classes`, in the order they have here.

        Raises:
            DataError: `classes` is empty, repeats one or has one that no image is labelled with.
        """
        asked, present = f"classes ({', '.join(map(str, classes))})", _listed(list(self.class_names))
        if unknown := [label for label in classes if label not in self.class_names]:
            raise DataError(f"{asked}: {unknown[0]} is not a label of {self.name}; its labels are {present}")
        if not classes or len(set(classes)) < len(classes):
            raise DataError(f"{asked} must be one or more different labels of {self.name}; its labels are {present}")
        class_names = {label: name for label, name in self.class_names.items() if label in classes}
        kept = torch.isin(self.labels, torch.tensor(list(class_names), device=self.labels.device))
        provenance = f"{self.provenance}; kept are the {int(kept.sum())} labelled {_listed(list(class_names))}"
        return replace(
            self, images=self.images[kept], labels=self.labels[kept], provenance=provenance, class_names=class_names
        )


class _Pictures(NamedTuple):
    """A data set, or the asked split of it, as a reader found it; `load_images` checks the arrays."""

    pixels: np.ndarray  # uint8 [N, H, W] or [N, H, W, C]
    labels: np.ndarray  # integers [N]
    class_names: dict[int, str]
    origin: str
    is_split: bool = True  # False: the source has no test part of its own


def load_images(
    name: str | Path = "auto",
    classes: Sequence[int] | None = None,
    root: str | Path | None = None,
    split: str = "train",
    size: int | None = None,
) -> ImageSet:
    """Read one split of a data set, whole or only the images of `classes`, in the data set's order.

    Args:
        name: one of `DATA_NAMES`, or the path of an `.npz` file or of a folder of class folders. `auto` is `mnist`, or
            `digits8x8` (which ships with scikit-learn) where MNIST is neither in `root` nor downloadable. An `.npz` has
            x_train uint8 [N, H, W] or [N, H, W, 1 or 3] and y_train int [N], and may have x_test, y_test and `classes`,
            the names of the labels 0, 1, ... Class folders are labelled 0, 1, ... in sorted order, or by their names
            where these are different integers; their pictures are grey if all of them are, and lose any transparency.
        classes: labels to keep; None keeps all.
        root: folder of the downloaded data sets; default `$QCAAN_DATA`, else `qcaan/data` in the user's cache folder.
        split: `train` or `test`. Where the source has no test part, every fourth image of each class is held out.
        size: height and width, 28 or 32 pixels; None is 28 for grey and 32 for RGB. Resizing is bilinear, antialiased,
            and does not keep the aspect ratio.

    Raises:
        DataError: an argument outside its allowed set; a data set that is neither there nor downloaded within
            `DOWNLOAD_SECONDS`; a damaged file, under `auto` too.
    """
    if split not in SPLITS:
        raise DataError(f"split must be one of {', '.join(SPLITS)}, got {split!r}")
    if size is not None and size not in SIZES.values():
        raise DataError(f"size must be 28 or 32, got {size!r}")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
    root = _expanded(root or os.environ.get("QCAAN_DATA") or cache / "qcaan" / "data")
    name, stand_in = str(name), ""
    if name == "auto":
        try:
            name, pictures = "mnist", _read("mnist", root, split, size)
        except _NotAvailable as error:
            name, pictures, stand_in = "digits8x8", _read_digits(), f"NOT MNIST but a stand-in, because {error}: "
    else:
        pictures = _read(name, root, split, size)

    pixels, labels = _checked_split(pictures, split)
    n, _, height, width = pixels.shape
    side = size or SIZES[pixels.shape[1]]
    provenance = f"{stand_in}{n} {split} images of {pictures.origin}"
    if not pictures.is_split:
        provenance += ", every fourth of each class held out as test images"
    if (height, width) != (side, side):
        provenance += f", resized from {height}x{width} to {side}x{side}"
    images = _resize(pixels, side).div_(127.5).sub_(1).clamp_(-1, 1)
    class_names = {label: pictures.class_names[label] for label in labels.unique().tolist()}
    data = ImageSet(images, labels, name, provenance, class_names)
    return data if classes is None else data.only(classes)


def _expanded(path: str | Path) -> Path:
    with _reading(Path(path)):  # a RuntimeError where there is no user of that name
        return Path(path).expanduser()


def _checked_split(pictures: _Pictures, split: str) -> tuple[Tensor, Tensor]:
    """Pixels uint8 [N, C, H, W] and labels int64 [N] of the asked split, all classes; DataError if ill-formed."""
    pixels, labels, class_names, origin, is_split = pictures
    well_formed = pixels.dtype == np.uint8 and pixels.ndim in (3, 4) and pixels.shape[3:] in ((), (1,), (3,))
    if not well_formed or labels.dtype.kind not in "iu" or labels.shape != pixels.shape[:1]:
        raise DataError(
            f"{origin} must have images uint8 [N, H, W] or [N, H, W, 1 or 3] and as many labels int [N], "
            f"got {pixels.dtype} {list(pixels.shape)} and {labels.dtype} {list(labels.shape)}"
        )
    if not is_split:
        held_out = np.zeros(len(labels), dtype=bool)
        for label in np.unique(labels):
            held_out[np.flatnonzero(labels == label)[3::4]] = True
        chosen = held_out == (split == "test")
        pixels, labels = pixels[chosen], labels[chosen]
    if not pixels.size:
        raise DataError(f"{origin} has no {split} images")
    if unnamed := [label for label in np.unique(labels).tolist() if label not in class_names]:
        raise DataError(f"{origin} has label {unnamed[0]}, which is none of its classes {_listed(list(class_names))}")
    channels_last = torch.tensor(pixels).reshape(*pixels.shape[:3], -1)  # [N, H, W, C]
    return channels_last.permute(0, 3, 1, 2).contiguous(), torch.tensor(labels.astype(np.int64))


def _listed(labels: list[int]) -> str:
    """Ascending labels for a message: `3, 7, 9`, or `0..9` where none is left out."""
    contiguous = len(labels) > 2 and labels[-1] - labels[0] == len(labels) - 1
    return f"{labels[0]}..{labels[-1]}" if contiguous else ", ".join(map(str, labels))


def _resize(pixels: Tensor, side: int) -> Tensor:
    """Pixels [N, C, H, W] in [0, 255] to float32 [N, C, side, side]."""
    if pixels.shape[2:] == (side, side):
        return pixels.float()
    parts = pixels.split(1000)  # bounds the memory for large images as float32
    return torch.cat([F.interpolate(part.float(), (side, side), mode="bilinear", antialias=True) for part in parts])


def _read(name: str, root: Path, split: str, size: int | None) -> _Pictures:
    match name:
        case "mnist":
            return _read_mnist("MNIST", _DIGITS, root, split)
        case "fashion-mnist":
            return _read_mnist("FashionMNIST", _CLOTHES, root, split)
        case "cifar10":
            return _read_cifar10(root, split)
        case "digits8x8":
            return _read_digits()
    path = _expanded(name)
    if not name or not path.exists():
        raise DataError(f"unknown data {name!r}: choose from {', '.join(DATA_NAMES)}; nor is there a path of that name")
    return _read_folder(path, size) if path.is_dir() else _read_npz(path, split)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn whatever a parser throws at damaged bytes into one DataError that names `path`."""
    try:
        yield
    except DataError:
        raise
    except Exception as error:  # zlib.error, EOFError, BadZipFile, UnidentifiedImageError, SyntaxError, ...
        raise DataError(f"cannot read {path}: {str(error) or type(error).__name__}") from error


def _listing(folder: Path) -> list[str]:
    """Sorted names in `folder` but hidden ones; empty where there is no such folder."""
    with _reading(folder):
        try:
            return sorted(name for name in os.listdir(folder) if not name.startswith("."))
        except FileNotFoundError:
            return []


def _read_mnist(dataset: str, names: Sequence[str], root: Path, split: str) -> _Pictures:
    """A data set in MNIST's format where torchvision keeps it; unlike for torchvision, the `.gz` files are enough."""
    folder = root / dataset / "raw"
    stem = {"train": "train", "test": "t10k"}[split]
    images, labels = (folder / f"{stem}-{kind}-ubyte" for kind in ("images-idx3", "labels-idx1"))
    there = _listing(folder)
    if any(path.name not in there and f"{path.name}.gz" not in there for path in (images, labels)):
        _download(dataset, dataset, root)
    return _Pictures(_read_idx(images), _read_idx(labels), dict(enumerate(names)), f"{dataset} in {folder}")


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
            raise DataError(f"cannot read {path}: {values.size} bytes where its header tells of {shape}")
        return values.reshape(shape)


def _read_cifar10(root: Path, split: str) -> _Pictures:
    folder = root / "cifar-10-batches-py"
    if not _listing(folder):
        _download("CIFAR10", folder.name, root)
    from torchvision.datasets import CIFAR10

    with _reading(folder):
        data = CIFAR10(root, train=split == "train")  # checks every file's MD5 sum before it unpickles one
    return _Pictures(data.data, np.array(data.targets), dict(enumerate(data.classes)), f"CIFAR10 in {folder}")


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
            shutil.copytree(Path(staging, folder), root / folder, copy_function=os.replace, dirs_exist_ok=True)
        return
    except subprocess.TimeoutExpired:
        reason = f"not done within {DOWNLOAD_SECONDS:g} s"
    except subprocess.CalledProcessError as error:
        reason = (error.stderr.strip() or str(error)).splitlines()[-1]
    except OSError as error:
        reason = str(error)
    raise _NotAvailable(
        f"{dataset} is not in {root} and its download failed ({reason}); "
        f'to fetch it without a time limit: cd {root} && python -c "{program}"'
    )


def _read_digits() -> _Pictures:
    from sklearn.datasets import load_digits

    digits = load_digits()
    pixels = (digits.images * (255 / 16)).round().astype(np.uint8)  # [N, 8, 8], were 0..16
    origin = "the handwritten digits that ship with scikit-learn"
    return _Pictures(pixels, digits.target, dict(enumerate(_DIGITS)), origin, is_split=False)


def _read_npz(path: Path, split: str) -> _Pictures:
    # Not np.load, which takes what is not an archive for a pickle and advises to allow that.
    with _reading(path), path.open("rb") as file, np.lib.npyio.NpzFile(file, allow_pickle=False) as archive:
        has_test = not {"x_test", "y_test"}.isdisjoint(archive.files)
        part = split if has_test else "train"
        if missing := [key for key in (f"x_{part}", f"y_{part}") if key not in archive.files]:
            raise DataError(f"{path} has no {', '.join(missing)}; it needs x_train, y_train, may have x_test, y_test")
        pixels, labels = np.asarray(archive[f"x_{part}"]), np.asarray(archive[f"y_{part}"])
        if "classes" in archive.files:
            class_names = dict(enumerate(archive["classes"].astype(str).ravel().tolist()))
        else:
            class_names = {label: str(label) for label in np.unique(labels).tolist()}
    return _Pictures(pixels, labels, class_names, str(path), is_split=has_test)


def _read_folder(path: Path, size: int | None) -> _Pictures:
    folders = [name for name in _listing(path) if (path / name).is_dir()]
    numbers = {int(name) for name in folders if name.isascii() and name.isdigit() and len(name) < 19}  # int64
    numbered = len(numbers) == len(folders)
    class_names = {int(name) if numbered else index: name for index, name in enumerate(folders)}
    files = [
        (path / folder / name, label)
        for label, folder in class_names.items()
        for name in _listing(path / folder)
        if name.lower().endswith(_PICTURE_SUFFIXES)
    ]
    if not files:
        raise DataError(f"{path} has no class folders with pictures ({', '.join(_PICTURE_SUFFIXES)})")
    mode = "L" if all(_is_grey(file) for file, _ in files) else "RGB"
    side = size or SIZES[len(mode)]
    pixels = np.stack([_read_picture(file, mode, side) for file, _ in files])
    labels = np.array([label for _, label in files])
    return _Pictures(pixels, labels, class_names, f"{path}, each resized to {side}x{side}", is_split=False)


def _is_grey(path: Path) -> bool:
    from PIL import Image

    with _reading(path), Image.open(path) as picture:
        if picture.mode.startswith(("I", "F")):  # Pillow would clip these to 255, not scale them
            raise DataError(f"cannot read {path}: it must have 8 bits a channel, but its mode is {picture.mode}")
        if picture.mode == "P":
            palette = np.array(picture.getpalette()).reshape(-1, 3)
            return bool((palette == palette[:, :1]).all())
        return picture.mode in ("1", "L", "LA")


def _read_picture(path: Path, mode: str, side: int) -> np.ndarray:
    """Picture as uint8 [side, side] in mode `L`, [side, side, 3] in mode `RGB`."""
    from PIL import Image

    with _reading(path), Image.open(path) as picture:
        unpacked = picture.convert("RGBA") if picture.mode == "P" else picture  # or Pillow warns of transparency
        return np.array(unpacked.convert(mode).resize((side, side), Image.Resampling.BILINEAR))
