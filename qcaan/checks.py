"""Checks of what a user gives: every range and every choice in one wording.

Each function returns the value that it was given, so that a check and an assignment are one line.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import operator
import os
import typing
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Choice = TypeVar("Choice", bound=str)

SEEDS = 2**63  # seeds of torch and NumPy alike are below

# largest counts, by name: more would take more memory than machines have, or never end
_MOST = {
    "batch_size": 100_000,
    "bank_shots": 10_000_000,
    "critic_width": 10_000,
    "deep_evaluations": 1_000_000,
    "dim": 10_000,
    "discriminator_qubits": 10_000,
    "epochs": 1_000_000,
    "eval_images": 1_000_000,
    "eval_samples": 1_000_000,
    "evaluations": 1_000_000,
    "fit_evals": 1_000_000,
    "gradient_draws": 1_000,
    "hidden": 10_000,
    "images": 1_000_000,
    "latent_dim": 10_000,
    "max_jobs": 2**63 - 1,
    "max_shots": 2**63 - 1,
    "n": 1_000_000,
    "n_bits": 10_000,
    "n_chains": 100_000,
    "n_critic": 1_000,
    "n_epochs": 1_000_000,
    "n_hidden": 10_000,
    "n_layers": 1_000,
    "n_qubits": 10_000,
    "n_samples": 1_000_000,
    "noise_dims": 10_000,
    "num_epochs": 1_000_000,
    "reps": 1_000,
    "shots": 10_000_000,
    "uploads": 1_000,
    "width": 500,
}
_MOST_OF_OTHERS = 1_000_000_000


def whole(name: str, value: Any, least: int = 1, below: int | None = None) -> int:
    """Return `value` as int.

    The value may be a Python or NumPy integer, or a tensor of one. If no `below` is given, each
    name has an upper limit beyond which no machine could go.

    Raises:
        ValueError: the value is not a whole number of at least `least` and less than `below`.
    """
    limit = "" if below is None else f" and below {_power_of_two(below)}"
    number = _integer(value)
    if number is None:
        raise ValueError(
            f"`{name}` must be a whole number of at least {least}{limit}, got {shown(value)}"
        )
    if number < least or (below is not None and number >= below):
        raise ValueError(f"`{name}` must be at least {least}{limit}, got {shown(number)}")
    return number if below is not None else _checked_most(name, number)


def number(
    name: str,
    value: Any,
    *,
    least: float | None = None,
    above: float | None = None,
    below: float | None = None,
) -> float:
    """Return `value`, a finite number within the bounds: `least` is included, the others are not.

    Raises:
        ValueError: the value is not a number, is not finite, or is out of bounds.
    """
    plain = value.detach() if isinstance(value, torch.Tensor) else value
    if _is_bool(value) or getattr(plain, "ndim", None):
        plain = None
    try:
        converted = float("x" if isinstance(plain, str | bytes) else plain)
    except OverflowError:
        converted = math.inf
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(f"`{name}` must be a number, got {shown(value)}") from None
    if not math.isfinite(converted):
        raise ValueError(f"`{name}` must be finite, got {shown(value)}")
    inside = (
        (least is None or converted >= least)
        and (above is None or converted > above)
        and (below is None or converted < below)
    )
    if not inside:
        bounds = (("at least", least), ("above", above), ("below", below))
        allowed = " and ".join(f"{word} {bound:g}" for word, bound in bounds if bound is not None)
        raise ValueError(f"`{name}` must be {allowed}, got {shown(value)}")
    return converted


def one_of(name: str, value: Any, allowed: Iterable[Choice]) -> Choice:
    """Return `value`, which must be one of the allowed names.

    Raises:
        ValueError: the value is another.
    """
    choices = tuple(allowed)
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"unknown `{name}` {shown(value)}; choose from {', '.join(choices)}")
    return choices[choices.index(value)]


def path_of(name: str, value: Any) -> Path:
    """Return a path, given as a string or as a path.

    Raises:
        ValueError: the value is something else, or empty.
    """
    try:
        place = os.fspath(value)
    except TypeError:
        place = None
    if not isinstance(place, str):
        raise ValueError(f"`{name}` must be a path, got {shown(value)}")
    if not place:
        raise ValueError(f"`{name}` must not be empty")
    return Path(place)


def check_fields(config: Any) -> None:
    """Check the types of all fields of a frozen dataclass, and replace their values by plain ones.

    NumPy's numbers become Python's, lists and arrays become tuples, and strings become paths or
    paths strings as the field says. So the values can be compared, hashed and written as JSON.

    Raises:
        ValueError: the value of a field is not of its type.
    """
    hints = _type_hints(config.__class__)
    for field in dataclasses.fields(config):
        value = of_type(field.name, getattr(config, field.name), hints[field.name])
        object.__setattr__(config, field.name, value)


# they are asked for each time that an instance is made
_type_hints = functools.cache(typing.get_type_hints)


def of_type(name: str, value: Any, hint: Any) -> Any:
    """Return a value as its type hint says: a number, text, a path, a tuple, a choice, or None.

    Raises:
        ValueError: the value is not of that type; or it is a number that is not finite, or a count
            beyond all machines.
    """
    kind, parts = typing.get_origin(hint), typing.get_args(hint)
    if kind is typing.Annotated:
        return of_type(name, value, parts[0])
    if type(None) in parts:
        if value is None:
            return None
        (hint,) = (part for part in parts if part is not type(None))
        return of_type(name, value, hint)
    if kind is tuple:
        return tuple(of_type(name, item, parts[0]) for item in _items(name, value))
    if kind is Literal:
        return one_of(name, value, parts)
    if hint is bool:
        if not _is_bool(value):
            raise ValueError(f"`{name}` must be true or false, got {shown(value)}")
        return bool(value)
    if hint is int:
        if name in ("seed", "seeds"):
            return whole(name, value, 0, SEEDS)
        if (count := _integer(value)) is None:
            raise ValueError(f"`{name}` must be a whole number, got {shown(value)}")
        return _checked_most(name, count)
    if hint is float:
        return number(name, value)
    if hint is Path:
        return path_of(name, value)
    if hint is str:
        if not isinstance(value, str | Path | torch.device):
            raise ValueError(f"`{name}` must be text, got {shown(value)}")
        return str(value)
    return value


def different(name: str, values: Sequence[Any]) -> None:
    """Check that there are one or more values, all of them different.

    Raises:
        ValueError: there are none, or one of them is repeated.
    """
    if not values or len(set(values)) < len(values):
        given = " ".join(map(str, values)) or "none"
        raise ValueError(f"`{name}` must be one or more different values, got {given}")


def shown(value: Any) -> str:
    """Return a value as it appears in a message: short, and on one line."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 10**20:
        return "a number of more than 20 digits"
    text = repr(value)
    return text if len(text) <= 100 and "\n" not in text else f"a {type(value).__name__}"


