"""The wide prior with labels in its first bits: fits, clamped and chosen draws, saved states."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import qcaan
from qcaan.bits import all_bitstrings, bits_to_index, histogram
from qcaan.losses import tvd

DIGITS = (3, 7, 9)


def digit_bits(n=5, m=4000, seed=0):
    """Bits [m, 2 + n] of the digits 3, 7 and 9, which are more likely ones at some places."""
    rng = np.random.default_rng(seed)
    places = rng.choice(3, m, p=[0.5, 0.3, 0.2])
    means = np.array([np.linspace(0.1, 0.9, n), np.linspace(0.9, 0.1, n), np.full(n, 0.5)])
    bits = torch.from_numpy(rng.random((m, n)) < means[places])
    labels = places[:, None] >> np.arange(2) & 1
    return torch.cat([torch.from_numpy(labels), bits], 1).to(torch.uint8)


def fitted(reach=3, **options):
    prior = qcaan.IQP(5, reach, labels=DIGITS, seed=0, fit_evals=60, bank_shots=2000, **options)
    return prior, prior.fit(digit_bits())


def test_a_label_at_the_far_end_of_its_bit_is_learnt_and_drawn():
    bits = torch.from_numpy(np.random.default_rng(0).integers(0, 2, (3000, 31)))
    bits[:, -1] = bits[:, 0]
    prior = qcaan.IQP(30, 2, labels=(3, 7), seed=0, fit_evals=120, bank_shots=10)
    report = prior.fit(bits)
    assert prior.dim == 31 and prior.order[0] == 0
    # one bit less than without the label, up to the noise of the fit
    assert report.nll == pytest.approx(30 * math.log(2), abs=0.1)
    assert report.nll_product == pytest.approx(31 * math.log(2), abs=0.1)
    for label, bit in ((3, 0), (7, 1)):
        drawn = prior.draw(1000, label)
        assert drawn.dtype == torch.float32
        assert (drawn[:, 0] == bit).all() and float((drawn[:, -1] == bit).float().mean()) > 0.99
        assert float((drawn[:, 1:-1].mean(0) - 0.5).abs().max()) < 0.1


@pytest.mark.parametrize("reach", [3, "all"])
def test_only_labels_occur_and_each_with_its_own_bits(reach):
    prior, report = fitted(reach)
    strings = all_bitstrings(7)
    probs = prior.log_prob(strings).exp()
    assert float(probs.sum()) == pytest.approx(1, abs=1e-9)
    assert not probs[bits_to_index(strings[:, :2]) == 3].any()
    table = probs.view(-1, 4).T[:3]  # (labels, others)
    shares = prior.label_shares()
    assert tuple(shares) == DIGITS
    assert list(shares.values()) == pytest.approx(table.sum(1).tolist())
    assert report.kl < 0.5 * report.kl_product and report.nll < report.nll_product
    drawn = prior.measure(20_000).to(torch.uint8)
    noise = 0.5 * float((2 * probs / (math.pi * 20_000)).sqrt().sum())
    assert float(tvd(histogram(drawn), probs)) < 1.2 * noise
    for label, given in zip(DIGITS, table, strict=True):
        drawn = prior.sample(20_000, label).to(torch.uint8)
        assert (prior.code.of(drawn) == label).all()
        noise = 0.5 * float((2 * given / (math.pi * given.sum() * 20_000)).sqrt().sum())
        assert float(tvd(histogram(drawn[:, 2:]), given / given.sum())) < 1.3 * noise


def test_each_label_has_the_marginals_of_its_own_bits():
    prior, _ = fitted()
    bits = digit_bits(m=20_000, seed=1)
    for label in DIGITS:
        own = bits[prior.code.of(bits) == label].double().mean(0)
        found = prior.sample(4000, label).double().mean(0)
        # those of different labels are up to .8 apart
        assert float((found - own).abs().max()) < 0.15
    assert prior.label_shares() == pytest.approx({3: 0.5, 7: 0.3, 9: 0.2}, abs=0.04)


def test_shots_of_another_engine_are_chosen_by_their_label():
    prior, _ = fitted(sampler="aer")
    prior.draw_bank()
    weights = prior.ansatz.label_probabilities(prior.theta)
    assert prior.kept == pytest.approx(float(weights[:3].sum()), abs=0.05)
    assert 0.5 < prior.kept < 1
    assert set(prior.code.of(prior.bank).tolist()) == set(DIGITS)
    exact = weights[:3] / weights[:3].sum()
    shares = prior.label_shares()
    assert list(shares.values()) == pytest.approx(exact.tolist(), abs=0.05)
    for label in DIGITS:
        drawn = prior.sample(3000, label).to(torch.uint8)
        assert (prior.code.of(drawn) == label).all()
    drawn = prior.measure(5000).to(torch.uint8)
    assert (bits_to_index(drawn[:, :2]) < 3).all()
    expected = prior.log_prob(all_bitstrings(7)).exp()
    assert float(tvd(histogram(drawn), expected)) < 0.08
    assert prior.distances(digit_bits())["kl"] < prior.distances(digit_bits())["kl_product"]


def test_the_kept_shots_of_a_bank_stand_first_and_the_others_are_drawn_again():
    prior, _ = fitted(sampler="aer")
    bits, kept = prior._measure_kept(500)
    first = round(kept * 500)
    known = set(map(tuple, bits[:first].tolist()))
    assert first < 500 and all(tuple(row) in known for row in bits[first:].tolist())


def test_a_saved_prior_goes_on_as_the_first_one():
    prior, _ = fitted()
    other = qcaan.IQP(5, 3, labels=DIGITS, seed=9, fit_evals=60, bank_shots=2000)
    other.load_state_dict(prior.state_dict())
    assert torch.equal(other.sample(50, 9), prior.sample(50, 9))
    assert other.fit(digit_bits(seed=2)).loss_after == prior.fit(digit_bits(seed=2)).loss_after
    assert torch.equal(other.measure(50), prior.measure(50))
    assert other.label_shares() == prior.label_shares()


def test_the_circuit_has_the_label_on_its_first_qubits():
    prior, _ = fitted()
    circuit = prior.circuit()
    assert circuit.num_qubits == prior.dim == 7
    coupled = [
        {circuit.find_bit(qubit).index for qubit in step.qubits}
        for step in circuit.get_instructions("rzz")
    ]
    for label in (0, 1):
        assert set.union(*(pair for pair in coupled if label in pair)) == set(range(7))


def test_without_labels_there_are_none():
    prior = qcaan.IQP(5, 2)
    assert prior.label_shares() == {}
    with pytest.raises(ValueError, match="`label` asks for a prior with labels"):
        prior.sample(1, 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"labels": (3, 3)}, "`labels` must be one or more different values, got 3 3"),
        ({"n_qubits": 1, "reach": 1}, "`n_qubits` must be at least 2, got 1"),
        ({"reach": 5}, r"below the number of qubits without those of the label \(5\), got 5"),
        ({"n_qubits": 3, "sampler": "ibm:fake_manila", "labels": range(8)}, "at most 5 on ibm:"),
        ({"n_qubits": 60, "sampler": "aer"}, "`n_qubits` must be at most .*, got 62"),
    ],
)
def test_what_it_cannot_do_is_refused_by_name(options, message):
    with pytest.raises(ValueError, match=message):
        qcaan.IQP(**{"n_qubits": 5, "reach": 2, "labels": DIGITS, **options})


def test_bits_and_labels_that_are_none_are_refused():
    prior = qcaan.IQP(5, 2, labels=DIGITS)
    with pytest.raises(ValueError, match="`bits` must start with the bits of a label in every row"):
        prior.fit(torch.ones(4, 7))
    with pytest.raises(ValueError, match=r"`bits` must have shape \[m, 7\]"):
        prior.fit(torch.ones(4, 5))
    with pytest.raises(ValueError, match="`label` must be one of 3, 7, 9, got 4"):
        prior.sample(1, 4)
    wide = qcaan.IQP(100, "all", labels=DIGITS)
    with pytest.raises(ValueError, match="`reach` all, got 102: more come only from a device"):
        wide.check_drawable()
