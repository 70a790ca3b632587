"""The snapshot folder of a quantum GAN: output.csv, a row per epoch as Aqua wrote it, and checkpoint.pt to go on from."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from qcaan.grids import Floats
from qcaan.training import atomic_write

COLUMNS = ("epoch", "loss_discriminator", "loss_generator", "params_generator", "rel_entropy")


@dataclass(frozen=True)
class EpochRecord:
    """One epoch, numbered from 0: mean losses of its batches, and the relative entropy at its end, in nats."""

    epoch: int
    loss_d: float
    loss_g: float
    rel_entr: float


def write_snapshot(folder: Path, record: EpochRecord, params: Floats, state: dict[str, Any]) -> None:
    """Leave an epoch, its angles [P] and the training's state; the checkpoint last, since it says that the epoch is done.

    Epoch 0 starts output.csv anew, and rows of epochs whose checkpoint was never written are dropped.
    """
    folder.mkdir(parents=True, exist_ok=True)
    row = [record.epoch, record.loss_d, record.loss_g, json.dumps(params.tolist()), record.rel_entr]
    path = folder / "output.csv"
    rows = read_rows(path) if record.epoch and path.is_file() else []
    if rows and int(rows[-1]["epoch"]) == record.epoch - 1:
        with path.open("a", newline="") as file:
            csv.writer(file).writerow(row)
    else:
        kept = [list(old.values()) for old in rows if int(old["epoch"]) < record.epoch]
        with atomic_write(path) as temporary, temporary.open("w", newline="") as file:
            csv.writer(file).writerows([COLUMNS, *kept, row])
    with atomic_write(folder / "checkpoint.pt") as temporary:
        torch.save(state, temporary)


def read_rows(path: Path) -> list[dict[str, str]]:
    """The rows of an output.csv by the names of their columns."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def read_snapshot(folder: Path) -> dict[str, Any]:
    """The last state that `write_snapshot` left.

    Raises:
        ValueError: there is none, or it is damaged.
    """
    path = folder / "checkpoint.pt"
    if not path.is_file():
        raise ValueError(f"{folder} holds no snapshot of a QGAN")
    try:
        return torch.load(path, weights_only=True)
    except OSError:
        raise
    except Exception as error:  # a file cut short fails in many ways, each deep inside torch or zipfile
        raise ValueError(f"{path} is damaged ({type(error).__name__})") from None
