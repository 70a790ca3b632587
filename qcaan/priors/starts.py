"""The search of a fit: an optimiser run from one start, and from others if the first leads nowhere.

The product of the target's marginals is a start from which gates on two qubits see correlations of
two bits only. For a parity of many bits the loss is flat there to a high order, so a fit would end
where it started.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from qcaan import losses
from qcaan.bits import product_probabilities
from qcaan.optimizers import OPTIMIZERS, OptimizerName, fewest_evaluations
from qcaan.priors.objective import BornObjective
from qcaan.priors.report import INDEPENDENT, lowers

# names of starts, beside those of `qcaan.priors.marginals`
LAST, RANDOM, EXACT_FIT = "last angles", "random angles", "exact fit"
# share of what is to be gained over the product; less than it counts as nothing
_NOTHING = 0.05
# share of the product's KL up to which correlations of pairs may be those of few samples
_SAMPLED = 0.25


class Target:
    """The facts about a fit's target that need no circuit.

    Args:
        bits: the target's bits [m, n_bases * n].
        probs: their frequencies [n_bases, 2**n].
        loss: the loss [] of the fit, of distributions [n_bases, 2**n].

    Attributes:
        product_loss: loss of the product of the target's marginals.
        least_loss: loss of the target itself.
        correlated: whether the target differs from that product.
        blind: whether the target has correlations, and hardly any of two bits, so that the
            product of its marginals is a start that nothing leaves.
    """

    def __init__(self, bits: Tensor, probs: Tensor, loss: Callable[[Tensor], Tensor]) -> None:
        parts = bits.double().chunk(len(probs), 1)
        products = torch.stack([product_probabilities(part.mean(0)) for part in parts])
        self.product_loss, self.least_loss = float(loss(products)), float(loss(probs))
        gain = max(0.0, self.product_loss - self.least_loss)
        self._left_at = self.product_loss - _NOTHING * gain
        kl = sum(float(losses.kl(t, m)) for t, m in zip(probs, products, strict=True))
        pairs = sum(_pair_information(part) for part in parts)
        n_pairs = sum(part.shape[1] * (part.shape[1] - 1) // 2 for part in parts)
        # independent bits show n_pairs / (2 m) nats on average
        sampled = min(n_pairs / len(bits), _SAMPLED * kl)
        self.correlated = kl >= INDEPENDENT
        self.blind = self.correlated and pairs < max(sampled, _NOTHING * kl)

    def holds(self, point: Point) -> bool:
        """Return whether a loss is that of the product of marginals, or no lower to speak of.

        Within twice its standard error it cannot be told from that.
        """
        return point.loss + 2 * point.error >= self._left_at


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


@dataclass(frozen=True)
class Point:
    """Angles [P], and the loss that was measured there, with its standard error."""

    theta: Tensor
    loss: float
    error: float

    def below(self, other: Point) -> bool:
        """Return whether the loss is lower than at another point, beyond rounding and noise."""
        return lowers(other.loss, self.loss, math.hypot(self.error, other.error))


@dataclass
class Search:
    """A search for the angles of the lowest loss, within a budget of evaluations.

    Measurements of starts and of results are within the budget, but for the first start and the
    first result if probabilities are exact.

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

    def __post_init__(self) -> None:
        self.left += 0 if self.objective.shots else 2

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
        first = self._measure(theta)
        if self.objective.shots:
            return self._run_once(first, again)
        return self._run_on(first, again)

    def _run_once(self, first: Point, again: Callable[[], tuple[str, Tensor]] | None) -> Point:
        """Spend the budget on one start, and return the best point, from shots.

        So what a fit asks of a device does not depend on the answers, and can be planned. The
        product's loss, at which a new start begins, is known without a measurement. A warm start
        that stands at the product gives way to random angles in every second fit or so. The angles
        after the fit are kept unless they are worse than those before it beyond the noise; those
        from another start are kept if they are better beyond the noise.
        """
        start = first
        if again is not None and first.loss - 2 * first.error > self.target.product_loss:
            other_name, other = again()
            self.starts.append(other_name)
            start = Point(other, math.inf, 0.0)
        elif self._stuck(first) and self.starts[-1] != RANDOM:
            warm = self.starts[-1] == LAST
            if self.target.blind or (warm and self.rng.random() < 0.5):
                start = self._random(first)
        point = self._minimise(start, self._spare)
        if start is first:
            return first if first.below(point) else point
        return point if point.below(first) else first

    def _run_on(self, best: Point, again: Callable[[], tuple[str, Tensor]] | None) -> Point:
        """Go on from other starts while the budget lasts, and return the best point, exactly."""
        start = best
        if again is not None and best.loss > self.target.product_loss and self._spare >= 1:
            other_name, other = again()
            point = self._measure(other)
            if point.below(best):
                self.starts.append(other_name)
                best = start = point
        # half of the budget shows whether a warm start at the product stands still
        halved = self._stuck(best) and self.starts[-1] == LAST
        if self._stuck(best) and self.target.blind and self.starts[-1] != RANDOM:
            start = self._random(start)
        budget = self._spare // 2 if halved else self._spare
        while budget >= self._fewest:
            point = self._minimise(start, budget)
            best = point if point.below(best) else best
            budget = self._spare
            if self._stuck(best):
                start = self._random(start) if budget >= self._fewest else start
            elif halved:
                start = best
            else:
                break
            halved = False
        return best

    def _stuck(self, point: Point) -> bool:
        return self.target.correlated and self.target.holds(point)

    def _minimise(self, start: Point, budget: int) -> Point:
        before = self.objective.n_evaluations
        theta = OPTIMIZERS[self.optimizer](self.objective, start.theta, budget, self.rng)
        self.left -= self.objective.n_evaluations - before
        return self._measure(theta)

    @property
    def _spare(self) -> int:
        """Number of evaluations left but for a last measurement."""
        return self.left - self.objective.measurements.of_a_loss

    @property
    def _fewest(self) -> int:
        objective = self.objective
        return fewest_evaluations(
            self.optimizer, objective.n_params, objective.cost, noisy=objective.shots > 0
        )

    def _measure(self, theta: Tensor) -> Point:
        self.left -= self.objective.measurements.of_a_loss
        self.points.append(Point(theta, *self.objective.measure(theta)))
        return self.points[-1]

    def _random(self, start: Point) -> Point:
        """Return a start at random angles, whose loss is not measured."""
        self.starts.append(RANDOM)
        angles = random_angles(len(start.theta), self.rng).to(start.theta)
        return Point(angles, math.inf, 0.0)


def random_angles(n: int, rng: np.random.Generator) -> Tensor:
    """Return random angles [n], in radians.

    They are large: with small ones, uniform marginals are a critical point from which parities are
    not found.
    """
    return torch.from_numpy(rng.normal(0, 1.5, n))
