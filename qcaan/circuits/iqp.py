"""IQP circuits (instantaneous quantum polynomial time) of up to thousands of qubits, exactly.

H on every qubit, RZ on every qubit, RZZ on pairs, H on every qubit, measure. With s the signs of
the qubits, +1 for bit 0, the amplitude of bits x is the mean over all s of

    prod_i s_i^x_i * exp(-i/2 (sum_i theta_i s_i + sum_ij theta_ij s_i s_j)).

If pairs are at most R places apart, all is exact at any width, by a window of the signs of the last
R qubits. Such a circuit is easy for a classical computer: nothing here claims an advantage. If all
pairs are coupled, expectation values of products of Z stay exact; probabilities and shots need the
state vector.

Angles are in radians, float32 or float64; results have the precision and the device of the angles.
"""

from __future__ import annotations

import math
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
from qcaan.circuits.program import constants

Reach: TypeAlias = "int | Literal['all']"

# number of bitstrings in a batch whose probabilities are differentiated
BATCH = 256
# number of qubits that the window moves on at once, where that is fastest
_STRIDE = 3
# number of such moves between which no amplitude leaves the range of float32
_BLOCKS_OF_A_SCALE = 4
# elements of the vectors of a part of the shots, or of the fields of a part of the subsets
_PART = 2**17


