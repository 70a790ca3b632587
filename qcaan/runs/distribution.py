"""A run of the quantum GAN from the command line: its configuration, and what its run directory holds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from qcaan.checks import whole
from qcaan.data.samples import TARGETS, load_samples
from qcaan.files import write_json
from qcaan.gans.distribution.discriminator import LOSSES, Discriminator, default_discriminator
from qcaan.gans.distribution.grid import Floats
from qcaan.gans.distribution.qgan import KS_ACCEPTS, QGAN
from qcaan.optimizers import DecayingAdam
from qcaan.runs import pictures
from qcaan.runs.directory import RunDirectory
from qcaan.runs.planning import Plan, plan_steps
from qcaan.samplers.jobs import Budget
from qcaan.samplers.names import MakeSampler, is_device, make_sampler
from qcaan.samplers.vendors import make_vendor


@dataclass(frozen=True)
class DistributionConfig(Budget):
    """A run of the quantum GAN: everything that decides its numbers."""

    data: str = "lognormal"
    """lognormal, triangular, bimodal, binomial, gaussian, gaussian-2d, gaussian-3d, or a .csv or .npy file of samples."""
    samples: int = 20_000
    """Drawn of a named distribution; of a file all are taken."""
    bounds: tuple[float, ...] | None = None
    """Min and max of each dimension in turn; default the named distribution's, or the 5th and 95th percentiles."""
    num_qubits: tuple[int, ...] | None = None
    """Of each dimension; default the named distribution's, or 3."""
    seed: int = 7
    """Of samples, angles, weights, batches and shots."""

    epochs: int = 60
    """Passes over the samples; 60 over 20,000 are 2,000 steps, by when the distributions named here have settled."""
    batch_size: int = 500
    """Samples in a batch."""
    tol_rel_ent: float | None = None
    """End early at this relative entropy."""
    lr: float = 0.02
    """Adam's learning rate at the start, both players."""
    lr_half_steps: int = 200
    """Steps after which the learning rate is halved: lr / (1 + step / this); at a constant one the players never settle."""
    loss: str = "bce"
    """bce or wgan-gp."""

    reps: int = 1
    """Blocks of CZ on a ring and RY; more where the relative entropy levels off too high (bimodal takes 3)."""
    initial_state: str = "uniform"
    """Before the trained circuit: uniform, normal (the data's mean and covariance), random."""
    sampler: str = "exact"
    """exact (our engine), aer, statevector, ..."""
    shots: int = 1024
    """Of every circuit on a sampler; 0 for exact probabilities."""
    gradient: str | None = None
    """autograd, parameter-shift or spsa; default the first that is possible."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("samples", "epochs", "batch_size", "lr_half_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        whole("seed", self.seed, 0, 2**63)
        if not 0 < self.lr < 1:
            raise ValueError(f"lr must be between 0 and 1, got {self.lr}")
        if self.bounds is not None and (not self.bounds or len(self.bounds) % 2):
            raise ValueError(
                f"bounds must be a min and a max for each dimension, got {len(self.bounds)} numbers"
            )


def make_qgan(
    config: DistributionConfig,
    samples: Floats,
    snapshot_dir: Path | None = None,
    make_sampler: MakeSampler = make_sampler,
) -> QGAN:
    """The configured QGAN on samples [N, k], whose devices are had from `make_sampler(name, rng)`.

    Raises:
        ValueError: an option out of range or not matching the samples.
    """
    target = TARGETS.get(config.data)
    pairs = (
        None
        if config.bounds is None
        else [config.bounds[i : i + 2] for i in range(0, len(config.bounds), 2)]
    )
    qgan = QGAN(
        samples,
        bounds=target.bounds if pairs is None and target else pairs,
        num_qubits=target.num_qubits if config.num_qubits is None and target else config.num_qubits,
        batch_size=config.batch_size,
        num_epochs=config.epochs,
        seed=config.seed,
        tol_rel_ent=config.tol_rel_ent,
        snapshot_dir=snapshot_dir,
        shots=config.shots,
        loss=config.loss,
    )
    qgan.set_backend(
        make_sampler(config.sampler, qgan.random) if is_device(config.sampler) else config.sampler
    )
    optimizer = partial(DecayingAdam, lr=config.lr, half_steps=config.lr_half_steps)
    qgan.set_generator(
        None, None, optimizer, config.gradient, initial_state=config.initial_state, reps=config.reps
    )
    network = default_discriminator(qgan.grid, config.loss, config.seed).net
    optimizer = partial(
        DecayingAdam, lr=config.lr, half_steps=config.lr_half_steps * LOSSES[config.loss]
    )
    qgan.set_discriminator(Discriminator(network, config.loss, optimizer, config.seed))
    return qgan


def configured_samples(config: DistributionConfig) -> Floats:
    """The samples [N, k] that a run learns."""
    return load_samples(config.data, config.samples, config.seed)


def plan_run(config: DistributionConfig, samples: Floats) -> Plan | None:
    """What a run of this configuration would ask of a device; None if it asks none."""

    def start(make_sampler: MakeSampler) -> tuple[Callable[[], object], ...]:
        qgan = make_qgan(config, samples, make_sampler=make_sampler)
        return partial(next, qgan.epochs()), lambda: None, partial(_scores, qgan)

    return plan_steps(start, partial(make_vendor, budget=config), config.epochs, 1, None)


def run_facts(samples: Floats) -> dict[str, Any]:
    """What config.json says of the data besides the configuration."""
    return {
        "data": {
            "shape": list(samples.shape),
            "mean": samples.mean(0).tolist(),
            "std": samples.std(0).tolist(),
        }
    }


def save_results(run: RunDirectory, qgan: QGAN, config: DistributionConfig) -> dict[str, Any]:
    """Leave scores.json and report.png in the run directory; gives the scores."""
    scores = _scores(qgan)
    write_json(run.path / "scores.json", scores)
    pdf = np.array(scores["pdf"])
    pictures.distribution_report(
        run.path / "report.png",
        qgan.grid.axes,
        qgan.grid.marginals(qgan.data_probs),
        qgan.grid.marginals(pdf),
        {"d_loss": qgan.d_loss, "g_loss": qgan.g_loss, "rel_entr": qgan.rel_entr},
        f"QGAN, {Path(config.data).name}, {qgan.grid.n_qubits} qubits, reps {config.reps}, {config.sampler}",
    )
    return scores


def _scores(qgan: QGAN) -> dict[str, Any]:
    statistic, p_value = qgan.ks_test()
    return {
        **qgan.distances(),
        "ks_test_500": {
            "statistic": statistic,
            "p_value": p_value,
            "accepts": p_value >= KS_ACCEPTS,
        },
        "epochs": len(qgan.rel_entr),
        "samples_within_bounds": int(qgan.n_samples),
        "bounds": qgan.grid.bounds.tolist(),
        "num_qubits": list(qgan.grid.num_qubits),
        "points": qgan.grid.points.tolist(),
        "data": qgan.data_probs.tolist(),
        "pdf": qgan.pdf().tolist(),
        "params": qgan.generator.parameter_values.tolist(),
    }
