"""Configuration of the image QGAN, and its presets."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from qcaan import training
from qcaan.checks import different, number, whole
from qcaan.circuits.ansatz import AnsatzName
from qcaan.circuits.layers import Gradient
from qcaan.data.images import ImageDataOptions
from qcaan.gans.image.networks import Circuit, DecoderName, DiscriminatorName, Noise
from qcaan.samplers.devices import DeviceOptions
from qcaan.samplers.names import EXACT
from qcaan.training import RunOptions, check_switch

Loss = Literal["bce", "wgan-gp"]
PresetName = Literal["tuned", "published"]


@dataclass(frozen=True, kw_only=True)
class ImageRunOptions(RunOptions):
    """Options of the run: its length, its seed, its optimiser and its loss."""

    epochs: int = 20
    """Number of epochs, each ended by a record, a picture and a checkpoint."""
    steps_per_epoch: int | None = None
    """Number of generator steps in an epoch. Default: one pass over the images, but at least
    140."""
    batch_size: int = 128
    """Number of images in a batch, drawn with replacement; at least 2."""
    loss: Loss = "bce"
    """Adversarial loss: bce (binary cross-entropy), or wgan-gp (Wasserstein loss with a gradient
    penalty)."""
    penalty_weight: float = 10.0
    """Weight of the gradient penalty (--loss wgan-gp)."""
    n_critic: int = 1
    """Number of discriminator steps in each generator step."""
    lr: float = 1e-3
    """Learning rate of Adam at the start, for both networks."""
    lr_half_steps: int | None = 1000
    """Number of steps after which the learning rate is halved: lr / (1 + step / lr_half_steps).
    None: the learning rate is constant."""
    beta_1: float = 0.5
    """Decay of Adam's mean of gradients, from 0 to below 1; 0.5 as in DCGAN. The published recipe
    has 0.9, Adam's own default."""
    ema_decay: float = 0.995
    """Decay of the averaged generator, which draws the pictures, from 0 to below 1; 0 for no
    average."""


@dataclass(frozen=True, kw_only=True)
class ImageNetworksOptions:
    """Options of the classical networks, and of the discriminator's circuit."""

    decoder: DecoderName = "convolutional"
    """Network that draws a picture from what the circuit measures. dense, as published: Linear,
    ReLU, Linear, sigmoid; convolutional: DCGAN's transposed convolutions."""
    discriminator: DiscriminatorName = "dcgan"
    """Discriminator: cnn (the published one), dcgan, quantum (small convolutions and a circuit),
    or qcnn (small convolutions and a quantum convolutional network)."""
    width: int = 48
    """Width of a dense decoder's hidden layer, and number of channels of DCGAN's finest feature
    map."""
    discriminator_qubits: int = 4
    """Number of qubits of the discriminators quantum and qcnn."""


@dataclass(frozen=True, kw_only=True)
class ImageCircuitOptions:
    """Options of the generator's circuit, its noise, and what runs it."""

    noise: Noise = "angles"
    """Source of noise. none, as published: the circuit has no noise and draws one picture; angles:
    one angle for each qubit; amplitudes: 2**n_qubits amplitudes; shots: the noise of --shots
    shots."""
    n_qubits: int = 8
    """Number of qubits; all are measured."""
    n_layers: int = 2
    """Number of layers of the ansatz, in the generator and in a quantum discriminator."""
    ansatz: AnsatzName = "hardware-efficient"
    """Circuit family; hardware-efficient has layers of RX, RY, RZ and CX on the chain of qubits,
    and a last layer of RY."""
    uploads: int = 1
    """Number of times that the noise is embedded, each followed by the ansatz (data
    re-uploading)."""
    circuit: Circuit = "trained"
    """Role of the circuit: trained; or a control: frozen (random angles that stay), none (the
    decoder sees the noise itself)."""
    theta_noise: float = 0.0
    """Standard deviation, in radians, of Gaussian noise on the circuit's angles in each training
    step, a regulariser."""
    sampler: str = "exact"
    """Engine that runs the circuit: exact (our differentiable engine), or the name of a sampler;
    `qcaan samplers` lists them."""
    shots: int = 0
    """Number of shots per picture; 0 for exact expectations, if the engine has them."""
    gradient: Gradient | None = None
    """Gradient of the circuit; finite-difference works without shots only. Default: backprop on
    the exact engine without shots, else parameter-shift."""
    gradient_draws: int = 1
    """Number of draws of shots for the same noise over which the generator's gradient is
    averaged."""
    switch_after_epochs: int | None = None
    """Number of epochs on the exact engine before --sampler is used. It has no shots, unless shots
    are the noise. Default: none."""


