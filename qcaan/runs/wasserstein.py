"""Runs of the hybrid WGAN-GP QGAN: data, plan, saved epochs, loading, and scores."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from qcaan.data.opening import fingerprint
from qcaan.data.samples import read_samples
from qcaan.gans.wasserstein.config import WassersteinConfig
from qcaan.gans.wasserstein.gan import EpochRecord, WassersteinGAN, train
from qcaan.metrics.samples import column_scores, sliced_wasserstein
from qcaan.runs.directory import RunDirectory
from qcaan.runs.planning import plan_steps
from qcaan.samplers.names import MakeSampler, SamplerFactory
from qcaan.samplers.rehearsal import Plan

# number of samples of a named distribution: their mean is within 0.001 of the distribution's
_NAMED_SAMPLES = 100_000
# every fifth sample is held out for the scores
_HELD_OUT = 5

CONFIG = WassersteinConfig


class SampleSplit(NamedTuple):
    """Samples of a run.

    Attributes:
        samples: samples to train on, float64 [N, k].
        held_out: samples held out for the scores, float64 [M, k].
        origin: phrase that names their source.
    """

    samples: Tensor
    held_out: Tensor
    origin: str

    @property
    def fingerprint(self) -> str:
        """SHA-256 of all samples."""
        return fingerprint(self.samples.numpy(), self.held_out.numpy())


def load_data(config: WassersteinConfig) -> SampleSplit:
    """Return the samples that a run learns, and those held out for its scores.

    Raises:
        ValueError: `data` names neither a distribution nor a file of at least ten rows of finite
            numbers; or the data exceed the outputs' range [-1, 1] and are not rescaled.
        OSError: the file cannot be read.
    """
    # the seed is not the run's: runs of different seeds learn, and are scored on, the same data
    rng = np.random.default_rng(0)
    if config.data == "normal":
        samples = rng.normal(config.mean, config.std, (_NAMED_SAMPLES, 1))
        origin = f"the normal distribution of mean {config.mean:g}, deviation {config.std:g}"
    else:
        values, origin = read_samples(config.data, _NAMED_SAMPLES, seed=0)
        samples = rng.permutation(values)
    if len(samples) < 10:
        raise ValueError(f"{config.data} must hold at least ten rows, got {len(samples)}")
    largest = abs(samples).max()
    if not config.rescale and largest > 1:
        raise ValueError(
            f"{config.data} has values up to {largest:.3g} in size, beyond the outputs' range "
            "[-1, 1]; add --rescale"
        )
    held_out = np.arange(len(samples)) % _HELD_OUT == 0
    return SampleSplit(
        torch.from_numpy(samples[~held_out]), torch.from_numpy(samples[held_out]), origin
    )


def data_facts(config: WassersteinConfig, data: SampleSplit) -> dict[str, Any]:
    """Return the facts about the data that a run's config.json holds.

    `range` holds the least and the greatest values of the columns of the training samples, from
    which `load` makes the networks.
    """
    samples, held_out, origin = data
    everything = torch.cat([samples, held_out])
    return {
        "name": config.data,
        "n_samples": len(everything),
        "n_columns": everything.shape[1],
        "mean": everything.mean(0).tolist(),
        "std": everything.std(0).tolist(),
        "range": [samples.min(0).values.tolist(), samples.max(0).values.tolist()],
        "provenance": (
            f"{len(samples)} training samples of {origin}, {len(held_out)} held out for the scores"
        ),
        "fingerprint": data.fingerprint,
    }


def plan_run(
    config: WassersteinConfig, samplers: SamplerFactory, n_scored: int, *, samples: Tensor
) -> Plan | None:
    """Plan the device jobs of a run and its scores. Return None if it uses no device.

    Args:
        config: configuration of the run.
        samplers: the factory of the run's samplers, which opens the vendor.
        n_scored: number of samples generated for the scores.
        samples: training samples [N, k].
    """

    def start(make_sampler: MakeSampler) -> tuple[Callable[[], object], ...]:
        # the epochs on the exact engine ask nothing of a device
        on_device = replace(config, switch_after_epochs=None)
        gan = WassersteinGAN(on_device, samples, make_sampler=make_sampler)
        records: Iterator[object] = train(gan, samples)
        return (
            partial(next, records),
            partial(gan.draw, gan.fixed_latents),
            partial(gan.generate, n_scored),
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
    config: WassersteinConfig,
    *,
    device: torch.device | str,
    data_root: Path | None,
    make_sampler: MakeSampler,
) -> WassersteinGAN:
    """Make the networks of a run, untrained; see `qcaan.runs.restoring.restore`.

    The data are not read.
    """
    extremes = torch.tensor(directory.fact("range"), dtype=torch.float64)  # (2, k)
    return WassersteinGAN(config, extremes, device, make_sampler=make_sampler)


def save_epoch(run: RunDirectory, gan: WassersteinGAN, record: EpochRecord, seconds: float) -> None:
    """Save the record and the checkpoint of an epoch.

    The checkpoint is written last: it marks the epoch as finished.
    """
    run.append({**asdict(record), "seconds": seconds})
    run.save_checkpoint(gan.training_state())


def score_run(run: RunDirectory, gan: WassersteinGAN, n: int) -> dict[str, Any]:
    """Score n generated samples, and n training samples, against the held-out ones.

    Writes scores.json, with numbers instead of lists if the data have one column, and samples.npz.
    On a device, the samples are jobs that may be paid for.
    """
    data = load_data(gan.config)
    run.check_fingerprint(data.fingerprint)
    samples, held_out, _ = data
    generated = gan.generate(n)
    scores = {**_scores(generated, held_out), "real": _scores(samples[:n], held_out)}
    run.save_arrays("samples.npz", {"generated": generated.numpy(), "real": held_out[:n].numpy()})
    run.save_scores(scores, gan.epoch)
    return scores


def _scores(drawn: Tensor, held_out: Tensor) -> dict[str, Any]:
    scores: dict[str, Any] = dict(column_scores(drawn, held_out))
    if held_out.shape[1] == 1:
        scores = {key: values[0] for key, values in scores.items()}
    else:
        scores["sliced_w1"] = sliced_wasserstein(drawn, held_out)
    return {**scores, "n_samples": len(drawn)}
