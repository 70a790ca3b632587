"""Options of the scores of images, which several commands have."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from qcaan.checks import whole
from qcaan.metrics.inception import load_inception
from qcaan.samplers.names import is_device

# half as wide an interval of FID as that of 3,000 images, for a few seconds more
_IMAGES = 10_000
# on a device, every image may be paid for
_IMAGES_ON_DEVICE = 3000


def images_to_score(name: str, asked: int | None, sampler: str | None) -> int:
    """Return the number of images to score: as asked, or a default that depends on the sampler.

    Args:
        name: name of the option.
        asked: value of the option; None for the default.
        sampler: name of the sampler that draws the images; None for that of the prior.

    Raises:
        ValueError: the number is below 2.
    """
    if asked is not None:
        return whole(name, asked, 2)
    return _IMAGES_ON_DEVICE if sampler and is_device(sampler) else _IMAGES


def inception_network(
    weights: Path | None, n_images: int, device: str | torch.device
) -> nn.Module | None:
    """Return the network of `--inception-weights`; None if none is given.

    Raises:
        ValueError: no images are scored, or see `qcaan.metrics.inception.load_inception`.
        OSError: the file cannot be read.
    """
    if weights is None:
        return None
    if not n_images:
        raise ValueError("`inception_weights` are for scores, and `eval_images` is 0")
    return load_inception(weights, device)
