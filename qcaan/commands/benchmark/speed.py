"""`qcaan benchmark`: time the parts that must be fast.

Machines differ and are shared, so read the ratios within one run, not the times.
"""

from __future__ import annotations

import contextlib
import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch
from rich.table import Table

from qcaan.checks import check_memory, whole
from qcaan.commands.benchmark.engines import cost_evaluations, engine_goals, exact_engines
from qcaan.commands.benchmark.fits import EVALUATIONS, cobyla_fits, fit_goals
from qcaan.commands.benchmark.layers import BATCH, layer_goals, quantum_layers
from qcaan.commands.benchmark.timing import Goal, Row
from qcaan.commands.benchmark.training import epoch_share, qgan_goals, qgan_training
from qcaan.commands.benchmark.wide import iqp_circuits, iqp_goals
from qcaan.files import check_folder, write_json
from qcaan.runs.session import console
from qcaan.training import pick_device


def main(
    repeats: int = 30,
    epochs: int = 2,
    qgan_steps: int = 10,
    qubits: tuple[int, ...] = (4, 8, 12, 16, 20),
    layer_qubits: tuple[int, ...] = (4, 8),
    device: str = "auto",
    json: Path | None = None,
) -> None:
    """Time Aer, fits, exact engines, layers, IQP circuits, and the prior's share.

    Packages of the extra `bench` that are installed are timed too.

    Args:
        repeats: Number of timed evaluations of each row, at least 1. The median is shown. Rows that
            take seconds get fewer.
        epochs: Number of epochs of the default run to time; 0 leaves them out.
        qgan_steps: Number of steps of the QGAN tutorial to time, which take minutes if Qiskit
            Machine Learning is installed; 0 leaves them out.
        qubits: Numbers of qubits at which exact engines are timed.
        layer_qubits: Numbers of qubits at which circuits as layers are timed.
        device: Device of the epochs: auto (CUDA if available), cpu, cuda or cuda:N.
        json: File for the same numbers. Default: none is written.
    """
    whole("repeats", repeats)
    whole("epochs", epochs, 0)
    whole("qgan_steps", qgan_steps, 0)
    for name, sizes in (("qubits", qubits), ("layer_qubits", layer_qubits)):
        for size in sizes:
            check_memory(whole(name, size), name)
    if json:
        check_folder(json)
    where = pick_device(device)
    cores = f"{os.cpu_count()} CPU cores"
    place = torch.cuda.get_device_name(where) if where.type == "cuda" else cores
    sections = {}
    for title, rows, goals in _measured(repeats, qubits, layer_qubits, qgan_steps):
        _print_section(title, rows, goals)
        sections[title] = rows
    if epochs:
        title = f"default epoch on {place}"
        sections[title] = epoch_share(where, epochs)
        _print_section(title, sections[title], [])
    if json:
        _write(json, place, sections)


def _measured(
    repeats: int, qubits: Sequence[int], layer_qubits: Sequence[int], qgan_steps: int
) -> Iterator[tuple[str, list[Row], list[Goal]]]:
    """Yield the title, the rows and the goals of each section, all but Aer's on one core."""
    yield "cost evaluation, 8 qubits, 2,000 shots", cost_evaluations(repeats), []
    with _one_thread():
        rows = cobyla_fits(max(1, repeats // 10))
        title = f"COBYLA on Aer, 8 qubits, two bases, {EVALUATIONS} evaluations, one core"
        yield title, rows, fit_goals(rows)
        for n in qubits:
            rows = exact_engines(n, repeats)
            goals = engine_goals(rows) if n == 8 else []
            yield f"exact engines, {n} qubits, one core", rows, goals
        for n in layer_qubits:
            rows = quantum_layers(n, repeats)
            yield f"QuantumLayer, {n} qubits, batch {BATCH}, one core", rows, layer_goals(rows)
        rows = iqp_circuits(repeats)
        yield "IQP circuits, one core", rows, iqp_goals(rows)
        if qgan_steps:
            rows = qgan_training(qgan_steps, repeats)
            title = f"QGAN tutorial: 6 qubits, 84 angles, {qgan_steps} steps, one core"
            yield title, rows, qgan_goals(rows)


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Let torch compute on one thread inside the block."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _print_section(title: str, rows: Sequence[Row], goals: Sequence[Goal]) -> None:
    table = Table("what", "median ms", "ratio", title=title, caption="ratio: to the first row")
    for row in rows:
        numbers = (
            "not installed" if value is None else f"{value:.3g}"
            for value in (row.milliseconds, row.ratio)
        )
        table.add_row(row.what, *numbers)
    console.print(table)
    for goal in goals:
        console.print(f"{goal.what}: {goal.ratio:.3g} (aim: {goal.aim})")


def _write(path: Path, place: str, sections: Mapping[str, Sequence[Row]]) -> None:
    """Write the machine and the rows of all sections as JSON."""
    machine = {
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "device": place,
    }
    results = {title: [vars(row) for row in rows] for title, rows in sections.items()}
    write_json(path, {**machine, **results})
