"""Image QGAN: a small classical decoder draws pictures from what a circuit measures.

noise -> circuit -> Pauli-Z expectations -> decoder -> picture, against a discriminator. As
published, the circuit has no noise and there is only one picture. Here the noise can be angles,
amplitudes or the noise of the shots.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from qcaan import losses
from qcaan.circuits.ansatz import make_ansatz
from qcaan.circuits.layers import Gradient
from qcaan.gans.image.config import ImageConfig
from qcaan.gans.image.networks import (
    QUANTUM_DISCRIMINATORS,
    QuantumGenerator,
    make_decoder,
    make_discriminator,
)
from qcaan.randomness import RandomState, isolated
from qcaan.samplers.names import EXACT, EngineLike, MakeSampler, open_engine
from qcaan.training import (
    EMA,
    DecayingAdam,
    EpochRecord,
    StepRecord,
    finite_values,
    load_training_state,
    pick_device,
    reseed,
    training_state,
)

# number of generator inputs whose pictures the progress GIF follows
FIXED_NOISE = 64


class ImageGAN(nn.Module):
    """The networks, the averaged generator and the optimisers of one run.

    Args:
        config: configuration of the run, with its defaults filled in by `resolved`.
        image_shape: shape (C, H, W) of the images, 28x28 or 32x32.
        device: device of the networks.
        make_sampler: maker of the samplers by name; default a new one, without a journal.

    Attributes:
        random: torch's random state of the weights, the noise and the batches.
        generator, discriminator: the networks.
        average: the averaged generator, which draws the pictures.
        fixed_noise: the inputs [64, noise_dim] whose pictures the progress GIF follows.
        epoch, step: numbers of finished epochs and steps.

    Raises:
        ValueError: an option of a circuit or of the sampler is out of range.
    """

    fixed_noise: Tensor

    def __init__(
        self,
        config: ImageConfig,
        image_shape: tuple[int, int, int],
        device: torch.device | str = "cpu",
        *,
        make_sampler: MakeSampler | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        self.device = pick_device(str(device))
        self.random = RandomState(config.seed)
        self._rng = np.random.default_rng(config.seed)
        n_qubits = config.n_qubits
        self._engine = open_engine(config.sampler, self._rng, make_sampler, n_qubits=n_qubits)
        ansatz = make_ansatz(config.ansatz, config.n_qubits, config.n_layers)
        sees_amplitudes = config.circuit == "none" and config.noise == "amplitudes"
        with isolated(self.random):
            decoder = make_decoder(
                config.decoder,
                2**config.n_qubits if sees_amplitudes else config.n_qubits,
                image_shape,
                width=config.width,
                # Expectations differ little from one noise to another, those from shots by
                # 1 / sqrt(shots). If all are the same, normalisation would return zeros.
                normalised=config.decoder == "convolutional" and config.noise != "none",
            )
            self.generator = QuantumGenerator(
                ansatz,
                decoder,
                noise=config.noise,
                uploads=config.uploads,
                circuit=config.circuit,
                theta_noise=config.theta_noise,
                random=self.random,
            )
            self.discriminator = make_discriminator(
                config.discriminator,
                image_shape,
                width=config.width,
                n_qubits=config.discriminator_qubits,
                n_layers=config.n_layers,
            )
            self.average = EMA(self.generator, config.ema_decay)
            self.register_buffer("fixed_noise", self.generator.make_noise(FIXED_NOISE))
        self.to(self.device)
        adam = partial(
            DecayingAdam,
            lr=config.lr,
            betas=(config.beta_1, 0.999),
            half_steps=config.lr_half_steps or math.inf,
            n_steps=1,
        )
        trained = [weight for weight in self.generator.parameters() if weight.requires_grad]
        self.optimizer_g = adam(trained)
        self.optimizer_d = adam(self.discriminator.parameters())
        self.epoch = self.step = 0
        self._try_memory(image_shape)
        # the engine of the end first, so that bad options are refused before any training
        self._use(self._engine, config.shots, config.gradient)
        self.choose_engine()

    @torch.no_grad()
    def _try_memory(self, image_shape: tuple[int, int, int]) -> None:
        """Compute one batch on the exact engine, which fails if the memory is not enough."""
        config = self.config
        starts_exact = config.sampler == EXACT or config.switch_after_epochs is not None
        if self.generator.circuit is not None and starts_exact:
            rows = config.batch_size * max(config.gradient_draws, config.n_critic - 1)
            self.generator.features(self.fixed_noise[:1].expand(rows, -1))
        if config.discriminator in QUANTUM_DISCRIMINATORS:
            images = self.fixed_noise.new_zeros(config.batch_size, *image_shape)
            self.discriminator(images)

    def choose_engine(self) -> None:
        """Use the sampler if the epochs on the exact engine are over, else the exact engine."""
        config = self.config
        if self.epoch >= (config.switch_after_epochs or 0):
            self._use(self._engine, config.shots, config.gradient)
        else:
            self._use(EXACT, config.shots if config.noise == "shots" else 0, None)

    def _use(self, engine: EngineLike, shots: int, gradient: Gradient | None) -> None:
        for network in (self.generator, self._averaged):
            if network.circuit is not None:
                network.circuit.use(engine, shots=shots, gradient=gradient, seed=self._rng)

    @property
    def _averaged(self) -> QuantumGenerator:
        network = self.average.module
        assert isinstance(network, QuantumGenerator)
        return network

    @torch.no_grad()
    def draw(self, noise: Tensor) -> Tensor:
        """Draw images [n, C, H, W] in [-1, 1] for noise [n, noise_dim], on the CPU.

        The averaged generator draws. On a device, the draws are jobs that may be paid for. Equal
        features give equal images: another place in a batch would change their last digits.
        """
        return self._drawn(noise)[0]

    def _drawn(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Return images, and the features [n, n_features] that the decoder saw."""
        network, n = self._averaged, self.config.batch_size
        features = torch.cat([network.features(part.float()) for part in noise.split(n)])
        different, place = features.unique(dim=0, return_inverse=True)
        images = torch.cat([network.decoder(part).cpu() for part in different.split(n)])
        return images[place.cpu()], features

    @property
    def drawn_from(self) -> str:
        """Name of what `generate` returns beside the images: noise, or expectations of shots."""
        return "expectations" if self.config.noise == "shots" else "noise"

    @torch.no_grad()
    def generate(self, n: int) -> tuple[Tensor, Tensor]:
        """Draw n images [n, C, H, W] in [-1, 1] from new noise.

        Returns the images, and the noise [n, noise_dim] or the measured expectations
        [n, n_qubits], all on the CPU. On a device, the draws are jobs that may be paid for.
        """
        noise = self.generator.make_noise(n)
        images, features = self._drawn(noise)
        return images, (features if self.drawn_from == "expectations" else noise).cpu()

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


