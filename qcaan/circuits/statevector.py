"""Exact probabilities of an `Ansatz` in torch, differentiable, and on any device.

They are computed for many parameter sets at once. Layers, not gates, are the unit: see
`qcaan.circuits.program`. A segment is applied as Kronecker blocks of a few qubits, an entangler as
one vector. The order of amplitudes and of probabilities is stated in `qcaan.bits`. Angles are in
radians.

For a few small states, torch's calls take longer than their arithmetic. So what computes them takes
NumPy arrays as well as tensors.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

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
from qcaan.circuits.arrays import A, columns, complex_of, functions, unbound, with_zero
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
# number of amplitudes up to which NumPy takes a quarter to two thirds of torch's time
_SMALL = 2**12


def probabilities(ansatz: Ansatz, theta: Tensor | ArrayLike, basis: str = "z") -> Tensor:
    """Return the probabilities [K, 2**n] of bitstrings in one basis; see `all_probabilities`."""
    return all_probabilities(ansatz, theta, (basis,))[:, 0]


def all_probabilities(
    ansatz: Ansatz, theta: Tensor | ArrayLike, bases: tuple[str, ...], z_qubits: int = 0
) -> Tensor:
    """Return the probabilities [K, n_bases, 2**n] of one state measured in several bases.

    They are on the device of theta and have its dtype, or float32 if theta has 16 bits. NumPy
    arrays and lists count as float64, and a few small states of theirs take a third of the time of
    a tensor's, which may be differentiated, transformed or traced. `torch.autocast` changes
    nothing.

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
    angles = as_angles(theta)
    if angles.shape[1] < n_params:
        raise ValueError(
            f"`theta` must have {n_params} angles for bases {' '.join(bases)}, "
            f"got {angles.shape[1]}"
        )
    check_finite("theta", angles)
    turns = {}
    if "o" in bases:
        turns["o"] = angles.new_full((1, n_turned), math.pi / 2)
    if "t" in bases:
        turns["t"] = angles[:, n_params - n_turned : n_params]
    small = len(angles) << ansatz.n_qubits <= _SMALL and ansatz.layers[:1] != (PREPARATION,)
    if small and not isinstance(theta, Tensor):
        turned = {basis: turn.numpy() for basis, turn in turns.items()}
        state = _state(ansatz, angles.numpy())
        return torch.from_numpy(_measured(state, bases, turned, z_qubits))
    return _measured(amplitudes(ansatz, angles), bases, turns, z_qubits)


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
    rows = len(theta) if initial is None or len(initial) == 1 else len(initial)
    _check_memory(ansatz, rows, theta)
    if ansatz.layers[:1] == (PREPARATION,):
        n = ansatz.n_qubits
        initial, theta = _real_state(theta[:, : 2**n - 1]), theta[:, 2**n - 1 :]
        ansatz = Ansatz(n, ansatz.layers[1:])
    return _state(ansatz, theta, initial).expand(rows, -1)


def _state(ansatz: Ansatz, theta: A, initial: A | None = None) -> A:
    """Return the states of a circuit without `real-state`; see `amplitudes`."""
    n = ansatz.n_qubits
    single = theta.dtype == torch.float32
    entanglers: Sequence[str | int]
    idle, entanglers, *_ = compile_ansatz(ansatz, single)
    cosines, sines, places, parities, couplings = constants(theta, program_arrays, ansatz, single)
    padded = with_zero(theta[:, : ansatz.n_params])  # (K, P + 1)
    matrices = _segment_matrices(cosines, sines, places, padded)  # (K, S, n, 2, 2)
    # (K, E, 2**n)
    phases = _phases(parities, couplings, padded, n) if couplings.shape[1] else padded

    # for each segment its blocks (K, 2**g, 2**g)
    segments = zip(*(unbound(block, 1) for block in _kronecker_blocks(matrices)), strict=True)
    if initial is None:
        # the first segment acts on |0...0>: a product state
        column, *higher = (block[:, :, :1] for block in next(segments))  # each (K, 2**g, 1)
        for part in higher:
            column = _kronecker(part, column)
        state, idle = column[:, :, 0], idle[1:]
    else:
        state, entanglers = initial, ("", *entanglers)
    for entangler, nothing, blocks in zip(entanglers, idle, segments, strict=True):
        if isinstance(entangler, int):
            state = state * phases[:, entangler]
        elif entangler.startswith("cz"):
            state = state * constants(theta, cz_signs, n, entangler)[0]
        elif entangler:
            state = columns(state, constants(theta, cx_index, n, entangler)[0])
        if not nothing:
            state = _apply(blocks, state)
    return state


def _measured(state: A, bases: tuple[str, ...], turns: Mapping[str, A], z_qubits: int) -> A:
    """Return the probabilities [K, n_bases, 2**n] of states; see `all_probabilities`.

    Args:
        state: amplitudes [K, 2**n].
        bases: names of the bases.
        turns: angles [K or 1, n - z_qubits] of RX in the bases other than z.
        z_qubits: number of the first qubits that are measured in z in every basis.
    """
    (stack,) = functions(state, "stack")
    turned = [state if basis == "z" else _turned(state, turns[basis], z_qubits) for basis in bases]
    return stack([squared(one) for one in turned], 1)


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


