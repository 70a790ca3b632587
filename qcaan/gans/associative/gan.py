"""The QC-AAN: networks, optimisers and prior of a run, and its training."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from qcaan import losses, training
from qcaan.augment import AUGMENTATIONS
from qcaan.gans.associative.config import AssociativeConfig
from qcaan.networks import Discriminator, Generator
from qcaan.priors.make import make_prior
from qcaan.priors.report import FitReport
from qcaan.processes import ALONE, Processes
from qcaan.randomness import RandomState, isolated
from qcaan.samplers.names import MakeSampler
from qcaan.training import (
    EMA,
    DecayingAdam,
    StepRecord,
    TrainingCollapsed,
    finite_values,
    load_training_state,
    pick_device,
    training_state,
)

# number of generator inputs whose pictures the progress GIF follows
FIXED_LATENTS = 64
# nats: a lower mean discriminator loss of an epoch means that it tells all images apart
_LOST = 0.02


@dataclass(frozen=True)
class EpochRecord(training.EpochRecord):
    """Record of one epoch: the means of its steps, and the fit of the prior that ended it.

    Attributes:
        fit: report of the fit and of the bank drawn after it.
        bits: latent bits uint8 [N, n_bits] of the training images, which the prior was fitted to.
    """

    fit: FitReport
    bits: Tensor = field(repr=False, compare=False)


class AssociativeGAN(nn.Module):
    """The networks, their optimisers and the prior of one run.

    Args:
        config: configuration of the run, with its defaults filled in by `resolved`.
        image_shape: shape (C, H, W) of the images, 28x28 or 32x32.
        device: device of the networks.
        make_sampler: maker of the samplers by name; default a new one, without a journal.

    Attributes:
        prior: the prior.
        random: torch's random state of the weights and of all draws. A prior that has none of its
            own draws from it too; see `isolated`.
        generator, discriminator: the networks.
        average: the averaged generator, which draws the pictures.
        epoch, step: numbers of finished epochs and steps.

    Raises:
        ValueError: an option of the prior or of the networks is out of range.
    """

    fixed_latents: Tensor

    def __init__(
        self,
        config: AssociativeConfig,
        image_shape: tuple[int, int, int],
        device: torch.device | str = "cpu",
        *,
        make_sampler: MakeSampler | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        self.device = pick_device(str(device))
        self.random = RandomState(config.seed)
        with isolated(self.random):
            self.prior = make_prior(
                config,
                config,
                seed=config.seed,
                make_sampler=make_sampler,
                labels=config.digits,
            )
            self.generator = Generator(
                self.prior.latent_dim, image_shape, config.width, mix=self.prior.n_bases > 1
            )
            skip = config.latent != "bottleneck"
            self.discriminator = Discriminator(
                self.prior.dim, image_shape, config.width, skip=skip, refine=config.refine
            )
            self.average = EMA(self.generator)
            self.register_buffer("fixed_latents", torch.zeros(FIXED_LATENTS, self.prior.latent_dim))
        self.to(self.device)
        if self.device.type == "cpu":  # a step takes an eighth less time; not measured on CUDA
            self.to(memory_format=torch.channels_last)
        # beta_1 = 0.5 as in DCGAN: with 0.9 the two networks oscillate
        adam = partial(
            DecayingAdam,
            lr=config.lr,
            betas=(0.5, 0.999),
            half_steps=config.lr_half_steps,
            n_steps=1,
        )
        self.optimizer_g = adam(self.generator.parameters())
        self.optimizer_d = adam(self.discriminator.parameters())
        self.epoch = self.step = 0

    def isolated(self) -> isolated:
        """Return a context in which the prior draws from `random`, on the gan's device."""
        return isolated(self.random, self.device)

    @torch.no_grad()
    def latent_bits(self, images: Tensor, processes: Processes = ALONE) -> Tensor:
        """Return the bits {0, 1} [N, n] uint8 of the latent layer for images [N, C, H, W].

        With `prompt` they are those of the features that do not stand for the label. Each process
        computes its share of them.
        """
        own = processes.rows(images).split(1000)
        parts = torch.cat([self.discriminator.latent(part.float()) for part in own])
        # (N, n) in (-1, 1)
        features = processes.gathered(parts, len(images))[:, self.prior.code.n_bits :]
        if self.config.binarize == "median":
            return (features > features.median(0).values).to(torch.uint8)
        if self.config.binarize == "sign":
            return (features > 0).to(torch.uint8)
        uniform = self.random.uniform(*features.shape, device=features.device)
        return (uniform < (1 + features) / 2).to(torch.uint8)

    def prior_bits(
        self, images: Tensor, labels: Tensor | None = None, processes: Processes = ALONE
    ) -> Tensor:
        """Return the bits {0, 1} [N, dim] uint8 that the prior is fitted to.

        Args:
            images: images [N, C, H, W].
            labels: their labels [N], whose bits come first with `prompt`.
            processes: the processes of the training, which all call this.

        Raises:
            ValueError: `prompt` is set, and there are no labels.
        """
        label_bits = self.label_bits(labels, len(images))
        return torch.cat([label_bits, self.latent_bits(images, processes)], 1)

    def label_bits(self, labels: Tensor | None, n: int) -> Tensor:
        """Return the bits {0, 1} [n, label bits] uint8 of n labels; none without `prompt`.

        Raises:
            ValueError: the run learns labels, and `labels` is None.
        """
        if not self.prior.code.n_bits:
            return torch.empty(n, 0, dtype=torch.uint8, device=self.device)
        if labels is None:
            raise ValueError("`labels` of the images are needed for a run with `prompt`")
        return self.prior.code.bits(labels.to(self.device))

    @torch.no_grad()
    def draw(self, latents: Tensor) -> Tensor:
        """Draw images [n, C, H, W] in [-1, 1] for generator inputs [n, latent_dim], on the CPU.

        The averaged generator draws. Equal inputs give equal images: another place in a batch
        would change their last digits.

        Raises:
            ValueError: pixels are not finite.
        """
        different, place = latents.float().unique(dim=0, return_inverse=True)
        images = torch.cat([self.average(part).float().cpu() for part in different.split(500)])
        if not images.isfinite().all():
            raise ValueError("the generator draws pixels that are not finite")
        return images[place.cpu()]

    @torch.no_grad()
    def generate(self, n: int, label: int | None = None) -> tuple[Tensor, Tensor]:
        """Draw n images [n, C, H, W] in [-1, 1] from new samples of the prior.

        Returns the images and the samples [n, dim], both on the CPU. On a device, the samples that
        the prior's bank of shots does not hold are jobs that may be paid for.

        Args:
            n: number of images.
            label: label of all samples, for a run with `prompt`; see `Prior.draw`.
        """
        with self.isolated():
            samples = self.prior.draw(n, label)
            latents = self.embed(samples)
        return self.draw(latents), samples.cpu()

    def embed(self, samples: Tensor) -> Tensor:
        """Turn samples [n, dim] of the prior into inputs [n, latent_dim] of `draw`.

        They are drawn wider than in training, by `draw_spread`.
        """
        return self.prior.embed(samples, spread=self.config.draw_spread)

    def labels_of(self, samples: Tensor) -> Tensor | None:
        """Return the labels int64 [n] of samples [n, dim]; None without `prompt`."""
        code = self.prior.code
        return code.of(samples.long()) if code.labels else None

    @property
    def drawn_from(self) -> str:
        """Name of the second array that `generate` returns: bits, or latents without bits."""
        return "latents" if self.prior.n_bits is None else "bits"

    def reseed(self, seed: int) -> None:
        """Seed all draws from now on."""
        self.random.reseed(seed)
        self.prior.reseed(seed)

    def training_state(self) -> dict[str, Any]:
        """Return all that `train` needs to continue as if it had never stopped."""
        return training_state(self)

    def load_training_state(self, state: dict[str, Any]) -> None:
        """Restore the state that `training_state` returned, random state included."""
        load_training_state(self, state)


