"""Networks of the image QGAN: a generator that starts with a circuit, and discriminators with and without one."""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.utils import parametrize

from qcaan.circuits.ansatz import Ansatz, make_ansatz, qcnn_ansatz
from qcaan.circuits.layers import AMPLITUDES, QuantumLayer
from qcaan.networks import Discriminator, Generator

NOISES = ("none", "angles", "amplitudes", "shots")
CIRCUITS = ("trained", "frozen", "none")
DECODERS = ("dense", "convolutional")
QUANTUM_DISCRIMINATORS = ("quantum", "qcnn")
DISCRIMINATORS = ("cnn", "dcgan", *QUANTUM_DISCRIMINATORS)


class QuantumGenerator(nn.Module):
    """Noise [B, noise_dim] to pictures [B, C, H, W] in [-1, 1]: a circuit's Pauli-Z expectations, drawn by a decoder.

    Args:
        ansatz: the circuit.
        noise: `none`, the circuit starts from |0...0> and its exact expectations are always the same, so is the picture;
            `angles`, noise uniform in (-pi, pi) is embedded as RX angles, one for each qubit; `amplitudes`, Gaussian noise
            is the state, one number for each amplitude; `shots`, what differs are the expectations from few shots.
        uploads: times that the angles are embedded.
        circuit: `trained`; `frozen`, as it was drawn at random; or `none`, the decoder sees the noise itself. The two
            last are controls of what the circuit does.
        decoder: what draws the picture.
        theta_noise: standard deviation in radians of a perturbation of the trained angles, a new one at each forward pass
            in training.

    Attributes:
        noise_dim: width of the noise.
    """

    def __init__(
        self,
        ansatz: Ansatz,
        noise: str,
        uploads: int,
        circuit: str,
        decoder: nn.Module,
        theta_noise: float,
    ) -> None:
        super().__init__()
        self.noise, self.theta_noise, self.decoder = noise, theta_noise, decoder
        embedding = (AMPLITUDES,) if noise == "amplitudes" else ("rx",)
        layer = QuantumLayer(ansatz, embedding, uploads)
        self.noise_dim = layer.n_in
        self.circuit = None if circuit == "none" else layer.requires_grad_(circuit == "trained")

    def make_noise(self, n: int) -> Tensor:
        """Noise [n, noise_dim] for n pictures, on the generator's device."""
        device = next(self.decoder.parameters()).device
        if self.noise == "angles":
            return math.pi * (2 * torch.rand(n, self.noise_dim, device=device) - 1)
        if self.noise == "amplitudes":
            return torch.randn(n, self.noise_dim, device=device)
        return torch.zeros(n, self.noise_dim, device=device)

    def features(self, noise: Tensor) -> Tensor:
        """What the decoder sees of noise [B, noise_dim]: expectations [B, n_qubits] in [-1, 1], or the noise itself."""
        if self.circuit is None:
            return noise
        rows = noise[:1] if self.noise == "none" else noise  # all rows are the same
        if self.training and self.theta_noise:
            theta = self.circuit.theta
            moved = theta + self.theta_noise * torch.randn_like(theta)
            return functional_call(self.circuit, {"theta": moved}, rows).expand(len(noise), -1)
        return self.circuit(rows).expand(len(noise), -1)

    def forward(self, noise: Tensor) -> Tensor:
        return self.decoder(self.features(noise))


class DenseDecoder(nn.Module):
    """Expectations [B, n_in] to pictures [B, C, H, W] in [-1, 1]: the published Linear, ReLU, Linear, sigmoid."""

    def __init__(self, n_in: int, image_shape: tuple[int, int, int], width: int) -> None:
        super().__init__()
        layers = nn.Linear(n_in, width), nn.ReLU(), nn.Linear(width, math.prod(image_shape))
        self.net = nn.Sequential(*layers, nn.Sigmoid(), nn.Unflatten(1, image_shape))

    def forward(self, features: Tensor) -> Tensor:
        return 2 * self.net(features) - 1


def make_discriminator(
    kind: str, image_shape: tuple[int, int, int], width: int, n_qubits: int, n_layers: int
) -> nn.Module:
    """Pictures [B, C, H, W] in [-1, 1] to logits of being real [B].

    Args:
        kind: `cnn`, the published one: convolutions 5x5 of stride 2 to 16 and 32 channels, and a linear layer; `dcgan`, that of
            `qcaan.networks`; `quantum`, half as many channels, whose features are the angles of a `QuantumLayer`; `qcnn`,
            the same before a quantum convolutional network.
        image_shape: (C, H, W).
        width: channels of the first feature map of `dcgan`.
        n_qubits, n_layers: of the circuit of `quantum`; `qcnn` has the qubits only.
    """
    if kind == "dcgan":
        return _Logits(Discriminator(64, image_shape, width, skip=True))
    if kind == "cnn":
        trunk, n_features = _convolutions(image_shape, (16, 32))
        return nn.Sequential(trunk, nn.Linear(n_features, 1), nn.Flatten(0))
    trunk, n_features = _convolutions(image_shape, (8, 16))
    if kind == "quantum":
        circuit = QuantumLayer(
            make_ansatz("hardware-efficient", n_qubits, n_layers), seed=0
        )  # exact: it draws nothing
    else:
        circuit = QuantumLayer(qcnn_ansatz(n_qubits), qubits=(n_qubits - 1,), seed=0)
        parametrize.register_parametrization(
            circuit, "theta", _TranslationInvariant(circuit.ansatz)
        )
    to_angles = nn.Sequential(nn.Linear(n_features, n_qubits), nn.Tanh(), _Scaled(math.pi))
    # expectations are in [-1, 1]; logits of what is surely real or fake are beyond 4
    return nn.Sequential(
        trunk, to_angles, circuit, _Scaled(4.0), nn.Linear(circuit.n_out, 1), nn.Flatten(0)
    )


def make_decoder(
    kind: str, n_in: int, image_shape: tuple[int, int, int], width: int, normalised: bool
) -> nn.Module:
    """Features [B, n_in] to pictures [B, C, H, W] in [-1, 1]: `dense`, hidden layer of `width`, or `convolutional`, DCGAN's.

    `normalised` features have mean 0 and deviation 1 over the batch.
    """
    decoder = (DenseDecoder if kind == "dense" else partial(Generator, mix=False))(
        n_in, image_shape, width
    )
    return nn.Sequential(nn.BatchNorm1d(n_in, affine=False), decoder) if normalised else decoder


def _convolutions(
    image_shape: tuple[int, int, int], channels: tuple[int, int]
) -> tuple[nn.Module, int]:
    """Two convolutions of stride 2 over pictures in [-1, 1], which are taken to [0, 1], and the number of their features."""
    n_channels, height, width = image_shape
    layers: list[nn.Module] = []
    for c_in, c_out in ((n_channels, channels[0]), channels):
        layers += [nn.Conv2d(c_in, c_out, 5, stride=2, padding=2), nn.LeakyReLU(0.2)]
    return nn.Sequential(_Scaled(0.5, 0.5), *layers, nn.Flatten()), channels[1] * (height // 4) * (
        width // 4
    )


class _Scaled(nn.Module):
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
        self.register_buffer(
            "places", torch.arange(len(sizes)).repeat_interleave(sizes), persistent=False
        )

    def forward(self, angles: Tensor) -> Tensor:  # [uploads, n_layers] -> [uploads, n_params]
        return angles[:, self.places]

    def right_inverse(self, theta: Tensor) -> Tensor:
        first = torch.cat([self.places.new_ones(1), self.places.diff()]).bool()
        return theta[:, first]
