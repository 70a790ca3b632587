"""Optimisers of circuit angles, and the optimiser of networks that the four systems share.

An optimiser of angles is a function that minimises an objective from a start within a budget. All
have one signature. The budget is a number of evaluations: parameter sets whose distribution is
asked for. An objective takes K parameter sets at once, so that an optimiser that asks for many
sends one job to a device.

`DecayingAdam` and `load_optimizer` are about torch's optimisers, which train networks, and angles
that are weights of a network.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Floats = NDArray[np.float64]
OptimizerName = Literal["cobyla", "spsa", "cma-es", "adam"]

# steps after which `DecayingAdam` has halved its learning rate
HALF_STEPS = 200
# number of angles over which COBYLA minimises a noisy objective at a time
_BLOCK = 12
# number of new evaluations of a noisy objective whose mean is compared, on each side
_CONFIRM = 3


class Objective(Protocol):
    """A function of angles, in radians, that an optimiser minimises.

    If the engine behind it is a device, each call is a job that may be paid for.

    Attributes:
        noisy: whether two evaluations at the same angles differ, as they do if shots are drawn.
        gradient_evaluations: number of evaluations that one gradient takes: 1 by autograd,
            2 P + 1 by parameter shifts of P angles.
    """

    noisy: bool
    gradient_evaluations: int

    def __call__(self, theta: Tensor) -> Tensor:
        """Return the values [K] at K parameter sets [K, P], without gradients."""

    def gradient(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        """Return the value [] and the gradient [P] at one parameter set [P]."""


# (objective, start [P], evaluations, random state) -> best angles found [P]
Optimizer = Callable[[Objective, Tensor, int, np.random.Generator], Tensor]


def cobyla(
    objective: Objective, theta: Tensor, evaluations: int, rng: np.random.Generator
) -> Tensor:
    """Minimise by Powell's COBYLA: linear models on P + 1 points inside a shrinking trust region.

    An exact objective is minimised over all angles at once. With a noisy objective that would do
    nothing: over P angles, the slope of the model has P times the variance of the noise. So a noisy
    objective is minimised over small random blocks of the angles, one after the other, by larger
    steps. The new angles of a block are taken only if they are better at new evaluations, because
    COBYLA's own best value is its luckiest one.

    Args:
        objective: function to minimise.
        theta: start [P], in radians.
        evaluations: maximum number of evaluations; see `fewest_evaluations`.
        rng: random state of the blocks.

    Returns:
        Best angles found [P].
    """
    if not objective.noisy:
        # a short first step keeps what a warm start has learnt
        return _cobyla(objective, theta, np.arange(len(theta)), evaluations, 0.1, 1e-4)[0]
    left = evaluations
    while True:
        for block in np.array_split(rng.permutation(len(theta)), _n_blocks(len(theta))):
            budget = min(left - 2 * _CONFIRM, 4 * len(block))
            if budget < len(block) + 2:
                return theta
            moved, used = _cobyla(objective, theta, block, budget, 0.3, 0.06)
            left -= used + 2 * _CONFIRM
            points = torch.stack([theta] * _CONFIRM + [moved] * _CONFIRM)
            old, new = objective(points).view(2, -1).mean(1)
            if new < old:
                theta = moved


def _n_blocks(n_params: int) -> int:
    return math.ceil(n_params / _BLOCK)


def _cobyla(
    objective: Objective,
    theta: Tensor,
    places: NDArray[np.int64],
    evaluations: int,
    radius: float,
    tolerance: float,
) -> tuple[Tensor, int]:
    """Minimise by SciPy's COBYLA over `theta[places]`, and hold the other angles.

    Returns:
        The new theta [P], and the number of evaluations used.
    """
    from scipy.optimize import minimize

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
    best = strategy.result.xfavorite if objective.noisy else strategy.result.xbest
    return torch.from_numpy(np.asarray(best)).to(theta)


def adam(objective: Objective, theta: Tensor, evaluations: int, rng: np.random.Generator) -> Tensor:
    """Minimise by Adam (Kingma and Ba, arXiv:1412.6980), with a rate that falls to zero.

    Gradients are those of the objective, by autograd or by parameter shifts. Args and returned
    value are those of `cobyla`; nothing is random here.
    """
    steps = evaluations // objective.gradient_evaluations
    point = theta.clone().requires_grad_()
    optimizer = torch.optim.Adam([point], lr=0.1)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        _, point.grad = objective.gradient(point.detach())
        if not point.grad.any():
            break  # a critical point: the other steps would be wasted
        optimizer.step()
        schedule.step()
    return point.detach()


OPTIMIZERS: dict[OptimizerName, Optimizer] = {
    "cobyla": cobyla,
    "spsa": spsa,
    "cma-es": cmaes,
    "adam": adam,
}


def fewest_evaluations(
    name: OptimizerName, n_params: int, gradient_evaluations: int, *, noisy: bool
) -> int:
    """Return the smallest budget with which the named optimiser moves.

    Args:
        name: name of the optimiser.
        n_params: number of angles.
        gradient_evaluations: number of evaluations of one gradient.
        noisy: whether the objective is noisy.
    """
    # SciPy's COBYLA needs two evaluations more than it moves angles
    block = math.ceil(n_params / _n_blocks(n_params))
    return {
        "cobyla": block + 2 + 2 * _CONFIRM if noisy else n_params + 2,
        "spsa": 40,
        "cma-es": 4 + int(3 * math.log(n_params)),
        "adam": gradient_evaluations,
    }[name]


class DecayingAdam(torch.optim.Adam):
    """Adam for networks, whose learning rate at step k is lr / (1 + k / half_steps).

    At a constant rate the two players of a GAN circle around each other forever. The defaults
    settle every case of `qcaan compare qgan`, for both players of the QGAN.

    Args:
        params: weights, as torch's optimisers take them.
        lr: learning rate at the start.
        betas: decay rates of the two moments.
        half_steps: number of steps after which the rate is halved.
        n_steps: number of the first step.
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float = 0.02,
        *,
        betas: tuple[float, float] = (0.5, 0.99),
        half_steps: float = HALF_STEPS,
        n_steps: int = 0,
    ) -> None:
        group = {"params": params, "first_lr": lr, "half_steps": half_steps, "n_steps": n_steps}
        super().__init__([group], lr, betas)

    def step(self, closure: Any = None) -> Any:
        """Set the rate of this step, and take the step."""
        for group in self.param_groups:
            group["lr"] = group["first_lr"] / (1 + group["n_steps"] / group["half_steps"])
            group["n_steps"] += 1
        return super().step(closure)


def load_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Restore the state that the `state_dict` of a torch optimiser returned.

    Raises:
        ValueError: the state is that of an optimiser of another kind. Torch itself would find that
            out only in the next step.
    """
    here = [set(group) for group in optimizer.param_groups]
    there = [set(group) for group in state["param_groups"]]
    if here != there:
        raise ValueError("the state is that of an optimiser of another kind")
    optimizer.load_state_dict(state)
