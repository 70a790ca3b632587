"""Labels in the bits of a prior: their code, and shots of equal label side by side.

A prior with labels learns the joint distribution of label and bits. The bits of the label stand
first: label k of the tuple is the number k in binary, its lowest bit first.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from qcaan.bits import bits_to_index, index_to_bits
from qcaan.checks import SEEDS, different, of_type


class LabelCode:
    """Labels as bitstrings.

    Args:
        labels: different integers; none for a prior without labels.

    Attributes:
        labels: the labels, in the order of their numbers.
        n_bits: width of a label, the least one that tells all of them apart; 0 for one label.

    Raises:
        ValueError: a label occurs twice.
    """

    def __init__(self, labels: Sequence[int] = ()) -> None:
        self.labels = of_type("labels", tuple(labels), tuple[int, ...])
        if self.labels:
            different("labels", self.labels)
        self.n_bits = max(0, len(self.labels) - 1).bit_length()

    def place(self, label: int) -> int:
        """Return the number of a label.

        Raises:
            ValueError: it is not a label.
        """
        if not self.labels:
            raise ValueError("`label` asks for a prior with labels, and this one has none")
        if label not in self.labels:
            known = ", ".join(map(str, self.labels))
            raise ValueError(f"`label` must be one of {known}, got {label}")
        return self.labels.index(label)

    def bits(self, labels: Tensor) -> Tensor:
        """Return the bits uint8 [m, n_bits] of labels [m].

        Raises:
            ValueError: one of them is not a label.
        """
        values, inverse = labels.unique(return_inverse=True)
        known = [self.place(value) for value in values.tolist()]
        places = torch.tensor(known, dtype=torch.int64)
        return index_to_bits(places.to(labels.device)[inverse], self.n_bits)

    def places(self, index: Tensor) -> Tensor:
        """Return the number of the label int64 [...] in indices [...] of bitstrings.

        It is not below the number of labels if the string is that of no label.
        """
        return index & ((1 << self.n_bits) - 1)

    def places_of(self, bits: Tensor) -> Tensor:
        """Return the number of the label int64 [m] in the first columns of bits [m, d]."""
        return bits_to_index(bits[:, : self.n_bits])

    def of(self, bits: Tensor) -> Tensor:
        """Return the label int64 [m] of each row of bits [m, d], all of which have one."""
        return torch.tensor(self.labels, device=bits.device)[self.places_of(bits)]


def equal_shares(code: LabelCode) -> Tensor:
    """Return equal probabilities float64 [labels]; [0] without labels."""
    n_labels = len(code.labels)
    return torch.full((n_labels,), 1 / max(n_labels, 1), dtype=torch.float64)


def shares_of(bits: Tensor, code: LabelCode) -> Tensor:
    """Return the share float64 [labels] of each label among bits [m, d].

    Raises:
        ValueError: bits have no label, or a label has no bits.
    """
    counts = code.places_of(bits).bincount(minlength=1 << code.n_bits)
    n_labels = len(code.labels)
    if counts[n_labels:].any():
        known = ", ".join(map(str, code.labels))
        raise ValueError(f"`bits` must begin with those of a label of {known}")
    if not counts[:n_labels].all():
        label = code.labels[int(counts[:n_labels].argmin())]
        raise ValueError(f"`bits` must hold some of each label, and there are none of {label}")
    return counts[:n_labels].double() / len(bits)


def pair_shots(index: Tensor, code: LabelCode, rng: np.random.Generator) -> tuple[Tensor, float]:
    """Put shots of equal label from different bases side by side, at random.

    Shots without a label, and those whose label is missing in another basis, are left out. In their
    place, pairs are drawn again with replacement. A shot of a later basis may occur twice if the
    first basis has more shots of its label.

    Args:
        index: indices int64 [n_bases, n] of shots, one row for each basis.
        code: code of the labels, which are the lowest bits.
        rng: random state of the pairs.

    Returns:
        The indices int64 [n_bases, n], and the share of the first basis's shots that were kept.

    Raises:
        ValueError: no shots of different bases have the same label.
    """
    places = code.places(index).cpu().numpy()
    columns = []
    for place in range(len(code.labels)):
        found = [rng.permutation(np.flatnonzero(row == place)) for row in places]
        if all(map(len, found)):
            columns.append(np.stack([np.resize(row, len(found[0])) for row in found]))
    if not columns:
        raise ValueError(
            f"of {index.shape[1]} shots in each basis, none have equal labels; ask for more shots"
        )
    chosen = np.concatenate(columns, 1)
    n, kept = index.shape[1], chosen.shape[1]
    order = np.concatenate([rng.permutation(kept), rng.integers(kept, size=n - kept)])
    pairs = torch.from_numpy(chosen[:, order]).to(index.device)
    return index.gather(1, pairs), kept / n


def draw_labelled(
    probs: Tensor, n: int, code: LabelCode, rng: np.random.Generator, place: int | None = None
) -> Tensor:
    """Draw indices int64 [n_bases, n] from exact distributions, of equal label in each column.

    Given its label, the bits of different bases are independent.

    Args:
        probs: distributions [n_bases, 2**n], whose lowest bits are the label.
        n: number of draws.
        code: code of the labels.
        rng: random state of the draws.
        place: number of the label; default any label, with its probability in the first basis.

    Raises:
        ValueError: the label, or all of them, have no probability.
    """
    generator = torch.Generator(probs.device).manual_seed(int(rng.integers(SEEDS)))
    table = probs.unflatten(1, (-1, 1 << code.n_bits))[..., : len(code.labels)]
    shares = table[0].sum(0)  # (labels,)
    if not (shares.sum() if place is None else shares[place]) > 0:
        asked = "any label" if place is None else f"label {code.labels[place]}"
        raise ValueError(f"the circuit gives no probability to {asked}; fit it first")
    if place is None:
        places = torch.multinomial(shares, n, True, generator=generator)
    else:
        places = torch.full((n,), place, device=probs.device)
    drawn = torch.zeros(len(probs), n, dtype=torch.int64, device=probs.device)
    for label in places.unique().tolist():
        given = table[..., label]  # (n_bases, 2**(n - label bits))
        rest = torch.multinomial(given, int((places == label).sum()), True, generator=generator)
        drawn[:, places == label] = (rest << code.n_bits) + label
    return drawn
