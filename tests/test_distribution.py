"""The QGAN of distributions: what it learns, what its parts compute, and what it refuses."""

from __future__ import annotations

import copy
import csv
import json
import math
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from qiskit import QuantumCircuit
from qiskit.circuit import ParameterVector
from qiskit.circuit.library import n_local
from qiskit.primitives import StatevectorSampler
from qiskit.quantum_info import Statevector
from qiskit_aer import AerSimulator
from scipy.optimize import minimize
from scipy.stats import entropy
from torch import nn

from qcaan import QGAN, Ansatz, load_samples
from qcaan.gans.distribution import snapshots as distribution_snapshots
from qcaan.gans.distribution.discriminator import GridDiscriminator
from qcaan.gans.distribution.generator import CircuitGenerator
from qcaan.gans.distribution.grid import make_grid
from qcaan.gans.distribution.qgan import train
from qcaan.losses import gradient_penalty
from qcaan.samplers.names import open_engine
from qcaan.training import TrainingCollapsed

BINOMIAL = load_samples("binomial", 1000, 1)
ROTATIONS = Ansatz(2, ("ry",))  # product distributions
DEFAULT = Ansatz(2, ("h", "ry", "cz-ring", "ry"))


def binomial(**options):
    return QGAN(
        BINOMIAL,
        **{
            "bounds": [0, 3],
            "n_qubits": [2],
            "batch_size": 250,
            "n_epochs": 50,
            "seed": 1,
            **options,
        },
    )


def assert_same(one, other):
    np.testing.assert_array_equal(one.generator.parameter_values, other.generator.parameter_values)
    np.testing.assert_array_equal(one.discriminator.params, other.discriminator.params)
    assert (one.d_loss, one.g_loss, one.rel_entr) == (other.d_loss, other.g_loss, other.rel_entr)


# The grid


def test_dimension_0_is_the_slowest_and_bounds_are_inclusive():
    grid = make_grid([[0, 3], [10, 11]], [2, 1])
    assert grid.points.tolist() == [[a, b] for a in (0, 1, 2, 3) for b in (10, 11)]
    samples = np.array([[0, 10], [3, 11], [1.4, 10.6], [1.5, 10.5], [-1e-9, 10], [0, 11 + 1e-9]])
    assert grid.contains(samples).tolist() == [True] * 4 + [False] * 2
    assert grid.index(samples[:4]).tolist() == [
        0,
        7,
        3,
        2,
    ]  # half way between two points it is the lower one
    assert [m.tolist() for m in grid.marginals(np.arange(8) / 28)] == [
        pytest.approx([1 / 28, 5 / 28, 9 / 28, 13 / 28]), pytest.approx([12 / 28, 16 / 28]),
    ]  # fmt: skip


@given(st.lists(st.integers(1, 3), min_size=1, max_size=3), st.integers(0, 99))
def test_every_sample_goes_to_its_nearest_point(n_qubits, seed):
    rng = np.random.default_rng(seed)
    low = rng.normal(0, 5, len(n_qubits))
    grid = make_grid(np.stack([low, low + rng.uniform(0.1, 9, len(low))], 1), n_qubits)
    samples = rng.uniform(*grid.bounds.T, (50, len(low)))
    distances = abs(samples[:, None] - grid.points[None]).sum(-1)
    np.testing.assert_array_equal(grid.index(samples), distances.argmin(1))


def test_dropped_are_the_samples_outside_the_bounds_and_whole_numbers_do_not_cut_the_grid():
    qgan = QGAN([0, 1, 1, 2, 3, 9, -1], bounds=[0, 2], n_qubits=[3], batch_size=1)
    assert qgan.n_samples == 4
    np.testing.assert_allclose(qgan.grid.points[:, 0], np.arange(8) * 2 / 7)
    np.testing.assert_allclose(qgan.data_probs, [0.25, 0, 0, 0.5, 0, 0, 0, 0.25])


@pytest.mark.parametrize("k", [1, 2, 3])
def test_bounds_and_qubits_have_defaults_in_every_number_of_dimensions(k):
    data = np.random.default_rng(0).normal(0, 1, (2000, k))
    data = data[:, 0] if k == 1 else data
    qgan = QGAN(data)
    assert qgan.grid.n_qubits == (3,) * k
    np.testing.assert_allclose(
        qgan.grid.bounds, np.percentile(data.reshape(2000, k), (5, 95), axis=0).T
    )
    assert qgan.pdf().shape == (8**k,)


def test_relative_entropy_is_that_of_the_model_from_the_data_with_empty_cells_at_1e_10():
    grid = make_grid([0, 3], [2])
    data, model = np.array([0.5, 0.5, 0, 0]), np.array([0.25, 0.5, 0.25, 0])
    expected = 0.25 * math.log(0.5) + 0.25 * math.log(0.25 / 1e-10)
    assert grid.relative_entropy(model, data) == pytest.approx(expected, abs=1e-9)
    filled = np.where(data == 0, 1e-10, data)
    assert grid.relative_entropy(model, data) == pytest.approx(entropy(model, filled))
    assert grid.relative_entropy(data, data) == pytest.approx(0, abs=1e-9)


def test_a_shift_by_one_point_has_its_distance_as_wasserstein_and_its_mass_as_kolmogorov_smirnov():
    grid = make_grid([[0, 1], [0, 6]], [1, 2])
    data = np.outer([0.5, 0.5], [0.2, 0.5, 0.3, 0]).ravel()
    model = np.outer([0.5, 0.5], [0, 0.2, 0.5, 0.3]).ravel()
    distances = grid.distances(model, data)
    assert distances["wasserstein"] == pytest.approx(2)
    assert distances["ks"] == pytest.approx(0.5)


