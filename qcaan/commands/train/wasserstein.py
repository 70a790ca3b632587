"""`qcaan train-wasserstein`: train a hybrid WGAN-GP QGAN on real numbers, and score it."""

from __future__ import annotations

from pathlib import Path

from rich.table import Table

from qcaan.checks import whole
from qcaan.gans.wasserstein.config import WassersteinConfig
from qcaan.gans.wasserstein.gan import EpochRecord, WassersteinGAN, train
from qcaan.runs import reports
from qcaan.runs.directory import RunDirectory
from qcaan.runs.session import (
    announce_data,
    announce_plan,
    console,
    explain_stop,
    make_pictures,
    start_or_resume,
    train_with_progress,
)
from qcaan.runs.wasserstein import data_facts, load_data, plan_run, save_epoch, score_run
from qcaan.samplers.journal import Journal
from qcaan.samplers.names import SamplerFactory
from qcaan.training import describe_engine, limit_threads, pick_device


def main(
    config: WassersteinConfig = WassersteinConfig(),
    out: Path | None = None,
    resume: bool = False,
    dry_run: bool = False,
    eval_samples: int = 10_000,
) -> None:
    """Train a quantum generator of real numbers, and score it.

    Args:
        config: configuration of the run.
        out: Directory of the run. Default: runs/ and the name of the data.
        resume: Continue an unfinished run. --epochs may be raised; everything else must be as
            it was.
        dry_run: Check everything, print what the run would ask of a device, and write nothing.
        eval_samples: Number of generated samples to score at the end, at least 2.
    """
    whole("eval_samples", eval_samples, 2)
    device = pick_device(config.device)
    run = RunDirectory(out or Path("runs") / Path(config.data).stem)
    run.check(resume=resume)
    journal = Journal(run.jobs_path)
    samplers = SamplerFactory(config, journal)
    data = load_data(config)
    samples, facts = data.samples, data_facts(config, data)
    announce_data(facts["provenance"])
    plan = plan_run(config, samplers, eval_samples, samples=samples)
    announce_plan(plan, config, config.epochs, dry_run=dry_run)
    if dry_run:
        return

    with run:
        limit_threads(config.n_qubits)
        gan = WassersteinGAN(config, samples, device, make_sampler=samplers)
        results = ("scores.json", "report.png")
        if not start_or_resume(
            run, "wasserstein", gan, data=facts, journal=journal, resume=resume, results=results
        ):
            return
        engine = describe_engine(config.sampler, config.shots, config.switch_after_epochs)
        console.print(
            f"run: {run.path}, {config.n_qubits} qubits ({config.ansatz} {config.n_layers}), "
            f"{config.epochs} epochs of {config.steps_per_epoch} steps on {device}, {engine}"
        )

        def end_epoch(record: EpochRecord, seconds: float) -> str:
            save_epoch(run, gan, record, seconds)
            losses = f"D {record.loss_d:.4f}, G {record.loss_g:.4f}"
            moments = f"mean {_listed(record.mean)}, deviation {_listed(record.std)}"
            return f"{losses}; {moments}, W1 {_listed(record.w1)}; {seconds:.1f} s"

        train_with_progress(
            gan, train(gan, samples), epoch_record=EpochRecord, end_epoch=end_epoch, journal=journal
        )

        with explain_stop(lambda: gan.epoch):
            scores = score_run(run, gan, eval_samples)
        failed = make_pictures(
            lambda: reports.save_report(run, reports.samples_figure(run), gan.epoch)
        )
        title = f"scores of {run.path} against held-out samples"
        table = Table("score", "generated", "training samples", title=title)
        for key, value in scores["real"].items():
            table.add_row(key, _listed(scores[key]), _listed(value))
        console.print(table)
        if failed:
            raise failed


def _listed(values: float | list[float]) -> str:
    """Return one number, or one for each column, with four significant digits."""
    return " ".join(f"{value:.4g}" for value in (values if isinstance(values, list) else [values]))