@dataclass(frozen=True, kw_only=True)
class ImageConfig(
    ImageRunOptions,
    ImageDataOptions,
    ImageNetworksOptions,
    ImageCircuitOptions,
    DeviceOptions,
):
    """Configuration of a run of the image QGAN: everything that its numbers depend on.

    The defaults are those of the preset `tuned`.
    """

    def __post_init__(self) -> None:
        RunOptions.__post_init__(self)
        DeviceOptions.__post_init__(self)
        different("digits", self.digits)
        for name in (
            "epochs",
            "n_critic",
            "n_qubits",
            "n_layers",
            "gradient_draws",
            "width",
            "discriminator_qubits",
        ):
            whole(name, getattr(self, name))
        for name in ("steps_per_epoch", "lr_half_steps"):
            if getattr(self, name) is not None:
                whole(name, getattr(self, name))
        whole("batch_size", self.batch_size, 2)  # batch normalisation needs two
        whole("shots", self.shots, 0)
        number("lr", self.lr, above=0, below=1)
        for name in ("beta_1", "ema_decay"):
            number(name, getattr(self, name), least=0, below=1)
        for name in ("penalty_weight", "theta_noise"):
            number(name, getattr(self, name), least=0)
        self._check_together()
        differs = self.sampler != EXACT or (self.shots > 0 and self.noise != "shots")
        differs |= self.gradient not in (None, "backprop")
        check_switch(self.switch_after_epochs, self.epochs, differs)

    def _check_together(self) -> None:
        """Check the options that exclude each other."""
        if self.noise == "shots" and not self.shots:
            raise ValueError("`noise` shots needs `shots` of at least 1, got 0")
        if self.noise == "none" and self.shots:
            raise ValueError(f"`noise` none is exact and draws no shots, got `shots` {self.shots}")
        if self.gradient_draws > 1 and not self.shots:
            raise ValueError(
                "`gradient_draws` averages over draws of shots, which are all equal without "
                f"`shots`, got {self.gradient_draws}"
            )
        if self.circuit == "frozen" and self.theta_noise:
            raise ValueError(
                "`circuit` frozen keeps its angles, and `theta_noise` would move them, "
                f"got {self.theta_noise}"
            )
        if self.circuit != "none":
            return
        if self.noise not in ("angles", "amplitudes"):
            raise ValueError(
                "`circuit` none gives the noise to the decoder: `noise` must be angles or "
                f"amplitudes, got {self.noise}"
            )
        unused = {
            "sampler": self.sampler != EXACT,
            "shots": self.shots > 0,
            "theta_noise": self.theta_noise > 0,
            "uploads": self.uploads > 1,
            "gradient": self.gradient is not None,
            "switch_after_epochs": self.switch_after_epochs is not None,
        }
        for name, given in unused.items():
            if given:
                raise ValueError(f"`circuit` none has no `{name}`, got {getattr(self, name)}")

    def resolved(self, n_images: int) -> ImageConfig:
        """Return the configuration with the default number of steps filled in.

        Args:
            n_images: number of training images.
        """
        steps = self.steps_per_epoch or training.steps_per_epoch(n_images, self.batch_size)
        return replace(self, steps_per_epoch=steps)


PRESETS: dict[PresetName, ImageConfig] = {
    "tuned": ImageConfig(),
    # as published: the generator ignores its noise, so it draws one picture
    "published": ImageConfig(
        epochs=50,
        batch_size=64,
        lr_half_steps=None,
        beta_1=0.9,
        ema_decay=0.0,
        noise="none",
        n_qubits=4,
        decoder="dense",
        width=128,
        discriminator="cnn",
    ),
}
