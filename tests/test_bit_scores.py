"""Scores of models of bits, by values computed by hand."""

from __future__ import annotations

import math

import pytest
import torch

from qcaan import losses
from qcaan.bits import all_bitstrings, histogram
from qcaan.metrics import bits as scores


def test_mmd_of_four_strings_by_hand():
    """Draws 00, 01 and reference 11, 11: distances 1 within, 0 within, and 2, 1 between."""
    draws, reference = torch.tensor([[0, 0], [0, 1]]), torch.tensor([[1, 1], [1, 1]])
    sigma = math.sqrt(0.5)  # so that k = exp(-d)
    expected = math.exp(-1) + 1 - (math.exp(-2) + math.exp(-1))
    assert scores.mmd2(draws, reference, sigma) == pytest.approx(expected)
    assert scores.mmd2(draws, draws, sigma) == pytest.approx(math.exp(-1) - 1)  # below 0


def test_mmd_estimates_the_exact_value_of_the_same_kernel():
    target = torch.tensor([0.5, 0, 0, 0, 0, 0, 0, 0.5]).double()
    model = torch.full((8,), 1 / 8).double()
    strings, generator = all_bitstrings(3), torch.Generator().manual_seed(0)
    one, other = (
        strings[torch.multinomial(probs, 4000, True, generator=generator)]
        for probs in (model, target)
    )
    for sigma in (0.6, 1.3):
        exact = float(losses.mmd(target, model, (sigma**2,)))
        assert scores.mmd2(one, other, sigma) == pytest.approx(exact, abs=0.01)
    # P(d = 0, 3) = 1/2 within the target; P(d) = 1, 3, 3, 1 eighths in all other pairs
    a = math.exp(-1 / (2 * 1.3**2))
    assert exact == pytest.approx((1 + a**3) / 2 - (1 + a) ** 3 / 8)


def test_correlators_by_hand():
    bits = torch.tensor([[0, 0, 1], [1, 1, 1], [0, 1, 0], [0, 0, 0]])
    found = scores.correlators(bits, torch.tensor([[0, 1], [0, 2], [1, 2]]))
    assert found.tolist() == [0.5, 0.5, 0]
    assert scores.correlators(bits, torch.tensor([[0, 1, 2]])).tolist() == [-0.5]
    assert scores.correlators(bits, torch.tensor([[0], [1], [2]])).tolist() == [0.5, 0, 0]


def test_errors_of_correlators_by_hand_from_bits_and_from_distributions():
    """All products of two bits of GHZ are 1, all of three are 0, and the one of four is 1."""
    ghz, strings = torch.tensor([[0] * 4, [1] * 4]), all_bitstrings(4)
    target, uniform = histogram(ghz), histogram(strings)
    for order, error in ((2, 1), (3, 0), (4, 1)):
        assert scores.correlator_error(strings, ghz, order) == error
        assert scores.exact_correlator_error(uniform, target, order) == error
    one = torch.zeros(16).double()
    one[0] = 1
    assert scores.exact_correlator_error(one, target, 3) == 1
    assert math.isnan(scores.correlator_error(strings, ghz, 5))


def test_sets_of_bits_are_all_or_many_and_always_the_same():
    assert scores.bit_sets(4, 3).tolist() == [[0, 1, 2], [0, 1, 3], [0, 2, 3], [1, 2, 3]]
    assert scores.bit_sets(3, 4).shape == (0, 4)
    sets = scores.bit_sets(64, 4, 500)
    assert sets.shape == (500, 4) and len(set(map(tuple, sets.tolist()))) == 500
    assert bool((sets[:, 1:] > sets[:, :-1]).all())
    assert torch.equal(sets, scores.bit_sets(64, 4, 500))


def test_generalization_by_hand():
    """Even parity of three bits: 000, 011, 101, 110, of which 000 and 011 were trained on."""
    strings = all_bitstrings(3)
    valid, train = strings.sum(1) % 2 == 0, torch.tensor([[0, 0, 0], [0, 1, 1], [0, 1, 1]])
    seen, good, bad = [0, 0, 0], [1, 0, 1], [1, 1, 1]
    found = scores.generalization(torch.tensor([seen, good, good, bad, bad]), train, valid)
    assert found == {"fidelity": 0.5, "rate": 0.4, "coverage": 0.5}
    memorised = scores.generalization(train, train, valid)
    assert math.isnan(memorised["fidelity"])
    assert (memorised["rate"], memorised["coverage"]) == (0, 0)
    everything = scores.generalization(strings, strings[valid], valid)
    assert (everything["fidelity"], everything["rate"]) == (0, 0)
    assert math.isnan(everything["coverage"])


def test_a_block_of_the_qbas_score_has_the_reads_of_the_coupon_collector():
    assert scores.coupon_reads(1) == 1
    assert scores.coupon_reads(6) == 15  # as in the paper: 14.7
    assert scores.coupon_reads(30) == 120


def test_qbas_by_hand():
    """Two patterns need 3 reads: blocks 00 11 11, 00 00 01 and 01 01 10, and one read is left."""
    patterns = torch.tensor([[0, 0], [1, 1]])
    draws = torch.tensor([[0, 0], [1, 1], [1, 1], *[[0, 0]] * 2, *[[0, 1]] * 3, [1, 0], [0, 0]])
    second = 2 * (2 / 3) * (1 / 2) / (2 / 3 + 1 / 2)
    assert scores.qbas(draws, patterns) == pytest.approx((1 + second + 0) / 3)
    with pytest.raises(ValueError, match="at least 3, got 2"):
        scores.qbas(draws[:2], patterns)


def test_pair_errors_by_hand_within_halves_and_across():
    # bits 0 and 1 are equal, bits 0 and 2 opposite; bit 3 is free of the others
    bits = torch.tensor([[0, 0, 1, 0], [0, 0, 1, 1], [1, 1, 0, 0], [1, 1, 0, 1]])
    found = scores.pair_expectations(bits)
    assert found.tolist() == [[1, 1, -1, 0], [1, 1, -1, 0], [-1, -1, 1, 0], [0, 0, 0, 1]]
    free = torch.eye(4, dtype=torch.float64)
    # pairs within: (0,1) and (2,3); across: (0,2), (0,3), (1,2), (1,3)
    assert scores.pair_errors(found, free, 2) == (0.5, 0.5)
    assert scores.pair_errors(free, scores.pair_expectations(bits[:1]), 2) == (1, 1)
    weighted = scores.pair_expectations(all_bitstrings(4), histogram(bits))
    torch.testing.assert_close(weighted, found)
