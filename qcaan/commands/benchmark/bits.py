"""`qcaan benchmark bits`: fit models of bits to standard targets, and score them alike."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from itertools import product
from math import isnan
from pathlib import Path
from statistics import mean
from typing import Any, TypeAlias

import torch
from torch import Tensor

from qcaan import losses
from qcaan.bits import all_bitstrings, histogram
from qcaan.checks import SEEDS, one_of, whole
from qcaan.commands.benchmark.models import MODELS, Fitted
from qcaan.commands.compare.cells import (
    check_failures,
    check_folder,
    compute_cells,
    mean_and_deviation,
    open_folder,
    records,
)
from qcaan.commands.compare.targets import TASKS, Task
from qcaan.data.readers import NotAvailable
from qcaan.files import write_csv, write_text
from qcaan.metrics.bits import correlator_error, exact_correlator_error, generalization, mmd2, qbas
from qcaan.runs import reports
from qcaan.runs.cluster import ClusterOptions, Tell
from qcaan.runs.session import console

# the record of a cell, and those of all seeds by target and model
Cell: TypeAlias = dict[str, Any]
Groups: TypeAlias = Mapping[str, Mapping[str, Sequence[Cell]]]

_SIGMAS, _ORDERS = (0.6, 1.3), (2, 3, 4)
# keys of a cell's scores beside KL and NLL, and what the table calls them
SCORES = {
    "tvd": "TVD",
    **{f"mmd2_{sigma}": f"MMD², σ = {sigma}" for sigma in _SIGMAS},
    **{f"correlators_{order}": f"{order}-body error" for order in _ORDERS},
    "fidelity": "fidelity",
    "rate": "rate",
    "coverage": "coverage",
    "qbas": "qBAS",
    "seconds": "seconds",
    "parameters": "parameters",
    "two_qubit_gates": "two-qubit gates",
}
# divergences below, as of an exact fit, are shown as this in the picture
_LEAST_SHOWN = 1e-3


def main(
    targets: tuple[str, ...] = tuple(TASKS),
    models: tuple[str, ...] = tuple(MODELS),
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4),
    evaluations: int = 200,
    data: str = "mnist",
    data_root: Path | None = None,
    out: Path = Path("runs/bits"),
    cluster: ClusterOptions = ClusterOptions(),
) -> None:
    """Fit models of bits to standard targets, and score all of them alike.

    Each finished cell (a target, a model and a seed) is kept. So the same command continues where
    it stopped, and calls with other seeds, models or targets add cells to the same folder.

    Args:
        targets: Targets, whose number of bits or pixels is in their names; codes are of images.
        models: Models. Those that cannot have so many bits as a target are left out of it.
        seeds: Seeds of the models, each from 0 to below 2**63. Targets are always the same.
        evaluations: Number of evaluations in the fit of a QCBM.
        data: Data set of the images whose codes are learnt, as qcaan train takes it. Codes are left
            out if it is not available.
        data_root: Folder of the downloaded data sets. Default: $QCAAN_DATA, else a user cache
            folder.
        out: Folder of the results: bits.md, bits.csv, bits.png and the cells. It is new, or that of
            a benchmark with the same options.
        cluster: Where the cells are computed.
    """
    for name in targets:
        one_of("targets", name, TASKS)
    for name in models:
        one_of("models", name, MODELS)
    for seed in seeds:
        whole("seeds", seed, 0, SEEDS)
    whole("evaluations", evaluations)
    check_folder(out)
    tasks = _available(targets, data, data_root)
    cells = {
        f"{target} {model} seed {seed}": (tasks[target], target, model, seed)
        for seed, target, model in product(seeds, tasks, models)
        if MODELS[model].takes(tasks[target].n_bits)
    }
    if not cells:
        raise ValueError("none of `models` can have as many bits as one of `targets`")
    open_folder(out, {"data": data, "evaluations": evaluations})
    failed = compute_cells(out, cells, _compute_cell, evaluations, cluster, _summary)
    _report(out)
    check_failures(failed, len(cells))


def _compute_cell(
    cell: tuple[Task, str, str, int], evaluations: int, folder: Path, tell: Tell
) -> Cell:
    task, target, model, seed = cell
    scores = _scored(task, model, seed, evaluations)
    return {"target": target, "model": model, "seed": seed, **scores}


def _summary(cell: Cell) -> str:
    return f"fitted in {cell['seconds']:.1f} s"


def _available(targets: Sequence[str], data: str, data_root: Path | None) -> dict[str, Task]:
    """Return the tasks of targets by their names, without codes of images that are not available.

    Raises:
        NotAvailable: no target is left.
        DataError: the images cannot be read.
    """
    tasks, missing = {}, None
    for name in targets:
        try:
            tasks[name] = TASKS[name](data, data_root)
        except NotAvailable as error:
            missing = error
            console.print(f"{name} is left out: {error}")
    if missing and not tasks:
        raise missing
    return tasks


def _scored(task: Task, model: str, seed: int, evaluations: int) -> dict[str, Any]:
    """Fit a model to a task, and return the scores that the task has, by their keys."""
    torch.manual_seed(seed)  # for models that draw from torch's random state
    fitted = MODELS[model].make(task.n_bits, seed, evaluations)
    start = time.perf_counter()
    fitted.fit(task.train)
    seconds = time.perf_counter() - start
    draws = fitted.measure(len(task.held_out)).to(torch.uint8)
    with torch.no_grad():
        if task.probs is None:
            scores = _scores_of_draws(fitted, draws, task.held_out)
        else:
            scores = _exact_scores(fitted, task.probs, task.held_out)
    if task.valid is not None:
        found = generalization(draws, task.train, task.valid)
        if not isnan(found["coverage"]):  # else no valid string is unseen
            scores |= found
    if task.patterns is not None:
        scores["qbas"] = qbas(draws, task.patterns)
    parameters, gates = MODELS[model].size(fitted)
    return {
        "bits": task.n_bits,
        **{key: value for key, value in scores.items() if not isnan(value)},
        "seconds": seconds,
        "parameters": parameters,
        "two_qubit_gates": gates,
    }


def _exact_scores(fitted: Fitted, target: Tensor, held_out: Tensor) -> dict[str, float]:
    """Return the scores of a model by its distribution and that of the target [2**n]."""
    model = fitted.log_prob(all_bitstrings(held_out.shape[1])).exp()
    return {
        "nll": float(losses.nll(histogram(held_out), model)),
        "kl": float(losses.kl(target, model)),
        "tvd": float(losses.tvd(target, model)),
        **{f"mmd2_{s}": float(losses.mmd(target, model, (s**2,))) for s in _SIGMAS},
        **{f"correlators_{k}": exact_correlator_error(model, target, k) for k in _ORDERS},
    }


def _scores_of_draws(fitted: Fitted, draws: Tensor, held_out: Tensor) -> dict[str, float]:
    """Return the scores of a model by held-out bits [k, n] and as many draws."""
    return {
        "nll": -float(fitted.log_prob(held_out).mean()),
        **{f"mmd2_{s}": mmd2(draws, held_out, s) for s in _SIGMAS},
        **{f"correlators_{k}": correlator_error(draws, held_out, k) for k in _ORDERS},
    }


def _report(out: Path) -> None:
    """Write bits.md, bits.csv and bits.png from all cells in the folder, and print their table."""
    found = list(records(out))
    header = ["target", "bits", "model", "seed", "nll", "kl", *SCORES]
    write_csv(out / "bits.csv", header, [[cell.get(key) for key in header] for cell in found])
    models = [name for name in MODELS if any(cell["model"] == name for cell in found)]
    cells: Groups = {
        target: {model: _cells(found, target, model) for model in models}
        for target in TASKS
        if any(cell["target"] == target for cell in found)
    }
    text = f"{_markdown_table(cells)}\n{_winners(cells)}\n"
    write_text(out / "bits.md", text)
    panels = {
        f"{target}: {_quantity(groups)}": {
            model: [max(_divergence(cell), _LEAST_SHOWN) for cell in group]
            for model, group in groups.items()
            if group
        }
        for target, groups in cells.items()
    }
    plot = reports.save_figure(out / "bits.png", reports.spread_figure(panels, "nats", n_columns=2))
    console.print(text)
    console.print(f"wrote {out / 'bits.md'}, {out / 'bits.csv'}, {plot}")


def _cells(found: Sequence[Cell], target: str, model: str) -> list[Cell]:
    return [cell for cell in found if (cell["target"], cell["model"]) == (target, model)]


def _divergence(cell: Cell) -> float:
    """Return the KL of a cell or, if the target's distribution is not known, the held-out NLL."""
    return float(cell["kl"] if "kl" in cell else cell["nll"])


