"""Banded IQP circuits at any width, exactly, by a window of the signs of a few qubits.

All gates between the Hadamards are diagonal, and each couples qubits at most R places apart. The
sum over the signs of the qubits is taken from left to right, and a window of R signs is all that is
kept of it. A label's qubits are coupled to all others, so their signs stay beside the window: at
each of their 2**L signs, the others are a banded circuit with other angles of RZ.

Everything has the precision and the device of the angles.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad

from qcaan.bits import all_bitstrings, index_to_bits
from qcaan.circuits.program import constants

# number of qubits that the window moves on at once, where that is fastest
_STRIDE = 3
# number of such moves between which no amplitude leaves the range of float32
_BLOCKS_OF_A_SCALE = 4
# elements of the windows of a part of the shots
_PART = 2**17


class Label(NamedTuple):
    """The L qubits of a label at each of their signs; without a label, L = 0.

    Attributes:
        amplitudes: [2**L, 2], real and imaginary parts, with the phases of the label's own gates.
        turns: angles [2**L, n] by which the signs turn each of the n other qubits.
    """

    amplitudes: Tensor
    turns: Tensor

    @property
    def n_qubits(self) -> int:
        """Number of qubits L."""
        return len(self.turns).bit_length() - 1

    def probabilities(self) -> Tensor:
        """Return the distribution [2**L] of the label's bits, in the order of their indices."""
        half = self.turns / 2
        # the sum over the others' bits forces equal signs in the state and in its conjugate
        overlaps = (half[:, None] - half).cos().prod(-1)
        density = self.amplitudes @ self.amplitudes.T * overlaps
        signs = _signs_of_labels(all_bitstrings(self.n_qubits, half.device)).to(half)
        probs = ((signs.T @ density) * signs.T).sum(1).clamp_min(0)
        return probs / probs.sum()


