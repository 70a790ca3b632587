"""Hybrid WGAN-GP QGAN: a circuit draws samples of a few real numbers, against a classical critic.

z -> Linear -> angle embedding -> trained circuit -> Pauli-Z expectations in [-1, 1]. The critic is
an MLP, trained as a Wasserstein GAN with gradient penalty (Gulrajani et al., arXiv:1704.00028).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from qcaan import losses, training
from qcaan.checks import as_tensor
from qcaan.circuits.ansatz import make_ansatz
from qcaan.circuits.layers import QuantumLayer
from qcaan.gans.wasserstein.config import WassersteinConfig
from qcaan.metrics.samples import column_scores
from qcaan.networks import PointMLP
from qcaan.randomness import RandomState, isolated
from qcaan.samplers.names import EXACT, MakeSampler, open_engine
from qcaan.training import (
    EMA,
    finite_values,
    load_training_state,
    pick_device,
    reseed,
    training_state,
)

# number of latents whose samples the log follows
FIXED_LATENTS = 4000
# share of the outputs' range that rescaled data cover; at the ends of the range the outputs of a
# circuit hardly move
_COVERED = 0.9


@dataclass(frozen=True)
class StepRecord(training.StepRecord):
    """Record of one generator step, with the last critic step before it.

    Attributes:
        penalty: gradient penalty of the critic, without its weight; `loss_d` is without it.
    """

    penalty: float


@dataclass(frozen=True)
class EpochRecord(training.EpochRecord):
    """Record of one epoch: the means of its steps, and scores of the averaged generator.

    Attributes:
        penalty: mean gradient penalty, without its weight.
        mean, std, w1: mean, standard deviation and Wasserstein-1 distance to the training samples
            of each column of the samples of the fixed latents, in the data's units.
    """

    penalty: float
    mean: list[float]
    std: list[float]
    w1: list[float]


class WassersteinGAN(nn.Module):
    """The generator, its average, the critic and their optimisers of one run.

    Args:
        config: configuration of the run.
        samples: training samples [N, k], or any rows with the same least and greatest values: only
            the number of columns and, with `rescale`, the range of each column are used.
        device: device of the networks.
        make_sampler: maker of the samplers by name; default a new one, without a journal.

    Attributes:
        random: torch's random state of the weights, the noise and the batches.
        generator, critic: the networks; outputs of the generator are in [-1, 1].
        average: the averaged generator, which draws the samples.
        centre, scale: a sample is centre + scale * output, each [k].
        epoch, step: numbers of finished epochs and steps.

    Raises:
        ValueError: an option of the circuit or the sampler is out of range, there are more columns
            than qubits, or a column that is to be rescaled is constant.
    """

    centre: Tensor
    scale: Tensor
    fixed_latents: Tensor

    def __init__(
        self,
        config: WassersteinConfig,
        samples: Tensor | ArrayLike,
        device: torch.device | str = "cpu",
        *,
        make_sampler: MakeSampler | None = None,
    ) -> None:
        super().__init__()
        samples = as_tensor("samples", samples).double()
        n_columns = samples.shape[1]
        if n_columns > config.n_qubits:
            raise ValueError(
                f"`n_qubits` must be at least {n_columns}, one for each column of the data, "
                f"got {config.n_qubits}"
            )
        self.config = config
        self.device = pick_device(str(device))
        self.random = RandomState(config.seed)
        self._rng = np.random.default_rng(config.seed)
        n_qubits = config.n_qubits
        self._engine = open_engine(config.sampler, self._rng, make_sampler, n_qubits=n_qubits)
        centre, scale = samples.new_zeros(n_columns), samples.new_ones(n_columns)
        if config.rescale:
            low, high = samples.min(0).values, samples.max(0).values
            if not (low < high).all():
                raise ValueError(f"a column of {config.data} is constant and cannot be rescaled")
            centre, scale = low / 2 + high / 2, (high / 2 - low / 2) / _COVERED
        # float64, since data may lie far from 0 and close together
        self.register_buffer("centre", centre)
        self.register_buffer("scale", scale)
        with isolated(self.random):
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
        self.to(self.device)
        # beta_1 = 0 as in Gulrajani et al.
        self.optimizer_g = torch.optim.Adam(self.generator.parameters(), config.lr, (0.0, 0.9))
        self.optimizer_d = torch.optim.Adam(self.critic.parameters(), config.lr, (0.0, 0.9))
        self.epoch = self.step = 0
        if config.sampler == EXACT or config.switch_after_epochs:
            # one batch on the exact engine shows whether the memory is enough
            rows = config.n_critic * config.batch_size
            with torch.no_grad():
                self.generator(self.fixed_latents[:1].expand(rows, -1))
        # the engine of the end first, so that bad options are refused before any training
        self._use_sampler()
        self.choose_engine()

    def choose_engine(self) -> None:
        """Use the sampler if the epochs on the exact engine are over, else the exact engine."""
        if self.epoch >= (self.config.switch_after_epochs or 0):
            self._use_sampler()
            return
        for circuit in self._circuits():
            circuit.use(EXACT, seed=self._rng)

    def _use_sampler(self) -> None:
        shots, gradient = self.config.shots, self.config.gradient
        for circuit in self._circuits():
            circuit.use(self._engine, shots=shots, gradient=gradient, seed=self._rng)

    def _circuits(self) -> Iterator[QuantumLayer]:
        """Yield the circuits of the generator and of its average."""
        for network in (self.generator, self.average.module):
            circuit = network.get_submodule("1")
            assert isinstance(circuit, QuantumLayer)
            yield circuit

    @torch.no_grad()
    def draw(self, latents: Tensor) -> Tensor:
        """Draw samples float64 [n, k] in the data's units for noise [n, latent_dim], on the CPU.

        The averaged generator draws. On a device, the draws are jobs that may be paid for.
        """
        # each (1000, k) in [-1, 1]
        outputs = [self.average(part) for part in latents.float().split(1000)]
        return (self.centre + self.scale * torch.cat(outputs).double()).cpu()

    def generate(self, n: int) -> Tensor:
        """Draw n samples float64 [n, k] in the data's units from new noise, on the CPU.

        On a device, the draws are jobs that may be paid for.
        """
        return self.draw(self.noise(n))

    def noise(self, n: int) -> Tensor:
        """Draw noise [n, latent_dim] from N(0, 1), on the device of the networks."""
        return self.random.normal(n, self.config.latent_dim, device=self.device)

    def reseed(self, seed: int) -> None:
        """Seed all draws from now on."""
        self.random.reseed(seed)
        reseed(self._rng, seed)

    def training_state(self) -> dict[str, Any]:
        """Return all that `train` needs to continue as if it had never stopped."""
        return training_state(self)

    def load_training_state(self, state: dict[str, Any]) -> None:
        """Restore the state that `training_state` returned, random state included."""
        load_training_state(self, state)
        self.choose_engine()


def train(gan: WassersteinGAN, samples: Tensor | ArrayLike) -> Iterator[StepRecord | EpochRecord]:
    """Train to `config.epochs` on samples [N, k] in the data's units.

    Training starts from the gan's state. Batches are drawn with replacement. A record is yielded
    after each generator step, and one after each epoch, when the gan can be saved. On a device,
    each step submits jobs that may be paid for.

    Raises:
        TrainingCollapsed: a loss is not finite.
    """
    config, critic, n = gan.config, gan.critic, gan.config.batch_size
    samples = as_tensor("samples", samples)
    data = ((samples.to(gan.centre) - gan.centre) / gan.scale).float()  # (N, k) in [-1, 1]

    while gan.epoch < config.epochs:
        if gan.epoch == config.switch_after_epochs:
            gan.choose_engine()
        sums = torch.zeros(3, dtype=torch.float64, device="cpu")
        for _ in range(config.steps_per_epoch):
            gan.step += 1

            # sample
            latents = gan.noise(config.n_critic * n)  # (n_critic * B, latent_dim)

            # generate: the generator stays during the critic's steps, so their batches are one job
            with torch.no_grad():
                fakes = gan.generator(latents)  # (n_critic * B, k)

            # update D
            for fake in fakes.split(n):  # (B, k)
                real = data[gan.random.whole(len(data), n, device=gan.device)]  # (B, k)
                mix = gan.random.uniform(n, device=gan.device)  # (B,)
                loss_d = losses.wasserstein_critic_loss(critic(real), critic(fake))
                penalty = losses.gradient_penalty(
                    critic, real, fake, mix, one_sided=config.penalty == "one-sided"
                )
                gan.optimizer_d.zero_grad(set_to_none=True)
                (loss_d + config.penalty_weight * penalty).backward()
                gan.optimizer_d.step()

            # update G
            critic.requires_grad_(False)
            fake = gan.generator(gan.noise(n))  # (B, k)
            loss_g = losses.wasserstein_generator_loss(critic(fake))
            gan.optimizer_g.zero_grad(set_to_none=True)
            loss_g.backward()
            gan.optimizer_g.step()
            critic.requires_grad_(True)
            gan.average.update(gan.generator)

            values = finite_values((loss_d, loss_g, penalty), gan.step)
            sums += values
            yield StepRecord(gan.epoch + 1, gan.step, *values.tolist())

        gan.epoch += 1
        scores = column_scores(gan.draw(gan.fixed_latents), samples)
        mean_d, mean_g, mean_penalty = (sums / config.steps_per_epoch).tolist()
        moments = scores["mean"], scores["std"], scores["w1"]
        yield EpochRecord(gan.epoch, gan.step, mean_d, mean_g, mean_penalty, *moments)
