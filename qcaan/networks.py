"""Networks that the systems share: the DCGAN pair, and a network over points.

The discriminator mirrors the generator layer by layer (Radford et al., arXiv:1511.06434), and may
look closer at its coarsest feature map.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from qcaan.checks import of_type, whole


def stage_shapes(image_shape: tuple[int, int, int], width: int) -> list[tuple[int, int, int]]:
    """Return the shapes (channels, height, width) from the coarsest feature map to the image.

    28 pixels are 7 doubled twice, 32 pixels are 4 doubled three times. The channels halve as the
    maps grow, down to `width` before the image.

    Raises:
        ValueError: the image is not 28x28 or 32x32, or a number is out of range.
    """
    shape = of_type("image_shape", image_shape, tuple[int, ...])
    if len(shape) != 3:
        raise ValueError(f"`image_shape` must be (channels, height, width), got {shape}")
    channels, height, side = shape
    width = whole("width", width)
    if height != side or side not in (28, 32):
        raise ValueError(f"images must be 28x28 or 32x32 pixels, got {height}x{side}")
    n_doublings = 2 if side == 28 else 3
    inner = [
        (width << (n_doublings - 1 - k), side >> (n_doublings - k), side >> (n_doublings - k))
        for k in range(n_doublings)
    ]
    return [*inner, (channels, side, side)]


class Generator(nn.Module):
    """Latent vectors [B, dim] to images [B, C, H, W] in [-1, 1].

    Args:
        dim: width of the latent vectors.
        image_shape: shape (C, H, W) of the images, 28x28 or 32x32.
        width: number of channels of the finest feature map.
        mix: whether a trained fully-connected layer stands between the latent vector and the first
            feature map. Rudolph et al. (arXiv:2012.03924) use one if the bits come from several
            measurement bases.
    """

    def __init__(
        self, dim: int, image_shape: tuple[int, int, int], width: int, *, mix: bool
    ) -> None:
        super().__init__()
        dim = whole("dim", dim)
        stages = stage_shapes(image_shape, width)
        layers: list[nn.Module] = []
        if mix:
            layers += [nn.Linear(dim, dim)]
        channels, height, side = stages[0]
        layers += [nn.Linear(dim, channels * height * side), nn.Unflatten(1, stages[0])]
        for (c_in, _, _), (c_out, _, _) in pairwise(stages):
            layers += [
                nn.BatchNorm2d(c_in),
                nn.ReLU(),
                nn.ConvTranspose2d(c_in, c_out, 4, stride=2, padding=1),
            ]
        self.net = nn.Sequential(*layers, nn.Tanh())
        self.apply(_init_dcgan)
        if mix:
            # the identity: small weights would make all bitstrings look alike to the next layer
            nn.init.eye_(layers[0].get_parameter("weight"))
        self.to(memory_format=torch.channels_last)  # 1.5 times faster on a CPU

    def forward(self, z: Tensor) -> Tensor:
        return self.net(z)


class Discriminator(nn.Module):
    """Images [B, C, H, W] in [-1, 1] to logits [B] of being real, with a latent layer.

    Args:
        dim: width of the latent layer, the last hidden one.
        image_shape: shape (C, H, W) of the images, 28x28 or 32x32.
        width: number of channels of the finest feature map.
        skip: whether the logit also sees the wide layer before the latent layer.
        refine: number of 3x3 convolutions of the coarsest feature map that keep its size, before
            one that halves it and doubles its channels. 0 for neither, as in DCGAN.
    """

    def __init__(
        self,
        dim: int,
        image_shape: tuple[int, int, int],
        width: int,
        *,
        skip: bool,
        refine: int = 0,
    ) -> None:
        super().__init__()
        dim = whole("dim", dim)
        stages = stage_shapes(image_shape, width)[::-1]
        layers: list[nn.Module] = []
        for (c_in, _, _), (c_out, _, _) in pairwise(stages):
            layers += [nn.Conv2d(c_in, c_out, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        channels, height, _ = stages[-1]
        for _ in range(whole("refine", refine, 0)):
            layers += [nn.Conv2d(channels, channels, 3, padding=1), nn.LeakyReLU(0.2)]
        if refine:
            layers += [nn.Conv2d(channels, 2 * channels, 4, stride=2, padding=1)]
            layers += [nn.LeakyReLU(0.2)]
            channels, height = 2 * channels, height // 2
        wide = channels * height**2
        self.trunk = nn.Sequential(*layers, nn.Flatten())
        self.to_latent = nn.Sequential(nn.Linear(wide, dim), nn.Tanh())
        self.head = nn.Linear(dim, 1)
        self.skip = nn.Linear(wide, 1) if skip else None
        self.apply(_init_dcgan)
        self.to(memory_format=torch.channels_last)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits [B] and the latent features [B, dim] in (-1, 1) of one pass."""
        hidden = self.trunk(images)  # (B, wide)
        features = self.to_latent(hidden)  # (B, dim)
        logits = self.head(features)  # (B, 1)
        return (logits if self.skip is None else logits + self.skip(hidden)).squeeze(1), features

    def latent(self, images: Tensor) -> Tensor:
        """Return the latent features [B, dim] in (-1, 1) of images [B, C, H, W]."""
        return self.to_latent(self.trunk(images))


class PointMLP(nn.Module):
    """Points [B, k] to logits of being real, or to scores without bounds, [B].

    The layers are fully connected and see coordinates scaled from their bounds to [-1, 1]. The
    points are scaled in float64, since they may lie far from 0 and close together. The layers
    compute in the dtype of their weights.

    Args:
        bounds: least and greatest value of each coordinate [k, 2].
        widths: widths of the hidden layers; the default is that of Zoufal et al., arXiv:1904.00043.
    """

    centre: Tensor
    radius: Tensor

    def __init__(self, bounds: Tensor, widths: Sequence[int] = (50, 20)) -> None:
        super().__init__()
        low, high = bounds.double().unbind(1)
        self.register_buffer("centre", low / 2 + high / 2)
        self.register_buffer("radius", high / 2 - low / 2)
        layers: list[nn.Module] = []
        for n_in, n_out in pairwise((len(bounds), *widths)):
            layers += [nn.Linear(n_in, n_out), nn.LeakyReLU(0.2)]
        self.net = nn.Sequential(*layers, nn.Linear(widths[-1], 1))

    def forward(self, samples: Tensor) -> Tensor:
        """Return the logits or scores [B] of points [B, k].

        Raises:
            ValueError: the points have another number of coordinates, which torch would broadcast.
        """
        if samples.shape[1:] != self.centre.shape:
            raise ValueError(
                f"`samples` must be [B, {len(self.centre)}], got {list(samples.shape)}"
            )
        scaled = (samples.to(self.centre) - self.centre) / self.radius
        return self.net(scaled.to(self.net.get_parameter("0.weight"))).squeeze(1)


def _init_dcgan(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
        nn.init.normal_(module.weight, 0.0, 0.02)
        nn.init.zeros_(module.get_parameter("bias"))
