"""The hybrid WGAN-GP QGAN: a circuit between classical noise and a classical critic draws samples of a few real numbers.

z => Linear => angle embedding => trained circuit => Pauli-Z expectations in [-1, 1], against an MLP critic (Wasserstein GAN
with gradient penalty, Gulrajani et al., arXiv:1704.00028).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.stats import ks_2samp, wasserstein_distance
from torch import Tensor, nn

from qcaan import losses
from qcaan.checks import check_seed
from qcaan.circuits.ansatz import make_ansatz
from qcaan.circuits.born import EXACT, open_sampler
from qcaan.circuits.layers import QuantumLayer
from qcaan.data.samples import load_samples
from qcaan.networks import PointMLP
from qcaan.samplers.jobs import Budget
from qcaan.samplers.names import MakeSampler, make_sampler
from qcaan.training import (
    EMA,
    TrainingCollapsed,
    check_switch,
    load_training_state,
    seed_everything,
    training_state,
)

PENALTIES = ("one-sided", "two-sided")
_TARGET_SAMPLES = 100_000  # of a named target: their mean is within 0.001 of its own
_HELD_OUT = 5  # every fifth sample is kept for the scores
FIXED_LATENTS = 4000  # whose samples the log follows
_FILLED = 0.9  # share of the outputs' range that rescaled data take up: at its ends a circuit hardly moves


@dataclass(frozen=True)
class WassersteinConfig(Budget):
    """A run of the hybrid WGAN-GP QGAN: everything that decides its numbers."""

    target: str = "normal"
    """normal (with --mean and --std), a name of `qcaan.data.samples.TARGETS`, or an .npy or .csv file of samples: a row each, a
    column for each dimension."""
    mean: float = 0.0
    """Of the normal target."""
    std: float = 0.2
    """Standard deviation of the normal target."""
    rescale: bool = False
    """Whether the range of each column of the data is mapped to 0.9 of the outputs' range, which is [-1, 1]."""
    seed: int = 1
    """Of weights, angles, batches and shots."""
    device: str = "auto"
    """auto (CUDA if present), cpu, cuda, cuda:N."""

    epochs: int = 80
    """Blocks of steps, each ended by a record and a checkpoint; 80 of 100 are the published 8,000 steps."""
    steps_per_epoch: int = 100
    """Generator steps in an epoch."""
    batch_size: int = 64
    """Samples in a batch."""
    n_critic: int = 5
    """Critic steps to a generator step."""
    lr: float = 1e-4
    """Adam's learning rate, both networks."""
    penalty: str = "one-sided"
    """Of critic gradients longer than 1 (one-sided), or of all that are not 1 long (two-sided, as published): in one dimension
    a slope that starts with the wrong sign cannot get past the latter, and the generator runs to the end of its range."""
    penalty_weight: float = 10.0
    """Of the gradient penalty."""
    critic_width: int = 64
    """Of the critic's two hidden layers."""
    ema_decay: float = 0.998
    """Of the averaged generator, which draws the samples; the trained one swings about the target by 0.01."""

    latent_dim: int = 2
    """Width of the noise z ~ N(0, 1)."""
    n_qubits: int = 2
    """Qubits; the first as many as there are columns in the data are measured."""
    n_layers: int = 2
    """Layers of the ansatz; with one of ry-rx, no entangler reaches qubit 0's measurement."""
    ansatz: str = "ry-rx"
    """ry-rx (layers of RY, RX and CX on the chain), hardware-efficient, ion-trap or seed."""
    uploads: int = 1
    """Times that the angles are embedded, each followed by the ansatz (data re-uploading)."""
    sampler: str = "exact"
    """exact (our engine, gradients by backprop), or a name of a sampler."""
    shots: int = 0
    """Shots per sample; 0 for exact expectations, where the sampler has them."""
    gradient: str | None = None
    """backprop, parameter-shift or finite-difference (not of shots); default the first that the sampler can do."""
    switch_at: int | None = None
    """Generator steps on the exact engine before the sampler is used; default none."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.penalty not in PENALTIES:
            raise ValueError(
                f"unknown penalty {self.penalty!r}; choose from {', '.join(PENALTIES)}"
            )
        for name in (
            "epochs",
            "steps_per_epoch",
            "batch_size",
            "n_critic",
            "critic_width",
            "latent_dim",
            "n_qubits",
        ):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("lr", "ema_decay"):
            if not 0 < getattr(self, name) < 1:
                raise ValueError(f"{name} must be between 0 and 1, got {getattr(self, name)}")
        if not 0 <= self.penalty_weight < math.inf:
            raise ValueError(f"penalty_weight must be at least 0, got {self.penalty_weight}")
        if self.target != "normal" and (self.mean, self.std) != (
            WassersteinConfig.mean,
            WassersteinConfig.std,
        ):
            raise ValueError(f"mean and std are of the normal target, not of {self.target}")
        if not math.isfinite(self.mean):
            raise ValueError(f"mean must be finite, got {self.mean}")
        if not 0 < self.std < math.inf:
            raise ValueError(f"std must be above 0, got {self.std}")
        differs = self.sampler != EXACT or self.shots > 0 or self.gradient not in (None, "backprop")
        check_switch(self.switch_at, self.epochs * self.steps_per_epoch, differs)
        check_seed(self.seed)


def load_target(config: WassersteinConfig) -> tuple[Tensor, Tensor]:
    """Samples of the target to train on [N, k] and to score against [M, k], float64.

    Raises:
        ValueError: neither a named target nor a file of at least ten rows of finite numbers; or data that the outputs'
            range does not hold.
        OSError: the file cannot be read.
    """
    rng = np.random.default_rng(
        0
    )  # not the run's seed: runs of different seeds learn and are scored on the same data
    if config.target == "normal":
        samples = rng.normal(config.mean, config.std, (_TARGET_SAMPLES, 1))
    else:
        samples = rng.permutation(load_samples(config.target, _TARGET_SAMPLES, seed=0))
    if len(samples) < 10 or not np.isfinite(samples).all():
        raise ValueError(f"{config.target} must hold at least ten rows of finite numbers")
    if not config.rescale and abs(samples).max() > 1:
        raise ValueError(
            f"target {config.target} goes to {abs(samples).max():.3g}, beyond the outputs' range [-1, 1]; add --rescale"
        )
    held_out = np.arange(len(samples)) % _HELD_OUT == 0
    return torch.from_numpy(samples[~held_out]), torch.from_numpy(samples[held_out])


@dataclass(frozen=True)
class StepRecord:
    """One generator step, with the last of its critic steps; `loss_d` without the penalty."""

    epoch: int
    step: int
    loss_d: float
    loss_g: float
    penalty: float


@dataclass(frozen=True)
class EpochRecord:
    """Means of an epoch's steps, and mean, deviation and Wasserstein-1 distance of each column of the average's samples."""

    epoch: int
    step: int
    loss_d: float
    loss_g: float
    penalty: float
    mean: list[float]
    std: list[float]
    w1: list[float]


class WassersteinGAN(nn.Module):
    """Generator, critic, average and optimisers of one run; `training_state()` is all of it.

    Args:
        config: the run.
        samples: the training data [N, k], which set the number of outputs and, with `rescale`, their range.
        device: where everything is computed.
        make_sampler: what makes a device's or a noisy simulator's sampler of its name.

    Raises:
        ValueError: an option of the circuit or the sampler out of range, or more columns than qubits.
    """

    center: Tensor
    scale: Tensor
    fixed_latents: Tensor

    def __init__(
        self,
        config: WassersteinConfig,
        samples: Tensor,
        device: torch.device,
        make_sampler: MakeSampler = make_sampler,
    ) -> None:
        super().__init__()
        seed_everything(config.seed)
        n_columns = samples.shape[1]
        if n_columns > config.n_qubits:
            raise ValueError(
                f"n_qubits must be at least {n_columns}, one for each column, got {config.n_qubits}"
            )
        self.config, self.device = config, device
        self._rng = np.random.default_rng(config.seed)
        self._sampler = open_sampler(config.sampler, make_sampler, self._rng)
        low, high = samples.min(0).values, samples.max(0).values
        if config.rescale and not (low < high).all():
            raise ValueError(f"a column of {config.target} is constant and cannot be rescaled")
        identity = torch.zeros(n_columns), torch.ones(n_columns)
        center, scale = (
            ((low + high) / 2, (high - low) / 2 / _FILLED) if config.rescale else identity
        )
        self.register_buffer("center", center.double())  # data may be far from 0 and close together
        self.register_buffer("scale", scale.double())
        circuit = QuantumLayer(
            make_ansatz(config.ansatz, config.n_qubits, config.n_layers),
            uploads=config.uploads,
            qubits=range(n_columns),
        )
        self.generator = nn.Sequential(nn.Linear(config.latent_dim, config.n_qubits), circuit)
        bounds = torch.tensor([[-1.0, 1.0]] * n_columns)  # of the outputs
        self.critic = PointMLP(bounds, (config.critic_width, config.critic_width))
        self.average = EMA(self.generator, config.ema_decay)
        self.register_buffer("fixed_latents", torch.randn(FIXED_LATENTS, config.latent_dim))
        self.to(device)
        # beta_1 = 0 as in Gulrajani et al.
        self.optimizer_g = torch.optim.Adam(self.generator.parameters(), config.lr, (0.0, 0.9))
        self.optimizer_d = torch.optim.Adam(self.critic.parameters(), config.lr, (0.0, 0.9))
        self.epoch = self.step = 0
        if config.sampler == EXACT or config.switch_at:  # a batch tells whether the memory will do
            with torch.no_grad():
                self.generator(
                    torch.zeros(
                        config.n_critic * config.batch_size, config.latent_dim, device=device
                    )
                )
        circuit.use(
            self._sampler, config.shots, config.gradient, self._rng
        )  # refuses bad options before any training
        self.choose_engine()

    def choose_engine(self) -> None:
        """Draw from the sampler if the steps on the exact engine are over, else from the exact engine."""
        config = self.config
        for network in (self.generator, self.average.module):
            circuit = network.get_submodule("1")
            assert isinstance(circuit, QuantumLayer)
            if self.step >= (config.switch_at or 0):
                circuit.use(self._sampler, config.shots, config.gradient, self._rng)
            else:
                circuit.use(EXACT, seed=self._rng)

    @torch.no_grad()
    def draw(self, latents: Tensor) -> Tensor:
        """Noise [n, latent_dim] to samples float64 [n, k] in the data's units, on the CPU, by the averaged generator."""
        outputs = torch.cat(
            [self.average(part) for part in latents.split(1000)]
        )  # (n, k) in [-1, 1]
        return (self.center + self.scale * outputs.double()).cpu()

    def generate(self, n: int) -> Tensor:
        """n samples float64 [n, k] in the data's units, on the CPU."""
        return self.draw(self.noise(n))

    def noise(self, n: int) -> Tensor:
        return torch.randn(n, self.config.latent_dim, device=self.device)

    def training_state(self) -> dict[str, Any]:
        """All that `train` needs to go on as if it had never stopped, for `torch.save`."""
        return training_state(self)

    def load_training_state(self, state: dict[str, Any]) -> None:
        """Put back what `training_state` gave, torch's global random state included."""
        load_training_state(self, state)
        self.choose_engine()