# The players


def test_the_default_circuit_is_qiskits_circular_n_local_after_hadamards():
    for n in (2, 3, 4):
        data = np.linspace(0, 1, 40)
        qgan = QGAN(data, bounds=[0, 1], n_qubits=[n], batch_size=1)
        theirs = QuantumCircuit(n)
        theirs.h(range(n))
        theirs.compose(n_local(n, "ry", "cz", "circular", 1), inplace=True)
        theta = np.random.default_rng(n).normal(0, 1, 2 * n)
        qgan.generator.parameter_values = theta
        expected = Statevector(theirs.assign_parameters(theta))
        np.testing.assert_allclose(qgan.pdf(), expected.probabilities(), atol=1e-12)
        assert Statevector(qgan.circuit()).equiv(expected)


def test_losses_are_those_of_the_paper():
    class Logits(nn.Module):
        def __init__(self):
            super().__init__()
            self.shift = nn.Parameter(torch.zeros(()))

        def forward(self, samples):
            return samples[:, 0] + self.shift

    points = torch.tensor([[-1.0], [0.0], [2.0]])
    real, fake = torch.tensor([0.2, 0.3, 0.5]).double(), torch.tensor([0.6, 0.4, 0.0]).double()
    labels = torch.sigmoid(points[:, 0]).double()
    discriminator = GridDiscriminator(Logits(), optimizer=partial(torch.optim.SGD, lr=0.0))
    loss = discriminator.update(points, real, fake)
    assert loss == pytest.approx(
        -float(real @ labels.log() + fake @ (1 - labels).log()) / 2, abs=1e-6
    )
    torch.testing.assert_close(discriminator.slope(points), -labels.log())
    critic = GridDiscriminator(Logits(), "wgan-gp", optimizer=partial(torch.optim.SGD, lr=0.0))
    # its slope is 1 everywhere, so there is no penalty
    assert critic.update(points, real, fake) == pytest.approx(
        float((fake - real) @ points[:, 0].double()), abs=1e-5
    )
    torch.testing.assert_close(critic.slope(points), -points[:, 0].double())


def test_gradient_penalty_of_a_linear_critic_is_known():
    weights = torch.tensor([3.0, 4.0])
    real, fake = torch.randn(2, 5, 2, generator=torch.Generator().manual_seed(0))
    mix = torch.full((5,), 0.3)
    assert gradient_penalty(lambda x: x @ weights, real, fake, mix).item() == pytest.approx(
        (5 - 1) ** 2
    )
    flat = [
        float(gradient_penalty(lambda x: x @ weights / 10, real, fake, mix, one_sided=o))
        for o in (False, True)
    ]
    assert flat == [pytest.approx((0.5 - 1) ** 2), 0]
    # |x|^2 / 2 has slope |x|: the penalty is taken at the mixed points
    at_real = gradient_penalty(lambda x: x.square().sum(1) / 2, real, fake, torch.ones(5))
    torch.testing.assert_close(at_real, (real.norm(dim=1) - 1).square().mean())


class Scripted:
    """A discriminator with scripted answers that counts its updates."""

    params = None

    def __init__(self):
        self.updates, self.points = 0, None

    def update(self, points, real, fake):
        self.updates += 1
        self.points = points
        assert real.sum() == pytest.approx(1) and fake.sum() == pytest.approx(1)
        return float(self.updates)

    def slope(self, points):
        return 10.0 * self.updates + torch.zeros(len(points), dtype=torch.float64)

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        self.updates = 0


def test_losses_of_an_epoch_are_means_over_its_batches():
    qgan = binomial(discriminator=Scripted(), n_epochs=2)  # four batches an epoch
    result = qgan.run()
    assert (qgan.d_loss, qgan.g_loss) == ([2.5, 6.5], [pytest.approx(25), pytest.approx(65)])
    assert (result["loss_d"], result["loss_g"], result["params_d"]) == (
        6.5,
        pytest.approx(65),
        None,
    )


def test_a_discriminator_sees_points_not_columns():
    data = np.random.default_rng(0).uniform(0, 1, (100, 2)) * [1, 100]
    qgan = QGAN(
        data,
        [[0, 1], [0, 100]],
        [1, 2],
        batch_size=50,
        n_epochs=1,
        discriminator=Scripted(),
    )
    qgan.run()
    np.testing.assert_allclose(qgan.discriminator.points, qgan.grid.points)
    assert qgan.discriminator.points[:, 0].max() == 1


def test_parameters_are_in_numeric_order():
    circuit = QuantumCircuit(2)
    vector = ParameterVector("θ", 12)
    for index in (11, 2, 10, *range(2), *range(3, 10)):
        circuit.ry(vector[index], 1 if index == 10 else 0)
    generator = CircuitGenerator(
        make_grid([0, 3], [2]), circuit, init_params=np.eye(12)[10] * math.pi
    )
    assert Statevector(generator.circuit()).probabilities().round(9).tolist() == [
        0,
        0,
        1,
        0,
    ]  # θ[10] turns qubit 1


def test_the_dimension_of_the_grid_that_a_qubit_belongs_to():
    data = np.random.default_rng(0).uniform(0, 1, (50, 2))
    qgan = QGAN(data, [[0, 1], [0, 1]], [1, 1], batch_size=10, generator=ROTATIONS)
    qgan.generator.parameter_values = [math.pi, 0]  # X on qubit 0: the last dimension's
    assert qgan.generate(3).tolist() == [[0, 1]] * 3


