"""Scores of features and logits of images: distances of distributions, and neighbours."""

from __future__ import annotations

import math
import statistics
import warnings
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from qcaan.randomness import RandomState, isolated


class Gaussian(NamedTuple):
    """A normal distribution over features.

    Attributes:
        mean: mean float64 [d].
        root: root float64 [r, d], r <= d, of the covariance root.T @ root.
    """

    mean: Tensor
    root: Tensor


def gaussian(features: Tensor) -> Gaussian:
    """Return the mean and the unbiased covariance of features [N, d], N at least 2.

    The root is from QR decompositions of a few thousand rows at a time. So it needs no positive
    definite covariance, and little memory.
    """
    mean = features.mean(0, dtype=torch.float64)
    root = mean.new_zeros(0, len(mean))
    for rows in features.split(max(4 * len(mean), 4096)):
        root = torch.linalg.qr(torch.cat([root, rows.double() - mean]), mode="r").R
    return Gaussian(mean, root / math.sqrt(len(features) - 1))


def frechet(one: Gaussian, other: Gaussian) -> float:
    """Return the squared Fréchet distance of two normal distributions, at least 0.

    It is |m - m'|^2 + tr(S + S' - 2 (S S')^(1/2)) for means m, m' and covariances S, S' (Dowson and
    Landau, J. Multivariate Analysis 12, 1982), and the FID if the features are those of a
    classifier (Heusel et al., "GANs Trained by a Two Time-Scale Update Rule", arXiv:1706.08500).
    With roots R and R' of the covariances, the trace of (S S')^(1/2) is the sum of the singular
    values of R R'^T. So singular covariances, as of pixels that are always black, are exact too.
    """
    crossed = torch.linalg.svdvals(one.root @ other.root.T).sum()
    spread = one.root.square().sum() + other.root.square().sum()
    return max(0.0, float((one.mean - other.mean).square().sum() + spread - 2 * crossed))


def frechet_interval(real: Gaussian, features: Tensor, n_resamples: int = 100) -> list[float]:
    """Return a 95 % interval [low, high] of the Fréchet distance over draws of as many features.

    It is the distance of these features, plus and minus 1.96 bootstrap standard deviations (Efron
    and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13). The quantiles of the
    bootstrap are not used: the distance is biased upwards by an amount of about 1 / N (Chong and
    Forsyth, arXiv:1911.07023), and resampling adds the same bias again, which shifts them. The
    interval holds the chance of the draws only, not of the training nor of the real images.

    Args:
        real: distribution of the real features.
        features: features [N, d] of generated images, N at least 2.
        n_resamples: number of resamples, always the same ones.
    """
    generator = torch.Generator().manual_seed(0)
    n = len(features)
    distances = [
        frechet(real, gaussian(features[torch.randint(n, (n,), generator=generator)]))
        for _ in range(n_resamples)
    ]
    distance, margin = frechet(real, gaussian(features)), 1.96 * statistics.stdev(distances)
    return [max(0.0, distance - margin), distance + margin]


class _Identity(nn.Module):
    """Feature extractor for torchmetrics that returns its input, which is features already."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features

    def forward(self, features: Tensor) -> Tensor:
        return features


def kid(real: Tensor, fake: Tensor) -> float:
    """Return the kernel distance of features [N, d] and [M, d], an unbiased cubic MMD^2.

    See Binkowski et al., "Demystifying MMD GANs", arXiv:1801.01401. It is the mean over 100 random
    subsets of at most 1,000 features of each set, always the same ones.
    """
    # here, since torchmetrics takes seconds to import
    from torchmetrics.image.kid import KernelInceptionDistance

    subset = min(1000, len(real), len(fake))
    with isolated(RandomState(0)):
        with warnings.catch_warnings():
            warnings.filterwarnings(
                "ignore", "Metric `.*` will save all extracted features", UserWarning
            )
            metric = KernelInceptionDistance(
                feature=_Identity(real.shape[1]), normalize=True, subsets=100, subset_size=subset
            )
        metric.update(real, real=True)
        metric.update(fake, real=False)
        return float(metric.compute()[0])


def inception_score(logits: Tensor) -> float:
    """Return the Inception Score, in [1, n_classes], of logits [N, n_classes].

    The score is exp of the mutual information of image and label. See Salimans et al., "Improved
    Techniques for Training GANs", arXiv:1606.03498. Theirs is the mean over ten splits, which
    depends on N. All images are one split here, and the score is too low by a share of about
    (n_classes - 1) / 2N: by half a percent of 10 classes for 1,000 images (Chong and Forsyth,
    "Effectively Unbiased FID and Inception Score and where to find them", arXiv:1911.07023).
    """
    probs = logits.double().softmax(1)  # (N, n_classes)
    entropy_of_mean, mean_entropy = (
        torch.special.entr(p).sum(-1).mean() for p in (probs.mean(0), probs)
    )
    return math.exp(entropy_of_mean - mean_entropy)


def precision_recall(real: Tensor, fake: Tensor, *, k: int = 3) -> tuple[float, float]:
    """Return the improved precision and recall of features, both in [0, 1].

    The ball of a point reaches to its k-th nearest neighbour in its own set. Precision is the share
    of fake features [M, d] inside the ball of a real feature [N, d]; recall is the share of real
    features inside the ball of a fake one. Both sets should have about the same size. See
    Kynkäänniemi et al., "Improved Precision and Recall Metric for Assessing Generative Models",
    arXiv:1904.06991.
    """

    def share_covered(centres: Tensor, points: Tensor) -> float:
        # the (k+1)-th smallest distance, since the nearest "neighbour" of a centre is itself
        nth = min(k + 1, len(centres))
        radii = torch.cdist(centres, centres).kthvalue(nth, dim=1).values  # [N]
        return (torch.cdist(points, centres) <= radii).any(1).float().mean().item()

    return share_covered(real, fake), share_covered(fake, real)


def class_balance(labels: Tensor, classes: Sequence[int]) -> float:
    """Return how evenly `labels` [N] are spread over `classes`, in [0, 1].

    It is the entropy of the shares of the classes, over its greatest value. It is 0 if only one
    class occurs, or none.
    """
    counts = torch.tensor([(labels == c).sum() for c in classes], dtype=torch.float64)
    if len(classes) == 1 or counts.sum() == 0:
        return float(counts.sum() > 0)
    return float(torch.special.entr(counts / counts.sum()).sum() / math.log(len(classes)))


def confidence(logits: Tensor) -> float:
    """Return the mean probability of the likeliest class, in (0, 1], of logits [N, n_classes]."""
    return float(logits.double().softmax(1).amax(1).mean())
