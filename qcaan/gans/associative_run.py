"""The run directory of a QC-AAN: what is saved of a run, loaded back, and scored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from qcaan import animation, metrics
from qcaan.data import ImageSet, load_images
from qcaan.devices import make_vendor
from qcaan.gans import associative
from qcaan.gans.associative import FIXED_LATENTS, AssociativeConfig, AssociativeGAN, EpochRecord
from qcaan.jobs import Budget, Journal
from qcaan.planning import Plan, plan
from qcaan.priors import target_probabilities
from qcaan.qcbm import QCBM
from qcaan.samplers import make_sampler
from qcaan.training import RunDirectory, RunError, write_json


def budget(config: AssociativeConfig) -> Budget:
    """What the run may ask of a device."""
    return Budget(config.max_jobs, config.max_shots, config.job_timeout, config.ibm_mode)


def plan_run(config: AssociativeConfig, n_scored: int) -> Plan | None:
    """What a run of this configuration, with as many images scored, would ask of a device; None if it asks none."""
    assert config.epochs is not None, "use config.resolved()"
    make = partial(associative.make_prior, config)
    return plan(make, partial(make_vendor, budget=budget(config)), config.epochs, config.switch_at, n_scored)


def load_run(run: RunDirectory, device: torch.device, seed: int, data_root: Path | None = None) -> AssociativeGAN:
    """The gan of a run directory as its last checkpoint has it, ready to draw by `seed`.

    Its data are looked for in `data_root` if that is given. Jobs that it asks of a device are recorded in the run's journal.

    Raises:
        RunError: the run has no checkpoint, or is damaged, or of another system.
    """
    record = run.config()
    try:
        config: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in record["config"].items()
        }
        config["data_root"] = data_root or config["data_root"]
        settings = AssociativeConfig(**config)
        journal = Journal(run.jobs_path, replay=False)  # draws are to be fresh ones
        samplers = partial(make_sampler, journal=journal, budget=budget(settings))
        gan = AssociativeGAN(settings, tuple(record["data"]["image_shape"]), device, samplers)
        gan.load_training_state(run.load_checkpoint(device))
    except (KeyError, TypeError, RuntimeError) as error:
        raise RunError(f"{run.path} does not hold a QC-AAN run of this version ({type(error).__name__})") from None
    torch.manual_seed(seed)
    gan.prior.reseed(seed)
    return gan


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


def run_facts(data: ImageSet, train_set: ImageSet) -> dict[str, Any]:
    """What a run's config.json says of its data besides the configuration."""
    shape = list(train_set.images.shape)
    return {
        "data": {"name": data.name, "n_images": shape[0], "image_shape": shape[1:], "provenance": train_set.provenance}
    }


def save_epoch(run: RunDirectory, gan: AssociativeGAN, record: EpochRecord, seconds: float) -> None:
    """Leave an epoch in the run directory; the checkpoint last, since it is what says that the epoch is done."""
    fresh = gan.prior.embed(gan.prior.sample(FIXED_LATENTS))
    for name, latents in ((f"epoch_{record.epoch:04d}.png", gan.fixed_latents), ("drawn.png", fresh)):
        animation.save_picture(run.path / "samples" / name, animation.grid(gan.draw(latents)))
    histograms = bit_histograms(gan, record.bits)
    if histograms:
        run.save_arrays("prior.npz", histograms)
    values = {key: value for key, value in asdict(record).items() if key != "bits"}
    run.append({**values, "seconds": seconds})
    run.save_checkpoint(gan.training_state())


def _run_data(run: RunDirectory, gan: AssociativeGAN) -> tuple[ImageSet, ImageSet, metrics.Reader]:
    """All training and all held-out images of a run's data set, and the classifier that reads them."""
    name = run.config()["data"]["name"]  # what `auto` was, never `auto` again
    train_set, test_set = (load_images(name, root=gan.config.data_root, split=split) for split in ("train", "test"))
    return train_set, test_set, metrics.load_reader(train_set, test_set, gan.device)


def choose_sequence(run: RunDirectory, gan: AssociativeGAN, images: Tensor, digits: Sequence[int]) -> list[int]:
    """Indices of `images` [N, C, H, W] that the classifier reads as `digits`, in their order, each used once.

    Of several images that read as a digit, the surest readings come first.

    Raises:
        ValueError: the images hold too few of a digit.
    """
    _, _, reader = _run_data(run, gan)
    confidence, place = reader.logits(reader.features(images)).softmax(1).max(1)  # (N,), (N,)
    labels = reader.labels[place]
    order = confidence.argsort(descending=True)
    found = {digit: iter(order[labels[order] == digit].tolist()) for digit in digits}
    chosen = [next(found[digit], None) for digit in digits]
    missing = [digit for digit, index in zip(digits, chosen, strict=True) if index is None]
    if missing:
        raise ValueError(
            f"sequence {' '.join(map(str, digits))}: {len(images)} draws hold {int((labels == missing[0]).sum())} "
            f"that read as {missing[0]}, {list(digits).count(missing[0])} needed; nothing was written"
        )
    return [index for index in chosen if index is not None]


def score_run(run: RunDirectory, gan: AssociativeGAN, n: int) -> dict[str, Any]:
    """Score n generated images of a run, and held-out real ones, against its training images; write scores.json.

    See `qcaan.metrics.score_images`; `prior` holds KL and TVD of the prior to the latent bits of the training images.
    """
    everything, held_out, reader = _run_data(run, gan)
    digits = gan.config.digits
    train_set, test_set = everything.only(digits), held_out.only(digits)
    images, _ = gan.generate(n)
    # a fixed shuffle: precision and recall use the first n real images, which must not be sorted by class
    order = torch.randperm(len(train_set.images), generator=torch.Generator().manual_seed(0))
    reference = train_set.images[order]
    bits = gan.latent_bits(train_set.images.to(gan.device))
    scores = {
        "data": everything.provenance,
        "features": f"{metrics.NUM_FEATURES} features of a {everything.name} classifier, {reader.accuracy:.1%} right",
        "fid_reliable": min(n, len(test_set.images)) >= metrics.FID_RELIABLE_FROM,
        "generated": metrics.score_images(images, reference, reader, digits),
        "held_out_real": metrics.score_images(test_set.images, reference, reader, digits),
        "prior": gan.prior.distances(bits) if gan.prior.n_bits else {},
    }
    write_json(run.path / "scores.json", scores)
    return scores
