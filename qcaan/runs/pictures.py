"""Pictures of a run: grids, strips and the progress GIF."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from qcaan.data.images import to_pixels
from qcaan.files import atomic_write
from qcaan.runs.directory import RunDirectory

Pixels = NDArray[np.uint8]
# number of frames; longer runs are thinned out evenly
_LONGEST_GIF = 60
# images in a grid; viewers refuse much larger pictures
MOST_IMAGES = 10_000
_BORDER = 60  # grey value


def channels_last(images: Tensor) -> Pixels:
    """Return images [N, C, H, W] in [-1, 1] as uint8 [N, H, W] (grey) or [N, H, W, 3]."""
    pixels = to_pixels(images.cpu()).permute(0, 2, 3, 1).numpy()
    return pixels[..., 0] if pixels.shape[-1] == 1 else pixels


def grid(images: Tensor, *, n_columns: int | None = None, scale: int = 2) -> Pixels:
    """Return images in rows with borders between them, uint8 [H, W] or [H, W, 3].

    Args:
        images: [N, C, H, W] in [-1, 1].
        n_columns: number of images in a row; default as many as make the grid almost square.
        scale: height and width of a pixel of an image, in pixels of the grid.
    """
    pixels = channels_last(images)
    borders = ((0, 0), (1, 1), (1, 1), (0, 0))[: pixels.ndim]
    pixels = np.pad(pixels, borders, constant_values=_BORDER)
    n_columns = n_columns or math.ceil(math.sqrt(len(pixels)))
    n_rows = -(-len(pixels) // n_columns)
    canvas = np.full((n_rows * n_columns, *pixels.shape[1:]), _BORDER, np.uint8)
    canvas[: len(pixels)] = pixels
    height, width = pixels.shape[1:3]
    canvas = canvas.reshape(n_rows, n_columns, height, width, *pixels.shape[3:])
    joined = canvas.swapaxes(1, 2).reshape(n_rows * height, n_columns * width, *pixels.shape[3:])
    return joined.repeat(scale, 0).repeat(scale, 1)


def save_picture(path: Path, pixels: Pixels) -> None:
    """Write uint8 [H, W] or [H, W, 3] as PNG, atomically."""
    import imageio.v3 as iio

    with atomic_write(path) as buffer:
        iio.imwrite(buffer, pixels, extension=".png")


def save_gif(path: Path, frames: Sequence[Pixels], *, seconds: float, comment: str = "") -> None:
    """Write frames of one shape as a GIF that repeats forever, atomically.

    Args:
        path: path of the file.
        frames: uint8 [H, W] or [H, W, 3] each.
        seconds: time for which each frame is shown; the last is shown five times as long.
        comment: text that the file carries.
    """
    import imageio.v3 as iio

    durations = [1000 * seconds] * (len(frames) - 1) + [5000 * seconds]
    with atomic_write(path) as buffer:
        iio.imwrite(
            buffer,
            np.stack(frames),
            extension=".gif",
            plugin="pillow",
            # Pillow takes no list for a single frame
            duration=durations if len(frames) > 1 else durations[0],
            loop=0,
            comment=comment,
        )


def save_strip(path: Path, images: Tensor) -> None:
    """Write images [N, C, H, W] in [-1, 1] side by side as PNG, or in turn as .gif."""
    if path.suffix == ".gif":
        save_gif(path, [grid(image[None], scale=6) for image in images], seconds=0.8)
    else:
        save_picture(path, grid(images, n_columns=len(images), scale=4))


def save_neighbours(run: RunDirectory, pairs: Tensor) -> None:
    """Write the run's neighbours.png: generated images above their nearest training images.

    Args:
        run: directory of the run.
        pairs: images [2, k, C, H, W] in [-1, 1]; see `qcaan.metrics.images.ImageScorer.closest`.
    """
    picture = grid(pairs.flatten(0, 1), n_columns=pairs.shape[1], scale=4)
    save_picture(run.path / "neighbours.png", picture)


def progress_gif(run: RunDirectory) -> Path:
    """Make the run's `progress.gif`, the images of fixed latents with one frame for each epoch."""
    import imageio.v3 as iio

    pictures = epoch_pictures(run.path / "samples")
    places = np.linspace(0, len(pictures) - 1, min(len(pictures), _LONGEST_GIF))
    target, (epoch, _) = run.path / "progress.gif", pictures[-1]
    frames = [iio.imread(pictures[place][1]) for place in np.unique(places.round().astype(int))]
    save_gif(target, frames, seconds=0.3, comment=f"{epoch:04d}")
    return target


def epoch_pictures(folder: Path) -> list[tuple[int, Path]]:
    """Return the numbers of the epochs that have a picture in a folder, and its path, in order."""
    numbers = {path: path.stem.removeprefix("epoch_") for path in folder.glob("epoch_*.png")}
    return sorted((int(number), path) for path, number in numbers.items() if number.isdecimal())