def train(
    gan: AssociativeGAN,
    images: Tensor,
    labels: Tensor | None = None,
    processes: Processes = ALONE,
) -> Iterator[StepRecord | EpochRecord]:
    """Train to `config.epochs` on images [N, C, H, W] in [-1, 1] on the gan's device.

    Training starts from the gan's state. Batches are drawn with replacement. A record is yielded
    after each step, and one after each epoch, when the gan can be saved. If the prior uses a
    device, each epoch submits jobs that may be paid for.

    With `prompt` the first features of the latent layer learn to tell the label of a real image,
    and the generator learns to draw the label that it is given (as in AC-GAN, Odena et al.,
    arXiv:1610.09585).

    Args:
        gan: networks and prior.
        images: training images.
        labels: their labels [N], for a gan with `prompt`.
        processes: the processes of the training. All have the same gan, images and labels; the
            first one fits the prior.

    Raises:
        ValueError: the gan's configuration lacks defaults that `resolved` fills in, labels are
            needed and there are none, or a batch cannot be shared by the processes.
        TrainingCollapsed: a loss is not finite, or the discriminator tells all images apart for a
            whole epoch.
    """
    config, prior = gan.config, gan.prior
    if config.epochs is None or config.steps_per_epoch is None:
        raise ValueError(
            "`epochs` or `steps_per_epoch` is None; use the configuration's `resolved`"
        )
    if config.batch_size % processes.count or config.batch_size == processes.count:
        raise ValueError(
            f"`batch_size` {config.batch_size} must be a multiple of the {processes.count} "
            "processes, with two images or more for each"
        )
    autocast = torch.autocast(gan.device.type, torch.bfloat16, enabled=config.precision == "bf16")

    # a prior over real numbers has no bits to be read back
    inverse = config.latent == "inverse" and prior.n_bits is not None
    n_labels = prior.code.n_bits
    label_bits = gan.label_bits(labels, len(images)).float()  # (N, n_labels)

    def seen(images: Tensor) -> Tensor:
        """Return images [B, C, H, W] as the discriminator sees them."""
        return AUGMENTATIONS[config.augment](images, gan.random)

    def bits_loss(features: Tensor, samples: Tensor) -> Tensor | float:
        """Return the loss [] of reading the bits of generated images off their features."""
        if not inverse:
            return 0.0
        return losses.associative_loss(features[:, n_labels:], samples[:, n_labels:])

    def label_loss(features: Tensor, label_bits: Tensor) -> Tensor | float:
        """Return the loss [] of reading the label of images off their features."""
        return losses.associative_loss(features[:, :n_labels], label_bits) if n_labels else 0.0

    if gan.epoch == 0:
        # the latent layer of an untrained network means nothing: the first prior is unfitted
        with gan.isolated():
            gan.fixed_latents.copy_(gan.embed(prior.sample(FIXED_LATENTS)))

    # the weights are the gan's own; in the generator's update the discriminator's are left alone
    generator, discriminator = processes.wrap(gan.generator), processes.wrap(gan.discriminator)
    while gan.epoch < config.epochs:
        gan.train()
        _share_prior(gan, processes)  # between epochs the first process may have drawn pictures
        sums = torch.zeros(2, dtype=torch.float64, device="cpu")
        for _ in range(config.steps_per_epoch):
            gan.step += 1
            batch = gan.random.whole(len(images), config.batch_size, device=images.device)
            chosen = processes.rows(batch)
            real = images[chosen].float()  # (B, C, H, W)

            # sample
            with gan.isolated():
                batch = prior.sample(config.batch_size)
                latents = processes.rows(prior.embed(batch))  # (B, latent_dim)
                samples = processes.rows(batch)  # (B, dim)

            # generate
            with autocast:
                fake = generator(latents)  # (B, C, H, W)

            # update D
            with autocast:
                real_logits, real_features = discriminator(seen(real))  # (B,), (B, dim)
                fake_logits, features = discriminator(seen(fake.detach()))  # (B,), (B, dim)
            loss_d = losses.discriminator_loss(real_logits.float(), fake_logits.float())
            read = bits_loss(features, samples)
            told = label_loss(real_features, label_bits[chosen])
            gan.optimizer_d.zero_grad(set_to_none=True)
            (loss_d + read + told).backward()
            gan.optimizer_d.step()

            # update G
            gan.discriminator.requires_grad_(False)
            with autocast:
                fake_logits, features = gan.discriminator(seen(fake))  # (B,), (B, dim)
            loss_g = losses.generator_loss(fake_logits.float())
            read = config.associative_weight * bits_loss(features, samples)
            told = config.label_weight * label_loss(features, samples[:, :n_labels])
            gan.optimizer_g.zero_grad(set_to_none=True)
            (loss_g + read + told).backward()
            gan.optimizer_g.step()
            gan.discriminator.requires_grad_(True)
            gan.average.update(gan.generator)

            means = processes.mean(torch.stack((loss_d, loss_g)))
            values = finite_values(means.unbind(), gan.step)
            sums += values
            yield StepRecord(gan.epoch + 1, gan.step, *values.tolist())

        mean_d, mean_g = (sums / config.steps_per_epoch).tolist()
        if mean_d < _LOST:
            raise TrainingCollapsed(
                f"the discriminator tells all images apart (mean loss {mean_d:.4f} in epoch "
                f"{gan.epoch + 1}), so the generator learns nothing more; a smaller --lr or more "
                "bits may help"
            )

        processes.average_buffers(gan.generator)
        gan.average.copy_buffers(gan.generator)

        # latent -> bits -> fit -> bank: the fit ends the epoch, so that a saved prior belongs to
        # the saved discriminator
        bits = gan.prior_bits(images, labels, processes)  # (N, dim)
        report = processes.from_first(_fit_prior(gan, bits) if processes.is_first else FitReport())
        _share_prior(gan, processes)
        gan.epoch += 1
        yield EpochRecord(gan.epoch, gan.step, mean_d, mean_g, report, bits)


def _fit_prior(gan: AssociativeGAN, bits: Tensor) -> FitReport:
    """Fit the prior to bits [N, dim], and draw its bank."""
    prior = gan.prior
    # a quantum prior draws from its own random state, and the context would slow its fit
    with gan.isolated() if prior.schedule is None else nullcontext():
        report = prior.fit(bits)
        start = time.perf_counter()
        shots = prior.draw_bank()
        report = report.with_bank(shots, prior.n_bases, time.perf_counter() - start, prior.kept)
        if report.kl is None:  # it may be estimated from the bank
            report = replace(report, **prior.distances(bits))
    return report


def _share_prior(gan: AssociativeGAN, processes: Processes) -> None:
    """Give all processes the first one's prior, its bank and the random states of the draws."""
    if processes.count > 1:
        prior, random = processes.from_first((gan.prior.state_dict(), gan.random.state_dict()))
        gan.prior.load_state_dict(prior)
        gan.random.load_state_dict(random)