def train(gan: ImageGAN, images: Tensor) -> Iterator[StepRecord | EpochRecord]:
    """Train to `config.epochs` on images [N, C, H, W] in [-1, 1] on the gan's device.

    Training starts from the gan's state. Batches are drawn with replacement. A record is yielded
    after each generator step, and one after each epoch, when the gan can be saved. On a device,
    each step submits jobs that may be paid for.

    Raises:
        TrainingCollapsed: a loss is not finite.
    """
    config, generator, discriminator = gan.config, gan.generator, gan.discriminator
    if config.steps_per_epoch is None:
        raise ValueError("`steps_per_epoch` is None; use the configuration's `resolved`")
    wasserstein = config.loss == "wgan-gp"
    loss_of_d = losses.wasserstein_critic_loss if wasserstein else losses.discriminator_loss
    loss_of_g = losses.wasserstein_generator_loss if wasserstein else losses.generator_loss
    n, n_critic = config.batch_size, config.n_critic

    while gan.epoch < config.epochs:
        if gan.epoch == config.switch_after_epochs:
            gan.choose_engine()
        gan.train()
        sums = torch.zeros(2, dtype=torch.float64, device="cpu")
        for _ in range(config.steps_per_epoch):
            gan.step += 1

            # sample: the discriminator's last batch is the generator's too, gradient_draws times
            noise = generator.make_noise(n_critic * n)  # (n_critic * B, noise_dim)
            shared = noise[:n].repeat(config.gradient_draws, 1)  # (gradient_draws * B, noise_dim)

            # generate
            with torch.no_grad():
                earlier = generator(noise[n:]).split(n) if n_critic > 1 else ()  # (B, C, H, W) each
            fakes = generator(shared)  # (gradient_draws * B, C, H, W)

            # update D
            for fake in (*earlier, fakes[:n].detach()):  # (B, C, H, W)
                chosen = gan.random.whole(len(images), n, device=images.device)
                real = images[chosen].float()  # (B, C, H, W)
                loss_d = loss_of_d(discriminator(real), discriminator(fake))
                penalised = loss_d
                if wasserstein:
                    mix = gan.random.uniform(n, device=gan.device)  # (B,)
                    penalty = losses.gradient_penalty(discriminator, real, fake, mix)
                    penalised = loss_d + config.penalty_weight * penalty
                gan.optimizer_d.zero_grad(set_to_none=True)
                penalised.backward()
                gan.optimizer_d.step()

            # update G
            discriminator.requires_grad_(False)
            loss_g = loss_of_g(discriminator(fakes))
            gan.optimizer_g.zero_grad(set_to_none=True)
            loss_g.backward()
            gan.optimizer_g.step()
            discriminator.requires_grad_(True)
            gan.average.update(generator)

            values = finite_values((loss_d, loss_g), gan.step)
            sums += values
            yield StepRecord(gan.epoch + 1, gan.step, *values.tolist())

        gan.epoch += 1
        yield EpochRecord(gan.epoch, gan.step, *(sums / config.steps_per_epoch).tolist())
