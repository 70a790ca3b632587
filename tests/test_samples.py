"""Samples of named distributions and of files."""

from __future__ import annotations

import numpy as np
import pytest

from qcaan.data.samples import NAMED_DISTRIBUTIONS, load_samples


@pytest.mark.parametrize("name", NAMED_DISTRIBUTIONS)
def test_a_named_distribution_is_repeatable_and_fits_its_own_bounds(name):
    samples = load_samples(name, 2000, 3)
    assert (samples.dtype, samples.shape) == (
        np.float64,
        (2000, len(NAMED_DISTRIBUTIONS[name].bounds)),
    )
    np.testing.assert_array_equal(samples, load_samples(name, 2000, 3))
    assert (samples != load_samples(name, 2000, 4)).any()
    low, high = np.transpose(NAMED_DISTRIBUTIONS[name].bounds)
    assert ((samples >= low) & (samples <= high)).all(1).mean() > 0.7
    assert len(NAMED_DISTRIBUTIONS[name].n_qubits) == samples.shape[1]


def test_moments_are_those_of_the_papers_distributions():
    n = 200_000
    assert np.log(load_samples("lognormal", n, 0)).mean() == pytest.approx(1, abs=0.01)
    assert np.log(load_samples("lognormal", n, 0)).std() == pytest.approx(1, abs=0.01)
    assert load_samples("triangular", n, 0).mean() == pytest.approx(3, abs=0.02)  # (0 + 2 + 7) / 3
    bimodal = load_samples("bimodal", n, 0)
    assert bimodal.mean() == pytest.approx(2, abs=0.02)
    assert bimodal.var() == pytest.approx(0.5 * (1 + 0.25) + 2.25, abs=0.03)
    assert np.bincount(load_samples("binomial", n, 0).astype(int).ravel()) / n == pytest.approx(
        [1 / 8, 3 / 8, 3 / 8, 1 / 8], abs=0.005
    )
    correlations = np.corrcoef(load_samples("gaussian-3d", n, 0).T)
    assert correlations[np.triu_indices(3, 1)] == pytest.approx([0.6] * 3, abs=0.01)


def test_files_are_read_with_and_without_a_header(tmp_path):
    (tmp_path / "plain.csv").write_text("1.5\n2\n\n-3e1\n")
    np.testing.assert_array_equal(load_samples(tmp_path / "plain.csv", 1, 0), [[1.5], [2], [-30]])
    (tmp_path / "named.csv").write_text("price, volume\n1, 2\n3, 4\n")
    np.testing.assert_array_equal(load_samples(str(tmp_path / "named.csv"), 1, 0), [[1, 2], [3, 4]])
    (tmp_path / "marked.csv").write_text("1\n2\n", encoding="utf-8-sig")  # as spreadsheets write it
    np.testing.assert_array_equal(load_samples(tmp_path / "marked.csv", 1, 0), [[1], [2]])
    np.save(tmp_path / "counts.npy", np.arange(3))
    samples = load_samples(tmp_path / "counts.npy", 1, 0)
    assert (samples.dtype, samples.tolist()) == (np.float64, [[0], [1], [2]])


def test_bad_data_are_named(tmp_path):
    with pytest.raises(
        ValueError, match=r"unknown `data` 'cauchy'; choose from lognormal, .*\.npy or \.npz file"
    ):
        load_samples("cauchy", 10, 0)
    with pytest.raises(ValueError, match="`n` must be at least 1, got 0"):
        load_samples("lognormal", 0, 0)
    with pytest.raises(ValueError, match=r"cannot read ~no user/x\.csv: Could not determine home"):
        load_samples("~no user/x.csv", 1, 0)
    with pytest.raises(FileNotFoundError):
        load_samples("nowhere.csv", 1, 0)
