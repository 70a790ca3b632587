"""The objective of a fit: the loss of a Born machine as a function of its angles."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from qcaan.circuits.born import BornMachine, parameter_shift


class BornObjective:
    """The loss of a Born machine, summed over the bases, as a function of its angles.

    It counts what it asks of the engine. On a device every call is a job that may be paid for.
    """

    def __init__(
        self,
        born: BornMachine,
        targets: Tensor,
        loss: Callable[[Tensor, Tensor], Tensor],
        shots: int,
        read: Callable[[BornMachine, Tensor], Tensor],
    ) -> None:
        self.noisy = shots > 0
        self.n_params = born.n_params
        self.gradient_evaluations = gradient_evaluations(born, shots)
        self.n_evaluations = 0
        self._born, self._targets, self._loss, self._shots = born, targets, loss, shots
        self._read = read
        self._lowest, self._highest = math.inf, -math.inf
        self._steepest: float | None = None  # among the gradients that were asked for

    def __call__(self, theta: Tensor) -> Tensor:
        with torch.no_grad():
            values = self._value(self._distribution(theta))
        self._lowest = min(self._lowest, float(values.min()))
        self._highest = max(self._highest, float(values.max()))
        return values

    def gradient(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        """Return value [] and gradient [P] at angles [P].

        The exact engine uses autograd. Other engines measure parameter shifts of probabilities in
        one broadcast run, and autograd gives the slope of the loss in the probabilities.
        """
        if self.gradient_evaluations == 1:
            point = theta.detach().requires_grad_()
            value = self._value(self._distribution(point[None]))[0]
            (gradient,) = torch.autograd.grad(value, point)
        else:
            # (n_bases, 2**n), (P, n_bases, 2**n)
            probs, slopes = parameter_shift(self._distribution, theta.detach())
            probs = probs.detach().requires_grad_()
            value = self._value(probs[None])[0]
            (slope,) = torch.autograd.grad(value, probs)
            gradient = (slopes * slope).sum((1, 2))
        self._steepest = max(self._steepest or 0.0, float(gradient.abs().max()))
        return value.detach(), gradient

    def why_flat(self) -> str:
        """Return why an optimiser could not move, or an empty string if it could have."""
        if self._steepest == 0:
            return "the gradient of the loss is zero at the start; start from random angles"
        if self._lowest == self._highest:
            return "the loss is the same at all angles (does the sampler reuse its seed?)"
        return ""

    def _distribution(self, theta: Tensor) -> Tensor:
        self.n_evaluations += len(theta)
        if self._shots:
            return self._read(self._born, self._born.frequencies(theta, self._shots))
        return self._born.probabilities(theta)

    def _value(self, probs: Tensor) -> Tensor:  # [K, n_bases, 2**n] -> [K]
        return torch.stack([self._loss(t, probs[:, b]) for b, t in enumerate(self._targets)]).sum(0)


def gradient_evaluations(born: BornMachine, shots: int) -> int:
    """Return the number of evaluations that one gradient takes."""
    return 1 if born.is_differentiable and shots == 0 else 2 * born.n_params + 1