def train(gan: WassersteinGAN, samples: Tensor) -> Iterator[StepRecord | EpochRecord]:
    """Train to `config.epochs` on samples [N, k] in the data's units, from where the gan stands.

    Yields a record after each generator step, and one after each epoch, when the gan can be saved.

    Raises:
        TrainingCollapsed: a loss is not finite.
    """
    config, critic = gan.config, gan.critic
    data = (
        (samples.to(gan.center) - gan.center) / gan.scale
    ).float()  # (N, k) in the outputs' range
    while gan.epoch < config.epochs:
        sums = torch.zeros(3, dtype=torch.float64)
        for _ in range(config.steps_per_epoch):
            if gan.step == config.switch_at:
                gan.choose_engine()
            gan.step += 1

            # generate: nothing moves the generator during the critic's steps, so their batches are one job
            with torch.no_grad():
                fakes = gan.generator(
                    gan.noise(config.n_critic * config.batch_size)
                )  # (n_critic * B, k)

            # update D
            for fake in fakes.split(config.batch_size):
                real = data[torch.randint(len(data), (len(fake),), device=gan.device)]  # (B, k)
                mix = torch.rand(len(fake), device=gan.device)  # (B,)
                loss_d = losses.wasserstein_critic_loss(critic(real), critic(fake))
                penalty = losses.gradient_penalty(
                    critic, real, fake, mix, config.penalty == "one-sided"
                )
                gan.optimizer_d.zero_grad(set_to_none=True)
                (loss_d + config.penalty_weight * penalty).backward()
                gan.optimizer_d.step()

            # update G
            critic.requires_grad_(False)
            fake = gan.generator(gan.noise(config.batch_size))  # (B, k)
            loss_g = losses.wasserstein_generator_loss(critic(fake))
            gan.optimizer_g.zero_grad(set_to_none=True)
            loss_g.backward()
            gan.optimizer_g.step()
            critic.requires_grad_(True)
            gan.average.update(gan.generator)

            values = torch.stack((loss_d, loss_g, penalty)).detach().double().cpu()
            if not values.isfinite().all():
                raise TrainingCollapsed(
                    f"the losses are not finite at step {gan.step}: {values.tolist()}"
                )
            sums += values
            yield StepRecord(gan.epoch + 1, gan.step, *values.tolist())
        gan.epoch += 1
        scores = column_scores(gan.draw(gan.fixed_latents), samples)
        loss, loss_of_g, mean_penalty = (sums / config.steps_per_epoch).tolist()
        moments = scores["mean"], scores["std"], scores["w1"]
        yield EpochRecord(gan.epoch, gan.step, loss, loss_of_g, mean_penalty, *moments)


def column_scores(generated: Tensor, real: Tensor) -> dict[str, list[float]]:
    """Of each column of samples [n, k] beside real ones [m, k]: `mean`, `std`, Wasserstein-1 distance `w1`, and `ks`.

    `w1` is in the data's units; `ks`, the Kolmogorov-Smirnov statistic, is the largest difference of the distribution
    functions.
    """
    pairs = list(zip(generated.numpy().T, real.numpy().T, strict=True))
    return {
        "mean": generated.mean(0).tolist(),
        "std": generated.std(0).tolist(),
        "w1": [float(wasserstein_distance(*pair)) for pair in pairs],
        "ks": [float(ks_2samp(*pair).statistic) for pair in pairs],
    }
