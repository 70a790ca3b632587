"""Paired statistics: the scores of two priors that were trained with the same seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.stats import ttest_rel

# the scores that are tested
TESTED = ("fid", "precision", "recall", "unread")
# columns of paired.csv
PAIRED = (
    *("prior", "against", "score", "seeds", "difference", "low", "high", "p", "p_holm", "d_z"),
)
# differences that spread less than this share of the scores are equal but for their rounding
_ROUNDING = 1e-12
_CAPTION = (
    "A difference is the score of the prior minus the score of the other, the mean over the seeds "
    "that both have. p: two-sided paired t-test; Holm: p corrected for the rows of its column; "
    "d_z: Cohen's effect size, the mean of the differences over their standard deviation.\n"
)


def paired(scores: Mapping[int, float], others: Mapping[int, float]) -> dict[str, Any]:
    """Return the statistics of a score of two priors, paired by seed.

    Two seeds are needed for all but their number; without, the statistics are None. If all
    differences are equal, there is no spread to test by, and only their mean is known.

    Args:
        scores: score of the first prior for each seed.
        others: score of the second prior for each seed.

    Returns:
        `seeds`, the number of seeds that both priors have; `difference`, the mean of the first
        score minus the second; `low` and `high`, its 95 % confidence interval; `p`, of the
        two-sided paired t-test; `d_z`, Cohen's effect size: the mean of the differences in units of
        their sample standard deviation.
    """
    seeds = [seed for seed in scores if seed in others]
    found: dict[str, Any] = dict.fromkeys(("difference", "low", "high", "p", "d_z"))
    if len(seeds) >= 2:
        first, second = (np.array([side[seed] for seed in seeds]) for side in (scores, others))
        differences = first - second
        found["difference"] = float(differences.mean())
        if np.ptp(differences) > _ROUNDING * np.abs([first, second]).max():
            test = ttest_rel(first, second)
            low, high = test.confidence_interval()
            found |= {"low": float(low), "high": float(high), "p": float(test.pvalue)}
            found["d_z"] = float(test.statistic) / math.sqrt(len(seeds))
    return {"seeds": len(seeds), **found}


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Return p-values corrected for their number by Holm's method; None stays None.

    Holm, "A simple sequentially rejective multiple test procedure", Scand. J. Statist. 6, 65
    (1979). The chance of one or more false findings is then at most the level of the test.
    """
    known = sorted((p, place) for place, p in enumerate(p_values) if p is not None)
    corrected: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, place) in enumerate(known):
        corrected[place] = largest = max(largest, min(1.0, (len(known) - rank) * p))
    return corrected


def paired_rows(
    cells: Mapping[str, Sequence[Mapping[str, Any]]], against: Sequence[str]
) -> list[dict[str, Any]]:
    """Return a row for each score and pair of priors, for paired.csv.

    Two priors are paired once, even if both are in `against`.

    Args:
        cells: the finished cells of each prior that has some.
        against: priors that the others are compared with.
    """
    pairs = [
        (prior, other)
        for place, other in enumerate(against)
        if other in cells
        for prior in cells
        if prior not in against[: place + 1]
    ]
    rows = []
    for score in TESTED:
        values = {
            prior: {cell["seed"]: cell[score] for cell in found} for prior, found in cells.items()
        }
        tests = [paired(values[prior], values[other]) for prior, other in pairs]
        corrected = holm([test["p"] for test in tests])
        rows += [
            {"prior": prior, "against": other, "score": score, **test, "p_holm": p_holm}
            for (prior, other), test, p_holm in zip(pairs, tests, corrected, strict=True)
        ]
    return rows


def paired_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the rows as a table in Markdown and its caption; empty if there are none."""
    if not rows:
        return ""
    lines: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        start = [row["prior"], row["against"], str(row["seeds"])]
        lines.setdefault((row["prior"], row["against"]), start).append(_cell(row))
    header = ["prior", "against", "seeds", *(f"difference of {score}" for score in TESTED)]
    table = [header, ["---"] * len(header), *lines.values()]
    return "".join(f"| {' | '.join(line)} |\n" for line in table) + f"\n{_CAPTION}"


def _cell(row: Mapping[str, Any]) -> str:
    """Return the statistics of one score as text; empty with fewer than two seeds."""
    if row["difference"] is None:
        return ""
    text = f"{row['difference']:+.3g}"
    if row["p"] is not None:
        text += f"; p {row['p']:.2g}, Holm {row['p_holm']:.2g}; d_z {row['d_z']:+.2f}"
    return text
