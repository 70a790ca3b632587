"""Runs of the QC-AAN from start to scores, without a console: cells of comparisons and sweeps."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from qcaan.data.images import ImageSet
from qcaan.gans.associative.config import AssociativeConfig
from qcaan.gans.associative.gan import AssociativeGAN, EpochRecord, train
from qcaan.metrics.images import ImageScorer
from qcaan.runs.associative import save_epoch
from qcaan.runs.cluster import Record, Tell
from qcaan.runs.directory import RunDirectory
from qcaan.runs.restoring import restore_checkpoint
from qcaan.samplers.journal import Journal
from qcaan.samplers.names import SamplerFactory
from qcaan.training import TrainingCollapsed, pick_device

DISTANCES = ("kl", "kl_product", "nll", "nll_product", "nll_tree")


@dataclass(frozen=True)
class TrialData:
    """What all trials share.

    Attributes:
        train_set: training images of the wanted classes.
        scorer: scores of images.
        n_images: number of generated images to score.
        device: name of the device of the networks; auto is that of the machine of the trial.
    """

    train_set: ImageSet
    scorer: ImageScorer
    n_images: int
    device: str


def train_and_score(
    config: AssociativeConfig, shared: TrialData, folder: Path, tell: Tell
) -> Record:
    """Train a run in a directory, or continue it, and return its scores.

    The run is the one that `qcaan train` makes of this configuration. If its training collapses,
    the record holds only the reason.

    Args:
        config: configuration, with its defaults filled in by `resolved`.
        shared: data and scores.
        folder: directory of the run, new or of an unfinished run.
        tell: function that is told how far the run is.

    Raises:
        RunError: the directory belongs to another configuration, or to a process that runs.
    """
    device = pick_device(shared.device)
    run, data = RunDirectory(folder), shared.train_set
    channels, height, width = data.images.shape[1:]
    journal = Journal(run.jobs_path)
    samplers = SamplerFactory(config, journal)
    gan = AssociativeGAN(config, (channels, height, width), device, make_sampler=samplers)

    def restore(checkpoint: dict[str, Any]) -> None:
        restore_checkpoint(run, gan.load_training_state, checkpoint)

    with run:
        resume = (folder / "config.json").is_file()
        run.begin("associative", config, data.facts, resume=resume, device=device, restore=restore)
        journal.begin(gan.epoch)
        start = time.perf_counter()
        try:
            for record in train(gan, data.images.to(device), data.labels):
                if isinstance(record, EpochRecord):
                    save_epoch(run, gan, record, time.perf_counter() - start)
                    journal.begin(record.epoch)
                    tell(f"epoch {record.epoch} of {config.epochs}")
                    start = time.perf_counter()
        except TrainingCollapsed as error:
            return {"collapsed": str(error)}
        tell("scoring")
        drawn, samples = gan.generate(shared.n_images)
        scores, _ = shared.scorer.score(drawn, asked=gan.labels_of(samples))
        log = run.records()
    fits = [entry["fit"] for entry in log]
    return {
        **scores,
        "seconds": sum(entry["seconds"] for entry in log),
        "threads": torch.get_num_threads(),
        "prior_seconds": sum(fit["seconds"] for fit in fits),
        **{key: fits[-1][key] for key in DISTANCES},
    }
