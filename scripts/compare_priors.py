"""Compare priors of the QC-AAN: same networks, same budget, same seeds; a Markdown table, a CSV and a plot.

python scripts/compare_priors.py --data mnist --seeds 0 1 2 --epochs 5 --out runs/compare

Each finished cell (a prior and a seed) is kept, so the same command goes on where it stopped, and calls with other seeds or
priors add to the same folder.
"""

from __future__ import annotations

import csv
import json
import statistics
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from _cli import console, run_script

from qcaan import metrics
from qcaan.data.images import load_splits
from qcaan.files import atomic_write, write_json
from qcaan.gans import associative
from qcaan.gans.associative import AssociativeConfig, AssociativeGAN, EpochRecord
from qcaan.runs import pictures
from qcaan.runs.directory import RunError
from qcaan.training import pick_device

# The circuits are fitted by Adam through the exact engine: the table is about priors, not about how well they are fitted.
_QUANTUM = {"sampler": "exact", "optimizer": "adam"}
_TWO = {"bases": ("z", "o"), **_QUANTUM}
CELLS: dict[str, dict[str, Any]] = {
    "gaussian-64": {"prior": "gaussian"},
    "gaussian-16": {"prior": "gaussian", "latent_dim": 16},
    "bernoulli-8": {"prior": "bernoulli", "latent_dim": 8},
    "bernoulli-16": {"prior": "bernoulli", "latent_dim": 16},
    "product-16": {"prior": "product", "latent_dim": 16},
    "histogram-16": {"prior": "histogram", "latent_dim": 16},
    "rbm-16": {"prior": "rbm", "latent_dim": 16},
    "qbm-8": {"prior": "qbm", "latent_dim": 8},
    "shuffled-16": {"prior": "shuffled", **_TWO},
    "qcbm-8 z": {"bases": ("z",), **_QUANTUM},
    "qcbm-8 z+o": _TWO,
    "qcbm-8 z+t": {"bases": ("z", "t"), **_QUANTUM},
    "qcbm-8 z+o+t": {"bases": ("z", "o", "t"), **_QUANTUM},
    "qcbm-16 z": {"n_qubits": 16, "n_layers": 2, "bases": ("z",), "fit_evals": 60, **_QUANTUM},
    "bernoulli-8 +16 noise": {"prior": "bernoulli", "latent_dim": 8, "noise_dims": 16},
    "qcbm-8 z +16 noise": {"bases": ("z",), "noise_dims": 16, **_QUANTUM},
    "qcbm-8 z+o +16 noise": {"noise_dims": 16, **_TWO},
    "qcbm-8 z dither": {"bases": ("z",), "dither": 0.5, **_QUANTUM},
    "qcbm-8 z+o dither": {"dither": 0.5, **_TWO},
    "bernoulli-16 dither": {"prior": "bernoulli", "latent_dim": 16, "dither": 0.5},
    "shuffled-16 dither": {"prior": "shuffled", "dither": 0.5, **_TWO},
    "histogram-16 dither": {"prior": "histogram", "latent_dim": 16, "dither": 0.5},
    "bernoulli-16 bottleneck": {"prior": "bernoulli", "latent_dim": 16, "latent": "bottleneck"},
    "qcbm-8 z+o bottleneck": {"latent": "bottleneck", **_TWO},
    "bernoulli-16 skip": {"prior": "bernoulli", "latent_dim": 16, "latent": "skip"},
    "qcbm-8 z+o skip": {"latent": "skip", **_TWO},
}
SCORES = ("fid", "kid", "inception_score", "precision", "recall", "unread", "distinct", "seconds")


