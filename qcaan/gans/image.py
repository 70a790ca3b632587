"""The image QGAN: what a circuit measures becomes a picture through a small classical decoder, against a discriminator.

noise => circuit => Pauli-Z expectations => decoder => picture. As published the circuit has no noise, so there is but one
picture; here it can have noise as angles, as amplitudes or from the shots.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from qiskit.primitives import BaseSamplerV2
from torch import Tensor, nn

from qcaan import losses
from qcaan.checks import check_seed
from qcaan.circuits.ansatz import make_ansatz
from qcaan.circuits.born import EXACT, open_sampler
from qcaan.gans.image_networks import (
    CIRCUITS,
    DECODERS,
    DISCRIMINATORS,
    NOISES,
    QUANTUM_DISCRIMINATORS,
    QuantumGenerator,
    make_decoder,
    make_discriminator,
)
from qcaan.optimizers import DecayingAdam
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

LOSSES = ("bce", "wgan-gp")
FIXED_NOISE = 64


@dataclass(frozen=True)
class ImageConfig(Budget):
    """A run of the image QGAN: everything that decides its numbers. The defaults are the preset `tuned`."""

    digits: tuple[int, ...] = (3, 7, 9)
    """Classes to learn, by their labels."""
    data: str = "auto"
    """auto, mnist, fashion-mnist, cifar10, digits8x8, an .npz file or a folder of class folders."""
    data_root: Path | None = None
    """Where data sets lie or are downloaded to; default $QCAAN_DATA, else a user cache folder."""
    seed: int = 1
    """Of weights, batches, angles, noise and shots."""
    device: str = "auto"
    """auto (CUDA if present), cpu, cuda, cuda:N."""

    epochs: int = 20
    """Blocks of steps, each ended by a record, a picture and a checkpoint."""
    steps_per_epoch: int | None = None
    """Generator steps in an epoch; default: one pass over the images, but at least 140 steps."""
    batch_size: int = 128
    """Images in a batch."""
    loss: str = "bce"
    """bce (binary cross-entropy) or wgan-gp (Wasserstein loss with a gradient penalty)."""
    penalty_weight: float = 10.0
    """Of the gradient penalty."""
    n_critic: int = 1
    """Discriminator steps to a generator step."""
    lr: float = 1e-3
    """Adam's learning rate at the start, both networks."""
    lr_half_steps: int | None = 1000
    """Steps after which the learning rate is halved: lr / (1 + step / this); None for a constant one."""
    beta_1: float = 0.5
    """Adam's; 0.5 as in DCGAN, 0.9 is its default and the published one."""
    ema_decay: float = 0.995
    """Of the averaged generator, which draws the pictures; 0 for none."""

    noise: str = "angles"
    """none (one picture, as published), angles (one for each qubit), amplitudes (2**n_qubits of them) or shots."""
    n_qubits: int = 8
    """Qubits of the generator; all are measured."""
    n_layers: int = 2
    """Layers of its ansatz, and of the ansatz of a quantum discriminator."""
    ansatz: str = "hardware-efficient"
    """hardware-efficient (RX, RY, RZ and a CX chain, a last RY), ry-rx, ion-trap or seed."""
    uploads: int = 1
    """Times that the angles are embedded, each followed by the ansatz (data re-uploading)."""
    circuit: str = "trained"
    """trained, frozen (random angles that stay) or none (the decoder sees the noise): controls of what the circuit does."""
    theta_noise: float = 0.0
    """Standard deviation, in radians, of a Gaussian perturbation of the circuit's angles at each step, a regulariser."""
    sampler: str = "exact"
    """exact (our engine, without shots gradients by backprop), or a name of a sampler."""
    shots: int = 0
    """Shots per picture; 0 for exact expectations, where the sampler has them."""
    gradient: str | None = None
    """backprop, parameter-shift or finite-difference (not of shots); default the first that the sampler can do."""
    gradient_draws: int = 1
    """Draws of shots for the same noise over which the generator's gradient is averaged."""
    switch_at: int | None = None
    """Generator steps on the exact engine, without shots unless they are the noise, before the sampler takes over."""

    decoder: str = "convolutional"
    """dense (Linear, ReLU, Linear, sigmoid, as published) or convolutional (DCGAN's transposed convolutions)."""
    discriminator: str = "dcgan"
    """cnn (the published one), dcgan, quantum (a small convolutional front and a circuit) or qcnn (a quantum convolutional
    network behind that front)."""
    width: int = 48
    """Width of a dense decoder's hidden layer; channels of DCGAN's finest feature map."""
    discriminator_qubits: int = 4
    """Of quantum and qcnn."""

    def __post_init__(self) -> None:
        super().__post_init__()
        allowed = {
            "loss": LOSSES,
            "noise": NOISES,
            "circuit": CIRCUITS,
            "decoder": DECODERS,
            "discriminator": DISCRIMINATORS,
        }
        for name, values in allowed.items():
            if getattr(self, name) not in values:
                raise ValueError(
                    f"unknown {name} {getattr(self, name)!r}; choose from {', '.join(values)}"
                )
        for name in (
            "epochs", "steps_per_epoch", "n_critic", "lr_half_steps", "n_qubits", "gradient_draws", "width",
            "discriminator_qubits",
        ):  # fmt: skip
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        if self.batch_size < 2:  # batch normalisation needs two
            raise ValueError(f"batch_size must be at least 2, got {self.batch_size}")
        if not 0 < self.lr < 1:
            raise ValueError(f"lr must be between 0 and 1, got {self.lr}")
        for name in ("beta_1", "ema_decay"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must be from 0 to below 1, got {getattr(self, name)}")
        for name in ("penalty_weight", "theta_noise", "shots"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}")
        check_seed(self.seed)
        if self.noise == "shots" and not self.shots:
            raise ValueError(
                "noise shots needs --shots of at least 1, from which the expectations are estimated"
            )
        if self.noise == "none" and self.shots:
            raise ValueError(f"noise none is the exact circuit; {self.shots} shots are noise shots")
        if self.circuit == "none" and self.noise not in ("angles", "amplitudes"):
            raise ValueError(
                f"circuit none hands the noise to the decoder, and noise {self.noise} hands it nothing"
            )
        if self.circuit == "none" and (self.sampler != EXACT or self.shots):
            raise ValueError(
                f"circuit none has nothing to run on sampler {self.sampler!r} or with {self.shots} shots"
            )
        of_circuits = self.theta_noise, self.uploads > 1, self.gradient, self.switch_at is not None
        if self.circuit == "none" and any(of_circuits):
            raise ValueError("circuit none has no angles, uploads, gradient or switch_at to set")
        if self.circuit == "frozen" and self.theta_noise:
            raise ValueError(
                f"circuit frozen keeps its angles, and theta_noise {self.theta_noise} would move them"
            )
        if self.gradient_draws > 1 and not self.shots:
            raise ValueError(
                "gradient_draws averages over draws of shots; without --shots they are all the same"
            )

    def resolved(self, n_images: int) -> ImageConfig:
        """The configuration with the default that depends on the number of training images filled in."""
        steps = self.steps_per_epoch or max(n_images // self.batch_size, 140)
        differs = self.sampler != EXACT or (self.shots > 0 and self.noise != "shots")
        differs |= self.gradient not in (None, "backprop")
        check_switch(self.switch_at, self.epochs * steps, differs)
        return replace(self, steps_per_epoch=steps)


PRESETS = {
    "tuned": ImageConfig(),
    # as published: its generator ignores z, so it draws one picture
    "published": ImageConfig(
        epochs=50, batch_size=64, lr_half_steps=None, beta_1=0.9, ema_decay=0.0, noise="none", n_qubits=4, decoder="dense",
        width=128, discriminator="cnn",
    ),
}  # fmt: skip


@dataclass(frozen=True)
class StepRecord:
    """One generator step, with the last of its discriminator steps. Losses without the penalty, in nats for bce."""

    epoch: int
    step: int
    loss_d: float
    loss_g: float


@dataclass(frozen=True)
class EpochRecord:
    """Means of an epoch's steps."""

    epoch: int
    step: int
    loss_d: float
    loss_g: float


class ImageGAN(nn.Module):
    """The networks, their average and their optimisers of one run; `training_state()` is all of it.

    Args:
        config: the run.
        image_shape: (C, H, W) of the pictures, 28x28 or 32x32.
        device: where everything is computed.
        make_sampler: what makes a device's or a simulator's sampler of its name.

    Raises:
        ValueError: an option of a circuit or the sampler out of range.
    """

    fixed_noise: Tensor

    def __init__(
        self,
        config: ImageConfig,
        image_shape: tuple[int, int, int],
        device: torch.device,
        make_sampler: MakeSampler = make_sampler,
    ) -> None:
        super().__init__()
        seed_everything(config.seed)
        self.config, self.device = config, device
        self._rng = np.random.default_rng(config.seed)
        self._sampler = open_sampler(config.sampler, make_sampler, self._rng)
        ansatz = make_ansatz(config.ansatz, config.n_qubits, config.n_layers)
        n_features = (
            2**config.n_qubits
            if config.circuit == "none" and config.noise == "amplitudes"
            else config.n_qubits
        )
        # a circuit's expectations differ little from one noise to another, those from shots by 1 / sqrt(shots); where all
        # are the same, normalisation would give zeros
        normalised = config.decoder == "convolutional" and config.noise != "none"
        decoder = make_decoder(config.decoder, n_features, image_shape, config.width, normalised)
        self.generator = QuantumGenerator(
            ansatz, config.noise, config.uploads, config.circuit, decoder, config.theta_noise
        )
        self.discriminator = make_discriminator(
            config.discriminator,
            image_shape,
            config.width,
            config.discriminator_qubits,
            config.n_layers,
        )
        self.average = EMA(self.generator, config.ema_decay)
        self.register_buffer("fixed_noise", self.generator.make_noise(FIXED_NOISE))
        self.to(device)
        trained = [weight for weight in self.generator.parameters() if weight.requires_grad]
        half_steps = config.lr_half_steps or math.inf
        adam = partial(
            DecayingAdam,
            lr=config.lr,
            betas=(config.beta_1, 0.999),
            half_steps=half_steps,
            n_steps=1,
        )
        self.optimizer_g, self.optimizer_d = adam(trained), adam(self.discriminator.parameters())
        self.epoch = self.step = 0
        with torch.no_grad():  # one batch on the exact engine tells whether the memory will do
            if self.generator.circuit is not None and (config.sampler == EXACT or config.switch_at):
                rows = config.batch_size * max(config.gradient_draws, config.n_critic - 1)
                self.generator.features(torch.ones(rows, self.generator.noise_dim, device=device))
            if config.discriminator in QUANTUM_DISCRIMINATORS:
                self.discriminator(torch.zeros(config.batch_size, *image_shape, device=device))
        self._use(
            self._sampler, config.shots, config.gradient
        )  # refuses bad options before any training
        self.choose_engine()

    def _use(self, sampler: str | BaseSamplerV2, shots: int, gradient: str | None) -> None:
        for network in (self.generator, self.average.module):
            assert isinstance(network, QuantumGenerator)
            if network.circuit is not None:
                network.circuit.use(sampler, shots, gradient, self._rng)

    def choose_engine(self) -> None:
        """Draw from the sampler if the steps on the exact engine are over, else from the exact engine."""
        config = self.config
        if self.step >= (config.switch_at or 0):
            self._use(self._sampler, config.shots, config.gradient)
        else:  # without shots, unless they are the noise
            self._use(EXACT, config.shots if config.noise == "shots" else 0, None)

    @torch.no_grad()
    def draw(self, noise: Tensor) -> Tensor:
        """Noise [n, noise_dim] to images [n, C, H, W] in [-1, 1] on the CPU, by the averaged generator.

        Equal features give equal images: another place in a batch would change their last digits.
        """
        return self._drawn(noise)[0]

    def _drawn(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Images, and the features [n, n_features] that the decoder saw."""
        network, n = self.average.module, self.config.batch_size
        assert isinstance(network, QuantumGenerator)
        features = torch.cat([network.features(part) for part in noise.split(n)])
        different, place = features.unique(dim=0, return_inverse=True)
        images = torch.cat([network.decoder(part).cpu() for part in different.split(n)])
        return images[place.cpu()], features

    @property
    def drawn_from(self) -> str:
        """What `generate` gives beside the images: `noise`, or `expectations` where the shots are the noise."""
        return "expectations" if self.config.noise == "shots" else "noise"

    @torch.no_grad()
    def generate(self, n: int) -> tuple[Tensor, Tensor]:
        """n images [n, C, H, W] in [-1, 1] and what they were drawn from, on the CPU: noise [n, noise_dim], or the
        expectations [n, n_qubits] that were measured."""
        noise = self.generator.make_noise(n)
        images, features = self._drawn(noise)
        return images, (features if self.drawn_from == "expectations" else noise).cpu()

    def reseed(self, seed: int) -> None:
        """Draw by `seed` from now on."""
        torch.manual_seed(seed)
        self._rng.bit_generator.state = np.random.default_rng(seed).bit_generator.state

    def training_state(self) -> dict[str, Any]:
        """All that `train` needs to go on as if it had never stopped, for `torch.save`."""
        return training_state(self)

    def load_training_state(self, state: dict[str, Any]) -> None:
        """Put back what `training_state` gave, torch's global random state included."""
        load_training_state(self, state)
        self.choose_engine()


def train(gan: ImageGAN, images: Tensor) -> Iterator[StepRecord | EpochRecord]:
    """Train to `config.epochs` on `images` [N, C, H, W] in [-1, 1] on the gan's device, from where it stands.

    Yields a record after each generator step, and one after each epoch, when the gan can be saved.

    Raises:
        TrainingCollapsed: a loss is not finite.
    """
    config, generator, discriminator = gan.config, gan.generator, gan.discriminator
    assert config.steps_per_epoch is not None, "use config.resolved()"
    adversarial = config.loss == "bce"
    loss_of_d = losses.discriminator_loss if adversarial else losses.wasserstein_critic_loss
    loss_of_g = losses.generator_loss if adversarial else losses.wasserstein_generator_loss
    n = config.batch_size

    while gan.epoch < config.epochs:
        gan.train()
        sums = torch.zeros(2, dtype=torch.float64)
        for _ in range(config.steps_per_epoch):
            if gan.step == config.switch_at:
                gan.choose_engine()
            gan.step += 1

            # generate: the last of the discriminator's batches, drawn gradient_draws times, is the generator's too
            noise = generator.make_noise(n * config.n_critic)  # (n_critic * B, noise_dim)
            with torch.no_grad():
                earlier = generator(noise[n:]).split(n) if config.n_critic > 1 else ()
            fakes = generator(
                noise[:n].repeat(config.gradient_draws, 1)
            )  # (gradient_draws * B, C, H, W)

            # update D
            for fake in (*earlier, fakes[:n].detach()):
                real = images[
                    torch.randint(len(images), (n,), device=images.device)
                ]  # (B, C, H, W)
                loss_d = loss_of_d(discriminator(real), discriminator(fake))
                total = loss_d
                if not adversarial:
                    mix = torch.rand(n, device=gan.device)  # (B,)
                    total = loss_d + config.penalty_weight * losses.gradient_penalty(
                        discriminator, real, fake, mix
                    )
                gan.optimizer_d.zero_grad(set_to_none=True)
                total.backward()
                gan.optimizer_d.step()

            # update G
            discriminator.requires_grad_(False)
            loss_g = loss_of_g(discriminator(fakes))
            gan.optimizer_g.zero_grad(set_to_none=True)
            loss_g.backward()
            gan.optimizer_g.step()
            discriminator.requires_grad_(True)
            gan.average.update(generator)

            values = torch.stack((loss_d, loss_g)).detach().double().cpu()
            if not values.isfinite().all():
                raise TrainingCollapsed(
                    f"a loss is not finite at step {gan.step}; a smaller --lr may help"
                )
            sums += values
            yield StepRecord(gan.epoch + 1, gan.step, *values.tolist())
        gan.epoch += 1
        yield EpochRecord(gan.epoch, gan.step, *(sums / config.steps_per_epoch).tolist())
