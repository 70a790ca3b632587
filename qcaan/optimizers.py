"""Optimisers of circuit angles, all with one signature: minimise an objective from a start within a budget.

The budget is a number of evaluations, parameter sets whose distribution is asked for. An objective takes K parameter sets
at once, so that an optimiser that asks for many goes to a device with one job.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, Protocol

import cma
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import Tensor

Floats = NDArray[np.float64]

_BLOCK = 12  # angles that COBYLA minimises a noisy objective over at a time
HALF_STEPS = 200  # of `DecayingAdam`
_CONFIRM = 3  # fresh evaluations of a noisy objective that each side of a comparison is the mean of


class Objective(Protocol):
    """A function of angles [P] in radians to be minimised."""

    noisy: bool
    """Whether two evaluations at the same angles differ."""
    gradient_evaluations: int
    """Evaluations that one gradient takes: 1 by autograd, 2 P + 1 by parameter shifts."""

    def __call__(self, theta: Tensor) -> Tensor:
        """Values [K] at K parameter sets [K, P], without gradients."""

    def gradient(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        """Value [] and gradient [P] at theta [P]."""


Optimizer = Callable[[Objective, Tensor, int, np.random.Generator], Tensor]


def cobyla(
    objective: Objective, theta: Tensor, evaluations: int, rng: np.random.Generator
) -> Tensor:
    """Powell's COBYLA from SciPy: linear models on a simplex of P + 1 points inside a shrinking trust region.

    An exact objective is minimised over all angles at once. With a noisy one that does nothing: over P angles the model's
    slope has P times the noise's variance. So it is minimised over small random blocks of the angles in turn, by larger
    steps, and a block's new angles are taken only if they are better at fresh evaluations, since COBYLA's own best value
    is its luckiest.

    Args:
        objective: what to minimise.
        theta: start [P], radians.
        evaluations: the most evaluations asked for; SciPy needs at least P + 2 for a simplex.
        rng: source of the blocks.

    Returns:
        The best angles found [P].
    """
    if not objective.noisy:  # the first step is short: it keeps what a warm start has learnt
        return _cobyla(objective, theta, np.arange(len(theta)), evaluations, 0.1, 1e-4)[0]
    left = evaluations
    while True:
        for block in np.array_split(rng.permutation(len(theta)), math.ceil(len(theta) / _BLOCK)):
            budget = min(left - 2 * _CONFIRM, 4 * len(block))
            if budget < len(block) + 2:
                return theta
            moved, used = _cobyla(objective, theta, block, budget, 0.3, 0.06)
            left -= used + 2 * _CONFIRM
            old, new = (
                objective(torch.stack([theta] * _CONFIRM + [moved] * _CONFIRM)).view(2, -1).mean(1)
            )
            if new < old:
                theta = moved


def _cobyla(
    objective: Objective,
    theta: Tensor,
    places: NDArray[np.int64],
    evaluations: int,
    radius: float,
    tolerance: float,
) -> tuple[Tensor, int]:
    """SciPy's COBYLA over `theta[places]`, the other angles held: the new theta [P] and the evaluations used."""
    index = torch.from_numpy(places).to(theta.device)

    def moved(point: Floats) -> Tensor:
        return theta.index_copy(0, index, torch.from_numpy(point).to(theta))

    result = minimize(
        lambda point: float(objective(moved(point)[None])[0]),
        theta[index].cpu().numpy(),
        method="COBYLA",
        options={"maxiter": evaluations, "rhobeg": radius, "tol": tolerance},
    )
    return moved(result.x), int(result.nfev)


def spsa(objective: Objective, theta: Tensor, evaluations: int, rng: np.random.Generator) -> Tensor:
    """Simultaneous perturbation stochastic approximation (Spall, IEEE Trans. Autom. Control 37, 332, 1992).

    Two evaluations a step, at theta plus and minus c in every angle at random. Gains fall as Spall advises, a_k as
    (k + A)^-0.602 and c_k as k^-0.101; a is such that the steepest slope seen so far would first move every angle by
    0.05: fitted to the first slopes alone, it would leap when a warm start begins in a flat valley of noise.
    """
    c, first_step, pilots = 0.2, 0.05, 10
    steps = evaluations // 2 - pilots
    stability = 0.1 * steps

    def difference(point: Tensor, width: float, n: int) -> tuple[Tensor, Tensor]:
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
    """CMA-ES (Hansen, arXiv:1604.00772) by its author's package: a generation is evaluated at once, as one job."""
    options = {
        "verbose": -9,
        "seed": math.nan,
        "randn": lambda *shape: rng.standard_normal(shape),
    }  # nan: leave NumPy's
    strategy = cma.CMAEvolutionStrategy(theta.cpu().numpy(), 0.1, options)
    while evaluations >= strategy.popsize:
        points = strategy.ask()
        strategy.tell(
            points, objective(torch.from_numpy(np.stack(points)).to(theta)).cpu().tolist()
        )
        evaluations -= strategy.popsize
    # under noise the best point seen is the luckiest one, and the mean of the distribution the better estimate
    best = strategy.result.xfavorite if objective.noisy else strategy.result.xbest
    return torch.from_numpy(np.asarray(best)).to(theta)


def adam(objective: Objective, theta: Tensor, evaluations: int, rng: np.random.Generator) -> Tensor:
    """Adam (Kingma and Ba, arXiv:1412.6980) on gradients by autograd or parameter shifts, its rate annealed to zero."""
    steps = evaluations // objective.gradient_evaluations
    point = theta.clone().requires_grad_()
    optimizer = torch.optim.Adam([point], lr=0.1)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        _, point.grad = objective.gradient(point.detach())
        optimizer.step()
        schedule.step()
    return point.detach()


OPTIMIZERS: dict[str, Optimizer] = {"cobyla": cobyla, "spsa": spsa, "cma-es": cmaes, "adam": adam}


def fewest_evaluations(name: str, n_params: int, gradient_evaluations: int) -> int:
    """The smallest budget with which the named optimiser does anything."""
    return {
        "cobyla": n_params + 2,
        "spsa": 40,
        "cma-es": 4 + int(3 * math.log(n_params)),
        "adam": gradient_evaluations,
    }[name]


def load_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Put back what its `state_dict` gave.

    Raises:
        ValueError: it is of an optimiser of another kind, which torch would only find out in the next step.
    """
    here, there = (
        [set(group) for group in groups]
        for groups in (optimizer.param_groups, state["param_groups"])
    )
    if here != there:
        raise ValueError("the optimiser is of another kind")
    optimizer.load_state_dict(state)


class DecayingAdam(torch.optim.Adam):
    """Adam whose learning rate is lr / (1 + step / half_steps): at a constant one the players go round each other for ever.

    The defaults settle every case of `scripts/measure_qgan.py`, for both players of the quantum GAN.
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float = 0.02,
        betas: tuple[float, float] = (0.5, 0.99),
        half_steps: float = HALF_STEPS,
        n_steps: int = 0,
    ) -> None:
        group = {"params": params, "first_lr": lr, "half_steps": half_steps, "n_steps": n_steps}
        super().__init__([group], lr, betas)

    def step(self, closure: Any = None) -> Any:
        for group in self.param_groups:
            group["lr"] = group["first_lr"] / (1 + group["n_steps"] / group["half_steps"])
            group["n_steps"] += 1
        return super().step(closure)
