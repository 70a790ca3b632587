from __future__ import annotations

import numpy as np
import pytest
import torch

from qcaan.bits import product_probabilities
from qcaan.circuits.ansatz import make_ansatz
from qcaan.circuits.born import BornMachine
from qcaan.optimizers import OPTIMIZERS, fewest_evaluations
from qcaan.priors.objective import BornObjective, Measurements
from qcaan.training import DecayingAdam, load_optimizer

# optimisers that see values and slopes only, not distributions
BY_VALUES = {name: OPTIMIZERS[name] for name in OPTIMIZERS if name not in ("roto", "twin")}


class Cosines:
    """Sum of 1 - cos(theta - minimum) over 20 angles, with noise if asked for.

    It counts what it is asked for.
    """

    def __init__(self, minimum, noise):
        self.shots = 1000 if noise else 0
        self.minimum, self.noise, self.asked = minimum, noise, 0
        self.generator = torch.Generator().manual_seed(0)

    def exact(self, theta):
        return (1 - (theta - self.minimum).cos()).sum(-1)

    def __call__(self, theta):
        self.asked += len(theta)
        return self.exact(theta) + self.noise * torch.randn(len(theta), generator=self.generator)

    def gradient(self, theta, places):
        self.asked += 1
        slope = (theta - self.minimum).sin()[places]
        return self.exact(theta), slope + self.noise * torch.randn(
            len(places), generator=self.generator
        )

    def cost(self, n_angles):
        return 1


def born_objective(bits, shots, evaluations, fit_loss="kl", bases=("z",), n_layers=4):
    """The objective of a fit of few qubits by our engine."""
    rng = np.random.default_rng(0)
    n_qubits = bits.shape[1] // len(bases)
    born = BornMachine(make_ansatz("ion-trap", n_qubits, n_layers), bases, "exact", rng)
    targets = torch.stack(
        [torch.bincount(part.long() @ (1 << torch.arange(n_qubits)), minlength=2**n_qubits).double()
         for part in bits.chunk(len(bases), 1)]
    ) / len(bits)  # fmt: skip
    measurements = Measurements(born, shots, evaluations)
    return BornObjective(measurements, targets, fit_loss, lambda born, found: found, rng)


@pytest.mark.parametrize("optimizer", BY_VALUES.values(), ids=BY_VALUES)
@pytest.mark.parametrize("noise", [0, 0.01])
def test_comes_near_the_minimum_within_the_budget(optimizer, noise):
    rng = np.random.default_rng(0)
    objective = Cosines(torch.from_numpy(rng.uniform(-0.5, 0.5, 20)), noise)
    start = torch.zeros(20, dtype=torch.float64)
    theta = optimizer(objective, start, 600, rng)
    assert objective.asked <= 600
    assert objective.exact(theta) < 0.3 * objective.exact(start)
    assert torch.equal(start, torch.zeros(20, dtype=torch.float64))


@pytest.mark.parametrize("optimizer", BY_VALUES.values(), ids=BY_VALUES)
def test_noise_alone_carries_nothing_away(optimizer):
    """At the minimum the luckiest value is worse than it looks: what is returned must stay near."""
    objective = Cosines(torch.zeros(20, dtype=torch.float64), 0.01)
    theta = optimizer(objective, objective.minimum, 600, np.random.default_rng(0))
    assert objective.exact(theta) < 0.15


@pytest.mark.parametrize("optimizer", BY_VALUES.values(), ids=BY_VALUES)
def test_numpys_global_random_state_is_left_alone(optimizer):
    before = np.random.get_state()[1].tolist()  # noqa: NPY002
    objective = Cosines(torch.ones(20, dtype=torch.float64), 0.01)
    optimizer(objective, torch.zeros(20).double(), 100, np.random.default_rng(0))
    assert np.random.get_state()[1].tolist() == before  # noqa: NPY002


@pytest.mark.parametrize("n_params", [2, 12, 13, 14, 20])
@pytest.mark.parametrize("noise", [0, 1e-6])
@pytest.mark.parametrize("name", BY_VALUES)
def test_the_fewest_evaluations_move_the_angles_and_are_not_exceeded(name, noise, n_params):
    objective = Cosines(torch.ones(n_params, dtype=torch.float64), noise)
    start = torch.zeros(n_params, dtype=torch.float64)
    budget = fewest_evaluations(name, n_params, objective.cost, noisy=objective.shots > 0)
    theta = OPTIMIZERS[name](objective, start, budget, np.random.default_rng(0))
    assert objective.asked <= budget
    assert not torch.equal(theta, start)


def test_adam_ends_at_a_critical_point():
    objective = Cosines(torch.zeros(3, dtype=torch.float64), 0)
    OPTIMIZERS["adam"](objective, objective.minimum, 50, np.random.default_rng(0))
    assert objective.asked == 1


# --- optimisers that see distributions

GHZ = torch.tensor([[0, 0, 0], [1, 1, 1]])
W = torch.eye(3, dtype=torch.int64)


@pytest.mark.parametrize("fit_loss", ["kl", "mmd"])
@pytest.mark.parametrize(("name", "shots", "evaluations"), [
    ("roto", 0, 150), ("roto", 1000, 150), ("twin", 0, 40), ("twin", 1000, 40),
])  # fmt: skip
def test_few_circuits_learn_a_state_without_a_product(name, shots, evaluations, fit_loss):
    objective = born_objective(W, shots, evaluations, fit_loss)
    start = torch.from_numpy(np.random.default_rng(1).normal(0, 1.5, objective.n_params))
    theta = OPTIMIZERS[name](objective, start, evaluations, np.random.default_rng(0))
    assert objective.n_evaluations <= evaluations
    model = objective.simulated(theta)[0]
    assert model[[1, 2, 4]].sum() > 0.75 and model[[1, 2, 4]].min() > 0.2
    assert product_probabilities(torch.full((3,), 1 / 3))[[1, 2, 4]].sum() < 0.45


