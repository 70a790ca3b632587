"""Differentiable augmentation: the discriminator sees all images, real and generated, changed.

With few real images a discriminator learns them by heart, and the generator learns nothing more
from it. Random changes that leave an image plausible make a few images many. The changes are
differentiable, so that they reach the generator too, and it does not learn to draw changed images
(Zhao et al., "Differentiable Augmentation for Data-Efficient GAN Training", arXiv:2006.10738).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from qcaan.randomness import RandomState

# greatest shift, and the side of the square that is cut out, as shares of an image's side
_SHIFT, _CUT = 1 / 8, 1 / 3
_BLACK = -1.0


def shift(images: Tensor, random: RandomState) -> Tensor:
    """Move each of images [B, C, H, W] by up to an eighth of its side along both axes.

    Pixels from outside the image are black, -1.
    """
    n, channels, height, width = images.shape
    most = round(_SHIFT * height)
    padded = F.pad(images, (most,) * 4, value=_BLACK)
    top, left = random.whole(2 * most + 1, 2, n, 1, device=images.device)  # (B, 1) each
    rows = (top + torch.arange(height, device=images.device))[:, None, :, None]  # (B, 1, H, 1)
    columns = (left + torch.arange(width, device=images.device))[:, None, None]  # (B, 1, 1, W)
    moved = padded.gather(2, rows.expand(n, channels, height, padded.shape[3]))
    return moved.gather(3, columns.expand(n, channels, height, width))


def cut(images: Tensor, random: RandomState) -> Tensor:
    """Blacken a square of each of images [B, C, H, W], of a third of its side.

    The centre of the square lies anywhere in the image, so parts of the square may lie outside.
    """
    n, _, height, width = images.shape
    half = _CUT * height / 2
    top, left = (
        random.uniform(n, 1, device=images.device) * side for side in (height, width)
    )  # (B, 1) each
    rows, columns = (
        (torch.arange(side, device=images.device) + 0.5 - centre).abs() < half
        for side, centre in ((height, top), (width, left))
    )  # (B, H), (B, W)
    inside = rows[:, None, :, None] & columns[:, None, None]  # (B, 1, H, W)
    return images.masked_fill(inside, _BLACK)


def shift_and_cut(images: Tensor, random: RandomState) -> Tensor:
    """Move each of images [B, C, H, W], and then cut a square out of it."""
    return cut(shift(images, random), random)


def unchanged(images: Tensor, random: RandomState) -> Tensor:
    """Return the images as they are."""
    return images


AUGMENTATIONS: dict[str, Callable[[Tensor, RandomState], Tensor]] = {
    "none": unchanged,
    "shift": shift,
    "cut": shift_and_cut,
}
