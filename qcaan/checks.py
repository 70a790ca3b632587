"""Checks of what a user gives: every range and every choice in one wording.

Each function returns the value that it was given, so that a check and an assignment are one line.
"""

from __future__ import annotations

import math
import operator
import os
from collections.abc import Iterable
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Choice = TypeVar("Choice", bound=str)

SEEDS = 2**63  # seeds of torch and NumPy alike are below


def whole(name: str, value: Any, least: int = 1, below: int | None = None) -> int:
    """Return `value` as int.

    Raises:
        ValueError: the value is not a whole number of at least `least` and less than `below`.
    """
    limit = "" if below is None else f" and below {_power_of_two(below)}"
    try:
        number = operator.index(value)
    except TypeError:
        raise ValueError(
            f"`{name}` must be a whole number of at least {least}{limit}, got {value!r}"
        ) from None
    if number < least or (below is not None and number >= below):
        raise ValueError(f"`{name}` must be at least {least}{limit}, got {value}")
    return number


def number(
    name: str,
    value: float,
    *,
    least: float | None = None,
    above: float | None = None,
    below: float | None = None,
) -> float:
    """Return `value`, a finite number within the bounds: `least` is included, the others are not.

    Raises:
        ValueError: the value is not finite or out of bounds.
    """
    try:
        finite = math.isfinite(value)
    except TypeError:
        raise ValueError(f"`{name}` must be a number, got {value!r}") from None
    if not finite:
        raise ValueError(f"`{name}` must be finite, got {value}")
    inside = (
        (least is None or value >= least)
        and (above is None or value > above)
        and (below is None or value < below)
    )
    if not inside:
        bounds = (("at least", least), ("above", above), ("below", below))
        allowed = " and ".join(f"{word} {bound:g}" for word, bound in bounds if bound is not None)
        raise ValueError(f"`{name}` must be {allowed}, got {value}")
    return value


def one_of(name: str, value: Any, allowed: Iterable[Choice]) -> Choice:
    """Return `value`, which must be one of the allowed names.

    Raises:
        ValueError: the value is another.
    """
    choices = tuple(allowed)
    if value not in choices:
        raise ValueError(f"unknown `{name}` {value!r}; choose from {', '.join(choices)}")
    return value


def check_seed(value: Any) -> int:
    """Return a seed for torch and NumPy alike.

    Raises:
        ValueError: the value is not a whole number from 0 to below 2**63.
    """
    return whole("seed", value, 0, SEEDS)


def reals(values: ArrayLike | torch.Tensor) -> Floats:
    """Return a copy of an array of real numbers, torch, NumPy or lists, as float64.

    Raises:
        TypeError, ValueError: the values are not an array of real numbers.
    """
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu().numpy()
    array = np.array(values)
    if array.dtype.kind == "c":  # NumPy would only warn, and drop the imaginary parts
        raise TypeError
    return array.astype(np.float64)


def as_tensor(name: str, values: ArrayLike | torch.Tensor) -> torch.Tensor:
    """Return numbers as a tensor: a tensor as it is, NumPy arrays and lists as float64.

    Raises:
        ValueError: the values are not an array of real numbers.
    """
    if isinstance(values, torch.Tensor):
        return values
    try:
        return torch.from_numpy(reals(values))
    except (TypeError, ValueError):
        raise ValueError(
            f"`{name}` must be an array of numbers, got {type(values).__name__}"
        ) from None


def check_finite(name: str, values: torch.Tensor) -> None:
    """Check that numbers are finite, if they can be read.

    Inside `torch.func.vmap`, and of fake tensors, values cannot be read.

    Raises:
        ValueError: one of them is NaN or infinite.
    """
    try:
        finite = bool(values.isfinite().all())
    except RuntimeError:
        return
    if not finite:
        raise ValueError(f"`{name}` must be finite, got NaN or infinity among its values")


def memory_of(device: torch.device | str = "cpu") -> int:
    """Return the memory of a device in bytes: of the whole machine, or of a GPU."""
    device = torch.device(device)
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def check_memory(n_qubits: int) -> None:
    """Check that a state of `n_qubits` and its probabilities fit into half of the memory.

    Raises:
        ValueError: they do not; the message names the most qubits that do.
    """
    # complex128 amplitudes, and the probabilities copied twice on their way to NumPy
    bytes_per_amplitude = 64
    memory = memory_of()
    if bytes_per_amplitude * 2**n_qubits > memory / 2:
        most = (memory // (2 * bytes_per_amplitude)).bit_length() - 1
        raise ValueError(
            f"`n_qubits` must be at most {most} on this machine ({memory / 2**30:.0f} GiB), "
            f"got {n_qubits}"
        )


def _power_of_two(bound: int) -> str:
    """Return a large bound as a power: 2**63, not 9223372036854775808."""
    exponent = bound.bit_length() - 1
    return f"2**{exponent}" if exponent > 20 and bound == 1 << exponent else str(bound)
