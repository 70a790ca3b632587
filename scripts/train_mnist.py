"""Train a QC-AAN on images; samples, a progress GIF, a report and scores are left in the run directory.

python scripts/train_mnist.py --digits 3 7 9
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import tyro
from _cli import (
    begun,
    check_plan,
    console,
    print_data,
    print_scores,
    run_script,
    run_training,
    stoppable,
)

from qcaan import load_images, metrics
from qcaan.gans import associative
from qcaan.gans.associative import AssociativeConfig, AssociativeGAN, EpochRecord
from qcaan.runs import associative as associative_run
from qcaan.runs import pictures
from qcaan.runs.directory import RunDirectory
from qcaan.samplers.jobs import Journal
from qcaan.samplers.names import make_sampler
from qcaan.training import pick_device


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
    associative.make_prior(config)  # a bad option is refused before any data are read
    data = load_images(config.data, root=config.data_root)
    train_set = data.only(config.digits)
    config = config.resolved(len(train_set.images))
    print_data(data.provenance)
    check_plan(associative_run.plan_run(config, eval_images), config, config.epochs or 0, dry_run)
    if dry_run:
        return

    run = RunDirectory(out or Path("runs") / "".join(map(str, config.digits)))
    journal = Journal(run.jobs_path)
    samplers = partial(make_sampler, journal=journal, budget=config)
    gan = AssociativeGAN(config, tuple(train_set.images.shape[1:]), device, samplers)
    if not begun(run, gan, {"data": train_set.facts}, resume, journal, scored=eval_images > 0):
        return
    pictures.save_picture(run.path / "samples" / "real.png", pictures.grid(train_set.images[:64]))
    console.print(
        f"run: {run.path}, digits {' '.join(map(str, config.digits))}, prior {config.prior} ({gan.prior.dim} wide), "
        f"{len(train_set.images)} images, {config.epochs} epochs of {config.steps_per_epoch} steps on {device}"
    )

    def end_epoch(record: EpochRecord, seconds: float) -> str:
        associative_run.save_epoch(run, gan, record, seconds)
        losses = f"D {record.loss_d:.3f}, G {record.loss_g:.3f}; {record.fit.summary()}"
        return f"{losses}; {seconds:.1f} s, of which the prior {record.fit.seconds:.1f} s"

    run_training(
        gan, associative.train(gan, train_set.images.to(device)), EpochRecord, end_epoch, journal
    )

    title = associative_run.report_title(config, data.name)
    console.print(f"pictures: {pictures.progress_gif(run)} {pictures.report(run, title)}")
    if eval_images:
        with stoppable(lambda: gan.epoch):
            scores = associative_run.score_run(run, gan, eval_images)
        print_scores(metrics.scores_table(scores), f"scores of {run.path} ({scores['features']})")


if __name__ == "__main__":
    run_script(main)
