"""The QGAN of distributions: how it trains, what it has learnt, and what it refuses."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from qgans import BINOMIAL, ROTATIONS, Scripted, assert_same, binomial
from qiskit import QuantumCircuit
from qiskit.circuit.library import n_local
from qiskit.primitives import StatevectorSampler
from qiskit.quantum_info import Statevector
from qiskit_aer import AerSimulator
from torch import nn

from qcaan import QGAN, Ansatz, load_samples
from qcaan.gans.distribution.discriminator import GridDiscriminator
from qcaan.gans.distribution.generator import CircuitGenerator
from qcaan.gans.distribution.grid import make_grid
from qcaan.gans.distribution.qgan import train
from qcaan.samplers.names import open_engine
from qcaan.training import TrainingCollapsed


def test_losses_of_an_epoch_are_means_over_its_batches():
    qgan = binomial(discriminator=Scripted(), n_epochs=2)  # four batches an epoch
    result = qgan.run()
    assert (qgan.d_loss, qgan.g_loss) == ([2.5, 6.5], [pytest.approx(25), pytest.approx(65)])
    assert (result["loss_d"], result["loss_g"], result["params_d"]) == (
        6.5,
        pytest.approx(65),
        None,
    )


def test_the_dimension_of_the_grid_that_a_qubit_belongs_to():
    data = np.random.default_rng(0).uniform(0, 1, (50, 2))
    qgan = QGAN(data, [[0, 1], [0, 1]], [1, 1], batch_size=10, generator=ROTATIONS)
    qgan.generator.parameter_values = [math.pi, 0]  # X on qubit 0: the last dimension's
    assert qgan.generate(3).tolist() == [[0, 1]] * 3


def test_gradients_from_shots_are_not_taken_under_one_seed():
    qgan = binomial(sampler="aer", shots=200, n_epochs=1)
    outputs = [qgan.measure().tolist() for _ in range(3)]
    assert outputs[0] != outputs[1] or outputs[1] != outputs[2]
    before = qgan.generator.parameter_values
    qgan.run()
    assert (abs(qgan.generator.parameter_values - before) > 1e-3).all()


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


def test_a_progress_bar_counts_the_epochs(capsys):
    binomial(n_epochs=2).run(progress=True)
    assert "training" in capsys.readouterr().out


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
        (
            {"data": np.ones(9), "bounds": None},
            "at least 90 % of the samples are 1.0 in dimension 0",
        ),
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
            r"`discriminator` must take samples \[m, 1\] to logits \[m\]",
        ),
        (
            {"discriminator": nn.Linear(1, 2)},
            r"`discriminator` must take samples \[m, 1\] to logits \[m\]",
        ),
    ],
)
def test_bad_input_is_refused_in_one_sentence(options, message):
    with pytest.raises(ValueError, match=message) as caught:
        QGAN(**{"data": BINOMIAL, "bounds": [0, 3], "n_qubits": [2], **options})
    assert "\n" not in str(caught.value)


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


AFFINE = [(1.0, 1e8), (1e6, 0.0), (1e-6, 0.0), (1e6, 1e12), (1e-6, 100.0)]


@pytest.mark.parametrize("loss", ["bce", "wgan-gp"])
@pytest.mark.parametrize(("scale", "offset"), AFFINE)
def test_what_is_learnt_does_not_depend_on_the_units_of_the_data(scale, offset, loss):
    def trained(scale, offset):
        qgan = QGAN(
            scale * BINOMIAL + offset,
            scale * np.array([0.0, 3.0]) + offset,
            [2],
            batch_size=250,
            n_epochs=3,
            seed=1,
            loss=loss,
        )
        qgan.run()
        return qgan

    here, there = trained(1, 0), trained(scale, offset)
    np.testing.assert_array_equal(here.data_probs, there.data_probs)
    for name in ("d_loss", "g_loss", "rel_entr"):
        np.testing.assert_allclose(getattr(there, name), getattr(here, name), rtol=1e-2, atol=1e-3)


NORMAL = [0.155, 0.345, 0.345, 0.155]  # of 0, 1, 2, 3 at equal shares


@pytest.mark.parametrize(
    ("data", "bounds", "expected"),
    [
        (np.full((50, 1), 2.0), [0, 3], [0, 0, 1, 0]),
        (np.arange(4.0)[:, None] * [1, 1e6], [[0, 3], [0, 3e6]], np.diag(NORMAL)),
        (np.arange(4.0)[:, None] * [1, 0], [[0, 3], [0, 3]], np.outer(NORMAL, [1, 0, 0, 0])),
    ],
    ids=["one point", "one line", "one dimension is constant"],
)
def test_the_normal_state_of_data_without_a_density_is_narrow(data, bounds, expected):
    k = data.shape[1]
    qgan = QGAN(data, bounds, [2] * k, batch_size=4)
    qgan.set_generator(initial_state="normal", init_params=np.zeros(4 * k))
    np.testing.assert_allclose(qgan.pdf(), np.ravel(expected), atol=1e-3)


@pytest.mark.parametrize("scale", [1e-5, 1e-3, 1.0, 1e5])
def test_the_normal_state_keeps_a_dimension_beside_a_wider_one(scale):
    data = np.random.default_rng(0).normal(0, 1, (2000, 2)).clip(-3, 3)

    def pdf(factors):
        qgan = QGAN(data * factors, [[-3 * f, 3 * f] for f in factors], [3, 3], batch_size=4)
        qgan.set_generator(initial_state="normal", init_params=np.zeros(12))
        return qgan.pdf()

    np.testing.assert_allclose(pdf([1.0, scale]), pdf([1.0, 1.0]), atol=1e-6)


def test_a_network_that_sees_the_same_number_for_different_points_is_refused():
    class Centred(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = nn.Linear(1, 1).double()

        def forward(self, samples):
            return self.net(samples - 1e8)

    options = {"bounds": [1e8, 1e8 + 3], "n_qubits": [2], "batch_size": 250}
    with pytest.raises(ValueError, match=r"sees samples as torch.float32, in which points"):
        QGAN(BINOMIAL + 1e8, discriminator=nn.Linear(1, 1), **options)
    qgan = QGAN(BINOMIAL + 1e8, discriminator=Centred(), n_epochs=1, **options)
    assert qgan.run()["loss_d"] > 0


@pytest.mark.parametrize("bounds", [[1e8, 1e8 + 1e-8], [-1.7e308, 1.7e308]])
def test_bounds_whose_points_float64_cannot_tell_apart_are_refused(bounds):
    with pytest.raises(ValueError, match=r"`bounds` must be wide enough for 8 different values"):
        QGAN([0.0], bounds, [3], batch_size=1)
