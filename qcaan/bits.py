"""Bit arrays, their indices and histograms, product distributions, and the Walsh-Hadamard transform.

Conventions, for the whole package: column i of a bit array = qubit i = classical bit i; with several
bases column b * n_qubits + i = qubit i in basis b, in the order of the bases. Index k of a
probability vector has qubit 0 as its lowest bit. Tensors stay on the device of their inputs.
"""

from __future__ import annotations

import torch
from torch import Tensor


def bits_to_index(bits: Tensor) -> Tensor:
    """Bits [..., n] to their indices int64 [...] in a probability vector."""
    return (bits.long() << torch.arange(bits.shape[-1], device=bits.device)).sum(-1)


def index_to_bits(index: Tensor, n_qubits: int) -> Tensor:
    """Indices [...] to bits uint8 [..., n_qubits], the inverse of `bits_to_index`."""
    return (index[..., None] >> torch.arange(n_qubits, device=index.device) & 1).to(torch.uint8)


def histogram(bits: Tensor) -> Tensor:
    """Frequencies float64 [2**n] of bitstrings [m, n]."""
    return torch.bincount(bits_to_index(bits), minlength=1 << bits.shape[-1]).double() / len(bits)


def product_probabilities(marginals: Tensor) -> Tensor:
    """The product distribution [2**n] of independent bits with P(bit i = 1) = marginals[i]."""
    probs = marginals.new_ones(1)
    for p in marginals:  # qubit 0 first, so that it ends up as the lowest bit
        probs = torch.cat([probs * (1 - p), probs * p])
    return probs


def walsh_hadamard(values: Tensor) -> Tensor:
    """Unnormalised Walsh-Hadamard transform of [..., 2**n] over the last axis: sum_x (-1)^(x . s) values[x] at s."""
    size = values.shape[-1]
    half = 1
    while half < size:
        low, high = values.reshape(*values.shape[:-1], -1, 2, half).unbind(-2)
        values = torch.stack((low + high, low - high), -2).flatten(-3)
        half *= 2
    return values


def shuffled(probs: Tensor) -> Tensor:
    """The product of the marginals of `probs` [2**n]."""
    n = probs.shape[0].bit_length() - 1
    return product_probabilities(
        probs @ index_to_bits(torch.arange(2**n, device=probs.device), n).to(probs)
    )


def target_probabilities(bits: Tensor, n_bases: int) -> Tensor:
    """Bits {0, 1} [m, n_bases * n] to their observed distribution in each basis, float64 [n_bases, 2**n]."""
    return torch.stack([histogram(part) for part in bits.chunk(n_bases, dim=1)])
