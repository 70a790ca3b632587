"""Aqua's own test cases and Qiskit's old tutorial, on absolute values."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from qiskit import QuantumCircuit
from qiskit.circuit.library import n_local, real_amplitudes
from qiskit.primitives import StatevectorSampler
from qiskit.quantum_info import Statevector
from qiskit_aer import AerSimulator
from scipy.optimize import minimize

import qcaan
from qcaan.aqua import (
    ADAM,
    COBYLA,
    QGAN,
    AquaError,
    DiscriminativeNetwork,
    GenerativeNetwork,
    NumPyDiscriminator,
    PyTorchDiscriminator,
    QuantumGenerator,
    QuantumInstance,
    aqua_globals,
)

UNTRAINED = 0.15  # relative entropy of the uniform distribution from this data


@pytest.fixture
def data():
    aqua_globals.random_seed = 7
    return aqua_globals.random.lognormal(mean=1, sigma=1, size=5000)


@pytest.fixture
def circuit():
    circuit = QuantumCircuit(2)
    circuit.h([0, 1])
    return circuit.compose(real_amplitudes(2, reps=1, entanglement=[[0, 1]]))


def make_qgan(data, **options):
    qgan = QGAN(data, [0.0, 3.0], [2], 100, 5, snapshot_dir=None, **options)
    qgan.seed = 7
    return qgan


def exact():
    return QuantumInstance(backend="statevector_simulator", seed_simulator=2, seed_transpiler=2)


def with_shots():
    return QuantumInstance(backend=AerSimulator(), shots=1000, seed_simulator=2, seed_transpiler=2)


INSTANCES = pytest.mark.parametrize("instance", [exact, with_shots])


def test_sample_generation(data, circuit):
    qgan = make_qgan(data)
    qgan.set_generator(generator_circuit=circuit, generator_init_params=[0.3, 0.8, -0.4, 1.0])
    expected = Statevector(circuit.assign_parameters([0.3, 0.8, -0.4, 1.0])).probabilities()
    samples, weights = qgan.generator.get_output(exact(), shots=100)
    assert samples == [[0.0], [1.0], [2.0], [3.0]]
    np.testing.assert_allclose(weights, expected, atol=1e-12)
    samples, weights = qgan.generator.get_output(with_shots(), shots=10_000)
    assert sum(weights) == pytest.approx(1)
    for (value,), weight in zip(samples, weights, strict=True):
        assert weight == pytest.approx(expected[int(value)], abs=0.02)
    samples, weights = qgan.generator.get_output(with_shots(), params=[math.pi / 2, 0, 0, 0])
    assert len(samples) < 4 and sum(weights) == pytest.approx(
        1
    )  # points that were not measured are left out


@INSTANCES
def test_training(data, circuit, instance):
    qgan = make_qgan(data)
    qgan.set_generator(generator_circuit=circuit)
    assert qgan.get_rel_entr() == pytest.approx(UNTRAINED, abs=0.06)
    assert qgan.run(instance())["rel_entr"] < 0.05


class CG:
    """SciPy's conjugate gradients, with the interface of Qiskit's optimisers."""

    def minimize(self, fun, x0, jac=None, bounds=None):
        return minimize(fun, x0, jac=jac, method="CG", options={"maxiter": 1, "gtol": 1e-2})


def test_training_by_conjugate_gradients(data, circuit):
    qgan = make_qgan(data)
    qgan.set_generator(generator_circuit=circuit, generator_optimizer=CG())
    before = qgan.generator.parameter_values
    qgan.num_epochs = 1
    qgan.run(exact())
    # line searches against a discriminator that has barely learnt: they move, and towards the data
    assert abs(qgan.generator.parameter_values - before).max() > 0.01
    assert math.isfinite(qgan.rel_entr[-1])


def test_training_by_cobyla(data, circuit):
    qgan = make_qgan(data)
    qgan.set_generator(generator_circuit=circuit, generator_optimizer=COBYLA(maxiter=1))
    with pytest.warns(
        UserWarning,
        match="COBYLA needs 6 evaluations to move 4 angles at all; taking them, not maxiter 1",
    ):
        result = qgan.run(exact())
    assert result["rel_entr"] < 0.08


@INSTANCES
@pytest.mark.parametrize("network", [NumPyDiscriminator, PyTorchDiscriminator])
def test_training_with_either_discriminator(data, network, instance):
    qgan = make_qgan(data, discriminator=network(n_features=1))
    qgan.set_generator()
    result = qgan.run(instance())
    assert result["rel_entr"] < 0.05
    assert result["loss_d"] == pytest.approx(math.log(2), abs=0.01)


@pytest.mark.parametrize("network", [NumPyDiscriminator, PyTorchDiscriminator])
def test_training_in_two_dimensions(data, network):
    pairs = data.reshape(-1, 2)
    # 782 pairs lie within the bounds: seven batches an epoch, and some 300 batches until the shape
    # of both dimensions is learnt
    qgan = QGAN(pairs, [[0.0, 3.0]] * 2, [1, 2], 100, 80, discriminator=network(n_features=2))
    qgan.set_generator()
    qgan.seed = 7
    assert qgan.get_rel_entr() > 0.2
    assert qgan.run(exact())["rel_entr"] < 0.05


@INSTANCES
def test_training_with_analytic_gradients(data, circuit, instance):
    qgan = make_qgan(data)
    qgan.set_generator(circuit, generator_gradient="parameter-shift")
    assert qgan.run(instance())["rel_entr"] < 0.05


def test_saving_and_loading(data, tmp_path):
    def make():
        aqua_globals.random_seed = 7
        qgan = QGAN(
            data,
            [0.0, 3.0],
            [2],
            500,
            2,
            discriminator=NumPyDiscriminator(1),
            snapshot_dir=str(tmp_path),
        )
        qgan.seed = 7
        return qgan

    first, second = make(), make()
    first.run(exact())
    assert len((tmp_path / "output.csv").read_text().splitlines()) == 3
    second.load()
    assert second.rel_entr == first.rel_entr
    np.testing.assert_array_equal(first.run(exact())["params_d"], second.run(exact())["params_d"])
    first.discriminator.save_model(str(tmp_path))
    for where in (tmp_path, tmp_path / "discriminator.pt"):
        fresh = NumPyDiscriminator(1)
        fresh.load_model(str(where))
        fresh.scale(first.grid.bounds)
        np.testing.assert_array_equal(
            fresh.get_label([[1.0]]), first.discriminator.get_label([[1.0]])
        )
    with pytest.raises(
        AquaError, match=r"checkpoint\.pt does not hold a discriminator of this kind"
    ):
        fresh.load_model(tmp_path / "checkpoint.pt")
    with pytest.raises(AquaError, match=r"output\.csv is damaged"):
        fresh.load_model(tmp_path / "output.csv")


def test_the_tutorial():
    """Qiskit's qgans_for_loading_random_distributions, which printed 0.16 after ten epochs."""
    seed = 71
    aqua_globals.random_seed = seed
    real_data = aqua_globals.random.lognormal(mean=1, sigma=1, size=1000)
    bounds, num_qubits = np.array([0.0, 3.0]), [2]
    qgan = QGAN(real_data, bounds, num_qubits, 100, 10, snapshot_dir=None)
    qgan.seed = 1
    quantum_instance = QuantumInstance(
        backend="statevector_simulator", seed_transpiler=seed, seed_simulator=seed
    )
    init = QuantumCircuit(2)
    init.h([0, 1])
    g_circuit = n_local(2, "ry", "cz", entanglement=[[0, 1]], reps=1).compose(init, front=True)
    qgan.set_generator(generator_circuit=g_circuit, generator_init_params=[3.0, 1.0, 0.6, 1.6])
    qgan.set_discriminator(NumPyDiscriminator(len(num_qubits)))
    untrained = qgan.get_rel_entr()
    result = qgan.run(quantum_instance)
    assert set(result) == {"params_d", "params_g", "loss_d", "loss_g", "rel_entr"}
    assert untrained > 0.1
    assert result["rel_entr"] < 0.04
    assert result["loss_d"] == pytest.approx(math.log(2), abs=0.01)
    assert result["loss_g"] == pytest.approx(math.log(2), abs=0.05)
    assert len(qgan.rel_entr) == len(qgan.g_loss) == len(qgan.d_loss) == 10
    # its plot: sorted samples and their cumulative weights
    samples, weights = qgan.generator.get_output(qgan.quantum_instance, shots=10_000)
    assert np.cumsum(weights)[np.argsort(np.ravel(samples))][-1] == pytest.approx(1)


