"""Train a QC-AAN on images; samples, a progress GIF, a report and scores are left in the run directory.

python scripts/train_mnist.py --digits 3 7 9
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import tyro
from _cli import console, print_scores, run_script
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from qcaan import animation, load_images, metrics
from qcaan.gans import associative, associative_run
from qcaan.gans.associative import AssociativeConfig, AssociativeGAN, EpochRecord
from qcaan.training import RunDirectory, pick_device


def main(
    config: Annotated[AssociativeConfig, tyro.conf.arg(name="")] = AssociativeConfig(),
    out: Path | None = None,
    resume: bool = False,
    eval_images: int = 3000,
) -> None:
    """Train a QC-AAN (quantum circuit associative adversarial network) and score it.

    Args:
        config: the run.
        out: run directory; default runs/ and the digits, as runs/379.
        resume: go on with an unfinished run; --epochs may be raised, everything else must be as it was.
        eval_images: generated images to score at the end; 0 for no scores.
    """
    if eval_images < 0 or eval_images == 1:
        raise ValueError(f"eval_images must be 0 or at least 2, got {eval_images}")
    device = pick_device(config.device)
    associative.make_prior(config)  # refuses its bad options before data are read or folders made
    data = load_images(config.data, root=config.data_root)
    train_set = data.only(config.digits)
    config = config.resolved(len(train_set.images))
    console.print(f"data: {data.provenance}", style="bold red" if "NOT MNIST" in data.provenance else None)

    gan = AssociativeGAN(config, tuple(train_set.images.shape[1:]), device)
    run = RunDirectory(out or Path("runs") / "".join(map(str, config.digits)))
    checkpoint = run.begin(config, associative_run.run_facts(data, train_set), resume, device)
    if checkpoint is not None:
        gan.load_training_state(checkpoint)
        if gan.epoch >= config.epochs:
            console.print(f"{run.path} is finished: {gan.epoch} epochs of this configuration; nothing to do")
            return
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

    console.print(f"pictures: {animation.progress_gif(run)} {animation.report(run)}")
    if eval_images:
        scores = associative_run.score_run(run, gan, eval_images)
        print_scores(metrics.scores_table(scores), f"scores of {run.path} ({scores['features']})")


if __name__ == "__main__":
    run_script(main)
