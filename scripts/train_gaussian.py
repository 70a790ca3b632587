"""Train the hybrid WGAN-GP QGAN on a distribution of real numbers; a report and scores are left in the run directory.

python scripts/train_gaussian.py
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import tyro
from _cli import begun, check_plan, console, run_script, run_training, stoppable
from rich.table import Table

from qcaan.gans import wasserstein
from qcaan.gans.wasserstein import EpochRecord, WassersteinConfig, WassersteinGAN
from qcaan.runs import pictures
from qcaan.runs import wasserstein as wasserstein_run
from qcaan.runs.directory import RunDirectory
from qcaan.samplers.jobs import Journal
from qcaan.samplers.names import make_sampler
from qcaan.training import described, pick_device, use_one_thread

_THREADS_PAY = 8  # qubits from which on a second thread is worth waiting for


def main(
    config: Annotated[WassersteinConfig, tyro.conf.arg(name="")] = WassersteinConfig(),
    out: Path | None = None,
    resume: bool = False,
    dry_run: bool = False,
    eval_samples: int = 10_000,
) -> None:
    """Train a quantum generator of real numbers against a classical critic, and score it.

    Args:
        config: the run.
        out: run directory; default runs/ and the target's name.
        resume: go on with an unfinished run; --epochs may be raised, everything else must be as it was.
        dry_run: check everything, say what the run would ask of a device, and write nothing.
        eval_samples: generated samples to score at the end.
    """
    if eval_samples < 2:
        raise ValueError(f"eval_samples must be at least 2, got {eval_samples}")
    device = pick_device(config.device)
    samples, held_out = wasserstein.load_target(config)
    facts = wasserstein_run.run_facts(config, samples, held_out)
    console.print(f"data: {facts['data']['provenance']}")
    check_plan(
        wasserstein_run.plan_run(config, samples, eval_samples), config, config.epochs, dry_run
    )
    if dry_run:
        return

    if config.n_qubits < _THREADS_PAY:
        use_one_thread()
    run = RunDirectory(out or Path("runs") / Path(config.target).stem)
    journal = Journal(run.jobs_path)
    gan = WassersteinGAN(
        config, samples, device, partial(make_sampler, journal=journal, budget=config)
    )
    if not begun(run, gan, facts, resume, journal):
        return
    console.print(
        f"run: {run.path}, {config.n_qubits} qubits ({config.ansatz} {config.n_layers}), {config.epochs} epochs of "
        f"{config.steps_per_epoch} steps on {device}, "
        + described(config.sampler, config.shots, config.switch_at)
    )

    def end_epoch(record: EpochRecord, seconds: float) -> str:
        wasserstein_run.save_epoch(run, gan, record, seconds)
        moments = (
            f"mean {listed(record.mean)}, deviation {listed(record.std)}, W1 {listed(record.w1)}"
        )
        return f"D {record.loss_d:.4f}, G {record.loss_g:.4f}; {moments}; {seconds:.1f} s"

    run_training(gan, wasserstein.train(gan, samples), EpochRecord, end_epoch, journal)

    with stoppable(lambda: gan.epoch):
        scores = wasserstein_run.score_run(run, gan, samples, held_out, eval_samples)
    console.print(f"picture: {pictures.sample_report(run)}")
    table = Table(
        "score",
        "generated",
        "training samples",
        title=f"scores of {run.path} against held-out samples",
    )
    for key, value in scores["real"].items():
        table.add_row(key, listed(scores[key]), listed(value))
    console.print(table)


def listed(values: float | list[float]) -> str:
    """One number, or one for each column, with four significant digits."""
    return " ".join(f"{value:.4g}" for value in (values if isinstance(values, list) else [values]))


if __name__ == "__main__":
    run_script(main)