def test_a_seeded_instance_does_not_draw_the_same_shots_twice(data):
    qgan = make_qgan(data)
    instance = with_shots()
    outputs = [qgan.generator.get_output(instance) for _ in range(3)]
    assert outputs[0] != outputs[1] or outputs[1] != outputs[2]


def test_the_seed_decides_both_players_and_the_global_state(data):
    def players(qgan):
        return qgan.generator.parameter_values.tolist(), qgan.discriminator.get_label(
            [[0.0], [2.0]]
        ).tolist()

    made = []
    for before in (1, 2):
        aqua_globals.random_seed = before
        made.append(QGAN(data, [0, 3], [2], seed=5))
        assert aqua_globals.random_seed == 5
    other = QGAN(data, [0, 3], [2], seed=6)
    assert players(made[0]) == players(made[1]) != players(other)
    made[0].seed = 6
    assert players(made[0]) == players(other)
    assert aqua_globals.random_seed == 6


@pytest.mark.parametrize("name", ["qasm_simulator", "aer", "statevector"])
def test_seed_simulator_decides_the_shots_of_named_simulators_too(data, name):
    qgan = make_qgan(data)
    first, again, other = (
        qgan.generator.get_output(QuantumInstance(name, shots=1000, seed_simulator=seed))
        for seed in (3, 3, 4)
    )
    assert first == again != other


