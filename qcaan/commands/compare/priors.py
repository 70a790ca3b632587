"""`qcaan compare priors`: train and score every prior with the same networks, steps and seeds."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from qcaan.checks import SEEDS, one_of, whole
from qcaan.commands.compare.cells import (
    cell_path,
    check_folder,
    mean_and_deviation,
    open_folder,
    read,
    records,
)
from qcaan.data.images import ImageSet, load_splits
from qcaan.files import write_csv, write_json, write_text
from qcaan.gans.associative import AssociativeConfig, AssociativeGAN, EpochRecord, train
from qcaan.metrics.classifier import load_classifier
from qcaan.metrics.images import ImageScorer, check_scorable
from qcaan.priors.make import make_prior
from qcaan.runs import reports
from qcaan.runs.session import announce_data, console
from qcaan.training import TrainingCollapsed, pick_device

# Circuits are fitted by Adam on the exact engine: the comparison is about priors, not about how
# well they are fitted.
_QUANTUM = {"sampler": "exact", "optimizer": "adam"}
_TWO_BASES = {"bases": ("z", "o"), **_QUANTUM}
# options of the priors by their names; without dither or noise in its name, a prior has neither
CELLS: dict[str, dict[str, Any]] = {
    "gaussian-64": {"prior": "gaussian"},
    "gaussian-16": {"prior": "gaussian", "latent_dim": 16},
    "bernoulli-8": {"prior": "bernoulli", "latent_dim": 8},
    "bernoulli-16": {"prior": "bernoulli", "latent_dim": 16},
    "product-16": {"prior": "product", "latent_dim": 16},
    "tree-16": {"prior": "tree", "latent_dim": 16},
    "histogram-16": {"prior": "histogram", "latent_dim": 16},
    "rbm-16": {"prior": "rbm", "latent_dim": 16},
    "qbm-8": {"prior": "qbm", "latent_dim": 8},
    "shuffled-16": {"prior": "shuffled", **_TWO_BASES},
    "qcbm-8 z": {"bases": ("z",), **_QUANTUM},
    "qcbm-8 z+o": _TWO_BASES,
    "qcbm-8 z+t": {"bases": ("z", "t"), **_QUANTUM},
    "qcbm-8 z+o+t": {"bases": ("z", "o", "t"), **_QUANTUM},
    "qcbm-16 z": {"n_qubits": 16, "n_layers": 2, "bases": ("z",), "fit_evals": 60, **_QUANTUM},
    "iqp-16": {"prior": "iqp", "n_qubits": 16},
    "bernoulli-8 +16 noise": {"prior": "bernoulli", "latent_dim": 8, "noise_dims": 16},
    "qcbm-8 z +16 noise": {"bases": ("z",), "noise_dims": 16, **_QUANTUM},
    "qcbm-8 z+o +16 noise": {"noise_dims": 16, **_TWO_BASES},
    "qcbm-8 z dither": {"bases": ("z",), "dither": 0.5, **_QUANTUM},
    "qcbm-8 z+o dither": {"dither": 0.5, **_TWO_BASES},
    "bernoulli-16 dither": {"prior": "bernoulli", "latent_dim": 16, "dither": 0.5},
    "shuffled-16 dither": {"prior": "shuffled", "dither": 0.5, **_TWO_BASES},
    "histogram-16 dither": {"prior": "histogram", "latent_dim": 16, "dither": 0.5},
    "bernoulli-16 bottleneck": {"prior": "bernoulli", "latent_dim": 16, "latent": "bottleneck"},
    "qcbm-8 z+o bottleneck": {"latent": "bottleneck", **_TWO_BASES},
    "bernoulli-16 skip": {"prior": "bernoulli", "latent_dim": 16, "latent": "skip"},
    "qcbm-8 z+o skip": {"latent": "skip", **_TWO_BASES},
}
_DEFAULT = tuple(CELLS)
# priors that learn the label too, and wide bits, which are trained only if they are named
_PROMPTED: dict[str, Any] = {"prompt": True, "dither": 0.5}
CELLS |= {"qcbm-8 z+o prompt": {**_TWO_BASES, **_PROMPTED}} | {
    f"{prior}-16 prompt": {"prior": prior, "latent_dim": 16, **_PROMPTED}
    for prior in ("histogram", "product", "bernoulli")
}
CELLS |= {
    f"{prior}-{width}": {"prior": prior, "n_qubits": width, "latent_dim": width}
    for width in (64, 256)
    for prior in ("iqp", "tree", "rbm", "product", "bernoulli", "gaussian")
}
# share of images with the label that they were asked for, of priors with labels
_AGREEMENT = "agreement"
SCORES = (
    *("fid", "kid", "pixel_frechet", "inception_score", "confidence", "precision", "recall"),
    *("unread", "copies", "nearer_than_held_out", "distinct", "seconds"),
)
_DISTANCES = ("kl", "kl_product", "nll", "nll_product", "nll_tree")


def main(
    priors: tuple[str, ...] = _DEFAULT,
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
    """Train and score every prior with every seed, with the same networks and steps.

    Each finished cell (a prior and a seed) is kept. So the same command continues where it stopped,
    and calls with other seeds or priors add cells to the same folder.

    Args:
        priors: Priors to train. Those without dither, noise or prompt in their name have no
            dither. Default: all of at most 24 bits without labels.
        seeds: Seeds of weights, batches, angles and shots, each from 0 to below 2**63.
        epochs: Number of epochs of each training, at least 1.
        digits: Labels of the classes to learn.
        data: Data set, as qcaan train takes it.
        data_root: Folder of the downloaded data sets. Default: $QCAAN_DATA, else a user cache
            folder.
        device: Device of the networks: auto (CUDA if available), cpu, cuda or cuda:N.
        images: Number of generated images to score for each cell, at least 2.
        steps_per_epoch: Number of steps in an epoch. Default: one pass over the images, but at
            least 140.
        width: Number of channels of the finest feature map.
        out: Folder of the results: table.md, table.csv, fid.png and the cells. It is new, or that
            of a comparison with the same options.
    """
    for name in priors:
        one_of("priors", name, CELLS)
    for seed in seeds:
        whole("seeds", seed, 0, SEEDS)
    whole("epochs", epochs)
    whole("images", images, 2)
    where = pick_device(device)
    check_folder(out)
    # neither dither nor labels, unless a cell says otherwise
    base = AssociativeConfig(
        digits=digits,
        epochs=epochs,
        steps_per_epoch=steps_per_epoch,
        width=width,
        dither=0.0,
        prompt=False,
    )
    for name in priors:
        _check_prior(replace(base, **CELLS[name]))  # before anything is read or trained
    everything, held_out = load_splits(data, data_root)
    check_scorable(everything, held_out, digits)
    train_set, test_set = everything.only(digits), held_out.only(digits)
    base = replace(base, data=everything.name).resolved(len(train_set.images))
    announce_data(train_set.provenance, stands_in=train_set.stands_in)
    options = {
        "data": base.data,
        "fingerprint": train_set.fingerprint,
        "digits": list(base.digits),
        "images": images,
        "epochs": base.epochs,
        "steps_per_epoch": base.steps_per_epoch,
        "batch_size": base.batch_size,
        "width": base.width,
    }
    open_folder(out, options)

    classifier = load_classifier(everything, held_out, device=where)
    scorer = ImageScorer(train_set.images, test_set.images, classifier, classes=digits)
    real_path = cell_path(out, "real")
    if not real_path.is_file():
        write_json(real_path, scorer.score_held_out())
    for seed in seeds:
        for name in priors:
            path = cell_path(out, f"{name} seed {seed}")
            if path.is_file():
                continue
            config = replace(base, seed=seed, **CELLS[name])
            start = time.perf_counter()
            result = _train_and_score(config, train_set, scorer, images, where)
            write_json(path, {"prior": name, "seed": seed, **result})
            shown = result.get("collapsed")
            shown = shown or f"FID {result['fid']:.2f}, recall {result['recall']:.2f}"
            console.print(f"{name}, seed {seed}: {shown}; {time.perf_counter() - start:.0f} s")
    _report(out)


def _check_prior(config: AssociativeConfig) -> None:
    """Make the prior of a configuration once, so that bad options are refused early."""
    make_prior(config, config, seed=0, labels=config.digits)


def _train_and_score(
    config: AssociativeConfig,
    train_set: ImageSet,
    scorer: ImageScorer,
    n_images: int,
    device: torch.device,
) -> dict[str, Any]:
    """Train one cell, and return its scores, or the reason why its training collapsed."""
    channels, height, width = train_set.images.shape[1:]
    gan = AssociativeGAN(config, (channels, height, width), device)
    start = time.perf_counter()
    try:
        records = train(gan, train_set.images.to(device), train_set.labels)
        fits = [record.fit for record in records if isinstance(record, EpochRecord)]
    except TrainingCollapsed as error:
        return {"collapsed": str(error)}
    seconds = time.perf_counter() - start
    drawn, samples = gan.generate(n_images)
    scores, _ = scorer.score(drawn, asked=gan.labels_of(samples))
    distances = {key: getattr(fits[-1], key) for key in _DISTANCES}
    return {
        **scores,
        "seconds": seconds,
        "prior_seconds": sum(f.seconds for f in fits),
        **distances,
    }


def _report(out: Path) -> None:
    """Write table.md, table.csv and fid.png from all cells in the folder."""
    finished = list(records(out, "* seed *"))
    real = read(cell_path(out, "real"))
    header = ["prior", "seed", *SCORES, _AGREEMENT, "prior_seconds", *_DISTANCES, "collapsed"]
    write_csv(out / "table.csv", header, [[cell.get(key) for key in header] for cell in finished])
    table = _markdown_table(finished, real)
    write_text(out / "table.md", table)
    fids = {name: [cell["fid"] for cell in _finished(finished, name)] for name in CELLS}
    rows = {name: found for name, found in fids.items() if found}
    figure = reports.spread_figure({"": rows}, "FID")
    plot = reports.save_figure(out / "fid.png", figure)
    console.print(table)
    console.print(f"wrote {out / 'table.md'}, {out / 'table.csv'}, {plot}")


def _markdown_table(cells: Sequence[dict[str, Any]], real: dict[str, Any]) -> str:
    """Return a row for each prior that has cells, and one for held-out real images."""
    header = ["prior", "seeds", *(score.replace("_", " ") for score in SCORES)]
    rows = [header, ["---"] * len(header)]
    for name in CELLS:
        n_cells = sum(cell["prior"] == name for cell in cells)
        if n_cells:
            finished = _finished(cells, name)
            lost = f" of {n_cells} (others collapsed)" if len(finished) < n_cells else ""
            # cells of an earlier version lack the newer scores
            known = ([cell[score] for cell in finished if score in cell] for score in SCORES)
            spreads = [mean_and_deviation(values) for values in known]
            rows.append([name, f"{len(finished)}{lost}", *spreads])
    found = [f"{real[score]:.3g}" if score in real else "" for score in SCORES]
    rows.append(["held-out real", "", *found])
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _finished(cells: Sequence[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    return [cell for cell in cells if cell["prior"] == name and "collapsed" not in cell]
