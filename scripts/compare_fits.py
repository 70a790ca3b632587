"""Compare what is fitted to the latent bits of a finished run: optimisers of the circuit, and models of the bits.

python scripts/compare_fits.py runs/379 --out runs/fits
"""

from __future__ import annotations

import csv
import time
from itertools import combinations
from pathlib import Path

import numpy as np
import torch
import tyro
from _cli import console, run_script
from rich.table import Table
from torch import Tensor

from qcaan import load_images
from qcaan.bits import bits_to_index, histogram, index_to_bits, product_probabilities
from qcaan.files import atomic_write
from qcaan.priors.base import MAX_HISTOGRAM_BITS
from qcaan.priors.boltzmann import RBM
from qcaan.priors.qcbm import QCBM
from qcaan.runs import associative as associative_run
from qcaan.runs import pictures
from qcaan.runs.directory import RunDirectory, RunError
from qcaan.training import pick_device

# COBYLA as the default run has it; the others with our engine
_OPTIMIZERS = {"cobyla": "aer", "spsa": "exact", "cma-es": "exact", "adam": "exact"}
_SMOOTHINGS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.2, 0.3, 0.5)


def main(
    run: tyro.conf.Positional[Path],
    out: Path | None = None,
    budgets: tuple[int, ...] = (100, 300, 1000, 3000),
    evaluations: int = 1000,
    deep_evaluations: int = 300,
    data_root: Path | None = None,
    seed: int = 0,
) -> None:
    """Fit the latent bits of a run's training images anew, from the marginals.

    Args:
        run: run directory of a finished QC-AAN with a prior of bits.
        out: folder of fits.csv, fits.png and models.csv; default: fits/ in the run.
        budgets: evaluations of each optimiser's fits; those too few for it are left out.
        evaluations: of Adam, for the circuits of half as many qubits as there are bits.
        deep_evaluations: of Adam, for the circuit with a qubit for each bit.
        data_root: where the data set lies, if not where the run had it.
        seed: of angles, draws, and the split into bits to fit, to smooth by and to test with.
    """
    if not budgets or min(*budgets, evaluations, deep_evaluations) < 1:
        raise ValueError("budgets and evaluations must be at least 1")
    gan = associative_run.load_run(RunDirectory(run), pick_device("cpu"), seed, data_root)
    if gan.prior.n_bits is None:
        raise RunError(f"the prior of {run} has no bits")
    config, folder = gan.config, out or run / "fits"
    data = load_images(
        RunDirectory(run).config()["data"]["name"], root=config.data_root, classes=config.digits
    )
    bits = gan.latent_bits(data.images)  # (m, n_bits)
    folder.mkdir(parents=True, exist_ok=True)
    optimizers(bits, config.n_qubits, config.bases, budgets, folder, seed)
    if bits.shape[1] % 2 == 0 and bits.shape[1] <= MAX_HISTOGRAM_BITS:
        models(bits, evaluations, deep_evaluations, folder, seed)


def optimizers(
    bits: Tensor,
    n_qubits: int,
    bases: tuple[str, ...],
    budgets: tuple[int, ...],
    folder: Path,
    seed: int,
) -> None:
    """Fit with every optimiser at every budget, in one basis and in the run's; write fits.csv and fits.png."""
    panels: dict[str, dict[str, list[tuple[float, float]]]] = {}
    rows = []
    for chosen in dict.fromkeys((bases[:1], bases)):
        table = Table(
            "optimiser",
            "evaluations",
            "seconds",
            "KL",
            "of the product's",
            title=f"bases {' '.join(chosen)}",
        )
        for optimizer, sampler in _OPTIMIZERS.items():
            for budget in budgets:
                options = {
                    "sampler": sampler,
                    "optimizer": optimizer,
                    "fit_evals": budget,
                    "shots": 0,
                    "seed": seed,
                }
                try:
                    prior = QCBM(n_qubits, bases=chosen, bank_shots=1, **options)
                except ValueError:  # COBYLA's simplex wants a point more than there are angles
                    continue
                report = prior.fit(bits[:, : n_qubits * len(chosen)])
                assert report.kl is not None and report.kl_product is not None
                share = report.kl / report.kl_product
                lines = panels.setdefault(f"bases {' '.join(chosen)}", {})
                lines.setdefault(f"{optimizer} ({sampler})", []).append((report.seconds, share))
                rows.append(
                    [
                        optimizer,
                        sampler,
                        " ".join(chosen),
                        budget,
                        report.seconds,
                        report.kl,
                        report.kl_product,
                    ]
                )
                table.add_row(
                    f"{optimizer} ({sampler})",
                    str(budget),
                    f"{report.seconds:.2f}",
                    f"{report.kl:.3f}",
                    f"{share:.2f}",
                )
        console.print(table)
    write_csv(
        folder / "fits.csv",
        ["optimizer", "sampler", "bases", "evaluations", "seconds", "kl", "kl_product"],
        rows,
    )
    labels = (
        "seconds of a fit from the marginals",
        "KL(latent bits || QCBM), share of the product's",
    )
    console.print(f"wrote {pictures.curves(folder / 'fits.png', panels, *labels)}")


