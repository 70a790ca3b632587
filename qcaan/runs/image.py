"""The run directory of an image QGAN: what is saved of a run, loaded back, and scored."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from qcaan import metrics
from qcaan.files import write_json
from qcaan.gans import image
from qcaan.gans.image import EpochRecord, ImageConfig, ImageGAN
from qcaan.runs import pictures
from qcaan.runs.directory import RunDirectory
from qcaan.runs.loading import reopened, run_data
from qcaan.runs.planning import Plan, plan_steps
from qcaan.samplers.names import MakeSampler
from qcaan.samplers.vendors import make_vendor
from qcaan.training import described


def plan_run(config: ImageConfig, image_shape: tuple[int, int, int], n_scored: int) -> Plan | None:
    """What a run of this configuration, with as many images scored, would ask of a device; None if it asks none."""
    assert config.steps_per_epoch is not None, "use config.resolved()"

    def start(make_sampler: MakeSampler) -> tuple[Callable[[], object], ...]:
        gan = ImageGAN(
            replace(config, switch_at=None), image_shape, torch.device("cpu"), make_sampler
        )
        records: Iterator[object] = image.train(gan, torch.zeros(1, *image_shape))
        return (
            partial(next, records),
            partial(_pictures, gan),
            lambda: n_scored and gan.generate(n_scored),
        )

    vendor = partial(make_vendor, budget=config)
    return plan_steps(start, vendor, config.epochs, config.steps_per_epoch, config.switch_at)


def load_run(
    run: RunDirectory, device: torch.device, seed: int, data_root: Path | None = None
) -> ImageGAN:
    """The gan of a run directory; see `qcaan.runs.loading.reopened`."""
    return reopened(run, ImageConfig, ImageGAN, device, seed, data_root)


def save_epoch(run: RunDirectory, gan: ImageGAN, record: EpochRecord, seconds: float) -> None:
    """Leave an epoch in the run directory; the checkpoint last, since it is what says that the epoch is done."""
    for name, images in zip(
        (f"epoch_{record.epoch:04d}.png", "drawn.png"), _pictures(gan), strict=True
    ):
        pictures.save_picture(run.path / "samples" / name, pictures.grid(images))
    run.append({**asdict(record), "seconds": seconds})
    run.save_checkpoint(gan.training_state())


def _pictures(gan: ImageGAN) -> tuple[Tensor, Tensor]:
    """Pictures of the noise that the progress GIF follows, and as many of fresh noise."""
    fixed = gan.draw(gan.fixed_noise)
    return fixed, gan.generate(len(fixed))[0]


def report_title(config: ImageConfig, data_name: str) -> str:
    """What stands above a run's report."""
    runs_on = described(config.sampler, config.shots, config.switch_at)
    circuit = (
        f"{config.n_qubits} qubits ({config.circuit}, {config.ansatz} {config.n_layers}, {runs_on})"
    )
    circuit = "no circuit" if config.circuit == "none" else circuit
    return f"Image QGAN, {data_name}, noise {config.noise}, {circuit}, {config.decoder} decoder, {config.discriminator}"


def score_run(run: RunDirectory, gan: ImageGAN, n: int) -> dict[str, Any]:
    """Score n generated images of a run, and held-out real ones, against its training images; write scores.json."""
    train_set, test_set = run_data(run, gan.config.data_root)
    images, _ = gan.generate(n)
    scores = metrics.score_run(images, train_set, test_set, gan.config.digits, gan.device)
    write_json(run.path / "scores.json", scores)
    return scores
