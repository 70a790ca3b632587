"""Measure what the quantum GAN reaches on its standard cases, over several seeds: median and worst.

python scripts/measure_qgan.py --out runs/measure_qgan
"""

from __future__ import annotations

import csv
import statistics
import time
from dataclasses import replace
from pathlib import Path

from _cli import console, run_script
from rich.table import Table

from qcaan.files import atomic_write
from qcaan.gans.distribution.qgan import KS_ACCEPTS
from qcaan.runs import distribution as distribution_run
from qcaan.runs.distribution import DistributionConfig

_BINOMIAL = DistributionConfig(data="binomial", samples=1000, epochs=500)
CASES = {
    "binomial": _BINOMIAL,
    "binomial, 1,000 shots on Aer": replace(_BINOMIAL, sampler="aer", shots=1000),
    "lognormal": DistributionConfig(data="lognormal"),
    "triangular": DistributionConfig(data="triangular"),
    "bimodal": DistributionConfig(data="bimodal", reps=3),
    "gaussian-2d": DistributionConfig(data="gaussian-2d", reps=3, epochs=90),
    "gaussian-3d": DistributionConfig(data="gaussian-3d", reps=3, epochs=90),
    "lognormal, wgan-gp": DistributionConfig(data="lognormal", loss="wgan-gp"),
}
_HEADER = [
    "case",
    "seed",
    "untrained",
    "rel_entr",
    "product",
    "ks",
    "wasserstein",
    "ks_test_p",
    "seconds",
]


def main(
    cases: tuple[str, ...] = tuple(CASES),
    seeds: tuple[int, ...] = (1, 2, 3, 4, 5),
    out: Path | None = None,
) -> None:
    """Train each case with each seed, which draws new samples too.

    Args:
        cases: which of them.
        seeds: of samples, angles, weights, batches and shots.
        out: folder of measure_qgan.csv, a row for each run; default: none is written.
    """
    if unknown := set(cases) - set(CASES):
        raise ValueError(f"unknown case {min(unknown)!r}; choose from {'; '.join(CASES)}")
    if not cases or not seeds:
        raise ValueError("cases and seeds must not be empty")
    table = Table(
        "case",
        "untrained",
        "rel. entropy: median",
        "worst",
        "product of marginals",
        "KS test accepts",
        "seconds",
    )
    rows = []
    for case in cases:
        found = [run(replace(CASES[case], seed=seed)) for seed in seeds]
        rows += [[case, seed, *values] for seed, values in zip(seeds, found, strict=True)]
        untrained, entropy, product, _, _, p_values, seconds = zip(*found, strict=True)
        table.add_row(
            case,
            f"{statistics.median(untrained):.3f}",
            f"{statistics.median(entropy):.4f}",
            f"{max(entropy):.4f}",
            f"{statistics.median(product):.3f}",
            f"{sum(p >= KS_ACCEPTS for p in p_values)} of {len(seeds)}",
            f"{statistics.median(seconds):.1f}",
        )
        console.print(f"{case}: {' '.join(f'{value:.4f}' for value in entropy)}")
    console.print(table)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        with (
            atomic_write(out / "measure_qgan.csv") as temporary,
            temporary.open("w", newline="") as file,
        ):
            csv.writer(file).writerows([_HEADER, *rows])


def run(config: DistributionConfig) -> list[float]:
    """One training: the columns of the header from `untrained` on."""
    qgan = distribution_run.make_qgan(config, distribution_run.configured_samples(config))
    untrained = qgan.get_rel_entr()
    start = time.perf_counter()
    qgan.train()
    seconds = time.perf_counter() - start
    distances = qgan.distances()
    product = qgan.grid.relative_entropy(
        qgan.grid.product_of_marginals(qgan.data_probs), qgan.data_probs
    )
    _, p_value = qgan.ks_test()
    return [
        untrained,
        distances["rel_entr"],
        product,
        distances["ks"],
        distances["wasserstein"],
        p_value,
        seconds,
    ]


if __name__ == "__main__":
    run_script(main)
