"""Checks of values that a user gives: every range and choice in one wording."""

from __future__ import annotations

import operator
import os
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def check_memory(n_qubits: int) -> None:
    """Raise ValueError if a state of `n_qubits` with its probabilities needs over half of the machine's memory."""
    needed = (
        64 * 2**n_qubits
    )  # complex128 amplitudes, and the probabilities copied twice on their way to NumPy
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > memory / 2:
        most = (memory // 128).bit_length() - 1
        raise ValueError(
            f"n_qubits must be at most {most} on this machine ({memory / 2**30:.0f} GiB), got {n_qubits}"
        )


def positive(name: str, value: int) -> int:
    if value < 1:
        raise ValueError(f"{name} must be at least 1, got {value}")
    return value


def reals(values: ArrayLike) -> Floats:
    """A copy as float64.

    Raises:
        TypeError, ValueError: not an array of real numbers.
    """
    array = np.array(values)
    if array.dtype.kind == "c":  # NumPy would only warn, and drop the imaginary parts
        raise TypeError
    return array.astype(np.float64)


def whole(name: str, value: Any, least: int, below: int | None = None) -> int:
    """The value as int.

    Raises:
        ValueError: it is no whole number in the range; `name` says which.
    """
    try:
        number = operator.index(value)
    except TypeError:
        number = least - 1
    if number < least or (below is not None and number >= below):
        limit = "" if below is None else f" and below {below}"
        raise ValueError(f"{name} must be a whole number of at least {least}{limit}, got {value!r}")
    return number


def check_seed(seed: int) -> None:
    """Raise ValueError if it is no seed for torch and NumPy alike."""
    if not 0 <= seed < 2**63:
        raise ValueError(f"seed must be at least 0 and below 2**63, got {seed}")
