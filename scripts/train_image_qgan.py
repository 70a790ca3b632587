"""Train an image QGAN; samples, a progress GIF, a report and scores are left in the run directory.

python scripts/train_image_qgan.py --digits 3 7 9
python scripts/train_image_qgan.py --preset published
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

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
from qcaan.gans import image
from qcaan.gans.image import PRESETS, EpochRecord, ImageConfig, ImageGAN
from qcaan.runs import image as image_run
from qcaan.runs import pictures
from qcaan.runs.directory import RunDirectory
from qcaan.samplers.jobs import Journal
from qcaan.samplers.names import make_sampler
from qcaan.training import pick_device


def main(
    config: Annotated[ImageConfig, tyro.conf.arg(name="")] = PRESETS["tuned"],
    preset: Literal["tuned", "published"] = "tuned",
    out: Path | None = None,
    resume: bool = False,
    dry_run: bool = False,
    eval_images: int = 3000,
) -> None:
    """Train a circuit and a small decoder to draw images, against a discriminator, and score them.

    Args:
        config: the run.
        preset: what the other options start from: tuned, ours; or published, the recipe that draws one picture.
        out: run directory; default runs/image- and the digits, as runs/image-379.
        resume: go on with an unfinished run; --epochs may be raised, everything else must be as it was.
        dry_run: check everything, say what the run would ask of a device, and write nothing.
        eval_images: generated images to score at the end; 0 for no scores.
    """
    if eval_images < 0 or eval_images == 1:
        raise ValueError(f"eval_images must be 0 or at least 2, got {eval_images}")
    device = pick_device(config.device)
    data = load_images(config.data, root=config.data_root)
    train_set = data.only(config.digits)
    config = config.resolved(len(train_set.images))
    channels, height, width = train_set.images.shape[1:]
    print_data(data.provenance)
    check_plan(
        image_run.plan_run(config, (channels, height, width), eval_images),
        config,
        config.epochs,
        dry_run,
    )
    if dry_run:
        return

    run = RunDirectory(out or Path("runs") / f"image-{''.join(map(str, config.digits))}")
    journal = Journal(run.jobs_path)
    samplers = partial(make_sampler, journal=journal, budget=config)
    gan = ImageGAN(config, (channels, height, width), device, samplers)
    if not begun(run, gan, {"data": train_set.facts}, resume, journal, scored=eval_images > 0):
        return
    pictures.save_picture(run.path / "samples" / "real.png", pictures.grid(train_set.images[:64]))
    title = image_run.report_title(config, data.name)
    console.print(
        f"run: {run.path}, {title}, digits {' '.join(map(str, config.digits))}, {len(train_set.images)} images, "
        f"{config.epochs} epochs of {config.steps_per_epoch} steps on {device}"
    )

    def end_epoch(record: EpochRecord, seconds: float) -> str:
        image_run.save_epoch(run, gan, record, seconds)
        return f"D {record.loss_d:.3f}, G {record.loss_g:.3f}; {seconds:.1f} s"

    run_training(
        gan, image.train(gan, train_set.images.to(device)), EpochRecord, end_epoch, journal
    )

    console.print(
        f"pictures: {pictures.progress_gif(run)} {pictures.report(run, title, config.loss == 'bce')}"
    )
    if eval_images:
        with stoppable(lambda: gan.epoch):
            scores = image_run.score_run(run, gan, eval_images)
        print_scores(metrics.scores_table(scores), f"scores of {run.path} ({scores['features']})")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    # first of all, since it decides the defaults of all other options
    parser.add_argument("--preset", nargs="?", default="tuned")
    chosen = PRESETS.get(parser.parse_known_args()[0].preset, PRESETS["tuned"])
    run_script(partial(main, config=chosen))
