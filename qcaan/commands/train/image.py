"""`qcaan train-image`: train an image QGAN, and leave pictures, a report and scores."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from qcaan.commands.arguments import Presets
from qcaan.commands.scoring import images_to_score, inception_network
from qcaan.data.images import load_images
from qcaan.gans.image.config import PRESETS, ImageConfig, PresetName
from qcaan.gans.image.gan import ImageGAN, train
from qcaan.metrics.images import check_scorable, scores_table
from qcaan.runs import pictures, reports
from qcaan.runs.directory import RunDirectory
from qcaan.runs.image import plan_run, report_title, save_epoch, score_run
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
from qcaan.samplers.names import SamplerFactory
from qcaan.training import EpochRecord, pick_device


def main(
    config: ImageConfig = PRESETS["tuned"],
    preset: Annotated[PresetName, Presets(PRESETS)] = "tuned",
    out: Path | None = None,
    resume: bool = False,
    dry_run: bool = False,
    eval_images: int | None = None,
    inception_weights: Path | None = None,
) -> None:
    """Train a circuit and a small decoder to draw images, and score them.

    Args:
        config: configuration of the run.
        preset: Configuration that the defaults of the other options come from: tuned, the
            project's; or published, the published recipe, which draws one picture.
        out: Directory of the run. Default: runs/image- and the digits, as in runs/image-379.
        resume: Continue an unfinished run. --epochs may be raised; everything else must be as
            it was.
        dry_run: Check everything, print what the run would ask of a device, and write nothing.
        eval_images: Number of generated images to score at the end; 0 for no scores. Default:
            10000, or 3000 if a device draws them.
        inception_weights: File of weights of the Inception network, for FID as others quote it:
            pt_inception-2015-12-05-6726825d.pth of pytorch-fid. It needs the extra inception.
            Default: no such score.
    """
    scored = eval_images != 0
    n_scored = images_to_score("eval_images", eval_images, config.sampler) if scored else 0
    device = pick_device(config.device)
    inception = inception_network(inception_weights, n_scored, device)
    run = RunDirectory(out or Path("runs") / f"image-{''.join(map(str, config.digits))}")
    run.check(resume=resume)
    journal = Journal(run.jobs_path)
    samplers = SamplerFactory(config, journal)
    data = load_images(config.data, root=config.data_root)
    train_set = data.only(config.digits)
    if scored:
        test_set = load_images(data.name, root=config.data_root, split="test")
        check_scorable(data, test_set, config.digits)
    config = config.resolved(len(train_set.images))
    channels, height, width = train_set.images.shape[1:]
    image_shape = channels, height, width
    announce_data(data.provenance, stands_in=data.stands_in)
    plan = plan_run(config, samplers, n_scored, image_shape=image_shape)
    announce_plan(plan, config, config.epochs, dry_run=dry_run)
    if dry_run:
        return

    with run:
        gan = ImageGAN(config, image_shape, device, make_sampler=samplers)
        facts = train_set.facts
        results = ["report.png", "progress.gif", *(["scores.json"] if scored else [])]
        if not start_or_resume(
            run, "image", gan, data=facts, journal=journal, resume=resume, results=results
        ):
            return
        pictures.save_picture(
            run.path / "samples" / "real.png", pictures.grid(train_set.images[:64])
        )
        title = report_title(config, data.name)
        console.print(
            f"run: {run.path}, {title}, digits {' '.join(map(str, config.digits))}, "
            f"{len(train_set.images)} images, {config.epochs} epochs of "
            f"{config.steps_per_epoch} steps on {device}"
        )

        def end_epoch(record: EpochRecord, seconds: float) -> str:
            save_epoch(run, gan, record, seconds)
            return f"D {record.loss_d:.3f}, G {record.loss_g:.3f}; {seconds:.1f} s"

        records = train(gan, train_set.images.to(device))
        train_with_progress(
            gan, records, epoch_record=EpochRecord, end_epoch=end_epoch, journal=journal
        )

        def save_report() -> Path:
            figure = reports.image_figure(run, title, cross_entropies=config.loss == "bce")
            return reports.save_report(run, figure, gan.epoch)

        failed = make_pictures(lambda: pictures.progress_gif(run), save_report)
        if scored:
            with explain_stop(lambda: gan.epoch):
                scores = score_run(run, gan, n_scored, inception)
            print_scores(scores_table(scores), f"scores of {run.path} ({scores['features']})")
        if failed:
            raise failed