class Counting(StatevectorSampler):
    """A sampler that records the shots that it is asked for."""

    def __init__(self):
        super().__init__(seed=1)
        self.asked = set()

    def run(self, pubs, *, shots=None):
        pubs = list(pubs)
        self.asked |= {pub[2] for pub in pubs}
        return super().run(pubs, shots=shots)


def test_set_config_of_an_attached_instance_counts(data):
    sampler = Counting()
    instance, qgan = QuantumInstance(sampler, shots=30), make_qgan(data)
    qgan.num_epochs = 1
    qgan.run(instance)
    assert sampler.asked == {30}
    instance.set_config(shots=70, cals_matrix_refresh_period=30)
    qgan.run()
    assert (sampler.asked, qgan.shots) == ({30, 70}, 70)
    instance = QuantumInstance("aer", shots=1000)
    qgan.quantum_instance = instance
    entropies = []
    for seed in (3, 3, 4):
        instance.set_config(seed_simulator=seed)
        entropies.append(qgan.get_rel_entr())
    assert entropies[0] == entropies[1] != entropies[2]


@pytest.mark.parametrize("backend", ["aer", AerSimulator()], ids=["name", "backend"])
def test_without_seed_simulator_the_seed_decides_the_shots(data, backend):
    one, other = make_qgan(data), make_qgan(data)
    one.num_epochs = other.num_epochs = 1
    results = [qgan.run(backend, shots=50) for qgan in (one, other)]
    assert results[0]["rel_entr"] == results[1]["rel_entr"]


def test_backends_given_to_run_and_set_backend(data):
    qgan = make_qgan(data)
    qgan.num_epochs, backend = 1, AerSimulator()
    qgan.run(backend, shots=50)
    assert (qgan.shots, qgan.backend, qgan.quantum_instance.is_statevector) == (50, backend, False)
    qgan.set_backend("statevector_simulator")
    assert qgan.quantum_instance.is_statevector
    assert qgan.get_rel_entr() == qgan.get_rel_entr()
    qgan.run("aer", shots=60)
    assert (qgan.shots, qgan.backend) == (60, "aer")
    qgan.run("statevector")
    assert qgan.shots == 60
    with pytest.raises(AquaError, match="`shots` needs a backend"):
        qgan.run(shots=50)
    with pytest.raises(
        AquaError, match="`shots` does not go with a QuantumInstance; use its set_config"
    ):
        qgan.run(exact(), shots=50)
    with pytest.raises(AquaError, match="`shots` must be at least 1, got -5"):
        qgan.set_backend("aer", shots=-5)
    assert (qgan.shots, qgan.backend) == (60, "statevector")


