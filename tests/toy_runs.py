"""Toy runs of the QC-AAN, as their directories hold them, for models and pages."""

from __future__ import annotations

from pathlib import Path

import torch

import qcaan
from qcaan.gans.associative.config import AssociativeConfig
from qcaan.gans.associative.gan import AssociativeGAN, EpochRecord, train
from qcaan.runs.associative import save_epoch
from qcaan.runs.directory import RunDirectory

DIGITS = (3, 7)


def make_run(path: Path, *, image_shape: tuple[int, int, int] = (1, 28, 28), **options):
    """Return a run of one epoch: on toy digits, or on noise of another shape."""
    config = AssociativeConfig(
        **{
            "digits": DIGITS, "data": "digits8x8", "epochs": 1, "steps_per_epoch": 2,
            "batch_size": 8, "width": 4, "n_qubits": 3, "n_layers": 2, "fit_evals": 30,
            "bank_shots": 300, "device": "cpu", "data_root": Path("/secret"),
            **options,
        }
    )  # fmt: skip
    data = qcaan.load_images("digits8x8", classes=config.digits)
    gan = AssociativeGAN(config, image_shape)
    images = data.images
    if image_shape != images.shape[1:]:
        generator = torch.Generator().manual_seed(0)
        images = 2 * torch.rand(len(images), *image_shape, generator=generator) - 1
    run = RunDirectory(path)
    facts = {**data.facts, "provenance": "images in /secret", "image_shape": list(image_shape)}
    run.begin("associative", config, facts)
    with run:
        for record in train(gan, images, data.labels):
            if isinstance(record, EpochRecord):
                save_epoch(run, gan, record, 1.0)
        run.save_scores({"data": "images in /secret", "generated": {"agreement": 0.97}}, 1)
        return qcaan.load_run(path)
