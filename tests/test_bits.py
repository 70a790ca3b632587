from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from qcaan.bits import (
    all_bitstrings,
    as_bits,
    bits_to_index,
    histogram,
    index_to_bits,
    pack_bits,
    product_of_marginals,
    product_probabilities,
    target_probabilities,
    unpack_bits,
    walsh_hadamard,
)


@given(st.integers(1, 12), st.integers(0, 2**12 - 1))
def test_bits_and_index_are_inverse(n, index):
    index %= 2**n
    assert bits_to_index(index_to_bits(torch.tensor(index), n)) == index


def test_product_probabilities_by_hand():
    np.testing.assert_allclose(
        product_probabilities(torch.tensor([0.25, 0.5])), [0.375, 0.125, 0.375, 0.125]
    )


def test_all_bitstrings_stand_in_the_order_of_their_indices_qubit_0_first():
    assert all_bitstrings(2).tolist() == [[0, 0], [1, 0], [0, 1], [1, 1]]
    assert bits_to_index(all_bitstrings(5)).tolist() == list(range(32))


def test_bits_come_as_tensors_arrays_or_lists_of_any_type():
    expected = torch.tensor([[0, 1], [1, 1]], dtype=torch.uint8)
    for bits in (
        expected,
        expected.float(),
        expected.numpy(),
        expected.numpy().astype(bool),
        [[0, 1], [1, 1]],
        ((False, True), (1.0, 1.0)),
    ):
        found = as_bits(bits, 2)
        assert torch.equal(found, expected) and found.dtype == torch.uint8


@pytest.mark.parametrize(
    ("bits", "message"),
    [
        ([[0, 1, 1]], r"`bits` must have shape \[m, 2\] with m >= 1, got \[1, 3\]"),
        ([], "`bits` must have shape"),
        (torch.zeros(0, 2), "`bits` must have shape"),
        ([[0, 2]], "`bits` must be 0 or 1"),
        ([[0, float("nan")]], "`bits` must be 0 or 1"),
        ([[0], [0, 1]], "`bits` must be an array"),
        ("01", "`bits` must be an array"),
        (None, "`bits` must be an array"),
    ],
)
def test_other_bits_are_refused(bits, message):
    with pytest.raises(ValueError, match=message):
        as_bits(bits, 2)


def test_targets_of_two_bases_are_the_histograms_of_their_columns():
    bits = torch.tensor([[1, 0, 1, 1], [1, 0, 0, 1]])
    targets = target_probabilities(bits, 2)
    assert targets.tolist() == [[0, 1, 0, 0], [0, 0, 0.5, 0.5]]
    assert torch.equal(targets[0], histogram(bits[:, :2]))


def test_the_product_of_marginals_loses_the_correlations():
    ghz = torch.tensor([0.5, 0, 0, 0.5], dtype=torch.float64)
    assert product_of_marginals(ghz).tolist() == [0.25] * 4


@given(st.integers(1, 6), st.integers(0, 99))
def test_walsh_hadamard_is_the_sum_over_signs_and_its_own_inverse(n, seed):
    values = torch.from_numpy(np.random.default_rng(seed).normal(size=2**n))
    strings = all_bitstrings(n).double()
    signs = 1 - 2 * ((strings @ strings.T) % 2)
    torch.testing.assert_close(walsh_hadamard(values), signs @ values, rtol=0, atol=1e-12)
    torch.testing.assert_close(
        walsh_hadamard(walsh_hadamard(values)) / 2**n, values, rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("shape", [(0, 2), (3, 0), (3, 1), (3, 3), (3,)])
def test_packed_bits_of_another_width_are_refused(shape):
    with pytest.raises(ValueError, match="rows of 9 bits are not packed in"):
        unpack_bits(torch.zeros(shape, dtype=torch.uint8), 9)


def test_bits_are_packed_highest_first_and_unpacked():
    bits = torch.tensor([[1, 0, 0, 0, 0, 0, 0, 1, 1], [0, 1, 0, 0, 0, 0, 0, 0, 0]])
    packed = pack_bits(bits)
    assert packed.dtype == torch.uint8 and packed.tolist() == [[129, 128], [64, 0]]
    assert torch.equal(unpack_bits(packed, 9), bits.to(torch.uint8))
