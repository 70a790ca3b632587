"""The state of a QGAN, and its snapshot folder.

The folder holds output.csv, with a row for each epoch as Aqua wrote it, and checkpoint.pt.
"""

from __future__ import annotations

import copy
import csv
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from qcaan import training
from qcaan.checks import Floats
from qcaan.files import append_line, atomic_write, write_csv
from qcaan.gans.distribution.discriminator import Adversary
from qcaan.gans.distribution.generator import CircuitGenerator
from qcaan.gans.distribution.grid import Grid

COLUMNS = ("epoch", "loss_discriminator", "loss_generator", "params_generator", "rel_entropy")


@dataclass(frozen=True)
class EpochRecord(training.EpochRecord):
    """Record of one epoch: the means of its steps' losses, and the relative entropy at its end.

    Attributes:
        rel_entr: KL(model || data) in nats.
    """

    rel_entr: float


class Resumable(Protocol):
    """The part of a QGAN that its state consists of."""

    grid: Grid
    generator: CircuitGenerator
    discriminator: Adversary
    random: np.random.Generator
    d_loss: list[float]
    g_loss: list[float]
    rel_entr: list[float]

    @property
    def epoch(self) -> int: ...

    @property
    def is_good_enough(self) -> bool: ...


class Snapshots:
    """Writes the snapshot folder of one training.

    Args:
        folder: path of the folder; it is made when the first epoch ends.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        # epoch that output.csv ended with when it was last written here, and its size then
        self._left = (0, -1)

    def check(self) -> None:
        """Check, before a training goes on, that a file output.csv is the history of a QGAN.

        Raises:
            ValueError: it is not.
            OSError: it cannot be read.
        """
        path = self.folder / "output.csv"
        if path.is_file():
            _rows_before(0, path)

    def write(self, record: EpochRecord, params: Floats, state: dict[str, Any]) -> None:
        """Write the row and the checkpoint of an epoch.

        The checkpoint is written last: it marks the epoch as finished. The first epoch starts
        output.csv anew, and rows of epochs whose checkpoint was never written are dropped. In
        output.csv epochs count from 0, as Aqua's did.

        Args:
            record: record of the epoch.
            params: angles [P] of the generator.
            state: state of the training.

        Raises:
            ValueError: output.csv is not that of a QGAN.
            OSError: the folder cannot be written.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        number, angles = record.epoch - 1, json.dumps(params.tolist())
        row = [number, record.loss_d, record.loss_g, angles, record.rel_entr]
        path = self.folder / "output.csv"
        if path.is_file() and self._left == (record.epoch - 1, path.stat().st_size):
            line = io.StringIO(newline="")
            csv.writer(line).writerow(row)
            append_line(path, line.getvalue().encode())
        else:
            kept = _rows_before(number, path) if path.is_file() else []
            write_csv(path, COLUMNS, [*kept, row])
        self._left = (record.epoch, path.stat().st_size)
        with atomic_write(self.folder / "checkpoint.pt") as buffer:
            torch.save(state, buffer)


def _rows_before(number: int, path: Path) -> list[list[str]]:
    """Return the rows of output.csv before the epoch with a number, counted from 0."""
    try:
        with path.open(newline="") as file:
            header, *rows = csv.reader(file)
            if tuple(header) == COLUMNS:
                # the row of an epoch that was cut short has no checkpoint
                whole = [row for row in rows if len(row) == len(COLUMNS)]
                return [row for row in whole if int(row[0]) < number]
    except (ValueError, IndexError, csv.Error):
        pass
    raise ValueError(f"{path} is not the history of a QGAN; name another `snapshot_dir`")


def read_snapshot(folder: Path) -> Any:
    """Return the last state that `Snapshots.write` saved in a folder.

    Raises:
        ValueError: there is none, or it is damaged.
    """
    path = folder / "checkpoint.pt"
    if not path.is_file():
        raise ValueError(f"{folder} holds no snapshot of a QGAN")
    return training.read_state(path)


def training_state(qgan: Resumable) -> dict[str, Any]:
    """Return all that training needs to continue as if it had never stopped."""
    return {
        "epoch": qgan.epoch,
        "finished": qgan.is_good_enough,
        "bounds": qgan.grid.bounds.tolist(),
        "n_qubits": list(qgan.grid.n_qubits),
        "generator": qgan.generator.state_dict(),
        "discriminator": qgan.discriminator.state_dict(),
        "history": [qgan.d_loss, qgan.g_loss, qgan.rel_entr],
        "random": qgan.random.bit_generator.state,
    }


def load_training_state(qgan: Resumable, state: object) -> None:
    """Restore the state that `training_state` returned. A refused state changes nothing.

    Raises:
        ValueError: it is of another system, grid, generator, discriminator or loss.
    """
    before = copy.deepcopy(training_state(qgan))
    if not isinstance(state, dict) or not before.keys() <= state.keys():
        raise ValueError("the snapshot is not that of a QGAN of distributions")
    for name in ("bounds", "n_qubits"):
        if state[name] != before[name]:
            raise ValueError(f"the snapshot has the {name} {state[name]}, expected {before[name]}")
    try:
        _restore(qgan, state)
    # players of another kind fail deep inside torch or the user's own code
    except Exception as error:
        if training.is_out_of_memory(error):
            raise
        _restore(qgan, before)
        what = str(error) if isinstance(error, ValueError) else type(error).__name__
        raise ValueError(
            f"the snapshot is of another generator, discriminator or optimiser ({what})"
        ) from None


def _restore(qgan: Resumable, state: dict[str, Any]) -> None:
    qgan.generator.load_state_dict(state["generator"])
    qgan.discriminator.load_state_dict(state["discriminator"])
    qgan.d_loss, qgan.g_loss, qgan.rel_entr = (list(values) for values in state["history"])
    qgan.random.bit_generator.state = state["random"]