def main(
    priors: tuple[str, ...] = tuple(CELLS),
    seeds: tuple[int, ...] = (0, 1, 2),
    epochs: int = 5,
    digits: tuple[int, ...] = (3, 7, 9),
    data: str = "auto",
    data_root: Path | None = None,
    device: str = "auto",
    images: int = 3000,
    steps_per_epoch: int | None = None,
    width: int = AssociativeConfig.width,
    out: Path = Path("runs/compare"),
) -> None:
    """Train and score every prior with every seed, then write table.md, table.csv and fid.png.

    Args:
        priors: cells to run, named in the script's CELLS; those without "dither" or "noise" in their name have neither.
        seeds: of weights, batches, angles and shots.
        epochs: of every cell.
        digits: labels to learn.
        data: see train_mnist.py.
        data_root: where data sets lie.
        device: auto, cpu, cuda, cuda:N.
        images: generated images scored in every cell.
        steps_per_epoch: default: one pass over the images, but at least 140.
        width: channels of the finest feature map.
        out: folder of the results; one comparison's, or a new one.
    """
    if unknown := [name for name in priors if name not in CELLS]:
        raise ValueError(f"unknown prior {unknown[0]!r}; choose from {', '.join(CELLS)}")
    if epochs < 1 or images < 2 or not seeds:
        raise ValueError(
            f"epochs must be at least 1, images at least 2, seeds one or more; got {epochs}, {images}, {seeds}"
        )
    where = pick_device(device)
    everything, held_out = load_splits(data, data_root)
    train_set, test_set = everything.only(digits), held_out.only(digits)
    base = AssociativeConfig(
        digits=digits,
        data=everything.name,
        epochs=epochs,
        steps_per_epoch=steps_per_epoch,
        width=width,
        dither=0.0,
    ).resolved(len(train_set.images))
    for cell in CELLS.values():
        associative.make_prior(
            replace(base, **cell)
        )  # a bad option is refused before anything is trained
    console.print(
        f"data: {train_set.provenance}",
        style="bold red" if "NOT MNIST" in train_set.provenance else None,
    )
    budget = {
        "epochs": epochs,
        "steps_per_epoch": base.steps_per_epoch,
        "batch_size": base.batch_size,
        "width": width,
    }
    begin(out, {"data": everything.name, "digits": list(digits), "images": images, **budget})
    reader = metrics.load_reader(everything, held_out, where)
    reference = metrics.shuffled(train_set.images)
    real_path = out / "cells" / "real.json"
    if not real_path.is_file():
        write_json(real_path, metrics.score_images(test_set.images, reference, reader, digits))

    for seed in seeds:
        for name in priors:
            path = out / "cells" / f"{name} seed {seed}.json"
            if path.is_file():
                continue
            config = replace(base, seed=seed, **CELLS[name])
            gan = AssociativeGAN(config, tuple(train_set.images.shape[1:]), where)
            start = time.perf_counter()
            try:
                fits = [
                    record.fit
                    for record in associative.train(gan, train_set.images.to(where))
                    if isinstance(record, EpochRecord)
                ]
                seconds = time.perf_counter() - start
                scores = metrics.score_images(gan.generate(images)[0], reference, reader, digits)
                result = {
                    **scores,
                    "seconds": seconds,
                    "kl": fits[-1].kl,
                    "kl_product": fits[-1].kl_product,
                }
            except associative.TrainingCollapsed as error:
                result = {"collapsed": str(error)}
            write_json(path, {"prior": name, "seed": seed, **result})
            shown = (
                result.get("collapsed") or f"FID {result['fid']:.2f}, recall {result['recall']:.2f}"
            )
            console.print(f"{name}, seed {seed}: {shown}; {time.perf_counter() - start:.0f} s")
    report(out)


def begin(out: Path, budget: dict[str, Any]) -> None:
    """Make the folder, or refuse one whose cells had another budget."""
    path = out / "budget.json"
    if path.is_file():
        if (there := json.loads(path.read_text())) != budget:
            raise RunError(
                f"{out} holds a comparison of another budget ({there}, not {budget}); name another --out"
            )
        return
    (out / "cells").mkdir(parents=True, exist_ok=True)
    write_json(path, budget)


def report(out: Path) -> None:
    """table.md, table.csv and fid.png from all cells in the folder."""
    cells = [json.loads(path.read_text()) for path in sorted((out / "cells").glob("* seed *.json"))]
    real = json.loads((out / "cells" / "real.json").read_text())
    with atomic_write(out / "table.csv") as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(
            file, ["prior", "seed", *SCORES, "kl", "kl_product", "collapsed"], extrasaction="ignore"
        )
        writer.writeheader()
        writer.writerows(cells)
    header = ["prior", "seeds", *(score.replace("_", " ") for score in SCORES)]
    lines = [" | ".join(header), " | ".join(["---"] * len(header))]
    means = {}
    for name in CELLS:
        ended = [cell for cell in cells if cell["prior"] == name and "collapsed" not in cell]
        n_cells = sum(cell["prior"] == name for cell in cells)
        if not n_cells:
            continue
        row = [
            name,
            f"{len(ended)}" + (f" of {n_cells} (others collapsed)" if len(ended) < n_cells else ""),
        ]
        row += [spread([cell[score] for cell in ended]) for score in SCORES]
        lines.append(" | ".join(row))
        if ended:
            means[name] = [cell["fid"] for cell in ended]
    lines.append(
        " | ".join(["held-out real", "", *(f"{real[s]:.3g}" if s in real else "" for s in SCORES)])
    )
    table = "\n".join(f"| {line} |" for line in lines) + "\n"
    with atomic_write(out / "table.md") as temporary:
        temporary.write_text(table)
    console.print(table)
    console.print(
        f"wrote {out / 'table.md'}, {out / 'table.csv'}, {pictures.spread_plot(out / 'fid.png', means, 'FID')}"
    )


def spread(values: list[float]) -> str:
    """Mean and sample standard deviation, three digits each."""
    if not values:
        return ""
    deviation = f" ± {statistics.stdev(values):.2g}" if len(values) > 1 else ""
    return (
        f"{statistics.mean(values):.3g}{deviation}"
        if statistics.mean(values) < 1000
        else f"{statistics.mean(values):.0f}"
    )


if __name__ == "__main__":
    run_script(main)