@dataclass(frozen=True)
class IQPCircuit:
    """An IQP circuit of one- and two-qubit gates.

    Its angles are those of RZ on each qubit and then those of RZZ on `pairs`.

    Attributes:
        n_qubits: number of qubits, at least 2.
        reach: largest distance R of two coupled qubits, from 1 to below `n_qubits`; or `all`.

    Raises:
        ValueError: one of these is out of range, or a window of R qubits does not fit into memory.
    """

    n_qubits: int
    reach: Reach

    def __post_init__(self) -> None:
        n = whole("n_qubits", self.n_qubits, 2)
        object.__setattr__(self, "n_qubits", n)
        if self.reach == "all":
            return
        if isinstance(self.reach, str) or not 1 <= (reach := whole("reach", self.reach)) < n:
            raise ValueError(
                f"`reach` must be all, or at least 1 and below `n_qubits` ({n}), "
                f"got {shown(self.reach)}"
            )
        object.__setattr__(self, "reach", reach)
        memory = memory_of()
        most = max((r for r in range(n) if _window_bytes(n, r) < memory / 2), default=0)
        if reach > most:
            raise ValueError(
                f"`reach` must be at most {most} for {n} qubits on this machine "
                f"({memory / 2**30:.0f} GiB), or all, got {reach}"
            )

    @property
    def is_banded(self) -> bool:
        """Whether the reach is limited, so that probabilities and shots are exact at any width."""
        return self.reach != "all"

    @property
    def span(self) -> int:
        """Largest distance of two coupled qubits."""
        return self.n_qubits - 1 if self.reach == "all" else self.reach

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """The coupled pairs i < j in the order of their angles: (0,1), (0,2), ..., (1,2), ..."""
        n = self.n_qubits
        return [(i, j) for i in range(n) for j in range(i + 1, min(i + self.span + 1, n))]

    @property
    def n_params(self) -> int:
        """Number of angles."""
        n, span = self.n_qubits, self.span
        return n + span * n - span * (span + 1) // 2

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
        banded circuit lie in at most 2 R layers.
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
        rows, stride = len(bits), min(self.span, _STRIDE)
        moves = self._moves(theta, stride)  # (n / stride, 2**(R-stride), 2 * 2**stride, same)
        signs = _signs_of_outcomes(bits, stride, len(moves)).to(theta)  # (blocks, 2**stride, 1, m)
        window = _empty_window(self.span, rows, theta)  # (2**R, 2, m)
        log_norms = theta.new_zeros(rows)
        for block, (move, sign) in enumerate(zip(moves, signs, strict=True)):
            window = (_moved(window, move) * sign).view_as(window)
            if block % _BLOCKS_OF_A_SCALE == 0:
                # a scale that is divided out and added again has no gradient
                norms = torch.linalg.vector_norm(window.detach(), dim=(0, 1))
                norms = torch.where(norms > 0, norms, 1)
                window = window / norms
                log_norms = log_norms + norms.log()
        return 2 * log_norms + window.sum(0).square().sum(0).log()

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
        (signs,) = constants(theta, _signs, subsets.shape[1] - 1)
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

    @torch.no_grad()
    def sample(self, theta: Tensor, shots: int, rng: np.random.Generator) -> Tensor:
        """Draw bits uint8 [shots, n_qubits] from the exact distribution at angles [n_params].

        The bits of a banded circuit are drawn from left to right, each given those before it. Other
        circuits are drawn from their state vector. All is in double precision.

        Raises:
            ValueError: all pairs are coupled, and the state vector does not fit into memory.
        """
        theta = theta.double()
        if not self.is_banded:
            self.check_drawable()
            totals = self.probabilities(theta).cumsum(0)
            uniform = torch.from_numpy(rng.random(shots)).to(theta) * totals[-1]
            # rounding must not lead beyond the last string that can occur
            index = torch.searchsorted(totals, uniform, right=True).clamp_max(len(totals) - 1)
            return index_to_bits(index, self.n_qubits)
        uniform = torch.from_numpy(rng.random((self.n_qubits, shots))).to(theta)
        parts = uniform.split(max(1, _PART >> self.span), 1)
        return torch.cat([self._drawn(theta, part) for part in parts], 1).T.contiguous()

    def _drawn(self, theta: Tensor, uniform: Tensor) -> Tensor:
        """Return bits uint8 [n_qubits, shots] for uniform numbers in [0, 1) of that shape.

        The unseen bits of the rest are summed over. That forces equal signs in the state and in its
        conjugate, and what is left is a real matrix between two windows; see `_environment`.
        """
        angles, reach = self._band(theta, 1), self.span
        moves = self._moves(theta, 1)  # (n, 2**(R-1), 4, 4)
        (spins,) = constants(theta, _signs, reach)  # (2**R, R)
        # angle of the pair of qubit i - age and qubit i + ahead, at [i, age, ahead - 1]
        places = torch.arange(reach, device=theta.device)
        ahead = places + 1
        padded = torch.nn.functional.pad(angles, (0, reach, 0, reach))
        rows = torch.arange(self.n_qubits, device=theta.device)[:, None, None] + ahead
        future = padded[rows, ahead + places[:, None]]  # (n, R, R)
        window = _empty_window(reach, uniform.shape[1], theta)  # (2**R, 2, shots)
        bits = []
        for move, coupled, chance in zip(moves, future, uniform, strict=True):
            plus, minus = _moved(window, move).unbind(1)  # (2**(R-1), 2, shots) each
            environment = _environment(spins @ coupled / 2)
            seen = (environment @ minus.flatten(1)).view_as(minus)
            z = 4 * (plus * seen).sum((0, 1)).clamp(-0.25, 0.25)  # <Z> given the bits before
            ones = chance >= (1 + z) / 2
            sign = 1 - 2 * ones.to(theta)
            norms = ((1 + sign * z) / 2).sqrt()
            window = torch.stack([plus, minus * sign], 1).view_as(window) / norms
            bits.append(ones)
        return torch.stack(bits).to(torch.uint8)

    def _band(self, theta: Tensor, stride: int) -> Tensor:
        """Return the angles [n, 1 + R] of each qubit and of its pairs with the R before it.

        They are filled up with zeros, at the start and to a multiple of `stride` qubits.
        """
        (places,) = constants(theta, _places, self, stride)
        return torch.cat([theta, theta.new_zeros(1)])[places]

    def _moves(self, theta: Tensor, stride: int) -> Tensor:
        """Return the matrices that move the window on by `stride` qubits, before their outcomes.

        They are real, of shape [n / stride, 2**(R-stride), 2 * 2**stride, 2 * 2**stride]: for the
        signs that stay, from the real and imaginary parts at the signs that leave the window to
        those at the signs that enter it.
        """
        angles = self._band(theta, stride).reshape(-1, stride * (1 + self.span))
        (products,) = constants(theta, _products, self.span, stride)
        phases = -angles @ products.to(theta).T / 2  # (blocks, 2**(R+stride))
        size = 2**stride
        # (blocks, staying, entering, leaving)
        phases = phases.view(len(angles), size, -1, size).permute(0, 2, 3, 1)
        real, imaginary = phases.cos() / size, phases.sin() / size
        rows = torch.stack([real, -imaginary], -1), torch.stack([imaginary, real], -1)
        return torch.stack(rows, 3).reshape(len(angles), -1, 2 * size, 2 * size)


