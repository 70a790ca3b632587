"""The compiler of the exact engine: segments of one-qubit gates, and entanglers between them.

A segment is one 2 x 2 matrix per qubit, the product of the one-qubit layers there. An entangler is
a vector: of phases if it is diagonal (RZZ, CZ), of indices if it permutes bitstrings (CX). RXX on
all pairs is RZZ in the Walsh-Hadamard basis. The Hadamards on both sides of RZZ become part of the
neighbouring segments and cost nothing.

Programs and vectors are computed once and kept. They are made outside torch's inference mode, so
that autograd can use them later.
"""

from __future__ import annotations

import math
from functools import lru_cache
from itertools import combinations
from typing import NamedTuple

import torch
from torch import Tensor

from qcaan.circuits.ansatz import COUPLINGS, ROTATIONS, Ansatz, acted_on, fixed_pairs

H = torch.tensor([[1, 1], [1, -1]], dtype=torch.complex128) / math.sqrt(2)
PAULI = {
    "rx": torch.tensor([[0, 1], [1, 0]], dtype=torch.complex128),
    "ry": torch.tensor([[0, -1j], [1j, 0]], dtype=torch.complex128),
    "rz": torch.tensor([[1, 0], [0, -1]], dtype=torch.complex128),
}
_IDENTITY, _ZERO = torch.eye(2, dtype=torch.complex128), torch.zeros(2, 2, dtype=torch.complex128)


class Program(NamedTuple):
    """A compiled ansatz of P angles: S segments of R rotations each, and E layers of couplings.

    Angle number P stands for a zero: theta gets one column of zeros at its end. Rotation r of
    segment s is cos(angle / 2) * cosines[r, s] + sin(angle / 2) * sines[r, s], on each qubit. The
    phases of the couplings are `parities` times coefficients. The coefficients are theta times
    `couplings`, at each setting of the lower third of the qubits ("low" of them).
    """

    cosines: Tensor  # complex [R, S, 1, 2, 2]
    sines: Tensor  # complex [R, S, 1, 2, 2]
    angles: Tensor  # int64 [R, S, n], places in theta
    idle: tuple[bool, ...]  # S of them: whether nothing happens in a segment
    entanglers: tuple[str | int, ...]  # S - 1 of them: a layer, or a row among the E couplings
    parities: Tensor  # real [2**(n - low), F], signs of the upper qubits
    couplings: Tensor  # real [P + 1, E * F * 2**low]


class _Rotation(NamedTuple):
    """A layer of a segment: cos(angle / 2) * cosine + sin(angle / 2) * sine on each qubit."""

    cosine: Tensor  # complex [2, 2]
    sine: Tensor  # complex [2, 2]
    places: list[int]  # n of them: places of the angles in theta


@lru_cache(maxsize=64)
@torch.inference_mode(False)
def compile_ansatz(ansatz: Ansatz, dtype: torch.dtype, device: torch.device) -> Program:
    """Return the program of an ansatz, for angles of a dtype on a device."""
    n, zero = ansatz.n_qubits, ansatz.n_params
    parities, subsets = _parities(n)
    segments: list[list[_Rotation]] = []
    entanglers: list[str | int] = []
    couplings: list[Tensor] = []

    def open_segment(constant: Tensor) -> None:
        segments.append([_Rotation(constant, _ZERO, [zero] * n)])

    def multiply(constant: Tensor) -> None:
        cosine, sine, places = segments[-1][-1]
        segments[-1][-1] = _Rotation(constant @ cosine, constant @ sine, places)

    open_segment(_IDENTITY)
    start = 0
    for layer, size in zip(ansatz.layers, ansatz.layer_sizes, strict=True):
        gate, qubits = acted_on(layer, n)
        if gate == "h":
            multiply(H)
        elif gate in ROTATIONS:
            places = [start + qubits.index(q) if q in qubits else zero for q in range(n)]
            segments[-1].append(_Rotation(_IDENTITY, -1j * PAULI[gate], places))
        elif gate in COUPLINGS:
            around = H if gate == "rxx" else _IDENTITY
            multiply(around)
            entanglers.append(len(couplings))
            couplings.append(_coupling(n, qubits, start, zero + 1, subsets))
            open_segment(around)
        else:
            entanglers.append(layer)
            open_segment(_IDENTITY)
        start += size

    idle = tuple(len(segment) == 1 and segment[0][0] is _IDENTITY for segment in segments)
    table = _table(segments, _Rotation(_IDENTITY, _ZERO, [zero] * n))
    cosines = torch.stack([torch.stack([cosine for cosine, _, _ in row]) for row in table])
    sines = torch.stack([torch.stack([sine for _, sine, _ in row]) for row in table])
    columns = [torch.zeros(zero + 1, 0), *(coupling.flatten(1) for coupling in couplings)]
    kind = torch.complex64 if dtype == torch.float32 else torch.complex128
    return Program(
        cosines[:, :, None].to(device, kind),
        sines[:, :, None].to(device, kind),
        torch.tensor([[places for _, _, places in row] for row in table], device=device),
        idle,
        tuple(entanglers),
        parities.to(device, dtype),
        torch.cat(columns, 1).to(device, dtype),
    )


