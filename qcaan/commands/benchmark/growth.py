"""`qcaan benchmark growth`: how time and memory grow with the work."""

from __future__ import annotations

import multiprocessing
import re
import resource
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from rich.table import Table
from scipy.optimize import least_squares

from qcaan import losses
from qcaan.checks import one_of, whole
from qcaan.circuits.ansatz import make_ansatz
from qcaan.circuits.born import BornMachine
from qcaan.commands.benchmark.engines import random_angles
from qcaan.commands.benchmark.training import default_run
from qcaan.files import check_folder, write_csv
from qcaan.priors.iqp import IQP
from qcaan.runs.session import console

# the circuit of the rows that do not vary it
_QUBITS, _LAYERS = 8, 2
_IQP_STEPS, _IQP_BITS = 20, 2_000
_MOST_SECONDS = 10.0

Work = Callable[[], object]


@dataclass(frozen=True)
class Axis:
    """What grows, and the work at each size.

    Attributes:
        unit: what is counted.
        sizes: default sizes.
        prepare: function from a size to the work that is timed.
        doubles: whether one more doubles the work, as qubits do.
    """

    unit: str
    sizes: tuple[int, ...]
    prepare: Callable[[int], Work]
    doubles: bool = False


class Cost(NamedTuple):
    """Median seconds of the work at one size, and the bytes that it adds to the highest memory."""

    size: int
    seconds: float
    memory: int


class Law(NamedTuple):
    """Fitted seconds = fixed + slope * size**exponent; 2**size stands for size if it doubles."""

    fixed: float
    slope: float
    exponent: float


def main(
    axes: tuple[str, ...] = (),
    sizes: tuple[int, ...] = (),
    repeats: int = 5,
    out: Path | None = None,
) -> None:
    """Measure how time and memory grow with qubits, layers, shots, images and bits.

    Each size is measured in a process of its own, which uses all cores, and the law of growth is
    fitted: a fixed part, and a power of the size. Leave the machine idle meanwhile.

    Args:
        axes: Names of what grows: value, gradient, aer, layers, shots, images, iqp,
            iqp-all-pairs. Default: all.
        sizes: Sizes, if one axis is named. Default: a range that a small machine takes.
        repeats: Number of timed repeats of each size, after one that is not timed. The median is
            shown. Sizes that take seconds get fewer.
        out: CSV file for the same numbers. Default: none is written.
    """
    for name in axes:
        one_of("axes", name, AXES)
    if sizes and len(axes) != 1:
        raise ValueError("`sizes` belong to one axis; name it by --axes")
    for size in sizes:
        whole("sizes", size)
    whole("repeats", repeats)
    if out:
        check_folder(out)
    rows = []
    for name in axes or AXES:
        costs = []
        for size in sizes or AXES[name].sizes:
            cost = _in_own_process(name, size, repeats)
            if cost is None:
                console.print(f"{name}: {size:,} {AXES[name].unit} need more memory than there is")
                break
            costs.append(cost)
            rows.append((name, AXES[name].unit, *cost))
            if out:
                write_csv(out, ("axis", "unit", "size", "seconds", "bytes"), rows)
        if costs:
            _print_axis(name, costs)


def fitted_law(costs: Sequence[Cost], doubles: bool) -> Law | None:
    """Return the law of least squares of relative errors; None for fewer than four sizes."""
    if len(costs) < 4:
        return None
    size = np.array([2.0**cost.size if doubles else cost.size for cost in costs])
    seconds = np.array([cost.seconds for cost in costs])

    def errors(law: np.ndarray) -> np.ndarray:
        fixed, slope, exponent = law
        return np.log(np.exp(fixed) + np.exp(slope) * (size / size[-1]) ** exponent) - np.log(
            seconds
        )

    start = [np.log(seconds[0]), np.log(seconds[-1]), 1.0]
    fixed, slope, exponent = least_squares(errors, start, loss="soft_l1").x
    return Law(float(np.exp(fixed)), float(np.exp(slope) / size[-1] ** exponent), float(exponent))


