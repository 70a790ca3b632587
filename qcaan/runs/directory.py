"""The directory of a run, which nothing is lost from: configuration, log, checkpoint and pictures."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from qcaan.files import TEMPORARY, atomic_write, write_json

_RECORDED_PACKAGES = (
    "qcaan",
    "torch",
    "torchvision",
    "qiskit",
    "qiskit-aer",
    "scipy",
    "numpy",
    "torchmetrics",
)


class RunError(ValueError):
    """A run directory that cannot be used as asked; the message says why and what to do."""


class RunDirectory:
    """`runs/<name>/`: config.json, log.jsonl, checkpoint.pt, samples/, pictures and scores.json of one run.

    Opening one writes nothing before it is known to be new, or to belong to the same configuration.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def checkpoint_path(self) -> Path:
        return self.path / "checkpoint.pt"

    @property
    def log_path(self) -> Path:
        return self.path / "log.jsonl"

    @property
    def jobs_path(self) -> Path:
        return self.path / "jobs.jsonl"

    def begin(
        self, config: Any, facts: dict[str, Any], resume: bool, device: torch.device | str
    ) -> dict[str, Any] | None:
        """Make the directory of a new run, or give the checkpoint of one that is there, with tensors on `device`.

        Args:
            config: the configuration, a dataclass with a field `epochs`.
            facts: what else config.json records; its `data` must be the same when a run goes on.
            resume: whether an unfinished run may go on, and `epochs` be raised.

        Returns:
            The last checkpoint, or None where no epoch has ended yet. One whose `finished` is true ended its run early.

        Raises:
            RunError: the directory belongs to another configuration, holds something else, is unfinished and `resume` is
                False, holds nothing and `resume` is True, or is damaged.
            OSError: it cannot be written.
        """
        if not self._config_path.is_file():
            if resume:
                raise RunError(f"{self.path} holds no run to resume")
            if self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
                raise RunError(
                    f"{self.path} exists and holds something else than a run; name another --out"
                )
            (self.path / "samples").mkdir(parents=True, exist_ok=True)
            write_json(
                self._config_path, {"config": _plain(config), **facts, "versions": _versions()}
            )
            return None

        record = self.config()
        self._check_same(record, _plain(config), facts["data"])
        checkpoint = self.load_checkpoint(device) if self.checkpoint_path.is_file() else None
        done, planned = checkpoint["epoch"] if checkpoint else 0, record["config"]["epochs"]
        finished = done >= planned or (checkpoint is not None and checkpoint.get("finished", False))
        if not resume and not finished:
            raise RunError(
                f"{self.path} holds an unfinished run ({done} of {planned} epochs); go on with --resume"
            )
        if config.epochs != planned:
            if not resume or config.epochs < planned:
                raise RunError(
                    f"{self.path} was planned for {planned} epochs, {config.epochs} asked for; --resume may raise --epochs"
                )
            write_json(self._config_path, {**record, "config": _plain(config)})
        self._keep_records(done)
        for path in self.path.rglob(".*"):
            if TEMPORARY.fullmatch(path.name):  # what a kill left of a file that it was writing
                path.unlink()
        return checkpoint

    @property
    def _config_path(self) -> Path:
        return self.path / "config.json"

    def config(self) -> dict[str, Any]:
        """The record in config.json.

        Raises:
            RunError: there is none, or it is damaged.
        """
        if not self._config_path.is_file():
            raise RunError(f"{self.path} is not a run directory: it has no config.json")
        try:
            record = json.loads(self._config_path.read_text())
        except ValueError:
            record = None
        if (
            not isinstance(record, dict)
            or not isinstance(record.get("config"), dict)
            or "data" not in record
        ):
            raise RunError(f"{self._config_path} is damaged: it does not hold a configuration")
        return record

    def _check_same(
        self, record: dict[str, Any], config: dict[str, Any], data: dict[str, Any]
    ) -> None:
        # the folder of the data may move; that the data are the same is told by `data`. What a device may be asked may change
        ignored = ("epochs", "data_root", "max_jobs", "max_shots", "job_timeout", "ibm_mode")
        old = {
            **record["config"],
            **{f"data {key}": value for key, value in record["data"].items()},
        }
        new = {**config, **{f"data {key}": value for key, value in data.items()}}
        for key in new:
            if key not in ignored and not key.endswith("provenance") and old.get(key) != new[key]:
                raise RunError(
                    f"{self.path} belongs to another configuration ({key} is {old.get(key)!r} there, {new[key]!r} here); "
                    "name another --out"
                )

    def records(self) -> list[dict[str, Any]]:
        """The records of log.jsonl; a last line cut short by a crash is left out."""
        if not self.log_path.is_file():
            return []
        records = []
        for line in self.log_path.read_text().splitlines():
            with contextlib.suppress(ValueError):
                records.append(json.loads(line))
        return records

    def append(self, record: dict[str, Any]) -> None:
        with self.log_path.open("a") as file:
            file.write(json.dumps(record) + "\n")

    def _keep_records(self, last_epoch: int) -> None:
        """Drop log records after `last_epoch`: of epochs whose checkpoint was never written."""
        if not self.log_path.is_file():
            return
        kept = [record for record in self.records() if record["epoch"] <= last_epoch]
        if len(kept) == len(self.log_path.read_text().splitlines()):
            return
        with atomic_write(self.log_path) as temporary:
            temporary.write_text("".join(json.dumps(record) + "\n" for record in kept))

    def save_arrays(self, name: str, arrays: dict[str, np.ndarray]) -> None:
        with atomic_write(self.path / name) as temporary:
            np.savez(temporary, allow_pickle=False, **arrays)

    def save_checkpoint(self, state: dict[str, Any]) -> None:
        with atomic_write(self.checkpoint_path) as temporary:
            torch.save(state, temporary)

    def load_checkpoint(self, device: torch.device | str = "cpu") -> dict[str, Any]:
        """The checkpoint, tensors on `device`; only tensors and plain values are unpickled.

        Raises:
            RunError: there is none, or it is damaged.
        """
        if not self.checkpoint_path.is_file():
            raise RunError(f"{self.path} has no checkpoint yet: its first epoch has not ended")
        try:
            return torch.load(self.checkpoint_path, map_location=device, weights_only=True)
        except OSError:
            raise
        except (
            Exception
        ) as error:  # a file cut short fails in many ways, each deep inside torch or zipfile
            raise RunError(
                f"{self.checkpoint_path} is damaged ({type(error).__name__}); nothing was changed"
            ) from None


def _plain(config: Any) -> dict[str, Any]:
    """A configuration dataclass as what JSON gives back for it."""
    return json.loads(json.dumps(dataclasses.asdict(config), default=str))


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in _RECORDED_PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found
