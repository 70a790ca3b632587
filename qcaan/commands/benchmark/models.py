"""The models of bits that `qcaan benchmark bits` compares: one entry each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from qiskit import QuantumCircuit
from torch import Tensor

from qcaan.circuits.ansatz import AnsatzName
from qcaan.priors.base import MAX_HISTOGRAM_BITS
from qcaan.priors.boltzmann import RBM
from qcaan.priors.classical import Bernoulli, Histogram, Product
from qcaan.priors.iqp import IQP
from qcaan.priors.qcbm import QCBM
from qcaan.priors.tree import ChowLiu


class Fitted(Protocol):
    """The methods of a prior over bits that the benchmark calls."""

    def fit(self, bits: Tensor) -> object:
        """Fit to bits [m, n]."""

    def measure(self, n: int) -> Tensor:
        """Draw bits {0, 1} [n, n_bits]."""

    def log_prob(self, bits: Tensor) -> Tensor:
        """Return the log-probabilities [m] of bits [m, n_bits], in nats; -inf for 0."""


@dataclass(frozen=True)
class Model:
    """A model of bits.

    Attributes:
        make: maker of a model that is not fitted yet, from a number of bits, a seed, and the number
            of evaluations in the fit of a QCBM.
        most_bits: the largest number of bits that it is compared on; None for any.
        n_params: number of parameters of a fitted model, unless it is a circuit.
        circuit: circuit of a fitted model. It has a parameter for each gate with an angle.
    """

    make: Callable[[int, int, int], Fitted]
    most_bits: int | None = None
    n_params: Callable[[Any], int] | None = None
    circuit: Callable[[Any], QuantumCircuit] | None = None

    def takes(self, n_bits: int) -> bool:
        """Return whether the model is compared on so many bits."""
        return self.most_bits is None or n_bits <= self.most_bits

    def size(self, fitted: Fitted) -> tuple[int, int]:
        """Return the numbers of parameters and of two-qubit gates of a fitted model."""
        if self.circuit is not None:
            circuit = self.circuit(fitted)
            angles = sum(len(gate.params) for gate in circuit.data)
            return angles, circuit.num_nonlocal_gates()
        return self.n_params(fitted) if self.n_params else 0, 0


def _qcbm(ansatz: AnsatzName, n_layers: int) -> Model:
    """Return a QCBM of one basis, fitted by Adam to exact probabilities from the marginals."""

    def make(n_bits: int, seed: int, evaluations: int) -> QCBM:
        return QCBM(
            n_bits,
            n_layers,
            ansatz=ansatz,
            sampler="exact",
            optimizer="adam",
            shots=0,
            fit_evals=evaluations,
            bank_shots=1,
            seed=seed,
        )

    return Model(make, MAX_HISTOGRAM_BITS, circuit=lambda qcbm: qcbm.born.ansatz.to_circuit())


def _n_weights(rbm: RBM) -> int:
    return sum(part.numel() for part in (rbm.weight, rbm.visible_bias, rbm.hidden_bias))


MODELS: dict[str, Model] = {
    "qcbm ion-trap 4": _qcbm("ion-trap", 4),
    "qcbm seed 2": _qcbm("seed", 2),
    "iqp reach 6": Model(
        lambda n, seed, _: IQP(n, min(6, n - 1), bank_shots=1, seed=seed),
        circuit=lambda iqp: iqp.circuit(),
    ),
    "iqp all pairs": Model(
        lambda n, seed, _: IQP(n, "all", bank_shots=1, seed=seed),
        MAX_HISTOGRAM_BITS,
        circuit=lambda iqp: iqp.circuit(),
    ),
    "rbm": Model(
        # more and smaller steps than a prior takes in an epoch: this fit is the only one
        lambda n, seed, _: RBM(n, steps=1000, lr=0.3, seed=seed),
        n_params=_n_weights,
    ),
    "chow-liu": Model(
        lambda n, seed, _: ChowLiu(n, seed=seed), n_params=lambda tree: 2 * tree.dim - 1
    ),
    "product": Model(
        lambda n, seed, _: Product(n, seed=seed), n_params=lambda product: product.dim
    ),
    "histogram": Model(
        lambda n, seed, _: Histogram(n, seed=seed),
        MAX_HISTOGRAM_BITS,
        n_params=lambda histogram: int(histogram.probs.count_nonzero()) - 1,
    ),
    "uniform": Model(lambda n, seed, _: Bernoulli(n, seed=seed)),
}
