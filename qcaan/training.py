"""What every training run needs: seeds, a run directory that nothing is lost from, checkpoints, an averaged generator."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import json
import os
import platform
import re
import tempfile
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

_RECORDED_PACKAGES = ("qcaan", "torch", "torchvision", "qiskit", "qiskit-aer", "scipy", "numpy", "torchmetrics")


class RunError(ValueError):
    """A run directory that cannot be used as asked; the message says why and what to do."""


class TrainingCollapsed(RuntimeError):
    """Training cannot go on; the message says what happened at which step."""


def seed_everything(seed: int) -> None:
    """Seed torch's global generators; NumPy's randomness here is all in generators that are handed around."""
    torch.manual_seed(seed)


def check_seed(seed: int) -> None:
    """Raise ValueError if it is no seed for torch and NumPy alike."""
    if not 0 <= seed < 2**63:
        raise ValueError(f"seed must be at least 0 and below 2**63, got {seed}")


def pick_device(name: str) -> torch.device:
    """`auto` is CUDA if present, else the CPU; any other name is taken as torch takes it.

    Raises:
        ValueError: neither the CPU nor a CUDA device, or CUDA asked for where there is none.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise ValueError(f"unknown device {name!r}; choose auto, cpu, cuda or cuda:N")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(f"device {name!r} asks for a CUDA device, and torch sees {torch.cuda.device_count()}")
    return device


def use_one_thread() -> None:
    """Compute on one CPU thread: where matrices are small, the others only wait for the first."""
    torch.set_num_threads(1)


def random_state() -> dict[str, Tensor]:
    """State of torch's generators on the CPU and, where there is one, the GPU."""
    state = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def set_random_state(state: dict[str, Tensor]) -> None:
    """Put back what `random_state` gave."""
    torch.set_rng_state(state["cpu"].cpu())
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"].cpu())


class EMA(nn.Module):
    """Exponential moving average of a module's weights; buffers are copied (Yazici et al., arXiv:1806.04498).

    The decay grows from 0 to `decay` with the number of updates, so that early averages are not of the initial weights.
    """

    n_updates: Tensor

    def __init__(self, module: nn.Module, decay: float = 0.995) -> None:
        super().__init__()
        self.module = copy.deepcopy(module).requires_grad_(False).eval()
        self.decay = decay
        self.register_buffer("n_updates", torch.tensor(0))

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        self.n_updates += 1
        decay = min(self.decay, (1 + self.n_updates.item()) / (10 + self.n_updates.item()))
        for average, weight in zip(self.module.parameters(), module.parameters(), strict=True):
            average.lerp_(weight, 1 - decay)
        for buffer, value in zip(self.module.buffers(), module.buffers(), strict=True):
            buffer.copy_(value)

    def train(self, mode: bool = True) -> EMA:
        """Change nothing: averages only draw, and what they draw must not depend on what is drawn beside it."""
        return self

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.module(*inputs)


class Trained(Protocol):
    """Networks of one run with their optimisers: what the systems trained by `torch` have in common."""

    epoch: int
    step: int

    @property
    def optimizer_g(self) -> torch.optim.Optimizer: ...

    @property
    def optimizer_d(self) -> torch.optim.Optimizer: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: Mapping[str, Any]) -> object: ...


def training_state(gan: Trained) -> dict[str, Any]:
    """All that a training needs to go on as if it had never stopped, torch's global random state included."""
    return {
        "model": gan.state_dict(),
        "optimizer_g": gan.optimizer_g.state_dict(),
        "optimizer_d": gan.optimizer_d.state_dict(),
        "epoch": gan.epoch,
        "step": gan.step,
        "random": random_state(),
    }


def load_training_state(gan: Trained, state: dict[str, Any]) -> None:
    """Put back what `training_state` gave."""
    gan.load_state_dict(state["model"])
    gan.optimizer_g.load_state_dict(state["optimizer_g"])
    gan.optimizer_d.load_state_dict(state["optimizer_d"])
    gan.epoch, gan.step = state["epoch"], state["step"]
    set_random_state(state["random"])


def check_switch(switch_at: int | None, n_steps: int, differs: bool) -> None:
    """Raise ValueError if the sampler would never be used, or nothing `differs` where it is."""
    if switch_at is None:
        return
    if not 0 <= switch_at < n_steps:
        raise ValueError(f"switch_at must be at least 0 and less than the run's {n_steps} steps, got {switch_at}")
    if not differs:
        raise ValueError("switch_at would change nothing: all steps are on the exact engine; name a sampler or shots")


def described(sampler: str, shots: int, switch_at: int | None) -> str:
    """What ran a run's circuits, in words for its console line and its report."""
    switched = f" from step {switch_at} on" if switch_at else ""
    return f"sampler {sampler}{switched}" + (f", {shots:,} shots" if shots else "")


_TEMPORARY = re.compile(r"\.\w+(\.\w+)\.\w{8}\1")  # names that `atomic_write` gives


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """A temporary path in the same folder that becomes `path` when the block ends well, and vanishes when it does not."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o666 & ~_umask())  # mkstemp makes it private to the user
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically."""
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2) + "\n")


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
                raise RunError(f"{self.path} exists and holds something else than a run; name another --out")
            (self.path / "samples").mkdir(parents=True, exist_ok=True)
            write_json(self._config_path, {"config": _plain(config), **facts, "versions": _versions()})
            return None

        record = self.config()
        self._check_same(record, _plain(config), facts["data"])
        checkpoint = self.load_checkpoint(device) if self.checkpoint_path.is_file() else None
        done, planned = checkpoint["epoch"] if checkpoint else 0, record["config"]["epochs"]
        finished = done >= planned or (checkpoint is not None and checkpoint.get("finished", False))
        if not resume and not finished:
            raise RunError(f"{self.path} holds an unfinished run ({done} of {planned} epochs); go on with --resume")
        if config.epochs != planned:
            if not resume or config.epochs < planned:
                raise RunError(
                    f"{self.path} was planned for {planned} epochs, {config.epochs} asked for; --resume may raise --epochs"
                )
            write_json(self._config_path, {**record, "config": _plain(config)})
        self._keep_records(done)
        for path in self.path.rglob(".*"):
            if _TEMPORARY.fullmatch(path.name):  # what a kill left of a file that it was writing
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
        if not isinstance(record, dict) or not isinstance(record.get("config"), dict) or "data" not in record:
            raise RunError(f"{self._config_path} is damaged: it does not hold a configuration")
        return record

    def _check_same(self, record: dict[str, Any], config: dict[str, Any], data: dict[str, Any]) -> None:
        # the folder of the data may move; that the data are the same is told by `data`. What a device may be asked may change
        ignored = ("epochs", "data_root", "max_jobs", "max_shots", "job_timeout", "ibm_mode")
        old = {**record["config"], **{f"data {key}": value for key, value in record["data"].items()}}
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
        except Exception as error:  # a file cut short fails in many ways, each deep inside torch or zipfile
            raise RunError(f"{self.checkpoint_path} is damaged ({type(error).__name__}); nothing was changed") from None


def _plain(config: Any) -> dict[str, Any]:
    """A configuration dataclass as what JSON gives back for it."""
    return json.loads(json.dumps(dataclasses.asdict(config), default=str))


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in _RECORDED_PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found
