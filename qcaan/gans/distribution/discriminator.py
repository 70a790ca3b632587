"""The discriminator of the quantum GAN over a grid: a network that judges its points."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from qcaan.gans.distribution.grid import Floats, Grid
from qcaan.losses import gradient_penalty
from qcaan.networks import PointMLP
from qcaan.optimizers import HALF_STEPS, DecayingAdam, load_optimizer

LOSSES = {
    "bce": 1,
    "wgan-gp": 5,
}  # with the discriminator's steps for each of the generator's, as their papers have them
_PENALTY, _PENALTY_POINTS = (
    10.0,
    64,
)  # weight of the gradient penalty, as in its paper, and points that it is the mean over


@runtime_checkable
class Adversary(Protocol):
    """What judges the points of the grid: `Discriminator`, or anything with its methods."""

    @property
    def params(self) -> Any:
        """Its weights, for the result of a run."""

    def update(self, points: Tensor, real: Tensor, fake: Tensor) -> float:
        """Learn to tell real from fake probabilities [m] of points [m, k] in data units; returns the loss before."""

    def slope(self, points: Tensor) -> Tensor:
        """Derivatives [m], float64, of the generator's loss in its probabilities of points [m, k]."""

    def state_dict(self) -> dict[str, Any]:
        """All that a resumed training needs."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put back what `state_dict` gave."""


class Discriminator:
    """A network with its optimiser and loss.

    Since samples lie on a grid, the losses are sums over its points weighted with their probabilities, and no samples of
    either side need be drawn: `bce` is (-Σ real log D - Σ fake log(1 - D)) / 2 and for the generator -Σ fake log D;
    `wgan-gp` is Σ (fake - real) C + 10 × the one-sided gradient penalty, and -Σ fake C (Gulrajani et al., arXiv:1704.00028).

    Args:
        net: samples [m, k] in data units, float32, to logits (or the critic's values) [m] or [m, 1].
        loss: `bce` or `wgan-gp`.
        optimizer: makes the optimiser of the network's parameters; default `DecayingAdam`,
            at the generator's pace.
        seed: of the points that the gradient penalty is taken at.

    Raises:
        ValueError: an unknown loss, a network without parameters, or what makes no optimiser.
    """

    def __init__(
        self,
        net: nn.Module,
        loss: str = "bce",
        optimizer: Callable[[list[Tensor]], torch.optim.Optimizer] | None = None,
        seed: int = 0,
    ) -> None:
        if loss not in LOSSES:
            raise ValueError(f"unknown loss {loss!r}; choose from {', '.join(LOSSES)}")
        self.net, self.loss = net, loss
        # a rate that fell with each step of five would leave the generator behind a critic that has stopped learning
        optimizer = optimizer or partial(DecayingAdam, half_steps=HALF_STEPS * LOSSES[loss])
        if not (weights := list[Tensor](net.parameters())):
            raise ValueError("the discriminator must have parameters to train, got none")
        self._optimizer = optimizer(weights)
        if not isinstance(self._optimizer, torch.optim.Optimizer):
            made = type(self._optimizer).__name__
            raise ValueError(
                f"the optimizer must make a torch optimiser, got one that makes {made}"
            )
        self._rng = np.random.default_rng(seed)

    @property
    def params(self) -> Floats:
        return nn.utils.parameters_to_vector(self.net.parameters()).detach().double().numpy()

    def update(self, points: Tensor, real: Tensor, fake: Tensor) -> float:
        real, fake = real.float(), fake.float()
        losses = []
        for _ in range(LOSSES[self.loss]):
            logits = self.net(points).flatten()  # (m,)
            if self.loss == "bce":
                loss = ((real * F.softplus(-logits)).sum() + (fake * F.softplus(logits)).sum()) / 2
            else:
                of_real, of_fake = (points[self._draw(probs)] for probs in (real, fake))
                mix = torch.from_numpy(self._rng.random(_PENALTY_POINTS)).float()
                penalty = gradient_penalty(self.net, of_real, of_fake, mix, one_sided=True)
                loss = ((fake - real) * logits).sum() + _PENALTY * penalty
            self._optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self._optimizer.step()
            losses.append(loss.item())
        return sum(losses) / len(losses)

    def _draw(self, probs: Tensor) -> Tensor:
        weights = probs.double().numpy()
        return torch.from_numpy(
            self._rng.choice(len(weights), _PENALTY_POINTS, p=weights / weights.sum())
        )

    @torch.no_grad()
    def slope(self, points: Tensor) -> Tensor:
        logits = self.net(points).flatten().double()
        return F.softplus(-logits) if self.loss == "bce" else -logits

    def state_dict(self) -> dict[str, Any]:
        return {
            "loss": self.loss,
            "net": self.net.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "random": self._rng.bit_generator.state,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if state["loss"] != self.loss:
            raise ValueError(
                f"the discriminator learns by {self.loss}, the one to be loaded by {state['loss']}"
            )
        self.net.load_state_dict(state["net"])
        load_optimizer(self._optimizer, state["optimizer"])
        self._rng.bit_generator.state = state["random"]


def default_discriminator(grid: Grid, loss: str, seed: int) -> Discriminator:
    """The network of Zoufal et al., its weights drawn by `seed` without touching torch's global random state."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = PointMLP(torch.from_numpy(grid.bounds))
    return Discriminator(net, loss, seed=seed)
