"""The objective of a fit: the loss of a Born machine as a function of its angles."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qcaan import losses
from qcaan.circuits.born import BornMachine, parameter_shift

FitLoss = Literal["kl", "nll", "mmd"]

# share of the uniform distribution that estimates from shots are mixed with in kl and nll, which no
# number of shots would bound else
UNIFORM = 0.2
# fewest shots per basis of a distribution at which the slope of the loss is taken, and of one whose
# loss is compared
_SLOPE_SHOTS, _COMPARED_SHOTS = 1000, 2000
# number of resamples of the shots that give the error of a loss
_RESAMPLES = 40


@dataclass(frozen=True)
class Measurements:
    """How many evaluations the measurements of a fit take.

    Attributes:
        born: the Born machine.
        shots: number of shots per basis in an evaluation; 0 for exact probabilities.
        evaluations: maximum number of evaluations in the fit.
    """

    born: BornMachine
    shots: int
    evaluations: int

    @property
    def by_autograd(self) -> bool:
        """Whether autograd gives gradients."""
        return self.born.is_differentiable and not self.shots

    @property
    def of_a_loss(self) -> int:
        """Number of evaluations in which a loss is compared, of 2,000 shots per basis."""
        return self._repeats(_COMPARED_SHOTS)

    @property
    def of_a_slope(self) -> int:
        """Number of evaluations at the angles of a gradient, of 1,000 shots per basis."""
        return self._repeats(_SLOPE_SHOTS)

    def cost(self, n_angles: int) -> int:
        """Return the number of evaluations that a gradient in so many angles takes."""
        return 1 if self.by_autograd else 2 * n_angles + self.of_a_slope

    def _repeats(self, shots: int) -> int:
        """Return how many evaluations make so many shots, but at most a tenth of the fit."""
        if not self.shots:
            return 1
        return min(math.ceil(shots / self.shots), max(1, self.evaluations // 10))


class Measured(NamedTuple):
    """A loss, and its standard error; 0 if it is exact."""

    loss: float
    error: float


class BornObjective:
    """The loss of a Born machine, summed over the bases, as a function of its angles.

    It counts what it asks of the engine. On a device every call is a job that may be paid for. The
    interface is that of `qcaan.optimizers.Objective`.

    Args:
        measurements: the Born machine, its shots, and what its measurements take.
        targets: target distributions [n_bases, 2**n].
        fit_loss: name of the loss.
        read: function of the Born machine and of frequencies that corrects them for readout errors.
        rng: random state of the resamples of shots.

    Attributes:
        measurements: see above.
        shots: number of shots per basis in an evaluation; 0 for exact probabilities.
        n_params: number of angles.
        n_evaluations: number of parameter sets whose distribution was asked for.
        n_jobs: number of requests to the engine.
    """

    def __init__(
        self,
        measurements: Measurements,
        targets: Tensor,
        fit_loss: FitLoss,
        read: Callable[[BornMachine, Tensor], Tensor],
        rng: np.random.Generator,
    ) -> None:
        self.measurements, self.shots = measurements, measurements.shots
        self.n_params = measurements.born.n_params
        self.n_evaluations = self.n_jobs = 0
        self._born, self._targets, self._fit_loss = measurements.born, targets, fit_loss
        self._read, self._rng = read, rng
        self._lowest, self._highest = math.inf, -math.inf
        self._steepest: float | None = None  # among the gradients that were asked for

    def __call__(self, theta: Tensor) -> Tensor:
        with torch.no_grad():
            # arrays have no gradients, so small states of theirs are computed faster
            angles = theta.numpy() if theta.device.type == "cpu" else theta
            values = self._value(self.distributions(angles), self.shots)
        self._lowest = min(self._lowest, float(values.min()))
        self._highest = max(self._highest, float(values.max()))
        return values

    def gradient(self, theta: Tensor, places: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Return value [] and derivatives [p] at angles [P] and p places in them.

        Exact probabilities of our engine are differentiated by autograd. Else parameter shifts of
        all distributions are one broadcast run, and autograd gives the slope of the loss in the
        probabilities. From few shots, that slope is taken at repeated measurements.
        """
        index = torch.from_numpy(places).to(theta.device)
        if self.measurements.by_autograd:
            point = theta.detach().requires_grad_()
            value = self._value(self.distributions(point[None]), 0)[0]
            (whole,) = torch.autograd.grad(value, point)
            gradient = whole[index]
        else:
            # (n_bases, 2**n), (p, n_bases, 2**n)
            probs, slopes = parameter_shift(
                self.distributions,
                theta.detach(),
                places,
                repeats=self.measurements.of_a_slope,
            )
            probs = probs.detach().requires_grad_()
            value = self.loss(probs)
            (slope,) = torch.autograd.grad(value, probs)
            gradient = (slopes * slope).sum((1, 2))
        self._steepest = max(self._steepest or 0.0, float(gradient.abs().max()))
        return value.detach(), gradient

    def cost(self, n_angles: int) -> int:
        """Return the number of evaluations of a gradient in so many angles."""
        return self.measurements.cost(n_angles)

    def distributions(self, theta: Tensor | NDArray[np.float64]) -> Tensor:
        """Return the distributions [K, n_bases, 2**n] at parameter sets [K, P], as one job."""
        self.n_evaluations += len(theta)
        self.n_jobs += 1
        if self.shots:
            return self._read(self._born, self._born.frequencies(theta, self.shots))
        return self._born.probabilities(theta)

    def simulated(self, theta: Tensor) -> Tensor:
        """Return the distributions [n_bases, 2**n] at angles [P] by our exact engine."""
        return self._born.simulated(theta[None])[0]

    def loss(self, distributions: Tensor, uniform: float | None = None) -> Tensor:
        """Return the loss [...] of estimates of distributions [..., n_bases, 2**n].

        From shots they are mixed, in kl and nll, with a share of the uniform distribution, by
        default `UNIFORM`.
        """
        return self._value(distributions, 0, UNIFORM if uniform is None else uniform)

    def measure(self, theta: Tensor) -> Measured:
        """Measure the loss at angles [P], and its error, in as many evaluations as it takes.

        The error is the standard deviation over resamples of the shots (bootstrap: Efron, Ann.
        Statist. 7, 1, 1979).
        """
        repeats = self.measurements.of_a_loss
        found = self.distributions(theta.repeat(repeats, 1)).mean(0)
        shots = repeats * self.shots
        with torch.no_grad():
            loss = float(self._value(found[None], shots)[0])
            if not shots:
                return Measured(loss, 0.0)
            shares = (found / found.sum(-1, keepdim=True)).cpu().numpy()
            drawn = np.stack([self._rng.multinomial(shots, p, _RESAMPLES) for p in shares], 1)
            resampled = self._value(torch.from_numpy(drawn / shots).to(found), shots)
        return Measured(loss, float(resampled.std()))

    def why_flat(self) -> str:
        """Return why an optimiser could not move, or an empty string if it could have."""
        if self._steepest == 0:
            return "the gradient of the loss is zero at the start; start from random angles"
        if self._lowest == self._highest:
            return "the loss is the same at all angles (does the sampler reuse its seed?)"
        return ""

    def _value(self, probs: Tensor, shots: int, uniform: float = UNIFORM) -> Tensor:
        """Return the loss [...] of distributions [..., n_bases, 2**n].

        Args:
            probs: exact probabilities, or frequencies or estimates from shots.
            shots: number of shots, if they are frequencies. Then mmd is unbiased.
            uniform: share of the uniform distribution, if they are from shots.
        """
        if self._fit_loss == "mmd":
            parts = [
                losses.mmd(target, probs[..., b, :], shots=shots or None)
                for b, target in enumerate(self._targets)
            ]
        else:
            loss = losses.kl if self._fit_loss == "kl" else losses.nll
            if self.shots:
                probs = (1 - uniform) * probs + uniform / probs.shape[-1]
            parts = [loss(target, probs[..., b, :]) for b, target in enumerate(self._targets)]
        return torch.stack(parts).sum(0)
