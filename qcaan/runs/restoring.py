"""The networks and the data of a run, restored from its directory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import torch

from qcaan.data.images import ImageSet, load_splits
from qcaan.files import reason
from qcaan.runs.directory import RunDirectory, RunError
from qcaan.samplers.devices import DeviceOptions
from qcaan.samplers.journal import Journal
from qcaan.samplers.names import MakeSampler, SamplerFactory
from qcaan.samplers.requests import JobError
from qcaan.training import is_out_of_memory

Config = TypeVar("Config", bound=DeviceOptions)


def restore(
    directory: RunDirectory,
    system: ModuleType,
    config: DeviceOptions,
    *,
    device: torch.device | str,
    seed: int,
    data_root: Path | None,
    make_sampler: MakeSampler,
) -> Any:
    """Return the networks of a run as its last checkpoint holds them, ready to draw.

    Args:
        directory: directory of the run.
        system: module of `qcaan.runs` for its system, whose function `make_gan` makes the networks.
        config: configuration of the run; see `read_config`.
        device: device of the networks.
        seed: seed of the draws.
        data_root: folder of the data sets, if it is not the one that the run used.
        make_sampler: maker of the samplers by name.

    Raises:
        RunError: the run has no checkpoint, or its configuration or checkpoint is damaged.
    """
    gan = make_networks(
        directory,
        system,
        config,
        device=device,
        data_root=data_root,
        make_sampler=make_sampler,
    )
    restore_checkpoint(directory, gan.load_training_state, directory.load_checkpoint(device))
    gan.reseed(seed)
    return gan


def make_networks(
    directory: RunDirectory,
    system: ModuleType,
    config: DeviceOptions,
    *,
    device: torch.device | str,
    data_root: Path | None,
    make_sampler: MakeSampler,
) -> Any:
    """Return the networks of a configuration, untrained; see `restore`.

    Raises:
        RunError: they cannot be made, since config.json is damaged.
    """
    try:
        return system.make_gan(
            directory, config, device=device, data_root=data_root, make_sampler=make_sampler
        )
    # facts about the data that were edited fail deep inside torch
    except (ValueError, TypeError, LookupError, RuntimeError) as error:
        if isinstance(error, RunError | JobError) or is_out_of_memory(error):
            raise
        raise RunError(
            f"the networks of {directory.path}/config.json cannot be made: {reason(error)}"
        ) from None


def draw_samplers(directory: RunDirectory, options: DeviceOptions) -> SamplerFactory:
    """Return the maker of the samplers that draw from a run, with these limits of the draws."""
    # draws are to be new ones, so earlier jobs are not replayed
    return SamplerFactory(options, Journal(directory.jobs_path, replay=False))


def restore_checkpoint(
    directory: RunDirectory,
    load_state: Callable[[dict[str, Any]], object],
    checkpoint: dict[str, Any],
) -> None:
    """Restore the networks of a run from its checkpoint.

    Args:
        directory: directory of the run.
        load_state: loads the state into the networks.
        checkpoint: the state.

    Raises:
        RunError: the checkpoint is of other networks than those of config.json.
    """
    try:
        load_state(checkpoint)
    # the state of other networks fails in many ways, each deep inside torch
    except Exception as error:
        if is_out_of_memory(error):
            raise
        raise RunError(
            f"{directory.checkpoint_path} does not hold the networks of config.json "
            f"({reason(error)})"
        ) from None


def load_data(directory: RunDirectory, data_root: Path | None) -> tuple[ImageSet, ImageSet]:
    """Return all training images and all held-out images of a run's data set.

    Raises:
        RunError: they are not the images that the run began with.
        DataError: they cannot be read.
    """
    # the recorded name is the data set that `auto` stood for
    train_set, test_set = load_splits(directory.fact("name"), data_root)
    directory.check_fingerprint(train_set.fingerprint)
    return train_set, test_set


def read_config(
    directory: RunDirectory, config_class: type[Config], data_root: Path | None
) -> Config:
    """Return the configuration in config.json; see `RunDirectory.options`.

    Args:
        directory: directory of the run.
        config_class: class of the configuration.
        data_root: folder of the data sets, if it is not the one that the run used.

    Raises:
        RunError: it is damaged, or of another version.
    """
    options: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in directory.options(config_class).items()
    }
    if data_root is not None and "data_root" in options:
        options["data_root"] = data_root
    try:
        return config_class(**options)
    except (TypeError, ValueError) as error:
        raise RunError(f"{directory.path}/config.json is damaged: {error}") from None
