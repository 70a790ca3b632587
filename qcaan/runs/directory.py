"""The directory of a run. A crash loses one epoch at most."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import platform
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from filelock import FileLock, Timeout
from PIL import Image

from qcaan.files import atomic_write, delete_temporary_files, write_arrays, write_json
from qcaan.training import read_state

System = Literal["associative", "image", "wasserstein", "distribution", "classify"]
# raise this number if older versions cannot read the files
FORMAT = 1
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
_LOCK = ".lock"
# options that a resumed run may change: the place of the data, and the limits of the device
_CHANGEABLE = ("epochs", "data_root", "max_jobs", "max_shots", "job_timeout", "ibm_mode")
# options whose defaults follow from the number of images
_DERIVED = ("steps_per_epoch",)


class RunError(ValueError):
    """A run directory cannot be used as asked; the message says why and what to do."""


class RunDirectory:
    """The folder `runs/<name>/` of one run.

    It holds config.json, log.jsonl, checkpoint.pt, samples/, pictures and scores.json. Nothing is
    written before the folder is known to be new, or to belong to the same configuration.

    Args:
        path: path of the folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: FileLock | None = None

    def lock(self) -> None:
        """Own the directory until `with run:` or the process ends, however they end.

        The lock is the operating system's (flock), on the file `.lock`. It also holds between
        machines if the file system supports it, as NFS since version 4 does.

        Raises:
            RunError: another process owns the directory.
        """
        if self._lock is None:
            lock = FileLock(self.path / _LOCK)
            try:
                lock.acquire(timeout=0)
            except Timeout:
                raise RunError(
                    f"{self.path} is in use by another process; wait until it ends"
                ) from None
            self._lock = lock

    def __enter__(self) -> RunDirectory:
        return self

    def __exit__(self, *_: object) -> None:
        if self._lock is not None:
            self._lock.release()
            self._lock = None

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
        self,
        system: System,
        config: Any,
        data: dict[str, Any],
        *,
        resume: bool = False,
        device: torch.device | str = "cpu",
    ) -> dict[str, Any] | None:
        """Make the directory of a new run, or return the checkpoint of an existing one.

        Args:
            system: name of the system that the run trains.
            config: the configuration, a dataclass with a field `epochs`.
            data: facts about the data, which must be the same when a run is resumed.
            resume: whether an unfinished run may continue, and its `epochs` may be raised.
            device: device of the checkpoint's tensors.

        Returns:
            The last checkpoint, or None if no epoch has ended yet. A checkpoint whose `finished`
            is true ended its run early.

        Raises:
            RunError: the directory belongs to another configuration, holds something else, is
                unfinished and `resume` is False, holds nothing and `resume` is True, or is damaged.
            OSError: it cannot be written.
        """
        if not self._config_path.is_file():
            self._make(system, config, data, resume)
            return None

        self.lock()
        record = self.config()
        if record["system"] != system:
            raise RunError(
                f"{self.path} holds a run of the system {record['system']}, not {system}; "
                "name another --out"
            )
        self._check_same(record, _plain(config), data)
        checkpoint = self.load_checkpoint(device) if self.checkpoint_path.is_file() else None
        done, planned = checkpoint["epoch"] if checkpoint else 0, record["config"]["epochs"]
        finished = done >= planned or (checkpoint is not None and checkpoint.get("finished", False))
        if not resume and not finished:
            raise RunError(
                f"{self.path} holds an unfinished run ({done} of {planned} epochs); "
                "continue it with --resume"
            )
        if config.epochs != planned:
            if not resume or config.epochs < planned:
                raise RunError(
                    f"{self.path} was planned for {planned} epochs, {config.epochs} asked for; "
                    "--resume may raise --epochs"
                )
            write_json(self._config_path, {**record, "config": _plain(config)})
        self._keep_records(done)
        delete_temporary_files(self.path)
        return checkpoint

    def _make(self, system: System, config: Any, data: dict[str, Any], resume: bool) -> None:
        if resume:
            raise RunError(f"{self.path} holds no run to resume")
        if self.path.exists() and (
            not self.path.is_dir() or any(file.name != _LOCK for file in self.path.iterdir())
        ):
            raise RunError(
                f"{self.path} exists and holds something else than a run; name another --out"
            )
        self.path.mkdir(parents=True, exist_ok=True)
        self.lock()
        (self.path / "samples").mkdir(exist_ok=True)
        record = {"system": system, "format": FORMAT, "config": _plain(config), "data": data}
        write_json(self._config_path, {**record, "versions": _versions()})

    @property
    def _config_path(self) -> Path:
        return self.path / "config.json"

    def config(self) -> dict[str, Any]:
        """Return the record in config.json.

        Raises:
            RunError: there is none, it is damaged, or it is of another version.
        """
        if not self._config_path.is_file():
            raise RunError(f"{self.path} is not a run directory: it has no config.json")
        try:
            record = json.loads(self._config_path.read_text())
        except ValueError:
            record = None
        parts = ("config", "data")
        if not isinstance(record, dict) or not all(
            isinstance(record.get(part), dict) for part in parts
        ):
            raise RunError(f"{self._config_path} is damaged: it does not hold a configuration")
        for name, known in (("format", (FORMAT,)), ("system", get_args(System))):
            if record.get(name) not in known:
                raise RunError(
                    f"{self._config_path} is of another version of qcaan: its {name} is "
                    f"{record.get(name)!r}, and this version reads {', '.join(map(str, known))}"
                )
        return record

    def fact(self, name: str) -> Any:
        """Return a fact about the data of the run.

        Raises:
            RunError: config.json is damaged: it lacks the fact.
        """
        data = self.config()["data"]
        if name not in data:
            raise RunError(f"{self._config_path} is damaged: its data has no {name}")
        return data[name]

    def _check_same(
        self, record: dict[str, Any], config: dict[str, Any], data: dict[str, Any]
    ) -> None:
        # the fingerprint stands for all facts about the data but their name
        facts = {"name": data["name"]} if "fingerprint" in data else data
        old = {**record["config"], **_named_facts(record["data"])}
        new = {**config, **_named_facts(facts)}
        passed_over = (*_CHANGEABLE, "data provenance")
        differing = [key for key in new if key not in passed_over and old.get(key) != new[key]]
        if "fingerprint" in data and not set(differing) - set(_DERIVED):
            self.check_fingerprint(data["fingerprint"])
        if differing:
            key = differing[0]
            raise RunError(
                f"{self.path} belongs to another configuration "
                f"({key} is {old.get(key)!r} there, {new[key]!r} here); name another --out"
            )

    def check_fingerprint(self, fingerprint: str) -> None:
        """Check that data that were read again are those that the run began with.

        Raises:
            RunError: they are others, or the run has no record of what they were.
        """
        data = self.config()["data"]
        if "fingerprint" not in data:
            raise RunError(
                f"{self.path} is of an older version of qcaan, which recorded no fingerprint of "
                "its data, so that changes cannot be seen; begin a new run"
            )
        if data["fingerprint"] != fingerprint:
            raise RunError(
                f"the data {data.get('name')} have changed since {self.path} began: their "
                f"fingerprint is {fingerprint[:12]} now, and was {str(data['fingerprint'])[:12]}; "
                "bring the old data back, or begin a new run"
            )

    def records(self) -> list[dict[str, Any]]:
        """Return the records of log.jsonl, without a last line that a crash cut short."""
        if not self.log_path.is_file():
            return []
        records = []
        for line in self.log_path.read_text().splitlines():
            with contextlib.suppress(ValueError):
                records.append(json.loads(line))
        return records

    def append(self, record: dict[str, Any]) -> None:
        """Append a record to log.jsonl."""
        with self.log_path.open("a") as file:
            file.write(json.dumps(record) + "\n")

    def _keep_records(self, last_epoch: int) -> None:
        """Drop the log records after `last_epoch`, whose checkpoints were never written."""
        if not self.log_path.is_file():
            return
        kept = [record for record in self.records() if record["epoch"] <= last_epoch]
        if len(kept) == len(self.log_path.read_text().splitlines()):
            return
        with atomic_write(self.log_path) as temporary:
            temporary.write_text("".join(json.dumps(record) + "\n" for record in kept))

    def save_arrays(self, name: str, arrays: dict[str, np.ndarray]) -> None:
        """Write named arrays as an .npz file, atomically."""
        write_arrays(self.path / name, arrays)

    def save_scores(self, scores: dict[str, Any], epoch: int) -> None:
        """Write scores.json, with the number of epochs that were finished."""
        write_json(self.path / "scores.json", {"epoch": epoch, **scores})

    def has_results(self, names: Iterable[str], epoch: int) -> bool:
        """Return whether all these files are there, and belong to the end of this epoch."""
        return all(self._epoch_of(name) == epoch for name in names)

    def _epoch_of(self, name: str) -> int | None:
        """Return the epoch that a file of results carries; None if there is no such file."""
        path = self.path / name
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            if path.suffix == ".json":
                return int(json.loads(path.read_text())["epoch"])
            with Image.open(path) as picture:
                comment = picture.info["comment"]
                return int(comment.decode() if isinstance(comment, bytes) else comment)
        return None

    def save_checkpoint(self, state: dict[str, Any]) -> None:
        """Write the checkpoint, atomically. It is the last file of an epoch to be written."""
        buffer = io.BytesIO()  # torch itself would report a full disk as a RuntimeError
        torch.save(state, buffer)
        with atomic_write(self.checkpoint_path) as temporary:
            temporary.write_bytes(buffer.getbuffer())

    def load_checkpoint(self, device: torch.device | str = "cpu") -> dict[str, Any]:
        """Return the checkpoint, tensors on `device`. Only tensors and plain values are unpickled.

        Raises:
            RunError: there is none, or it is damaged.
        """
        if not self.checkpoint_path.is_file():
            raise RunError(f"{self.path} has no checkpoint yet: its first epoch has not ended")
        try:
            return read_state(self.checkpoint_path, device)
        except ValueError as error:
            raise RunError(f"{error}; nothing was changed") from None


def _named_facts(data: dict[str, Any]) -> dict[str, Any]:
    return {f"data {key}": value for key, value in data.items()}


def _plain(config: Any) -> dict[str, Any]:
    """Return a configuration dataclass as JSON would return it."""
    return json.loads(json.dumps(dataclasses.asdict(config), default=str))


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in _RECORDED_PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found
