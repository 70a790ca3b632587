"""Trained systems, of whatever kind, loaded from their run directories."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

from qcaan.checks import check_seed
from qcaan.runs.directory import RunDirectory, RunError, System
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
) -> Run:
    """Load a run from its directory.

    Args:
        path: path of the directory.
        seed: seed of the draws.
        device: device of the networks: auto, cpu, cuda or cuda:N.
        data_root: folder of the data sets, if it is not the one that the run used.

    Raises:
        ValueError: the seed or the device is out of range.
        RunError: the directory holds no run, the run has no checkpoint yet, or is damaged.
    """
    directory = RunDirectory(Path(path))
    root = None if data_root is None else Path(data_root)
    check_seed(seed)
    gan = system_module(directory).load(
        directory, device=pick_device(device), seed=seed, data_root=root
    )
    return Run(directory, directory.config()["system"], gan)


def system_module(directory: RunDirectory) -> ModuleType:
    """Return the module of `qcaan.runs` that loads the runs of a directory's system."""
    system = directory.config()["system"]
    if system == "classify":
        raise RunError(f"{directory.path} holds a run of the system {system}, which draws nothing")
    # only the module that is needed, since each imports its system
    return import_module(f"qcaan.runs.{system}")
