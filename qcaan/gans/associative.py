"""QC-AAN: a DCGAN whose prior learns, each epoch, the binarised latent layer of the discriminator.

Rudolph et al., "Generation of High-Resolution Handwritten Digits with an Ion-Trap Quantum Computer", Phys. Rev. X 12,
031010 (arXiv:2012.03924); with a classical prior it is the AAN of Arici and Celikyilmaz, arXiv:1611.06953.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from qcaan import losses
from qcaan.checks import check_seed
from qcaan.circuits.born import SamplerLike, is_ideal
from qcaan.networks import Discriminator, Generator
from qcaan.optimizers import DecayingAdam
from qcaan.priors.base import FitReport, Prior
from qcaan.priors.boltzmann import QBM, RBM
from qcaan.priors.classical import Bernoulli, Gaussian, Histogram, Product
from qcaan.priors.qcbm import QCBM, Shuffled
from qcaan.samplers.jobs import Budget
from qcaan.samplers.names import MakeSampler, make_sampler
from qcaan.training import (
    EMA,
    TrainingCollapsed,
    load_training_state,
    seed_everything,
    training_state,
)

LATENTS = ("bottleneck", "skip", "inverse")
_DEFAULT_STEPS = 2860  # 20 passes of 128 over MNIST 3/7/9: where its digits stop getting better within ten minutes
_SHORTEST_EPOCH = 140  # steps; small data sets are passed over several times in an epoch, or the fits would be all it does
FIXED_LATENTS = 64
_LOST = 0.02  # nats: below, an epoch's mean discriminator loss says that it tells all images apart


@dataclass(frozen=True)
class AssociativeConfig(Budget):
    """A QC-AAN run: everything that decides its numbers."""

    digits: tuple[int, ...] = (3, 7, 9)
    """Classes to learn, by their labels."""
    data: str = "auto"
    """auto, mnist, fashion-mnist, cifar10, digits8x8, an .npz file or a folder of class folders."""
    data_root: Path | None = None
    """Where data sets lie or are downloaded to; default $QCAAN_DATA, else a user cache folder."""
    seed: int = 1
    """Of weights, batches, angles and shots."""
    device: str = "auto"
    """auto (CUDA if present), cpu, cuda, cuda:N."""
    precision: str = "float32"
    """float32, or bf16 for autocast."""

    epochs: int | None = None
    """Default: as many as make 2,860 optimiser steps."""
    steps_per_epoch: int | None = None
    """Default: one pass over the images, but at least 140 steps."""
    batch_size: int = 128
    """Images in a batch."""
    lr: float = 1e-3
    """Adam's learning rate at the start, both networks; 2e-4 as in DCGAN learns four times slower."""
    lr_half_steps: int = 1000
    """Steps after which the learning rate is halved: lr / (1 + step / this); no end is built in, so a run can be prolonged."""
    width: int = 48
    """Channels of the finest feature map."""

    prior: str = "qcbm"
    """qcbm, or a control: shuffled (a QCBM without its correlations), gaussian, bernoulli (fair bits), product (fitted
    marginals), histogram (the exact fit), rbm, qbm (restricted and quantum Boltzmann machine)."""
    latent_dim: int | None = None
    """Width of the priors that are no circuit; default 64 for gaussian, the QCBM's number of bits for the others."""
    latent: str = "inverse"
    """bottleneck: the logit sees the latent layer alone; skip: also the layer before it; inverse: skip, and the latent
    layer learns to read off a generated image the bits it was drawn from."""
    associative_weight: float = 0.1
    """Weight, in the generator's loss, of the reading back of its bits (--latent inverse); the discriminator's is 1."""
    binarize: str = "median"
    """sign of the latent features f; median: sign of f less its median over the images, so that every bit is as often 0 as
    1 and training cannot drift to constant bits; bernoulli: a draw with P(1) = (1 + f) / 2."""
    dither: float = 0.5
    """Standard deviation of noise on the bits' signs: lets a bitstring draw more than one picture."""
    noise_dims: int = 0
    """Gaussian coordinates beside the bits, to the same end."""

    n_qubits: int = 8
    """Qubits of the QCBM; each measurement basis gives as many bits."""
    n_layers: int = 4
    """Layers of the ansatz, counted as its paper counts them."""
    ansatz: str = "ion-trap"
    """ion-trap, seed, ry-rx or hardware-efficient."""
    bases: tuple[str, ...] = ("z", "o")
    """Measurement bases: z, o (RX(pi/2) first), t (a trained RX first)."""
    sampler: str = "aer"
    """exact (our differentiable engine), aer, aer-gpu, statevector; aer-noise:DEVICE (fake_NAME of IBM's, ionq-aria);
    devices: ibm:BACKEND, ibm:least_busy, ibm:fake_NAME, aqt:ideal, aqt:noisy, aqt:RESOURCE, ionq:simulator, ionq:BACKEND."""
    train_sampler: str | None = None
    """What the circuit is fitted on, where that is not --sampler, which then only draws."""
    switch_at: int | None = None
    """Epochs on --train-sampler (default exact) before --sampler takes over."""
    mitigate_readout: bool = False
    """Correct the frequencies of shots for readout errors, measured once."""
    optimizer: str = "cobyla"
    """cobyla, spsa, cma-es or adam."""
    loss: str | None = None
    """mmd, kl or nll, summed over the bases; default kl for exact probabilities, mmd, which shots estimate well, for shots."""
    shots: int | None = None
    """Shots per basis in one evaluation of the loss; 0 for exact probabilities, the default where fits can have them."""
    fit_evals: int = 300
    """Evaluations in an epoch's fit: parameter sets whose distribution is asked for."""
    bank_shots: int = 20_000
    """Shots per basis drawn after each fit; the epoch's batches resample them."""
    initial: str = "marginals"
    """Start of the first fit: the target's marginals, or random angles."""

    def __post_init__(self) -> None:
        super().__post_init__()
        allowed: dict[str, tuple[str, ...]] = {
            "latent": LATENTS,
            "binarize": ("sign", "median", "bernoulli"),
            "precision": ("float32", "bf16"),
        }
        for name, values in allowed.items():
            if getattr(self, name) not in values:
                raise ValueError(
                    f"unknown {name} {getattr(self, name)!r}; choose from {', '.join(values)}"
                )
        for name in ("epochs", "steps_per_epoch", "lr_half_steps", "width", "latent_dim"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        if self.batch_size < 2:  # batch normalisation needs two
            raise ValueError(f"batch_size must be at least 2, got {self.batch_size}")
        if not 0 < self.lr < 1:
            raise ValueError(f"lr must be between 0 and 1, got {self.lr}")
        if not 0 <= self.associative_weight < math.inf:
            raise ValueError(
                f"associative_weight must be at least 0, got {self.associative_weight}"
            )
        if self.switch_at is not None and self.switch_at < 1:
            raise ValueError(f"switch_at must be at least 1, got {self.switch_at}")
        check_seed(self.seed)

    def resolved(self, n_images: int) -> AssociativeConfig:
        """The configuration with the defaults that depend on the number of training images filled in."""
        steps = self.steps_per_epoch or max(n_images // self.batch_size, _SHORTEST_EPOCH)
        epochs = self.epochs or math.ceil(_DEFAULT_STEPS / steps)
        return replace(self.with_shots(), steps_per_epoch=steps, epochs=epochs)

    def with_shots(self) -> AssociativeConfig:
        """The configuration with the defaults of `shots` and `loss` filled in, which depend on where fits run."""
        default = 0 if is_ideal(self.train_sampler or self.sampler) else 2000
        shots = default if self.shots is None else self.shots
        return replace(self, shots=shots, loss=self.loss or ("mmd" if shots else "kl"))


def make_prior(config: AssociativeConfig, make_sampler: MakeSampler = make_sampler) -> Prior:
    """The configured prior, whose devices are had from `make_sampler(name, rng)`.

    Raises:
        ValueError: unknown prior, or an option of it out of range.
    """
    if config.prior not in PRIORS:
        raise ValueError(f"unknown prior {config.prior!r}; choose from {', '.join(PRIORS)}")
    return PRIORS[config.prior](config, make_sampler)


def _gaussian(config: AssociativeConfig, _: MakeSampler) -> Prior:
    return Gaussian(config.latent_dim or 64)


def _classical(
    kind: type[Bernoulli] | type[Product] | type[Histogram] | type[RBM] | type[QBM],
) -> _MakePrior:
    def make(config: AssociativeConfig, _: MakeSampler) -> Prior:
        width = config.latent_dim or config.n_qubits * len(config.bases)
        return kind(width, dither=config.dither, noise_dims=config.noise_dims)

    return make


def _quantum(kind: type[QCBM]) -> _MakePrior:
    def make(config: AssociativeConfig, make_sampler: MakeSampler) -> Prior:
        config = config.with_shots()

        def sampler(name: str) -> SamplerLike:
            return name if is_ideal(name) else partial(make_sampler, name)

        return kind(
            n_qubits=config.n_qubits,
            n_layers=config.n_layers,
            ansatz=config.ansatz,
            bases=config.bases,
            sampler=sampler(config.sampler),
            train_sampler=sampler(config.train_sampler) if config.train_sampler else None,
            switch_at=config.switch_at,
            mitigate_readout=config.mitigate_readout,
            optimizer=config.optimizer,
            loss=config.loss or "kl",
            shots=config.shots or 0,
            fit_evals=config.fit_evals,
            bank_shots=config.bank_shots,
            initial=config.initial,
            dither=config.dither,
            noise_dims=config.noise_dims,
            seed=config.seed,
        )

    return make


_MakePrior: TypeAlias = "Callable[[AssociativeConfig, MakeSampler], Prior]"
PRIORS: dict[str, _MakePrior] = {
    "qcbm": _quantum(QCBM),
    "shuffled": _quantum(Shuffled),
    "gaussian": _gaussian,
    "bernoulli": _classical(Bernoulli),
    "product": _classical(Product),
    "histogram": _classical(Histogram),
    "rbm": _classical(RBM),
    "qbm": _classical(QBM),
}


@dataclass(frozen=True)
class StepRecord:
    """One optimiser step of both networks. Losses in nats."""

    epoch: int
    step: int
    loss_d: float
    loss_g: float


@dataclass(frozen=True)
class EpochRecord:
    """One epoch: means of its steps, and the fit of the prior that ended it, to `bits` [N, n_bits] uint8."""

    epoch: int
    step: int
    loss_d: float
    loss_g: float
    fit: FitReport
    bits: Tensor = field(repr=False, compare=False)


class AssociativeGAN(nn.Module):
    """The networks, their optimisers and the prior of one run; `state_dict()` and `training_state()` are all of it."""

    def __init__(
        self,
        config: AssociativeConfig,
        image_shape: tuple[int, int, int],
        device: torch.device,
        make_sampler: MakeSampler = make_sampler,
    ) -> None:
        super().__init__()
        seed_everything(config.seed)
        self.config = config
        self.device = device
        self.prior = make_prior(config, make_sampler).to(device)
        mix = isinstance(self.prior, QCBM) and len(config.bases) > 1
        self.generator = Generator(self.prior.latent_dim, image_shape, config.width, mix).to(device)
        skip = config.latent != "bottleneck"
        self.discriminator = Discriminator(self.prior.dim, image_shape, config.width, skip).to(
            device
        )
        self.average = EMA(self.generator).to(device)
        # beta_1 = 0.5 as in DCGAN: with 0.9 the two networks oscillate
        adam = partial(
            DecayingAdam,
            lr=config.lr,
            betas=(0.5, 0.999),
            half_steps=config.lr_half_steps,
            n_steps=1,
        )
        self.optimizer_g, self.optimizer_d = (
            adam(self.generator.parameters()),
            adam(self.discriminator.parameters()),
        )
        self.epoch = self.step = 0
        self.fixed_latents = torch.empty(
            0
        )  # generator inputs whose pictures the progress GIF follows

    @torch.no_grad()
    def latent_bits(self, images: Tensor) -> Tensor:
        """Images [N, C, H, W] to the bits {0, 1} [N, dim] uint8 of the discriminator's latent layer."""
        features = torch.cat(
            [self.discriminator.latent(part) for part in images.split(1000)]
        )  # (N, dim) in (-1, 1)
        if self.config.binarize == "median":
            return (features > features.median(0).values).to(torch.uint8)
        if self.config.binarize == "sign":
            return (features > 0).to(torch.uint8)
        return (torch.rand_like(features) < (1 + features) / 2).to(torch.uint8)

    @torch.no_grad()
    def draw(self, latents: Tensor) -> Tensor:
        """Generator inputs [n, dim] to images [n, C, H, W] in [-1, 1] on the CPU, by the averaged generator.

        Equal inputs give equal images: another place in a batch would change their last digits.
        """
        different, place = latents.unique(dim=0, return_inverse=True)
        images = torch.cat([self.average(part).float().cpu() for part in different.split(500)])
        return images[place.cpu()]

    @torch.no_grad()
    def generate(self, n: int) -> tuple[Tensor, Tensor]:
        """n images [n, C, H, W] in [-1, 1] and the fresh samples of the prior they were drawn from [n, dim], on the CPU."""
        samples = self.prior.measure(n)
        return self.draw(self.prior.embed(samples)), samples.cpu()

    @property
    def drawn_from(self) -> str:
        """What `generate` gives beside the images: bits, or latents of a prior without bits."""
        return "latents" if self.prior.n_bits is None else "bits"

    def reseed(self, seed: int) -> None:
        """Draw by `seed` from now on."""
        torch.manual_seed(seed)
        self.prior.reseed(seed)

    def training_state(self) -> dict[str, Any]:
        """All that `train` needs to go on as if it had never stopped, for `torch.save`."""
        return {**training_state(self), "fixed_latents": self.fixed_latents}

    def load_training_state(self, state: dict[str, Any]) -> None:
        """Put back what `training_state` gave, torch's global random state included."""
        load_training_state(self, state)
        self.fixed_latents = state["fixed_latents"]


def train(gan: AssociativeGAN, images: Tensor) -> Iterator[StepRecord | EpochRecord]:
    """Train to `config.epochs` on `images` [N, C, H, W] in [-1, 1] on the gan's device, from where it stands.

    Yields a record after each step, and one after each epoch, when the gan can be saved.

    Raises:
        TrainingCollapsed: a loss is not finite, or the discriminator tells all images apart for a whole epoch.
    """
    config, prior = gan.config, gan.prior
    assert config.epochs is not None and config.steps_per_epoch is not None, "use config.resolved()"
    autocast = torch.autocast(gan.device.type, torch.bfloat16, enabled=config.precision == "bf16")

    # a prior over real numbers has no bits to be read back
    inverse = config.latent == "inverse" and prior.n_bits is not None
    if (
        gan.epoch == 0
    ):  # the latent layer of an untrained network means nothing: the first epoch's prior is unfitted
        gan.fixed_latents = prior.embed(prior.sample(FIXED_LATENTS))

    while gan.epoch < config.epochs:
        gan.train()
        sums = torch.zeros(2, dtype=torch.float64)
        for _ in range(config.steps_per_epoch):
            gan.step += 1
            real = images[
                torch.randint(len(images), (config.batch_size,), device=images.device)
            ]  # (B, C, H, W)

            # sample
            samples = prior.sample(config.batch_size)  # (B, dim)

            # generate
            with autocast:
                fake = gan.generator(prior.embed(samples))  # (B, C, H, W)

            # update D
            with autocast:
                real_logits, _ = gan.discriminator(real)  # (B,)
                fake_logits, features = gan.discriminator(fake.detach())  # (B,), (B, dim)
            loss_d = losses.discriminator_loss(real_logits.float(), fake_logits.float())
            associative = losses.associative_loss(features, samples) if inverse else 0
            gan.optimizer_d.zero_grad(set_to_none=True)
            (loss_d + associative).backward()
            gan.optimizer_d.step()

            # update G
            gan.discriminator.requires_grad_(False)
            with autocast:
                fake_logits, features = gan.discriminator(fake)  # (B,), (B, dim)
            loss_g = losses.generator_loss(fake_logits.float())
            associative = losses.associative_loss(features, samples) if inverse else 0
            gan.optimizer_g.zero_grad(set_to_none=True)
            (loss_g + config.associative_weight * associative).backward()
            gan.optimizer_g.step()
            gan.discriminator.requires_grad_(True)
            gan.average.update(gan.generator)

            values = torch.stack((loss_d, loss_g)).detach().double().cpu()
            if not values.isfinite().all():
                raise TrainingCollapsed(
                    f"a loss is not finite at step {gan.step}; a smaller --lr may help"
                )
            sums += values
            yield StepRecord(gan.epoch + 1, gan.step, *values.tolist())

        mean_d, mean_g = (sums / config.steps_per_epoch).tolist()
        if mean_d < _LOST:
            raise TrainingCollapsed(
                f"the discriminator tells all images apart (mean loss {mean_d:.4f} in epoch {gan.epoch + 1}), "
                "so the generator learns nothing more; a smaller --lr or more bits may help"
            )

        # latent -> bits -> fit -> bank: it ends the epoch, so that a saved prior belongs to the saved discriminator
        bits = gan.latent_bits(images)  # (N, dim)
        report = prior.fit(bits)
        gan.epoch += 1
        yield EpochRecord(gan.epoch, gan.step, mean_d, mean_g, report, bits)
