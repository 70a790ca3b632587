"""The snapshot folder of a quantum GAN: output.csv, a row per epoch as Aqua wrote it, and checkpoint.pt to go on from."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from qcaan.files import atomic_write
from qcaan.gans.distribution.grid import Floats

COLUMNS = ("epoch", "loss_discriminator", "loss_generator", "params_generator", "rel_entropy")


@dataclass(frozen=True)
class EpochRecord:
    """One epoch, numbered from 0: mean losses of its batches, and the relative entropy at its end, in nats."""

    epoch: int
    loss_d: float
    loss_g: float
    rel_entr: float


class Snapshots:
    """The folder of one training."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._left = (
            -1,
            -1,
        )  # epoch that output.csv ended with when it was last written here, and its size then

    def write(self, record: EpochRecord, params: Floats, state: dict[str, Any]) -> None:
        """Leave an epoch, its angles [P] and the training's state; the checkpoint last, since it says the epoch is done.

        Epoch 0 starts output.csv anew, and rows of epochs whose checkpoint was never written are dropped.

        Raises:
            ValueError: output.csv is not one of a QGAN.
            OSError: the folder cannot be written.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        row = [
            record.epoch,
            record.loss_d,
            record.loss_g,
            json.dumps(params.tolist()),
            record.rel_entr,
        ]
        path = self.folder / "output.csv"
        if path.is_file() and self._left == (record.epoch - 1, path.stat().st_size):
            with path.open("a", newline="") as file:
                csv.writer(file).writerow(row)
        else:
            kept = _rows_before(record.epoch, path) if path.is_file() else []
            with atomic_write(path) as temporary, temporary.open("w", newline="") as file:
                csv.writer(file).writerows([COLUMNS, *kept, row])
        self._left = (record.epoch, path.stat().st_size)
        with atomic_write(self.folder / "checkpoint.pt") as temporary:
            torch.save(state, temporary)


def _rows_before(epoch: int, path: Path) -> list[list[str]]:
    try:
        with path.open(newline="") as file:
            header, *rows = csv.reader(file)
            if tuple(header) == COLUMNS:
                return [row for row in rows if int(row[0]) < epoch]
    except (ValueError, IndexError, csv.Error):
        pass
    raise ValueError(f"{path} is not the history of a QGAN; name another snapshot_dir")


def read_snapshot(folder: Path) -> dict[str, Any]:
    """The last state that `Snapshots.write` left in a folder.

    Raises:
        ValueError: there is none, or it is damaged.
    """
    path = folder / "checkpoint.pt"
    if not path.is_file():
        raise ValueError(f"{folder} holds no snapshot of a QGAN")
    return read_state(path)


def read_state(path: Path) -> dict[str, Any]:
    """What torch saved in a file.

    Raises:
        ValueError: the file is damaged.
        OSError: it cannot be read.
    """
    try:
        return torch.load(path, weights_only=True)
    except OSError:
        raise
    except (
        Exception
    ) as error:  # a file cut short fails in many ways, each deep inside torch or zipfile
        raise ValueError(f"{path} is damaged ({type(error).__name__})") from None
