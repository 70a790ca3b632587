"""Small priors of every kind, for the tests of what all of them share."""

from __future__ import annotations

import numpy as np
import torch

from qcaan.priors.boltzmann import QBM, RBM
from qcaan.priors.classical import Bernoulli, Gaussian, Histogram, Product
from qcaan.priors.iqp import IQP
from qcaan.priors.qcbm import QCBM
from qcaan.priors.shuffled import Shuffled
from qcaan.priors.tree import ChowLiu


def correlated_bits(m: int = 4000) -> torch.Tensor:
    """Three bits, the first two mostly equal, the third rare."""
    rng = np.random.default_rng(0)
    first = rng.random(m) < 0.5
    return torch.from_numpy(
        np.stack([first, first ^ (rng.random(m) < 0.1), rng.random(m) < 0.2], 1).astype(np.uint8)
    )


def small_qcbm(**options):
    return QCBM(
        **{
            "n_qubits": 3,
            "n_layers": 4,
            "fit_evals": 60,
            "bank_shots": 500,
            "shots": 0,
            "seed": 0,
            **options,
        }
    )


PRIORS = {
    "gaussian": lambda: Gaussian(3),
    "bernoulli": lambda: Bernoulli(3, dither=0.1),
    "qcbm": small_qcbm,
    "qcbm-shots-mmd": lambda: small_qcbm(shots=500, fit_loss="mmd"),
    "qcbm-exact": lambda: small_qcbm(sampler="exact", optimizer="adam", bases=("z",)),
    "qcbm-exact-shots": lambda: small_qcbm(sampler="exact", optimizer="cma-es", shots=2000),
    "shuffled": lambda: Shuffled(small_qcbm()),
    "product": lambda: Product(3, dither=0.1),
    "histogram": lambda: Histogram(3),
    "tree": lambda: ChowLiu(3),
    "iqp": lambda: IQP(3, 2, fit_evals=15, bank_shots=500, seed=0),
    "iqp-all": lambda: IQP(3, "all", fit_evals=15, bank_shots=500, seed=0),
    "iqp-aer": lambda: IQP(3, 1, sampler="aer", fit_evals=15, bank_shots=500, seed=0),
    "rbm": lambda: RBM(3, n_hidden=8, steps=100, seed=0),
    "qbm": lambda: QBM(3, noise_dims=2, steps=30),
    "qcbm-seed": lambda: small_qcbm(ansatz="seed", n_layers=2),
}
