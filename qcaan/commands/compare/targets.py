"""Bits to compare fits by: the latent bits of a run, standard targets, and tasks of learning."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qcaan.bits import all_bitstrings, histogram
from qcaan.checks import one_of
from qcaan.circuits.ansatz import Basis
from qcaan.data.images import load_splits
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


def _two_gaussians(n: int) -> NDArray[np.float64]:
    """Return a mixture of two Gaussians over the numbers of n bits, as probabilities [2**n]."""
    x = (np.arange(2**n) + 0.5) / 2**n
    density = sum(np.exp(-(((x - m) / s) ** 2) / 2) / s for m, s in ((0.3, 0.06), (0.7, 0.12)))
    return density / density.sum()


def _gaussian_mixture(n: int) -> Tensor:
    """Return numbers of n bits, whose histogram is a mixture of two Gaussians."""
    counts = np.rint(100_000 * _two_gaussians(n)).astype(int)
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


_N_HELD_OUT = 10_000
_COMPONENTS = 64  # principal components of the images that codes are made of


@dataclass(frozen=True, eq=False)
class Task:
    """Bits to learn, and the data that models are scored by.

    Attributes:
        train: training strings, uint8 [m, n].
        held_out: other strings of the same distribution, uint8 [k, n].
        probs: that distribution, float64 [2**n]; None if it is not known.
        patterns: the different bars and stripes, uint8 [k, n]; None for other tasks.
    """

    train: Tensor
    held_out: Tensor
    probs: Tensor | None = None
    patterns: Tensor | None = None

    @property
    def n_bits(self) -> int:
        """Number of bits of a string."""
        return self.train.shape[1]

    @property
    def valid(self) -> Tensor | None:
        """Whether a string is possible, bool [2**n]; None if all are, or if it is not known."""
        return None if self.probs is None or bool(self.probs.all()) else self.probs > 0


def _drawn(probs: NDArray[np.float64], n_train: int = 2000) -> Task:
    """Return the task to learn a distribution [2**n] from draws."""
    strings, rng = all_bitstrings(len(probs).bit_length() - 1), np.random.default_rng(0)
    train, held_out = (
        strings[torch.from_numpy(rng.choice(len(probs), size, p=probs))]
        for size in (n_train, _N_HELD_OUT)
    )
    return Task(train, held_out, torch.from_numpy(probs))


def _whole(strings: Tensor) -> Task:
    """Return the task to learn the uniform distribution over strings, from each of them once."""
    task = _drawn(histogram(strings).numpy())
    return replace(task, train=strings.to(torch.uint8))


def _pictures(side: int) -> Task:
    """Return the task to learn the bars and stripes of side x side pixels."""
    task = _whole(_bars_and_stripes(side, side))
    return replace(task, patterns=task.train)


def _blobs() -> NDArray[np.float64]:
    """Return binary blobs: one of 8 patterns of 4x4 pixels, with each pixel flipped at rate 0.05.

    After Recio-Armengol, Ahmed and Bowles, arXiv:2503.02934; the patterns are random here.
    """
    patterns = np.random.default_rng(0).integers(2, size=(8, 1, 16))
    flips = (all_bitstrings(16).numpy() != patterns).sum(2)  # (8, 2**16)
    return (0.05**flips * 0.95 ** (16 - flips)).mean(0)


def _ising() -> NDArray[np.float64]:
    """Return the thermal distribution at T = 3 of a 4x4 Ising model on a torus.

    Neighbours are coupled by random strengths in [0, 2], as in arXiv:2503.02934.
    """
    spins = 1 - 2 * all_bitstrings(16).numpy().astype(float).reshape(-1, 4, 4)
    down, right = np.random.default_rng(0).uniform(0, 2, (2, 4, 4))
    bonds = spins * (down * np.roll(spins, 1, 1) + right * np.roll(spins, 1, 2))
    weights = np.exp(bonds.sum((1, 2)) / 3)
    return weights / weights.sum()


def _tilted_parity(n: int) -> NDArray[np.float64]:
    """Return p(x) ~ exp(c(x) / s) over the strings with an even number of ones.

    c(x) is the largest distance between successive ones (4 in 10001, 0 without two ones), and s is
    its standard deviation over these strings. Such targets serve to study whether Born machines
    generalise: Gili et al., arXiv:2207.13645; Hibat-Allah et al., arXiv:2303.15626.
    """
    strings = all_bitstrings(n).numpy()
    distances = np.array([max(np.diff(np.flatnonzero(x)), default=0) for x in strings])
    even = strings.sum(1) % 2 == 0
    weights = even * np.exp(distances / distances[even].std())
    return weights / weights.sum()


def _codes(n: int, data: str, root: Path | None) -> Task:
    """Return binary codes of n bits of images of the digits 3, 7 and 9; test images are held out.

    The bits are signs of random sums of tanh of random sums of principal components. Thresholds are
    the medians over the training images, so every bit is fair.

    Raises:
        NotAvailable: the data set is neither in the folder nor downloadable.
        DataError: it cannot be read, or lacks one of the digits.
    """
    from sklearn.decomposition import PCA

    train, test = (
        part.only((3, 7, 9)).images.flatten(1).double().numpy() for part in load_splits(data, root)
    )
    pca = PCA(min(_COMPONENTS, *train.shape), svd_solver="covariance_eigh").fit(train)
    scales = np.sqrt(np.sqrt(pca.explained_variance_))
    rng = np.random.default_rng(0)
    inner, outer = rng.normal(size=(len(scales), 3 * n)), rng.normal(size=(3 * n, n))
    features, unseen = (
        np.tanh(pca.transform(x) / scales @ inner / 2) @ outer for x in (train, test)
    )
    bits = (
        torch.from_numpy((x > np.median(features, 0)).astype(np.uint8)) for x in (features, unseen)
    )
    return Task(*bits)


# the makers of the tasks, from the name of a data set of images and the folder of the data sets
TASKS: dict[str, Callable[[str, Path | None], Task]] = {
    "blobs-4x4": lambda *_: _drawn(_blobs()),
    "ising-4x4": lambda *_: _drawn(_ising()),
    "parity-12": lambda *_: _drawn(_tilted_parity(12), 200),
    "bars-and-stripes-2x2": lambda *_: _pictures(2),
    "bars-and-stripes-3x3": lambda *_: _pictures(3),
    "bars-and-stripes-4x4": lambda *_: _pictures(4),
    "ghz-8": lambda *_: _whole(_ghz(8)),
    "gaussian-mixture-8": lambda *_: _drawn(_two_gaussians(8)),
    "codes-64": lambda data, root: _codes(64, data, root),
    "codes-256": lambda data, root: _codes(256, data, root),
}
