"""Losses as pure functions: adversarial losses, and distances between distributions of bits.

Distributions are float64 tensors [..., 2**n] that sum to one over the last axis; the order of their
elements is stated in `qcaan.bits`. Losses that are logarithms are in nats.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from qcaan.bits import orders, walsh_hadamard

# smallest model probability in a logarithm, as in Rudolph et al., arXiv:2012.03924
CLIP = 1e-6
# qubits; beyond, equal shares 2**-n come near to the clip, and it shrinks with them
_CLIP_QUBITS = 12


def discriminator_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """Return the binary cross-entropy [] of telling real from generated, from logits [B] each.

    It is 2 ln 2 = 1.386 if the discriminator cannot tell them apart.
    """
    return F.softplus(-real_logits).mean() + F.softplus(fake_logits).mean()


def generator_loss(fake_logits: Tensor) -> Tensor:
    """Return the non-saturating loss [], the mean of -log D(G(z)), from logits [B].

    It is ln 2 if the discriminator cannot tell real from generated (Goodfellow et al.,
    arXiv:1406.2661).
    """
    return F.softplus(-fake_logits).mean()


def wasserstein_critic_loss(real_scores: Tensor, fake_scores: Tensor) -> Tensor:
    """Return the mean of D(fake) less the mean of D(real) [], from scores [B] each.

    If D is 1-Lipschitz, minus this loss is a lower bound of the Wasserstein-1 distance (Arjovsky et
    al., arXiv:1701.07875).
    """
    return fake_scores.mean() - real_scores.mean()


def wasserstein_generator_loss(fake_scores: Tensor) -> Tensor:
    """Return minus the mean of D(fake) [], from scores [B] (Arjovsky et al., arXiv:1701.07875)."""
    return -fake_scores.mean()


def gradient_penalty(
    critic: Callable[[Tensor], Tensor],
    real: Tensor,
    fake: Tensor,
    mix: Tensor,
    *,
    one_sided: bool = False,
) -> Tensor:
    """Return the mean penalty [] on the length of the critic's gradient g between real and fake.

    The two-sided penalty is (|g| - 1)^2 (Gulrajani et al., arXiv:1704.00028). The one-sided penalty
    is max(0, |g| - 1)^2 (Petzka et al., arXiv:1709.08894), which leaves gentle slopes alone. In one
    dimension, the slope of a critic with the wrong sign must pass through 0 to turn round. The
    two-sided penalty has a barrier of height 1 there, and the one-sided penalty has none.

    Args:
        critic: function from samples [B, ...] to scores [B].
        real, fake: real and generated samples [B, ...].
        mix: shares [B] of the real samples in the mixtures at which the gradient is taken, uniform
            in [0, 1].
        one_sided: whether the penalty is one-sided.
    """
    mix = mix.view(-1, *[1] * (real.ndim - 1))
    between = (mix * real + (1 - mix) * fake).detach().requires_grad_()  # (B, ...)
    (gradient,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)  # (B, ...)
    excess = torch.linalg.vector_norm(gradient.flatten(1), dim=1) - 1  # (B,)
    return (excess.clamp_min(0) if one_sided else excess).square().mean()


def associative_loss(features: Tensor, bits: Tensor) -> Tensor:
    """Return the binary cross-entropy [] of bits [B, d] given latent features [B, d] of images.

    A feature f in (-1, 1) stands for the probability P(1) = (1 + f) / 2. The bits are those that
    generated images were drawn from. So the latent layer learns to tell the bits of an image, and
    for a real image gives the bits from which the generator would draw it (as InfoGAN does, Chen et
    al., arXiv:1606.03657).

    Args:
        features: features [B, d] in (-1, 1).
        bits: bits {0, 1} [B, d].
    """
    # probability of the right value of each bit
    right = (1 + features.float() * (2 * bits - 1)) / 2
    return -right.clamp_min(CLIP).log().mean()


def kl(target: Tensor, model: Tensor) -> Tensor:
    """Return KL(target || model) [...] of `target` [2**n] and `model` [..., 2**n], in nats.

    Probabilities of the model below the clip of `nll` count as the clip.
    """
    return nll(target, model) - torch.special.entr(target).sum(-1)


def nll(target: Tensor, model: Tensor) -> Tensor:
    """Return the mean negative log-likelihood [...] of `target` [2**n] under `model` [..., 2**n].

    It is in nats. Probabilities of the model below a clip count as the clip: 1e-6, and half of it
    for every qubit beyond 12.
    """
    clip = CLIP * min(1.0, 2**_CLIP_QUBITS / model.shape[-1])
    return -(target * model.clamp_min(clip).log()).sum(-1)


def mmd(
    target: Tensor,
    model: Tensor,
    bandwidths: tuple[float, ...] = (0.5, 1.0, 2.0),
    *,
    shots: int | None = None,
) -> Tensor:
    """Return the squared maximum mean discrepancy [...] of `target` [2**n] and `model` [..., 2**n].

    The kernel k(x, y) is the mean over s in `bandwidths` of exp(-d / (2 s)), with d the number of
    bits in which x and y differ. The kernel is diagonal in the Walsh-Hadamard basis. With
    a = exp(-1 / (2 s)), the eigenvalue of a parity over k of n bits is (1 + a)^(n - k) (1 - a)^k.
    So a small s weighs correlations of high order, and a large s weighs the marginals.

    Shots estimate this loss well, because its variance does not grow with 2**n (Gretton et al.,
    JMLR 13, 2012; for Born machines Liu and Wang, arXiv:1804.04168).

    Args:
        target: distribution [2**n].
        model: distributions [..., 2**n].
        bandwidths: the s of the kernel.
        shots: number of shots, at least 2, if the model's elements are frequencies. The loss is
            then unbiased, so it may be negative. From frequencies that count as exact it is too
            large by (1 - q K q) / shots for a distribution q, and so prefers concentrated ones.
    """
    weights = target.new_tensor(_mmd_weights(target.shape[-1].bit_length() - 1, bandwidths))
    wanted, found = walsh_hadamard(target), walsh_hadamard(model)
    squares = (wanted - found) ** 2
    if shots is not None:
        # of the square of an expectation z of N shots, (N z^2 - 1) / (N - 1) is unbiased
        squares = squares - (1 - found**2) / (shots - 1)
    return (weights * squares).sum(-1)


@lru_cache(maxsize=16)
def _mmd_weights(n: int, bandwidths: tuple[float, ...]) -> NDArray[np.float64]:
    """Return the weights [2**n] of the squared differences of parities in the MMD."""
    order = orders(n).numpy()
    decay = np.exp(-1 / (2 * np.array(bandwidths)))[:, None]
    weights: NDArray[np.float64] = ((1 + decay) ** (n - order) * (1 - decay) ** order).mean(0)
    return weights / 2**n


def tvd(target: Tensor, model: Tensor) -> Tensor:
    """Return the total variation distance [...] in [0, 1] of [2**n] and [..., 2**n]."""
    return (target - model).abs().sum(-1) / 2


# losses of the fit of a circuit to bits
BIT_LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"kl": kl, "nll": nll, "mmd": mmd}
