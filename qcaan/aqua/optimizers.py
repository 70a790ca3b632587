"""Aqua's optimisers of a generator's angles."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch
from scipy.optimize import OptimizeResult, minimize
from torch import Tensor

from qcaan.checks import Floats

# first step in radians
_RHOBEG = 0.02


@dataclass
class ADAM:
    """Adam (Kingma and Ba, arXiv:1412.6980): a maker of a torch optimiser, which keeps its moments.

    It takes one step for each batch. `eps` was the width of Aqua's finite differences, which are
    not taken here; `tol` would end a minimisation of many steps.
    """

    maxiter: int = 10_000
    tol: float = 1e-6
    lr: float = 1e-3
    beta_1: float = 0.9
    beta_2: float = 0.99
    noise_factor: float = 1e-8
    eps: float = 1e-10
    amsgrad: bool = False
    snapshot_dir: str | None = None

    def __call__(self, params: list[Tensor]) -> torch.optim.Optimizer:
        betas = (self.beta_1, self.beta_2)
        return torch.optim.Adam(params, self.lr, betas, eps=self.noise_factor, amsgrad=self.amsgrad)


@dataclass
class COBYLA:
    """Powell's COBYLA from SciPy, run for each batch against the discriminator as it is then.

    `rhobeg` counts first steps of 0.02 radians: with steps of whole radians for each batch the two
    players never settle.
    """

    maxiter: int = 1000
    disp: bool = False
    rhobeg: float = 1.0
    tol: float | None = None

    def minimize(
        self,
        fun: Callable[[Floats], float],
        x0: Floats,
        jac: Callable[[Floats], Floats] | None = None,
    ) -> OptimizeResult:
        """Return SciPy's result of the minimisation of `fun` from x0 [P]; `jac` is unused."""
        evaluations = len(x0) + 2
        if self.maxiter < evaluations:
            warnings.warn(
                f"COBYLA needs {evaluations} evaluations to move {len(x0)} angles at all; taking "
                f"them, not maxiter {self.maxiter}",
                stacklevel=2,
            )
        options = {
            "maxiter": max(self.maxiter, evaluations),
            "disp": self.disp,
            "rhobeg": _RHOBEG * self.rhobeg,
        }
        return minimize(fun, x0, method="COBYLA", tol=self.tol, options=options)
