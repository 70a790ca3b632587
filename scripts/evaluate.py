"""Score a run on images: a table beside held-out real images, and scores.json in the run directory.

python scripts/evaluate.py runs/379
"""

from __future__ import annotations

from pathlib import Path

import tyro
from _cli import image_system, print_scores, run_script

from qcaan import metrics
from qcaan.runs.directory import RunDirectory
from qcaan.training import pick_device


def main(
    path: tyro.conf.Positional[Path],
    n: int = 3000,
    seed: int = 0,
    device: str = "auto",
    data_root: Path | None = None,
) -> None:
    """Score a run.

    Args:
        path: run directory.
        n: images to generate.
        seed: of the images.
        device: auto, cpu, cuda, cuda:N.
        data_root: where the run's data set lies, if not where it did.
    """
    if n < 2:
        raise ValueError(f"n must be at least 2, got {n}")
    run = RunDirectory(path)
    system = image_system(run)
    gan = system.load_run(run, pick_device(device), seed, data_root)
    scores = system.score_run(run, gan, n)
    print_scores(metrics.scores_table(scores), f"scores of {run.path} ({scores['features']})")


if __name__ == "__main__":
    run_script(main)
