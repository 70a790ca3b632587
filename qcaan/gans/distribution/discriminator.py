"""The discriminator of the QGAN of distributions: a network that judges the points of a grid."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, Protocol, get_args, runtime_checkable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from qcaan.checks import Floats, one_of
from qcaan.gans.distribution.grid import Grid
from qcaan.losses import gradient_penalty
from qcaan.networks import PointMLP
from qcaan.randomness import RandomState, isolated
from qcaan.training import HALF_STEPS, DecayingAdam, load_optimizer

GridLoss = Literal["bce", "wgan-gp"]
MakeOptimizer = Callable[[list[Tensor]], torch.optim.Optimizer]

# steps of the discriminator for each step of the generator, as in the papers of the losses
DISCRIMINATOR_STEPS: dict[GridLoss, int] = {"bce": 1, "wgan-gp": 5}
# weight of the gradient penalty, as in its paper, and the number of points that it is averaged over
_PENALTY_WEIGHT, _PENALTY_POINTS = 10.0, 64


@runtime_checkable
class Adversary(Protocol):
    """A judge of the points of a grid: `GridDiscriminator`, or anything with its methods."""

    @property
    def params(self) -> Any:
        """Weights, for the result of a run."""

    def update(self, points: Tensor, real: Tensor, fake: Tensor) -> float:
        """Learn to tell real from fake probabilities [m] of points float64 [m, k] in data units.

        Returns the loss before the update.
        """

    def slope(self, points: Tensor) -> Tensor:
        """Return the derivatives [m], float64, of the generator's loss.

        They are those with respect to its probabilities of the points float64 [m, k].
        """

    def state_dict(self) -> dict[str, Any]:
        """Return all that training needs to continue."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state that `state_dict` returned."""


class GridDiscriminator:
    """A network with its optimiser and loss.

    Since samples lie on a grid, the losses are sums over its points weighted with their
    probabilities, and no samples are drawn. `bce` is (-Σ real log D - Σ fake log(1 - D)) / 2, and
    for the generator -Σ fake log D. `wgan-gp` is Σ (fake - real) C + 10 × the one-sided gradient
    penalty, and for the generator -Σ fake C (Gulrajani et al., arXiv:1704.00028).

    Args:
        net: network from samples [m, k] in data units to logits or the critic's values, [m] or
            [m, 1]. The samples have the widest dtype among its weights and buffers.
        loss: `bce` or `wgan-gp`.
        optimizer: maker of the optimiser of the network's parameters; default `DecayingAdam` with
            a rate that falls as slowly as the generator's.
        seed: seed of the points at which the gradient penalty is taken.
        units: unit of each dimension [k], over which the critic may change by 1 without a penalty;
            default 1, in data units.

    Raises:
        ValueError: the loss is unknown, the network has no parameters, or `optimizer` makes no
            optimiser.
    """

    def __init__(
        self,
        net: nn.Module,
        loss: GridLoss = "bce",
        *,
        optimizer: MakeOptimizer | None = None,
        seed: int = 0,
        units: Floats | None = None,
    ) -> None:
        self.net = net
        self._units = torch.ones(1, dtype=torch.float64) if units is None else torch.tensor(units)
        self.loss: GridLoss = one_of("loss", loss, get_args(GridLoss))
        # a rate that fell with each of five steps would leave the generator behind a critic that
        # has stopped learning
        half_steps = HALF_STEPS * DISCRIMINATOR_STEPS[loss]
        optimizer = optimizer or partial(DecayingAdam, half_steps=half_steps)
        if not (weights := list[Tensor](net.parameters())):
            raise ValueError("the discriminator must have parameters to train, got none")
        made: object = optimizer(weights)
        if not isinstance(made, torch.optim.Optimizer):
            raise ValueError(
                f"`optimizer` must make a torch optimiser, got one that makes {type(made).__name__}"
            )
        self._optimizer = made
        self._rng = np.random.default_rng(seed)

    @property
    def params(self) -> Floats:
        """Weights of the network in one row, float64."""
        weights = nn.utils.parameters_to_vector(self.net.parameters())
        values: Floats = weights.detach().double().numpy()
        return values

    def update(self, points: Tensor, real: Tensor, fake: Tensor) -> float:
        """Take the loss's number of steps, and return the mean of the losses before each of them.

        Args:
            points: points [m, k] in data units.
            real, fake: probabilities [m] of the points.
        """
        real, fake = real.float(), fake.float()
        losses = []
        for _ in range(DISCRIMINATOR_STEPS[self.loss]):
            logits = self.logits(points)  # (m,)
            if self.loss == "bce":
                loss = ((real * F.softplus(-logits)).sum() + (fake * F.softplus(logits)).sum()) / 2
            else:
                steps = points.double() / self._units
                of_real, of_fake = (steps[self._draw(probs)] for probs in (real, fake))
                mix = torch.from_numpy(self._rng.random(_PENALTY_POINTS))
                penalty = gradient_penalty(self._of_steps, of_real, of_fake, mix, one_sided=True)
                loss = ((fake - real) * logits).sum() + _PENALTY_WEIGHT * penalty
            self._optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self._optimizer.step()
            losses.append(loss.item())
        return sum(losses) / len(losses)

    def logits(self, points: Tensor) -> Tensor:
        """Return the logits, or the critic's values, [m] of points [m, k] in data units."""
        values: Tensor = self.net(points.to(self.dtype)).flatten()
        return values

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the samples that the network sees."""
        tensors = (*self.net.parameters(), *self.net.buffers())
        kinds = [tensor.dtype for tensor in tensors if tensor.is_floating_point()]
        return max(kinds, key=lambda kind: kind.itemsize)

    def _of_steps(self, steps: Tensor) -> Tensor:
        return self.logits(steps * self._units)

    def _draw(self, probs: Tensor) -> Tensor:
        weights = probs.double().numpy()
        drawn = self._rng.choice(len(weights), _PENALTY_POINTS, p=weights / weights.sum())
        return torch.from_numpy(drawn)

    @torch.no_grad()
    def slope(self, points: Tensor) -> Tensor:
        """Return the derivatives [m], float64, of the generator's loss at points [m, k]."""
        logits = self.logits(points).double()
        return F.softplus(-logits) if self.loss == "bce" else -logits

    def state_dict(self) -> dict[str, Any]:
        """Return all that training needs to continue."""
        return {
            "loss": self.loss,
            "net": self.net.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "random": self._rng.bit_generator.state,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state that `state_dict` returned.

        Raises:
            ValueError: it is of another loss.
        """
        if state["loss"] != self.loss:
            raise ValueError(
                f"the discriminator learns by {self.loss}, the one in the state by {state['loss']}"
            )
        self.net.load_state_dict(state["net"])
        load_optimizer(self._optimizer, state["optimizer"])
        self._rng.bit_generator.state = state["random"]


def default_grid_discriminator(
    grid: Grid, loss: GridLoss, *, seed: int, optimizer: MakeOptimizer | None = None
) -> GridDiscriminator:
    """Return a discriminator with the network of Zoufal et al., arXiv:1904.00043.

    Args:
        grid: grid whose points it judges.
        loss: `bce` or `wgan-gp`.
        seed: seed of the weights and of the gradient penalty.
        optimizer: as of `GridDiscriminator`.
    """
    with isolated(RandomState(seed)):
        net = PointMLP(torch.from_numpy(grid.bounds))
    return GridDiscriminator(net, loss, optimizer=optimizer, seed=seed, units=grid.steps)
