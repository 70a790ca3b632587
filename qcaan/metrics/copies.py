"""Memorisation: how near images lie to the training images, beside held-out images."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

# entries of a block of the matrix of distances, which bounds the memory to some 200 MB
_BLOCK = 2**24


class Nearest(NamedTuple):
    """The nearest training images of images.

    Attributes:
        distances: distances float32 [N, 2] to the nearest and to the second nearest one.
        places: index int64 [N] of the nearest one.
    """

    distances: Tensor
    places: Tensor


def nearest(images: Tensor, train: Tensor) -> Nearest:
    """Find the two nearest training images of each image, by the Euclidean distance of pixels.

    Args:
        images: pixels float32 [N, D].
        train: pixels float32 [M, D] of the training images, M at least 2.
    """
    distances, places = [], []
    for part in images.split(max(1, _BLOCK // len(train))):
        found = torch.cdist(part, train).topk(2, largest=False).indices  # (n, 2)
        # the fast distances of all pairs are too inexact for those of copies, which are 0
        exact = torch.linalg.vector_norm(part[:, None] - train[found], dim=2)
        ordered, order = exact.sort(1)
        distances.append(ordered)
        places.append(found.gather(1, order)[:, 0])
    return Nearest(torch.cat(distances), torch.cat(places))


def copied(distances: Tensor) -> float:
    """Return the share of images that are copies of a training image, in [0, 1].

    A copy is at most a third as far from the nearest training image as from the second nearest one,
    the rule of Yoon et al. ("Diffusion Probabilistic Models Generalize when They Fail to Memorize",
    2023) and of Gu et al. ("On Memorization in Diffusion Models", arXiv:2310.02664). It depends
    neither on the scale of the pixels nor on the number of images.

    Args:
        distances: distances [N, 2]; see `nearest`.
    """
    return float((distances[:, 0] <= distances[:, 1] / 3).double().mean())


def nearer(distances: Tensor, others: Tensor) -> float:
    """Return the share of pairs of which the first distance is smaller; equal ones count half.

    With distances of generated and of held-out images to their nearest training images, it is .5 if
    the generator memorised nothing, and 1 if every generated image is nearer than every held-out
    one. It is the Mann-Whitney statistic, divided by the number of pairs, of the test of Meehan,
    Chaudhuri and Dasgupta ("A Non-Parametric Test to Detect Data-Copying in Generative Models",
    arXiv:2004.05675), over all images at once. Images of which the model draws too many typical
    ones, or blurred ones, are near too: it is a warning and no proof.

    Args:
        distances: distances [N].
        others: distances [M].
    """
    return (1 + float(torch.sign(others - distances[:, None]).double().mean())) / 2
