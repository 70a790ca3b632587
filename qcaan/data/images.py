"""Labelled images: a whole data set as one tensor [N, C, H, W] in [-1, 1]."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from qcaan.data.readers import SIZES, DataError, NotAvailable, Pictures, expanded, read

SPLITS = ("train", "test")


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

    @property
    def facts(self) -> dict[str, Any]:
        """What a run's record says of the set: name, numbers and provenance."""
        shape = list(self.images.shape)
        return {
            "name": self.name,
            "n_images": shape[0],
            "image_shape": shape[1:],
            "provenance": self.provenance,
        }

    def to(self, device: str | torch.device) -> ImageSet:
        """The same set with its tensors on `device`."""
        return replace(self, images=self.images.to(device), labels=self.labels.to(device))

    def only(self, classes: Sequence[int]) -> ImageSet:
        """The images of `classes`, in the order they have here.

        Raises:
            DataError: `classes` is empty, repeats one or has one that no image is labelled with.
        """
        asked, present = (
            f"classes ({', '.join(map(str, classes))})",
            _listed(list(self.class_names)),
        )
        if unknown := [label for label in classes if label not in self.class_names]:
            raise DataError(
                f"{asked}: {unknown[0]} is not a label of {self.name}; its labels are {present}"
            )
        if not classes or len(set(classes)) < len(classes):
            raise DataError(
                f"{asked} must be one or more different labels of {self.name}; its labels are {present}"
            )
        class_names = {label: name for label, name in self.class_names.items() if label in classes}
        kept = torch.isin(self.labels, torch.tensor(list(class_names), device=self.labels.device))
        provenance = f"{self.provenance}; kept are the {int(kept.sum())} labelled {_listed(list(class_names))}"
        return replace(
            self,
            images=self.images[kept],
            labels=self.labels[kept],
            provenance=provenance,
            class_names=class_names,
        )


def load_images(
    name: str | Path = "auto",
    classes: Sequence[int] | None = None,
    root: str | Path | None = None,
    split: str = "train",
    size: int | None = None,
) -> ImageSet:
    """Read one split of a data set, whole or only the images of `classes`, in the data set's order.

    Args:
        name: one of `qcaan.data.readers.DATA_NAMES`, or the path of an `.npz` file or of a folder of class folders. `auto` is
            `mnist`, or `digits8x8` (which ships with scikit-learn) where MNIST is neither in `root` nor downloadable. An
            `.npz` has x_train uint8 [N, H, W] or [N, H, W, 1 or 3] and y_train int [N], and may have x_test, y_test and
            `classes`, the names of the labels 0, 1, ... Class folders are labelled 0, 1, ... in sorted order, or by their names
            where these are different integers; their pictures are grey if all of them are, and lose any transparency.
        classes: labels to keep; None keeps all.
        root: folder of the downloaded data sets; default `$QCAAN_DATA`, else `qcaan/data` in the user's cache folder.
        split: `train` or `test`. Where the source has no test part, every fourth image of each class is held out.
        size: height and width, 28 or 32 pixels; None is 28 for grey and 32 for RGB. Resizing is bilinear, antialiased,
            and does not keep the aspect ratio.

    Raises:
        DataError: an argument outside its allowed set; a data set that is neither there nor downloaded within
            `qcaan.data.readers.DOWNLOAD_SECONDS`; a damaged file, under `auto` too.
    """
    if split not in SPLITS:
        raise DataError(f"split must be one of {', '.join(SPLITS)}, got {split!r}")
    if size is not None and size not in SIZES.values():
        raise DataError(f"size must be 28 or 32, got {size!r}")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
    root = expanded(root or os.environ.get("QCAAN_DATA") or cache / "qcaan" / "data")
    name, stand_in = str(name), ""
    if name == "auto":
        try:
            name, pictures = "mnist", read("mnist", root, split, size)
        except NotAvailable as error:
            name, stand_in = "digits8x8", f"NOT MNIST but a stand-in, because {error}: "
            pictures = read(name, root, split, size)
    else:
        pictures = read(name, root, split, size)

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


def load_splits(
    name: str | Path = "auto", root: str | Path | None = None
) -> tuple[ImageSet, ImageSet]:
    """All training and all test images of a data set; see `load_images`."""
    train, test = (load_images(name, root=root, split=split) for split in SPLITS)
    return train, test


def _checked_split(pictures: Pictures, split: str) -> tuple[Tensor, Tensor]:
    """Pixels uint8 [N, C, H, W] and labels int64 [N] of the asked split, all classes; DataError if ill-formed."""
    pixels, labels, class_names, origin, is_split = pictures
    well_formed = (
        pixels.dtype == np.uint8 and pixels.ndim in (3, 4) and pixels.shape[3:] in ((), (1,), (3,))
    )
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
        raise DataError(
            f"{origin} has label {unnamed[0]}, which is none of its classes {_listed(list(class_names))}"
        )
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
    return torch.cat(
        [
            F.interpolate(part.float(), (side, side), mode="bilinear", antialias=True)
            for part in parts
        ]
    )
