"""Runs of the image QGAN: planned, saved epoch by epoch, loaded, and scored."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from qcaan.gans.image.config import ImageConfig
from qcaan.gans.image.gan import ImageGAN, train
from qcaan.metrics.images import score_generated
from qcaan.runs import pictures
from qcaan.runs.directory import RunDirectory
from qcaan.runs.planning import plan_steps
from qcaan.runs.restoring import load_data
from qcaan.samplers.names import MakeSampler, SamplerFactory
from qcaan.samplers.rehearsal import Plan
from qcaan.training import EpochRecord, describe_engine

CONFIG = ImageConfig


def plan_run(
    config: ImageConfig,
    samplers: SamplerFactory,
    n_scored: int,
    *,
    image_shape: tuple[int, int, int],
) -> Plan | None:
    """Plan the device jobs of a run and its scores. Return None if it uses no device.

    Args:
        config: configuration of the run, with its defaults filled in by `resolved`.
        samplers: the factory of the run's samplers, which opens the vendor.
        n_scored: number of images generated for the scores.
        image_shape: shape (C, H, W) of the images.
    """
    assert config.steps_per_epoch is not None, "use config.resolved()"

    def start(make_sampler: MakeSampler) -> tuple[Callable[[], object], ...]:
        # the epochs on the exact engine ask nothing of a device
        on_device = replace(config, switch_after_epochs=None)
        gan = ImageGAN(on_device, image_shape, make_sampler=make_sampler)
        records: Iterator[object] = train(gan, torch.zeros(1, *image_shape))
        return (
            partial(next, records),
            partial(_draw_pictures, gan),
            lambda: n_scored and gan.generate(n_scored),
        )

    return plan_steps(
        start,
        samplers,
        epochs=config.epochs,
        steps_per_epoch=config.steps_per_epoch,
        switch_after_epochs=config.switch_after_epochs,
    )


def make_gan(
    directory: RunDirectory,
    config: ImageConfig,
    *,
    device: torch.device | str,
    data_root: Path | None,
    make_sampler: MakeSampler,
) -> ImageGAN:
    """Make the networks of a run, untrained; see `qcaan.runs.restoring.restore`."""
    image_shape = tuple(directory.fact("image_shape"))
    return ImageGAN(config, image_shape, device, make_sampler=make_sampler)


def save_epoch(run: RunDirectory, gan: ImageGAN, record: EpochRecord, seconds: float) -> None:
    """Save the pictures, the record and the checkpoint of an epoch.

    The checkpoint is written last: it marks the epoch as finished. On a device, the pictures are
    jobs that may be paid for.
    """
    names = f"epoch_{record.epoch:04d}.png", "drawn.png"
    for name, images in zip(names, _draw_pictures(gan), strict=True):
        pictures.save_picture(run.path / "samples" / name, pictures.grid(images))
    run.append({**asdict(record), "seconds": seconds})
    run.save_checkpoint(gan.training_state())


def _draw_pictures(gan: ImageGAN) -> tuple[Tensor, Tensor]:
    """Draw images of the fixed noise, and as many of new noise."""
    fixed = gan.draw(gan.fixed_noise)
    return fixed, gan.generate(len(fixed))[0]


def report_title(config: ImageConfig, data_name: str) -> str:
    """Return the title of a run's report."""
    circuit = "no circuit"
    if config.circuit != "none":
        engine = describe_engine(config.sampler, config.shots, config.switch_after_epochs)
        circuit = (
            f"{config.n_qubits} qubits ({config.circuit}, {config.ansatz} {config.n_layers}, "
            f"{engine})"
        )
    return (
        f"Image QGAN, {Path(data_name).name}, noise {config.noise}, {circuit}, "
        f"{config.decoder} decoder, {config.discriminator}"
    )


def score_run(
    run: RunDirectory, gan: ImageGAN, n: int, inception: nn.Module | None = None
) -> dict[str, Any]:
    """Score n generated images of a run, and held-out real ones; write scores.json.

    See `qcaan.metrics.images.score_generated`. The picture neighbours.png is written too; see
    `qcaan.runs.pictures.save_neighbours`. On a device, the images are jobs that may be paid for.
    """
    train_set, test_set = load_data(run, gan.config.data_root)
    images, _ = gan.generate(n)
    scores, closest = score_generated(
        images,
        train_set,
        test_set,
        classes=gan.config.digits,
        device=gan.device,
        inception=inception,
    )
    pictures.save_neighbours(run, closest)
    run.save_scores(scores, gan.epoch)
    return scores
