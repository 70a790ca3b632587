"""Trained systems, of whatever kind, loaded from their run directories."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

from qcaan.checks import check_seed
from qcaan.runs.directory import RunDirectory, RunError, System
from qcaan.runs.restoring import draw_samplers, restore
from qcaan.samplers.jobs import DeviceOptions
from qcaan.samplers.names import MakeSampler, is_device
from qcaan.samplers.rehearsal import Plan, Stage
from qcaan.training import pick_device

# systems that draw images; the others draw real numbers or nothing
IMAGE_SYSTEMS = ("associative", "image")
# options of a device that draws take from their run
_RECORDED_OPTIONS = ("ibm_mode", "job_timeout")


@dataclass(frozen=True)
class Run:
    """A trained run.

    Attributes:
        directory: its directory.
        system: name of its system.
        gan: the trained system, as its last checkpoint holds it.
    """

    directory: RunDirectory
    system: System
    gan: Any

    def generate(self, n: int) -> Any:
        """Draw n samples.

        Runs on images return two tensors: images [n, C, H, W] in [-1, 1], and what they were drawn
        from. Runs on real numbers return a tensor of samples float64 [n, k]. On a device, the draws
        are jobs that may be paid for.
        """
        drawn = self.gan.generate(n)
        return torch.from_numpy(drawn) if isinstance(drawn, np.ndarray) else drawn


def load_run(
    path: str | Path,
    *,
    seed: int = 0,
    device: str = "auto",
    data_root: str | Path | None = None,
    make_sampler: MakeSampler | None = None,
) -> Run:
    """Load a run from its directory.

    Args:
        path: path of the directory.
        seed: seed of the draws.
        device: device of the networks: auto, cpu, cuda or cuda:N.
        data_root: folder of the data sets, if it is not the one that the run used.
        make_sampler: maker of the samplers by name; default one with the run's limits and journal.

    Raises:
        ValueError: the seed or the device is out of range.
        RunError: the directory holds no run, the run has no checkpoint yet, or is damaged.
    """
    directory = RunDirectory(Path(path))
    root = None if data_root is None else Path(data_root)
    check_seed(seed)
    gan = restore(
        directory,
        system_module(directory),
        device=pick_device(device),
        seed=seed,
        data_root=root,
        make_sampler=make_sampler,
    )
    return Run(directory, directory.config()["system"], gan)


def load_run_with_plan(
    path: Path,
    draw: Callable[[Run], object],
    limits: DeviceOptions,
    *,
    seed: int,
    device: str,
    data_root: Path | None,
) -> tuple[Run, Plan | None]:
    """Load a run, and plan the device jobs of draws from it. Nothing is submitted.

    Args:
        path: path of the run's directory.
        draw: draws from the run; it is rehearsed.
        limits: limits of the draws. How jobs are run and waited for is as the run has it.
        seed, device, data_root: see `load_run`.

    Returns:
        The run, and the plan; None if the draws use no device.

    Raises:
        ValueError, RunError: as of `load_run`.
    """
    directory = RunDirectory(path)
    recorded = directory.config()["config"]
    as_recorded = {name: recorded[name] for name in _RECORDED_OPTIONS if name in recorded}
    # one factory, so that the vendor is opened once
    samplers = draw_samplers(directory, replace(limits, **as_recorded))

    def load(make_sampler: MakeSampler) -> Run:
        return load_run(
            path, seed=seed, device=device, data_root=data_root, make_sampler=make_sampler
        )

    plan = None
    if any(is_device(recorded.get(name) or "") for name in ("sampler", "train_sampler")):
        stage = Stage(samplers)
        rehearsed = load(stage)
        if stage.device is not None:
            counts = stage.spent(lambda: draw(rehearsed))
            plan = stage.plan(counts, counts)
    return load(samplers), plan


def system_module(directory: RunDirectory) -> ModuleType:
    """Return the module of `qcaan.runs` that loads the runs of a directory's system."""
    system = directory.config()["system"]
    if system == "classify":
        raise RunError(f"{directory.path} holds a run of the system {system}, which draws nothing")
    # only the module that is needed, since each imports its system
    return import_module(f"qcaan.runs.{system}")
