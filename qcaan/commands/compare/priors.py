"""`qcaan compare priors`: train and score every prior with the same networks, steps and seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from itertools import product
from pathlib import Path
from typing import Any, TypeAlias

from qcaan.checks import SEEDS, different, one_of, whole
from qcaan.commands.compare.cells import (
    cell_path,
    check_failures,
    check_folder,
    claimed,
    compute_cells,
    mean_and_deviation,
    open_folder,
    read,
    records,
    report_lock,
)
from qcaan.commands.compare.paired import PAIRED, paired_rows, paired_table
from qcaan.data.images import load_splits
from qcaan.files import write_csv, write_json, write_text
from qcaan.gans.associative.config import AssociativeConfig, Precision
from qcaan.metrics.classifier import load_classifier
from qcaan.metrics.images import ImageScorer, check_scorable
from qcaan.priors.make import make_prior
from qcaan.runs import reports
from qcaan.runs.cluster import ClusterOptions, Record, Tell
from qcaan.runs.session import announce_data, console
from qcaan.runs.trials import DISTANCES, TrialData, train_and_score
from qcaan.training import known_device, pick_device

_Options: TypeAlias = dict[str, Any]

# The decisive table: the defaults of `qcaan train`, but for the prior. Like the default circuit,
# the shuffled one is fitted by COBYLA on Aer.
MAIN: dict[str, _Options] = {
    "qcbm": {},
    **{
        name: {"prior": name}
        for name in ("shuffled", "product", "histogram", "tree", "rbm", "bernoulli", "gaussian")
    },
    "iqp-64": {"prior": "iqp", "n_qubits": 64},
}
_ADAM = {"sampler": "exact", "optimizer": "adam"}
# numbers of bits or qubits of other priors
_WIDTHS = {
    "qbm": (8,),
    "gaussian": (16, 256),
    "bernoulli": (8, 64, 256),
    "product": (64, 256),
    "tree": (64, 256),
    "rbm": (64, 256),
    "iqp": (16, 256),
}
_PRIORS = {
    **MAIN,
    "qcbm adam": _ADAM,
    **{
        f"{name}-{width}": {"prior": name, "n_qubits": width, "latent_dim": width}
        for name, widths in _WIDTHS.items()
        for width in widths
    },
}
# changes of options, and the priors that have each of them
_VARIANTS: tuple[tuple[tuple[str, ...], dict[str, _Options]], ...] = (
    (
        ("qcbm adam",),
        {
            "z": {"bases": ("z",)},
            "z+t": {"bases": ("z", "t")},
            "z+o+t": {"bases": ("z", "o", "t")},
            "16 qubits": {"n_qubits": 16, "n_layers": 2, "bases": ("z",), "fit_evals": 60},
        },
    ),
    (
        ("qcbm adam", "bernoulli"),
        {
            "undithered": {"dither": 0.0},
            "noise": {"dither": 0.0, "noise_dims": 16},
            "skip": {"latent": "skip"},
            "bottleneck": {"latent": "bottleneck"},
        },
    ),
    (tuple(MAIN), {"unlabelled": {"prompt": False}}),
)
# the changes of the defaults of `qcaan train`, by the names of `--priors`
CELLS: dict[str, _Options] = _PRIORS | {
    f"{name} {variant}": _PRIORS[name] | change
    for names, variants in _VARIANTS
    for variant, change in variants.items()
    for name in names
}
SCORES = (
    *("fid", "kid", "pixel_frechet", "inception_score", "confidence", "precision", "recall"),
    *("unread", "agreement", "copies", "nearer_than_held_out", "distinct", "seconds"),
)


def main(
    priors: tuple[str, ...] = tuple(MAIN),
    against: tuple[str, ...] = ("bernoulli", "gaussian"),
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4),
    epochs: int | None = None,
    digits: tuple[int, ...] = (3, 7, 9),
    data: str = "auto",
    data_root: Path | None = None,
    device: str = "auto",
    images: int = 10_000,
    steps_per_epoch: int | None = None,
    width: int = AssociativeConfig.width,
    precision: Precision = AssociativeConfig.precision,
    out: Path = Path("runs/compare"),
    cluster: ClusterOptions = ClusterOptions(),
) -> None:
    """Train and score every prior with every seed, and test their differences.

    All options that a prior's name does not change are the defaults of qcaan train: the same
    networks and steps, labels and dither.

    Args:
        priors: Priors to train; a name with a space stands in quotes, as 'qcbm unlabelled'. A
            number is that of bits or qubits: otherwise 16 bits, and 64 Gaussian coordinates. adam:
            fitted by gradients on our exact engine; noise: 16 noise dimensions, no dither;
            unlabelled: --no-prompt. A wrong name lists all.
        against: Priors that the others are tested against: paired t-tests over common seeds.
        seeds: Seeds of weights, batches, angles and shots, each from 0 to below 2**63.
        epochs: Number of epochs of each training. Default: as many as qcaan train makes.
        digits: Labels of the classes to learn.
        data: Data set, as qcaan train takes it.
        data_root: Folder of the downloaded data sets. Default: $QCAAN_DATA, else a user cache
            folder.
        device: Device of the networks: auto (CUDA if available), cpu, cuda or cuda:N.
        images: Number of generated images to score for each cell, at least 2.
        steps_per_epoch: Number of steps in an epoch. Default: one pass over the images, but at
            least 140.
        width: Number of channels of the finest feature map.
        precision: Number format of the networks: float32, or bf16 by autocast.
        out: Folder of the results: table.md, table.csv, paired.csv, fid.png and the cells. It is
            new, or that of a comparison with the same options. Each finished cell (a prior and a
            seed) is kept, so the same command continues, and other seeds or priors add cells. A
            cell is a run of qcaan train, in cells/; it takes about 20 minutes on a core, and
            continues after its last epoch if its process ended early. Several processes with the
            same command share the cells. Each ends with a report of all that are then finished.
        cluster: Where the cells are computed.
    """
    for option, names in (("priors", priors), ("against", against)):
        for name in names:
            one_of(option, name, CELLS)
        different(option, names)
    for seed in seeds:
        whole("seeds", seed, 0, SEEDS)
    whole("images", images, 2)
    known_device(device)
    # some nodes of a cluster may have GPUs, and others none: they share a classifier on the CPU
    where = pick_device("cpu" if cluster.ray else device)
    check_folder(out)
    base = AssociativeConfig(
        digits=digits,
        epochs=epochs,
        steps_per_epoch=steps_per_epoch,
        width=width,
        precision=precision,
    )
    for name in priors:
        _check_prior(replace(base, **CELLS[name]))  # before anything is read or trained
    everything, held_out = load_splits(data, data_root)
    check_scorable(everything, held_out, digits)
    train_set, test_set = everything.only(digits), held_out.only(digits)
    base = replace(base, data=everything.name).resolved(len(train_set.images))
    announce_data(train_set.provenance, stands_in=train_set.stands_in)
    # all defaults, too: a version with others would make other cells
    options = {"images": images, "fingerprint": train_set.fingerprint, **asdict(base)}
    open_folder(out, options)

    classifier = load_classifier(everything, held_out, device=where)
    scorer = ImageScorer(train_set.images, test_set.images, classifier, classes=digits)
    real_path = cell_path(out, "real")
    with claimed(real_path, wait=True) as ours:
        if ours:
            write_json(real_path, scorer.score_held_out())
    cells = {
        f"{name} seed {seed}": (name, replace(base, seed=seed, **CELLS[name]))
        for seed, name in product(seeds, priors)
    }
    shared = TrialData(train_set, scorer, images, device)
    failed = compute_cells(out, cells, _train_and_score, shared, cluster, _summary)
    _report(out, against)
    check_failures(failed, len(cells))


def _check_prior(config: AssociativeConfig) -> None:
    """Make the prior of a configuration once, so that bad options are refused early."""
    make_prior(config, config, seed=0, labels=config.digits)


def _train_and_score(
    cell: tuple[str, AssociativeConfig], shared: TrialData, folder: Path, tell: Tell
) -> Record:
    """Train and score a cell, the name of a prior and a configuration."""
    name, config = cell
    record = train_and_score(config, shared, folder, tell)
    return {"prior": name, "seed": config.seed, **record}


def _summary(record: Record) -> str:
    if "collapsed" in record:
        return str(record["collapsed"])
    return f"FID {record['fid']:.2f}, recall {record['recall']:.2f}"


def _report(out: Path, against: Sequence[str]) -> None:
    """Write table.md, table.csv, paired.csv and fid.png from all cells in the folder."""
    with report_lock(out):
        cells = list(records(out, "* seed *"))
        finished = {name: found for name in CELLS if (found := _finished(cells, name))}
        header = ["prior", "seed", *SCORES, "prior_seconds", "threads", *DISTANCES, "collapsed"]
        write_csv(out / "table.csv", header, [[cell.get(key) for key in header] for cell in cells])
        rows = paired_rows(finished, against)
        write_csv(out / "paired.csv", PAIRED, [[row[key] for key in PAIRED] for row in rows])
        scores = _markdown_table(cells, read(cell_path(out, "real")))
        table = "\n".join(filter(None, (scores, paired_table(rows))))
        write_text(out / "table.md", table)
        fids = {name: [cell["fid"] for cell in found] for name, found in finished.items()}
        plot = reports.save_figure(out / "fid.png", reports.spread_figure({"": fids}, "FID"))
    console.print(table)
    console.print(f"wrote {out / 'table.md'}, {out / 'table.csv'}, {out / 'paired.csv'}, {plot}")


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
