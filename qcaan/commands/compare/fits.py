"""`qcaan compare fits`: fit the latent bits of a run by every optimiser, and by other models."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
import tyro
from rich.table import Table
from torch import Tensor

from qcaan.bits import all_bitstrings, bits_to_index, histogram, product_probabilities
from qcaan.checks import whole
from qcaan.circuits.ansatz import Basis
from qcaan.commands.compare.targets import Target, latent_bits
from qcaan.files import check_new_folder, write_csv
from qcaan.metrics.bits import pair_errors, pair_expectations
from qcaan.optimizers import OptimizerName
from qcaan.priors.base import MAX_HISTOGRAM_BITS
from qcaan.priors.boltzmann import RBM
from qcaan.priors.qcbm import QCBM
from qcaan.runs import reports
from qcaan.runs.directory import RunDirectory
from qcaan.runs.session import console

# engines of the optimisers: Aer for COBYLA, as in the default run, and our engine for the others
_ENGINES: dict[OptimizerName, str] = {
    "cobyla": "aer",
    "spsa": "exact",
    "cma-es": "exact",
    "adam": "exact",
}
# shares of the uniform distribution that models are mixed with
_SMOOTHINGS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.2, 0.3, 0.5)
_MODELS_CAPTION = (
    "NLL: held out, in nats; share: of the uniform distribution; within, across: errors of the "
    "expectations of two bits in the same half, and in both"
)


def main(
    run: tyro.conf.Positional[Path],
    out: Path | None = None,
    budgets: tuple[int, ...] = (100, 300, 1000, 3000),
    evaluations: int = 1000,
    deep_evaluations: int = 300,
    data_root: Path | None = None,
    seed: int = 0,
) -> None:
    """Fit the latent bits of a run anew, with every optimiser and with other models.

    The bits are those of the training images. Fits start from the marginals. Models are compared if
    there are at most 16 bits, of an even number.

    Args:
        run: Directory of a QC-AAN run whose prior has bits.
        out: Folder of the results: fits.csv, fits.png and models.csv. Default: fits/ in the run's
            directory.
        budgets: Maximum numbers of evaluations of each optimiser's fits. Those that are too few for
            an optimiser are left out.
        evaluations: Number of evaluations of Adam for circuits of half as many qubits as bits.
        deep_evaluations: Number of evaluations of Adam for circuits with a qubit for each bit.
        data_root: Folder of the data sets, if it is not the one that the run used.
        seed: Seed of angles, draws, and the split into bits to fit, to smooth by and to test with.
    """
    for budget in budgets:
        whole("budgets", budget)
    whole("evaluations", evaluations)
    whole("deep_evaluations", deep_evaluations)
    folder = out or run / "fits"
    RunDirectory(run).config()
    check_new_folder(folder)
    target = latent_bits(run, seed, data_root)
    folder.mkdir(parents=True, exist_ok=True)
    _compare_optimizers(target, budgets=budgets, folder=folder, seed=seed)
    bits = target.bits
    if bits.shape[1] % 2 == 0 and bits.shape[1] <= MAX_HISTOGRAM_BITS:
        _compare_models(bits, (evaluations, deep_evaluations), folder=folder, seed=seed)


@dataclass(frozen=True)
class _Fit:
    """A fit of a QCBM with one optimiser, and the KL that it reached, in nats."""

    optimizer: OptimizerName
    bases: tuple[Basis, ...]
    budget: int
    seconds: float
    kl: float
    kl_product: float

    @property
    def share(self) -> float:
        """KL as a share of that of the product of the marginals."""
        return self.kl / self.kl_product

    @property
    def label(self) -> str:
        """Name of the optimiser and of its engine."""
        return f"{self.optimizer} ({_ENGINES[self.optimizer]})"


def _compare_optimizers(
    target: Target, *, budgets: tuple[int, ...], folder: Path, seed: int
) -> None:
    """Fit with every optimiser at every budget, in one basis and in the run's bases.

    Writes fits.csv and fits.png.
    """
    panels: dict[str, dict[str, list[tuple[float, float]]]] = {}
    rows: list[list[object]] = []
    for n_bases in dict.fromkeys((1, len(target.bases))):
        part = target.first(n_bases)
        title = f"bases {' '.join(part.bases)}"
        panels[title] = {}
        table = Table("optimiser", "evaluations", "seconds", "KL", "of the product's", title=title)
        for fit in _fits(part, budgets, seed):
            panels[title].setdefault(fit.label, []).append((fit.seconds, fit.share))
            rows.append(
                [
                    *(fit.optimizer, _ENGINES[fit.optimizer], " ".join(part.bases), fit.budget),
                    *(fit.seconds, fit.kl, fit.kl_product),
                ]
            )
            numbers = (f"{fit.seconds:.2f}", f"{fit.kl:.3f}", f"{fit.share:.2f}")
            table.add_row(fit.label, str(fit.budget), *numbers)
        console.print(table)
    header = ["optimizer", "sampler", "bases", "evaluations", "seconds", "kl", "kl_product"]
    write_csv(folder / "fits.csv", header, rows)
    figure = reports.curves_figure(
        panels,
        x_label="seconds of a fit from the marginals",
        y_label="KL(latent bits || QCBM), share of the product's",
    )
    console.print(f"wrote {reports.save_figure(folder / 'fits.png', figure)}")


def _fits(target: Target, budgets: tuple[int, ...], seed: int) -> Iterator[_Fit]:
    """Yield the fits of a target by every optimiser at every budget."""
    n_qubits, bases = target.n_qubits, target.bases
    for optimizer, engine in _ENGINES.items():
        for budget in budgets:
            try:
                prior = _qcbm(n_qubits, bases, budget, seed, sampler=engine, optimizer=optimizer)
            except ValueError:  # too few evaluations for this optimiser
                continue
            report = prior.fit(target.bits)
            # its one shot moves torch's random state, which the RBM's fit draws from later
            prior.draw_bank()
            assert report.kl is not None and report.kl_product is not None
            yield _Fit(optimizer, bases, budget, report.seconds, report.kl, report.kl_product)


def _qcbm(
    n_qubits: int,
    bases: tuple[Basis, ...],
    fit_evals: int,
    seed: int,
    *,
    n_layers: int = 4,
    sampler: str = "exact",
    optimizer: OptimizerName = "adam",
) -> QCBM:
    """Return a QCBM that is fitted to exact probabilities, with a bank of one shot."""
    return QCBM(
        n_qubits,
        n_layers,
        bases=bases,
        sampler=sampler,
        optimizer=optimizer,
        fit_loss="kl",
        shots=0,
        fit_evals=fit_evals,
        bank_shots=1,
        seed=seed,
    )


def _compare_models(bits: Tensor, evaluations: tuple[int, int], *, folder: Path, seed: int) -> None:
    """Compare models of bits [m, n], n even, by held-out likelihood and pairwise expectations.

    Every model is mixed with the uniform distribution, by the share that is best on bits set aside
    for it. Writes models.csv.

    Args:
        bits: the bits.
        evaluations: numbers of evaluations of circuits with n / 2 and with n qubits.
        folder: folder of models.csv.
        seed: seed of the split of the bits, and of the models.
    """
    order = torch.randperm(len(bits), generator=torch.Generator().manual_seed(seed))
    smooth, test, fit = bits[order].tensor_split([len(bits) // 10, len(bits) // 5])
    n = bits.shape[1]
    uniform, strings = torch.full((2**n,), 0.5**n, dtype=torch.float64), all_bitstrings(n)
    target = pair_expectations(strings, histogram(fit))
    header = ["model", "held_out_nll", "smoothing", "within", "across", "seconds"]
    table = Table("model", "NLL", "share", "within", "across", "seconds", caption=_MODELS_CAPTION)
    rows: list[list[object]] = []
    for name, (probs, seconds) in _fitted_models(fit, evaluations, seed).items():
        smoothed = {share: (1 - share) * probs + share * uniform for share in _SMOOTHINGS}
        losses = {share: _nll(mixed, smooth) for share, mixed in smoothed.items()}
        share = min(losses, key=lambda s: losses[s])
        held_out = _nll(smoothed[share], test)
        within, across = pair_errors(pair_expectations(strings, probs), target, 2)
        rows.append([name, held_out, share, within, across, seconds])
        numbers = (f"{held_out:.3f}", f"{share}", f"{within:.4f}", f"{across:.4f}")
        table.add_row(name, *numbers, f"{seconds:.1f}")
    console.print(table)
    write_csv(folder / "models.csv", header, rows)


def _fitted_models(
    bits: Tensor, evaluations: tuple[int, int], seed: int
) -> dict[str, tuple[Tensor, float]]:
    """Return the distribution [2**n] of each model of bits [m, n], and the seconds of its fit."""
    n = bits.shape[1]
    lower, upper = (histogram(half) for half in bits.chunk(2, dim=1))
    models = {
        "uniform": (torch.full((2**n,), 0.5**n, dtype=torch.float64), 0.0),
        "product of marginals": (product_probabilities(bits.double().mean(0)), 0.0),
        "histograms of both halves": (torch.outer(upper, lower).flatten(), 0.0),
        "histogram of all bits": (histogram(bits), 0.0),
    }
    rbm = RBM(n, steps=3000, seed=seed)
    seconds = rbm.fit(bits).seconds
    models["RBM, 64 hidden"] = (rbm.probabilities(), seconds)
    shallow, deep = evaluations
    circuits: list[tuple[int, tuple[Basis, ...], int, int]] = [
        (n // 2, ("z", "o"), 4, shallow),
        (n // 2, ("z", "t"), 4, shallow),
        (n // 2, ("z", "o"), 5, shallow),
        (n, ("z",), 2, deep),
        (n, ("z",), 4, deep),
    ]
    for n_qubits, bases, n_layers, fit_evals in circuits:
        circuit = _qcbm(n_qubits, bases, fit_evals, seed, n_layers=n_layers)
        start = time.perf_counter()
        circuit.fit(bits)
        probs = torch.ones(1, dtype=torch.float64)
        # shots of different bases are independent
        for basis in bases:
            probs = torch.outer(torch.from_numpy(circuit.probabilities(basis)), probs).flatten()
        name = f"QCBM, {n_qubits} qubits, {' '.join(bases)}, {n_layers} layers"
        models[name] = (probs, time.perf_counter() - start)
    return models


def _nll(probs: Tensor, bits: Tensor) -> float:
    """Return the mean of -log probs [2**n] over bits [m, n], in nats."""
    return float(-probs[bits_to_index(bits)].log().mean())