def test_every_gradient_is_that_of_the_loss_or_estimates_it():
    grid = make_grid([0, 7], [3])
    ansatz = Ansatz(3, ("h", "ry", "cz-ring", "ry"))
    theta = np.random.default_rng(0).normal(0, 1, 6)
    slope = torch.linspace(-1, 1, 8, dtype=torch.float64).square()
    rng = np.random.default_rng(0)

    def gradient(kind, sampler="exact", shots=0):
        generator = CircuitGenerator(
            grid,
            ansatz,
            init_params=theta,
            optimizer=partial(torch.optim.SGD, lr=1.0),
            gradient=kind,
            rng=rng,
        )
        _, learn = generator.generate(generator.machine(sampler, rng), shots)
        learn(slope)
        return theta - generator.parameter_values

    exact = gradient("backprop")
    np.testing.assert_allclose(gradient(None), exact)
    np.testing.assert_allclose(gradient("parameter-shift"), exact, atol=1e-12)
    np.testing.assert_allclose(gradient("parameter-shift", "aer", 20_000), exact, atol=0.02)
    np.testing.assert_allclose(gradient(lambda angles: 2 * angles), 2 * theta)
    mean = np.mean([gradient("spsa") for _ in range(2000)], axis=0)
    np.testing.assert_allclose(mean, exact, atol=0.02)


def test_gradients_from_shots_are_not_taken_under_one_seed():
    qgan = binomial(sampler="aer", shots=200, n_epochs=1)
    outputs = [qgan.measure().tolist() for _ in range(3)]
    assert outputs[0] != outputs[1] or outputs[1] != outputs[2]
    before = qgan.generator.parameter_values
    qgan.run()
    assert (abs(qgan.generator.parameter_values - before) > 1e-3).all()


def test_an_optimiser_makes_as_many_steps_as_there_were_batches_and_keeps_its_moments():
    qgan = binomial(n_epochs=3)
    qgan.set_generator(optimizer=partial(torch.optim.Adam, lr=0.01, amsgrad=True))
    qgan.run()
    (state,) = qgan.generator.optimizer.state.values()
    assert (int(state["step"]), state["exp_avg"].abs().min() > 0) == (12, True)


class ConjugateGradients:
    """SciPy's conjugate gradients, with the interface of Qiskit's optimisers."""

    def minimize(self, fun, x0, jac=None, bounds=None):
        return minimize(fun, x0, jac=jac, method="CG", options={"maxiter": 1})


def test_qiskits_kind_of_optimiser_lowers_the_loss_against_the_discriminator_of_the_moment():
    generator = CircuitGenerator(
        make_grid([0, 3], [2]), ROTATIONS, init_params=[0.3, 0.4], optimizer=ConjugateGradients()
    )
    machine = generator.machine("exact", np.random.default_rng(0))
    slope = torch.tensor([3.0, 2.0, 1.0, 0.0], dtype=torch.float64)
    before, learn = generator.generate(machine, 0)
    learn(slope)
    assert generator.generate(machine, 0)[0] @ slope < before @ slope - 0.1


# Training


def test_it_learns_the_binomial_of_aquas_issue_1452():
    qgan = binomial(n_epochs=200)
    assert qgan.relative_entropy() > 0.15
    result = qgan.run()
    assert result["rel_entr"] == qgan.rel_entr[-1] == pytest.approx(qgan.relative_entropy())
    assert result["rel_entr"] < 0.01
    assert result["loss_d"] == pytest.approx(math.log(2), abs=0.005)
    assert result["params_g"].shape == (4,)
    assert abs(qgan.pdf() - [1 / 8, 3 / 8, 3 / 8, 1 / 8]).max() < 0.05
    assert qgan.ks_test()[1] >= 0.05
    assert qgan.distances()["ks"] < 0.05


def test_it_learns_from_shots_by_either_gradient():
    for gradient, bound in (("parameter-shift", 0.03), ("spsa", 0.05)):
        qgan = binomial(sampler="aer", shots=1000)
        qgan.set_generator(gradient=gradient)
        untrained = qgan.relative_entropy()
        assert untrained > 0.12
        assert qgan.run()["rel_entr"] < bound


def test_it_learns_by_the_wasserstein_loss():
    qgan = binomial(loss="wgan-gp")
    assert qgan.run()["rel_entr"] < 0.05


def test_it_learns_correlated_dimensions_that_no_product_can():
    data = np.repeat([[0, 0], [1, 1]], 200, axis=0)
    qgan = QGAN(
        data,
        [[0, 1], [0, 1]],
        [1, 1],
        batch_size=100,
        n_epochs=60,
        seed=3,
        generator=Ansatz(2, ("ry", "cx", "ry")),
    )
    qgan.set_generator(Ansatz(2, ("ry", "cx", "ry")), init_params=[1.0, 0.2, 0.1, 0.1])
    qgan.run()
    assert qgan.pdf()[[0, 3]].sum() > 0.95
    assert qgan.pdf()[0] == pytest.approx(0.5, abs=0.1)


def test_circuits_of_qiskit_train_as_the_ansatz_does():
    circuit = QuantumCircuit(2)
    circuit.h([0, 1])
    circuit.compose(n_local(2, "ry", "cz", "circular", 1), inplace=True)
    start = [0.1, -0.1, 0.05, 0.2]
    engine, built = binomial(n_epochs=3), binomial(n_epochs=3)
    engine.set_generator(init_params=start)
    built.set_generator(circuit, init_params=start)
    np.testing.assert_allclose(engine.run()["params_g"], built.run()["params_g"], atol=1e-6)