@lru_cache(maxsize=64)
@torch.inference_mode(False)
def cz_signs(n: int, layer: str, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return the diagonal [2**n] of CZ on the pairs of a layer."""
    index = torch.arange(2**n, device=device)
    flips = torch.zeros_like(index)
    for i, j in fixed_pairs(layer, n):
        flips ^= (index >> i) & (index >> j) & 1
    return (1 - 2 * flips).to(dtype)


@lru_cache(maxsize=64)
@torch.inference_mode(False)
def cx_index(n: int, layer: str, device: torch.device) -> Tensor:
    """Return, for every bitstring after CX on the pairs of a layer, the one before it, [2**n]."""
    index = torch.arange(2**n, device=device)
    for control, target in reversed(fixed_pairs(layer, n)):
        index = index ^ ((index >> control & 1) << target)
    return index


def _table(segments: list[list[_Rotation]], padding: _Rotation) -> list[list[_Rotation]]:
    """Return the rotations of all segments as rows of a table, with a segment for each column.

    The constant that opens a segment becomes part of its first rotation.
    """
    merged = []
    for opening, *rotations in segments:
        if rotations:
            cosine, sine, places = rotations[0]
            first = _Rotation(cosine @ opening.cosine, sine @ opening.cosine, places)
            merged.append([first, *rotations[1:]])
        else:
            merged.append([opening])
    depth = max(map(len, merged))
    return [
        [segment[r] if r < len(segment) else padding for segment in merged] for r in range(depth)
    ]


def _coupling(
    n: int, qubits: range, start: int, n_rows: int, subsets: list[tuple[int, ...]]
) -> Tensor:
    """Return the coefficients [n_rows, F, 2**low] of a layer of couplings at each angle.

    Its angles stand in theta from `start` on.
    """
    low = n // 3
    coupling = torch.zeros(n_rows, len(subsets), 2**low, dtype=torch.float64)
    for row, pair in enumerate(combinations(qubits, 2), start=start):
        lower = [q for q in pair if q < low]
        upper = tuple(q for q in pair if q >= low)
        coupling[row, subsets.index(upper)] = -_signs(low)[:, lower].prod(1) / 2
    return coupling


def _parities(n: int) -> tuple[Tensor, list[tuple[int, ...]]]:
    """Return the sets of at most two of the upper qubits, and their signs [2**(n - n // 3), F].

    The sign of a set is the product of (-1)**bit over its qubits. The phase of a bitstring under
    all couplings of pairs is a quadratic form of its n signs. Cut between the lower third of the
    qubits and the others, the form is one product of matrices, none of them as large as [2**n, n].
    """
    low = n // 3
    signs = _signs(n - low)
    subsets = [subset for size in range(3) for subset in combinations(range(low, n), size)]
    columns = [signs[:, [q - low for q in subset]].prod(1) for subset in subsets]
    return torch.stack(columns, 1), subsets


def _signs(n: int) -> Tensor:
    """Return (-1)**bit of every qubit in every bitstring, float64 [2**n, n]."""
    return (1 - 2 * (torch.arange(2**n)[:, None] >> torch.arange(n) & 1)).double()
