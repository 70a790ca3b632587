"""Train a quantum GAN to load a probability distribution; history, scores and a report are left in the run directory.

python scripts/train_qgan.py --data lognormal
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import tyro
from _cli import check_plan, console, is_finished, run_script, stoppable
from rich.progress import track
from rich.table import Table

from qcaan.runs import distribution as distribution_run
from qcaan.runs.directory import RunDirectory
from qcaan.runs.distribution import DistributionConfig
from qcaan.samplers.jobs import Journal
from qcaan.samplers.names import make_sampler


def main(
    config: Annotated[DistributionConfig, tyro.conf.arg(name="")] = DistributionConfig(),
    out: Path | None = None,
    resume: bool = False,
    dry_run: bool = False,
) -> None:
    """Train a quantum GAN (Zoufal, Lucchi, Woerner, arXiv:1904.00043) on samples of a distribution.

    Args:
        config: the run.
        out: run directory; default runs/qgan- and the data's name.
        resume: go on with an unfinished run; --epochs may be raised, everything else must be as it was.
        dry_run: check everything, say what the run would ask of a device, and write nothing.
    """
    samples = distribution_run.configured_samples(config)
    check_plan(distribution_run.plan_run(config, samples), config, config.epochs, dry_run)
    if dry_run:
        return
    run = RunDirectory(out or Path("runs") / f"qgan-{Path(config.data).stem}")
    journal = Journal(run.jobs_path)
    samplers = partial(make_sampler, journal=journal, budget=config)
    qgan = distribution_run.make_qgan(config, samples, run.path, samplers)
    checkpoint = run.begin(config, distribution_run.run_facts(samples), resume, "cpu")
    if checkpoint is not None:
        qgan.load_training_state(checkpoint)
    left = 0 if qgan.is_good_enough else config.epochs - len(qgan.rel_entr)
    if left == 0 and is_finished(run, len(qgan.rel_entr)):
        return
    console.print(
        f"run: {run.path}, {qgan.n_samples} of {len(samples)} samples within the bounds, {qgan.grid.n_qubits} qubits, "
        f"{qgan.generator.n_params} angles on {config.sampler}"
    )
    with stoppable(lambda: len(qgan.rel_entr)):
        journal.begin(len(qgan.rel_entr))
        for _ in track(qgan.epochs(left), "training", left, console=console):
            journal.begin(len(qgan.rel_entr))
        scores = distribution_run.save_results(run, qgan, config)
    table = Table("score", "value", title=f"{run.path} after {scores['epochs']} epochs")
    table.add_row("relative entropy, nats", f"{scores['rel_entr']:.4f}")
    table.add_row("Kolmogorov-Smirnov statistic", f"{scores['ks']:.4f}")
    table.add_row("Wasserstein-1, units of the data", f"{scores['wasserstein']:.4f}")
    test = scores["ks_test_500"]
    verdict = "accepts" if test["accepts"] else "REJECTS"
    table.add_row(
        "KS test on 500 samples",
        f"{test['statistic']:.4f}, p = {test['p_value']:.2f}: {verdict} at 95 %",
    )
    console.print(table)
    console.print(f"wrote {run.path / 'report.png'}, scores.json, output.csv")


if __name__ == "__main__":
    run_script(main)