@pytest.mark.parametrize(
    "device",
    ["statevector", StatevectorSampler(), AerSimulator()],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_samplers_and_backends_are_taken_at_the_start_and_later(device):
    first, later = binomial(n_epochs=1, batch_size=500, shots=100, sampler=device), binomial()
    later.use(device, shots=100)
    later.n_epochs = 1
    for qgan in (first, later):
        assert not qgan.engine.is_exact and qgan.draws == 100
        assert (qgan.engine.sampler is device) == isinstance(device, StatevectorSampler)
        assert 0 < qgan.run()["rel_entr"] < 1
    qgan.use("exact")
    assert qgan.relative_entropy() == qgan.relative_entropy()


def test_records_count_epochs_and_steps():
    qgan = binomial(n_epochs=5)  # four batches an epoch
    records = [*train(qgan, 1), *train(qgan, 2)]
    assert [(record.epoch, record.step) for record in records] == [(1, 4), (2, 8), (3, 12)]
    assert [record.rel_entr for record in records] == qgan.rel_entr
    assert [(record.loss_d, record.loss_g) for record in records] == list(
        zip(qgan.d_loss, qgan.g_loss, strict=True)
    )
    assert list(train(qgan, 0)) == []
    assert len(list(train(qgan))) == 5
    with pytest.raises(ValueError, match="`n_epochs` must be at least 0, got -1"):
        next(train(qgan, -1))


def test_training_continues_on_another_engine():
    changed, exact = binomial(n_epochs=1), binomial(n_epochs=2)
    changed.run()
    changed.use(open_engine("aer", changed.random), shots=100)
    assert (changed.engine.name, changed.shots) == ("aer", 100)
    changed.run()
    exact.run()
    assert changed.rel_entr[0] == exact.rel_entr[0]
    assert changed.rel_entr[1] != exact.rel_entr[1]
    changed.use("exact")
    assert (changed.engine.is_exact, changed.shots, changed.draws) == (True, 100, 0)


@pytest.mark.parametrize(
    "make", [np.asarray, torch.as_tensor, list], ids=["NumPy", "torch", "list"]
)
def test_arrays_may_be_of_any_kind(make):
    values, angles = [0.0, 1.0, 1.0, 2.0, 3.0], [0.125, 0.25, 0.5, 0.75]
    qgan = QGAN(make(values), make([0.0, 3.0]), make([2]), batch_size=5)
    assert qgan.data_probs.tolist() == [0.2, 0.4, 0.2, 0.2]
    qgan.set_generator(init_params=make(angles))
    assert qgan.generator.parameter_values.tolist() == angles
    qgan.generator.parameter_values = make(angles[::-1])
    assert qgan.generator.parameter_values.tolist() == angles[::-1]
    qgan.set_generator(gradient=lambda theta: make([1.0, 0.0, 0.0, 0.0]))
    before = qgan.generator.parameter_values
    list(train(qgan, 1))
    moved = qgan.generator.parameter_values != before
    assert moved.tolist() == [True, False, False, False]


def test_data_may_be_a_tensor_that_needs_gradients():
    data = torch.tensor([0.0, 1.0, 2.0, 3.0], requires_grad=True)
    assert QGAN(data, [0, 3], [2], batch_size=1).data_probs.tolist() == [0.25] * 4


def test_reseeding_repeats_the_draws_and_keeps_what_was_learnt():
    qgan = binomial(sampler="aer", shots=100, n_epochs=1)
    qgan.run()
    theta = qgan.generator.parameter_values
    drawn = []
    for seed in (3, 3, 4):
        qgan.reseed(seed)
        drawn.append(qgan.generate(50).tolist())
    assert drawn[0] == drawn[1] != drawn[2]
    np.testing.assert_array_equal(qgan.generator.parameter_values, theta)
    assert qgan.epoch == 1


def test_training_ends_at_the_tolerance():
    qgan = binomial(tol_rel_ent=0.02, n_epochs=500)
    qgan.run()
    assert qgan.rel_entr[-1] <= 0.02 < min(qgan.rel_entr[:-1])
    assert len(qgan.rel_entr) < 100


def test_runs_are_repeatable_and_a_second_one_continues():
    whole, parts, other = (
        binomial(n_epochs=4),
        binomial(n_epochs=2),
        binomial(n_epochs=4, seed=2),
    )
    whole.run()
    parts.run()
    parts.run()
    assert_same(whole, parts)
    other.run()
    assert (other.generator.parameter_values != whole.generator.parameter_values).all()


@pytest.mark.parametrize(
    "sampler",
    ["exact", "aer", AerSimulator()],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_setting_the_seed_starts_anew(sampler):
    fresh, again = (
        binomial(n_epochs=1, seed=5, sampler=sampler),
        binomial(n_epochs=1, seed=1, sampler=sampler),
    )
    fresh.run()
    again.run()
    again.seed = 5
    assert again.rel_entr == []
    again.run()
    assert_same(fresh, again)


def test_a_given_network_and_generator_start_anew_as_they_were_given():
    network, generator = (
        nn.Linear(1, 1),
        CircuitGenerator(make_grid([0, 3], [2]), ROTATIONS, init_params=[0.1, 0.2]),
    )
    qgan = binomial(n_epochs=1, discriminator=network, generator=generator)
    first = qgan.run()
    qgan.seed = 1
    assert qgan.generator.parameter_values.tolist() == [0.1, 0.2]
    second = qgan.run()
    np.testing.assert_array_equal(first["params_g"], second["params_g"])
    np.testing.assert_array_equal(first["params_d"], second["params_d"])


def test_neither_the_callers_data_nor_global_random_states_are_touched():
    data = np.arange(1000) % 4
    kept, state = data.copy(), torch.get_rng_state()
    before = np.random.get_state()[1].tolist()  # noqa: NPY002
    QGAN(data, [0, 3], [2], batch_size=100, n_epochs=2).run()
    np.testing.assert_array_equal(data, kept)
    assert torch.equal(torch.get_rng_state(), state)
    assert np.random.get_state()[1].tolist() == before  # noqa: NPY002


@pytest.mark.parametrize("sampler", ["exact", "aer"])
@pytest.mark.parametrize("loss", ["bce", "wgan-gp"])
def test_snapshots_can_be_loaded_and_trained_on(tmp_path, loss, sampler):
    options = {"loss": loss, "sampler": sampler, "batch_size": 500}
    whole = binomial(n_epochs=4, snapshot_dir=tmp_path / "whole", **options)
    whole.run()
    first = binomial(n_epochs=2, snapshot_dir=tmp_path / "parts", **options)
    first.run()
    second = binomial(n_epochs=2, snapshot_dir=tmp_path / "parts", **options)
    second.load()
    assert second.rel_entr == whole.rel_entr[:2]
    second.run()
    assert_same(whole, second)
    assert (tmp_path / "whole" / "output.csv").read_text() == (
        tmp_path / "parts" / "output.csv"
    ).read_text()
    with (tmp_path / "parts" / "output.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == [
        "epoch",
        "loss_discriminator",
        "loss_generator",
        "params_generator",
        "rel_entropy",
    ]
    assert [row["epoch"] for row in rows] == ["0", "1", "2", "3"]
    assert json.loads(rows[-1]["params_generator"]) == whole.generator.parameter_values.tolist()
    assert [float(row["rel_entropy"]) for row in rows] == whole.rel_entr
    assert [float(row["loss_discriminator"]) for row in rows] == whole.d_loss


def test_a_new_training_starts_its_csv_anew_and_rows_without_a_checkpoint_are_dropped(tmp_path):
    options = {"snapshot_dir": tmp_path, "batch_size": 1000}
    binomial(n_epochs=3, **options).run()
    binomial(n_epochs=1, **options).run()
    text = (tmp_path / "output.csv").read_text()
    assert len(text.splitlines()) == 2
    (tmp_path / "output.csv").write_text(text + "1,0,0,[],0\n")  # cut off before the checkpoint
    qgan = binomial(n_epochs=1, **options)
    qgan.load()
    qgan.run()
    assert len((tmp_path / "output.csv").read_text().splitlines()) == 3


def test_a_resumed_run_with_a_given_generator_equals_an_uninterrupted_one(tmp_path):
    def make(n, folder):
        generator = CircuitGenerator(
            make_grid([0, 3], [2]), ROTATIONS, init_params=[0.1, 0.2], gradient="spsa"
        )
        return binomial(n_epochs=n, generator=generator, snapshot_dir=tmp_path / folder)

    whole, first, second = make(4, "whole"), make(2, "parts"), make(2, "parts")
    whole.run()
    first.run()
    second.load()
    second.run()
    assert_same(whole, second)
    whole.seed, again = 1, make(4, "again")  # SPSA's random state is of the seed too
    for qgan in (whole, again):
        qgan.run()
    assert_same(whole, again)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"discriminator": nn.Linear(1, 1)}, r"optimiser \(RuntimeError\)$"),
        (
            {
                "generator": CircuitGenerator(
                    make_grid([0, 3], [2]),
                    DEFAULT,
                    init_params=np.ones(4),
                    optimizer=partial(torch.optim.Adam, lr=0.1),
                )
            },
            r"an optimiser of another kind",
        ),
        ({"loss": "wgan-gp"}, r"the discriminator learns by wgan-gp, the one in the state by bce"),
        ({"generator": ROTATIONS}, r"parameters must be 2 finite numbers, got shape \[4\]"),
    ],
)
def test_a_refused_snapshot_changes_nothing(tmp_path, other, message):
    binomial(n_epochs=2, snapshot_dir=tmp_path).run()
    qgan, untouched = (binomial(n_epochs=1, seed=3, **copy.deepcopy(other)) for _ in range(2))
    for each in (qgan, untouched):
        each.run()
    with pytest.raises(ValueError, match=message) as caught:
        qgan.load(tmp_path)
    assert "\n" not in str(caught.value)
    assert_same(qgan, untouched)
    for each in (qgan, untouched):
        each.run()
    assert_same(qgan, untouched)


