"""A GAN of images, of whatever system, out of its run directory."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch

from qcaan.checks import check_seed
from qcaan.data.images import ImageSet, load_splits
from qcaan.runs.directory import RunDirectory, RunError
from qcaan.samplers.jobs import Budget, Journal
from qcaan.samplers.names import MakeSampler, make_sampler


class Reopenable(Protocol):
    """What a system's networks have in common."""

    def load_training_state(self, state: dict[str, Any]) -> None: ...

    def reseed(self, seed: int) -> None:
        """Draw by `seed` from now on."""


GAN = TypeVar("GAN", bound=Reopenable)
Config = TypeVar("Config", bound=Budget)


def reopened(
    run: RunDirectory,
    make_config: Callable[..., Config],
    make_gan: Callable[[Config, tuple[int, int, int], torch.device, MakeSampler], GAN],
    device: torch.device,
    seed: int,
    data_root: Path | None = None,
) -> GAN:
    """The gan of a run directory as its last checkpoint has it, ready to draw by `seed`.

    Its data are looked for in `data_root` if that is given. Jobs that it asks of a device are recorded in the run's journal.

    Raises:
        ValueError: a seed out of range.
        RunError: the run has no checkpoint, or is damaged, or of another system.
    """
    check_seed(seed)
    record = run.config()
    try:
        options: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value
            for key, value in record["config"].items()
        }
        options["data_root"] = data_root or options["data_root"]
        config = make_config(**options)
        journal = Journal(run.jobs_path, replay=False)  # draws are to be fresh ones
        samplers = partial(make_sampler, journal=journal, budget=config)
        gan = make_gan(config, tuple(record["data"]["image_shape"]), device, samplers)
        gan.load_training_state(run.load_checkpoint(device))
    except (KeyError, TypeError, RuntimeError) as error:
        raise RunError(
            f"{run.path} does not hold a run of images of this version ({type(error).__name__})"
        ) from None
    gan.reseed(seed)
    return gan


def run_data(run: RunDirectory, data_root: Path | None) -> tuple[ImageSet, ImageSet]:
    """All training and all held-out images of a run's data set."""
    return load_splits(
        run.config()["data"]["name"], data_root
    )  # what `auto` was, never `auto` again
