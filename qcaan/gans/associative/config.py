"""The configuration of a QC-AAN run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, get_args

from qcaan import training
from qcaan.checks import different, number, one_of, whole
from qcaan.data.images import ImageDataOptions
from qcaan.priors.make import CircuitOptions, PriorOptions, check_prior_options
from qcaan.samplers.devices import DeviceOptions
from qcaan.training import RunOptions

Latent = Literal["bottleneck", "skip", "inverse"]
Binarize = Literal["sign", "median", "bernoulli"]
Precision = Literal["float32", "bf16"]
Augment = Literal["none", "shift", "cut"]

# 16 passes of 128 over MNIST 3/7/9: four more take a quarter longer and gain nothing that is
# sure (FID of seed 3: 1.15 and 1.15). Of few images the discriminator learns each by heart: 1,125
# images are best at about 1,400 steps, and at 2,940 recall has fallen from .75 to .69. Many images
# take 12 passes: FID of ten digits is 6 after 5 passes, and 1.2 after 12.
_DEFAULT_STEPS, _FEWEST_STEPS = 2288, 1400
_FEWEST_PASSES, _MOST_PASSES = 12, 160


@dataclass(frozen=True, kw_only=True)
class AssociativeRunOptions(RunOptions):
    """Options of the run: its length, its seed and its optimiser."""

    precision: Precision = "float32"
    """Number format of the networks: float32, or bf16 by autocast."""
    epochs: int | None = None
    """Number of epochs. Default: as many as make 2,288 optimiser steps, or 12 passes over the
    images if they are many; but about 160 passes if they are few, and 1,400 steps at least."""
    steps_per_epoch: int | None = None
    """Number of steps in an epoch. Default: one pass over the images, but at least 140."""
    augment: Augment = "none"
    """Random changes of all images that the discriminator sees, real and generated, for few
    training images. shift: moves by up to an eighth of the side; cut: moves, and cuts out a square;
    none."""
    batch_size: int = 128
    """Number of images in a batch, drawn with replacement; at least 2."""
    lr: float = 1e-3
    """Learning rate of Adam at the start, for both networks; DCGAN's 2e-4 learns four times
    slower."""
    lr_half_steps: int = 1000
    """Number of steps after which the learning rate is halved: lr / (1 + step / lr_half_steps). No
    end is built in, so a run can be prolonged."""


@dataclass(frozen=True, kw_only=True)
class AssociativeNetworksOptions:
    """Options of the networks, and of how the latent layer becomes bits."""

    width: int = 48
    """Number of channels of the finest feature map."""
    refine: int = 1
    """Number of convolutions of the discriminator that keep the size of its coarsest feature map,
    before one that halves it; 0 for neither, as in DCGAN. A discriminator that sees more teaches
    the generator more."""
    latent: Latent = "inverse"
    """Place of the latent layer. bottleneck: the logit sees it alone; skip: the logit also sees
    the layer before it; inverse: skip, and the latent layer learns to read off a generated image
    the bits that it was drawn from."""
    associative_weight: float = 0.1
    """Weight, in the generator's loss, of reading back its bits (--latent inverse); the weight in
    the discriminator's loss is 1."""
    label_weight: float = 1.0
    """Weight, in the generator's loss, of drawing the label that it is given; the weight in the
    discriminator's loss, of telling the label of a real image, is 1."""
    binarize: Binarize = "median"
    """Rule that turns latent features f into bits. sign: the sign of f; median: the sign of f less
    its median over the images, so that every bit is as often 0 as 1 and training cannot drift to
    constant bits; bernoulli: a draw with P(1) = (1 + f) / 2."""


@dataclass(frozen=True, kw_only=True)
class AssociativeConfig(
    AssociativeRunOptions,
    ImageDataOptions,
    AssociativeNetworksOptions,
    PriorOptions,
    CircuitOptions,
    DeviceOptions,
):
    """Configuration of a QC-AAN run: everything that its numbers depend on."""

    def __post_init__(self) -> None:
        RunOptions.__post_init__(self)
        DeviceOptions.__post_init__(self)
        check_prior_options(self, self)
        different("digits", self.digits)
        for name in ("epochs", "steps_per_epoch"):
            if getattr(self, name) is not None:
                whole(name, getattr(self, name))
        one_of("augment", self.augment, get_args(Augment))
        whole("lr_half_steps", self.lr_half_steps)
        whole("width", self.width)
        whole("refine", self.refine, 0)
        whole("batch_size", self.batch_size, 2)  # batch normalisation needs two
        number("lr", self.lr, above=0, below=1)
        number("associative_weight", self.associative_weight, least=0)
        number("label_weight", self.label_weight, least=0)

    def resolved(self, n_images: int) -> AssociativeConfig:
        """Return the configuration with the defaults that depend on other values filled in.

        Args:
            n_images: number of training images.
        """
        steps = self.steps_per_epoch or training.steps_per_epoch(n_images, self.batch_size)
        one_pass = n_images / self.batch_size
        total = min(max(_MOST_PASSES * one_pass, _FEWEST_STEPS), _DEFAULT_STEPS)
        total = max(total, _FEWEST_PASSES * one_pass)
        epochs = self.epochs or max(round(total / steps), 1)
        return replace(self, steps_per_epoch=steps, epochs=epochs)
