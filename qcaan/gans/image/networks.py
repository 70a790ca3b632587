"""Networks of the image QGAN: the generator with its circuit, decoders, and discriminators."""

from __future__ import annotations

import math
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.utils import parametrize

from qcaan.circuits.ansatz import Ansatz, make_ansatz, qcnn_ansatz
from qcaan.circuits.layers import AMPLITUDES, QuantumLayer
from qcaan.networks import Discriminator, Generator
from qcaan.randomness import RandomState

Noise = Literal["none", "angles", "amplitudes", "shots"]
Circuit = Literal["trained", "frozen", "none"]
DecoderName = Literal["dense", "convolutional"]
DiscriminatorName = Literal["cnn", "dcgan", "quantum", "qcnn"]

# discriminators with a circuit
QUANTUM_DISCRIMINATORS: tuple[DiscriminatorName, ...] = ("quantum", "qcnn")


class QuantumGenerator(nn.Module):
    """Noise [B, noise_dim] to images [B, C, H, W] in [-1, 1].

    The noise enters a circuit, and a decoder draws the image from its Pauli-Z expectations.

    Args:
        ansatz: the circuit.
        decoder: network from expectations [B, n_qubits], or noise, to images.
        noise: source of noise. `none`: the circuit starts from |0...0>, so its exact expectations
            and the image are always the same; `angles`: noise uniform in (-pi, pi) is embedded as
            RX angles, one for each qubit; `amplitudes`: Gaussian noise is the state, one number
            for each amplitude; `shots`: only the expectations from few shots differ.
        uploads: number of times that the noise is embedded.
        circuit: `trained`; or a control: `frozen` (random angles that stay), `none` (the decoder
            sees the noise itself).
        theta_noise: standard deviation in radians of Gaussian noise on the trained angles, drawn
            at each forward pass in training.
        random: random state of the noise.

    Attributes:
        noise_dim: width of the noise.
        circuit: the circuit, or None.
    """

    def __init__(
        self,
        ansatz: Ansatz,
        decoder: nn.Module,
        *,
        noise: Noise,
        uploads: int,
        circuit: Circuit,
        theta_noise: float,
        random: RandomState,
    ) -> None:
        super().__init__()
        self.noise, self.theta_noise, self.decoder = noise, theta_noise, decoder
        self.random = random
        embedding = AMPLITUDES if noise == "amplitudes" else "rx"
        layer = QuantumLayer(ansatz, embedding, uploads=uploads)
        self.noise_dim = layer.n_in
        self.circuit = None if circuit == "none" else layer.requires_grad_(circuit == "trained")

    def make_noise(self, n: int) -> Tensor:
        """Draw noise [n, noise_dim] for n images, on the generator's device."""
        device = next(self.decoder.parameters()).device
        if self.noise == "angles":
            return math.pi * (2 * self.random.uniform(n, self.noise_dim, device=device) - 1)
        if self.noise == "amplitudes":
            return self.random.normal(n, self.noise_dim, device=device)
        return torch.zeros(n, self.noise_dim, dtype=torch.float32, device=device)

    def features(self, noise: Tensor) -> Tensor:
        """Return what the decoder sees of noise [B, noise_dim].

        These are expectations [B, n_qubits] in [-1, 1], or the noise itself without a circuit. On
        a device, they are a job that may be paid for.
        """
        if self.circuit is None:
            return noise
        rows = noise[:1] if self.noise == "none" else noise  # all rows are the same
        if self.training and self.theta_noise:
            theta = self.circuit.theta
            moves = self.random.normal(*theta.shape, device=theta.device)
            moved = theta + self.theta_noise * moves
            return functional_call(self.circuit, {"theta": moved}, rows).expand(len(noise), -1)
        return self.circuit(rows).expand(len(noise), -1)

    def forward(self, noise: Tensor) -> Tensor:
        return self.decoder(self.features(noise))


class DenseDecoder(nn.Module):
    """Features [B, n_in] to images [B, C, H, W] in [-1, 1].

    Its layers are the published ones: Linear, ReLU, Linear, sigmoid.

    Args:
        n_in: number of features.
        image_shape: shape (C, H, W) of the images.
        width: width of the hidden layer.
    """

    def __init__(self, n_in: int, image_shape: tuple[int, int, int], width: int) -> None:
        super().__init__()
        layers = nn.Linear(n_in, width), nn.ReLU(), nn.Linear(width, math.prod(image_shape))
        self.net = nn.Sequential(*layers, nn.Sigmoid(), nn.Unflatten(1, image_shape))

    def forward(self, features: Tensor) -> Tensor:
        return 2 * self.net(features) - 1


