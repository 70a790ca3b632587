"""Losses as pure functions: of the adversarial game, and between distributions over bitstrings.

Distributions are float64 tensors [..., 2**n] that sum to one over the last axis (qubit 0 is the lowest bit of the index);
likelihoods are in nats.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from qcaan.bits import walsh_hadamard

CLIP = 1e-6  # smallest model probability in a logarithm, as in Rudolph et al., arXiv:2012.03924


def discriminator_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """Binary cross-entropy of telling real from fake, logits [B]; 2 ln 2 = 1.386 where it cannot tell them apart."""
    return F.softplus(-real_logits).mean() + F.softplus(fake_logits).mean()


def generator_loss(fake_logits: Tensor) -> Tensor:
    """Non-saturating loss -log D(G(z)) of logits [B] (Goodfellow et al., arXiv:1406.2661); ln 2 at equality."""
    return F.softplus(-fake_logits).mean()


def wasserstein_critic_loss(real_scores: Tensor, fake_scores: Tensor) -> Tensor:
    """D(fake) - D(real), means over scores [B]: with a 1-Lipschitz D, minus a lower bound of the Wasserstein-1 distance."""
    return fake_scores.mean() - real_scores.mean()


def wasserstein_generator_loss(fake_scores: Tensor) -> Tensor:
    """-D(fake), the mean over scores [B] (Arjovsky et al., arXiv:1701.07875)."""
    return -fake_scores.mean()


def gradient_penalty(
    critic: Callable[[Tensor], Tensor],
    real: Tensor,
    fake: Tensor,
    mix: Tensor,
    one_sided: bool = False,
) -> Tensor:
    """Mean penalty on the length of the critic's gradient at mixtures of real and fake samples, both [B, ...].

    Two-sided (||g|| - 1)^2, as published by Gulrajani et al., arXiv:1704.00028; one-sided max(0, ||g|| - 1)^2 (Petzka et
    al., arXiv:1709.08894) leaves gentle slopes alone: in one dimension a critic whose slope has the wrong sign cannot
    get past slope 0, where the two-sided penalty is 1.

    Args:
        critic: samples [B, ...] to scores [B].
        mix: shares of the real samples [B], uniform in [0, 1].
    """
    mix = mix.view(-1, *[1] * (real.ndim - 1))
    between = (mix * real + (1 - mix) * fake).detach().requires_grad_()
    (gradient,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)  # [B, ...]
    excess = torch.linalg.vector_norm(gradient.flatten(1), dim=1) - 1
    return (excess.clamp_min(0) if one_sided else excess).square().mean()


def associative_loss(features: Tensor, bits: Tensor) -> Tensor:
    """Binary cross-entropy of reading bits {0, 1} [B, d] off latent features [B, d] in (-1, 1), with P(1) = (1 + f) / 2.

    Of generated images, with the bits they were drawn from: so the latent layer learns to read an image's code, and on
    real images gives the code by which the generator would draw them (as InfoGAN does, Chen et al., arXiv:1606.03657).
    """
    right = (
        1 + features.float() * (2 * bits - 1)
    ) / 2  # probability given to the bit that is there
    return -right.clamp_min(CLIP).log().mean()


def nll(target: Tensor, model: Tensor) -> Tensor:
    """Mean negative log-likelihood of `target` [2**n] under `model` [..., 2**n], clipped at 1e-6."""
    return -(target * model.clamp_min(CLIP).log()).sum(-1)


def kl(target: Tensor, model: Tensor) -> Tensor:
    """KL(target || model) of [2**n] against [..., 2**n], the model clipped at 1e-6."""
    return nll(target, model) - torch.special.entr(target).sum(-1)


def tvd(target: Tensor, model: Tensor) -> Tensor:
    """Total variation distance in [0, 1] of [2**n] and [..., 2**n]."""
    return (target - model).abs().sum(-1) / 2


def mmd(target: Tensor, model: Tensor, bandwidths: tuple[float, ...] = (0.5, 1.0, 2.0)) -> Tensor:
    """Squared maximum mean discrepancy of [2**n] and [..., 2**n] under a Hamming-distance kernel.

    k(x, y) is the mean over s in `bandwidths` of exp(-d(x, y) / (2 s)), d the number of differing bits. It is diagonal
    in the Walsh-Hadamard basis: the eigenvalue of a parity over k of n bits is (1 + a)^(n-k) (1 - a)^k, a = exp(-1 / 2s),
    so small s weighs high-order correlations, large s the marginals. Shots estimate it well: its variance does not grow
    with 2**n. (Gretton et al., JMLR 13, 2012; for Born machines Liu and Wang, arXiv:1804.04168.)
    """
    n = target.shape[-1].bit_length() - 1
    order = torch.tensor([index.bit_count() for index in range(2**n)], device=target.device)
    eigenvalues = torch.zeros(2**n, dtype=target.dtype, device=target.device)
    for s in bandwidths:
        a = torch.exp(torch.tensor(-1 / (2 * s), dtype=target.dtype, device=target.device))
        eigenvalues += (1 + a) ** (n - order) * (1 - a) ** order / len(bandwidths)
    spectrum = walsh_hadamard(target - model)
    return (eigenvalues * spectrum**2).sum(-1) / 2**n


BIT_LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"mmd": mmd, "kl": kl, "nll": nll}
