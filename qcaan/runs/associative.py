"""Runs of the QC-AAN: planned, saved epoch by epoch, loaded, and scored."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from qcaan.bits import pack_bits, unpack_bits
from qcaan.files import read_arrays, reason
from qcaan.gans.associative.config import AssociativeConfig
from qcaan.gans.associative.gan import FIXED_LATENTS, AssociativeGAN, EpochRecord
from qcaan.metrics.bits import pair_errors, pair_expectations
from qcaan.metrics.images import score_generated
from qcaan.priors.labels import LabelCode
from qcaan.priors.make import make_prior, sampler_name
from qcaan.runs import pictures
from qcaan.runs.directory import RunDirectory, RunError
from qcaan.runs.planning import plan_prior
from qcaan.runs.restoring import load_data
from qcaan.samplers.names import MakeSampler, SamplerFactory
from qcaan.samplers.rehearsal import Plan

CONFIG = AssociativeConfig
# file of the bits of the training images that the prior was fitted to last
LATENT_BITS = "bits.npz"


def plan_run(config: AssociativeConfig, samplers: SamplerFactory, n_scored: int) -> Plan | None:
    """Plan the device jobs of a run that scores `n_scored` images; None if there are none."""
    assert config.epochs is not None, "use config.resolved()"

    def make(make_sampler: MakeSampler) -> Any:
        return make_prior(
            config, config, seed=config.seed, make_sampler=make_sampler, labels=config.digits
        )

    return plan_prior(make, samplers, epochs=config.epochs, draws=n_scored)


def make_gan(
    directory: RunDirectory,
    config: AssociativeConfig,
    *,
    device: torch.device | str,
    data_root: Path | None,
    make_sampler: MakeSampler,
) -> AssociativeGAN:
    """Make the networks of a run, untrained; see `qcaan.runs.restoring.restore`."""
    image_shape = tuple(directory.fact("image_shape"))
    return AssociativeGAN(config, image_shape, device, make_sampler=make_sampler)


def save_epoch(run: RunDirectory, gan: AssociativeGAN, record: EpochRecord, seconds: float) -> None:
    """Save the pictures, the distributions, the record and the checkpoint of an epoch.

    The checkpoint is written last: it marks the epoch as finished.
    """
    with gan.isolated():
        new = gan.embed(gan.prior.sample(FIXED_LATENTS))
    latents = {f"epoch_{record.epoch:04d}.png": gan.fixed_latents, "drawn.png": new}
    for name, inputs in latents.items():
        pictures.save_picture(run.path / "samples" / name, pictures.grid(gan.draw(inputs)))
    with gan.isolated():
        distributions = gan.prior.distributions(record.bits)
    if distributions:
        run.save_arrays("prior.npz", distributions)
    if gan.prior.n_bits:  # eight bits to a byte
        run.save_arrays(LATENT_BITS, {"packed": pack_bits(record.bits).numpy()})
    values = {key: value for key, value in asdict(record).items() if key != "bits"}
    run.append({**values, "seconds": seconds})
    run.save_checkpoint(gan.training_state())


def read_latent_bits(run: RunDirectory, n_bits: int) -> Tensor | None:
    """Return the bits uint8 [N, n_bits] of the training images that the prior was fitted to last.

    None if the run has not saved them.

    Raises:
        RunError: the file is damaged.
    """
    path = run.path / LATENT_BITS
    if not path.is_file():
        return None
    try:
        (packed,) = read_arrays(path, ["packed"])
        return unpack_bits(torch.from_numpy(packed), n_bits)
    except (ValueError, TypeError) as error:
        raise RunError(f"{path} is damaged: {reason(error)}") from None


def report_title(config: AssociativeConfig, data_name: str) -> str:
    """Return the title of a run's report."""
    title = f"QC-AAN, {Path(data_name).name}, prior {config.prior}"
    if config.prior not in ("qcbm", "iqp"):
        return title
    gates = f"{config.ansatz} {config.n_layers}"
    if config.prior == "iqp":
        gates = f"reach {config.reach}"
    width = f"{config.n_qubits} qubits"
    if config.prompt:
        width += f" and {LabelCode(config.digits).n_bits} of the label"
    return f"{title} ({width}, {gates}, {sampler_name(config, config)})"


def score_run(
    run: RunDirectory, gan: AssociativeGAN, n: int, inception: nn.Module | None = None
) -> dict[str, Any]:
    """Score n generated images of a run, and held-out real ones; write scores.json.

    See `qcaan.metrics.images.score_generated`; `prior` holds the distances of the prior to the
    latent bits of the training images, and `qcaan.metrics.bits.pair_errors` across several bases.
    The picture neighbours.png is written too; see `qcaan.runs.pictures.save_neighbours`. On a
    device, the images are jobs that may be paid for.
    """
    train_set, test_set = load_data(run, gan.config.data_root)
    digits = gan.config.digits
    images, samples = gan.generate(n)
    scores, closest = score_generated(
        images,
        train_set,
        test_set,
        classes=digits,
        device=gan.device,
        asked=gan.labels_of(samples),
        inception=inception,
    )
    chosen = train_set.only(digits).to(gan.device)
    bits = gan.prior_bits(chosen.images, chosen.labels)
    with gan.isolated():
        scores["prior"] = gan.prior.distances(bits) if gan.prior.n_bits else {}
    if gan.prior.n_bases > 1:
        drawn, wanted = (
            pair_expectations(part[:, gan.prior.code.n_bits :].cpu()) for part in (samples, bits)
        )
        _, scores["prior"]["pair_error_across"] = pair_errors(drawn, wanted, gan.prior.n_bases)
    pictures.save_neighbours(run, closest)
    run.save_scores(scores, gan.epoch)
    return scores