def _quantity(groups: Mapping[str, Sequence[Cell]]) -> str:
    """Return the name of a target's divergence."""
    known = any("kl" in cell for group in groups.values() for cell in group)
    return "KL" if known else "NLL of held-out strings"


def _markdown_table(cells: Groups) -> str:
    """Return a row for each target and model: means and deviations over the seeds."""
    header = ["target", "model", "seeds", "KL (codes: NLL)", *SCORES.values()]
    rows = [header, ["---"] * len(header)]
    for target, groups in cells.items():
        for model, group in groups.items():
            row = [target, model, str(len(group))]
            if group:
                values = [[cell[key] for cell in group if key in cell] for key in SCORES]
                divergence = _shown([*map(_divergence, group)], digits=4)
                rows.append([*row, divergence, *map(_shown, values)])
            elif not MODELS[model].takes(_n_bits(groups)):
                reason = f"left out: at most {MODELS[model].most_bits} bits"
                rows.append([*row, reason, *[""] * len(SCORES)])
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _shown(values: Sequence[float], digits: int = 3) -> str:
    """Return the mean of values and, if they differ, their deviation; rounding errors are 0."""
    rounded = [round(value, 9) for value in values]
    return mean_and_deviation(rounded if len(set(rounded)) > 1 else rounded[:1], digits)


def _n_bits(groups: Mapping[str, Sequence[Cell]]) -> int:
    """Return the number of bits of a target."""
    return int(next(cell["bits"] for group in groups.values() for cell in group))


def _winners(cells: Groups) -> str:
    """Return a sentence that says on which targets each model has the lowest mean divergence."""
    won: dict[str, list[str]] = {}
    for target, groups in cells.items():
        means = {model: mean(map(_divergence, group)) for model, group in groups.items() if group}
        won.setdefault(min(means, key=lambda model: means[model]), []).append(target)
    lists = (f"{model} on {', '.join(targets)}" for model, targets in won.items())
    return f"Lowest KL, or NLL of codes: {'; '.join(lists)}."
