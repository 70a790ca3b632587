"""Optimisers of circuit angles.

An optimiser is a function that minimises an objective from a start within a budget. All have one
signature. The budget is a number of evaluations: parameter sets whose distributions are asked for.
An objective takes K parameter sets at once, so that an optimiser that asks for many sends one job
to a device.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qcaan.bits import walsh_hadamard
from qcaan.cobyla import minimize
from qcaan.spectra import THIRD, Sinusoid, Spectrum

Floats = NDArray[np.float64]
OptimizerName = Literal["cobyla", "spsa", "cma-es", "adam", "roto", "twin"]

# what exact probabilities count as, in shots
_EXACT = 1e12
# COBYLA from shots: shots per basis of a point in its searches, points in a search (always as many,
# so that a fit can be planned), and the most that an angle moves by the first step, in radians
_POINT_SHOTS, _POINTS, _REACH = 1000, 6, 0.05
# roto: number of turns that are compared, and of moves from one measurement in place to the next
_TURNS, _MOVES = 144, 4
# twin: Adam steps after each measurement, the share of its worth that an older one keeps, and the
# share of the uniform distribution: simulated distributions have little noise
_STEPS, _KEPT, _UNIFORM = 5, 0.9, 0.05


class Objective(Protocol):
    """A function of angles, in radians, that an optimiser minimises: a loss of distributions.

    If the engine behind it is a device, each call that counts as evaluations is a job that may be
    paid for.

    Attributes:
        shots: number of shots per basis in an evaluation; 0 for exact probabilities.
    """

    shots: int

    def __call__(self, theta: Tensor) -> Tensor:
        """Return the values [K] at K parameter sets [K, P], without gradients; K evaluations."""

    def gradient(self, theta: Tensor, places: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Return the value [] at one parameter set [P], and its derivatives [p] at p places in it.

        They are `cost(p)` evaluations.
        """

    def cost(self, n_angles: int) -> int:
        """Return the number of evaluations that a gradient in so many angles takes."""

    def distributions(self, theta: Tensor) -> Tensor:
        """Return the distributions [K, n_bases, 2**n] at parameter sets [K, P]; K evaluations.

        They are frequencies unless probabilities are exact.
        """

    def simulated(self, theta: Tensor) -> Tensor:
        """Return the distributions [n_bases, 2**n] at angles [P] by our exact engine.

        They are differentiable, and no evaluation.
        """

    def loss(self, distributions: Tensor, uniform: float | None = None) -> Tensor:
        """Return the loss [...] of estimates of distributions [..., n_bases, 2**n].

        It is differentiable, and no evaluation. Where estimates from shots are mixed with the
        uniform distribution, `uniform` is its share.
        """


# (objective, start [P], evaluations, random state) -> best angles found [P]
Optimizer = Callable[[Objective, Tensor, int, np.random.Generator], Tensor]


def cobyla(
    objective: Objective, theta: Tensor, evaluations: int, rng: np.random.Generator
) -> Tensor:
    """Minimise by Powell's COBYLA: linear models on P + 1 points inside a shrinking trust region.

    An exact objective is minimised over all angles at once. From shots that would do nothing: over
    P angles, the slope of the model has P times the variance of the noise. So there COBYLA searches
    a plane at a time. One direction is that of a step of Adam, by parameter shifts of few shots,
    and the other is the steepest descent by the newest of them.

    Args:
        objective: function to minimise.
        theta: start [P], in radians.
        evaluations: maximum number of evaluations; see `fewest_evaluations`.
        rng: random state.

    Returns:
        Best angles found [P].
    """
    if objective.shots:
        return _cobyla_from_shots(objective, theta, evaluations, rng)
    # a short first step keeps what a warm start has learnt
    everywhere = torch.eye(len(theta), dtype=theta.dtype, device=theta.device)
    return _cobyla(objective, theta, everywhere, np.zeros(len(theta)), evaluations, 0.1, 1e-4)


