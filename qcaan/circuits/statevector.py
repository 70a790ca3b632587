"""Exact probabilities of an `Ansatz` in torch: batched over parameter sets, differentiable, on any device.

Layers, not gates, are the unit. A circuit is compiled to alternating segments and entanglers. A segment is one 2 x 2 matrix
per qubit, the product of the one-qubit layers there, and is applied as Kronecker blocks of a few qubits. An entangler is a
vector: of phases where it is diagonal (RZZ, CZ), an index where it permutes (CX). RXX on all pairs is RZZ in the
Walsh-Hadamard basis, and the Hadamards on both sides of it go into the neighbouring segments for nothing.

Index k of a state or of probabilities has qubit 0 as its lowest bit. Angles are in radians.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from functools import lru_cache
from itertools import combinations
from typing import NamedTuple

import torch
from torch import Tensor

from qcaan.bits import walsh_hadamard
from qcaan.circuits.ansatz import (
    COUPLINGS,
    PREPARATION,
    ROTATIONS,
    Ansatz,
    acted_on,
    basis_params,
    check_bases,
    fixed_pairs,
)

_BLOCK = (
    4  # qubits in a Kronecker block: 16 x 16 matrices keep a core busy, larger ones waste its work
)
_H = torch.tensor([[1, 1], [1, -1]], dtype=torch.complex128) / math.sqrt(2)
_PAULI = {
    "rx": torch.tensor([[0, 1], [1, 0]], dtype=torch.complex128),
    "ry": torch.tensor([[0, -1j], [1j, 0]], dtype=torch.complex128),
    "rz": torch.tensor([[1, 0], [0, -1]], dtype=torch.complex128),
}


class _Program(NamedTuple):
    """A compiled ansatz of P angles. Angle number P stands for a zero: theta gets one column of zeros appended."""

    cosines: Tensor  # complex [R, S, 1, 2, 2]: rotation r of segment s is cos(angle / 2) * this
    sines: Tensor  # complex [R, S, 1, 2, 2]: + sin(angle / 2) * this
    angles: Tensor  # int64 [R, S, n]: places in theta
    idle: tuple[bool, ...]  # S of them: whether nothing happens there
    entanglers: tuple[
        str | int, ...
    ]  # S - 1 of them: a name, or the row among the E couplings, whose phases are
    parities: Tensor  # real [2**(n - low), F]: signs of the upper qubits, times
    couplings: Tensor  # real [P + 1, E * F * 2**low]: angles to coefficients at each setting of the lower ones


def amplitudes(ansatz: Ansatz, theta: Tensor, initial: Tensor | None = None) -> Tensor:
    """States U(theta) |initial>, complex [K, 2**n], of K parameter sets [K, at least n_params] in float32 or float64.

    Args:
        ansatz: the circuit U.
        theta: angles in radians.
        initial: amplitudes [K, 2**n], complex of theta's precision; |0...0> if None. One state or one parameter set for
            all of the other is not computed more than once.

    Raises:
        ValueError: theta of another shape or dtype, or more than memory holds.
    """
    if (
        theta.ndim != 2
        or theta.shape[1] < ansatz.n_params
        or theta.dtype not in (torch.float32, torch.float64)
    ):
        raise ValueError(
            f"theta must be float32 or float64 [K, {ansatz.n_params}], got {theta.dtype} {list(theta.shape)}"
        )
    n = ansatz.n_qubits
    n_couplings = sum(acted_on(layer, n)[0] in COUPLINGS for layer in ansatz.layers)
    if ansatz.layers[:1] == (PREPARATION,):
        initial, theta = _real_state(theta[:, : 2**n - 1]), theta[:, 2**n - 1 :]
        ansatz = Ansatz(n, ansatz.layers[1:])
    rows = max(len(theta), 1 if initial is None else len(initial))
    _check_memory(n, rows, n_couplings, theta)
    program = _compile(ansatz, theta.dtype, theta.device)
    padded = torch.cat(
        [theta[:, : ansatz.n_params], theta.new_zeros(len(theta), 1)], 1
    )  # (K, P + 1)

    # index_select: the gradient of indexing by a tensor is several times slower
    half = (
        padded.index_select(1, program.angles.flatten()).view(-1, *program.angles.shape, 1, 1) / 2
    )  # (K, R, S, n, 1, 1)
    rotations = half.cos() * program.cosines + half.sin() * program.sines  # (K, R, S, n, 2, 2)
    matrices, *later = rotations.unbind(1)  # (K, S, n, 2, 2)
    for rotation in later:
        matrices = rotation @ matrices

    phases = _phases(program, padded, n) if n_couplings else padded  # (K, E, 2**n)

    entanglers, idle = program.entanglers, program.idle
    if initial is None:  # the first segment acts on |0...0>: a product state
        state, *higher = matrices[:, 0, :, :, 0].unbind(1)  # each (K, 2)
        for qubit in higher:
            state = (qubit[:, :, None] * state[:, None, :]).flatten(1)
        matrices, idle = matrices[:, 1:], idle[1:]
    else:
        state, entanglers = initial, ("", *entanglers)
    segments = zip(
        *(block.unbind(1) for block in _kronecker_blocks(matrices)), strict=True
    )  # of (K, 2**g, 2**g)
    for entangler, nothing, blocks in zip(entanglers, idle, segments, strict=True):
        if isinstance(entangler, int):
            state = state * phases[:, entangler]
        elif entangler.startswith("cz"):
            state = state * _cz_signs(n, entangler, theta.dtype, theta.device)
        elif entangler:
            state = state.index_select(1, _cx_index(n, entangler, theta.device))
        if not nothing:
            state = _apply(blocks, state)
    return state.expand(rows, -1)


def probabilities(ansatz: Ansatz, theta: Tensor, basis: str = "z") -> Tensor:
    """Probabilities [K, 2**n] of bitstrings measured in `basis`; see `all_probabilities`."""
    return all_probabilities(ansatz, theta, (basis,))[:, 0]


def all_probabilities(ansatz: Ansatz, theta: Tensor, bases: tuple[str, ...]) -> Tensor:
    """Probabilities [K, n_bases, 2**n] of one state measured in several bases, in theta's dtype and on its device.

    Args:
        ansatz: the circuit.
        theta: angles [K, P] in radians, float32 or float64; the n of basis `t`, where it is asked for, stand at the end.
        bases: different ones of z, o, t.

    Raises:
        ValueError: unknown bases, theta of another shape or dtype, or more than memory holds.
    """
    check_bases(bases)
    n, n_params = ansatz.n_qubits, ansatz.n_params + basis_params(ansatz.n_qubits, bases)
    if theta.shape[-1] < n_params:
        raise ValueError(
            f"theta must have {n_params} angles for bases {' '.join(bases)}, got {theta.shape[-1]}"
        )
    state = amplitudes(ansatz, theta)  # (K, 2**n)
    measured = []
    for basis in bases:
        turned = state
        if basis != "z":
            angles = (
                theta[:, n_params - n : n_params]
                if basis == "t"
                else theta.new_full((1, n), math.pi / 2)
            )
            half = angles[:, :, None, None] / 2
            pauli = _PAULI["rx"].to(state)
            matrices = (
                half.cos() * torch.eye(2, dtype=state.dtype, device=state.device)
                - 1j * half.sin() * pauli
            )
            turned = _apply(_kronecker_blocks(matrices), state)
        measured.append(squared(turned))
    return torch.stack(measured, 1)


def _phases(program: _Program, padded: Tensor, n: int) -> Tensor:
    """Phases exp(i ...), complex [K, E, 2**n], of the E layers of couplings at angles [K, P + 1]."""
    shape = (-1, program.parities.shape[1], 2 ** (n // 3))
    coefficients = (padded @ program.couplings).unflatten(1, shape)
    angles = (program.parities @ coefficients).flatten(2)  # (K, E, 2**n)
    return torch.complex(angles.cos(), angles.sin())  # torch.polar takes two to eight times as long


def squared(state: Tensor) -> Tensor:
    """Probabilities [..., 2**n] of amplitudes [..., 2**n]."""
    return torch.view_as_real(state).square().sum(-1)


def preparation_angles(vectors: Tensor) -> Tensor:
    """Angles [K, 2**n - 1] with which a layer `real-state` makes the states of vectors [K, 2**n], of any length but 0.

    A tree of rotations halves the state at each qubit, the highest first. Without gradients: at zeros there are none.
    """
    angles, norms = [], vectors.detach()
    while norms.shape[1] > 1:
        zero, one = norms.unflatten(1, (-1, 2)).unbind(2)  # by the lowest qubit left
        tree = 2 * torch.atan2(one, zero)  # (K, settings of the qubits above)
        angles.append(walsh_hadamard(tree) / tree.shape[1])
        norms = torch.hypot(zero, one)
    return torch.cat(angles[::-1], 1)


def _real_state(angles: Tensor) -> Tensor:
    """Amplitudes, complex [K, 2**n], that a layer `real-state` makes with angles [K, 2**n - 1]."""
    state, start = angles.new_ones(len(angles), 1), 0
    while start < angles.shape[1]:
        size = state.shape[1]
        half = walsh_hadamard(angles[:, start : start + size]) / 2
        state = torch.stack((state * half.cos(), state * half.sin()), 2).flatten(1)
        start += size
    return torch.complex(state, torch.zeros_like(state))


def expectations(probs: Tensor) -> Tensor:
    """Pauli-Z expectation of every qubit [..., n] in [-1, 1] from probabilities [..., 2**n]."""
    values = []
    while probs.shape[-1] > 1:
        zero, one = probs.unflatten(-1, (-1, 2)).unbind(-1)  # by the lowest qubit left
        values.append((zero - one).sum(-1))
        probs = zero + one
    return torch.stack(values, -1)


def _check_memory(n_qubits: int, n_sets: int, n_couplings: int, theta: Tensor) -> None:
    """Raise ValueError if the states and the phases of the couplings need over half of the memory there is."""
    if theta.is_cuda:
        memory = torch.cuda.get_device_properties(theta.device).total_memory
    else:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    kept = 6 + 2 * math.ceil(
        n_qubits / _BLOCK
    )  # real numbers per amplitude and coupling that a gradient keeps
    needed = theta.element_size() * 2**n_qubits * n_sets * (8 + n_couplings * kept)
    if needed > memory / 2:
        raise ValueError(
            f"{n_sets} parameter sets of {n_qubits} qubits need {needed / 2**30:.0f} GiB, "
            f"more than half of the {memory / 2**30:.0f} GiB there are; take fewer of either"
        )


def _kronecker_blocks(matrices: Tensor) -> list[Tensor]:
    """One-qubit matrices [..., n, 2, 2] to those [..., 2**g, 2**g] of neighbouring qubits, the lowest ones first."""
    n = matrices.shape[-3]
    one_qubit = matrices.unbind(-3)
    blocks = []
    for qubits in torch.arange(n).tensor_split(math.ceil(n / _BLOCK)):
        block, *higher = one_qubit[qubits[0] : qubits[-1] + 1]
        for matrix in higher:  # a higher qubit on the left
            block = matrix[..., :, None, :, None] * block[..., None, :, None, :]
            block = block.flatten(-4, -3).flatten(-2, -1)
        blocks.append(block)
    return blocks


def _apply(blocks: Sequence[Tensor], state: Tensor) -> Tensor:
    """Kronecker blocks [K or 1, d, d], the lowest qubits first, on states [K or 1, 2**n]."""
    size = state.shape[1]
    right = 1
    for block in blocks:
        d = block.shape[-1]
        if right == 1:
            state = state.view(len(state), -1, d) @ block.mT
        else:
            state = block[:, None] @ state.view(len(state), -1, d, right)
        state = state.reshape(-1, size)
        right *= d
    return state


@lru_cache(maxsize=64)
def _compile(ansatz: Ansatz, dtype: torch.dtype, device: torch.device) -> _Program:
    n, zero = ansatz.n_qubits, ansatz.n_params
    identity, nothing = (
        torch.eye(2, dtype=torch.complex128),
        torch.zeros(2, 2, dtype=torch.complex128),
    )
    segments: list[
        list[tuple[Tensor, Tensor, list[int]]]
    ] = []  # of rotations: cosine's matrix, sine's, places in theta
    entanglers: list[str | int] = []
    parities, subsets = _parities(n)
    couplings: list[Tensor] = []

    def open_segment(constant: Tensor) -> None:
        segments.append([(constant, nothing, [zero] * n)])

    def multiply(constant: Tensor) -> None:
        cosine, sine, places = segments[-1][-1]
        segments[-1][-1] = (constant @ cosine, constant @ sine, places)

    open_segment(identity)
    start = 0
    for layer, size in zip(ansatz.layers, ansatz.layer_sizes, strict=True):
        gate, qubits = acted_on(layer, n)
        if gate == "h":
            multiply(_H)
        elif gate in ROTATIONS:
            places = [start + qubits.index(q) if q in qubits else zero for q in range(n)]
            segments[-1].append((identity, -1j * _PAULI[gate], places))
        elif gate in COUPLINGS:
            coupling = torch.zeros(zero + 1, len(subsets), 2 ** (n // 3), dtype=torch.float64)
            for index, pair in enumerate(combinations(qubits, 2), start=start):
                low = [q for q in pair if q < n // 3]
                coupling[index, subsets.index(tuple(q for q in pair if q >= n // 3))] = (
                    -_signs(n // 3)[:, low].prod(1) / 2
                )
            around = _H if gate == "rxx" else identity
            multiply(around)
            entanglers.append(len(couplings))
            couplings.append(coupling)
            open_segment(around)
        else:
            entanglers.append(layer)
            open_segment(identity)
        start += size

    idle = tuple(len(segment) == 1 and segment[0][0] is identity for segment in segments)
    # the constant that opens a segment goes into its first rotation
    for s, (opening, *rotations) in enumerate(segments):
        if rotations:
            cosine, sine, places = rotations[0]
            segments[s] = [(cosine @ opening[0], sine @ opening[0], places), *rotations[1:]]
    depth = max(map(len, segments))
    padding = (identity, nothing, [zero] * n)
    table = [
        [segment[r] if r < len(segment) else padding for segment in segments] for r in range(depth)
    ]
    cosines = torch.stack([torch.stack([cosine for cosine, _, _ in row]) for row in table])
    sines = torch.stack([torch.stack([sine for _, sine, _ in row]) for row in table])
    kind = torch.complex64 if dtype == torch.float32 else torch.complex128
    return _Program(
        cosines[:, :, None].to(device, kind),
        sines[:, :, None].to(device, kind),
        torch.tensor([[places for _, _, places in row] for row in table], device=device),
        idle,
        tuple(entanglers),
        parities.to(device, dtype),
        torch.cat(
            [torch.zeros(zero + 1, 0), *(coupling.flatten(1) for coupling in couplings)], 1
        ).to(device, dtype),
    )


def _parities(n: int) -> tuple[Tensor, list[tuple[int, ...]]]:
    """Products of (-1)**bit [2**(n - n // 3), F] over the sets of at most two of the upper qubits, and those sets.

    The phase of a bitstring under all couplings of pairs is a quadratic form of its n signs. Cut between the lower third
    of the qubits and the others, it is one product of matrices, of which none is as large as [2**n, n].
    """
    low = n // 3
    signs = _signs(n - low)
    subsets = [subset for size in range(3) for subset in combinations(range(low, n), size)]
    return torch.stack(
        [signs[:, [q - low for q in subset]].prod(1) for subset in subsets], 1
    ), subsets


def _signs(n: int) -> Tensor:
    """(-1)**bit of every qubit in every bitstring, float64 [2**n, n]."""
    return (1 - 2 * (torch.arange(2**n)[:, None] >> torch.arange(n) & 1)).double()


@lru_cache(maxsize=64)
def _cz_signs(n: int, layer: str, dtype: torch.dtype, device: torch.device) -> Tensor:
    """The diagonal [2**n] of CZ on every pair of the layer."""
    index = torch.arange(2**n, device=device)
    flips = torch.zeros_like(index)
    for i, j in fixed_pairs(layer, n):
        flips ^= (index >> i) & (index >> j) & 1
    return (1 - 2 * flips).to(dtype)


@lru_cache(maxsize=64)
def _cx_index(n: int, layer: str, device: torch.device) -> Tensor:
    """For every bitstring after CX on the layer's pairs the one that it was before, [2**n]."""
    index = torch.arange(2**n, device=device)
    for control, target in reversed(fixed_pairs(layer, n)):
        index = index ^ ((index >> control & 1) << target)
    return index
