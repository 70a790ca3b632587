"""`qcaan compare shots`: fit bits by every optimiser on several samplers, at equal shots."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import tyro
from rich.table import Table

from qcaan.checks import SEEDS, one_of, whole
from qcaan.commands.compare.cells import (
    check_failures,
    check_folder,
    compute_cells,
    mean_and_deviation,
    open_folder,
    records,
)
from qcaan.commands.compare.targets import STANDARD, Target, latent_bits, standard
from qcaan.data.opening import fingerprint
from qcaan.files import write_csv
from qcaan.optimizers import OPTIMIZERS
from qcaan.priors.qcbm import QCBM
from qcaan.runs import reports
from qcaan.runs.cluster import ClusterOptions, Record, Tell
from qcaan.runs.session import console
from qcaan.samplers.names import EXACT, IDEAL, MakeSampler, SamplerFactory

# a fit by our exact engine, whose circuit the sampler draws; and the same, corrected by shots
_EXACT_FIRST = ("exact", "twin after exact")
METHODS = (*OPTIMIZERS, *_EXACT_FIRST)


def main(
    targets: tyro.conf.Positional[tuple[str, ...]],
    methods: tuple[str, ...] = METHODS,
    samplers: tuple[str, ...] = ("aer", "aer-noise:ionq-aria", "aqt:noisy"),
    shots: tuple[int, ...] = (100_000, 400_000),
    n_bases: tuple[int, ...] = (1, 2),
    seeds: tuple[int, ...] = (0, 1, 2),
    evaluations: int = 300,
    n_layers: int = 4,
    bank_shots: int = 20_000,
    mitigate_readout: bool = False,
    out: Path = Path("runs/shots"),
    data_root: Path | None = None,
    cluster: ClusterOptions = ClusterOptions(),
) -> None:
    """Fit bits from shots by every optimiser on several samplers, at equal shots.

    Fits start from the marginals. Each finished cell is kept, so the same command continues where
    it stopped, and other methods, samplers, shots, bases and seeds add cells to the same folder. On
    samplers with noise, KL is that of the shots of a bank.

    Args:
        targets: Directories of QC-AAN runs, whose latent bits are fitted, or names of standard
            targets; standard means all of these.
        methods: Optimisers; exact fits by our exact engine and draws from the sampler, and twin
            after exact corrects such a fit by shots. These two are for samplers with noise.
        samplers: Samplers that are free; on exact, fits use exact probabilities.
        shots: Numbers of shots per basis in a fit.
        n_bases: Numbers of bases: the first ones of those that the bits are of.
        seeds: Seeds of angles and shots, each from 0 to below 2**63.
        evaluations: Number of evaluations of a fit to exact probabilities.
        n_layers: Number of layers of the circuit.
        bank_shots: Number of shots per basis by which KL is measured on samplers with noise.
        mitigate_readout: Correct frequencies for readout errors, on samplers with
            noise.
        out: Folder of the results: shots.csv, shots.png and the cells. It is new, or that of a
            comparison with the same options.
        data_root: Folder of the data sets, if it is not the one that a run used.
        cluster: Where the cells are computed.
    """
    if not targets:
        raise ValueError(f"name the directory of a run, standard, or one of {', '.join(STANDARD)}")
    for name in methods:
        one_of("methods", name, METHODS)
    for name, numbers in (("shots", shots), ("n_bases", n_bases)):
        for number in numbers:
            whole(name, number)
    for seed in seeds:
        whole("seeds", seed, 0, SEEDS)
    whole("evaluations", evaluations)
    check_folder(out)
    wanted = [target for name in targets for target in _targets(name, data_root)]
    options = {"evaluations": evaluations, "n_layers": n_layers, "bank_shots": bank_shots}
    found = [
        cell
        for seed, sampler, target, n, method, n_shots in product(
            seeds, samplers, wanted, n_bases, methods, shots
        )
        if n <= len(target.bases)
        for cell in _cells(target.first(n), sampler, method, n_shots, seed, mitigate_readout)
    ]
    if not found:
        raise ValueError("no target has so many bases, or all samplers are without noise")
    for cell in found:
        if cell.seed == seeds[0]:
            opened = SamplerFactory()
            cell.prior(options, opened)  # refuses bad options before anything is fitted
            opened.check_free("samplers")
    open_folder(out, options)
    cells = {cell.name: cell for cell in found}
    failed = compute_cells(out, cells, _run_cell, options, cluster, _summary)
    _report(out)
    check_failures(failed, len(cells))


def _targets(name: str, data_root: Path | None) -> Iterator[Target]:
    """Yield the targets of a name: a run's bits, a standard target, or all of these."""
    if name == "standard":
        yield from map(standard, STANDARD)
    elif name in STANDARD:
        yield standard(name)
    else:
        yield latent_bits(Path(name), 0, data_root)


