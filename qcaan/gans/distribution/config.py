"""Configuration of a run of the QGAN of distributions, and the QGAN that it describes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from qcaan.checks import check_seed, number, whole
from qcaan.data.samples import NAMED_DISTRIBUTIONS, Samples, read_samples
from qcaan.gans.distribution.circuit import InitialState
from qcaan.gans.distribution.discriminator import (
    DISCRIMINATOR_STEPS,
    GridLoss,
    default_grid_discriminator,
)
from qcaan.gans.distribution.generator import GradientName
from qcaan.gans.distribution.qgan import QGAN
from qcaan.samplers.devices import DeviceOptions
from qcaan.samplers.names import MakeSampler, open_engine
from qcaan.samplers.simulators import DEFAULT_SHOTS
from qcaan.training import DecayingAdam


@dataclass(frozen=True, kw_only=True)
class DistributionRunOptions:
    """Options of the run: its length, its seed and its optimisers."""

    seed: int = 7
    """Seed of samples, angles, weights, batches and shots, from 0 to below 2**63."""
    epochs: int = 60
    """Number of passes over the samples; 60 over 20,000 are about 2,000 steps, by when the named
    distributions have settled."""
    batch_size: int = 500
    """Number of samples in a batch."""
    tol_rel_ent: float | None = None
    """Relative entropy in nats at which the run ends early. Default: the run does not end early."""
    lr: float = 0.02
    """Learning rate of Adam at the start, for both players."""
    lr_half_steps: int = 200
    """Number of steps after which the learning rate is halved: lr / (1 + step / lr_half_steps). At
    a constant rate the players oscillate forever."""


@dataclass(frozen=True, kw_only=True)
class DistributionDataOptions:
    """Options of the data: the distribution that is learnt, and its bounds."""

    data: str = "lognormal"
    """Name of a distribution (lognormal, triangular, bimodal, binomial, gaussian, gaussian-2d,
    gaussian-3d), or path of a file of samples: a .npy or .npz file, or a table of numbers as text
    (.csv, .tsv, .txt, .dat)."""
    n_samples: int = 20_000
    """Number of samples drawn of a named distribution; of a file all are used."""
    bounds: tuple[float, ...] | None = None
    """Minimum and maximum of each dimension in turn; samples outside are dropped. Default: those
    of the named distribution, or the 5th and 95th percentiles."""


@dataclass(frozen=True, kw_only=True)
class DistributionNetworksOptions:
    """Options of the discriminator."""

    loss: GridLoss = "bce"
    """Adversarial loss: binary cross-entropy, or Wasserstein's with a gradient penalty."""


@dataclass(frozen=True, kw_only=True)
class DistributionCircuitOptions:
    """Options of the generator's circuit, of its engine and of its gradients."""

    n_qubits: tuple[int, ...] | None = None
    """Number of qubits of each dimension. Default: those of the named distribution, or 3."""
    n_layers: int = 1
    """Number of layers of CZ on a ring and RY after the first RY. Take more if the relative
    entropy levels off too high (bimodal needs 3)."""
    initial_state: InitialState = "uniform"
    """State before the trained circuit: uniform, random, or normal, which has the mean and the
    covariance of the data."""
    sampler: str = "exact"
    """Engine that runs the circuit: exact (our differentiable engine), aer, aer-gpu, statevector;
    aer-noise:DEVICE (fake_NAME of IBM's, or ionq-aria); devices: ibm:BACKEND, ibm:least_busy,
    ibm:fake_NAME, aqt:ideal, aqt:noisy, aqt:RESOURCE, ionq:simulator, ionq:BACKEND."""
    shots: int = DEFAULT_SHOTS
    """Number of shots of each circuit on a sampler; 0 for exact probabilities."""
    gradient: GradientName | None = None
    """Gradient of the circuit: backprop (only on exact), parameter-shift, or spsa (two evaluations
    a step). Default: the first of them that is possible."""


@dataclass(frozen=True, kw_only=True)
class DistributionConfig(
    DistributionRunOptions,
    DistributionDataOptions,
    DistributionNetworksOptions,
    DistributionCircuitOptions,
    DeviceOptions,
):
    """Configuration of a run of the QGAN: everything that its numbers depend on."""

    def __post_init__(self) -> None:
        DeviceOptions.__post_init__(self)
        check_seed(self.seed)
        for name in ("epochs", "batch_size", "lr_half_steps", "n_samples"):
            whole(name, getattr(self, name))
        if self.tol_rel_ent is not None:
            number("tol_rel_ent", self.tol_rel_ent, least=0)
        number("lr", self.lr, above=0, below=1)
        if self.bounds is not None and (not self.bounds or len(self.bounds) % 2):
            raise ValueError(
                "`bounds` must be a minimum and a maximum for each dimension, "
                f"got {len(self.bounds)} numbers"
            )
        whole("n_layers", self.n_layers, 0)
        whole("shots", self.shots, 0)


def configured_samples(config: DistributionConfig, data_root: Path | None = None) -> Samples:
    """Return the samples that a run learns.

    Args:
        config: configuration of the run.
        data_root: folder of a file of samples, if it is not where the configuration says.

    Raises:
        ValueError: the name is unknown, or the file does not hold a table of numbers.
        OSError: the file cannot be read.
    """
    place: str | Path = config.data
    if data_root is not None and config.data not in NAMED_DISTRIBUTIONS:
        place = data_root / Path(config.data).name
    return read_samples(place, config.n_samples, config.seed)


def make_qgan(
    config: DistributionConfig,
    samples: ArrayLike,
    *,
    snapshot_dir: Path | None = None,
    make_sampler: MakeSampler | None = None,
) -> QGAN:
    """Return the QGAN that a configuration describes.

    Args:
        config: the configuration.
        samples: samples [N] or [N, k].
        snapshot_dir: folder of the snapshots; default none are written.
        make_sampler: maker of samplers by name; default a new one, without a journal.

    Raises:
        ValueError: an option is out of range, or does not match the samples.
    """
    known = NAMED_DISTRIBUTIONS.get(config.data)
    bounds, n_qubits = (known.bounds, known.n_qubits) if known else (None, None)
    n_qubits = n_qubits if config.n_qubits is None else config.n_qubits
    if config.bounds is not None:
        bounds = tuple(zip(config.bounds[::2], config.bounds[1::2], strict=True))
    total = None if n_qubits is None else sum(n_qubits)
    # before the grid is made, which has 2**n points
    open_engine(config.sampler, np.random.default_rng(), make_sampler, n_qubits=total)
    qgan = QGAN(
        samples,
        bounds,
        n_qubits,
        batch_size=config.batch_size,
        n_epochs=config.epochs,
        seed=config.seed,
        tol_rel_ent=config.tol_rel_ent,
        snapshot_dir=snapshot_dir,
        shots=config.shots,
        loss=config.loss,
    )
    qgan.use(open_engine(config.sampler, qgan.random, make_sampler))
    adam = partial(DecayingAdam, lr=config.lr)
    qgan.set_generator(
        optimizer=partial(adam, half_steps=config.lr_half_steps),
        gradient=config.gradient,
        initial_state=config.initial_state,
        n_layers=config.n_layers,
    )
    half_steps = config.lr_half_steps * DISCRIMINATOR_STEPS[config.loss]
    qgan.set_discriminator(
        default_grid_discriminator(
            qgan.grid,
            config.loss,
            seed=config.seed,
            optimizer=partial(adam, half_steps=half_steps),
        )
    )
    return qgan
