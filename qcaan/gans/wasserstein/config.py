"""Configuration of the hybrid WGAN-GP QGAN."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from qcaan.checks import number, whole
from qcaan.circuits.ansatz import AnsatzName
from qcaan.circuits.layers import Gradient
from qcaan.samplers.devices import DeviceOptions
from qcaan.samplers.names import EXACT
from qcaan.training import RunOptions, check_switch

Penalty = Literal["one-sided", "two-sided"]


@dataclass(frozen=True, kw_only=True)
class WassersteinRunOptions(RunOptions):
    """Options of the run: its length, its seed, its optimiser and its loss."""

    epochs: int = 80
    """Number of epochs, each ended by a record and a checkpoint. The default makes the published
    8,000 steps."""
    steps_per_epoch: int = 100
    """Number of generator steps in an epoch."""
    batch_size: int = 64
    """Number of samples in a batch, drawn with replacement."""
    n_critic: int = 5
    """Number of critic steps before each generator step."""
    lr: float = 1e-4
    """Learning rate of Adam, for both networks."""
    penalty: Penalty = "one-sided"
    """Kind of gradient penalty. one-sided: only gradients longer than 1 are penalised; two-sided,
    as published: all gradients that are not 1 long. In one dimension a critic whose slope starts
    with the wrong sign cannot get past the two-sided penalty, and the generator then runs to the
    end of its range."""
    penalty_weight: float = 10.0
    """Weight of the gradient penalty."""
    ema_decay: float = 0.998
    """Decay of the averaged generator, which draws the samples, between 0 and 1. The trained
    generator swings about the data by 0.01."""


@dataclass(frozen=True, kw_only=True)
class WassersteinDataOptions:
    """Options of the training data."""

    data: str = "normal"
    """Training data: normal (see --mean and --std), a named distribution (lognormal, triangular,
    bimodal, binomial, gaussian, gaussian-2d, gaussian-3d), or the path of a .npy or .npz file or of
    a table of numbers as text (.csv, .tsv, .txt, .dat), with a row for each sample and a column for
    each dimension."""
    mean: float = 0.0
    """Mean of the normal distribution (--data normal)."""
    std: float = 0.2
    """Standard deviation of the normal distribution (--data normal), above 0."""
    rescale: bool = False
    """Map the range of each column of the data to 0.9 of the outputs' range, which is [-1, 1]."""


@dataclass(frozen=True, kw_only=True)
class WassersteinNetworksOptions:
    """Options of the classical networks."""

    critic_width: int = 64
    """Width of each of the critic's two hidden layers."""
    latent_dim: int = 2
    """Width of the noise z, drawn from N(0, 1)."""


@dataclass(frozen=True, kw_only=True)
class WassersteinCircuitOptions:
    """Options of the generator's circuit, and of what runs it."""

    n_qubits: int = 2
    """Number of qubits; the first ones are measured, one for each column of the data."""
    n_layers: int = 2
    """Number of layers of the ansatz. With one layer of ry-rx, no entangler changes the
    expectation of qubit 0."""
    ansatz: AnsatzName = "ry-rx"
    """Circuit family; ry-rx has layers of RY, RX and CX on the chain of qubits."""
    uploads: int = 1
    """Number of times that the angles are embedded, each followed by the ansatz (data
    re-uploading)."""
    sampler: str = "exact"
    """Engine that runs the circuit: exact (our differentiable engine), or the name of a sampler;
    `qcaan samplers` lists them."""
    shots: int = 0
    """Number of shots per sample; 0 for exact expectations, if the engine has them."""
    gradient: Gradient | None = None
    """Gradient of the circuit; finite-difference works without shots only. Default: backprop on
    the exact engine without shots, else parameter-shift."""
    switch_after_epochs: int | None = None
    """Number of epochs on the exact engine, without shots, before --sampler and --shots are used.
    Default: none."""


@dataclass(frozen=True, kw_only=True)
class WassersteinConfig(
    WassersteinRunOptions,
    WassersteinDataOptions,
    WassersteinNetworksOptions,
    WassersteinCircuitOptions,
    DeviceOptions,
):
    """Configuration of a run of the hybrid WGAN-GP QGAN: everything that its numbers depend on."""

    def __post_init__(self) -> None:
        RunOptions.__post_init__(self)
        DeviceOptions.__post_init__(self)
        for name in (
            "epochs",
            "steps_per_epoch",
            "batch_size",
            "n_critic",
            "critic_width",
            "latent_dim",
            "n_qubits",
            "n_layers",
        ):
            whole(name, getattr(self, name))
        for name in ("lr", "ema_decay"):
            number(name, getattr(self, name), above=0, below=1)
        number("penalty_weight", self.penalty_weight, least=0)
        number("mean", self.mean)
        number("std", self.std, above=0)
        normal = WassersteinDataOptions
        if self.data != "normal" and (self.mean, self.std) != (normal.mean, normal.std):
            raise ValueError(f"`mean` and `std` belong to `data` normal, got `data` {self.data}")
        differs = self.sampler != EXACT or self.shots > 0 or self.gradient not in (None, "backprop")
        check_switch(self.switch_after_epochs, self.epochs, differs)
