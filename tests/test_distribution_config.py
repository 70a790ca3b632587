"""The configuration of the QGAN of distributions, and the QGAN that it describes."""

from __future__ import annotations

import pytest

from qcaan.gans.distribution.config import DistributionConfig, configured_samples, make_qgan


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"data": "cauchy"}, "unknown `data` 'cauchy'; choose from lognormal"),
        ({"bounds": (3.0, 0.0)}, r"min < max, got \[3.0, 0.0\] for dimension 0"),
        (
            {"bounds": (3.0,)},
            "`bounds` must be a minimum and a maximum for each dimension, got 1 numbers",
        ),
        (
            {"n_qubits": (2, 2)},
            "`n_qubits` must be a whole number of at least 1 for each of the 1 dimensions",
        ),
        ({"epochs": 0}, "`epochs` must be at least 1, got 0"),
        ({"n_samples": 0}, "`n_samples` must be at least 1, got 0"),
        ({"lr": 2.0}, "`lr` must be above 0 and below 1, got 2.0"),
        ({"tol_rel_ent": -1.0}, "`tol_rel_ent` must be at least 0, got -1"),
        ({"n_layers": -1}, "`n_layers` must be at least 0, got -1"),
        ({"shots": -1}, "`shots` must be at least 0, got -1"),
        ({"sampler": "warp"}, "unknown `sampler` 'warp'"),
        ({"loss": "hinge"}, "unknown `loss` 'hinge'"),
        ({"gradient": "finite"}, "unknown `gradient` 'finite'"),
        ({"initial_state": "cat"}, "unknown `initial_state` 'cat'"),
    ],
)
def test_bad_configurations_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        config = DistributionConfig(**options)
        make_qgan(config, configured_samples(config).values)


def test_named_targets_bring_their_bounds_and_options_replace_them():
    plain, other = (
        DistributionConfig(data="gaussian-2d"),
        DistributionConfig(data="gaussian-2d", bounds=(-1.0, 1.0, -2.0, 2.0)),
    )
    assert make_qgan(plain, configured_samples(plain).values).grid.bounds.tolist() == [
        [-2, 2],
        [-2, 2],
    ]
    qgan = make_qgan(other, configured_samples(other).values)
    assert qgan.grid.bounds.tolist() == [[-1, 1], [-2, 2]]
    assert qgan.grid.n_qubits == (3, 3)
