"""scripts/train_qgan.py and measure_qgan.py as a user runs them, at toy size."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import torch
from PIL import Image

from qcaan.runs.distribution import DistributionConfig, configured_samples, make_qgan

TOY = ("--data", "binomial", "--samples", 500, "--batch-size", 250)


@pytest.fixture(scope="module")
def run_dir(run_script, tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "binomial"
    result = run_script("train_qgan.py", *TOY, "--epochs", 120, "--out", path)
    assert result.returncode == 0, result.stderr
    assert "2 qubits, 4 angles" in result.stdout
    assert "accepts at 95 %" in result.stdout
    return path


def test_a_run_leaves_history_scores_and_a_report(run_dir):
    with (run_dir / "output.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 120
    scores = json.loads((run_dir / "scores.json").read_text())
    assert scores["rel_entr"] == pytest.approx(float(rows[-1]["rel_entropy"]))
    assert scores["rel_entr"] < 0.02
    assert scores["ks_test_500"]["accepts"]
    assert scores["points"] == [[0], [1], [2], [3]]
    assert sum(scores["pdf"]) == pytest.approx(1) and len(scores["params"]) == 4
    assert json.loads((run_dir / "config.json").read_text())["config"]["data"] == "binomial"
    with Image.open(run_dir / "report.png") as report:
        assert min(report.size) > 500


def test_a_finished_run_says_so(call_script, run_dir):
    again = call_script("train_qgan.py", *TOY, "--epochs", 120, "--out", run_dir)
    assert (again.returncode, again.stderr) == (0, "")
    assert "is finished" in again.stdout


def test_a_run_that_ended_early_is_finished(call_script, tmp_path):
    options = (
        "train_qgan.py",
        *TOY,
        "--epochs",
        200,
        "--tol-rel-ent",
        0.08,
        "--out",
        tmp_path / "run",
    )
    first = call_script(*options)
    assert (first.returncode, first.stderr) == (0, "")
    epochs = len((tmp_path / "run" / "output.csv").read_text().splitlines()) - 1
    assert 1 < epochs < 200
    again = call_script(*options)
    assert (again.returncode, again.stderr) == (0, "")
    assert f"is finished: {epochs} epochs" in again.stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ("--gradient", "autograd", "--sampler", "aer"),
            "gradient 'autograd' needs an Ansatz on the exact engine",
        ),
        (("--sampler", "aer-noise:fake_nothing"), "fake_nothing"),
        (
            ("--sampler", "aer-noise:ionq-aria", "--shots", 0),
            "shots must be at least 1 on a sampler",
        ),
        (("--seed", -1), "seed must be a whole number"),
        (("--seed", 2**63), "seed must be a whole number"),
    ],
)
def test_what_cannot_be_trained_leaves_nothing_behind(call_script, tmp_path, options, message):
    for dry in ((), ("--dry-run",)):
        result = call_script("train_qgan.py", *TOY, "--out", tmp_path / "run", *options, *dry)
        assert result.returncode == 2
        assert message in result.stderr
        assert len(result.stderr.strip().splitlines()) == 1
        assert not (tmp_path / "run").exists()


def test_a_resumed_run_equals_an_uninterrupted_one(call_script, tmp_path):
    options = ("train_qgan.py", *TOY, "--sampler", "aer", "--shots", 100, "--loss", "wgan-gp")
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert call_script(*options, "--epochs", 4, "--out", whole).returncode == 0
    assert call_script(*options, "--epochs", 2, "--out", parts).returncode == 0
    resumed = call_script(*options, "--epochs", 4, "--out", parts, "--resume")
    assert resumed.returncode == 0, resumed.stderr
    assert (whole / "output.csv").read_text() == (parts / "output.csv").read_text()
    left, right = (torch.load(path / "checkpoint.pt", weights_only=True) for path in (whole, parts))
    assert torch.equal(left["generator"]["theta"], right["generator"]["theta"])
    assert left["random"] == right["random"]


def test_a_file_in_two_dimensions_trains(run_script, tmp_path):
    samples = np.random.default_rng(0).normal(0, 1, (300, 2))
    np.savetxt(tmp_path / "prices.csv", samples, delimiter=",", header="open,close", comments="")
    options = (
        "--batch-size",
        100,
        "--epochs",
        2,
        "--num-qubits",
        1,
        2,
        "--initial-state",
        "normal",
    )
    result = run_script("train_qgan.py", "--data", "prices.csv", *options, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    scores = json.loads((tmp_path / "runs" / "qgan-prices" / "scores.json").read_text())
    np.testing.assert_allclose(scores["bounds"], np.percentile(samples, (5, 95), axis=0).T)
    assert len(scores["pdf"]) == 8


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--data", "nowhere.csv"), "nowhere.csv: No such file"),
        (
            ("--batch-size", 9999),
            "batch_size must be from 1 to the 500 samples within the bounds, got 9999",
        ),
        (("--resume",), "holds no run to resume"),
    ],
)
def test_bad_input_is_one_sentence_and_status_2(run_script, tmp_path, options, message):
    result = run_script("train_qgan.py", *TOY, "--out", tmp_path / "run", *options, cwd=tmp_path)
    assert result.returncode == 2
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"data": "cauchy"}, "unknown target 'cauchy'; choose from lognormal"),
        ({"bounds": (3.0, 0.0)}, r"min < max, got \[3.0, 0.0\] for dimension 0"),
        ({"bounds": (3.0,)}, "bounds must be a min and a max for each dimension, got 1 numbers"),
        (
            {"num_qubits": (2, 2)},
            "num_qubits must be a whole number of at least 1 for each of the 1 dimensions",
        ),
        ({"epochs": 0}, "epochs must be at least 1, got 0"),
        ({"samples": 0}, "samples must be at least 1, got 0"),
        ({"lr": 2.0}, "lr must be between 0 and 1, got 2.0"),
        ({"sampler": "warp"}, "unknown sampler 'warp'"),
        ({"loss": "hinge"}, "unknown loss 'hinge'"),
        ({"gradient": "finite"}, "unknown gradient 'finite'"),
        ({"initial_state": "cat"}, "unknown initial_state 'cat'"),
    ],
)
def test_bad_configurations_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        config = DistributionConfig(**options)
        make_qgan(config, configured_samples(config))


def test_named_targets_bring_their_bounds_and_options_replace_them():
    plain, other = (
        DistributionConfig("gaussian-2d"),
        DistributionConfig("gaussian-2d", bounds=(-1.0, 1.0, -2.0, 2.0)),
    )
    assert make_qgan(plain, configured_samples(plain)).grid.bounds.tolist() == [[-2, 2], [-2, 2]]
    qgan = make_qgan(other, configured_samples(other))
    assert qgan.grid.bounds.tolist() == [[-1, 1], [-2, 2]]
    assert qgan.grid.num_qubits == (3, 3)


def test_unknown_cases_of_the_measurement_are_refused(call_script):
    result = call_script("measure_qgan.py", "--cases", "cauchy")
    assert result.returncode == 2
    assert "unknown case 'cauchy'; choose from binomial; " in result.stderr
