"""Bit arrays, indices, histograms, product distributions, and the Walsh-Hadamard transform.

Conventions of the whole package: column i of a bit array = qubit i = classical bit i. With several
bases column b * n_qubits + i = qubit i in basis b, in the order of the bases. Index k of a
probability vector has qubit 0 as its lowest bit. Tensors stay on the device of their inputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

BitsLike: TypeAlias = Tensor | NDArray[np.generic] | Sequence[Sequence[int]]


def as_bits(bits: BitsLike, width: int, device: torch.device | str | None = None) -> Tensor:
    """Return bits as a tensor uint8 [m, width], on `device` if one is given.

    Args:
        bits: a torch tensor, a NumPy array, a table or nested lists [m, width] of 0 and 1, of any
            real dtype.
        width: number of bits in a row.
        device: device of the result; default that of `bits`, or the CPU.

    Raises:
        ValueError: another shape, no rows, masked entries, or values other than 0 and 1.
    """
    if np.ma.is_masked(bits):
        raise ValueError("`bits` must have no masked entries")
    try:
        if not isinstance(bits, Tensor):
            array = np.asarray(bits)
            if array.dtype.kind not in "biuf":
                raise TypeError
            # only 0 and 1 stay what they are; others become 2
            bits = torch.from_numpy(np.where(array == 1, 1, np.where(array == 0, 0, 2)))
        tensor = bits.detach().to_dense().to(device or bits.device)
        if tensor.is_complex():
            raise TypeError
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(f"`bits` must be an array [m, {width}] of 0 and 1") from None
    if tensor.ndim != 2 or tensor.shape[1] != width or len(tensor) == 0:
        raise ValueError(
            f"`bits` must have shape [m, {width}] with m >= 1, got {list(tensor.shape)}"
        )
    if not ((tensor == 0) | (tensor == 1)).all():
        raise ValueError("`bits` must be 0 or 1")
    return tensor.to(torch.uint8)


def bits_to_index(bits: Tensor) -> Tensor:
    """Return the indices int64 [...] of bits [..., n] in a probability vector."""
    return (bits.long() << torch.arange(bits.shape[-1], device=bits.device)).sum(-1)


def index_to_bits(index: Tensor, n_qubits: int) -> Tensor:
    """Return the bits uint8 [..., n_qubits] of indices [...], the inverse of `bits_to_index`."""
    return (index[..., None] >> torch.arange(n_qubits, device=index.device) & 1).to(torch.uint8)


def pack_bits(bits: Tensor) -> Tensor:
    """Return bits {0, 1} [m, n] in bytes uint8 [m, ceil(n / 8)], on the CPU, highest first."""
    return torch.from_numpy(np.packbits(bits.cpu().numpy().astype(np.uint8), axis=1))


def unpack_bits(packed: Tensor, n: int) -> Tensor:
    """Return the bits uint8 [m, n] that `pack_bits` packed.

    Raises:
        ValueError: there are none, or rows have another width.
    """
    if packed.ndim != 2 or not len(packed) or packed.shape[1] != -(-n // 8):
        raise ValueError(f"rows of {n} bits are not packed in {list(packed.shape)} bytes")
    return torch.from_numpy(np.unpackbits(packed.numpy(), axis=1, count=n))


def all_bitstrings(n_qubits: int, device: torch.device | str = "cpu") -> Tensor:
    """Return all bitstrings uint8 [2**n_qubits, n_qubits], in the order of their indices."""
    return index_to_bits(torch.arange(2**n_qubits, device=device), n_qubits)


def histogram(bits: Tensor) -> Tensor:
    """Return the frequencies float64 [2**n] of bitstrings [m, n]."""
    return torch.bincount(bits_to_index(bits), minlength=1 << bits.shape[-1]).double() / len(bits)


def target_probabilities(bits: Tensor, n_bases: int) -> Tensor:
    """Return the frequencies float64 [n_bases, 2**n] of bits [m, n_bases * n] in each basis."""
    return torch.stack([histogram(part) for part in bits.chunk(n_bases, dim=1)])


def product_probabilities(marginals: Tensor) -> Tensor:
    """Return the distribution [2**n] of independent bits with P(bit i = 1) = marginals[i]."""
    probs = marginals.new_ones(1)
    for p in marginals:  # qubit 0 first, so that it ends up as the lowest bit
        probs = torch.cat([probs * (1 - p), probs * p])
    return probs


def product_of_marginals(probs: Tensor) -> Tensor:
    """Return the product [2**n] of the marginals of a distribution [2**n]."""
    n_qubits = probs.shape[0].bit_length() - 1
    return product_probabilities(probs @ all_bitstrings(n_qubits, probs.device).to(probs))


def orders(n: int, device: torch.device | str = "cpu") -> Tensor:
    """Return the number of ones int64 [2**n] of each index of n bits."""
    ones = torch.zeros(1, dtype=torch.int64, device=device)
    for _ in range(n):
        ones = torch.cat([ones, ones + 1])
    return ones


def walsh_hadamard(values: Tensor) -> Tensor:
    """Return the unnormalised Walsh-Hadamard transform of [..., 2**n] over the last axis.

    Element s is sum_x (-1)^(x . s) values[x], with x . s the number of ones that x and s share.
    """
    size = values.shape[-1]
    half = 1
    while half < size:
        low, high = values.reshape(*values.shape[:-1], -1, 2, half).unbind(-2)
        values = torch.stack((low + high, low - high), -2).flatten(-3)
        half *= 2
    return values
