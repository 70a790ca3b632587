"""Trained systems, of whatever kind, loaded from their run directories."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

from qcaan.checks import check_seed
from qcaan.runs.directory import RunDirectory, RunError, System
from qcaan.runs.restoring import OpenSamplers
from qcaan.samplers.jobs import DeviceOptions
from qcaan.samplers.journal import Journal
from qcaan.samplers.names import SamplerFactory, is_device
from qcaan.samplers.rehearsal import Plan, Stage
from qcaan.training import pick_device

# systems that draw images; the others draw real numbers or nothing
IMAGE_SYSTEMS = ("associative", "image")


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
    open_samplers: OpenSamplers = SamplerFactory,
) -> Run:
    """Load a run from its directory.

    Args:
        path: path of the directory.
        seed: seed of the draws.
        device: device of the networks: auto, cpu, cuda or cuda:N.
        data_root: folder of the data sets, if it is not the one that the run used.
        open_samplers: makes the maker of the run's samplers from its options and its journal.

    Raises:
        ValueError: the seed or the device is out of range.
        RunError: the directory holds no run, the run has no checkpoint yet, or is damaged.
    """
    directory = RunDirectory(Path(path))
    root = None if data_root is None else Path(data_root)
    check_seed(seed)
    gan = system_module(directory).load(
        directory,
        device=pick_device(device),
        seed=seed,
        data_root=root,
        open_samplers=open_samplers,
    )
    return Run(directory, directory.config()["system"], gan)


def load_run_with_plan(
    path: Path,
    draw: Callable[[Run], object],
    *,
    seed: int,
    device: str,
    data_root: Path | None,
    max_jobs: int | None,
    max_shots: int | None,
) -> tuple[Run, Plan | None]:
    """Load a run, and plan the device jobs of draws from it. Nothing is submitted.

    Args:
        path: path of the run's directory.
        draw: draws from the run; it is rehearsed.
        seed, device, data_root: see `load_run`.
        max_jobs, max_shots: limits of the draws, as in `DeviceOptions`.

    Returns:
        The run, and the plan; None if the draws use no device.

    Raises:
        ValueError: a limit is out of range, or the plan is beyond it; or as of `load_run`.
    """
    opened: list[SamplerFactory] = []  # one, so that the vendor is opened once

    def open_factory(config: DeviceOptions, journal: Journal) -> SamplerFactory:
        options = DeviceOptions(
            ibm_mode=config.ibm_mode,
            job_timeout=config.job_timeout,
            max_jobs=max_jobs,
            max_shots=max_shots,
        )
        opened[:] = opened or [SamplerFactory(options, journal)]
        return opened[0]

    def load(open_samplers: OpenSamplers) -> Run:
        return load_run(
            path, seed=seed, device=device, data_root=data_root, open_samplers=open_samplers
        )

    stages: list[Stage] = []

    def open_stage(config: DeviceOptions, journal: Journal) -> Stage:
        stages.append(Stage(open_factory(config, journal)))
        return stages[-1]

    plan = None
    recorded = RunDirectory(path).config()["config"]
    if any(is_device(recorded.get(name) or "") for name in ("sampler", "train_sampler")):
        rehearsed = load(open_stage)
        if stages[-1].device is not None:
            counts = stages[-1].spent(lambda: draw(rehearsed))
            plan = stages[-1].plan(counts, counts)
    return load(open_factory), plan


def system_module(directory: RunDirectory) -> ModuleType:
    """Return the module of `qcaan.runs` that loads the runs of a directory's system."""
    system = directory.config()["system"]
    if system == "classify":
        raise RunError(f"{directory.path} holds a run of the system {system}, which draws nothing")
    # only the module that is needed, since each imports its system
    return import_module(f"qcaan.runs.{system}")