@pytest.mark.parametrize("name", ["roto", "twin"])
def test_one_circuit_serves_two_bases(name):
    bits = torch.cat([GHZ, GHZ.flip(0)], 1)  # GHZ in z, and in o
    bits = torch.cat([bits, torch.cat([GHZ, GHZ], 1)])
    objective = born_objective(bits, 1000, 80, bases=("z", "o"))
    start = torch.from_numpy(np.random.default_rng(1).normal(0, 1.5, objective.n_params))
    theta = OPTIMIZERS[name](objective, start, 80, np.random.default_rng(0))
    assert objective.loss(objective.simulated(theta)) < 0.5 * objective.loss(
        objective.simulated(start)
    )


@pytest.mark.parametrize("name", ["roto", "twin"])
def test_all_angles_can_move_and_the_start_stays(name):
    objective = born_objective(W, 1000, 300)
    start = torch.from_numpy(np.random.default_rng(1).normal(0, 1.5, objective.n_params))
    before = start.clone()
    theta = OPTIMIZERS[name](objective, start, 60, np.random.default_rng(0))
    assert torch.equal(start, before) and (theta != start).sum() > 18


def test_roto_asks_two_circuits_an_angle_and_one_more_every_four_angles():
    objective = born_objective(W, 100, 100)
    start = torch.zeros(objective.n_params, dtype=torch.float64)
    OPTIMIZERS["roto"](objective, start, 90, np.random.default_rng(0))
    assert objective.n_evaluations == 90 and objective.n_jobs == 40


class Miscalibrated:
    """A device whose angles are all off by as much, which its simulation does not know."""

    def __init__(self, ideal, off):
        self._ideal, self._off = ideal, off
        self.shots, self.n_params = ideal.shots, ideal.n_params

    def distributions(self, theta):
        return self._ideal.distributions(theta + self._off)

    def __getattr__(self, name):
        return getattr(self._ideal, name)


def test_twin_corrects_a_miscalibration_that_no_simulation_knows():
    off = torch.from_numpy(np.random.default_rng(2).normal(0, 0.2, 21))
    rng = np.random.default_rng(0)
    bits = (rng.random((2000, 3)) < [0.6, 0.4, 0.7]).astype(int)
    bits[:, 1] ^= bits[:, 0]
    bits[:, 2] ^= bits[:, 1] & (rng.random(2000) < 0.8)
    bits = torch.from_numpy(bits)
    objective = born_objective(bits, 1000, 100)
    start = torch.from_numpy(rng.normal(0, 1.5, objective.n_params))
    simulated = OPTIMIZERS["adam"](born_objective(bits, 0, 100), start, 100, rng)
    corrected = OPTIMIZERS["twin"](Miscalibrated(objective, off), simulated, 40, rng)

    def on_device(theta):
        return float(objective.loss(objective.simulated(theta + off), 0))

    assert on_device(simulated) > 0.03
    assert on_device(corrected) < 0.15 * on_device(simulated)


def test_the_mean_slope_from_few_shots_is_the_exact_one():
    exact, noisy = born_objective(W, 0, 100, "mmd"), born_objective(W, 50, 10_000, "mmd")
    theta = torch.from_numpy(np.random.default_rng(1).normal(0, 1.5, exact.n_params))
    places = np.arange(exact.n_params)
    found = torch.stack([noisy.gradient(theta, places)[1] for _ in range(100)])
    wanted = exact.gradient(theta, places)[1]
    error = found.std(0) / 10
    assert ((found.mean(0) - wanted).abs() < 4.5 * error).all()
    assert noisy.n_evaluations == 100 * noisy.cost(len(places)) == 100 * (2 * len(places) + 20)
    some = np.array([3, 1, 7])
    torch.testing.assert_close(exact.gradient(theta, some)[1], wanted[some])


def test_the_error_of_a_loss_is_that_of_its_shots():
    for fit_loss in ("kl", "mmd"):
        objective = born_objective(W, 500, 10_000, fit_loss)
        theta = torch.from_numpy(np.random.default_rng(1).normal(0, 1.5, objective.n_params))
        found = [objective.measure(theta) for _ in range(100)]
        spread = np.std([loss for loss, _ in found])
        assert 0.8 * spread < np.mean([error for _, error in found]) < 1.25 * spread


# --- optimisers of networks


def test_the_rate_of_decaying_adam_is_halved_after_half_steps():
    weights = torch.ones(2, requires_grad=True)
    optimizer = DecayingAdam([weights], lr=0.1, half_steps=3)
    rates = []
    for _ in range(4):
        optimizer.zero_grad()
        weights.sum().backward()
        optimizer.step()
        rates.append(optimizer.param_groups[0]["lr"])
    assert rates == pytest.approx([0.1, 0.075, 0.06, 0.05])


def test_the_state_of_another_kind_of_optimiser_is_refused():
    weights = [torch.ones(2, requires_grad=True)]
    decaying = DecayingAdam(weights)
    with pytest.raises(ValueError, match="of another kind"):
        load_optimizer(decaying, torch.optim.Adam(weights).state_dict())
    load_optimizer(decaying, DecayingAdam(weights, n_steps=5).state_dict())
    assert decaying.param_groups[0]["n_steps"] == 5
