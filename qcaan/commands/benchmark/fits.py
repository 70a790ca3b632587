"""Times of a fit by COBYLA to exact probabilities of Aer: SciPy's and ours."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from qiskit_aer import AerSimulator
from scipy import optimize
from torch import Tensor

from qcaan import losses
from qcaan.circuits.ansatz import make_ansatz
from qcaan.circuits.born import BornMachine
from qcaan.cobyla import minimize
from qcaan.commands.benchmark.timing import Goal, Row, median_times, rows_of, times_of

EVALUATIONS = 300
_RADIUS, _RESOLUTION = 0.1, 1e-4
_SCIPY, _OURS = "SciPy's COBYLA on AerSimulator.run", "qcaan"

Loss = Callable[[np.ndarray], float]


def cobyla_fits(repeats: int) -> list[Row]:
    """Time fits of 8 qubits (ion-trap, 96 angles) in two bases to a random distribution."""
    ansatz = make_ansatz("ion-trap", 8, 4)
    born = BornMachine(ansatz, ("z", "o"), "aer", np.random.default_rng(0))
    circuit = ansatz.to_circuit()
    parameters = list(circuit.parameters)
    circuit.save_probabilities(label="z")
    circuit.rx(np.pi / 2, range(8))
    circuit.save_probabilities(label="o")
    simulator = AerSimulator(max_parallel_threads=1)
    rng = np.random.default_rng(0)
    target = torch.from_numpy(rng.dirichlet(np.ones(2**8), 2))
    start = rng.normal(size=born.n_params)

    def kl(probs: Tensor) -> float:
        return float(losses.kl(target[0], probs[0]) + losses.kl(target[1], probs[1]))

    def by_run(theta: np.ndarray) -> float:
        binds = [{name: [value] for name, value in zip(parameters, theta.tolist(), strict=True)}]
        data = simulator.run([circuit], parameter_binds=binds, shots=1).result().data(0)
        return kl(torch.from_numpy(np.stack([data["z"], data["o"]])))

    def ours(theta: np.ndarray) -> float:
        return kl(born.probabilities(theta[None])[0])

    ways = {
        _SCIPY: partial(_by_scipy, by_run, start),
        "SciPy's COBYLA on qcaan's Aer": partial(_by_scipy, ours, start),
        _OURS: partial(minimize, ours, start, _RADIUS, _RESOLUTION, EVALUATIONS),
    }
    found = [by_run(way()) for way in ways.values()]
    assert np.allclose(found, found[0], rtol=1e-3)  # the same fits, but for rounding
    return rows_of(median_times(ways, repeats))


def fit_goals(rows: Sequence[Row]) -> list[Goal]:
    """Return the goal of the fits."""
    ms = times_of(rows)
    return [Goal("fit by COBYLA, times faster than by SciPy", ms[_SCIPY] / ms[_OURS], "at least 2")]


def _by_scipy(loss: Loss, start: np.ndarray) -> np.ndarray:
    options = {"maxiter": EVALUATIONS, "rhobeg": _RADIUS, "tol": _RESOLUTION}
    found: np.ndarray = optimize.minimize(loss, start, method="COBYLA", options=options).x
    return found