def _window_bytes(n_qubits: int, reach: int) -> int:
    """Return the bytes of the windows of a differentiated batch, and of an environment."""
    # four windows float32 of each step are kept, and three matrices float64 are in work
    return 32 * 2**reach * BATCH * n_qubits // _STRIDE + 24 * 4 ** max(reach - 1, 0)


def _empty_window(reach: int, rows: int, like: Tensor) -> Tensor:
    """Return amplitudes [2**reach, 2, rows] before the first qubit: all signs are +1."""
    window = like.new_zeros(2**reach, 2, rows)
    window[0, 0] = 1
    return window


def _moved(window: Tensor, move: Tensor) -> Tensor:
    """Return the window [2**R, 2, m] moved on, [staying, entering, 2, m]."""
    staying, size, rows = len(move), move.shape[-1] // 2, window.shape[-1]
    leaving = window.view(size, staying, 2, rows).transpose(0, 1)
    return torch.bmm(move, leaving.reshape(staying, 2 * size, rows)).view(staying, size, 2, rows)


def _environment(turns: Tensor) -> Tensor:
    """Return the weights [2**(R-1), 2**(R-1)] of two windows whose newest signs are +1 and -1.

    Args:
        turns: half of the angles [2**R, R] by which a window turns each qubit after it.
    """
    weights = turns.new_ones(())
    for column in turns.T:
        weights = weights * (column[0::2, None] - column[1::2]).cos()
    return weights


def _signs_of_outcomes(bits: Tensor, stride: int, blocks: int) -> Tensor:
    """Return prod s_i^x_i [blocks, 2**stride, 1, m] of the signs s that enter with each block."""
    rows, n = bits.shape
    padded = bits.new_zeros(rows, blocks * stride)
    padded[:, :n] = bits
    entering = padded.view(rows, blocks, stride).flip(-1)  # the newest first
    (strings,) = constants(bits, _strings, stride)  # (2**stride, stride)
    ones = strings @ entering.permute(1, 2, 0).double()  # (blocks, 2**stride, m)
    return 1 - 2 * ones[:, :, None].remainder(2)


@lru_cache(maxsize=64)
def _strings(n: int) -> tuple[NDArray[np.float64]]:
    """Return all bitstrings [2**n, n]."""
    return ((np.arange(2**n)[:, None] >> np.arange(n) & 1).astype(np.float64),)


@lru_cache(maxsize=64)
def _signs(n: int) -> tuple[NDArray[np.float64]]:
    """Return the signs (-1)**bit of all bitstrings [2**n, n]."""
    return (1 - 2 * _strings(n)[0],)


@lru_cache(maxsize=64)
def _products(reach: int, stride: int) -> tuple[NDArray[np.float64]]:
    """Return what the angles of a block are multiplied by, [2**(R+stride), stride * (1+R)].

    Bit t of the row is the sign of age t, so that the newest is the lowest bit. A column is the
    sign of a qubit of the block, or its product with the sign of one of the R qubits before it.
    """
    (signs,) = _signs(reach + stride)
    columns = []
    for age in reversed(range(stride)):
        before = signs[:, age + 1 : age + 1 + reach]
        columns += [signs[:, age, None], signs[:, age, None] * before]
    return (np.concatenate(columns, 1),)


@lru_cache(maxsize=64)
def _pairs(circuit: IQPCircuit) -> tuple[NDArray[np.int64]]:
    """Return the pairs as columns of an array [2, pairs]."""
    return (np.array(circuit.pairs, np.int64).reshape(-1, 2).T,)


@lru_cache(maxsize=64)
def _places(circuit: IQPCircuit, stride: int) -> tuple[NDArray[Any]]:
    """Return the places in theta of the angles of `IQPCircuit._band`."""
    n, reach = circuit.n_qubits, circuit.span
    places = np.full((math.ceil(n / stride) * stride, 1 + reach), circuit.n_params)
    places[:n, 0] = np.arange(n)
    first, second = _pairs(circuit)[0]
    places[second, second - first] = n + np.arange(len(first))
    return (places,)
