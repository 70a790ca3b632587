"""The tasks of the benchmark of models of bits: their distributions, by values known elsewhere."""

from __future__ import annotations

import math

import pytest
import torch

from qcaan.bits import all_bitstrings, histogram
from qcaan.commands.compare.targets import TASKS
from qcaan.data.readers import NotAvailable


def make(name):
    return TASKS[name]("digits8x8", None)


def entropy(probs):
    return torch.special.entr(probs).sum().item()


@pytest.mark.parametrize("name", [name for name in TASKS if not name.startswith("codes")])
def test_strings_are_draws_of_the_distribution_and_always_the_same(name):
    task = make(name)
    assert task.probs.sum().item() == pytest.approx(1)
    assert len(task.probs) == 2**task.n_bits
    for strings in (task.train, task.held_out):
        assert strings.dtype == torch.uint8
        assert bool((task.probs[histogram(strings) > 0] > 0).all())
        means = task.probs @ all_bitstrings(task.n_bits).double()
        noise = 4 * math.sqrt(0.25 / len(strings))
        assert (strings.double().mean(0) - means).abs().max().item() < noise
    assert torch.equal(task.train, make(name).train)
    assert len(task.held_out) == 10_000


def test_blobs_are_eight_patterns_with_flips():
    """The likeliest strings are the patterns, each with 1/8 of .95^16 and little of the others."""
    probs = make("blobs-4x4").probs
    likeliest = probs.topk(8).values
    assert likeliest.min().item() == pytest.approx(0.95**16 / 8, rel=0.01)
    assert make("blobs-4x4").valid is None  # every string is possible


def test_the_ising_model_is_symmetric_and_aligned():
    task = make("ising-4x4")
    torch.testing.assert_close(task.probs, task.probs.flip(0))  # all spins turned
    assert set(task.probs.topk(2).indices.tolist()) == {0, 2**16 - 1}


def test_tilted_parity_by_hand():
    task = make("parity-12")
    strings = all_bitstrings(12)
    assert task.train.shape == (200, 12)
    assert torch.equal(task.valid, strings.sum(1) % 2 == 0)
    # two ones at a distance of 11, 10 and 1, and none
    index = [1 + 2**11, 1 + 2**10, 3, 0]
    far, near, next_to, none = task.probs[index].log().tolist()
    unit = far - near
    assert next_to == pytest.approx(far - 10 * unit)
    assert none == pytest.approx(far - 11 * unit)


@pytest.mark.parametrize(("side", "n_patterns"), [(2, 6), (3, 14), (4, 30)])
def test_bars_and_stripes_are_learnt_from_each_pattern_once(side, n_patterns):
    task = make(f"bars-and-stripes-{side}x{side}")
    assert torch.equal(task.train, task.patterns)
    assert task.patterns.shape == (n_patterns, side**2)
    assert entropy(task.probs) == pytest.approx(math.log(n_patterns))
    pictures = task.patterns.view(-1, side, side)
    columns = (pictures == pictures[:, :1]).flatten(1).all(1)
    rows = (pictures == pictures[:, :, :1]).flatten(1).all(1)
    assert bool((columns | rows).all())
    assert int(task.valid.sum()) == n_patterns


def test_ghz_is_two_strings():
    task = make("ghz-8")
    assert task.train.tolist() == [[0] * 8, [1] * 8]
    assert entropy(task.probs) == pytest.approx(math.log(2))
    assert task.patterns is None


@pytest.mark.parametrize("n", [64, 256])
def test_codes_are_fair_bits_of_images_with_test_images_held_out(n):
    task = make(f"codes-{n}")
    assert task.train.shape[1] == task.held_out.shape[1] == task.n_bits == n
    assert len(task.train) > 2 * len(task.held_out) > 100
    assert (task.train.double().mean(0) - 0.5).abs().max().item() <= 0.5 / len(task.train)
    assert task.probs is None and task.valid is None
    signs = 1 - 2 * task.train.double()
    assert (signs.T @ signs / len(signs)).fill_diagonal_(0).abs().max().item() > 0.3
    assert torch.equal(task.held_out, make(f"codes-{n}").held_out)


def test_codes_of_images_that_are_not_there_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("qcaan.data.readers.DOWNLOAD_SECONDS", 0.01)
    with pytest.raises(NotAvailable, match="MNIST"):
        TASKS["codes-64"]("mnist", tmp_path)
