"""Train a QC-AAN on images; samples, a progress GIF, a report and scores are left in the run directory.

python scripts/train_mnist.py --digits 3 7 9
"""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated

import tyro
from _cli import console, print_scores, run_script
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from qcaan import animation, load_images, metrics
from qcaan.gans import associative, associative_run
from qcaan.gans.associative import AssociativeConfig, AssociativeGAN, EpochRecord
from qcaan.jobs import JobError, Journal
from qcaan.planning import Plan
from qcaan.samplers import make_sampler
from qcaan.training import RunDirectory, RunError, pick_device


def main(
    config: Annotated[AssociativeConfig, tyro.conf.arg(name="")] = AssociativeConfig(),
    out: Path | None = None,
    resume: bool = False,
    dry_run: bool = False,
    eval_images: int = 3000,
) -> None:
    """Train a QC-AAN (quantum circuit associative adversarial network) and score it.

    Args:
        config: the run.
        out: run directory; default runs/ and the digits, as runs/379.
        resume: go on with an unfinished run; --epochs may be raised, everything else must be as it was.
        dry_run: only say what the run would ask of a device.
        eval_images: generated images to score at the end; 0 for no scores.
    """
    if eval_images < 0 or eval_images == 1:
        raise ValueError(f"eval_images must be 0 or at least 2, got {eval_images}")
    device = pick_device(config.device)
    planned = associative_run.plan_run(replace(config, epochs=config.epochs or 1), eval_images)
    data = load_images(config.data, root=config.data_root)
    train_set = data.only(config.digits)
    config = config.resolved(len(train_set.images))
    console.print(f"data: {data.provenance}", style="bold red" if "NOT MNIST" in data.provenance else None)
    if dry_run or planned:
        planned = associative_run.plan_run(config, eval_images)
        print_plan(planned, config.epochs or 0)
        if planned:
            planned.check(associative_run.budget(config))
    if dry_run:
        return

    run = RunDirectory(out or Path("runs") / "".join(map(str, config.digits)))
    journal = Journal(run.jobs_path)
    samplers = partial(make_sampler, journal=journal, budget=associative_run.budget(config))
    gan = AssociativeGAN(config, tuple(train_set.images.shape[1:]), device, samplers)
    checkpoint = run.begin(config, associative_run.run_facts(data, train_set), resume, device)
    if checkpoint is not None:
        gan.load_training_state(checkpoint)
        if gan.epoch >= config.epochs:
            console.print(f"{run.path} is finished: {gan.epoch} epochs of this configuration; nothing to do")
            return
    journal.begin(gan.epoch)
    animation.save_picture(run.path / "samples" / "real.png", animation.grid(train_set.images[:64]))

    images = train_set.images.to(device)
    console.print(
        f"run: {run.path}, digits {' '.join(map(str, config.digits))}, prior {config.prior} ({gan.prior.dim} wide), "
        f"{len(images)} images, {config.epochs} epochs of {config.steps_per_epoch} steps on {device}"
    )
    columns = (BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(TextColumn("{task.description}"), *columns, console=console) as progress:
        bar = progress.add_task("", total=config.epochs * config.steps_per_epoch, completed=gan.step)
        start = time.perf_counter()
        try:
            for record in associative.train(gan, images):
                if isinstance(record, EpochRecord):
                    seconds = time.perf_counter() - start
                    associative_run.save_epoch(run, gan, record, seconds)
                    journal.begin(gan.epoch)
                    console.print(
                        f"epoch {record.epoch}/{config.epochs}: D {record.loss_d:.3f}, G {record.loss_g:.3f}; "
                        f"{record.fit.summary()}; {seconds:.1f} s, of which the prior {record.fit.seconds:.1f} s"
                    )
                    start = time.perf_counter()
                else:
                    losses = f"D {record.loss_d:.2f} G {record.loss_g:.2f}"
                    progress.update(bar, completed=record.step, description=f"epoch {record.epoch} {losses}")
        except KeyboardInterrupt:
            console.print(f"stopped; {gan.epoch} epochs are saved. Go on with the same command and --resume.")
            raise SystemExit(130) from None
        except associative.TrainingCollapsed as error:
            console.print(f"stopped: {error}. The last good checkpoint is that of epoch {gan.epoch}.", style="bold red")
            raise SystemExit(1) from None
        except JobError as error:
            raise RunError(f"{error}; {gan.epoch} epochs are saved, and --resume goes on from there") from None

    console.print(f"pictures: {animation.progress_gif(run)} {animation.report(run)}")
    if eval_images:
        scores = associative_run.score_run(run, gan, eval_images)
        print_scores(metrics.scores_table(scores), f"scores of {run.path} ({scores['features']})")


def print_plan(planned: Plan | None, epochs: int) -> None:
    if planned is None:
        console.print("plan: all circuits run in this process; no jobs are submitted, and nothing is paid for")
        return
    limits = planned.limits
    console.print(
        f"plan for {planned.name}: {planned.two_qubit_gates} two-qubit gates, depth {planned.depth}; it has "
        f"{limits.n_qubits} qubits and takes {limits.shots or 'any number of'} shots a circuit, "
        f"{limits.circuits or 'any number of'} circuits a job; {'paid for' if planned.paid else 'free'}"
    )
    for what, counts in (("an epoch on it", planned.epoch), (f"the run of {epochs} epochs", planned.run)):
        console.print(f"  {what}: {counts.jobs:,} jobs, {counts.circuits:,} circuits, {counts.shots:,} shots")


if __name__ == "__main__":
    run_script(main)
