"""The run directory of a QC-AAN: what is saved of a run, loaded back, and scored."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from qcaan import metrics
from qcaan.bits import target_probabilities
from qcaan.files import write_json
from qcaan.gans import associative
from qcaan.gans.associative import FIXED_LATENTS, AssociativeConfig, AssociativeGAN, EpochRecord
from qcaan.priors.qcbm import QCBM
from qcaan.runs import pictures
from qcaan.runs.directory import RunDirectory
from qcaan.runs.loading import reopened, run_data
from qcaan.runs.planning import Plan, plan_prior
from qcaan.samplers.vendors import make_vendor


def plan_run(config: AssociativeConfig, n_scored: int) -> Plan | None:
    """What a run of this configuration, with as many images scored, would ask of a device; None if it asks none."""
    assert config.epochs is not None, "use config.resolved()"
    make = partial(associative.make_prior, config)
    return plan_prior(
        make, partial(make_vendor, budget=config), config.epochs, config.switch_at, n_scored
    )


def load_run(
    run: RunDirectory, device: torch.device, seed: int, data_root: Path | None = None
) -> AssociativeGAN:
    """The gan of a run directory; see `qcaan.runs.loading.reopened`."""
    return reopened(run, AssociativeConfig, AssociativeGAN, device, seed, data_root)


def bit_histograms(gan: AssociativeGAN, bits: Tensor) -> dict[str, np.ndarray]:
    """Distributions [n_bases, 2**n_qubits] of latent `bits` and of the QCBM fitted to them; empty for other priors."""
    if not isinstance(gan.prior, QCBM):
        return {}
    bases = gan.prior.born.bases
    return {
        "bases": np.array(bases),
        "target": target_probabilities(bits, len(bases)).cpu().numpy(),
        "model": np.stack([gan.prior.probabilities(basis) for basis in bases]),
    }


def save_epoch(run: RunDirectory, gan: AssociativeGAN, record: EpochRecord, seconds: float) -> None:
    """Leave an epoch in the run directory; the checkpoint last, since it is what says that the epoch is done."""
    fresh = gan.prior.embed(gan.prior.sample(FIXED_LATENTS))
    for name, latents in (
        (f"epoch_{record.epoch:04d}.png", gan.fixed_latents),
        ("drawn.png", fresh),
    ):
        pictures.save_picture(run.path / "samples" / name, pictures.grid(gan.draw(latents)))
    histograms = bit_histograms(gan, record.bits)
    if histograms:
        run.save_arrays("prior.npz", histograms)
    values = {key: value for key, value in asdict(record).items() if key != "bits"}
    run.append({**values, "seconds": seconds})
    run.save_checkpoint(gan.training_state())


def report_title(config: AssociativeConfig, data_name: str) -> str:
    """What stands above a run's report."""
    title = f"QC-AAN, {data_name}, prior {config.prior}"
    if config.prior != "qcbm":
        return title
    return (
        f"{title} ({config.n_qubits} qubits, {config.ansatz} {config.n_layers}, {config.sampler})"
    )


def score_run(run: RunDirectory, gan: AssociativeGAN, n: int) -> dict[str, Any]:
    """Score n generated images of a run, and held-out real ones, against its training images; write scores.json.

    See `qcaan.metrics.score_images`; `prior` holds KL and TVD of the prior to the latent bits of the training images.
    """
    train_set, test_set = run_data(run, gan.config.data_root)
    digits = gan.config.digits
    images, _ = gan.generate(n)
    scores = metrics.score_run(images, train_set, test_set, digits, gan.device)
    bits = gan.latent_bits(train_set.only(digits).images.to(gan.device))
    scores["prior"] = gan.prior.distances(bits) if gan.prior.n_bits else {}
    write_json(run.path / "scores.json", scores)
    return scores
