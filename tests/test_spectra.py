"""Estimates of distributions as spectra, and the sinusoid that an angle draws."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qcaan.bits import orders, walsh_hadamard
from qcaan.circuits.ansatz import ANSATZE, BASES, Ansatz, make_ansatz, qcnn_ansatz
from qcaan.circuits.born import BornMachine
from qcaan.spectra import THIRD, Sinusoid, Spectrum, distributions, shrunk

EXACT = 1e12
CIRCUITS = {
    **{name: make_ansatz(name, 3, 3) for name in ANSATZE},
    "qcnn": qcnn_ansatz(4),
    "every gate": Ansatz(3, (
        "real-state", "h", "rx", "ry", "rz", "rxx", "rzz", "cx", "cz", "cx-ring", "cz-ring",
        "cx-pairs", "cz-pairs", "ry/2", "rzz/2",
    )),
}  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(name=st.sampled_from(sorted(CIRCUITS)), seed=st.integers(0, 10**6), share=st.floats(0, 1))
def test_every_angle_draws_a_sinusoid(name, seed, share):
    """Of every gate of every ansatz, and of the trained basis, in all bases at once."""
    rng = np.random.default_rng(seed)
    born = BornMachine(CIRCUITS[name], BASES, "exact", rng)
    theta = torch.from_numpy(rng.normal(0, 2, born.n_params))
    place = min(int(share * born.n_params), born.n_params - 1)
    turns = torch.from_numpy(rng.uniform(-7, 7, 4))
    points = theta.repeat(7, 1)
    points[1, place] += THIRD
    points[2, place] -= THIRD
    points[3:, place] += turns
    here, up, down, *turned = born.probabilities(points)
    sinusoid = Sinusoid(*(Spectrum.of(found, EXACT) for found in (here, up, down)))
    torch.testing.assert_close(
        sinusoid.distributions(turns), torch.stack(turned), atol=1e-6, rtol=0
    )
    for turn, wanted in zip(turns.tolist(), turned, strict=True):
        found = sinusoid.at(turn)
        torch.testing.assert_close(walsh_hadamard(found.values) / wanted.shape[-1], wanted)


def test_the_worth_of_an_estimate_is_that_of_its_noise():
    """The variance of the estimate at a turn is 1 / shots, where expectations are small."""
    rng = np.random.default_rng(0)
    uniform = np.full(64, 1 / 64)

    def drawn(shots):
        frequencies = rng.multinomial(shots, uniform) / shots
        return Spectrum.of(torch.from_numpy(frequencies)[None], shots)

    for turn in (0.0, 0.7, 2.0, 3.0):
        found = [Sinusoid(drawn(3000), drawn(1000), drawn(1000)).at(turn) for _ in range(400)]
        variance = torch.stack([spectrum.values[0, 1:] for spectrum in found]).var()
        assert float(variance) * found[0].shots == pytest.approx(1, rel=0.03)


def test_estimates_are_pooled_by_their_shots_and_old_ones_are_bounded():
    ones, zeros = torch.ones(1, 4), torch.zeros(1, 4)
    pooled = Spectrum(ones, 3000).pooled(Spectrum(zeros, 1000))
    assert pooled.shots == 4000 and pooled.values.eq(0.75).all()
    assert Spectrum(ones, 10**9).pooled(Spectrum(zeros, 1000)).shots == 20_000
    assert Spectrum(ones, 3000).faded(0.9).shots == 2700


def test_shrinking_takes_noise_away_and_leaves_what_stands_out():
    rng = np.random.default_rng(0)
    order = orders(8)
    true = torch.where(order == 2, torch.from_numpy(rng.normal(0, 0.3, 256)), 0.0)
    true[0] = 1
    noise = torch.from_numpy(rng.normal(0, 0.05, 256))
    noise[0] = 0
    found = shrunk((true + noise)[None], 0.05**2)[0]
    assert found[0] == 1
    assert (found - true).square().sum() < 0.3 * noise.square().sum()
    torch.testing.assert_close(found[order == 2], true[order == 2], atol=0.2, rtol=0)
    assert torch.equal(shrunk(true[None], 0.0)[0], true)


def test_distributions_of_noisy_spectra_are_distributions():
    spectra = torch.from_numpy(np.random.default_rng(0).normal(0, 1, (5, 2, 8)))
    spectra[..., 0] = 1
    found = distributions(spectra)
    assert (found >= 0).all()
    torch.testing.assert_close(found.sum(-1), torch.ones(5, 2, dtype=torch.float64))
