"""Runs of the QGAN of distributions: planned, loaded, and scored."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from qcaan.checks import Floats
from qcaan.data.samples import Samples
from qcaan.gans.distribution.config import DistributionConfig, configured_samples, make_qgan
from qcaan.gans.distribution.qgan import QGAN, train
from qcaan.runs import reports
from qcaan.runs.directory import RunDirectory
from qcaan.runs.planning import plan_steps
from qcaan.samplers.names import MakeSampler, SamplerFactory
from qcaan.samplers.rehearsal import Plan

# smallest p-value with which a Kolmogorov-Smirnov test accepts at 95 %
KS_ACCEPTS = 0.05

CONFIG = DistributionConfig


def plan_run(config: DistributionConfig, samples: Floats, samplers: SamplerFactory) -> Plan | None:
    """Plan the device jobs of a run. Return None if it uses no device."""

    def start(make_sampler: MakeSampler) -> tuple[Callable[[], object], ...]:
        qgan = make_qgan(config, samples, make_sampler=make_sampler)
        # an epoch as a whole is rehearsed as one step
        return partial(next, train(qgan)), lambda: None, partial(_scores, qgan)

    return plan_steps(
        start,
        samplers,
        epochs=config.epochs,
        steps_per_epoch=1,
        switch_after_epochs=None,
    )


def data_facts(config: DistributionConfig, samples: Samples) -> dict[str, Any]:
    """Return the facts about a run's data for its config.json."""
    values, origin = samples
    return {
        "name": Path(config.data).name,
        "shape": list(values.shape),
        "mean": values.mean(0).tolist(),
        "std": values.std(0).tolist(),
        "provenance": f"{len(values)} samples of {origin}",
        "fingerprint": samples.fingerprint,
    }


def make_gan(
    directory: RunDirectory,
    config: DistributionConfig,
    *,
    device: torch.device | str,
    data_root: Path | None,
    make_sampler: MakeSampler,
) -> QGAN:
    """Make the QGAN of a run, untrained; see `qcaan.runs.restoring.restore`.

    The samples are drawn or read again: a file from `data_root`, if that is given, or from its old
    place.

    Raises:
        RunError: as of `restore`, or the samples are not those that the run began with.
    """
    samples = configured_samples(config, data_root)
    directory.check_fingerprint(samples.fingerprint)
    return make_qgan(config, samples.values, make_sampler=make_sampler)


def score_run(run: RunDirectory, qgan: QGAN) -> dict[str, Any]:
    """Score a trained QGAN, write scores.json, and return the scores.

    On a device the scores are jobs that may be paid for.
    """
    scores = _scores(qgan)
    run.save_scores(scores, qgan.epoch)
    return scores


def save_report(
    run: RunDirectory, qgan: QGAN, scores: dict[str, Any], config: DistributionConfig
) -> Path:
    """Write the report of a trained QGAN with its scores, and return its path."""
    figure = reports.distribution_figure(
        qgan.grid.axes,
        qgan.grid.marginals(qgan.data_probs),
        qgan.grid.marginals(np.array(scores["pdf"])),
        history={"d_loss": qgan.d_loss, "g_loss": qgan.g_loss, "rel_entr": qgan.rel_entr},
        title=f"QGAN, {Path(config.data).name}, {qgan.grid.total_qubits} qubits, "
        f"ry-cz {config.n_layers}, {config.sampler}",
    )
    return reports.save_report(run, figure, qgan.epoch)


def _scores(qgan: QGAN) -> dict[str, Any]:
    statistic, p_value = qgan.ks_test()
    accepts = p_value >= KS_ACCEPTS
    return {
        **qgan.distances(),
        "ks_test_500": {"statistic": statistic, "p_value": p_value, "accepts": accepts},
        "samples_within_bounds": qgan.n_samples,
        "bounds": qgan.grid.bounds.tolist(),
        "n_qubits": list(qgan.grid.n_qubits),
        "points": qgan.grid.points.tolist(),
        "data": qgan.data_probs.tolist(),
        "pdf": qgan.pdf().tolist(),
        "params": qgan.generator.parameter_values.tolist(),
    }