def models(bits: Tensor, evaluations: int, deep_evaluations: int, folder: Path, seed: int) -> None:
    """Held-out likelihood and pairwise marginals of models of bits [m, n], n even; writes models.csv.

    Every model is mixed with the uniform distribution, by the share that is best on bits set aside for it.
    """
    order = torch.randperm(len(bits), generator=torch.Generator().manual_seed(seed))
    smooth, test, fit = bits[order].tensor_split([len(bits) // 10, len(bits) // 5])
    exact = {"sampler": "exact", "optimizer": "adam", "shots": 0, "bank_shots": 1, "seed": seed}
    n = bits.shape[1]
    halves = {"n_qubits": n // 2, "fit_evals": evaluations, **exact}
    whole = {"n_qubits": n, "bases": ("z",), "fit_evals": deep_evaluations, **exact}
    circuits = {
        f"QCBM, {n // 2} qubits, z o, 4 layers": QCBM(n_layers=4, bases=("z", "o"), **halves),
        f"QCBM, {n // 2} qubits, z t, 4 layers": QCBM(n_layers=4, bases=("z", "t"), **halves),
        f"QCBM, {n // 2} qubits, z o, 5 layers": QCBM(n_layers=5, bases=("z", "o"), **halves),
        f"QCBM, {n} qubits, z, 2 layers": QCBM(n_layers=2, **whole),
        f"QCBM, {n} qubits, z, 4 layers": QCBM(n_layers=4, **whole),
    }
    uniform = torch.full((2**n,), 0.5**n, dtype=torch.float64)
    half_histograms = [histogram(half) for half in fit.chunk(2, dim=1)]
    found = {
        "uniform": (uniform, 0.0),
        "product of marginals": (product_probabilities(fit.double().mean(0)), 0.0),
        "histograms of both halves": (
            torch.outer(half_histograms[1], half_histograms[0]).flatten(),
            0.0,
        ),
        "histogram of all bits": (histogram(fit), 0.0),
    }
    rbm = RBM(n, steps=3000, seed=seed)
    seconds = rbm.fit(fit).seconds
    every = index_to_bits(torch.arange(2**n), n).double()
    found["RBM, 64 hidden"] = ((-rbm.free_energy(every) - rbm.log_partition()).exp(), seconds)
    for name, circuit in circuits.items():
        start = time.perf_counter()
        circuit.fit(fit)
        probs = torch.ones(1, dtype=torch.float64)
        for basis in circuit.born.bases:  # shots of different bases are independent
            probs = torch.outer(torch.from_numpy(circuit.probabilities(basis)), probs).flatten()
        found[name] = (probs, time.perf_counter() - start)

    target = pairwise(histogram(fit), every)
    table = Table(
        "model",
        "held-out NLL",
        "smoothing",
        "pairs within halves",
        "pairs across",
        "seconds of the fit",
    )
    rows = []
    for name, (probs, seconds) in found.items():
        smoothed = {share: (1 - share) * probs + share * uniform for share in _SMOOTHINGS}
        share = min(_SMOOTHINGS, key=lambda s: nll(smoothed[s], smooth))
        within, across = pair_errors(pairwise(probs, every), target)
        rows.append([name, nll(smoothed[share], test), share, within, across, seconds])
        table.add_row(
            name,
            f"{rows[-1][1]:.3f}",
            f"{share}",
            f"{within:.4f}",
            f"{across:.4f}",
            f"{seconds:.1f}",
        )
    console.print(table)
    write_csv(
        folder / "models.csv",
        ["model", "held_out_nll", "smoothing", "within", "across", "seconds"],
        rows,
    )


def nll(probs: Tensor, bits: Tensor) -> float:
    """Mean of -log probs [2**n] over bits [m, n], in nats."""
    return float(-probs[bits_to_index(bits)].log().mean())


def pairwise(probs: Tensor, every: Tensor) -> Tensor:
    """Expectations [n, n] of products of signs, from probabilities [2**n] of all bitstrings [2**n, n]."""
    signs = 2 * every - 1
    return signs.T @ (probs[:, None] * signs)


def pair_errors(model: Tensor, target: Tensor) -> tuple[float, float]:
    """Mean absolute errors of the expectations of pairs [n, n] within the halves of the bits and across them."""
    n = len(model)
    errors: dict[bool, list[float]] = {True: [], False: []}
    for i, j in combinations(range(n), 2):
        errors[(i < n // 2) == (j < n // 2)].append(float(abs(model[i, j] - target[i, j])))
    return float(np.mean(errors[True])), float(np.mean(errors[False]))


def write_csv(path: Path, header: list[str], rows: list[list[object]]) -> None:
    with atomic_write(path) as temporary, temporary.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])


if __name__ == "__main__":
    run_script(main)
