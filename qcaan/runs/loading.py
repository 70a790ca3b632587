"""Trained systems, of whatever kind, loaded from their run directories."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol, TypeVar

import torch

from qcaan.checks import check_seed
from qcaan.data.images import ImageSet, load_splits
from qcaan.runs.directory import RunDirectory, RunError, System
from qcaan.samplers.jobs import DeviceOptions
from qcaan.samplers.journal import Journal
from qcaan.samplers.names import SamplerFactory
from qcaan.training import pick_device


class Restorable(Protocol):
    """The networks of a run, as far as loading is concerned."""

    def load_training_state(self, state: dict[str, Any]) -> None:
        """Restore the state of a checkpoint."""

    def reseed(self, seed: int) -> None:
        """Seed all draws from now on."""


# systems that draw images; the others draw real numbers or nothing
IMAGE_SYSTEMS = ("associative", "image")

GAN = TypeVar("GAN", bound=Restorable)
Config = TypeVar("Config", bound=DeviceOptions)


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

        Runs on images return images [n, C, H, W] in [-1, 1] and what they were drawn from; runs on
        real numbers return samples float64 [n, k]. On a device, the draws are jobs that may be
        paid for.
        """
        return self.gan.generate(n)


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
    gan = system_module(directory).load(directory, pick_device(device), seed, root)
    return Run(directory, directory.config()["system"], gan)


def system_module(directory: RunDirectory) -> ModuleType:
    """Return the module of `qcaan.runs` that loads the runs of a directory's system."""
    system = directory.config()["system"]
    if system == "classify":
        raise RunError(f"{directory.path} holds a run of the system {system}, which draws nothing")
    # only the module that is needed; at the top of the file it would be a circle
    return import_module(f"qcaan.runs.{system}")


def restore(
    directory: RunDirectory,
    config_class: type[Config],
    make_gan: Callable[[Config, SamplerFactory], GAN],
    device: torch.device,
    seed: int,
    data_root: Path | None,
) -> GAN:
    """Return the networks of a run as its last checkpoint holds them, ready to draw.

    Args:
        directory: directory of the run.
        config_class: class of its configuration.
        make_gan: makes the networks from a configuration and a factory of samplers.
        device: device of the networks.
        seed: seed of the draws.
        data_root: folder of the data sets, if it is not the one that the run used.

    Raises:
        RunError: the run has no checkpoint, or its configuration or checkpoint is damaged.
    """
    options = _options(directory, config_class, data_root)
    config = config_class(**options)
    # draws are to be new ones, so earlier jobs are not replayed
    samplers = SamplerFactory(config, Journal(directory.jobs_path, replay=False))
    gan = make_gan(config, samplers)
    load_checkpoint(directory, gan, device)
    gan.reseed(seed)
    return gan


def load_checkpoint(directory: RunDirectory, gan: Restorable, device: torch.device | str) -> None:
    """Load the last checkpoint of a run into its networks.

    Raises:
        RunError: there is none, it is damaged, or it is of other networks.
    """
    checkpoint = directory.load_checkpoint(device)
    try:
        gan.load_training_state(checkpoint)
    except torch.OutOfMemoryError:
        raise
    except (KeyError, RuntimeError, ValueError) as error:
        raise RunError(
            f"{directory.checkpoint_path} does not hold the networks of config.json "
            f"({type(error).__name__})"
        ) from None


def load_data(directory: RunDirectory, data_root: Path | None) -> tuple[ImageSet, ImageSet]:
    """Return all training images and all held-out images of a run's data set."""
    # the recorded name is the data set that `auto` stood for
    return load_splits(directory.config()["data"]["name"], data_root)


def _options(
    directory: RunDirectory, config_class: type[Any], data_root: Path | None
) -> dict[str, Any]:
    """Return the options in config.json, with lists as tuples, checked against the class."""
    recorded = directory.config()["config"]
    fields = {field.name for field in dataclasses.fields(config_class)}
    if set(recorded) != fields:
        wrong = min(set(recorded) ^ fields)
        raise RunError(
            f"{directory.path} holds a configuration of another version: it has other options "
            f"than this one ({wrong})"
        )
    options = {
        name: tuple(value) if isinstance(value, list) else value for name, value in recorded.items()
    }
    if data_root is not None and "data_root" in fields:
        options["data_root"] = data_root
    return options
