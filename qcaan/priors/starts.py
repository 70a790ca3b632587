"""The search of a fit: an optimiser run from one start, and from others if the first leads nowhere.

The product of the target's marginals is a start from which gates on two qubits see correlations of
two bits only. For a parity of many bits the loss is flat there to a high order, so a fit would end
where it started.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from qcaan import losses
from qcaan.bits import product_probabilities
from qcaan.optimizers import OPTIMIZERS, OptimizerName, fewest_evaluations
from qcaan.priors.base import INDEPENDENT, lowers
from qcaan.priors.objective import BornObjective

# names of starts, beside those of `qcaan.priors.marginals`
LAST, RANDOM = "last angles", "random angles"
# number of evaluations from shots whose mean is the loss of a start or of a result
REPEATS = 5
# share of what is to be gained over the product; less than it counts as nothing
_NOTHING = 0.05
# share of the product's KL up to which correlations of pairs may be those of few samples
_SAMPLED = 0.25


class Target:
    """What a fit can know of its target without a circuit.

    Args:
        bits: the target's bits [m, n_bases * n].
        probs: their frequencies [n_bases, 2**n].
        loss: the loss of the fit.

    Attributes:
        product_loss: loss of the product of the target's marginals.
        least_loss: loss of the target itself.
        correlated: whether the target differs from that product.
        blind: whether the target has correlations, and hardly any of two bits, so that the
            product of its marginals is a start that nothing leaves.
    """

    def __init__(
        self, bits: Tensor, probs: Tensor, loss: Callable[[Tensor, Tensor], Tensor]
    ) -> None:
        parts = bits.double().chunk(len(probs), 1)
        products = torch.stack([product_probabilities(part.mean(0)) for part in parts])

        def total(loss: Callable[[Tensor, Tensor], Tensor], models: Tensor) -> float:
            return sum(float(loss(t, m)) for t, m in zip(probs, models, strict=True))

        self.product_loss = total(loss, products)
        self.least_loss = total(loss, probs)
        gain = max(0.0, self.product_loss - self.least_loss)
        self._left_at = self.product_loss - _NOTHING * gain
        kl = total(losses.kl, products)
        pairs = sum(_pair_information(part) for part in parts)
        n_pairs = sum(part.shape[1] * (part.shape[1] - 1) // 2 for part in parts)
        # independent bits show n_pairs / (2 m) nats on average
        sampled = min(n_pairs / len(bits), _SAMPLED * kl)
        self.correlated = kl >= INDEPENDENT
        self.blind = self.correlated and pairs < max(sampled, _NOTHING * kl)

    def holds(self, loss: float) -> bool:
        """Return whether a loss is that of the product of marginals, or no lower to speak of."""
        return loss >= self._left_at


def _pair_information(bits: Tensor) -> float:
    """Return the mutual information of two bits, summed over all pairs of columns, in nats."""
    values = (1 - bits, bits)
    total = bits.new_zeros(bits.shape[1], bits.shape[1])
    for one in values:
        for other in values:
            joint = one.T @ other / len(bits)
            apart = torch.outer(one.mean(0), other.mean(0))
            total += torch.special.xlogy(joint, joint) - torch.special.xlogy(joint, apart)
    return float(total.triu(1).sum())


@dataclass
class Point:
    """Angles [P] and the losses [r] measured there: one if they are exact."""

    theta: Tensor
    values: Tensor

    @property
    def loss(self) -> float:
        """Mean loss."""
        return float(self.values.mean())

    def error(self, other: Point) -> float:
        """Return the standard error of the difference of two losses; 0 if they are exact."""
        if len(self.values) == 1:
            return 0.0
        return float(sum(point.values.var() / len(point.values) for point in (self, other)) ** 0.5)


@dataclass
class Search:
    """A search for the angles of the lowest loss, within a budget of evaluations.

    Measuring the first start and the first result costs as many evaluations again as one
    measurement takes; all others are within the budget.

    Attributes:
        objective: the loss as a function of the angles.
        optimizer: name of the optimiser.
        target: the target of the fit.
        rng: random state of the optimiser and of new starts.
        left: number of evaluations left.
        starts: names of the starts, in order.
        points: the angles that were measured; the first is the start of the fit.
    """

    objective: BornObjective
    optimizer: OptimizerName
    target: Target
    rng: np.random.Generator
    left: int
    starts: list[str] = field(default_factory=list)
    points: list[Point] = field(default_factory=list)

    def run(
        self, name: str, theta: Tensor, again: Callable[[], tuple[str, Tensor]] | None
    ) -> Point:
        """Minimise from a start, and return the best point found.

        Args:
            name: name of the start.
            theta: angles [P] of the start.
            again: maker of a start from which a fit would begin anew, if the start is not one.
        """
        self.starts.append(name)
        best = self._measure(theta)
        if again is not None and best.loss > self.target.product_loss and self._pay():
            other_name, other = again()
            point = self._measure(other)
            if lowers(best.loss, point.loss, best.error(point)):
                self.starts.append(other_name)
                best, theta = point, other
        if self.target.blind and self.target.holds(best.loss) and self.starts[-1] != RANDOM:
            theta = self._random(theta)
        while self.left >= self._fewest:
            before = self.objective.n_evaluations
            moved = OPTIMIZERS[self.optimizer](self.objective, theta, self.left, self.rng)
            self.left -= self.objective.n_evaluations - before
            point = self._measure(moved)
            if lowers(best.loss, point.loss) or (self.objective.noisy and point.loss < best.loss):
                best = point
            stuck = self.target.correlated and self.target.holds(best.loss)
            if not stuck or self.left < self._fewest + self._repeats:
                break
            self._pay()
            theta = self._random(theta)
        return best

    @property
    def _repeats(self) -> int:
        return REPEATS if self.objective.noisy else 1

    @property
    def _fewest(self) -> int:
        objective = self.objective
        return fewest_evaluations(
            self.optimizer,
            objective.n_params,
            objective.gradient_evaluations,
            noisy=objective.noisy,
        )

    def _measure(self, theta: Tensor) -> Point:
        self.points.append(Point(theta, self.objective(torch.stack([theta] * self._repeats))))
        return self.points[-1]

    def _pay(self) -> bool:
        """Take one measurement from the budget, if it has as many evaluations."""
        if self.left < self._repeats:
            return False
        self.left -= self._repeats
        return True

    def _random(self, theta: Tensor) -> Tensor:
        self.starts.append(RANDOM)
        return random_angles(len(theta), self.rng).to(theta)


def random_angles(n: int, rng: np.random.Generator) -> Tensor:
    """Return random angles [n], in radians.

    They are large: with small ones, uniform marginals are a critical point from which parities are
    not found.
    """
    return torch.from_numpy(rng.normal(0, 1.5, n))
