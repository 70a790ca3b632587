"""What torch and NumPy call by different names: functions of arrays of one kind, in and out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad

A = TypeVar("A", Tensor, NDArray[Any])


def functions(numbers: A, *names: str) -> list[Callable[..., A]]:
    """Return functions of torch or of NumPy, after the kind of numbers, by their names."""
    library = torch if isinstance(numbers, Tensor) else np
    return [getattr(library, name) for name in names]


def complex_of(real: A, imaginary: A) -> A:
    """Return complex numbers of two parts of the same shape."""
    if isinstance(real, Tensor):
        return torch.complex(real, imaginary)
    return real + 1j * imaginary


def with_zero(numbers: A) -> A:
    """Return numbers [K, P] with a column of zeros at their end, [K, P + 1]."""
    if isinstance(numbers, Tensor):
        return pad(numbers, (0, 1))
    return np.concatenate([numbers, np.zeros((len(numbers), 1), numbers.dtype)], 1)


def columns(numbers: A, places: A) -> A:
    """Return the columns [K, ...] of numbers [K, P] at places [...]."""
    if isinstance(numbers, Tensor):
        # because the gradient of indexing by a tensor is several times slower
        chosen = numbers.index_select(1, places.flatten())
        return chosen.reshape(len(numbers), *places.shape)
    return numbers.take(places, 1)


def unbound(numbers: A, dim: int) -> list[A]:
    """Return the parts of an array along a dimension, counted from 0."""
    if isinstance(numbers, Tensor):
        return list(numbers.unbind(dim))
    return [numbers[(slice(None),) * dim + (k,)] for k in range(numbers.shape[dim])]