def squared(state: A) -> A:
    """Return the probabilities [..., 2**n] of amplitudes [..., 2**n]."""
    # three to twelve times as fast as a sum over the real and the imaginary part
    return (state * state.conj()).real


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


def _check_memory(ansatz: Ansatz, n_sets: int, theta: Tensor) -> None:
    """Check that the states and the phases of the couplings need at most half of the memory.

    Raises:
        ValueError: they need more.
    """
    n_qubits, memory = ansatz.n_qubits, memory_of(theta.device)
    n_couplings = sum(acted_on(layer, n_qubits)[0] in COUPLINGS for layer in ansatz.layers)
    # real numbers that a gradient keeps for each amplitude and coupling
    kept = 6 + 2 * math.ceil(n_qubits / 2**_DOUBLINGS)
    needed = theta.element_size() * 2**n_qubits * n_sets * (8 + n_couplings * kept)
    if needed > memory / 2:
        raise ValueError(
            f"{n_sets} parameter sets of {n_qubits} qubits need {needed / 2**30:.0f} GiB, more "
            f"than half of the memory ({memory / 2**30:.0f} GiB); choose fewer of either"
        )


def _segment_matrices(cosines: A, sines: A, places: A, padded: A) -> A:
    """Return the matrices complex [K, S, n, 2, 2] of the segments at angles [K, P + 1].

    The other arguments are arrays of a `Program`.
    """
    half = columns(padded, places)[..., None, None] / 2  # (K, R, S, n, 1, 1)
    cos, sin = functions(half, "cos", "sin")
    rotations = cos(half) * cosines + sin(half) * sines  # (K, R, S, n, 2, 2)
    matrices, *later = unbound(rotations, 1)  # (K, S, n, 2, 2)
    for rotation in later:
        matrices = rotation @ matrices
    return matrices


def _phases(parities: A, couplings: A, padded: A, n: int) -> A:
    """Return the phases complex [K, E, 2**n] of E layers of couplings at angles [K, P + 1].

    The other arguments are arrays of a `Program`.
    """
    n_subsets, low = parities.shape[1], 2 ** (n // 3)
    n_layers = couplings.shape[1] // (n_subsets * low)
    with without_autocast(padded.device) if isinstance(padded, Tensor) else nullcontext():
        coefficients = (padded @ couplings).reshape(len(padded), n_layers, n_subsets, low)
        angles = (parities @ coefficients).reshape(len(padded), n_layers, 2**n)
    cos, sin = functions(angles, "cos", "sin")
    # torch.polar takes two to eight times as long
    return complex_of(cos(angles), sin(angles))


def _turned(state: A, angles: A, z_qubits: int) -> A:
    """Return states [K, 2**n] after RX by angles [K or 1, m] on the qubits from `z_qubits` on."""
    half = angles[:, :, None, None] / 2
    cos, sin = functions(half, "cos", "sin")
    identity, flip = constants(half, _turn_arrays, half.dtype == torch.float32)
    blocks = _kronecker_blocks(cos(half) * identity + sin(half) * flip)
    return _apply(blocks, state, 2**z_qubits)


@lru_cache(maxsize=2)
def _turn_arrays(single: bool) -> tuple[NDArray[np.complexfloating], ...]:
    """Return what RX is made of: the identity, and what the sine of half the angle multiplies."""
    kind = np.complex64 if single else np.complex128
    return np.eye(2, dtype=kind), (-1j * PAULI["rx"]).astype(kind)


def _kronecker_blocks(matrices: A) -> list[A]:
    """Return blocks [..., 2**g, 2**g] of neighbouring qubits, from matrices [..., n, 2, 2].

    The lowest qubits come first. All pairs are joined at once, and then the pairs of pairs; what is
    left over is the block of the highest qubits.
    """
    left: list[A] = []
    for _ in range(_DOUBLINGS):
        *kept, n, rows, columns = matrices.shape
        paired = n // 2 * 2
        for rest in unbound(matrices[..., paired:, :, :], len(kept)):
            left = [_kronecker(left[0], rest) if left else rest]
        pairs = matrices[..., :paired, :, :].reshape(*kept, n // 2, 2, rows, columns)
        lower, higher = unbound(pairs, len(kept) + 1)
        matrices = _kronecker(higher, lower)
    return unbound(matrices, len(kept)) + left


def _kronecker(higher: A, lower: A) -> A:
    """Return matrices [..., a * b, c * d] of qubits above [..., a, c] and below [..., b, d]."""
    *kept, a, c = higher.shape
    b, d = lower.shape[-2:]
    product = higher.reshape(*kept, a, 1, c, 1) * lower.reshape(*kept, 1, b, 1, d)
    return product.reshape(*kept, a * b, c * d)


def _apply(blocks: Sequence[A], state: A, right: int = 1) -> A:
    """Apply blocks [K or 1, d, d] to states [K or 1, 2**n], those of the lowest qubits first.

    The lowest qubits may be left as they are; `right` is the number of their settings.
    """
    size = state.shape[1]
    for block in blocks:
        d = block.shape[-1]
        if right == 1:
            state = state.reshape(len(state), size // d, d) @ block.swapaxes(-1, -2)
        elif right * d == size:
            state = block @ state.reshape(len(state), d, right)
        else:
            state = block[:, None] @ state.reshape(len(state), size // d // right, d, right)
        state = state.reshape(len(state), size)
        right *= d
    return state
