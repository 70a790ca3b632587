"""The two players of a QGAN, from what a user gives."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from torch import nn

from qcaan.checks import Floats
from qcaan.gans.distribution.circuit import CircuitLike, InitialState, build_circuit
from qcaan.gans.distribution.discriminator import (
    Adversary,
    GridDiscriminator,
    GridLoss,
    default_grid_discriminator,
)
from qcaan.gans.distribution.generator import CircuitGenerator
from qcaan.gans.distribution.grid import Grid


class Player(Protocol):
    """A generator or a discriminator, as far as its state is concerned."""

    def state_dict(self) -> dict[str, Any]:
        """Return all that training needs to continue."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state that `state_dict` returned."""


AnyPlayer = TypeVar("AnyPlayer", bound=Player)


def restarting(player: AnyPlayer) -> Callable[[], AnyPlayer]:
    """Return a function that takes a player back to the state that it has now, and returns it."""
    first = copy.deepcopy(player.state_dict())

    def restart() -> AnyPlayer:
        player.load_state_dict(copy.deepcopy(first))
        return player

    return restart


def make_generator(
    grid: Grid,
    circuit: CircuitLike | None,
    *,
    initial_state: InitialState | None,
    n_layers: int,
    data_probs: Floats,
    rng: np.random.Generator,
    **options: Any,
) -> CircuitGenerator:
    """Return a new generator of grid points.

    Args:
        grid: the grid.
        circuit, initial_state, n_layers, data_probs, rng: as of `build_circuit`.
        options: as of `CircuitGenerator`.
    """
    built = build_circuit(
        grid,
        circuit,
        initial_state=initial_state,
        n_layers=n_layers,
        data_probs=data_probs,
        rng=rng,
    )
    return CircuitGenerator(grid, built, rng=rng, **options)


def as_adversary(
    given: nn.Module | Adversary | None, grid: Grid, loss: GridLoss, *, seed: int
) -> Adversary:
    """Return the discriminator for what a user gives: a network, a discriminator, or None.

    Args:
        given: network from samples [m, k] to logits [m], a `GridDiscriminator` or anything with
            its methods, or None for the default; see `GridDiscriminator` for the samples' dtype.
        grid: grid whose points it judges.
        loss: loss of a network and of the default.
        seed: seed of a network's gradient penalty, and of the default.

    Raises:
        ValueError: it is something else, does not take the points of the grid, or sees them in a
            dtype in which some are the same.
    """
    if given is None:
        return default_grid_discriminator(grid, loss, seed=seed)
    if isinstance(given, nn.Module):
        given = GridDiscriminator(given, loss, seed=seed, units=grid.steps)
    if not isinstance(given, Adversary):
        raise ValueError(
            "`discriminator` must be a torch module or a GridDiscriminator, "
            f"got {type(given).__name__}"
        )
    points = torch.from_numpy(grid.points)
    if isinstance(given, GridDiscriminator):
        seen = points.to(given.dtype)
        if len(seen.unique(dim=0)) < len(points):
            raise ValueError(
                f"`discriminator` sees samples as {seen.dtype}, in which points of the grid are "
                "the same; take a network in float64 that centres them"
            )
    try:
        judged = given.slope(points).shape == (len(points),)
    except (RuntimeError, ValueError):  # of torch and of our networks, for another shape
        judged = False
    if not judged:
        raise ValueError(f"`discriminator` must take samples [m, {points.shape[1]}] to logits [m]")
    return given
