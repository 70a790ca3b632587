"""Timing of functions that do the same thing, and the comparison with what was aimed at."""

from __future__ import annotations

import importlib.util
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """The time of one way of doing a thing.

    Attributes:
        what: the way.
        milliseconds: median time.
        ratio: number of times that it is faster than the first row of its section.
    """

    what: str
    milliseconds: float
    ratio: float


@dataclass(frozen=True)
class Goal:
    """A ratio that was measured, and what was aimed at."""

    what: str
    ratio: float
    aim: str


def is_installed(package: str) -> bool:
    """Return whether a package can be imported."""
    return importlib.util.find_spec(package) is not None


def median_ms(function: Callable[[], object], repeats: int, most_seconds: float = 10.0) -> float:
    """Return the median time of a function in milliseconds, after one call that is not timed.

    Args:
        function: the function.
        repeats: number of timed calls.
        most_seconds: time after which no further call is made.
    """
    function()
    times: list[float] = []
    while len(times) < repeats and sum(times) < 1000 * most_seconds:
        start = time.perf_counter()
        function()
        times.append(1000 * (time.perf_counter() - start))
    return statistics.median(times)


def median_times(ways: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Return the median time of each way in milliseconds."""
    return {what: median_ms(function, repeats) for what, function in ways.items()}


def rows_of(times: Mapping[str, float]) -> list[Row]:
    """Return rows for times in milliseconds, with their ratios to the first one."""
    first = next(iter(times.values()))
    return [Row(what, ms, first / ms) for what, ms in times.items()]
