"""`qcaan evaluate`: score images of a run beside held-out real images, in scores.json."""

from __future__ import annotations

from pathlib import Path

import tyro

from qcaan.commands.scoring import images_to_score, inception_network
from qcaan.files import check_folder
from qcaan.metrics.images import check_scorable, scores_table
from qcaan.runs.directory import RunDirectory
from qcaan.runs.loading import IMAGE_SYSTEMS, load_run, system_module
from qcaan.runs.restoring import load_data
from qcaan.runs.session import announce_draws, print_scores


def main(
    path: tyro.conf.Positional[Path],
    n: int | None = None,
    seed: int = 0,
    device: str = "auto",
    data_root: Path | None = None,
    inception_weights: Path | None = None,
    max_jobs: int | None = None,
    max_shots: int | None = None,
    max_cost: float | None = None,
    dry_run: bool = False,
) -> None:
    """Score images of a run, and held-out real ones, against its training images.

    The scores are printed and written to scores.json in the run's directory, and the generated
    images nearest to training images to neighbours.png. If the run uses a device, the images are
    jobs that may be paid for.

    Args:
        path: Directory of the run.
        n: Number of generated images to score, at least 2. Below 1000, FID is unreliable. Default:
            10000, or 3000 if a device draws them.
        seed: Seed of the generated images, from 0 to below 2**63.
        device: Device of the networks: auto (CUDA if available), cpu, cuda or cuda:N.
        data_root: Folder of the data sets, if it is not the one that the run used.
        inception_weights: File of weights of the Inception network, for FID as others quote it:
            pt_inception-2015-12-05-6726825d.pth of pytorch-fid. It needs the extra inception.
            Default: no such score.
        max_jobs: Maximum number of jobs of the draws on a device. Default: 1,000 on paid devices,
            no limit on others.
        max_shots: Maximum number of shots of the draws on a device. Default: 1,000,000 on paid
            devices, no limit on others.
        max_cost: Maximum cost of the draws on a paid device in US dollars, by its list price.
            Default: no limit.
        dry_run: Check everything, print what the draws would ask of a device, and write nothing.
    """
    directory = RunDirectory(path)
    system = directory.config()["system"]
    if system not in IMAGE_SYSTEMS:
        raise ValueError(
            f"{path} holds a run of the system {system}, which draws no images to score"
        )
    check_folder(path / "scores.json")
    run = load_run(
        path,
        seed=seed,
        device=device,
        data_root=data_root,
        max_jobs=max_jobs,
        max_shots=max_shots,
        max_cost=max_cost,
    )
    config = run.gan.config
    n_scored = images_to_score("n", n, config.sampler)
    inception = inception_network(inception_weights, n_scored, run.gan.device)
    check_scorable(*load_data(directory, config.data_root), config.digits)
    announce_draws(run, n_scored, scores=True, dry_run=dry_run)
    if dry_run:
        return
    scores = system_module(directory).score_run(directory, run.gan, n_scored, inception)
    print_scores(scores_table(scores), f"scores of {path} ({scores['features']})")
