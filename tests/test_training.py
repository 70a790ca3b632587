from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from qcaan.training import (
    EMA,
    RunOptions,
    TrainingCollapsed,
    check_switch,
    describe_engine,
    finite_values,
    pick_device,
    steps_per_epoch,
)


def test_ema_follows_weights_slowly_and_copies_buffers():
    module = nn.BatchNorm1d(2)
    average = EMA(module, decay=0.9)
    with torch.no_grad():
        module.weight.fill_(3)
        module.running_mean.fill_(5)
    average.update(module)  # first decay is 2 / 11
    assert average.module.weight.tolist() == pytest.approx([3 - 2 * 2 / 11] * 2)
    assert average.module.running_mean.tolist() == [5, 5]
    assert not average.module.weight.requires_grad


def test_devices_that_are_not_there_are_named():
    assert pick_device("cpu").type == "cpu"
    with pytest.raises(ValueError, match="unknown `device` 'tpu9'"):
        pick_device("tpu9")
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="is a CUDA device, and torch finds 0"):
            pick_device("cuda")


def test_losses_of_a_step_are_numbers_or_end_the_training():
    values = finite_values((torch.tensor(0.5, requires_grad=True), torch.tensor(2.0)), 7)
    assert values.tolist() == [0.5, 2.0] and not values.requires_grad
    with pytest.raises(TrainingCollapsed, match="a loss is not finite at step 7"):
        finite_values((torch.tensor(0.5), torch.tensor(math.nan)), 7)


def test_small_data_sets_are_passed_over_several_times_in_an_epoch():
    assert [steps_per_epoch(n, 128) for n in (1, 18_345, 60_000)] == [140, 143, 468]


@pytest.mark.parametrize("seed", [-1, 2**63, 1.5])
def test_seeds_out_of_range_are_refused(seed):
    with pytest.raises(ValueError, match=r"`seed` must be .*at least 0 and below 2\*\*63, got"):
        RunOptions(seed=seed)


def test_a_change_of_engine_must_happen_and_change_something():
    check_switch(None, 10, differs=False)
    check_switch(9, 10, differs=True)
    for epochs in (0, 10):
        with pytest.raises(ValueError, match="less than the run's 10 epochs, got"):
            check_switch(epochs, 10, differs=True)
    with pytest.raises(ValueError, match="would change nothing"):
        check_switch(5, 10, differs=False)


def test_engines_are_described_with_their_shots_and_their_start():
    assert describe_engine("exact", 0, None) == "sampler exact"
    assert describe_engine("aer", 1000, 3) == "sampler aer after 3 epochs, 1,000 shots"
