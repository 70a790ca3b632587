"""The directory of a run. A crash loses one epoch at most."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import os
import platform
from collections.abc import Callable, Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from filelock import FileLock, Timeout
from PIL import Image

from qcaan.files import (
    append_record,
    atomic_write,
    check_new_folder,
    delete_temporary_files,
    is_temporary,
    new_folder,
    parse_json,
    read_records,
    write_arrays,
    write_json,
    write_text,
)
from qcaan.training import read_state

log = logging.getLogger(__name__)

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
_CHANGEABLE = (
    "epochs",
    "data_root",
    "max_jobs",
    "max_shots",
    "max_cost",
    "job_timeout",
    "ibm_mode",
)
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

    def check(self, *, resume: bool) -> None:
        """Check, before any work, that a new run can be made here or, with `resume`, goes on here.

        Raises:
            RunError: the directory holds something else or, with `resume`, nothing.
            ValueError, OSError: it cannot be written.
        """
        if self._config_path.is_file():
            for name in (self.checkpoint_path, self.log_path, self.jobs_path):
                if os.path.lexists(name) and not name.is_file():
                    raise RunError(f"{name} is not a file")
            if os.path.lexists(self._samples) and not self._samples.is_dir():
                raise RunError(f"{self._samples} is not a folder")
        elif resume:
            raise RunError(f"{self.path} holds no run to resume")
        elif os.path.lexists(self.path) and not (self.path.is_dir() and self._is_unmade()):
            raise RunError(
                f"{self.path} exists and holds something else than a run; name another --out"
            )
        check_new_folder(self.path)

    def begin(
        self,
        system: System,
        config: Any,
        data: dict[str, Any],
        *,
        resume: bool = False,
        device: torch.device | str = "cpu",
        restore: Callable[[dict[str, Any]], object] = lambda checkpoint: None,
    ) -> dict[str, Any] | None:
        """Make the directory of a new run, or return the checkpoint of an existing one.

        A run that is refused is left as it was. Otherwise config.json gets the options that it
        lacks; see `options`.

        Args:
            system: name of the system that the run trains.
            config: the configuration, a dataclass with a field `epochs`.
            data: facts about the data, which must be the same when a run is resumed.
            resume: whether an unfinished run may continue, and its `epochs` may be raised.
            device: device of the checkpoint's tensors.
            restore: restores the state of a checkpoint, or raises an error.

        Returns:
            The last checkpoint, or None if no epoch has ended yet. A checkpoint whose `finished`
            is true ended its run early.

        Raises:
            RunError: the directory belongs to another configuration, holds something else, is
                unfinished and `resume` is False, holds nothing and `resume` is True, or is damaged.
            OSError: it cannot be written.
        """
        self.check(resume=resume)
        if not self._config_path.is_file():
            self._make(system, config, data)
            return None

        if (self.path / _LOCK).is_file():  # a run that came without one gets it if it goes on
            self.lock()
        record = self.config()
        if record["system"] != system:
            raise RunError(
                f"{self.path} holds a run of the system {record['system']}, not {system}; "
                "name another --out"
            )
        options = self.options(type(config))
        self._check_same({**record, "config": options}, _plain(config), data)
        checkpoint = self.load_checkpoint(device) if self.checkpoint_path.is_file() else None
        done, planned = checkpoint["epoch"] if checkpoint else 0, options["epochs"]
        if not isinstance(planned, int) or planned < 1:
            raise RunError(f"{self._config_path} is damaged: its number of epochs is {planned!r}")
        finished = done >= planned or (checkpoint is not None and checkpoint.get("finished", False))
        if not resume and not finished:
            raise RunError(
                f"{self.path} holds an unfinished run ({done} of {planned} epochs); "
                "continue it with --resume"
            )
        if config.epochs != planned and (not resume or config.epochs < planned):
            raise RunError(
                f"{self.path} was planned for {planned} epochs, {config.epochs} asked for; "
                "--resume may raise --epochs"
            )
        kept = [entry for entry in self.records() if entry["epoch"] <= done]
        if checkpoint is not None:
            restore(checkpoint)
        self.lock()
        # nothing is refused, and so nothing is changed, before this line
        if config.epochs != planned or options != record["config"]:
            write_json(self._config_path, {**record, "config": _plain(config)})
        self._keep_records(kept)
        delete_temporary_files(self.path)
        self._samples.mkdir(exist_ok=True)
        return checkpoint

    def _make(self, system: System, config: Any, data: dict[str, Any]) -> None:
        record = {"system": system, "format": FORMAT, "config": _plain(config), "data": data}
        with new_folder(self.path):
            self.lock()
            if self._config_path.is_file():
                raise RunError(f"{self.path} was made by another process just now")
            try:
                with new_folder(self._samples):
                    write_json(self._config_path, {**record, "versions": _versions()})
            except OSError:
                (self.path / _LOCK).unlink()
                raise

    def _is_unmade(self) -> bool:
        """Return whether the folder holds no more than a process killed in `_make` may leave."""
        return not any(
            file.name != _LOCK and not is_temporary(file)
            for file in self.path.rglob("*")
            if file != self._samples or not file.is_dir()
        )

    @property
    def _samples(self) -> Path:
        return self.path / "samples"

    @property
    def _config_path(self) -> Path:
        return self.path / "config.json"

    def config(self) -> dict[str, Any]:
        """Return the record in config.json.

        Raises:
            RunError: there is none, it is damaged, or it is of another version.
        """
        if not self._config_path.is_file():
            if not self.path.is_dir():
                what = "is a file" if os.path.lexists(self.path) else "does not exist"
                raise RunError(f"{self.path} {what}; name the directory of a run")
            raise RunError(f"{self.path} is not a run directory: it has no config.json")
        record = parse_json(self._config_path.read_bytes())
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

    def options(self, config_class: type[Any]) -> dict[str, Any]:
        """Return the options of the run as JSON holds them.

        Those that config.json lacks, since an earlier version of qcaan made the run, have their
        defaults. A warning in the log names them.

        Args:
            config_class: dataclass of the configuration; all its fields have defaults.

        Raises:
            RunError: config.json is damaged, or holds an option that this version does not know.
        """
        recorded, defaults = self.config()["config"], _plain(config_class())
        if unknown := recorded.keys() - defaults.keys():
            raise RunError(
                f"{self._config_path} is of another version of qcaan: this version has no option "
                f"{min(unknown)}"
            )
        lacking = {name: value for name, value in defaults.items() if name not in recorded}
        if lacking:
            log.warning(
                "%s is of an earlier version of qcaan; the options that it lacks take their "
                "defaults: %s",
                self._config_path,
                ", ".join(f"{name} is {value!r}" for name, value in lacking.items()),
            )
        return {**recorded, **lacking}

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
        differing = [key for key in new if key not in passed_over and old.get(key) != new.get(key)]
        if "fingerprint" in data and not set(differing) - set(_DERIVED):
            self.check_fingerprint(data["fingerprint"])
        if differing:
            key = differing[0]
            raise RunError(
                f"{self.path} belongs to another configuration "
                f"({key} is {old.get(key)!r} there, {new.get(key)!r} here); name another --out"
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
        """Return the records of log.jsonl, without a last line that a crash cut short.

        Raises:
            RunError: it is damaged.
        """
        try:
            records = read_records(self.log_path)
        except ValueError as error:
            raise RunError(str(error)) from None
        for number, record in enumerate(records, 1):
            if not isinstance(record.get("epoch"), int):
                raise RunError(f"{self.log_path} is damaged: line {number} has no epoch")
        return records

    def append(self, record: dict[str, Any]) -> None:
        """Append a record to log.jsonl."""
        append_record(self.log_path, record)

    def _keep_records(self, kept: list[dict[str, Any]]) -> None:
        """Drop all other records of the log, those of epochs that were never finished."""
        text = "".join(json.dumps(record) + "\n" for record in kept)
        if self.log_path.is_file() and self.log_path.read_bytes() != text.encode():
            write_text(self.log_path, text)

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
        # a file that cannot be read is made again
        with contextlib.suppress(Exception):
            if path.suffix == ".json":
                return int(json.loads(path.read_text())["epoch"])
            with Image.open(path) as picture:
                comment = picture.info["comment"]
                return int(comment.decode() if isinstance(comment, bytes) else comment)
        return None

    def save_checkpoint(self, state: dict[str, Any]) -> None:
        """Write the checkpoint, atomically. It is the last file of an epoch to be written."""
        with atomic_write(self.checkpoint_path) as buffer:
            torch.save(state, buffer)

    def load_checkpoint(self, device: torch.device | str = "cpu") -> dict[str, Any]:
        """Return the checkpoint, tensors on `device`. Only tensors and plain values are unpickled.

        Raises:
            RunError: there is none, or it is damaged.
        """
        if not self.checkpoint_path.is_file():
            raise RunError(f"{self.path} has no checkpoint yet: its first epoch has not ended")
        try:
            state = read_state(self.checkpoint_path, device)
        except ValueError as error:
            raise RunError(f"{error}; nothing was changed") from None
        if not isinstance(state, dict) or not isinstance(state.get("epoch"), int):
            raise RunError(
                f"{self.checkpoint_path} is not the checkpoint of a run; nothing was changed"
            )
        return state


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