def test_what_is_no_snapshot_of_it_is_refused(tmp_path):
    qgan = binomial(n_epochs=1, batch_size=1000, snapshot_dir=tmp_path)
    for state in ({"epoch": 3, "model": {}}, [1, 2]):
        torch.save(state, tmp_path / "checkpoint.pt")
        with pytest.raises(ValueError, match="the snapshot is not that of a QGAN of distributions"):
            qgan.load()
    for text in ("date,price\n1,2\n", "", "epoch\n"):
        (tmp_path / "output.csv").write_text(text)
        with pytest.raises(
            ValueError,
            match=r"output\.csv is not the history of a QGAN; name another `snapshot_dir`",
        ):
            qgan.run()
        assert (tmp_path / "output.csv").read_text() == text


def test_the_history_is_read_only_when_it_was_left_by_another(tmp_path, monkeypatch):
    reads = []
    original = distribution_snapshots._rows_before
    monkeypatch.setattr(
        distribution_snapshots, "_rows_before", lambda *a: reads.append(a) or original(*a)
    )
    qgan = binomial(n_epochs=5, batch_size=1000, snapshot_dir=tmp_path)
    qgan.run()
    assert not reads
    again = binomial(n_epochs=3, batch_size=1000, snapshot_dir=tmp_path)
    again.load()
    again.run()
    assert len(reads) == 1
    assert len((tmp_path / "output.csv").read_text().splitlines()) == 9


