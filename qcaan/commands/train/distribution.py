"""`qcaan train-qgan`: train a QGAN that loads a distribution, and write scores and a report."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from rich.progress import track
from rich.table import Table

from qcaan.gans.distribution.config import DistributionConfig, configured_samples, make_qgan
from qcaan.gans.distribution.qgan import train
from qcaan.gans.distribution.snapshots import Snapshots
from qcaan.runs.directory import RunDirectory
from qcaan.runs.distribution import data_facts, plan_run, save_report, score_run
from qcaan.runs.restoring import restore_checkpoint
from qcaan.runs.session import (
    announce_data,
    announce_plan,
    console,
    explain_stop,
    make_pictures,
    report_finished,
)
from qcaan.samplers.journal import Journal
from qcaan.samplers.names import SamplerFactory


def main(
    config: DistributionConfig = DistributionConfig(),
    out: Path | None = None,
    resume: bool = False,
    dry_run: bool = False,
) -> None:
    """Train a QGAN to load the distribution of samples into a circuit.

    Args:
        config: configuration of the run.
        out: Directory of the run. Default: runs/qgan- and the data's name.
        resume: Continue an unfinished run. --epochs may be raised; everything else must be as
            it was.
        dry_run: Check everything, print what the run would ask of a device, and write nothing.
    """
    run = RunDirectory(out or Path("runs") / f"qgan-{Path(config.data).stem}")
    run.check(resume=resume)
    journal = Journal(run.jobs_path)
    samplers = SamplerFactory(config, journal)
    data = configured_samples(config)
    samples, facts = data.values, data_facts(config, data)
    announce_data(facts["provenance"])
    plan = plan_run(config, samples, samplers)
    announce_plan(plan, config, config.epochs, dry_run=dry_run)
    if dry_run:
        return

    with run:
        qgan = make_qgan(config, samples, snapshot_dir=run.path, make_sampler=samplers)
        Snapshots(run.path).check()
        restore = partial(restore_checkpoint, run, qgan.load_training_state)
        run.begin("distribution", config, facts, resume=resume, restore=restore)
        left = 0 if qgan.is_good_enough else config.epochs - qgan.epoch
        if left == 0 and report_finished(run, qgan.epoch, ("scores.json", "report.png")):
            return
        journal.begin(qgan.epoch)
        console.print(
            f"run: {run.path}, {qgan.n_samples} of {len(samples)} samples within the bounds, "
            f"{qgan.grid.total_qubits} qubits, {qgan.generator.n_params} angles on {config.sampler}"
        )
        saved = qgan.epoch  # while an epoch is being saved, the QGAN is one ahead
        with explain_stop(lambda: saved):
            for record in track(train(qgan, left), "training", left, console=console):
                saved = record.epoch
                journal.begin(saved)
            scores = score_run(run, qgan)
        failed = make_pictures(lambda: save_report(run, qgan, scores, config))

        test = scores["ks_test_500"]
        verdict = "accepts" if test["accepts"] else "REJECTS"
        outcome = f"{test['statistic']:.4f}, p = {test['p_value']:.2f}: {verdict} at 95 %"
        table = Table("score", "value", title=f"{run.path} after {qgan.epoch} epochs")
        table.add_row("relative entropy, nats", f"{scores['rel_entr']:.4f}")
        table.add_row("Kolmogorov-Smirnov statistic", f"{scores['ks']:.4f}")
        table.add_row("Wasserstein-1, units of the data", f"{scores['wasserstein']:.4f}")
        table.add_row("KS test on 500 samples", outcome)
        console.print(table)
        console.print(f"wrote {run.path / 'scores.json'}, output.csv")
        if failed:
            raise failed
