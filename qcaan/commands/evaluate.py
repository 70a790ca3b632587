"""`qcaan evaluate`: score images of a run beside held-out real images, in scores.json."""

from __future__ import annotations

from pathlib import Path

import tyro

from qcaan.checks import whole
from qcaan.files import check_folder
from qcaan.metrics.images import check_scorable, scores_table
from qcaan.runs.directory import RunDirectory
from qcaan.runs.loading import IMAGE_SYSTEMS, load_run, system_module
from qcaan.runs.restoring import load_data
from qcaan.runs.session import announce_draws, print_scores


def main(
    path: tyro.conf.Positional[Path],
    n: int = 3000,
    seed: int = 0,
    device: str = "auto",
    data_root: Path | None = None,
    max_jobs: int | None = None,
    max_shots: int | None = None,
    max_cost: float | None = None,
    dry_run: bool = False,
) -> None:
    """Score images of a run, and held-out real ones, against its training images.

    The scores are printed and written to scores.json in the run's directory. If the run uses a
    device, the images are jobs that may be paid for.

    Args:
        path: Directory of the run.
        n: Number of generated images to score, at least 2. Below 1000, FID is unreliable.
        seed: Seed of the generated images, from 0 to below 2**63.
        device: Device of the networks: auto (CUDA if available), cpu, cuda or cuda:N.
        data_root: Folder of the data sets, if it is not the one that the run used.
        max_jobs: Maximum number of jobs of the draws on a device. Default: 1,000 on paid devices,
            no limit on others.
        max_shots: Maximum number of shots of the draws on a device. Default: 1,000,000 on paid
            devices, no limit on others.
        max_cost: Maximum cost of the draws on a paid device in US dollars, by its list price.
            Default: no limit.
        dry_run: Check everything, print what the draws would ask of a device, and write nothing.
    """
    whole("n", n, 2)
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
    check_scorable(*load_data(directory, config.data_root), config.digits)
    announce_draws(run, n, scores=True, dry_run=dry_run)
    if dry_run:
        return
    scores = system_module(directory).score_run(directory, run.gan, n)
    print_scores(scores_table(scores), f"scores of {path} ({scores['features']})")
