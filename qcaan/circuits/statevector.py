"""Exact probabilities of an `Ansatz` in torch, differentiable, and on any device.

They are computed for many parameter sets at once. Layers, not gates, are the unit: see
`qcaan.circuits.program`. A segment is applied as Kronecker blocks of a few qubits, an entangler as
one vector. The order of amplitudes and of probabilities is stated in `qcaan.bits`. Angles are in
radians.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from numpy.typing import ArrayLike
from torch import Tensor
from torch.nn.functional import pad

from qcaan.bits import walsh_hadamard
from qcaan.checks import as_tensor, check_finite, memory_of
from qcaan.circuits.ansatz import (
    COUPLINGS,
    PREPARATION,
    Ansatz,
    acted_on,
    basis_params,
    check_bases,
)
from qcaan.circuits.program import (
    PAULI,
    compile_ansatz,
    constants,
    cx_index,
    cz_signs,
    program_arrays,
)

# doublings of the qubits in a Kronecker block: 16 x 16 matrices, of four qubits, keep a core busy,
# and larger ones waste its work
_DOUBLINGS = 2


def probabilities(ansatz: Ansatz, theta: Tensor | ArrayLike, basis: str = "z") -> Tensor:
    """Return the probabilities [K, 2**n] of bitstrings in one basis; see `all_probabilities`."""
    return all_probabilities(ansatz, theta, (basis,))[:, 0]


def all_probabilities(
    ansatz: Ansatz, theta: Tensor | ArrayLike, bases: tuple[str, ...], z_qubits: int = 0
) -> Tensor:
    """Return the probabilities [K, n_bases, 2**n] of one state measured in several bases.

    They are on the device of theta and have its dtype, or float32 if theta has 16 bits. NumPy
    arrays and lists count as float64. `torch.autocast` changes nothing.

    Args:
        ansatz: the circuit.
        theta: angles [K, P] in radians, of any floating dtype; K may be 0. If basis `t` is among
            the bases, its angles are the last ones.
        bases: different ones of z, o, t.
        z_qubits: number of the first qubits that are measured in z in every basis.

    Raises:
        ValueError: the bases are unknown, theta has another shape or dtype or is not finite, or the
            states need more memory than there is.
    """
    check_bases(bases)
    n_turned = ansatz.n_qubits - z_qubits
    n_params = ansatz.n_params + basis_params(n_turned, bases)
    theta = as_angles(theta)
    if theta.shape[1] < n_params:
        raise ValueError(
            f"`theta` must have {n_params} angles for bases {' '.join(bases)}, got {theta.shape[1]}"
        )
    check_finite("theta", theta)
    state = amplitudes(ansatz, theta)  # (K, 2**n)
    right_angle = theta.new_full((1, n_turned), math.pi / 2)
    turns = {"o": right_angle, "t": theta[:, n_params - n_turned : n_params]}
    measured = []
    for basis in bases:
        turned = state if basis == "z" else _turned(state, pad(turns[basis], (z_qubits, 0)))
        measured.append(squared(turned))
    return torch.stack(measured, 1)


def amplitudes(ansatz: Ansatz, theta: Tensor | ArrayLike, initial: Tensor | None = None) -> Tensor:
    """Return the states U(theta) |initial>, complex [K, 2**n], of K parameter sets.

    Args:
        ansatz: the circuit U.
        theta: angles [K, at least n_params] in radians, of any floating dtype. Numbers of 16 bits
            become float32.
        initial: amplitudes [K, 2**n], complex of theta's precision; default |0...0>. One state may
            stand for all parameter sets, and one parameter set for all states. What is shared is
            computed once.

    Raises:
        ValueError: theta has another shape or dtype, or the states need more memory than there is.
    """
    theta = as_angles(theta)
    if theta.shape[1] < ansatz.n_params:
        raise ValueError(f"`theta` must have {ansatz.n_params} angles, got {theta.shape[1]}")
    n = ansatz.n_qubits
    n_couplings = sum(acted_on(layer, n)[0] in COUPLINGS for layer in ansatz.layers)
    if ansatz.layers[:1] == (PREPARATION,):
        initial, theta = _real_state(theta[:, : 2**n - 1]), theta[:, 2**n - 1 :]
        ansatz = Ansatz(n, ansatz.layers[1:])
    rows = len(theta) if initial is None or len(initial) == 1 else len(initial)
    _check_memory(n, rows, n_couplings, theta)
    single = theta.dtype == torch.float32
    entanglers: Sequence[str | int]
    idle, entanglers, *_ = compile_ansatz(ansatz, single)
    cosines, sines, places, parities, couplings = constants(theta, program_arrays, ansatz, single)
    zeros = theta.new_zeros(len(theta), 1)
    padded = torch.cat([theta[:, : ansatz.n_params], zeros], 1)  # (K, P + 1)
    matrices = _segment_matrices(cosines, sines, places, padded)  # (K, S, n, 2, 2)
    # (K, E, 2**n)
    phases = _phases(parities, couplings, padded, n) if n_couplings else padded

    if initial is None:
        # the first segment acts on |0...0>: a product state
        column, *higher = _kronecker_blocks(matrices[:, 0, :, :, :1])  # each (K, 2**g, 1)
        for part in higher:
            column = _kronecker(part, column)
        state = column.flatten(1)
        matrices, idle = matrices[:, 1:], idle[1:]
    else:
        state, entanglers = initial, ("", *entanglers)
    # for each segment its blocks (K, 2**g, 2**g)
    segments = zip(*(block.unbind(1) for block in _kronecker_blocks(matrices)), strict=True)
    for entangler, nothing, blocks in zip(entanglers, idle, segments, strict=True):
        if isinstance(entangler, int):
            state = state * phases[:, entangler]
        elif entangler.startswith("cz"):
            state = state * constants(theta, cz_signs, n, entangler)[0]
        elif entangler:
            state = state.index_select(1, constants(theta, cx_index, n, entangler)[0])
        if not nothing:
            state = _apply(blocks, state)
    return state.expand(rows, -1)


def as_angles(theta: Tensor | ArrayLike) -> Tensor:
    """Return angles [K, P] as a tensor float32 or float64.

    Circuits compute in at least 32 bits: angles of 16 bits become float32. NumPy arrays and lists
    count as float64.

    Raises:
        ValueError: theta has another shape or dtype.
    """
    theta = as_tensor("theta", theta)
    if theta.ndim != 2 or not theta.is_floating_point():
        raise ValueError(
            f"`theta` must be float32 or float64 [K, P], got {theta.dtype} {list(theta.shape)}"
        )
    return theta.to(at_least_float32(theta.dtype))


def at_least_float32(dtype: torch.dtype) -> torch.dtype:
    """Return the dtype in which circuits compute with numbers of a dtype."""
    return torch.promote_types(dtype, torch.float32)


def without_autocast(device: torch.device) -> AbstractContextManager[object]:
    """Return a context in which `torch.autocast` lowers no precision on a device."""
    kind = device.type
    if torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind):
        return torch.autocast(kind, enabled=False)
    return nullcontext()


def squared(state: Tensor) -> Tensor:
    """Return the probabilities [..., 2**n] of amplitudes [..., 2**n]."""
    return torch.view_as_real(state).square().sum(-1)


def expectations(probs: Tensor) -> Tensor:
    """Return the expectation of Pauli Z of every qubit [..., n], from probabilities [..., 2**n]."""
    values = []
    while probs.shape[-1] > 1:
        zero, one = probs.unflatten(-1, (-1, 2)).unbind(-1)  # of the lowest qubit that is left
        values.append((zero - one).sum(-1))
        probs = zero + one
    return torch.stack(values, -1)


def preparation_angles(vectors: Tensor) -> Tensor:
    """Return the angles [K, 2**n - 1] by which a layer `real-state` makes the states of vectors.

    A tree of rotations halves the state at each qubit, the highest first. The angles carry no
    gradients: at zeros of a vector there are none.

    Args:
        vectors: real vectors [K, 2**n], of any length but 0.
    """
    angles, norms = [], vectors.detach()
    while norms.shape[1] > 1:
        zero, one = norms.unflatten(1, (-1, 2)).unbind(2)  # of the lowest qubit that is left
        tree = 2 * torch.atan2(one, zero)  # (K, settings of the qubits above)
        angles.append(walsh_hadamard(tree) / tree.shape[1])
        norms = torch.hypot(zero, one)
    return torch.cat(angles[::-1], 1)


def _real_state(angles: Tensor) -> Tensor:
    """Return the amplitudes, complex [K, 2**n], that a layer `real-state` makes.

    Its angles are [K, 2**n - 1].
    """
    state, start = angles.new_ones(len(angles), 1), 0
    while start < angles.shape[1]:
        size = state.shape[1]
        half = walsh_hadamard(angles[:, start : start + size]) / 2
        state = torch.stack((state * half.cos(), state * half.sin()), 2).flatten(1)
        start += size
    return torch.complex(state, torch.zeros_like(state))


def _check_memory(n_qubits: int, n_sets: int, n_couplings: int, theta: Tensor) -> None:
    """Check that the states and the phases of the couplings need at most half of the memory.

    Raises:
        ValueError: they need more.
    """
    memory = memory_of(theta.device)
    # real numbers that a gradient keeps for each amplitude and coupling
    kept = 6 + 2 * math.ceil(n_qubits / 2**_DOUBLINGS)
    needed = theta.element_size() * 2**n_qubits * n_sets * (8 + n_couplings * kept)
    if needed > memory / 2:
        raise ValueError(
            f"{n_sets} parameter sets of {n_qubits} qubits need {needed / 2**30:.0f} GiB, more "
            f"than half of the memory ({memory / 2**30:.0f} GiB); choose fewer of either"
        )


def _segment_matrices(cosines: Tensor, sines: Tensor, places: Tensor, padded: Tensor) -> Tensor:
    """Return the matrices complex [K, S, n, 2, 2] of the segments at angles [K, P + 1].

    The other arguments are arrays of a `Program`.
    """
    # index_select, because the gradient of indexing by a tensor is several times slower
    chosen = padded.index_select(1, places.flatten())
    half = chosen.view(len(padded), *places.shape, 1, 1) / 2  # (K, R, S, n, 1, 1)
    rotations = half.cos() * cosines + half.sin() * sines  # (K, R, S, n, 2, 2)
    matrices, *later = rotations.unbind(1)  # (K, S, n, 2, 2)
    for rotation in later:
        matrices = rotation @ matrices
    return matrices


def _phases(parities: Tensor, couplings: Tensor, padded: Tensor, n: int) -> Tensor:
    """Return the phases complex [K, E, 2**n] of E layers of couplings at angles [K, P + 1].

    The other arguments are arrays of a `Program`.
    """
    shape = (-1, parities.shape[1], 2 ** (n // 3))
    with without_autocast(padded.device):
        coefficients = (padded @ couplings).unflatten(1, shape)
        angles = (parities @ coefficients).flatten(2)  # (K, E, 2**n)
    # torch.polar takes two to eight times as long
    return torch.complex(angles.cos(), angles.sin())


def _turned(state: Tensor, angles: Tensor) -> Tensor:
    """Return states [K, 2**n] after RX by angles [K or 1, n] on the qubits."""
    half = angles[:, :, None, None] / 2
    identity = torch.eye(2, dtype=state.dtype, device=state.device)
    flip = torch.from_numpy(PAULI["rx"]).to(state)
    matrices = half.cos() * identity - 1j * half.sin() * flip
    return _apply(_kronecker_blocks(matrices), state)


def _kronecker_blocks(matrices: Tensor) -> list[Tensor]:
    """Return blocks [..., 2**g, 2**g] of neighbouring qubits, from matrices [..., n, 2, 2].

    Columns [..., n, 2, 1] give columns. The lowest qubits come first. All pairs are joined at once,
    and then the pairs of pairs; what is left over is the block of the highest qubits.
    """
    left: Tensor | None = None
    for _ in range(_DOUBLINGS):
        paired = matrices.shape[-3] // 2 * 2
        for rest in matrices[..., paired:, :, :].unbind(-3):
            left = rest if left is None else _kronecker(left, rest)
        lower, higher = matrices[..., :paired, :, :].unflatten(-3, (paired // 2, 2)).unbind(-3)
        matrices = _kronecker(higher, lower)
    return [*matrices.unbind(-3)] + ([] if left is None else [left])


def _kronecker(higher: Tensor, lower: Tensor) -> Tensor:
    """Return matrices [..., a * b, c * d] of qubits above [..., a, c] and below [..., b, d]."""
    product = higher[..., :, None, :, None] * lower[..., None, :, None, :]
    return product.flatten(-4, -3).flatten(-2, -1)


def _apply(blocks: Sequence[Tensor], state: Tensor) -> Tensor:
    """Apply blocks [K or 1, d, d], those of the lowest qubits first, to states [K or 1, 2**n]."""
    size = state.shape[1]
    right = 1
    for block in blocks:
        d = block.shape[-1]
        if right == 1:
            state = state.view(len(state), size // d, d) @ block.mT
        else:
            state = block[:, None] @ state.view(len(state), size // d // right, d, right)
        state = state.flatten(1)
        right *= d
    return state