def make_decoder(
    kind: DecoderName,
    n_in: int,
    image_shape: tuple[int, int, int],
    *,
    width: int,
    normalised: bool,
) -> nn.Module:
    """Return a network from features [B, n_in] to images [B, C, H, W] in [-1, 1].

    Args:
        kind: `dense`, or `convolutional` for DCGAN's generator.
        n_in: number of features.
        image_shape: shape (C, H, W) of the images, 28x28 or 32x32.
        width: width of the hidden layer of `dense`; number of channels of the finest feature map of
            `convolutional`.
        normalised: whether the features are first normalised to mean 0 and deviation 1 over the
            batch.
    """
    make = DenseDecoder if kind == "dense" else partial(Generator, mix=False)
    decoder = make(n_in, image_shape, width)
    return nn.Sequential(nn.BatchNorm1d(n_in, affine=False), decoder) if normalised else decoder


def make_discriminator(
    kind: DiscriminatorName,
    image_shape: tuple[int, int, int],
    *,
    width: int,
    n_qubits: int,
    n_layers: int,
) -> nn.Module:
    """Return a network from images [B, C, H, W] in [-1, 1] to logits [B] of being real.

    Args:
        kind: `cnn`, the published one: 5x5 convolutions of stride 2 to 16 and 32 channels, and a
            linear layer; `dcgan`, that of `qcaan.networks`; `quantum`, with half as many channels,
            whose features are the angles of a `QuantumLayer`; `qcnn`, the same before a quantum
            convolutional network.
        image_shape: shape (C, H, W) of the images, 28x28 or 32x32.
        width: number of channels of the finest feature map of `dcgan`.
        n_qubits: number of qubits of `quantum` and `qcnn`.
        n_layers: number of layers of the ansatz of `quantum`.
    """
    if kind == "dcgan":
        return _Logits(Discriminator(64, image_shape, width, skip=True))
    if kind == "cnn":
        trunk, n_features = _convolutions(image_shape, (16, 32))
        return nn.Sequential(trunk, nn.Linear(n_features, 1), nn.Flatten(0))
    trunk, n_features = _convolutions(image_shape, (8, 16))
    # both circuits are exact and draw nothing, so their seed has no meaning
    if kind == "quantum":
        circuit = QuantumLayer(make_ansatz("hardware-efficient", n_qubits, n_layers), seed=0)
    else:
        circuit = QuantumLayer(qcnn_ansatz(n_qubits), qubits=(n_qubits - 1,), seed=0)
        shared = _TranslationInvariant(circuit.ansatz)
        parametrize.register_parametrization(circuit, "theta", shared)
    to_angles = nn.Sequential(nn.Linear(n_features, n_qubits), nn.Tanh(), _Scaled(math.pi))
    # expectations are in [-1, 1], but a logit that is sure is beyond 4
    to_logit = _Scaled(4.0), nn.Linear(circuit.n_out, 1), nn.Flatten(0)
    return nn.Sequential(trunk, to_angles, circuit, *to_logit)


def _convolutions(
    image_shape: tuple[int, int, int], channels: tuple[int, int]
) -> tuple[nn.Module, int]:
    """Return two convolutions of stride 2 whose output is flattened, and its number of features."""
    n_channels, height, width = image_shape
    layers: list[nn.Module] = []
    for c_in, c_out in ((n_channels, channels[0]), channels):
        layers += [nn.Conv2d(c_in, c_out, 5, stride=2, padding=2), nn.LeakyReLU(0.2)]
    to_unit_range = _Scaled(0.5, 0.5)  # from [-1, 1] to [0, 1]
    n_features = channels[1] * (height // 4) * (width // 4)
    return nn.Sequential(to_unit_range, *layers, nn.Flatten()), n_features


class _Scaled(nn.Module):
    """The inputs times a factor, plus an offset."""

    def __init__(self, factor: float, offset: float = 0.0) -> None:
        super().__init__()
        self.factor, self.offset = factor, offset

    def forward(self, x: Tensor) -> Tensor:
        return self.factor * x + self.offset


class _Logits(nn.Module):
    """The logits alone of `qcaan.networks.Discriminator`."""

    def __init__(self, discriminator: Discriminator) -> None:
        super().__init__()
        self.discriminator = discriminator

    def forward(self, images: Tensor) -> Tensor:
        logits, _ = self.discriminator(images)
        return logits


class _TranslationInvariant(nn.Module):
    """One angle for each layer of an ansatz, shared by all qubits that the layer turns."""

    places: Tensor

    def __init__(self, ansatz: Ansatz) -> None:
        super().__init__()
        sizes = torch.tensor([size for size in ansatz.layer_sizes if size])
        places = torch.arange(len(sizes)).repeat_interleave(sizes)
        self.register_buffer("places", places, persistent=False)

    def forward(self, angles: Tensor) -> Tensor:
        """Return theta [uploads, n_params] for the angles [uploads, n_layers]."""
        return angles[:, self.places]

    def right_inverse(self, theta: Tensor) -> Tensor:
        """Return the first angle of each layer [uploads, n_layers] of theta [uploads, n_params]."""
        first = torch.cat([self.places.new_ones(1), self.places.diff()]).bool()
        return theta[:, first]