def test_bad_snapshots_are_named(tmp_path):
    binomial(n_epochs=1, snapshot_dir=tmp_path).run()
    with pytest.raises(
        ValueError, match=r"the snapshot is of other n_qubits: \[2\] there, \[3\] here"
    ):
        binomial(n_qubits=[3]).load(tmp_path)
    with pytest.raises(ValueError, match=r"parameters must be 2 finite numbers, got shape \[4\]"):
        binomial(generator=ROTATIONS).load(tmp_path)
    with pytest.raises(
        ValueError, match=r"of another generator, discriminator or optimiser \(RuntimeError\)"
    ):
        binomial(discriminator=nn.Linear(1, 1)).load(tmp_path)
    with pytest.raises(ValueError, match="nowhere holds no snapshot"):
        binomial().load(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="`snapshot_dir` must be a folder to load from, got None"):
        binomial().load()
    (tmp_path / "checkpoint.pt").write_bytes(b"PK cut short")
    with pytest.raises(ValueError, match=r"checkpoint\.pt is damaged"):
        binomial().load(tmp_path)


def test_a_progress_bar_counts_the_epochs(capsys):
    binomial(n_epochs=2).run(progress=True)
    assert "training" in capsys.readouterr().out


# What it has learnt


def test_the_circuit_loads_the_distribution_inside_a_larger_one():
    qgan = binomial(n_epochs=5)
    qgan.run()
    circuit = qgan.circuit()
    assert circuit.num_parameters == circuit.num_clbits == 0
    np.testing.assert_allclose(Statevector(circuit).probabilities(), qgan.pdf(), atol=1e-12)
    # as in amplitude estimation: P(X >= 2) is P(1) of a qubit that copies the highest bit
    larger = QuantumCircuit(3)
    larger.append(circuit.to_gate(), [0, 1])
    larger.cx(1, 2)
    assert Statevector(larger).probabilities([2])[1] == pytest.approx(qgan.pdf()[2:].sum())
    back = larger.compose(larger.inverse())
    assert Statevector(back).probabilities()[0] == pytest.approx(1)


@pytest.mark.parametrize("sampler", ["exact", "aer"])
def test_samples_are_in_data_units_and_follow_the_pdf(sampler):
    qgan = QGAN(
        [5.0, 6.0, 7.0, 8.0], [5, 8], [2], batch_size=1, sampler=sampler, generator=ROTATIONS
    )
    qgan.generator.parameter_values = [0.4, 1.3]
    samples = qgan.generate(20_000)
    assert (samples.shape, samples.dtype) == ((20_000, 1), np.float64)
    values, counts = np.unique(samples, return_counts=True)
    assert values.tolist() == [5, 6, 7, 8]
    assert abs(counts / 20_000 - qgan.pdf()).max() < 0.015
    assert (np.diff(samples[:100, 0]) < 0).any()  # in random order


def test_the_kolmogorov_smirnov_test_rejects_an_untrained_generator():
    qgan = QGAN(load_samples("bimodal", 5000, 0), [0, 7], [3])
    statistic, p_value = qgan.ks_test(500)
    assert statistic > 0.2 and p_value < 1e-6


def test_every_circuit_that_is_taken_becomes_a_gate():
    def rotated(circuit):
        circuit.ry(angles[0], 0)
        circuit.crx(2 * angles[1], 0, 1)
        return circuit

    angles, qgan = ParameterVector("rotation", 2), binomial()
    started, measurable = QuantumCircuit(2), QuantumCircuit(2, 2)
    started.initialize([0.5, 0.5, 0.1**0.5, 0.4**0.5])
    started.barrier()
    spread = QuantumCircuit(2)
    spread.h([0, 1])
    start = QuantumCircuit(2)
    for circuit, initial_state, plain in (
        (rotated(started.copy()), None, rotated(started)),
        (rotated(measurable.copy()), None, rotated(start)),
        (rotated(measurable), "uniform", rotated(spread)),
    ):
        qgan.set_generator(circuit, init_params=[0.4, 1.3], initial_state=initial_state)
        larger = QuantumCircuit(3)
        larger.append(qgan.circuit().to_gate(), [0, 1])
        expected = Statevector(plain.assign_parameters([0.4, 1.3])).probabilities()
        np.testing.assert_allclose(Statevector(larger).probabilities([0, 1]), expected, atol=1e-12)
        np.testing.assert_allclose(qgan.pdf(), expected, atol=1e-12)
        larger.append(qgan.circuit().to_gate().inverse(), [0, 1])
        assert Statevector(larger).probabilities()[0] == pytest.approx(1)
    with pytest.raises(
        ValueError, match="to be shifted, got reset"
    ):  # it would undo the initial state
        qgan.set_generator(rotated(started), initial_state="uniform")


