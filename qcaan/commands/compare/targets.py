"""Bits to compare fits by: the latent bits of a run, and standard targets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from qcaan.bits import all_bitstrings
from qcaan.checks import one_of
from qcaan.circuits.ansatz import Basis
from qcaan.runs.directory import RunError
from qcaan.runs.loading import load_run
from qcaan.runs.restoring import load_data


@dataclass(frozen=True)
class Target:
    """Bits that circuits are fitted to.

    Attributes:
        name: name of the bits.
        bits: the bits, uint8 [m, len(bases) * n_qubits].
        n_qubits: number of qubits of a circuit.
        bases: bases that it is measured in.
    """

    name: str
    bits: Tensor
    n_qubits: int
    bases: tuple[Basis, ...] = ("z",)

    def first(self, n_bases: int) -> Target:
        """Return the part of the bits that the first bases measure."""
        bits = self.bits[:, : n_bases * self.n_qubits]
        return Target(self.name, bits, self.n_qubits, self.bases[:n_bases])


def latent_bits(path: Path, seed: int, data_root: Path | None) -> Target:
    """Return the latent bits of a run's training images.

    Raises:
        RunError: there is no such run, its prior has no bits, or its data have changed.
    """
    run = load_run(path, seed=seed, device="cpu", data_root=data_root)
    if run.system != "associative" or run.gan.prior.n_bits is None:
        raise RunError(f"{path} holds no run whose prior has bits")
    config = run.gan.config
    data, _ = load_data(run.directory, data_root or config.data_root)
    images = data.only(config.digits).images
    return Target(path.name, run.gan.latent_bits(images), config.n_qubits, config.bases)


def _ghz(n: int) -> Tensor:
    return torch.tensor([[0] * n, [1] * n])


def _parity(n: int) -> Tensor:
    bits = all_bitstrings(n)
    return bits[bits.sum(1) % 2 == 0]


def _bars_and_stripes(height: int, width: int) -> Tensor:
    """Return the pictures of whole columns and those of whole rows, each once."""
    columns = {tuple(bits) * height for bits in product((0, 1), repeat=width)}
    rows = {tuple(np.repeat(bits, width).tolist()) for bits in product((0, 1), repeat=height)}
    return torch.tensor(sorted(columns | rows))


def _gaussian_mixture(n: int) -> Tensor:
    """Return numbers of n bits, whose histogram is a mixture of two Gaussians."""
    x = (np.arange(2**n) + 0.5) / 2**n
    density = sum(np.exp(-(((x - m) / s) ** 2) / 2) / s for m, s in ((0.3, 0.06), (0.7, 0.12)))
    counts = np.rint(100_000 * density / density.sum()).astype(int)
    return all_bitstrings(n).repeat_interleave(torch.from_numpy(counts), dim=0)


STANDARD: dict[str, Callable[[], Tensor]] = {
    "ghz-6": lambda: _ghz(6),
    "ghz-8": lambda: _ghz(8),
    "w-6": lambda: torch.eye(6),
    "w-8": lambda: torch.eye(8),
    "parity-6": lambda: _parity(6),
    "bars-and-stripes-2x3": lambda: _bars_and_stripes(2, 3),
    "bars-and-stripes-3x3": lambda: _bars_and_stripes(3, 3),
    "gaussian-mixture-8": lambda: _gaussian_mixture(8),
}


def standard(name: str) -> Target:
    """Return a standard target; its bits are measured in one basis.

    Raises:
        ValueError: there is none of that name.
    """
    bits = STANDARD[one_of("targets", name, STANDARD)]().to(torch.uint8)
    return Target(name, bits, bits.shape[1])
