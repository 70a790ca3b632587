"""Plans of runs on devices: what is planned is what a run then asks."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from qcaan.circuits.ansatz import make_ansatz
from qcaan.circuits.born import BornMachine
from qcaan.gans.associative.config import AssociativeConfig
from qcaan.gans.associative.gan import AssociativeGAN, train
from qcaan.priors.iqp import IQP
from qcaan.priors.schedule import Schedule
from qcaan.runs.associative import plan_run
from qcaan.runs.planning import plan_prior
from qcaan.samplers.devices import DeviceOptions
from qcaan.samplers.journal import Journal
from qcaan.samplers.names import SamplerFactory

IMAGES = torch.rand(40, 1, 28, 28, generator=torch.Generator().manual_seed(0)) * 2 - 1

FAST = {"sampler": "aqt:ideal", "epochs": 2}
NOISY = {"sampler": "ibm:fake_manila", "epochs": 2}


def machine() -> BornMachine:
    return BornMachine(make_ansatz("ion-trap", 2, 1), ("z",), "exact", np.random.default_rng(0))


def test_a_schedule_says_who_fits_and_who_draws_in_each_epoch():
    early, late = machine(), machine()
    fixed = Schedule(early, early)
    assert list(fixed.phases(3)) == [(0, 3)]
    assert fixed.fitter(0) is fixed.drawer(0) is early
    both = Schedule(early, late, switch_after_epochs=2, fits_switch=True)
    assert [both.fitter(epoch) is late for epoch in range(4)] == [False, False, True, True]
    # the bank after the second fit is drawn by the later machine already
    assert [both.drawer(n_fits) is late for n_fits in range(4)] == [False, False, True, True]
    assert list(both.phases(4)) == [(0, 1), (1, 1), (2, 2)]
    assert both.fitters == (early, late)
    drawn = Schedule(early, late)
    assert drawn.fitter(9) is early and drawn.drawer(0) is late


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"bases": ("z", "o"), "mitigate_readout": True, **NOISY},
        {"train_sampler": "exact"},
        {"train_sampler": "exact", "mitigate_readout": True, **NOISY},
        {"switch_after_epochs": 1, "prior": "shuffled"},
        {"switch_after_epochs": 3},
        {"switch_after_epochs": 2, "optimizer": "spsa", "fit_evals": 50},
        {"optimizer": "roto", **FAST},
        {"optimizer": "auto", "bases": ("z", "o"), **FAST},
        {"optimizer": "auto", "device_steps": 5, "mitigate_readout": True, **FAST},
        {"optimizer": "cobyla", "fit_shots": 500, "fit_evals": None, **FAST},
        {"optimizer": "adam", "fit_evals": 40, **FAST},
        {"switch_after_epochs": 2, "train_sampler": "aer"},
        {"prompt": True, "bases": ("z", "o"), "fit_evals": 20, **FAST},
        {"prior": "iqp", "reach": 1, "prompt": True},
        {"prior": "iqp", "reach": 1, "switch_after_epochs": 2, "fit_evals": None},
        {"prior": "iqp", "reach": "all", "epochs": 2},
    ],
)
def test_what_is_planned_is_asked(ionq, options):
    small = {"epochs": 4, "steps_per_epoch": 1, "batch_size": 4, "width": 2, "bases": ("z",)}
    circuit = {"n_qubits": 2, "n_layers": 1, "shots": 20, "fit_evals": 12, "bank_shots": 30}
    device = {"sampler": "ionq:simulator", "optimizer": "cma-es", "digits": (0, 1, 2)}
    prompt = {"prompt": False}
    config = AssociativeConfig(**{**small, **circuit, **device, **prompt, **options}).resolved(
        len(IMAGES)
    )
    samplers = SamplerFactory(config, journal := Journal())
    plan = plan_run(config, samplers, n_scored=45)
    assert plan is not None and journal.spent == (0, 0)
    gan = AssociativeGAN(config, (1, 28, 28), make_sampler=samplers)
    list(train(gan, IMAGES, torch.arange(40) % 3))
    gan.generate(45)  # 15 more than the bank holds
    assert journal.spent == (plan.run.jobs, plan.run.shots)
    with pytest.raises(ValueError, match=f"--max-jobs is {plan.run.jobs - 1}"):
        plan.check(DeviceOptions(max_jobs=plan.run.jobs - 1))
    plan.check(DeviceOptions(max_jobs=plan.run.jobs, max_shots=plan.run.shots))


class FittedIQP(IQP):
    """An IQP that plans fit too."""

    def rehearse_fit(self, bits):
        self.fit(bits)


@pytest.mark.parametrize("sampler", ["ibm:fake_manila", "ionq:qpu.forte-1"])
def test_the_plan_of_an_iqp_needs_no_fit(ionq, sampler):
    def plan(prior):
        def make(make_sampler):
            options = {"sampler": sampler, "bank_shots": 100, "fit_evals": 3, "seed": 0}
            return prior(4, 2, **options, make_sampler=make_sampler)

        return plan_prior(make, SamplerFactory(DeviceOptions()), epochs=3, draws=150)

    assert plan(IQP) == plan(FittedIQP)
    assert plan(IQP).run.jobs > 3 and plan(IQP).two_qubit_gates > 4


def test_a_run_in_this_process_needs_no_plan():
    config = AssociativeConfig(n_qubits=2).resolved(10)
    assert plan_run(config, SamplerFactory(config), 10) is None
    config = AssociativeConfig(prior="gaussian", sampler="ibm:fake_manila").resolved(10)
    assert plan_run(config, SamplerFactory(config), 10) is None
