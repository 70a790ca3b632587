"""Trained systems, of whatever kind, loaded from their run directories."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

from qcaan.checks import check_images, check_seed, path_of, whole
from qcaan.runs.directory import RunDirectory, RunError, System
from qcaan.runs.restoring import draw_samplers, read_config, restore
from qcaan.samplers.devices import DeviceOptions
from qcaan.samplers.names import MakeSampler, SamplerFactory, is_device
from qcaan.samplers.rehearsal import Plan, Stage
from qcaan.training import pick_device

# systems that draw images; the others draw real numbers or nothing
IMAGE_SYSTEMS = ("associative", "image")
# options of a device that draws take from their run
_RECORDED = ("ibm_mode", "job_timeout", "copies")


@dataclass(frozen=True)
class Run:
    """A trained run.

    Attributes:
        directory: its directory.
        system: name of its system.
        gan: the trained system, as its last checkpoint holds it.
        limits: limits of what the draws may ask of a device.
    """

    directory: RunDirectory
    system: System
    gan: Any
    limits: DeviceOptions
    _load: Callable[[MakeSampler], Any] = field(repr=False)
    # None: no device draws, or the samplers are made by the caller, who limits them
    _samplers: SamplerFactory | None = field(repr=False)

    def generate(self, n: int, *, label: int | None = None) -> Any:
        """Draw n samples.

        Runs on images return two tensors: images [n, C, H, W] in [-1, 1], and what they were drawn
        from. Runs on real numbers return a tensor of samples float64 [n, k].

        On a device, the draws are jobs that may be paid for. They are planned first, and nothing is
        submitted if they are beyond the limits. The shots that the run has measured and not drawn
        yet are used first; see `n_banked`.

        Args:
            n: number of samples.
            label: label of all images, for a QC-AAN with `prompt`. They are drawn from the shots
                that the run has measured, and ask nothing of a device.

        Raises:
            ValueError: n is not a whole number of at least 1, the draws are beyond the limits, or
                the run has no such label.
        """
        n = self._count(n)
        if label is not None:
            if not self.labels:
                raise ValueError("`label` is for runs with `prompt`, and this one has no labels")
            return self.gan.generate(n, label)
        if plan := self.plan(n):
            assert self._samplers is not None
            plan.check(self.limits, self._samplers.spent, self._samplers.usd)
        drawn = self.gan.generate(n)
        return torch.from_numpy(drawn) if isinstance(drawn, np.ndarray) else drawn

    def _count(self, n: int) -> int:
        """Return a number of draws, if their images fit into memory."""
        count = whole("n", n)
        if self.system in IMAGE_SYSTEMS:
            check_images(count, self.directory.fact("image_shape"))
        return count

    def save_pretrained(self, path: str | Path) -> Path:
        """Save a ready-made model; see `qcaan.runs.pretrained.save_pretrained`."""
        # here, since it imports this module
        from qcaan.runs.pretrained import save_pretrained

        return save_pretrained(self, path)

    def plan(self, n: int, *, scores: bool = False) -> Plan | None:
        """Plan the device jobs of n draws. Nothing is submitted.

        Args:
            n: number of draws.
            scores: whether the draws of a run on images are to be scored too.

        Returns:
            The plan; None if the draws use no device.

        Raises:
            ValueError: n is not a whole number of at least 1.
        """
        n = whole("n", n)
        if self._samplers is None:
            return None
        stage = Stage(self._samplers)
        # the rehearsal must not change what is drawn
        with torch.random.fork_rng(range(torch.cuda.device_count())):
            gan = self._load(stage)
            if stage.device is None:
                return None

            def draw() -> None:
                if self.system != "associative":
                    gan.generate(n)
                    return
                if n > self.n_banked:
                    gan.prior.measure(n - self.n_banked)
                if scores and gan.prior.n_bits:
                    gan.prior.distances(torch.zeros(1, gan.prior.dim))

            counts = stage.spent(draw)
        return stage.plan(counts, counts)

    @property
    def labels(self) -> tuple[int, ...]:
        """Labels that images can be asked for by `generate`; none without `prompt`."""
        return self.gan.prior.code.labels if self.system == "associative" else ()

    @property
    def n_banked(self) -> int:
        """Number of draws for which the run has measured shots on a device already.

        They are the shots in the bank of a QC-AAN's last checkpoint, each of which is drawn once.
        """
        return self.gan.prior.n_undrawn if self.system == "associative" else 0


def load_run(
    path: str | Path,
    *,
    seed: int = 0,
    device: str = "auto",
    data_root: str | Path | None = None,
    max_jobs: int | None = None,
    max_shots: int | None = None,
    max_cost: float | None = None,
    make_sampler: MakeSampler | None = None,
) -> Run:
    """Load a run from its directory.

    Args:
        path: path of the directory.
        seed: seed of the draws.
        device: device of the networks: auto, cpu, cuda or cuda:N.
        data_root: folder of the data sets, if it is not the one that the run used.
        max_jobs: maximum number of jobs of all draws on a device; default 1,000 on paid devices,
            no limit on others.
        max_shots: maximum number of shots of all draws on a device; default 1,000,000 on paid
            devices, no limit on others.
        max_cost: maximum cost of all draws on a paid device in US dollars, by its list price;
            default no limit.
        make_sampler: maker of the samplers by name, whose draws are then neither planned nor
            limited; default one with the limits above and the run's journal.

    Raises:
        ValueError: the seed, the device or a limit is out of range.
        RunError: the directory holds no run, the run has no checkpoint yet, or is damaged.
    """
    directory = RunDirectory(path_of("path", path))
    root = None if data_root is None else path_of("data_root", data_root)
    check_seed(seed)
    where = pick_device(device)
    system = system_module(directory)
    config = read_config(directory, system.CONFIG, root)
    options = {name: getattr(config, name) for name in _RECORDED}
    limits = DeviceOptions(max_jobs=max_jobs, max_shots=max_shots, max_cost=max_cost, **options)
    # one factory, so that the vendor is opened once
    ours = draw_samplers(directory, limits)

    def load(maker: MakeSampler) -> Any:
        return restore(
            directory,
            system,
            config,
            device=where,
            seed=seed,
            data_root=root,
            make_sampler=maker,
        )

    gan = load(make_sampler or ours)
    names = (getattr(config, name, None) for name in ("sampler", "train_sampler"))
    planned = make_sampler is None and any(is_device(name or "") for name in names)
    samplers = ours if planned else None
    return Run(directory, directory.config()["system"], gan, limits, load, samplers)


def system_module(directory: RunDirectory) -> ModuleType:
    """Return the module of `qcaan.runs` that loads the runs of a directory's system."""
    system = directory.config()["system"]
    if system == "classify":
        raise RunError(f"{directory.path} holds a run of the system {system}, which draws nothing")
    # only the module that is needed, since each imports its system
    return import_module(f"qcaan.runs.{system}")