class Band(NamedTuple):
    """A banded circuit of n qubits, beside those of a label.

    Attributes:
        angles: [n, 1 + R], of each qubit and of its pairs with the R before it; 0 for no pair.
        label: the qubits of the label.
    """

    angles: Tensor
    label: Label

    @property
    def reach(self) -> int:
        """Largest distance R of two coupled qubits."""
        return self.angles.shape[1] - 1

    def log_probs(self, bits: Tensor) -> Tensor:
        """Return the logarithms [m] of the probabilities of bits [m, L + n], the label's first."""
        stride = min(self.reach, _STRIDE)
        blocks = math.ceil(len(self.angles) / stride)
        moves = self._moves(stride, blocks)
        labels, others = bits.tensor_split([self.label.n_qubits], 1)
        # (blocks, 2**stride, 1, m)
        signs = _signs_of_outcomes(others, stride, blocks).to(self.angles)
        # the amplitudes of the label's signs are added last, with their phases
        start = self.label.amplitudes[..., None] * _signs_of_labels(labels)[:, None].to(moves)
        window = _first_window(start, self.reach)  # (2**L, 2**R, 2, m)
        log_norms = moves.new_zeros(len(bits))
        for block, (move, sign) in enumerate(zip(moves, signs, strict=True)):
            window = (_moved(window, move) * sign).view_as(window)
            if block % _BLOCKS_OF_A_SCALE == 0:
                # a scale that is divided out and added again has no gradient
                norms = torch.linalg.vector_norm(window.detach(), dim=(0, 1, 2))
                norms = torch.where(norms > 0, norms, 1)
                window = window / norms
                log_norms = log_norms + norms.log()
        return 2 * log_norms + window.sum((0, 1)).square().sum(0).log()

    def sample(self, labels: Tensor, uniform: Tensor) -> Tensor:
        """Draw the bits uint8 [shots, n] of the qubits beside a label, from left to right.

        Args:
            labels: indices int64 [shots] of the label's bits; each occurs with a probability.
            uniform: uniform numbers in [0, 1) [n, shots].
        """
        chances = self.label.probabilities()
        moves = self._moves(1, len(self.angles) + self.reach)
        first = _first_window(self.label.amplitudes[..., None], self.reach)
        for move in moves[: self.reach]:
            first = _moved(first, move).view_as(first)
        overlaps = self._overlaps()
        size = max(1, _PART // (len(first) << self.reach))
        parts = []
        for part, chance in zip(labels.split(size), uniform.split(size, 1), strict=True):
            signs = _signs_of_labels(index_to_bits(part, self.label.n_qubits)).to(first)
            window = first * signs[:, None, None] / chances[part].sqrt()
            parts.append(_drawn(window, moves[self.reach :], overlaps, chance))
        return torch.cat(parts, 1).T

    def _overlaps(self) -> Tensor:
        """Return the overlaps [n, 2**L, 2**L] of the qubits beyond each qubit's window.

        They are those of the state and of its conjugate at two signs of the label, where the qubit
        itself has the signs +1 and -1. Of the qubits beyond the window, only the first is coupled
        to that qubit, and all are coupled to the label.
        """
        reach = self.reach
        half = pad(self.label.turns, (0, reach)) / 2
        gaps = half[:, None] - half  # (2**L, 2**L, n + R)
        later = gaps[..., reach + 1 :].cos().flip(-1).cumprod(-1).flip(-1)
        farthest = pad(self.angles[reach:, reach], (0, reach))  # angles of pairs R places apart
        return ((farthest + gaps[..., reach:]).cos() * pad(later, (0, 1), value=1)).movedim(-1, 0)

    def _moves(self, stride: int, blocks: int) -> Tensor:
        """Return the matrices that move the window on by `stride` qubits, before their outcomes.

        They are real, of shape [blocks, 2**L * 2**(R-stride), 2 * 2**stride, 2 * 2**stride]: for
        the signs of the label and those that stay, from the real and imaginary parts at the signs
        that leave the window to those at the signs that enter it. Beyond the last qubit, all angles
        are 0.
        """
        size, missing = 2**stride, blocks * stride - len(self.angles)
        band = pad(self.angles, (0, 0, 0, missing)).view(blocks, 1, stride, -1)
        turns = pad(self.label.turns, (0, missing)).view(-1, blocks, stride, 1).transpose(0, 1)
        angles = band + pad(turns, (0, self.reach))  # (blocks, 2**L, stride, 1 + R)
        (products,) = constants(angles, _products, self.reach, stride)
        phases = -angles.flatten(2).flatten(0, 1) @ products.to(angles).T / 2
        # (blocks * 2**L, staying, entering, leaving)
        phases = phases.view(len(phases), size, -1, size).permute(0, 2, 3, 1)
        real, imaginary = phases.cos() / size, phases.sin() / size
        rows = torch.stack([real, -imaginary], -1), torch.stack([imaginary, real], -1)
        return torch.stack(rows, 3).reshape(blocks, -1, 2 * size, 2 * size)


def window_bytes(n_qubits: int, reach: int, n_labels: int, rows: int) -> int:
    """Return the bytes of the windows of a differentiated batch of `rows`, and of overlaps."""
    # four windows float32 of each step are kept, and three arrays float64 are in work
    return (32 * 2 ** (reach + n_labels) * rows // _STRIDE + 24 * 4**n_labels) * n_qubits


def _drawn(window: Tensor, moves: Tensor, overlaps: Tensor, uniform: Tensor) -> Tensor:
    """Return bits uint8 [n, shots], each drawn given those before it.

    The window runs ahead of the outcomes: it holds the signs of the qubit that is drawn and of the
    R - 1 after it. Unseen bits are summed over. That forces equal signs in the state and in its
    conjugate, which then differ only in the signs of the qubit that is drawn and of the label.

    Args:
        window: [2**L, 2**R, 2, shots], at the first qubit.
        moves, overlaps: see `Band`.
        uniform: uniform numbers in [0, 1) [n, shots].
    """
    bits = []
    for move, overlap, chance in zip(moves, overlaps, uniform, strict=True):
        plus, minus = window.chunk(2, 1)  # (2**L, 2**(R-1), 2, shots) each
        seen = (overlap @ minus.flatten(1)).view_as(minus)
        # <Z> given the bits before
        z = (2 * window.shape[1] * (plus * seen).sum((0, 1, 2))).clamp(-1, 1)
        ones = chance >= (1 + z) / 2
        sign = 1 - 2 * ones.to(z)
        minus *= sign
        window /= ((1 + sign * z) / 2).sqrt()
        window = _moved(window, move).view_as(window)
        bits.append(ones)
    return torch.stack(bits).to(torch.uint8)


def _first_window(amplitudes: Tensor, reach: int) -> Tensor:
    """Return the window [2**L, 2**R, 2, m] before the first qubit: all signs there are +1.

    Args:
        amplitudes: those of the label [2**L, 2, m].
        reach: number R of qubits in the window.
    """
    return pad(amplitudes[:, None], (0, 0, 0, 0, 0, 2**reach - 1))


def _moved(window: Tensor, move: Tensor) -> Tensor:
    """Return the window [2**L, 2**R, 2, m] moved on, [2**L, staying, entering, 2, m]."""
    labels, size, rows = len(window), move.shape[-1] // 2, window.shape[-1]
    staying = len(move) // labels
    leaving = window.view(labels, size, staying, 2, rows).transpose(1, 2)
    moved = torch.bmm(move, leaving.reshape(len(move), 2 * size, rows))
    return moved.view(labels, staying, size, 2, rows)


def _signs_of_labels(bits: Tensor) -> Tensor:
    """Return prod s_i^x_i [2**L, m] of all signs s of a label, and its bits x [m, L]."""
    (strings,) = constants(bits, _strings, bits.shape[1])
    return 1 - 2 * (strings @ bits.T.double()).remainder(2)


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
def all_signs(n: int) -> tuple[NDArray[np.float64]]:
    """Return the signs (-1)**bit of all bitstrings [2**n, n]."""
    return (1 - 2 * _strings(n)[0],)


@lru_cache(maxsize=64)
def _products(reach: int, stride: int) -> tuple[NDArray[np.float64]]:
    """Return what the angles of a block are multiplied by, [2**(R+stride), stride * (1+R)].

    Bit t of the row is the sign of age t, so that the newest is the lowest bit. A column is the
    sign of a qubit of the block, or its product with the sign of one of the R qubits before it.
    """
    (signs,) = all_signs(reach + stride)
    columns = []
    for age in reversed(range(stride)):
        before = signs[:, age + 1 : age + 1 + reach]
        columns += [signs[:, age, None], signs[:, age, None] * before]
    return (np.concatenate(columns, 1),)