def _in_own_process(name: str, size: int, repeats: int) -> Cost | None:
    """Return the cost of a size, measured in a new process; None if it needs too much memory."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn) as pool:
        try:
            return pool.submit(_cost, name, size, repeats).result()
        except KeyboardInterrupt:
            for process in multiprocessing.active_children():
                process.kill()
            raise
        except (MemoryError, BrokenProcessPool):
            return None
        except ValueError:
            if not AXES[name].doubles:  # states that do not fit are refused
                raise
            return None


def _cost(name: str, size: int, repeats: int) -> Cost:
    before = _highest_memory()
    work = AXES[name].prepare(size)
    first, *others = _durations(work, repeats + 1)
    # the first call may load libraries, which does not matter if it takes long
    return Cost(size, statistics.median(others or [first]), _highest_memory() - before)


def _durations(work: Work, times: int) -> list[float]:
    """Return the seconds of calls, so many unless they take more than `_MOST_SECONDS`."""
    seconds: list[float] = []
    while len(seconds) < times and sum(seconds) < _MOST_SECONDS:
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return seconds


def _highest_memory() -> int:
    """Return the most memory that this process has had so far, in bytes."""
    status = Path("/proc/self/status")
    if status.is_file():  # what getrusage says on Linux is at least what the parent has
        return 1024 * int(re.search(r"VmHWM:\s+(\d+) kB", status.read_text())[1])  # type: ignore[index]
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _circuit(engine: str, layers: int, n_qubits: int) -> tuple[BornMachine, torch.Tensor]:
    """Return a Born machine of `seed` and angles float64 [1, P]."""
    ansatz = make_ansatz("seed", n_qubits, layers)
    return BornMachine(ansatz, ("z",), engine, np.random.default_rng(0)), random_angles(ansatz)


def _value(engine: str, n_qubits: int) -> Work:
    born, theta = _circuit(engine, _LAYERS, n_qubits)
    return lambda: born.probabilities(theta)


def _gradient(n_qubits: int, layers: int = _LAYERS) -> Work:
    born, theta = _circuit("exact", layers, n_qubits)
    target = torch.full((2**n_qubits,), 0.5**n_qubits, dtype=torch.float64)

    def gradient() -> object:
        point = theta.clone().requires_grad_()
        return torch.autograd.grad(losses.kl(target, born.probabilities(point)[0, 0]), point)

    return gradient


def _shots(shots: int) -> Work:
    born, theta = _circuit("aer", _LAYERS, _QUBITS)
    return lambda: born.frequencies(theta, shots)


def _epoch(n_images: int) -> Work:
    """Return an epoch of the default run on images of noise."""
    # more epochs than are called for
    config, records = default_run(n_images, 1000, torch.device("cpu"))
    assert config.steps_per_epoch is not None
    n_records = config.steps_per_epoch + 1
    return lambda: [next(records) for _ in range(n_records)]


def _iqp(reach: int | str, n_bits: int) -> Work:
    rng = np.random.default_rng(0)
    bits = torch.from_numpy(rng.integers(2, size=(_IQP_BITS, n_bits), dtype=np.uint8))
    prior = IQP(n_bits, reach, fit_evals=_IQP_STEPS, seed=0)  # type: ignore[arg-type]
    return lambda: prior.fit(bits)


# by the names that `main` lists
AXES = {
    "value": Axis("qubits", (4, 8, 12, 16, 18, 20, 22), partial(_value, "exact"), doubles=True),
    "gradient": Axis("qubits", (4, 8, 12, 16, 18, 20, 22), _gradient, doubles=True),
    "aer": Axis("qubits", (4, 8, 12, 16, 18, 20, 22), partial(_value, "aer"), doubles=True),
    "layers": Axis("layers", (2, 4, 8, 16, 32, 64), partial(_gradient, _QUBITS)),
    "shots": Axis("shots", (100, 1_000, 10_000, 100_000, 1_000_000), _shots),
    # an epoch of fewer images has as many steps as one of 18,000
    "images": Axis("images", (18_000, 30_000, 45_000, 60_000), _epoch),
    "iqp": Axis("bits", (16, 64, 128, 256, 512, 1_000), partial(_iqp, 3)),
    "iqp-all-pairs": Axis("bits", (16, 64, 128, 256, 512, 1_000), partial(_iqp, "all")),
}


def _print_axis(name: str, costs: Sequence[Cost]) -> None:
    axis = AXES[name]
    law = fitted_law(costs, axis.doubles)
    caption = "too few sizes for a law"
    if law is not None:
        growth = f"{axis.unit}^{law.exponent:.2f}"
        if axis.doubles:
            growth = f"{2**law.exponent:.2f}^{axis.unit}"
        caption = f"seconds: {law.fixed:.2g} + {law.slope:.2g} × {growth}"
    table = Table(axis.unit, "seconds", "MiB", title=name, caption=caption)
    for cost in costs:
        table.add_row(f"{cost.size:,}", f"{cost.seconds:.3g}", f"{cost.memory / 2**20:.0f}")
    console.print(table)