def test_initial_states():
    data = np.random.default_rng(0).multivariate_normal([1, 2], [[1, 0.7], [0.7, 1]], 20_000)
    qgan = QGAN(data, [[-1, 3], [0, 4]], [2, 2])

    def start(name):
        qgan.set_generator(ROTATIONS_4, init_params=np.zeros(4), initial_state=name)
        return qgan.pdf()

    np.testing.assert_allclose(start("uniform"), np.full(16, 1 / 16))
    np.testing.assert_allclose(start(None), np.eye(16)[0])
    normal = start("normal")
    centred = qgan.grid.points - qgan.data_probs @ qgan.grid.points
    inverse = np.linalg.inv(centred.T @ (qgan.data_probs[:, None] * centred))
    weights = np.exp(-np.einsum("ij,jk,ik->i", centred, inverse, centred) / 2)
    np.testing.assert_allclose(normal, weights / weights.sum(), atol=1e-9)
    first, second = start("random"), start("random")
    assert abs(first - second).max() > 1e-3
    assert qgan.circuit().num_parameters == 0


ROTATIONS_4 = Ansatz(4, ("ry",))


def test_one_block_does_not_reach_the_bimodal_and_three_do():
    """The limits that `set_generator` states, by direct fits without an adversary."""
    data = load_samples("bimodal", 20_000, 0)
    reached = {}
    for n_layers in (1, 3):
        qgan = QGAN(data, [0, 7], [3])
        qgan.set_generator(n_layers=n_layers)
        target = torch.from_numpy(np.maximum(qgan.data_probs, 1e-10))
        machine = qgan.generator.machine("exact", qgan.random)
        best = math.inf
        for _ in range(3):
            theta = torch.from_numpy(
                qgan.random.uniform(-1, 1, qgan.generator.n_params)
            ).requires_grad_()
            optimizer = torch.optim.Adam([theta], lr=0.1)
            for _ in range(200):
                probs = machine.probabilities(theta[None])[0, 0].clamp_min(1e-12)
                loss = (probs * (probs / target).log()).sum()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            best = min(best, loss.item())
        reached[n_layers] = best
    assert 0.2 < reached[1] < 0.3
    assert reached[3] < 0.01


