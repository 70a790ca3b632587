"""`qcaan train`: train a QC-AAN on images, and leave pictures, a report and scores."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from qiskit.primitives import BaseSamplerV2

from qcaan.commands.scoring import images_to_score, inception_network
from qcaan.data.images import load_images
from qcaan.gans.associative.config import AssociativeConfig
from qcaan.gans.associative.gan import AssociativeGAN, EpochRecord, train
from qcaan.metrics.images import check_scorable, scores_table
from qcaan.priors.make import make_prior
from qcaan.processes import Processes, joined
from qcaan.runs import pictures, reports
from qcaan.runs.associative import plan_run, report_title, save_epoch, score_run
from qcaan.runs.directory import RunDirectory
from qcaan.runs.session import (
    announce_data,
    announce_plan,
    console,
    explain_stop,
    make_pictures,
    print_scores,
    start_or_resume,
    train_with_progress,
)
from qcaan.samplers.journal import Journal
from qcaan.samplers.names import ClosedSampler, SamplerFactory, is_device, make_sampler
from qcaan.training import TrainingCollapsed, pick_device


def main(
    config: AssociativeConfig = AssociativeConfig(),
    out: Path | None = None,
    resume: bool = False,
    dry_run: bool = False,
    eval_images: int | None = None,
    inception_weights: Path | None = None,
) -> None:
    """Train a quantum circuit associative adversarial network, and score it.

    Args:
        config: configuration of the run.
        out: Directory of the run. Default: runs/ and the digits, as in runs/379.
        resume: Continue an unfinished run. --epochs may be raised; everything else must be as
            it was.
        dry_run: Check everything, print what the run would ask of a device, and write nothing.
        eval_images: Number of generated images to score at the end; 0 for no scores. Default:
            10000, or 3000 if a device draws them.
        inception_weights: File of weights of the Inception network, for FID as others quote it:
            pt_inception-2015-12-05-6726825d.pth of pytorch-fid. It needs the extra inception.
            Default: no such score.
    """
    with joined(config.device) as processes:
        if processes.is_first:
            _lead(config, out, resume, dry_run, eval_images, inception_weights, processes)
        else:
            _follow(processes)


def _lead(
    config: AssociativeConfig,
    out: Path | None,
    resume: bool,
    dry_run: bool,
    eval_images: int | None,
    inception_weights: Path | None,
    processes: Processes,
) -> None:
    """Train, and do all that must be done once; see `main`."""
    scored = eval_images != 0
    n_scored = images_to_score("eval_images", eval_images, config.sampler) if scored else 0
    device = pick_device(config.device)
    inception = inception_network(inception_weights, n_scored, device)
    run = RunDirectory(out or Path("runs") / "".join(map(str, config.digits)))
    run.check(resume=resume)
    journal = Journal(run.jobs_path)
    samplers = SamplerFactory(config, journal)
    # refuses bad options before any data are read
    prior = make_prior(
        config, config, seed=config.seed, make_sampler=samplers, labels=config.digits
    )
    data = load_images(config.data, root=config.data_root)
    train_set = data.only(config.digits)
    if scored:
        test_set = load_images(data.name, root=config.data_root, split="test")
        check_scorable(data, test_set, config.digits)
    config = config.resolved(len(train_set.images))
    assert config.epochs is not None
    announce_data(data.provenance, stands_in=data.stands_in)
    for summary in prior.fit_summaries:
        console.print(f"fits: {summary}")
    plan = plan_run(config, samplers, n_scored)
    announce_plan(plan, config, config.epochs, dry_run=dry_run)
    if dry_run:
        processes.from_first(None)
        return

    with run:
        channels, height, width = train_set.images.shape[1:]
        gan = AssociativeGAN(config, (channels, height, width), device, make_sampler=samplers)
        facts = train_set.facts
        results = ["report.png", "progress.gif", *(["scores.json"] if scored else [])]
        if not start_or_resume(
            run, "associative", gan, data=facts, journal=journal, resume=resume, results=results
        ):
            processes.from_first(None)
            return
        given = replace(config, data=data.name), train_set.fingerprint, gan.training_state()
        processes.from_first(given)
        pictures.save_picture(
            run.path / "samples" / "real.png", pictures.grid(train_set.images[:64])
        )
        console.print(
            f"run: {run.path}, digits {' '.join(map(str, config.digits))}, prior {config.prior} "
            f"({gan.prior.dim} wide), {len(train_set.images)} images, {config.epochs} epochs of "
            f"{config.steps_per_epoch} steps on {device}"
            + (f", {processes.count} processes" if processes.count > 1 else "")
        )

        def end_epoch(record: EpochRecord, seconds: float) -> str:
            save_epoch(run, gan, record, seconds)
            losses = f"D {record.loss_d:.3f}, G {record.loss_g:.3f}; {record.fit.summary()}"
            return f"{losses}; {seconds:.1f} s, of which the prior {record.fit.seconds:.1f} s"

        records = train(gan, train_set.images.to(device), train_set.labels, processes)
        train_with_progress(
            gan, records, epoch_record=EpochRecord, end_epoch=end_epoch, journal=journal
        )

        processes.leave()
        title = report_title(config, data.name)
        failed = make_pictures(
            lambda: pictures.progress_gif(run),
            lambda: reports.save_report(run, reports.image_figure(run, title), gan.epoch),
        )
        if scored:
            with explain_stop(lambda: gan.epoch):
                scores = score_run(run, gan, n_scored, inception)
            print_scores(scores_table(scores), f"scores of {run.path} ({scores['features']})")
        if failed:
            raise failed


def _sampler_of_follower(name: str, rng: np.random.Generator) -> BaseSamplerV2:
    """Return a simulator, or what stands for a device, which the first process alone asks."""
    if is_device(name):
        return ClosedSampler("only the first process asks devices")
    return make_sampler(name, rng)


def _follow(processes: Processes) -> None:
    """Train beside the first process, which reads the options and alone prints, saves and fits."""
    given: tuple[AssociativeConfig, str, dict[str, Any]] | None = processes.from_first(None)
    if given is None:  # there is nothing to train
        return
    config, fingerprint, state = given
    train_set = load_images(config.data, root=config.data_root).only(config.digits)
    if train_set.fingerprint != fingerprint:
        raise ValueError(
            f"process {processes.rank} has other images of {config.data} than the first"
        )
    channels, height, width = train_set.images.shape[1:]
    device = pick_device(config.device)
    gan = AssociativeGAN(
        config,
        (channels, height, width),
        device,
        make_sampler=_sampler_of_follower,
    )
    gan.load_training_state(state)
    try:
        for _ in train(gan, train_set.images.to(device), train_set.labels, processes):
            pass
    except TrainingCollapsed:  # the first process says so
        raise SystemExit(1) from None
