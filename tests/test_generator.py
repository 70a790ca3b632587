"""`CircuitGenerator`: its circuits, initial states, gradients and optimisers."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest
import torch
from qgans import ROTATIONS, binomial
from qiskit import QuantumCircuit
from qiskit.circuit import ParameterVector
from qiskit.circuit.library import n_local
from qiskit.quantum_info import Statevector
from scipy.optimize import minimize

from qcaan import QGAN, Ansatz, load_samples
from qcaan.gans.distribution.generator import CircuitGenerator
from qcaan.gans.distribution.grid import make_grid


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


ROTATIONS_4 = Ansatz(4, ("ry",))


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
