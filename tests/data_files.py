"""Small data sets on disk, for the tests of images and their readers."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

Damage = Callable[[bytes], bytes]


def write_idx(path: Path, values: np.ndarray, damage: Damage = bytes) -> None:
    """Write an IDX file of unsigned bytes, gzipped if its name ends in .gz.

    `damage` changes the bytes of the file.
    """
    header = bytes((0, 0, 8, values.ndim)) + np.array(values.shape, ">u4").tobytes()
    content = header + values.astype(np.uint8).tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(damage(gzip.compress(content) if path.suffix == ".gz" else content))


def write_mnist(root: Path, suffix: str = "", **damage: Damage) -> Path:
    """Write twenty training and ten test images in MNIST's format.

    Image i is filled with i, but for pixel (0, 0) = 255.
    """
    for stem, n in (("train", 20), ("t10k", 10)):
        images = np.repeat(np.arange(n), 28 * 28).reshape(n, 28, 28)
        images[:, 0, 0] = 255
        raw = root / "MNIST" / "raw"
        write_idx(raw / f"{stem}-images-idx3-ubyte{suffix}", images, damage.get("images", bytes))
        write_idx(
            raw / f"{stem}-labels-idx1-ubyte{suffix}",
            np.arange(n) % 10,
            damage.get("labels", bytes),
        )
    return root


def write_npz(path: Path, **changes: Any) -> Path:
    """Write forty grey 28x28 training images of the classes 0..3, image i filled with i.

    `changes` replace arrays; a change to None drops one.
    """
    x = np.repeat(np.arange(40, dtype=np.uint8), 28 * 28).reshape(40, 28, 28)
    arrays: dict[str, Any] = {"x_train": x, "y_train": np.arange(40) % 4} | changes
    np.savez(path, **{key: value for key, value in arrays.items() if value is not None})
    return path


def write_pictures(root: Path, **folders: list[Image.Image]) -> Path:
    for name, pictures in folders.items():
        (root / name).mkdir(parents=True)
        for index, picture in enumerate(pictures):
            picture.save(root / name / f"{index:02}.png")
    return root


def grey(value: int, side: int = 28) -> Image.Image:
    return Image.new("L", (side, side), value)


def fill(images: torch.Tensor) -> list[int]:
    """Return the 8-bit value of each image's last pixel."""
    return ((images[:, 0, -1, -1] + 1) * 127.5).round().int().tolist()