def _cobyla_from_shots(
    objective: Objective, theta: Tensor, evaluations: int, rng: np.random.Generator
) -> Tensor:
    repeats = min(math.ceil(_POINT_SHOTS / objective.shots), max(1, evaluations // 50))
    point = theta.clone().requires_grad_()
    averaged = torch.optim.Adam([point], lr=1.0, betas=(0.8, 0.99), eps=1e-12)
    while True:
        # of all angles, or of some if the budget has not enough for all
        spare = evaluations - _POINTS * repeats
        n_angles = len(theta)
        while n_angles and objective.cost(n_angles) > spare:
            n_angles //= 2
        if not n_angles:
            return theta
        places = np.sort(rng.permutation(len(theta))[:n_angles])
        slopes = torch.zeros_like(theta)
        slopes[torch.from_numpy(places).to(theta.device)] = objective.gradient(theta, places)[1]
        if not slopes.any():
            return theta  # a critical point
        point.data.copy_(theta)
        point.grad = slopes
        averaged.step()
        directions = torch.stack([point.detach() - theta, -slopes / slopes.abs().max()])
        ahead = np.array([_REACH, 0.0])
        theta = _cobyla(objective, theta, directions, ahead, _POINTS, _REACH, 1e-6, repeats=repeats)
        evaluations -= objective.cost(n_angles) + _POINTS * repeats


def _cobyla(
    objective: Objective,
    theta: Tensor,
    directions: Tensor,
    first: Floats,
    points: int,
    radius: float,
    tolerance: float,
    *,
    repeats: int = 1,
) -> Tensor:
    """Minimise by COBYLA over theta [P] plus combinations of m directions [m, P].

    It starts at the combination `first` [m]. A point's value is the mean of `repeats` evaluations.
    """

    def moved(point: Floats) -> Tensor:
        return theta + torch.from_numpy(point).to(theta) @ directions

    def value(point: Floats) -> float:
        return float(objective(moved(point).repeat(repeats, 1)).mean())

    return moved(minimize(value, first, radius, tolerance, points))


def spsa(objective: Objective, theta: Tensor, evaluations: int, rng: np.random.Generator) -> Tensor:
    """Minimise by simultaneous perturbation stochastic approximation.

    Spall, IEEE Trans. Autom. Control 37, 332 (1992). A step takes two evaluations, at theta plus
    and minus c with a random sign for every angle. The gains fall as Spall advises: a_k as
    (k + A)^-0.602, and c_k as k^-0.101. The gain a is chosen so that the steepest slope seen so far
    would move every angle by 0.05 in the first step. A gain that is fitted to the first slopes
    alone leaps if a warm start begins in a flat valley of noise.

    Args and returned value are those of `cobyla`.
    """
    c, first_step, pilots = 0.2, 0.05, 10
    steps = evaluations // 2 - pilots
    stability = 0.1 * steps

    def difference(point: Tensor, width: float, n: int) -> tuple[Tensor, Tensor]:
        """Return n slopes [n] of differences over 2 * width, and their signs [n, P]."""
        signs = torch.from_numpy(rng.choice([-1.0, 1.0], (n, len(point)))).to(point)
        up, down = objective(torch.cat([point + width * signs, point - width * signs])).chunk(2)
        return (up - down) / (2 * width), signs

    slopes, _ = difference(theta, c, pilots)
    steepest = slopes.abs().max()
    for k in range(1, steps + 1):
        slope, signs = difference(theta, c / k**0.101, 1)
        steepest = torch.maximum(steepest, slope.abs().max())
        if steepest > 0:
            gain = first_step / steepest * ((1 + stability) / (k + stability)) ** 0.602
            theta = theta - gain * slope * signs[0]
    return theta


def cmaes(
    objective: Objective, theta: Tensor, evaluations: int, rng: np.random.Generator
) -> Tensor:
    """Minimise by CMA-ES (Hansen, arXiv:1604.00772), with the package of its author.

    A generation is evaluated at once, as one job. Args and returned value are those of `cobyla`.
    """
    import cma

    options = {
        "verbose": -9,
        "seed": math.nan,  # leaves NumPy's global random state alone
        "randn": lambda *shape: rng.standard_normal(shape),
    }
    strategy = cma.CMAEvolutionStrategy(theta.cpu().numpy(), 0.1, options)
    while evaluations >= strategy.popsize:
        points = strategy.ask()
        values = objective(torch.from_numpy(np.stack(points)).to(theta))
        strategy.tell(points, values.cpu().tolist())
        evaluations -= strategy.popsize
    # Under noise the best point seen is the luckiest one. The mean of the distribution is better.
    best = strategy.result.xfavorite if objective.shots else strategy.result.xbest
    return torch.from_numpy(np.asarray(best)).to(theta)


def adam(objective: Objective, theta: Tensor, evaluations: int, rng: np.random.Generator) -> Tensor:
    """Minimise by Adam (Kingma and Ba, arXiv:1412.6980), with a rate that falls to zero.

    Gradients are those of the objective, by autograd or by parameter shifts. From shots, many
    shifts of few shots each are best: Adam averages the noise of its steps, which are half as long
    then. Args and returned value
    are those of `cobyla`; nothing is random here.
    """
    everywhere = np.arange(len(theta))
    steps = evaluations // objective.cost(len(theta))
    point = theta.clone().requires_grad_()
    optimizer = torch.optim.Adam([point], lr=0.05 if objective.shots else 0.1)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        _, point.grad = objective.gradient(point.detach(), everywhere)
        if not point.grad.any():
            break  # a critical point: the other steps would be wasted
        optimizer.step()
        schedule.step()
    return point.detach()


def roto(objective: Objective, theta: Tensor, evaluations: int, rng: np.random.Generator) -> Tensor:
    """Minimise by Rotosolve on the whole distribution: turn one angle at a time to its best.

    With all other angles held, every probability is a sinusoid of an angle (see `Sinusoid`). Two
    measurements, beside what is known of the circuit in place, give it whole, so the best turn is
    found without a step size, a gradient or a simulator, for any loss and all bases together. The
    distribution at the best turn is then known too. It is measured anew every four moves, and the
    estimates are averaged. Angles come in random order. Args and returned value are those of
    `cobyla`.
    """
    shots = objective.shots or _EXACT
    turns = torch.arange(_TURNS, dtype=theta.dtype, device=theta.device) * (2 * math.pi / _TURNS)
    theta = theta.clone()
    still: Spectrum | None = None
    order: list[int] = []
    moves = 0
    while True:
        anew = moves % _MOVES == 0
        evaluations -= 2 + anew
        if evaluations < 0:
            return theta
        order = order or rng.permutation(len(theta)).tolist()
        place = order.pop()
        points = theta.repeat(2 + anew, 1)
        points[0, place] += THIRD
        points[1, place] -= THIRD
        up, down, *here = (Spectrum.of(found, shots) for found in objective.distributions(points))
        if here:
            still = here[0] if still is None else still.pooled(here[0])
        assert still is not None
        sinusoid = Sinusoid(still, up, down)
        best = turns[objective.loss(sinusoid.distributions(turns)).argmin()]
        theta[place] += best
        still = sinusoid.at(float(best))
        moves += 1


def twin(objective: Objective, theta: Tensor, evaluations: int, rng: np.random.Generator) -> Tensor:
    """Minimise by Adam on a simulated twin of the circuit, corrected by measurements.

    It minimises the loss of the simulated distribution plus the measured difference from it,
    averaged over the last ten measurements or so. So the descent takes what no simulation knows, as
    the miscalibration of a device, from the measurements, and its slopes from the simulator. Five
    steps follow each measurement. Args and returned value are those of `cobyla`; nothing is random
    here.
    """
    point = theta.clone().requires_grad_()
    optimizer = torch.optim.Adam([point], lr=0.05)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, _STEPS * evaluations, 0.005)
    beyond: Spectrum | None = None
    for _ in range(evaluations):
        at = point.detach()
        gap = objective.distributions(at[None])[0] - objective.simulated(at)
        found = Spectrum.of(gap, objective.shots or _EXACT)
        beyond = found if beyond is None else beyond.faded(_KEPT).pooled(found)
        correction = walsh_hadamard(beyond.shrunk()) / gap.shape[-1]
        for _ in range(_STEPS):
            optimizer.zero_grad()
            expected = (objective.simulated(point) + correction).clamp_min(0)
            objective.loss(expected, _UNIFORM).backward()
            optimizer.step()
            schedule.step()
    return point.detach()


OPTIMIZERS: dict[OptimizerName, Optimizer] = {
    "cobyla": cobyla,
    "spsa": spsa,
    "cma-es": cmaes,
    "adam": adam,
    "roto": roto,
    "twin": twin,
}
# shots per basis in an evaluation, if none are named; Adam averages over its steps, and COBYLA's
# slopes over angles
SHOTS: dict[OptimizerName, int] = {
    "cobyla": 100,
    "spsa": 1000,
    "cma-es": 1000,
    "adam": 25,
    "roto": 1000,
    "twin": 1000,
}


def fewest_evaluations(
    name: OptimizerName, n_params: int, cost: Callable[[int], int], *, noisy: bool
) -> int:
    """Return the smallest budget with which the named optimiser moves.

    Args:
        name: name of the optimiser.
        n_params: number of angles.
        cost: number of evaluations of a gradient in so many angles; see `Objective`.
        noisy: whether evaluations are from shots.
    """
    return {
        # COBYLA needs two evaluations more than it has directions
        "cobyla": cost(1) + _POINTS if noisy else n_params + 2,
        "spsa": 40,
        "cma-es": 4 + int(3 * math.log(n_params)),
        "adam": cost(n_params),
        "roto": 3,
        "twin": 1,
    }[name]
