"""IQP circuits (instantaneous quantum polynomial time) of up to thousands of qubits, exactly.

H on every qubit, RZ on every qubit, RZZ on pairs, H on every qubit, measure. With s the signs of
the qubits, +1 for bit 0, the amplitude of bits x is the mean over all s of

    prod_i s_i^x_i * exp(-i/2 (sum_i theta_i s_i + sum_ij theta_ij s_i s_j)).

If pairs are at most R places apart, all is exact at any width, by a window of the signs of the last
R qubits. Such a circuit is easy for a classical computer: nothing here claims an advantage. If all
pairs are coupled, expectation values of products of Z stay exact; probabilities and shots need the
state vector.

The first qubits may be those of a label. They are coupled to every qubit, so their signs stay in
the window. At each of their signs, the others are a banded circuit with other angles of RZ.

Angles are in radians, float32 or float64; results have the precision and the device of the angles.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from qiskit.circuit import ParameterVector, QuantumCircuit
from torch import Tensor

from qcaan.bits import bits_to_index, index_to_bits, walsh_hadamard
from qcaan.checks import memory_of, most_qubits, shown, whole
from qcaan.circuits.band import Band, Label, all_signs, window_bytes
from qcaan.circuits.program import constants

Reach: TypeAlias = "int | Literal['all']"

# number of bitstrings in a batch whose probabilities are differentiated
BATCH = 256
# probability of a label below which it is taken for one that cannot occur, beyond rounding
_IMPOSSIBLE = 1e-12
# elements of the fields of a part of the subsets
_PART = 2**17


@dataclass(frozen=True)
class IQPCircuit:
    """An IQP circuit of one- and two-qubit gates.

    Its angles are those of RZ on each qubit and then those of RZZ on `pairs`.

    Attributes:
        n_qubits: number of qubits, those of the label included; at least 2.
        reach: largest distance R of two coupled qubits, from 1 to below the number of qubits that
            are not of the label; or `all`.
        n_labels: number of label qubits L, from 0 to `n_qubits` - 2. They are the first ones, and
            coupled to every qubit. Time and memory of a banded circuit grow as 2**L.

    Raises:
        ValueError: one of these is out of range, or a window of R qubits does not fit into memory.
    """

    n_qubits: int
    reach: Reach
    n_labels: int = 0

    def __post_init__(self) -> None:
        n = whole("n_qubits", self.n_qubits, 2)
        n_labels = whole("n_labels", self.n_labels, 0, n - 1)
        object.__setattr__(self, "n_qubits", n)
        object.__setattr__(self, "n_labels", n_labels)
        if self.reach == "all":
            return
        bound = n - n_labels
        if isinstance(self.reach, str) or not 1 <= (reach := whole("reach", self.reach)) < bound:
            width = "the number of qubits without those of the label" if n_labels else "`n_qubits`"
            raise ValueError(
                f"`reach` must be all, or at least 1 and below {width} ({bound}), "
                f"got {shown(self.reach)}"
            )
        object.__setattr__(self, "reach", reach)
        memory = memory_of()
        fitting = (r for r in range(bound) if window_bytes(n, r, n_labels, BATCH) < memory / 2)
        most = max(fitting, default=0)
        if reach > most:
            limit, otherwise = (f"at most {most}", ", or all") if most else ("all", "")
            labels = f" with {n_labels} label qubits" if n_labels else ""
            raise ValueError(
                f"`reach` must be {limit} for {n} qubits{labels} on this machine "
                f"({memory / 2**30:.0f} GiB){otherwise}, got {reach}"
            )

    @property
    def is_banded(self) -> bool:
        """Whether the reach is limited, so that probabilities and shots are exact at any width."""
        return self.reach != "all"

    @property
    def span(self) -> int:
        """Largest distance of two coupled qubits that are not of the label."""
        return self._width - 1 if self.reach == "all" else self.reach

    @property
    def _width(self) -> int:
        """Number of qubits that are not of the label."""
        return self.n_qubits - self.n_labels

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """The coupled pairs i < j in the order of their angles: (0,1), (0,2), ..., (1,2), ..."""
        n, span = self.n_qubits, self.span
        ends = [n if i < self.n_labels else min(i + span + 1, n) for i in range(n)]
        return [(i, j) for i, end in enumerate(ends) for j in range(i + 1, end)]

    @property
    def n_params(self) -> int:
        """Number of angles."""
        n, span, n_labels = self.n_qubits, self.span, self.n_labels
        of_labels = n_labels * n - n_labels * (n_labels + 1) // 2
        return n + of_labels + span * self._width - span * (span + 1) // 2

    def check_drawable(self) -> None:
        """Check that shots can be drawn here.

        Raises:
            ValueError: all pairs are coupled, and the state vector does not fit into memory.
        """
        most = most_qubits()
        if not self.is_banded and self.n_qubits > most:
            raise ValueError(
                f"`n_qubits` must be at most {most} on this machine for shots with `reach` all, "
                f"got {self.n_qubits}: more come only from a device; a `reach` of a few qubits has "
                "exact shots at any width"
            )

    def to_circuit(self) -> QuantumCircuit:
        """Return the measured circuit; classical bit i is qubit i.

        Its parameters are the elements of one vector, in the order of the angles. The gates of a
        banded circuit lie in at most 2 R layers, and those of label qubits in about one more for
        each qubit.
        """
        theta = ParameterVector("θ", self.n_params)
        circuit = QuantumCircuit(self.n_qubits)
        circuit.h(range(self.n_qubits))
        for qubit in range(self.n_qubits):
            circuit.rz(theta[qubit], qubit)
        # gates of one length side by side first: (0,1), (2,3), ..., then (1,2), (3,4), ...
        couplings = list(enumerate(self.pairs, self.n_qubits))
        couplings.sort(key=lambda item: (d := item[1][1] - item[1][0], item[1][0] // d % 2))
        for place, pair in couplings:
            circuit.rzz(theta[place], *pair)
        circuit.h(range(self.n_qubits))
        circuit.measure_all()
        return circuit

    def log_probs(self, theta: Tensor, bits: Tensor) -> Tensor:
        """Return the logarithms [m] of the probabilities of bits [m, n_qubits], in nats.

        Autograd goes through them. A probability that is zero gives -inf, and its gradient is not
        defined. If all pairs are coupled, the state vector is computed.

        Args:
            theta: angles [n_params].
            bits: bits {0, 1} of any dtype.

        Raises:
            ValueError: all pairs are coupled, and the state vector does not fit into memory.
        """
        if not self.is_banded:
            return self.probabilities(theta)[bits_to_index(bits)].log()
        return self._band(theta).log_probs(bits)

    def probabilities(self, theta: Tensor) -> Tensor:
        """Return the distribution [2**n_qubits] at angles [n_params], by the state vector.

        Raises:
            ValueError: the state vector does not fit into memory.
        """
        most = most_qubits()
        if self.n_qubits > most:
            raise ValueError(
                f"`n_qubits` must be at most {most} on this machine for a state vector, got "
                f"{self.n_qubits}; a banded circuit has probabilities of single bitstrings without"
            )
        couplings = self.couplings(theta)
        phases = theta.new_zeros(1)
        for i in range(self.n_qubits):
            fields = theta[i : i + 1]  # the angle by which sign +1 of qubit i turns, (2**i)
            for j in range(i):
                fields = torch.cat([fields + couplings[i, j], fields - couplings[i, j]])
            phases = torch.cat([phases + fields, phases - fields])
        state = walsh_hadamard(torch.polar(torch.ones_like(phases), -phases / 2))
        return (state.abs() / 2**self.n_qubits).square()

    def couplings(self, theta: Tensor) -> Tensor:
        """Return the angles of the pairs as a symmetric matrix [n, n] with zeros on its diagonal.

        Args:
            theta: angles [n_params].
        """
        (pairs,) = constants(theta, _pairs, self)
        upper = theta.new_zeros(self.n_qubits, self.n_qubits)
        upper = upper.index_put((pairs[0], pairs[1]), theta[self.n_qubits :])
        return upper + upper.T

    def correlators(self, theta: Tensor, subsets: Tensor) -> Tensor:
        """Return <prod_{i in a} Z_i> [K] of subsets a of w qubits each, exactly at any width.

        It is the mean over the signs s of the subset of
        cos(sum_i s_i theta_i) prod_{j not in a} cos(sum_i s_i theta_ij).
        So time and memory grow as K n_qubits 2**(w - 1). Autograd goes through the values.

        Args:
            theta: angles [n_params].
            subsets: int64 [K, w], different qubits in a row, w at least 1.
        """
        couplings = self.couplings(theta)
        # a flip of all signs changes nothing, so the first is +1
        (signs,) = constants(theta, all_signs, subsets.shape[1] - 1)
        signs = torch.nn.functional.pad(signs.to(theta), (1, 0), value=1.0)  # (2**(w-1), w)
        size = max(1, _PART // (len(signs) * self.n_qubits))
        parts = []
        for part in subsets.split(size):
            fields = signs @ couplings[part]  # (k, 2**(w-1), n)
            inside = torch.zeros(len(part), 1, self.n_qubits, dtype=torch.bool, device=theta.device)
            fields = fields.masked_fill(inside.scatter(2, part[:, None], True), 0.0)
            turns = theta[part] @ signs.T  # (k, 2**(w-1))
            parts.append((turns.cos() * fields.cos().prod(-1)).mean(1))
        return torch.cat(parts) if parts else theta.new_zeros(0)

    def label_probabilities(self, theta: Tensor) -> Tensor:
        """Return the distribution float64 [2**L] of the label at angles [n_params], at any width.

        Index k is the number whose binary digits are the label's bits, the lowest first. Autograd
        goes through them.
        """
        return self._label(theta.double()).probabilities()

    @torch.no_grad()
    def sample(
        self, theta: Tensor, shots: int, rng: np.random.Generator, labels: Tensor | None = None
    ) -> Tensor:
        """Draw bits uint8 [shots, n_qubits] from the exact distribution at angles [n_params].

        The bits of a banded circuit are drawn from left to right, each given those before it. Other
        circuits are drawn from their state vector. All is in double precision.

        Args:
            theta: angles [n_params].
            shots: number of bitstrings.
            rng: random state of the draws.
            labels: numbers int64 [shots] of the labels that shots have, as in
                `label_probabilities`; the other bits are then drawn given the label. Default: the
                label is drawn too.

        Raises:
            ValueError: all pairs are coupled, and the state vector does not fit into memory; or
                labels are not of that shape, are out of range, or cannot occur.
        """
        theta = theta.double()
        self.check_drawable()
        if labels is not None:
            labels = self._possible(labels.to(theta.device), shots, theta)
        if not self.is_banded:
            return index_to_bits(self._drawn_from_state(theta, shots, rng, labels), self.n_qubits)
        if labels is None:
            labels = torch.zeros(shots, dtype=torch.int64, device=theta.device)
            if self.n_labels:
                labels = _chosen(self.label_probabilities(theta), rng.random(shots))
        uniform = torch.from_numpy(rng.random((self._width, shots))).to(theta)
        others = self._band(theta).sample(labels, uniform)
        return torch.cat([index_to_bits(labels, self.n_labels), others], 1)

    def _possible(self, labels: Tensor, shots: int, theta: Tensor) -> Tensor:
        """Return the numbers of labels [shots], all of which can occur.

        Raises:
            ValueError: they are not of that shape, are out of range, or cannot occur.
        """
        most = 2**self.n_labels - 1
        shape = f"`labels` must be whole numbers [{shots}] from 0 to {most}"
        if labels.dtype != torch.int64 or labels.shape != (shots,):
            raise ValueError(f"{shape}, got {labels.dtype} {list(labels.shape)}")
        if not ((labels >= 0) & (labels <= most)).all():
            raise ValueError(f"{shape}, got one out of this range")
        if not (self.label_probabilities(theta)[labels] > _IMPOSSIBLE).all():
            raise ValueError("`labels` has one that does not occur at these angles")
        return labels

    def _drawn_from_state(
        self, theta: Tensor, shots: int, rng: np.random.Generator, labels: Tensor | None
    ) -> Tensor:
        """Return indices int64 [shots] of bitstrings, drawn from the state vector."""
        probs, uniform = self.probabilities(theta), rng.random(shots)
        if labels is None:
            return _chosen(probs, uniform)
        index = labels.clone()
        for label in labels.unique().tolist():
            of_label = labels == label
            drawn = _chosen(probs[label :: 2**self.n_labels], uniform[of_label.cpu().numpy()])
            index[of_label] += drawn << self.n_labels
        return index

    def _band(self, theta: Tensor) -> Band:
        """Return the angles [n_params] of a banded circuit in the order of its window."""
        (places,) = constants(theta, _band_places, self)
        return Band(_with_zero(theta)[places], self._label(theta))

    def _label(self, theta: Tensor) -> Label:
        """Return the qubits of the label at angles [n_params]."""
        (signs,) = constants(theta, all_signs, self.n_labels)
        (places,) = constants(theta, _label_places, self)
        signs, own = signs.to(theta), theta[: self.n_labels]
        inner, outer = _with_zero(theta)[places].tensor_split([self.n_labels], 1)
        turns = (signs @ own + ((signs @ inner) * signs).sum(1)) / 2
        amplitudes = torch.stack([turns.cos(), -turns.sin()], 1) / len(signs)
        return Label(amplitudes, signs @ outer)


def _with_zero(theta: Tensor) -> Tensor:
    """Return angles [n_params] and a zero, the angle of pairs that are not coupled."""
    return torch.cat([theta, theta.new_zeros(1)])


def _chosen(weights: Tensor, uniform: NDArray[np.float64]) -> Tensor:
    """Return indices int64 [m] of weights [k], by uniform numbers in [0, 1) [m]."""
    totals = weights.cumsum(0)
    places = torch.from_numpy(uniform).to(weights) * totals[-1]
    # rounding must not lead beyond the last index that can occur
    return torch.searchsorted(totals, places, right=True).clamp_max(len(totals) - 1)


@lru_cache(maxsize=64)
def _pairs(circuit: IQPCircuit) -> tuple[NDArray[np.int64]]:
    """Return the pairs as columns of an array [2, pairs]."""
    return (np.array(circuit.pairs, np.int64).reshape(-1, 2).T,)


@lru_cache(maxsize=64)
def _band_places(circuit: IQPCircuit) -> tuple[NDArray[Any]]:
    """Return the places in theta of the angles of a `Band`."""
    n, n_labels = circuit.n_qubits, circuit.n_labels
    places = np.full((n - n_labels, 1 + circuit.span), circuit.n_params)
    places[:, 0] = np.arange(n_labels, n)
    first, second = _pairs(circuit)[0]
    (banded,) = np.nonzero(first >= n_labels)
    places[second[banded] - n_labels, (second - first)[banded]] = n + banded
    return (places,)


@lru_cache(maxsize=64)
def _label_places(circuit: IQPCircuit) -> tuple[NDArray[Any]]:
    """Return the places [L, n] in theta of the pairs of a label's qubits with those after them."""
    n, n_labels = circuit.n_qubits, circuit.n_labels
    places = np.full((n_labels, n), circuit.n_params)
    first, second = _pairs(circuit)[0]
    (of_labels,) = np.nonzero(first < n_labels)
    places[first[of_labels], second[of_labels]] = n + of_labels
    return (places,)