def test_it_wraps_a_modern_qgan_that_knows_none_of_aquas_names(data):
    qgan = make_qgan(data)
    assert isinstance(qgan.model, qcaan.QGAN) and not isinstance(qgan, qcaan.QGAN)
    for name in ("quantum_instance", "backend", "set_backend", "num_epochs"):
        assert name in dir(qgan) and name not in dir(qgan.model)
    assert not hasattr(qgan.grid, "num_qubits")
    qgan.num_epochs, qgan.tol_rel_ent = 3, 0.5
    assert (qgan.model.n_epochs, qgan.model.tol_rel_ent) == (3, 0.5)
    with pytest.raises(AquaError, match="`num_epochs` must be at least 1, got 0"):
        qgan.num_epochs = 0
    qgan.shots = 70
    qgan.quantum_instance = "aer"
    assert (qgan.model.engine.name, qgan.model.shots) == ("aer", 70)


def test_train_is_run_without_its_result(data):
    one, other = make_qgan(data), make_qgan(data)
    assert one.train() is None
    other.run()
    assert one.rel_entr == other.rel_entr


def test_a_given_generator_starts_anew_with_the_seed(data):
    generator = QuantumGenerator([0, 3], [2], init_params=[0.1, 0.2, 0.3, 0.4])
    qgan = make_qgan(data, generator=generator)
    qgan.run()
    first = qgan.rel_entr
    qgan.seed = 7
    assert qgan.generator is generator
    assert generator.parameter_values.tolist() == [0.1, 0.2, 0.3, 0.4]
    qgan.run()
    assert qgan.rel_entr == first


def test_the_generator_trains_alone_against_a_discriminator():
    generator = QuantumGenerator(
        [0, 3], [2], init_params=[0.1, 0.2, 0.3, 0.4], optimizer=ADAM(maxiter=1, lr=0.1)
    )
    with pytest.raises(AquaError, match="no discriminator to train against"):
        generator.train(exact())

    class Highest(PyTorchDiscriminator):
        """A discriminator that labels the highest value as real."""

        def get_label(self, x, detach=False):
            return torch.sigmoid(torch.as_tensor(x)[:, :1] * 2 - 5)

    generator.set_discriminator(Highest())
    losses = [generator.train(exact())["loss"] for _ in range(60)]
    assert losses[-1] < 0.4 < 2 < losses[0]
    samples, weights = generator.get_output(exact())
    assert weights[samples.index([3.0])] > 0.9
    assert generator.loss([[0.5], [0.25]], [0.5, 0.5]) == pytest.approx(1.5 * math.log(2))
    assert generator.construct_circuit().num_parameters == 4
    assert generator.construct_circuit([0, 0, 0, 0]).num_parameters == 0


def test_a_users_own_discriminator_is_trained_with():
    class Table(DiscriminativeNetwork):
        """Labels by a running mean of the share of real samples at each of 0, 1, 2, 3."""

        def __init__(self):
            self.real, self.fake = np.full(4, 0.25), np.full(4, 0.25)
            self.seeds = []

        def set_seed(self, seed):
            self.seeds.append(seed)

        def get_label(self, x):
            index = np.asarray(x)[:, 0].astype(int)
            return (self.real / (self.real + self.fake))[index]

        def save_model(self, snapshot_dir):
            raise NotImplementedError

        def loss(self, x, y, weights=None):
            raise NotImplementedError

        def train(self, data, weights, penalty=False, quantum_instance=None, shots=None):
            for samples, shares, table in zip(data, weights, (self.real, self.fake), strict=True):
                table *= 0.8
                np.add.at(table, np.asarray(samples)[:, 0].astype(int), 0.2 * np.asarray(shares))
            return {"loss": 0.0, "params": self.real.copy()}

    aqua_globals.random_seed = 7
    values = aqua_globals.random.binomial(3, 0.5, 1000)
    qgan = QGAN(values, [0, 3], [2], 100, 20, discriminator=Table())
    qgan.seed = 8
    assert qgan.discriminator.seeds == [7, 8]
    assert qgan.get_rel_entr() > 0.1
    result = qgan.run("exact")
    assert result["rel_entr"] < 0.02
    assert abs(result["params_d"] - qgan.data_probs).max() < 0.1


@pytest.mark.parametrize("network", [NumPyDiscriminator, PyTorchDiscriminator])
@pytest.mark.parametrize(("scale", "offset"), [(1.0, 1e8), (1e6, 0.0), (1e-6, 0.0)])
def test_what_is_learnt_does_not_depend_on_the_units_of_the_data(network, scale, offset):
    def losses(scale, offset):
        values = scale * (np.arange(400.0) ** 2 % 8) + offset
        aqua_globals.random_seed = 1
        bounds = scale * np.array([0.0, 7.0]) + offset
        qgan = QGAN(values, bounds, [3], 100, 3, discriminator=network(1))
        qgan.run("exact")
        return [*qgan.d_loss, *qgan.g_loss, *qgan.rel_entr]

    assert losses(scale, offset) == pytest.approx(losses(1.0, 0.0), rel=1e-3)


