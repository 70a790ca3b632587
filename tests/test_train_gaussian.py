"""The command lines of the hybrid WGAN-GP QGAN and of the feature extractor, at toy size, through real processes."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image
from test_scripts import assert_same_checkpoint

TOY = (
    "--batch-size",
    8,
    "--steps-per-epoch",
    3,
    "--critic-width",
    8,
    "--device",
    "cpu",
    "--eval-samples",
    500,
)
CLASSIFY = ("classify_digits.py", "--device", "cpu")


@pytest.fixture(scope="module")
def run_dir(run_script, tmp_path_factory):
    """A finished toy run with its scores."""
    path = tmp_path_factory.mktemp("runs") / "normal"
    result = run_script("train_gaussian.py", *TOY, "--epochs", 2, "--out", path)
    assert result.returncode == 0, result.stderr
    assert "epoch 2/2" in result.stdout
    return path


@pytest.fixture(scope="module")
def classified(run_script, tmp_path_factory):
    """A finished run of the feature extractor, with its output."""
    path = tmp_path_factory.mktemp("runs") / "classify"
    result = run_script(*CLASSIFY, "--epochs", 12, "--out", path)
    assert result.returncode == 0, result.stderr
    return path, result.stdout


def test_a_run_leaves_everything_that_was_promised(run_dir):
    config = json.loads((run_dir / "config.json").read_text())
    assert (config["config"]["target"], config["config"]["penalty"]) == ("normal", "one-sided")
    assert config["data"]["std"] == [pytest.approx(0.2, rel=0.01)]
    records = [json.loads(line) for line in (run_dir / "log.jsonl").read_text().splitlines()]
    assert [(record["epoch"], record["step"]) for record in records] == [(1, 3), (2, 6)]
    scores = json.loads((run_dir / "scores.json").read_text())
    assert 0.1 < scores["w1"] < 1 and 0.1 < scores["ks"] <= 1 and scores["n_samples"] == 500
    assert scores["real"]["mean"] == pytest.approx(0, abs=0.03)
    assert scores["real"]["std"] == pytest.approx(0.2, rel=0.1)
    with Image.open(run_dir / "report.png") as report:
        assert min(report.size) > 500
    with np.load(run_dir / "samples.npz", allow_pickle=False) as arrays:
        assert arrays["generated"].shape == arrays["real"].shape == (500, 1)
        assert arrays["generated"].mean() == pytest.approx(scores["mean"])


def test_a_finished_run_says_so_and_another_configuration_is_refused(call_script, run_dir):
    before = {path: path.read_bytes() for path in run_dir.rglob("*") if path.is_file()}
    again = call_script("train_gaussian.py", *TOY, "--epochs", 2, "--out", run_dir)
    assert (again.returncode, again.stderr) == (0, "")
    assert "is finished" in again.stdout
    other = call_script("train_gaussian.py", *TOY, "--epochs", 2, "--std", 0.1, "--out", run_dir)
    assert other.returncode == 2
    assert "another configuration (std is 0.2 there, 0.1 here)" in other.stderr
    assert {path: path.read_bytes() for path in run_dir.rglob("*") if path.is_file()} == before


def test_resumed_equals_uninterrupted(call_script, run_dir, tmp_path):
    command = ("train_gaussian.py", *TOY, "--out", tmp_path / "run")
    assert call_script(*command, "--epochs", 1).returncode == 0
    resumed = call_script(*command, "--epochs", 2, "--resume")
    assert resumed.returncode == 0, resumed.stderr
    assert_same_checkpoint(run_dir, tmp_path / "run")
    assert (run_dir / "scores.json").read_text() == (tmp_path / "run" / "scores.json").read_text()


def test_more_columns_from_a_file_on_a_sampler_at_the_end(call_script, tmp_path):
    np.save(tmp_path / "pairs.npy", np.random.default_rng(0).normal(5, 2, (200, 2)))
    result = call_script(
        "train_gaussian.py", "--target", tmp_path / "pairs.npy", "--rescale", "--epochs", 1, *TOY, "--eval-samples", 40,
        "--sampler", "aer", "--shots", 20, "--switch-at", 2, "--n-qubits", 3, "--out", tmp_path / "run",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "sampler aer from step 2 on, 20 shots" in result.stdout
    scores = json.loads((tmp_path / "run" / "scores.json").read_text())
    assert [len(scores[key]) for key in ("mean", "std", "w1", "ks")] == [2] * 4
    assert scores["real"]["sliced_w1"] < 1
    assert scores["real"]["mean"] == pytest.approx([5, 5], abs=1)


@pytest.mark.parametrize("script", ["train_gaussian.py", "classify_digits.py"])
def test_a_dry_run_checks_and_writes_nothing(run_script, tmp_path, script):
    dry = run_script(
        script, "--device", "cpu", "--dry-run", "--out", tmp_path / "run", cwd=tmp_path
    )
    assert dry.returncode == 0, dry.stderr
    assert "dry run: nothing was written" in dry.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("script", "options", "message"),
    [
        (
            "train_gaussian.py",
            ("--target", "cauchy"),
            "unknown target 'cauchy'; choose from lognormal",
        ),
        (
            "train_gaussian.py",
            ("--shots", 9, "--gradient", "finite-difference"),
            "finite-difference of 9 shots",
        ),
        ("train_gaussian.py", ("--eval-samples", 1), "eval_samples must be at least 2, got 1"),
        ("train_gaussian.py", ("--resume",), "holds no run to resume"),
        ("train_gaussian.py", ("--sampler", "bogus"), "unknown sampler 'bogus'; choose from exact"),
        (
            "train_gaussian.py",
            ("--sampler", "aer-noise:fake_manila", "--shots", 9, "--n-qubits", 6, "--dry-run"),
            "the device has 5 qubits, the circuit 6",
        ),
        ("train_gaussian.py", ("--batch-size", 10**11), "the memory does not hold this"),
        ("classify_digits.py", ("--digits", 3, 12), "12 is not a label of digits8x8"),
    ],
)
def test_bad_input_is_one_sentence_and_status_2(run_script, tmp_path, script, options, message):
    result = run_script(script, "--out", tmp_path / "run", *options, cwd=tmp_path)
    assert result.returncode == 2
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_a_classifier_reads_digits_with_the_circuit_and_without_it(classified):
    path, output = classified
    scores = json.loads((path / "scores.json").read_text())
    for name in ("with the circuit", "without it"):
        assert scores[name]["test_accuracy"] > 0.85  # a third by guessing
        assert f"{name}: test accuracy {scores[name]['test_accuracy']:.1%}" in output
    assert scores["with the circuit"]["n_weights"] - scores["without it"]["n_weights"] == 32
    records = [json.loads(line) for line in (path / "log.jsonl").read_text().splitlines()]
    assert records[-1]["loss"]["with the circuit"] < 0.5 * records[0]["loss"]["with the circuit"]


def test_a_resumed_classifier_equals_an_uninterrupted_one(call_script, classified, tmp_path):
    path, _ = classified
    command = (*CLASSIFY, "--out", tmp_path / "run")
    assert call_script(*command, "--epochs", 5).returncode == 0
    assert call_script(*command, "--epochs", 12, "--resume").returncode == 0
    assert_same_checkpoint(path, tmp_path / "run")
    assert (path / "scores.json").read_text() == (tmp_path / "run" / "scores.json").read_text()
