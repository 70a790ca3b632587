"""The compiler of the exact engine: segments of one-qubit gates, and entanglers between them.

A segment is one 2 x 2 matrix per qubit, the product of the one-qubit layers there. An entangler is
a vector: of phases if it is diagonal (RZZ, CZ), of indices if it permutes bitstrings (CX). RXX on
all pairs is RZZ in the Walsh-Hadamard basis. The Hadamards on both sides of RZZ become part of the
neighbouring segments and cost nothing.

Programs and vectors are computed once and kept, as NumPy arrays. A tensor that is made under
`torch.inference_mode`, a transform of `torch.func` or a fake mode is of no use after it. So
`constants` makes tensors of the arrays at each call; on the CPU they share the memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import combinations
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from qcaan.circuits.ansatz import COUPLINGS, ROTATIONS, Ansatz, acted_on, fixed_pairs

Array: TypeAlias = NDArray[Any]
Compute: TypeAlias = Callable[..., tuple[Array, ...]]

H = np.array([[1, 1], [1, -1]], np.complex128) / math.sqrt(2)
PAULI = {
    "rx": np.array([[0, 1], [1, 0]], np.complex128),
    "ry": np.array([[0, -1j], [1j, 0]], np.complex128),
    "rz": np.array([[1, 0], [0, -1]], np.complex128),
}
_IDENTITY, _ZERO = np.eye(2, dtype=np.complex128), np.zeros((2, 2), np.complex128)


class Program(NamedTuple):
    """A compiled ansatz of P angles: S segments of R rotations each, and E layers of couplings.

    Angle number P stands for a zero: theta gets one column of zeros at its end. Rotation r of
    segment s is cos(angle / 2) * cosines[r, s] + sin(angle / 2) * sines[r, s], on each qubit. The
    phases of the couplings are `parities` times coefficients. The coefficients are theta times
    `couplings`, at each setting of the lower third of the qubits ("low" of them).
    """

    idle: tuple[bool, ...]  # S of them: whether nothing happens in a segment
    entanglers: tuple[str | int, ...]  # S - 1 of them: a layer, or a row among the E couplings
    cosines: Array  # complex [R, S, 1, 2, 2]
    sines: Array  # complex [R, S, 1, 2, 2]
    angles: Array  # int64 [R, S, n], places in theta
    parities: Array  # real [2**(n - low), F], signs of the upper qubits
    couplings: Array  # real [P + 1, E * F * 2**low]


class _Rotation(NamedTuple):
    """A layer of a segment: cos(angle / 2) * cosine + sin(angle / 2) * sine on each qubit."""

    cosine: Array  # complex [2, 2]
    sine: Array  # complex [2, 2]
    places: list[int]  # n of them: places of the angles in theta


def constants(beside: Tensor | Array, compute: Compute, *key: Hashable) -> tuple[Any, ...]:
    """Return the arrays `compute(*key)` as they are, or as tensors on the device of another tensor.

    Copies on a GPU are kept, unless that tensor has no values, as a fake tensor.
    """
    if not isinstance(beside, Tensor):
        return compute(*key)
    plain = type(beside) in (Tensor, nn.Parameter)
    make = _kept_tensors if plain and beside.device.type != "cpu" else _tensors
    return make(beside.device, compute, *key)


def _tensors(device: torch.device, compute: Compute, *key: Hashable) -> tuple[Tensor, ...]:
    return tuple(torch.from_numpy(array).to(device) for array in compute(*key))


@lru_cache(maxsize=64)
def _kept_tensors(device: torch.device, compute: Compute, *key: Hashable) -> tuple[Tensor, ...]:
    # torch's modes and transforms belong to a thread, so a new thread has none of them
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(_tensors, device, compute, *key).result()


@lru_cache(maxsize=64)
def compile_ansatz(ansatz: Ansatz, single: bool) -> Program:
    """Return the program of an ansatz, in single or in double precision."""
    n, zero = ansatz.n_qubits, ansatz.n_params
    parities, subsets = _parities(n)
    segments: list[list[_Rotation]] = []
    entanglers: list[str | int] = []
    couplings: list[Array] = []

    def open_segment(constant: Array) -> None:
        segments.append([_Rotation(constant, _ZERO, [zero] * n)])

    def multiply(constant: Array) -> None:
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
    cosines = np.array([[cosine for cosine, _, _ in row] for row in table])
    sines = np.array([[sine for _, sine, _ in row] for row in table])
    columns = [np.zeros((zero + 1, 0)), *(coupling.reshape(zero + 1, -1) for coupling in couplings)]
    real, kind = (np.float32, np.complex64) if single else (np.float64, np.complex128)
    return Program(
        idle,
        tuple(entanglers),
        cosines[:, :, None].astype(kind),
        sines[:, :, None].astype(kind),
        np.array([[places for _, _, places in row] for row in table], np.int64),
        parities.astype(real),
        np.concatenate(columns, 1).astype(real),
    )


def program_arrays(ansatz: Ansatz, single: bool) -> tuple[Array, ...]:
    """Return the arrays of the program of an ansatz, from `cosines` to `couplings`."""
    return compile_ansatz(ansatz, single)[2:]


@lru_cache(maxsize=64)
def cz_signs(n: int, layer: str) -> tuple[Array]:
    """Return the diagonal int8 [2**n] of CZ on the pairs of a layer."""
    index = np.arange(2**n)
    flips = np.zeros_like(index)
    for i, j in fixed_pairs(layer, n):
        flips ^= (index >> i) & (index >> j) & 1
    return ((1 - 2 * flips).astype(np.int8),)


@lru_cache(maxsize=64)
def cx_index(n: int, layer: str) -> tuple[Array]:
    """Return, for every bitstring after CX on the pairs of a layer, the one before it, [2**n]."""
    index = np.arange(2**n)
    for control, target in reversed(fixed_pairs(layer, n)):
        index = index ^ ((index >> control & 1) << target)
    return (index,)


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
) -> Array:
    """Return the coefficients [n_rows, F, 2**low] of a layer of couplings at each angle.

    Its angles stand in theta from `start` on.
    """
    low = n // 3
    coupling = np.zeros((n_rows, len(subsets), 2**low))
    for row, pair in enumerate(combinations(qubits, 2), start=start):
        lower = [q for q in pair if q < low]
        upper = tuple(q for q in pair if q >= low)
        coupling[row, subsets.index(upper)] = -_signs(low)[:, lower].prod(1) / 2
    return coupling


def _parities(n: int) -> tuple[Array, list[tuple[int, ...]]]:
    """Return the sets of at most two of the upper qubits, and their signs [2**(n - n // 3), F].

    The sign of a set is the product of (-1)**bit over its qubits. The phase of a bitstring under
    all couplings of pairs is a quadratic form of its n signs. Cut between the lower third of the
    qubits and the others, the form is one product of matrices, none of them as large as [2**n, n].
    """
    low = n // 3
    signs = _signs(n - low)
    subsets = [subset for size in range(3) for subset in combinations(range(low, n), size)]
    columns = [signs[:, [q - low for q in subset]].prod(1) for subset in subsets]
    return np.stack(columns, 1), subsets


def _signs(n: int) -> Array:
    """Return (-1)**bit of every qubit in every bitstring, float64 [2**n, n]."""
    return 1.0 - 2 * (np.arange(2**n)[:, None] >> np.arange(n) & 1)
