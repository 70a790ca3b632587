from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import torch

from qcaan.checks import (
    check_images,
    check_memory,
    check_seed,
    memory_of,
    number,
    one_of,
    reals,
    whole,
)


@pytest.mark.parametrize("value", [3, np.int64(3), np.uint8(3), torch.tensor(3), True + 2])
def test_whole_numbers_of_any_kind_are_returned_as_int(value):
    assert whole("n", value) == 3 and type(whole("n", value)) is int


@pytest.mark.parametrize(
    ("value", "options", "message"),
    [
        (0, {}, "`n` must be at least 1, got 0"),
        (-1, {"least": 0}, "`n` must be at least 0, got -1"),
        (9, {"least": 0, "below": 9}, "`n` must be at least 0 and below 9, got 9"),
        (1.5, {}, "`n` must be a whole number of at least 1, got 1.5"),
        ("3", {}, "`n` must be a whole number of at least 1, got '3'"),
        (True, {}, "`n` must be a whole number of at least 1, got True"),
        (torch.tensor(True), {}, "`n` must be a whole number of at least 1, got tensor(True)"),
        (None, {}, "`n` must be a whole number of at least 1, got None"),
        (3.0, {}, "`n` must be a whole number of at least 1, got 3.0"),
        (True, {}, "`n` must be a whole number of at least 1, got True"),
        (np.True_, {}, "`n` must be a whole number of at least 1, got np.True_"),
        (torch.tensor(True), {}, "`n` must be a whole number of at least 1, got tensor(True)"),
        (np.zeros((9, 9)), {}, "`n` must be a whole number of at least 1, got a ndarray"),
        (10**12, {}, "`n` must be at most 1,000,000, got 1000000000000"),
        pytest.param(
            10**5000,
            {},
            "`n` must be at most 1,000,000, got a number of more than 20 digits",
            id="huge",
        ),
        pytest.param(
            -(10**5000),
            {},
            "`n` must be at least 1, got a number of more than 20 digits",
            id="-huge",
        ),
    ],
)
def test_other_whole_numbers_are_refused_in_one_wording(value, options, message):
    with pytest.raises(ValueError) as caught:
        whole("n", value, **options)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("value", "options", "message"),
    [
        (-0.1, {"least": 0}, "`x` must be at least 0, got -0.1"),
        (0, {"above": 0}, "`x` must be above 0, got 0"),
        (1.0, {"above": 0, "below": 1}, "`x` must be above 0 and below 1, got 1.0"),
        (math.inf, {"least": 0}, "`x` must be finite, got inf"),
        (math.nan, {}, "`x` must be finite, got nan"),
        ("1", {}, "`x` must be a number, got '1'"),
        (True, {}, "`x` must be a number, got True"),
        (None, {}, "`x` must be a number, got None"),
        (1j, {}, "`x` must be a number, got 1j"),
        ([0.5], {}, "`x` must be a number, got [0.5]"),
        (np.array([0.5]), {}, "`x` must be a number, got array([0.5])"),
        (10**400, {}, "`x` must be finite, got a number of more than 20 digits"),
        (np.float32("inf"), {}, "`x` must be finite, got np.float32(inf)"),
    ],
)
def test_other_numbers_are_refused_in_one_wording(value, options, message):
    with pytest.raises(ValueError) as caught:
        number("x", value, **options)
    assert str(caught.value) == message
    assert number("x", 0.5, least=0, below=1) == 0.5
    for half in (np.float32(0.5), torch.tensor(0.5, requires_grad=True), Fraction(1, 2)):
        assert number("x", half) == 0.5 and type(number("x", half)) is float


def test_choices_are_listed_in_their_order():
    assert one_of("fit_loss", "nll", ("kl", "nll", "mmd")) == "nll"
    with pytest.raises(ValueError) as caught:
        one_of("fit_loss", "x", ("kl", "nll", "mmd"))
    assert str(caught.value) == "unknown `fit_loss` 'x'; choose from kl, nll, mmd"


def test_seeds_are_those_of_torch_and_numpy_alike():
    assert check_seed(2**63 - 1) == 2**63 - 1
    with pytest.raises(ValueError, match=r"`seed` must be at least 0 and below 2\*\*63, got -1"):
        check_seed(-1)


def test_real_arrays_are_copied_and_complex_ones_refused():
    values = np.array([1, 2])
    copied = reals(values)
    values[0] = 9
    assert copied.tolist() == [1.0, 2.0] and copied.dtype == np.float64
    assert reals(torch.tensor([0.5])).tolist() == [0.5]
    masked = np.ma.array([1.0, 2.0], mask=[True, False])
    for wrong in ([1j], masked):
        with pytest.raises(TypeError):
            reals(wrong)
    assert reals(torch.tensor([0.5], requires_grad=True)).tolist() == [0.5]


def test_too_many_qubits_are_refused_with_the_most_that_fit():
    assert memory_of() > 2**28
    check_memory(10)
    with pytest.raises(
        ValueError, match=r"`n_qubits` must be at most \d+ on this machine .* got 50"
    ):
        check_memory(50)


def test_images_beyond_half_of_the_memory_are_refused(monkeypatch):
    monkeypatch.setattr("qcaan.checks.memory_of", lambda: 2**30)
    check_images(2**30 // (2 * 12 * 784), (1, 28, 28))
    with pytest.raises(ValueError, match="`n` 100,000 images need 1 GiB, more than half of the"):
        check_images(100_000, (1, 28, 28))
