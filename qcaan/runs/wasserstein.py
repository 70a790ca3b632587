"""The run directory of a hybrid WGAN-GP QGAN: what is saved of a run, and how it is scored."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from scipy.stats import wasserstein_distance
from torch import Tensor

from qcaan.files import write_json
from qcaan.gans import wasserstein
from qcaan.gans.wasserstein import EpochRecord, WassersteinConfig, WassersteinGAN, column_scores
from qcaan.runs.directory import RunDirectory
from qcaan.runs.planning import Plan, plan_steps
from qcaan.samplers.names import MakeSampler
from qcaan.samplers.vendors import make_vendor


def sliced_wasserstein(generated: Tensor, real: Tensor, n_directions: int = 100) -> float:
    """Mean Wasserstein-1 distance of samples [n, k] and [m, k] along random directions (Bonneel et al., JMIV 51, 2015).

    It sees what single columns do not show: how they hang together.
    """
    directions = torch.randn(
        n_directions, generated.shape[1], generator=torch.Generator().manual_seed(0)
    ).double()
    directions /= torch.linalg.vector_norm(directions, dim=1, keepdim=True)
    pairs = zip((directions @ generated.T).numpy(), (directions @ real.T).numpy(), strict=True)
    return float(np.mean([wasserstein_distance(*pair) for pair in pairs]))


def plan_run(config: WassersteinConfig, samples: Tensor, n_scored: int) -> Plan | None:
    """What a run of this configuration, with as many samples scored, would ask of a device; None if it asks none."""

    def start(make_sampler: MakeSampler) -> tuple[Callable[[], object], ...]:
        gan = WassersteinGAN(
            replace(config, switch_at=None), samples, torch.device("cpu"), make_sampler
        )
        records: Iterator[object] = wasserstein.train(gan, samples)
        return (
            partial(next, records),
            partial(gan.draw, gan.fixed_latents),
            partial(gan.generate, n_scored),
        )

    vendor = partial(make_vendor, budget=config)
    return plan_steps(start, vendor, config.epochs, config.steps_per_epoch, config.switch_at)


def run_facts(config: WassersteinConfig, samples: Tensor, held_out: Tensor) -> dict[str, Any]:
    """What a run's config.json says of its data besides the configuration."""
    everything = torch.cat([samples, held_out])
    return {
        "data": {
            "name": config.target,
            "n_samples": len(everything),
            "columns": everything.shape[1],
            "mean": everything.mean(0).tolist(),
            "std": everything.std(0).tolist(),
            "provenance": f"{len(samples)} samples of {config.target} to train on, {len(held_out)} held out for the scores",
        }
    }


def save_epoch(run: RunDirectory, gan: WassersteinGAN, record: EpochRecord, seconds: float) -> None:
    """Leave an epoch in the run directory; the checkpoint last, since it is what says that the epoch is done."""
    run.append({**asdict(record), "seconds": seconds})
    run.save_checkpoint(gan.training_state())


def score_run(
    run: RunDirectory, gan: WassersteinGAN, samples: Tensor, held_out: Tensor, n: int
) -> dict[str, Any]:
    """Score n generated samples, and as many training samples, against the held-out ones.

    Writes scores.json, where numbers stand for lists of one column, and samples.npz.
    """
    generated = gan.generate(n)
    scores = {**_scores(generated, held_out), "real": _scores(samples[:n], held_out)}
    run.save_arrays("samples.npz", {"generated": generated.numpy(), "real": held_out[:n].numpy()})
    write_json(run.path / "scores.json", scores)
    return scores


def _scores(drawn: Tensor, held_out: Tensor) -> dict[str, Any]:
    scores: dict[str, Any] = dict(column_scores(drawn, held_out))
    if held_out.shape[1] == 1:
        scores = {key: values[0] for key, values in scores.items()}
    else:
        scores["sliced_w1"] = sliced_wasserstein(drawn, held_out)
    return {**scores, "n_samples": len(drawn)}