def _items(name: str, values: Any) -> list[Any]:
    """Return the elements of a list, a tuple, a range, or an array of one dimension."""
    if isinstance(values, torch.Tensor | np.ndarray) and values.ndim == 1:
        return list(values.tolist())
    if not isinstance(values, list | tuple | range):
        raise ValueError(f"`{name}` must be a list of values, got {shown(values)}")
    return list(values)


def _integer(value: Any) -> int | None:
    """Return an integer of Python, NumPy or torch as int; None if the value is something else."""
    try:
        return None if _is_bool(value) else operator.index(value)
    except (TypeError, ValueError, RuntimeError):
        return None


def _checked_most(name: str, number: int) -> int:
    """Return a count, which must not be beyond all machines."""
    most = _MOST.get(name, _MOST_OF_OTHERS)
    if number > most:
        raise ValueError(f"`{name}` must be at most {most:,}, got {shown(number)}")
    return number


def _is_bool(value: Any) -> bool:
    return isinstance(value, bool | np.bool_) or getattr(value, "dtype", None) == torch.bool


def check_seed(value: Any) -> int:
    """Return a seed for torch and NumPy alike.

    Raises:
        ValueError: the value is not a whole number from 0 to below 2**63.
    """
    return whole("seed", value, 0, SEEDS)


def random_generator(seed: Any) -> np.random.Generator:
    """Return a NumPy generator: a given one as it is, or a new one from a seed or from None.

    Raises:
        ValueError: the seed is not a whole number from 0 to below 2**63.
    """
    given = seed is None or isinstance(seed, np.random.Generator)
    return np.random.default_rng(seed if given else check_seed(seed))


def reals(values: ArrayLike | torch.Tensor) -> Floats:
    """Return a copy of an array of real numbers, torch, NumPy or lists, as float64.

    Raises:
        TypeError, ValueError: the values are not an array of real numbers.
    """
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu().numpy()
    if np.ma.is_masked(values):  # NumPy would take the masked values for numbers
        raise TypeError
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
        # a sum is one operation, and rarely overflows
        finite = math.isfinite(values.detach().sum()) or bool(values.isfinite().all())
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


def check_memory(n_qubits: int, name: str = "n_qubits") -> None:
    """Check that a state of `n_qubits` and its probabilities fit into half of the memory.

    Args:
        n_qubits: number of qubits.
        name: name of the option or argument that says it.

    Raises:
        ValueError: they do not; the message names the most qubits that do.
    """
    if n_qubits > (most := most_qubits()):
        raise ValueError(
            f"`{name}` must be at most {most} on this machine ({memory_of() / 2**30:.0f} GiB), "
            f"got {n_qubits}"
        )


def check_images(n: int, image_shape: Sequence[int]) -> None:
    """Check that n images of a shape (C, H, W) can be drawn within half of the memory.

    Raises:
        ValueError: they cannot.
    """
    # float32, and two copies while they are put in order
    needed, memory = 3 * 4 * n * math.prod(image_shape), memory_of()
    if needed > memory / 2:
        raise ValueError(
            f"`n` {n:,} images need {needed / 2**30:.0f} GiB, more than half of the memory "
            f"({memory / 2**30:.0f} GiB); draw fewer at a time"
        )


def most_qubits() -> int:
    """Return the most qubits whose state and its probabilities fit into half of the memory."""
    # complex128 amplitudes, and the probabilities copied twice on their way to NumPy
    bytes_per_amplitude = 64
    return (memory_of() // (2 * bytes_per_amplitude)).bit_length() - 1


def _power_of_two(bound: int) -> str:
    """Return a large bound as a power: 2**63, not 9223372036854775808."""
    exponent = bound.bit_length() - 1
    return f"2**{exponent}" if exponent > 20 and bound == 1 << exponent else str(bound)
