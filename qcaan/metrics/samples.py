"""Scores of samples of real numbers: moments, and distances to other samples."""

from __future__ import annotations

import numpy as np
import torch
from scipy.stats import ks_2samp, wasserstein_distance
from torch import Tensor


def column_scores(generated: Tensor, real: Tensor) -> dict[str, list[float]]:
    """Score each column of samples [n, k] against real samples [m, k].

    Returns:
        For each column, the `mean` and the standard deviation `std` of the generated samples, in
        the data's units; `w1`, the Wasserstein-1 distance, in the data's units; and `ks`, the
        Kolmogorov-Smirnov statistic in [0, 1]: the largest difference of the distribution
        functions.
    """
    pairs = list(zip(generated.numpy().T, real.numpy().T, strict=True))
    return {
        "mean": generated.mean(0).tolist(),
        "std": generated.std(0).tolist(),
        "w1": [float(wasserstein_distance(*pair)) for pair in pairs],
        "ks": [float(ks_2samp(*pair).statistic) for pair in pairs],
    }


def sliced_wasserstein(generated: Tensor, real: Tensor, n_directions: int = 100) -> float:
    """Return the mean Wasserstein-1 distance of samples [n, k] and [m, k] along random directions.

    It also sees how the columns depend on each other, which `column_scores` does not
    (Bonneel et al., "Sliced and Radon Wasserstein Barycenters of Measures", J. Math. Imaging
    Vis. 51, 2015).

    Args:
        generated: samples float64 [n, k].
        real: samples float64 [m, k].
        n_directions: number of directions, which are the same at each call.
    """
    generator = torch.Generator().manual_seed(0)
    directions = torch.randn(n_directions, generated.shape[1], generator=generator).double()
    directions /= torch.linalg.vector_norm(directions, dim=1, keepdim=True)
    pairs = zip((directions @ generated.T).numpy(), (directions @ real.T).numpy(), strict=True)
    return float(np.mean([wasserstein_distance(*pair) for pair in pairs]))
