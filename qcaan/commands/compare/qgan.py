"""`qcaan compare qgan`: measure the QGAN on its standard cases, over several seeds."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from rich.table import Table

from qcaan.checks import SEEDS, whole
from qcaan.commands.compare.cells import (
    cell_path,
    check_failures,
    check_folder,
    compute_cells,
    open_folder,
    read,
)
from qcaan.files import write_csv
from qcaan.gans.distribution.config import DistributionConfig, configured_samples, make_qgan
from qcaan.runs.cluster import ClusterOptions, Record, Tell
from qcaan.runs.distribution import KS_ACCEPTS
from qcaan.runs.session import console

_BINOMIAL = DistributionConfig(data="binomial", n_samples=1000, epochs=500)
CASES = {
    "binomial": _BINOMIAL,
    "binomial, 1,000 shots on Aer": replace(_BINOMIAL, sampler="aer", shots=1000),
    "lognormal": DistributionConfig(data="lognormal"),
    "triangular": DistributionConfig(data="triangular"),
    "bimodal": DistributionConfig(data="bimodal", n_layers=3),
    "gaussian-2d": DistributionConfig(data="gaussian-2d", n_layers=3, epochs=90),
    "gaussian-3d": DistributionConfig(data="gaussian-3d", n_layers=3, epochs=90),
    "lognormal, wgan-gp": DistributionConfig(data="lognormal", loss="wgan-gp"),
}
_CSV = "measure_qgan.csv"
_MEASURED = ("untrained", "rel_entr", "product", "ks", "wasserstein", "ks_test_p", "seconds")


def main(
    cases: tuple[str, ...] = tuple(CASES),
    seeds: tuple[int, ...] = (1, 2, 3, 4, 5),
    out: Path | None = None,
    cluster: ClusterOptions = ClusterOptions(),
) -> None:
    """Train each case with each seed, and print the median and the worst.

    Args:
        cases: Cases to measure. Default: all.
        seeds: Seeds of samples, angles, weights, batches and shots.
        out: Folder for measure_qgan.csv, with a row for each run, and for the cells. It is new, or
            that of a comparison of the same cases. Each finished cell (a case and a seed) is kept,
            so the same command continues. Default: none is written.
        cluster: Where the cells are computed.
    """
    if unknown := set(cases) - set(CASES):
        raise ValueError(f"unknown case {min(unknown)!r}; choose from {'; '.join(CASES)}")
    for seed in seeds:
        whole("seeds", seed, 0, SEEDS)
    if out is not None:
        check_folder(out)
        _compare(cases, seeds, out, cluster)
        console.print(f"wrote {out / _CSV}")
        return
    with tempfile.TemporaryDirectory() as folder:
        _compare(cases, seeds, Path(folder), cluster)


def _compare(
    cases: Sequence[str], seeds: Sequence[int], out: Path, cluster: ClusterOptions
) -> None:
    """Measure cases in a folder, and print and write what was found."""
    open_folder(out, {name: asdict(config) for name, config in CASES.items()})
    places = {(case, seed): f"{case} seed {seed}" for case in cases for seed in seeds}
    configs = {name: replace(CASES[case], seed=seed) for (case, seed), name in places.items()}
    failed = compute_cells(out, configs, _measure_cell, None, cluster, _summary)
    rows: list[list[str | int | float]] = []
    table = Table(
        "case",
        "untrained",
        "rel. entropy: median",
        "worst",
        "product of marginals",
        "KS test accepts",
        "seconds",
    )
    for case in cases:
        paths = {seed: cell_path(out, places[case, seed]) for seed in seeds}
        found = {seed: read(path) for seed, path in paths.items() if path.is_file()}
        if not found:
            continue
        rows += [[case, seed, *(row[name] for name in _MEASURED)] for seed, row in found.items()]
        columns = {name: [row[name] for row in found.values()] for name in _MEASURED}
        medians = {name: statistics.median(values) for name, values in columns.items()}
        accepted = sum(p_value >= KS_ACCEPTS for p_value in columns["ks_test_p"])
        table.add_row(
            case,
            f"{medians['untrained']:.3f}",
            f"{medians['rel_entr']:.4f}",
            f"{max(columns['rel_entr']):.4f}",
            f"{medians['product']:.3f}",
            f"{accepted} of {len(found)}",
            f"{medians['seconds']:.1f}",
        )
        console.print(f"{case}: {' '.join(f'{value:.4f}' for value in columns['rel_entr'])}")
    console.print(table)
    write_csv(out / _CSV, ["case", "seed", *_MEASURED], rows)
    check_failures(failed, len(configs))


def _measure_cell(config: DistributionConfig, shared: None, folder: Path, tell: Tell) -> Record:
    return measure(config)


def _summary(record: Record) -> str:
    return f"relative entropy {record['rel_entr']:.4f}"


def measure(config: DistributionConfig) -> Record:
    """Train one QGAN.

    Returns its relative entropies untrained and trained, that of the product of the data's
    marginals, its distances, the p-value of its test, and the seconds of its training.
    """
    qgan = make_qgan(config, configured_samples(config).values)
    untrained = qgan.relative_entropy()
    start = time.perf_counter()
    qgan.run()
    seconds = time.perf_counter() - start
    distances = qgan.distances()
    product = qgan.grid.product_of_marginals(qgan.data_probs)
    _, p_value = qgan.ks_test()
    return {
        "untrained": untrained,
        "rel_entr": distances["rel_entr"],
        "product": qgan.grid.relative_entropy(product, qgan.data_probs),
        "ks": distances["ks"],
        "wasserstein": distances["wasserstein"],
        "ks_test_p": p_value,
        "seconds": seconds,
    }
