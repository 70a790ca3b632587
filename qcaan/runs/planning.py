"""Plans: the device jobs of a run, counted by a rehearsal of its parts."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch

from qcaan.priors.base import Prior
from qcaan.samplers.names import MakeSampler, SamplerFactory
from qcaan.samplers.rehearsal import Counts, Plan, Stage


def plan_prior(
    make_prior: Callable[[MakeSampler], Prior],
    samplers: SamplerFactory,
    *,
    epochs: int,
    draws: int,
) -> Plan | None:
    """Plan the device jobs of a run whose prior uses a device. Return None if no device is used.

    The prior's schedule says in which epochs the device fits and draws; a rehearsal counts what a
    fit and a bank of shots ask.

    Args:
        make_prior: makes the run's prior from a maker of its samplers.
        samplers: the factory of the run's samplers, which opens the vendor.
        epochs: number of epochs of the run.
        draws: number of draws after the run, for scores; those in the bank ask nothing.
    """
    stage = Stage(samplers)
    prior = make_prior(stage)
    schedule = prior.schedule
    if stage.device is None or schedule is None:
        return None
    bits = torch.randint(2, (1000, prior.dim), generator=torch.Generator().manual_seed(0))

    def epoch_counts(epoch: int) -> Counts:
        """Count the fit that ends an epoch, and the bank of shots after it."""
        prior.resume_at(epoch)
        fit = stage.spent(partial(prior.rehearse_fit, bits))
        bank = stage.spent(prior.draw_bank)
        return fit.plus(bank).plus(stage.spent(partial(prior.distances, bits)))

    total = stage.spent(prior.draw_bank)  # the bank of the first epoch
    epoch = Counts()
    for first, n_epochs in schedule.phases(epochs):
        # the first epoch may measure readout errors, once for all
        for place in range(min(n_epochs, 2)):
            epoch = epoch_counts(first + place)
            total = total.plus(epoch, max(1, n_epochs - 1) if place else 1)
    if draws:
        total = total.plus(stage.spent(partial(prior.draw, draws)))
    return stage.plan(epoch, total)


def plan_steps(
    start: Callable[[MakeSampler], tuple[Callable[[], object], ...]],
    samplers: SamplerFactory,
    *,
    epochs: int,
    steps_per_epoch: int,
    switch_after_epochs: int | None,
) -> Plan | None:
    """Plan the device jobs of a run that uses a device in each step. Return None if it uses none.

    Args:
        start: returns, given a maker of samplers, three actions on them: a training step, the end
            of an epoch, and the end of the run.
        samplers: the factory of the run's samplers, which opens the vendor.
        epochs: number of epochs of the run.
        steps_per_epoch: number of steps in an epoch.
        switch_after_epochs: number of epochs before the device is used.
    """
    stage = Stage(samplers)
    actions = start(stage)
    if stage.device is None:
        return None
    step, end_of_epoch, end_of_run = (stage.spent(action) for action in actions)
    epoch = end_of_epoch.plus(step, steps_per_epoch)
    return stage.plan(epoch, end_of_run.plus(epoch, epochs - (switch_after_epochs or 0)))
