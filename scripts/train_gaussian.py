"""Train the hybrid WGAN-GP QGAN on a distribution of real numbers; a report and scores are left in the run directory.

python scripts/train_gaussian.py
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import tyro
from _cli import console, run_script
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from qcaan import animation
from qcaan.gans import wasserstein, wasserstein_run
from qcaan.gans.wasserstein import EpochRecord, WassersteinConfig, WassersteinGAN
from qcaan.training import RunDirectory, TrainingCollapsed, pick_device


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
        dry_run: check everything, say what would be run, and write nothing.
        eval_samples: generated samples to score at the end.
    """
    if eval_samples < 2:
        raise ValueError(f"eval_samples must be at least 2, got {eval_samples}")
    device = pick_device(config.device)
    samples, held_out = wasserstein.load_target(config)
    facts = wasserstein_run.run_facts(config, samples, held_out)
    gan = WassersteinGAN(config, samples, device)
    run = RunDirectory(out or Path("runs") / Path(config.target).stem)
    console.print(f"data: {facts['data']['provenance']}")
    console.print(
        f"run: {run.path}, {config.n_qubits} qubits ({config.ansatz} {config.n_layers}), {config.epochs} epochs of "
        f"{config.steps_per_epoch} steps on {device}, sampler {config.sampler}"
        + (f" from step {config.switch_at} on" if config.switch_at else "")
        + f", {gan.sets_per_step} parameter sets a step"
        + (f" of {config.shots} shots" if config.shots else "")
    )
    if dry_run:
        console.print("dry run: nothing was written")
        return
    checkpoint = run.begin(config, facts, resume, device)
    if checkpoint is not None:
        gan.load_training_state(checkpoint)
        if gan.epoch >= config.epochs:
            console.print(f"{run.path} is finished: {gan.epoch} epochs of this configuration; nothing to do")
            return

    columns = (BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(TextColumn("{task.description}"), *columns, console=console) as progress:
        bar = progress.add_task("", total=config.epochs * config.steps_per_epoch, completed=gan.step)
        start = time.perf_counter()
        try:
            for record in wasserstein.train(gan, samples):
                if isinstance(record, EpochRecord):
                    seconds = time.perf_counter() - start
                    wasserstein_run.save_epoch(run, gan, record, seconds)
                    console.print(
                        f"epoch {record.epoch}/{config.epochs}: D {record.loss_d:.4f}, G {record.loss_g:.4f}; "
                        f"mean {listed(record.mean)}, deviation {listed(record.std)}, W1 {listed(record.w1)}; {seconds:.1f} s"
                    )
                    start = time.perf_counter()
                else:
                    progress.update(bar, completed=record.step, description=f"epoch {record.epoch}")
        except KeyboardInterrupt:
            console.print(f"stopped; {gan.epoch} epochs are saved. Go on with the same command and --resume.")
            raise SystemExit(130) from None
        except TrainingCollapsed as error:
            console.print(f"stopped: {error}. The last good checkpoint is that of epoch {gan.epoch}.", style="bold red")
            raise SystemExit(1) from None

    scores = wasserstein_run.score_run(run, gan, samples, held_out, eval_samples)
    console.print(f"picture: {animation.sample_report(run)}")
    table = Table("score", "generated", "training samples", title=f"scores of {run.path} against held-out samples")
    for key, value in scores["real"].items():
        table.add_row(key, listed(scores[key]), listed(value))
    console.print(table)


def listed(values: float | list[float]) -> str:
    """One number, or one for each column, with four significant digits."""
    return " ".join(f"{value:.4g}" for value in (values if isinstance(values, list) else [values]))


if __name__ == "__main__":
    run_script(main)