# What is refused


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"data": []}, r"`data` must hold samples \[N\] or \[N, k\], got shape \[0\]"),
        ({"data": [1.0, math.nan]}, r"`data` must be finite, got \[nan\] as sample 1"),
        ({"data": np.zeros((2, 2, 2))}, r"`data` must hold samples .* got shape \[2, 2, 2\]"),
        ({"data": ["a"]}, "`data` must be an array of numbers"),
        ({"data": [[1], [1, 2]]}, "`data` must be an array of numbers"),
        ({"bounds": [10, 20]}, "none of the 1000 samples lies within the bounds"),
        ({"bounds": [3, 0]}, r"min < max, got \[3.0, 0.0\] for dimension 0"),
        ({"bounds": [0, math.inf]}, "`bounds` must be finite"),
        (
            {"bounds": [0, 1, 2]},
            r"`bounds` must be \[min, max\] for each dimension, got shape \[1, 3\]",
        ),
        (
            {"bounds": [[0, 3], [0, 3]], "n_qubits": [1, 1]},
            "one pair for each of the 1 dimensions of the data, got 2",
        ),
        ({"data": np.ones(9), "bounds": None}, r"min < max, got \[1.0, 1.0\] for dimension 0"),
        (
            {"n_qubits": [2, 2]},
            r"`n_qubits` must be a whole number .* each of the 1 dimensions, got \[2, 2\]",
        ),
        ({"n_qubits": [0]}, r"at least 1 for each of the 1 dimensions, got \[0\]"),
        ({"n_qubits": [1.5]}, r"`n_qubits` must be a whole number .* got \[1.5\]"),
        ({"n_qubits": [50]}, "`n_qubits` must be at most"),
        (
            {"batch_size": 1001},
            "`batch_size` must be at most 1000, the number of samples within the bounds, got 1001",
        ),
        ({"batch_size": 0}, "`batch_size` must be at least 1, got 0"),
        ({"n_epochs": 0}, "`n_epochs` must be at least 1, got 0"),
        ({"shots": -1}, "`shots` must be at least 0, got -1"),
        ({"batch_size": 2.5}, "`batch_size` must be a whole number of at least 1, got 2.5"),
        ({"batch_size": None}, "`batch_size` must be a whole number of at least 1, got None"),
        ({"n_epochs": 1.5}, "`n_epochs` must be a whole number of at least 1, got 1.5"),
        ({"shots": 10.5}, "`shots` must be a whole number of at least 0, got 10.5"),
        ({"seed": -1}, r"`seed` must be at least 0 and below 2\*\*63, got -1"),
        ({"seed": 2**63}, r"`seed` must be at least 0 and below 2\*\*63, got"),
        ({"seed": "x"}, "`seed` must be a whole number .* got 'x'"),
        ({"data": np.array([1j, 2])}, "`data` must be an array of numbers"),
        ({"bounds": np.array([0, 3 + 1j])}, r"`bounds` must be \[min, max\] for each dimension"),
        ({"sampler": "aer-noise:fake_nothing"}, "fake_nothing"),
        (
            {"sampler": "aer-noise:ionq-aria", "shots": 0},
            "`shots` must be at least 1 on aer-noise:ionq-aria, which has no exact",
        ),
        (
            {"discriminator": nn.Flatten()},
            "the discriminator must have parameters to train, got none",
        ),
        (
            {"discriminator": nn.Linear(1, 1).double()},
            r"`discriminator` must take float32 samples \[m, 1\]",
        ),
        (
            {"generator": CircuitGenerator(make_grid([0, 4], [2]), ROTATIONS)},
            r"the generator must have bounds \[\[0.0, 3.0\]\], got \[\[0.0, 4.0\]\]",
        ),
        ({"tol_rel_ent": -0.1}, "`tol_rel_ent` must be at least 0, got -0.1"),
        ({"loss": "hinge"}, "unknown `loss` 'hinge'; choose from bce, wgan-gp"),
        ({"sampler": "warp"}, "unknown `sampler` 'warp'; choose from exact, aer"),
        (
            {"generator": QuantumCircuit(2)},
            "the generator circuit must have parameters to train, got none",
        ),
        (
            {"generator": Ansatz(2, ("h", "cx"))},
            "the generator circuit must have parameters to train, got none",
        ),
        ({"generator": n_local(3, "ry", "cz")}, "must have 2 qubits, as the grid has, got 3"),
        ({"generator": 3}, "must be an Ansatz or a QuantumCircuit, got int"),
        (
            {"generator": CircuitGenerator(make_grid([0, 3], [3]), n_local(3, "ry", "cz"))},
            r"must have \[2\] qubits, got \[3\]",
        ),
        ({"discriminator": 3}, "must be a torch module or a GridDiscriminator, got int"),
        (
            {"discriminator": nn.Linear(2, 1)},
            r"`discriminator` must take float32 samples \[m, 1\] to logits \[m\]",
        ),
        (
            {"discriminator": nn.Linear(1, 2)},
            r"`discriminator` must take float32 samples \[m, 1\] to logits \[m\]",
        ),
    ],
)
def test_bad_input_is_refused_in_one_sentence(options, message):
    with pytest.raises(ValueError, match=message) as caught:
        QGAN(**{"data": BINOMIAL, "bounds": [0, 3], "n_qubits": [2], **options})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"init_params": [1.0]}, r"parameters must be 4 finite numbers, got shape \[1\]"),
        ({"init_params": [1, 2, 3, math.nan]}, "parameters must be 4 finite numbers"),
        ({"init_params": {"a": 1}}, "parameters must be 4 finite numbers, got dict"),
        (
            {"init_params": np.ones(4) * 1j},
            "parameters must be 4 finite numbers, got ndarray",
        ),
        ({"n_layers": 1.5}, "`n_layers` must be a whole number of at least 0, got 1.5"),
        (
            {"optimizer": lambda params: None},
            "must make a torch optimiser, got one that makes NoneType",
        ),
        (
            {"optimizer": 3},
            "`optimizer` must make a torch optimiser or have `minimize`, got int",
        ),
        (
            {"gradient": "finite"},
            "unknown `gradient` 'finite'; choose from backprop, parameter-shift, spsa",
        ),
        (
            {"initial_state": "cat"},
            "unknown `initial_state` 'cat'; choose from uniform, normal, random",
        ),
        ({"n_layers": -1}, "`n_layers` must be at least 0, got -1"),
    ],
)
def test_bad_generators_are_refused(options, message):
    qgan = binomial()
    generator = qgan.generator
    with pytest.raises(ValueError, match=message):
        qgan.set_generator(**options)
    assert qgan.generator is generator


def test_what_is_changed_for_the_worse_is_refused_and_stays():
    qgan = binomial(sampler="aer", n_epochs=1)
    for options, message in (
        ({"sampler": "aer", "shots": -5}, "`shots` must be at least 0, got -5"),
        (
            {"sampler": "aer-noise:ionq-aria", "shots": 0},
            "`shots` must be at least 1 on aer-noise:ionq-aria",
        ),
        ({"sampler": "aer-noise:fake_nothing"}, "fake_nothing"),
    ):
        with pytest.raises(ValueError, match=message):
            qgan.use(**options)
    assert (qgan.engine.name, qgan.shots) == ("aer", 1024)
    with pytest.raises(ValueError, match="`seed` must be a whole number"):
        qgan.seed = 1.5
    assert qgan.seed == 1
    qgan.n_epochs = 0
    with pytest.raises(ValueError, match="`n_epochs` must be at least 1, got 0"):
        qgan.run()
    qgan.n_epochs = 1
    for wrong in ([1.0], [1j] * 4, "steep"):
        qgan.set_generator(gradient=lambda theta, wrong=wrong: wrong)
        with pytest.raises(ValueError, match="the gradient must be 4 finite numbers, got "):
            qgan.run()
    with pytest.raises(
        ValueError, match="`optimizer` must make a torch optimiser, got one that makes NoneType"
    ):
        GridDiscriminator(nn.Linear(1, 1), optimizer=lambda params: None)


def test_backprop_is_refused_where_there_is_none_and_a_diverged_training_is_stopped():
    qgan = binomial(sampler="aer", n_epochs=1)
    with pytest.raises(
        ValueError, match="`gradient` 'backprop' needs an Ansatz on the exact engine"
    ):
        qgan.set_generator(gradient="backprop")
    broken = nn.Linear(1, 1)
    nn.init.constant_(broken.weight, math.nan)
    qgan = binomial(discriminator=broken, n_epochs=1)
    with pytest.raises(TrainingCollapsed, match="a loss is not finite in epoch 1"):
        qgan.run()
