"""Time what has to be fast, as ratios within one run: machines differ and are shared, so read those.

python scripts/benchmark.py --json benchmark.json
"""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from _cli import console, run_script
from qiskit import transpile
from qiskit_aer import AerSimulator
from qiskit_aer.primitives import SamplerV2
from rich.table import Table

from qcaan.ansatz import make_ansatz
from qcaan.born import BornMachine
from qcaan.gans.associative import AssociativeConfig, AssociativeGAN, EpochRecord, train
from qcaan.samplers import make_sampler
from qcaan.training import pick_device, write_json

SHOTS = 2000


@dataclass(frozen=True)
class Row:
    what: str
    milliseconds: float  # median
    ratio: float  # of the section's first row to this one: how many times faster


def median_ms(function: Callable[[], object], repeats: int) -> float:
    function()  # warm-up
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(1000 * (time.perf_counter() - start))
    return statistics.median(times)


def cost_evaluations(repeats: int) -> list[Row]:
    """One cost evaluation of a QCBM on Aer: 8 qubits, seed ansatz with 2 layers, one basis, 2,000 shots."""
    ansatz = make_ansatz("seed", 8, 2)
    theta = np.random.default_rng(0).normal(0, 1, (1, ansatz.n_params))
    circuit = ansatz.to_circuit()
    circuit.measure_all()
    simulator = AerSimulator()
    transpiled = transpile(circuit, simulator, optimization_level=1)
    aer_sampler = SamplerV2()
    born = BornMachine(ansatz, ("z",), make_sampler("aer", 0), exact=True)
    both = BornMachine(ansatz, ("z", "o"), make_sampler("aer", 0), exact=True)

    def transpile_and_run() -> object:
        bound = transpile(circuit, simulator).assign_parameters(theta[0][: circuit.num_parameters])
        return simulator.run(bound, shots=SHOTS).result().get_counts()

    ways = {
        "transpile and run at every call": transpile_and_run,
        "Aer's SamplerV2, transpiled once": lambda: aer_sampler.run([(transpiled, theta[0])], shots=SHOTS).result(),
        "qcaan, --sampler aer": lambda: born.frequencies(theta, SHOTS),
        "qcaan, --shots 0 (exact, by Aer)": lambda: born.probabilities(theta),
        "qcaan, --shots 0, two bases": lambda: both.probabilities(theta),
    }
    times = {what: median_ms(function, repeats) for what, function in ways.items()}
    first = next(iter(times.values()))
    return [Row(what, ms, first / ms) for what, ms in times.items()]


def epoch_share(device: torch.device, epochs: int) -> list[Row]:
    """An epoch of the default run's shape (18,345 pictures, as MNIST 3/7/9 has) and what the prior takes of it."""
    images = torch.rand(18_345, 1, 28, 28, generator=torch.Generator().manual_seed(0)).to(device) * 2 - 1
    config = AssociativeConfig(epochs=epochs, device=str(device)).resolved(len(images))
    gan = AssociativeGAN(config, (1, 28, 28), device)
    whole, prior = [], []
    start = time.perf_counter()
    for record in train(gan, images):
        if isinstance(record, EpochRecord):
            whole.append(1000 * (time.perf_counter() - start))
            prior.append(1000 * record.fit.seconds)
            start = time.perf_counter()
    whole_ms, prior_ms = statistics.median(whole), statistics.median(prior)
    return [
        Row("one epoch", whole_ms, 1.0),
        Row("of it the prior: fit and bank of shots", prior_ms, whole_ms / prior_ms),
    ]


def main(repeats: int = 30, epochs: int = 2, device: str = "auto", json: Path | None = None) -> None:
    """Time cost evaluations on Aer and the prior's share of an epoch.

    Args:
        repeats: evaluations per row; the median is shown.
        epochs: epochs of the default run's shape to time; 0 leaves them out.
        device: of the epochs: auto, cpu, cuda, cuda:N.
        json: file for the same numbers.
    """
    if repeats < 1 or epochs < 0:
        raise ValueError(f"repeats must be at least 1 and epochs at least 0, got {repeats} and {epochs}")
    where = pick_device(device)
    name = torch.cuda.get_device_name(where) if where.type == "cuda" else f"{os.cpu_count()} CPU cores"
    sections = {"cost evaluation, 8 qubits, 2,000 shots": cost_evaluations(repeats)}
    if epochs:
        sections[f"default epoch on {name}"] = epoch_share(where, epochs)
    for title, rows in sections.items():
        table = Table("what", "median ms", "times faster than the first", title=title)
        for row in rows:
            table.add_row(row.what, f"{row.milliseconds:.1f}", f"{row.ratio:.1f}")
        console.print(table)
    if json:
        machine = {"machine": platform.machine(), "cores": os.cpu_count(), "python": platform.python_version()}
        results = {title: [vars(row) for row in rows] for title, rows in sections.items()}
        write_json(json, {**machine, "device": name, **results})


if __name__ == "__main__":
    run_script(main)