def test_labels_and_losses_of_the_networks():
    aqua_globals.random_seed = 1
    network = PyTorchDiscriminator(2)
    labels = network.get_label([[0.0, 1.0], [2.0, 3.0]])
    assert labels.shape == (2, 1) and labels.requires_grad
    assert isinstance(network.get_label([[0.0, 1.0]], detach=True), np.ndarray)
    assert isinstance(NumPyDiscriminator(2).get_label([[0.0, 1.0]]), np.ndarray)
    half, real = torch.tensor([[0.5], [0.25]]), torch.ones(2, 1)
    assert network.loss(half, real) == pytest.approx(1.5 * math.log(2))
    assert network.loss(half, real, [0.2, 0.4]) == pytest.approx(math.log(2))
    points = [[0.0, 0.0], [1.0, 1.0]]
    losses = [network.train([points[:1], points[1:]], [[1.0], [1.0]])["loss"] for _ in range(40)]
    assert losses[-1] < 0.1 < 0.5 < losses[0]
    aqua_globals.random_seed = 1
    same = PyTorchDiscriminator(2)
    np.testing.assert_array_equal(
        same.get_label([[0.0, 1.0], [2.0, 3.0]], detach=True), labels.detach().numpy()
    )


def test_optimisers():
    assert issubclass(QuantumGenerator, GenerativeNetwork)
    optimizer = ADAM(maxiter=1, lr=0.1, beta_1=0.7, amsgrad=True, noise_factor=1e-6)(
        [torch.zeros(2)]
    )
    group = optimizer.param_groups[0]
    assert (group["lr"], group["betas"], group["amsgrad"], group["eps"]) == (
        0.1,
        (0.7, 0.99),
        True,
        1e-6,
    )
    with pytest.warns(
        UserWarning, match="ADAM takes one step for each batch, not maxiter 10000; set it to 1"
    ):
        QuantumGenerator([0, 3], [2], optimizer=ADAM())
    found = COBYLA(maxiter=300).minimize(lambda x: float(((x - 0.3) ** 2).sum()), np.zeros(2))
    assert found.x == pytest.approx([0.3, 0.3], abs=0.01)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda d: QGAN([], [0, 3], [2]), "`data` must hold samples"),
        (lambda d: QGAN(d, [0, 3], [2, 2]), "`num_qubits` must be a whole number"),
        (lambda d: QGAN(d, [0, 3], [2], 10**5), "`batch_size` must be at most"),
        (lambda d: QGAN(d, [0, 3], [2], quantum_instance="warp"), "unknown `sampler` 'warp'"),
        (
            lambda d: QGAN(d, [0, 3], [2]).set_generator(QuantumCircuit(2)),
            "must have parameters to train",
        ),
        (
            lambda d: QGAN(d, [0, 3], [2]).set_generator(generator_gradient="finite"),
            "unknown `gradient` 'finite'",
        ),
        (
            lambda d: QGAN(d, [0, 3], [2]).set_discriminator(NumPyDiscriminator(2)),
            r"must take samples \[m, 1\]",
        ),
        (lambda d: QGAN(d, [0, 3], [2]).load(), "`snapshot_dir` must be a folder to load from"),
        (lambda d: QuantumInstance("warp"), "unknown `sampler` 'warp'"),
        (
            lambda d: QuantumInstance("aer", shots=0),
            "`shots` must be at least 1, got 0",
        ),
        (
            lambda d: QuantumInstance("aer", noise_model=3),
            "`noise_model` is not supported; set it up in the backend itself",
        ),
        (lambda d: NumPyDiscriminator(1, 2), "`n_out` must be 1, got 1 and 2"),
        (
            lambda d: PyTorchDiscriminator().train([[0], [1]], [[1], [1]], penalty=True),
            "`penalty` is not supported",
        ),
    ],
)
def test_what_is_wrong_is_an_aqua_error_and_a_value_error(data, make, message):
    with pytest.raises(AquaError, match=message) as caught:
        make(data)
    assert isinstance(caught.value, ValueError)
