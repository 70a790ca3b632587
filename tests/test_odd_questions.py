"""Empty batches, no shots and angles that are not finite: the same answer from every engine."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter
from qiskit.primitives import StatevectorSampler
from qiskit_aer import AerSimulator

from qcaan.circuits.ansatz import Ansatz, make_ansatz
from qcaan.circuits.born import BornMachine
from qcaan.circuits.layers import QuantumLayer
from qcaan.circuits.qiskit_circuits import CircuitMachine
from qcaan.priors.qcbm import QCBM
from qcaan.samplers.devices import DeviceOptions
from qcaan.samplers.names import EXACT, SamplerFactory, make_sampler
from qcaan.samplers.rehearsal import Rehearsal

IDEAL = (EXACT, "aer", "aer:single", "statevector")
NAMED = (
    *IDEAL[1:], "aer-noise:ionq-aria", "aer-noise:fake_guadalupe",
    "ibm:fake_guadalupe", "aqt:ideal", "aqt:noisy", "ionq:simulator", "ionq:qpu.forte-1",
)  # fmt: skip
ENGINES = (EXACT, *NAMED, "sampler object", "backend", "rehearsal")
BASES = ("z", "t")
BAD = (math.nan, math.inf, -math.inf)


def opened(name, rng):
    if name == "sampler object":
        return StatevectorSampler(seed=rng)
    if name == "backend":
        return AerSimulator()
    if name == "rehearsal":
        return Rehearsal(SamplerFactory(DeviceOptions()).vendor("ibm:fake_guadalupe"), rng)
    return name


@pytest.mark.usefixtures("ionq")
@pytest.mark.parametrize("name", ENGINES)
class TestBornMachine:
    @pytest.fixture
    def born(self, name):
        rng = np.random.default_rng(0)
        return BornMachine(make_ansatz("ion-trap", 2, 1), BASES, opened(name, rng), rng)

    def test_no_parameter_sets_have_an_empty_result(self, born):
        theta = torch.zeros(0, born.n_params, dtype=torch.float64)
        assert born.shots(theta, 5).shape == (2, 0, 5)
        assert born.frequencies(theta, 5).shape == (0, 2, 4)
        if born.is_ideal:
            assert born.probabilities(theta).shape == (0, 2, 4)

    def test_no_shots_have_no_bits_and_no_frequencies(self, born):
        theta = torch.zeros(3, born.n_params)
        assert born.shots(theta, 0).shape == (2, 3, 0)
        none = born.sample(theta[0], 0)
        assert (none.shape, none.dtype) == ((0, 4), torch.uint8)
        with pytest.raises(ValueError, match="`shots` must be at least 1, got 0"):
            born.frequencies(theta, 0)
        for question in (born.shots, born.frequencies):
            with pytest.raises(ValueError, match=r"`shots` must be at least [01], got -1"):
                question(theta, -1)

    def test_angles_that_are_not_finite_or_of_another_shape_are_refused(self, born):
        questions = [lambda theta: born.shots(theta, 5), lambda theta: born.frequencies(theta, 5)]
        questions += [born.probabilities] if born.is_ideal else []
        for question in questions:
            for value in BAD:
                theta = torch.zeros(2, born.n_params)
                theta[1, 2] = value
                with pytest.raises(ValueError, match="`theta` must be finite"):
                    question(theta)
            for width in (born.n_params - 1, born.n_params + 1):
                with pytest.raises(ValueError, match=r"`theta` must have shape \[K, 4\]"):
                    question(torch.zeros(2, width))
            with pytest.raises(ValueError, match="`theta` must be float32 or float64"):
                question(torch.zeros(2, born.n_params, dtype=torch.int64))


@pytest.mark.usefixtures("ionq")
@pytest.mark.parametrize("name", NAMED)
class TestSamplers:
    @pytest.fixture
    def circuit(self):
        circuit = QuantumCircuit(2)
        circuit.rx(Parameter("a"), 0)
        circuit.measure_all()
        return circuit

    def test_no_parameter_sets_have_an_empty_result(self, name, circuit):
        empty, one = np.zeros((0, 1)), np.full((1, 1), math.pi)
        result = make_sampler(name, 0).run([(circuit, empty, 7), (circuit, one, 7)]).result()
        drawn = [pub.join_data().to_bool_array(order="little") for pub in result]
        assert [bits.shape for bits in drawn] == [(0, 7, 2), (1, 7, 2)]
        assert drawn[1][..., 0].mean() > 0.8
        (alone,) = make_sampler(name, 0).run([(circuit, np.zeros((2, 0, 1)))], shots=7).result()
        assert alone.join_data().to_bool_array(order="little").shape == (2, 0, 7, 2)

    def test_no_circuits_have_no_results(self, name):
        assert len(make_sampler(name, 0).run([]).result()) == 0

    def test_no_shots_and_values_that_are_not_finite_are_refused(self, name, circuit):
        sampler = make_sampler(name, 0)
        for pub, shots in (((circuit, [0.0], 0), None), ((circuit, [0.0]), 0)):
            with pytest.raises(ValueError, match="shots must be positive"):
                sampler.run([pub], shots=shots).result()
        for value in BAD:
            with pytest.raises(ValueError, match="values of parameters must be finite"):
                sampler.run([(circuit, [[0.0], [value]], 5)]).result()

    def test_a_circuit_without_parameters_is_drawn_for_each_empty_set(self, name):
        circuit = QuantumCircuit(3)
        circuit.h([0, 1, 2])
        circuit.measure_all()
        (pub,) = make_sampler(name, 0).run([(circuit, np.zeros((2, 0)), 40)]).result()
        drawn = pub.join_data().to_bool_array(order="little")
        assert drawn.shape == (2, 40, 3)
        # IBM's local client seeds equal circuits of one job alike
        assert name.startswith("ibm:") or (drawn[0] != drawn[1]).any()


@pytest.mark.parametrize("name", IDEAL)
def test_an_ansatz_without_angles_has_the_same_distribution_for_each_set(name):
    born = BornMachine(Ansatz(2, ("h",)), ("z", "o"), name, np.random.default_rng(0))
    assert torch.allclose(born.probabilities(np.zeros((3, 0))), torch.tensor(0.25).double())
    assert born.frequencies(np.zeros((3, 0)), 100).sum(-1).tolist() == [[1, 1]] * 3


@pytest.mark.parametrize("name", [*IDEAL, "aer-noise:ionq-aria"])
def test_a_qiskit_circuit_gives_the_same_answers(name):
    circuit = QuantumCircuit(2)
    circuit.ry(Parameter("a"), 0)
    machine = CircuitMachine(circuit, name, np.random.default_rng(0))
    none = torch.zeros(0, 1, dtype=torch.float64)
    assert machine.frequencies(none, 5).shape == (0, 1, 4)
    drawn = machine.frequencies([[math.pi], [0.0]], 200)[:, 0]
    assert drawn[0, 1] > 0.9
    assert drawn[1, 0] > 0.9
    assert torch.equal(drawn.sum(1), torch.ones(2).double())
    with pytest.raises(ValueError, match="`shots` must be at least 1, got 0"):
        machine.frequencies([[0.0]], 0)
    with pytest.raises(ValueError, match="`theta` must be finite"):
        machine.frequencies([[math.nan]], 5)
    if machine.is_ideal:
        assert machine.probabilities(none).shape == (0, 1, 4)
        with pytest.raises(ValueError, match="`theta` must be finite"):
            machine.probabilities([[math.nan]])


@pytest.mark.parametrize(("name", "shots"), [(EXACT, 0), (EXACT, 9), ("aer", 0), ("aer", 9)])
@pytest.mark.parametrize("gradient", [None, "parameter-shift"])
def test_a_layer_gives_nan_for_rows_that_are_not_finite(name, shots, gradient):
    layer = QuantumLayer(make_ansatz("seed", 2, 1), sampler=name, shots=shots, gradient=gradient)
    rows = torch.tensor([[0.1, 0.2], [math.nan, 0.0], [0.3, math.inf]])
    assert layer(rows).isnan().all(1).tolist() == [False, True, True]
    assert layer(rows[:0]).shape == (0, 2)
    layer.theta.data[0, 0] = math.nan
    assert layer(rows).isnan().all()


@pytest.mark.parametrize("name", [EXACT, "aer", "statevector", "aer-noise:ionq-aria"])
def test_a_prior_measures_nothing_when_asked_for_nothing(name):
    prior = QCBM(2, 1, bases=("z", "o"), sampler=name, bank_shots=10)
    none = prior.measure(0)
    assert (none.shape, none.dtype) == ((0, 4), torch.float32)


@pytest.mark.parametrize("name", [EXACT, "aer", "statevector", "aer-noise:ionq-aria", "aqt:ideal"])
def test_one_seed_draws_one_result_whatever_torchs_own_seed(name):
    def drawn(seed, torch_seed):
        born = BornMachine(make_ansatz("seed", 3, 1), BASES, name, np.random.default_rng(seed))
        torch.manual_seed(torch_seed)
        return born.sample(np.zeros(born.n_params), 50)

    assert torch.equal(drawn(1, 1), drawn(1, 2))
    assert not torch.equal(drawn(1, 1), drawn(2, 1))


def test_shots_of_the_exact_engine_follow_the_seed_of_a_prior():
    prior, other = (QCBM(3, 1, sampler=EXACT, seed=seed) for seed in (1, 2))
    other.load_state_dict({**other.state_dict(), "theta": prior.theta})
    state, before = torch.get_rng_state(), prior.measure(40)
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(before, other.measure(40))
    prior.reseed(5)
    other.reseed(5)
    drawn = prior.measure(40)
    assert torch.equal(drawn, other.measure(40))
    assert not torch.equal(drawn, prior.measure(40))
    prior.reseed(5)
    assert torch.equal(drawn, prior.measure(40))