@dataclass(frozen=True, eq=False)
class _Cell:
    """One fit, by a method from a number of shots per basis, 0 for exact probabilities."""

    target: Target
    sampler: str
    method: str
    shots: int
    seed: int
    mitigated: bool

    @property
    def name(self) -> str:
        """Name of the cell's file, which holds a fingerprint of the bits."""
        where = self.sampler.replace(":", "-") + " mitigated" * self.mitigated
        bits = f"{self.target.name} {fingerprint(self.target.bits.numpy())[:8]}"
        return f"{bits} {where} {self.method} {self.shots} seed {self.seed}"

    def prior(self, options: Mapping[str, Any], make_sampler: MakeSampler | None = None) -> QCBM:
        """Return the prior that the cell fits."""
        fit: dict[str, Any]
        if self.shots:
            fit = {"fit_shots": self.shots * len(self.target.bases)}
        else:
            fit = {"shots": 0, "fit_evals": options["evaluations"]}
        if self.method == "exact":
            fit |= {"optimizer": "adam", "train_sampler": EXACT}
        elif self.method == "twin after exact":
            fit |= {"optimizer": "twin", "device_steps": self.shots}
        else:
            fit |= {"optimizer": self.method}
        return QCBM(
            self.target.n_qubits,
            options["n_layers"],
            bases=self.target.bases,
            sampler=self.sampler,
            bank_shots=options["bank_shots"],
            mitigate_readout=self.mitigated,
            seed=self.seed,
            make_sampler=make_sampler,
            **fit,
        )

    def run(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Fit, and return the record of the cell."""
        prior, start = self.prior(options), time.perf_counter()
        report = prior.fit(self.target.bits)
        seconds = time.perf_counter() - start
        found = prior.distances(self.target.bits)
        return {
            "target": self.target.name,
            "bases": " ".join(self.target.bases),
            "sampler": self.sampler,
            "method": self.method,
            "mitigated": self.mitigated,
            "shots_per_basis": self.shots,
            "seed": self.seed,
            "kl": found["kl"],
            "kl_product": found["kl_product"],
            "share": found["kl"] / found["kl_product"],
            "evaluations": report.evaluations,
            "executions": report.executions,
            "shots": report.shots,
            "jobs": report.jobs,
            "seconds": seconds,
        }


def _run_cell(cell: _Cell, options: Mapping[str, Any], folder: Path, tell: Tell) -> Record:
    return cell.run(options)


def _summary(record: Record) -> str:
    return f"{record['share']:.3f} in {record['seconds']:.0f} s"


def _cells(
    target: Target, sampler: str, method: str, shots: int, seed: int, mitigated: bool
) -> Iterator[_Cell]:
    """Yield the cell of these, unless it has no sense without noise."""
    ideal = sampler == EXACT or sampler in IDEAL
    if not ideal or (method not in _EXACT_FIRST and not mitigated):
        drawn = sampler != EXACT and method != "exact"
        yield _Cell(target, sampler, method, shots if drawn else 0, seed, mitigated)


def _report(out: Path) -> None:
    """Write shots.csv and shots.png from all cells in the folder, and print their table."""
    found = list(records(out))
    if not found:
        return
    write_csv(out / "shots.csv", list(found[0]), [list(cell.values()) for cell in found])
    panels: dict[str, dict[str, list[float]]] = {}
    for cell in sorted(found, key=lambda cell: (cell["sampler"], cell["mitigated"])):
        label = f"{cell['sampler']}: {cell['method']}" + ", mitigated" * cell["mitigated"]
        if cell["shots_per_basis"]:
            label += f", {cell['shots_per_basis']:,} shots"
        rows = panels.setdefault(f"{cell['target']}, {cell['bases']}", {})
        rows.setdefault(label, []).append(cell["share"])
    for title, rows in panels.items():
        table = Table("sampler and method", "seeds", "KL, share of the product's", title=title)
        for label, shares in rows.items():
            table.add_row(label, str(len(shares)), mean_and_deviation(shares))
        console.print(table)
    figure = reports.spread_figure(panels, "KL, share of the product's", n_columns=2)
    plot = reports.save_figure(out / "shots.png", figure)
    console.print(f"wrote {out / 'shots.csv'}, {plot}")
