"""Timing of functions that do the same thing, and the comparison with what was aimed at."""

from __future__ import annotations

import importlib.util
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

# milliseconds of a way's turn, if one call takes less
_TURN = 10.0


@dataclass(frozen=True)
class Row:
    """The time of one way of doing a thing.

    Attributes:
        what: the way.
        milliseconds: median time; None if a package that it needs is not installed.
        ratio: number of times that it is faster than the first row of its section; None likewise.
    """

    what: str
    milliseconds: float | None
    ratio: float | None


@dataclass(frozen=True)
class Goal:
    """A ratio that was measured, and what was aimed at."""

    what: str
    ratio: float
    aim: str


def is_installed(package: str) -> bool:
    """Return whether a package can be imported."""
    return importlib.util.find_spec(package) is not None


def median_times(
    ways: Mapping[str, Callable[[], object]], repeats: int, most_seconds: float = 10.0
) -> dict[str, float]:
    """Return the median time of each way in milliseconds, after calls that are not timed.

    The ways take turns, so that what else the machine does slows all of them. In a turn a way is
    called as often as fits into 10 ms, or its time would be that of a cold cache.

    Args:
        ways: functions by name.
        repeats: number of timed turns of each.
        most_seconds: time of its calls after which a function is not called again.
    """
    calls = {}
    for what, function in ways.items():
        first, second = _milliseconds(function, 1), math.inf
        if first < 1000:  # the first call may load libraries
            second = _milliseconds(function, 1)
        calls[what] = max(1, int(_TURN / second))
    times: dict[str, list[float]] = {what: [] for what in ways}
    for _ in range(repeats):
        for what, function in ways.items():
            if calls[what] * sum(times[what]) < 1000 * most_seconds:
                times[what].append(_milliseconds(function, calls[what]))
    return {what: statistics.median(taken) for what, taken in times.items()}


def _milliseconds(function: Callable[[], object], calls: int) -> float:
    """Return the mean time of so many calls."""
    start = time.perf_counter()
    for _ in range(calls):
        function()
    return 1000 * (time.perf_counter() - start) / calls


def rows_of(times: Mapping[str, float]) -> list[Row]:
    """Return rows for times in milliseconds, with their ratios to the first one."""
    first = next(iter(times.values()))
    return [Row(what, ms, first / ms) for what, ms in times.items()]


def times_of(rows: Sequence[Row]) -> dict[str, float]:
    """Return the times in milliseconds of the rows that have one."""
    return {row.what: row.milliseconds for row in rows if row.milliseconds is not None}
