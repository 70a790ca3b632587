"""`qcaan compare qgan`: measure the QGAN on its standard cases, over several seeds."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.table import Table

from qcaan.files import check_new_folder, write_csv
from qcaan.gans.distribution.config import DistributionConfig, configured_samples, make_qgan
from qcaan.runs.cluster import ClusterOptions, Failed, Record, Tell, compute
from qcaan.runs.directory import RunError
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
        out: Folder for measure_qgan.csv, with a row for each run. Default: none is written.
        cluster: Where the cells are computed.
    """
    if unknown := set(cases) - set(CASES):
        raise ValueError(f"unknown case {min(unknown)!r}; choose from {'; '.join(CASES)}")
    if out is not None:
        check_new_folder(out)
    table = Table(
        "case",
        "untrained",
        "rel. entropy: median",
        "worst",
        "product of marginals",
        "KS test accepts",
        "seconds",
    )
    rows: list[list[str | int | float]] = []
    measured = _measured(cases, seeds, cluster)
    for case in cases:
        found = [measured[case, seed] for seed in seeds]
        rows += [[case, seed, *row.values()] for seed, row in zip(seeds, found, strict=True)]
        columns = {name: [row[name] for row in found] for name in _MEASURED}
        medians = {name: statistics.median(values) for name, values in columns.items()}
        accepted = sum(p_value >= KS_ACCEPTS for p_value in columns["ks_test_p"])
        table.add_row(
            case,
            f"{medians['untrained']:.3f}",
            f"{medians['rel_entr']:.4f}",
            f"{max(columns['rel_entr']):.4f}",
            f"{medians['product']:.3f}",
            f"{accepted} of {len(seeds)}",
            f"{medians['seconds']:.1f}",
        )
        console.print(f"{case}: {' '.join(f'{value:.4f}' for value in columns['rel_entr'])}")
    console.print(table)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        write_csv(out / "measure_qgan.csv", ["case", "seed", *_MEASURED], rows)


def _measured(
    cases: Sequence[str], seeds: Sequence[int], cluster: ClusterOptions
) -> dict[tuple[str, int], Record]:
    """Return what `measure` finds for each case and seed.

    Raises:
        RunError: one of them failed.
    """
    places = {f"{case} seed {seed}": (case, seed) for case in cases for seed in seeds}
    configs = {name: replace(CASES[case], seed=seed) for name, (case, seed) in places.items()}
    found: dict[tuple[str, int], Record] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, record in compute(
            _measure_cell, None, configs.items(), Path(folder), cluster, lambda *_: None
        ):
            if isinstance(record, Failed):
                raise RunError(f"{name} failed: {record.why}")
            found[places[name]] = record
    return found


def _measure_cell(config: DistributionConfig, shared: None, folder: Path, tell: Tell) -> Record:
    return measure(config)


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
