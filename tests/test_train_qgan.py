"""scripts/train_qgan.py and measure_qgan.py as a user runs them, at toy size."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import torch
from PIL import Image

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


def test_a_finished_run_says_so_and_another_configuration_is_refused(run_script, run_dir):
    again = run_script("train_qgan.py", *TOY, "--epochs", 120, "--out", run_dir)
    assert (again.returncode, again.stderr) == (0, "")
    assert "is finished" in again.stdout
    other = run_script("train_qgan.py", *TOY, "--epochs", 120, "--lr", 0.1, "--out", run_dir)
    assert other.returncode == 2
    assert "another configuration (lr is 0.02 there, 0.1 here)" in other.stderr


def test_a_resumed_run_equals_an_uninterrupted_one(run_script, tmp_path):
    options = ("train_qgan.py", *TOY, "--sampler", "aer", "--shots", 100, "--loss", "wgan-gp")
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert run_script(*options, "--epochs", 4, "--out", whole).returncode == 0
    assert run_script(*options, "--epochs", 2, "--out", parts).returncode == 0
    unfinished = run_script(*options, "--epochs", 4, "--out", parts)
    assert unfinished.returncode == 2 and "--resume" in unfinished.stderr
    resumed = run_script(*options, "--epochs", 4, "--out", parts, "--resume")
    assert resumed.returncode == 0, resumed.stderr
    assert (whole / "output.csv").read_text() == (parts / "output.csv").read_text()
    left, right = (torch.load(path / "checkpoint.pt", weights_only=True) for path in (whole, parts))
    assert torch.equal(left["generator"]["theta"], right["generator"]["theta"])
    assert left["random"] == right["random"]


def test_files_in_two_dimensions_train(run_script, tmp_path):
    samples = np.random.default_rng(0).normal(0, 1, (300, 2))
    np.savetxt(tmp_path / "prices.csv", samples, delimiter=",", header="open,close", comments="")
    options = ("--batch-size", 100, "--epochs", 2, "--num-qubits", 1, 2, "--initial-state", "normal")
    result = run_script("train_qgan.py", "--data", "prices.csv", *options, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    scores = json.loads((tmp_path / "runs" / "qgan-prices" / "scores.json").read_text())
    np.testing.assert_allclose(scores["bounds"], np.percentile(samples, (5, 95), axis=0).T)
    assert len(scores["pdf"]) == 8
    np.save(tmp_path / "prices.npy", samples)
    options = ("--batch-size", 100, "--epochs", 1, "--bounds", -1, 1, -2, 2, "--num-qubits", 1, 1)
    result = run_script("train_qgan.py", "--data", "prices.npy", *options, "--out", "other", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert json.loads((tmp_path / "other" / "scores.json").read_text())["bounds"] == [[-1, 1], [-2, 2]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--data", "cauchy"), "unknown target 'cauchy'; choose from lognormal"),
        (("--data", "nowhere.csv"), "nowhere.csv"),
        (("--batch-size", 9999), "batch_size must be from 1 to the 500 samples within the bounds, got 9999"),
        (("--bounds", 3, 0), "min < max, got [3.0, 0.0] for dimension 0"),
        (("--bounds", 3), "bounds must be a min and a max for each dimension, got 1 numbers"),
        (("--num-qubits", 2, 2), "num_qubits must be a whole number of at least 1 for each of the 1 dimensions"),
        (("--epochs", 0), "epochs must be at least 1, got 0"),
        (("--lr", 2), "lr must be between 0 and 1, got 2.0"),
        (("--sampler", "warp"), "unknown sampler 'warp'"),
        (("--loss", "hinge"), "unknown loss 'hinge'"),
        (("--resume",), "holds no run to resume"),
    ],
)
def test_bad_input_is_one_sentence_and_status_2(run_script, tmp_path, options, message):
    result = run_script("train_qgan.py", *TOY, "--out", tmp_path / "run", *options, cwd=tmp_path)
    assert result.returncode == 2
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_unknown_cases_of_the_measurement_are_refused(run_script):
    result = run_script("measure_qgan.py", "--cases", "cauchy")
    assert result.returncode == 2
    assert "unknown case 'cauchy'; choose from binomial; " in result.stderr
