"""The command line that classifies digits with and without a circuit, at toy size."""

from __future__ import annotations

import json

import pytest
from conftest import assert_same_checkpoint

SCRIPT = ("classify_digits.py", "--device", "cpu")


@pytest.fixture(scope="module")
def classified(call_script, tmp_path_factory):
    """A finished run of the feature extractor, with its output."""
    path = tmp_path_factory.mktemp("runs") / "classify"
    result = call_script(*SCRIPT, "--epochs", 12, "--out", path)
    assert result.returncode == 0, result.stderr
    return path, result.stdout


def test_digits_are_classified_with_the_circuit_and_without_it(classified):
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
    command = (*SCRIPT, "--out", tmp_path / "run")
    assert call_script(*command, "--epochs", 5).returncode == 0
    assert call_script(*command, "--epochs", 12, "--resume").returncode == 0
    assert_same_checkpoint(path, tmp_path / "run")
    assert (path / "scores.json").read_text() == (tmp_path / "run" / "scores.json").read_text()


def test_a_finished_run_says_so_and_another_configuration_is_refused(call_script, classified):
    path, _ = classified
    again = call_script(*SCRIPT, "--epochs", 12, "--out", path)
    assert (again.returncode, again.stderr) == (0, "")
    assert "is finished" in again.stdout
    other = call_script(*SCRIPT, "--epochs", 12, "--hidden", 8, "--out", path)
    assert other.returncode == 2
    assert "another configuration (hidden is 16 there, 8 here)" in other.stderr


def test_a_dry_run_checks_and_writes_nothing(call_script, tmp_path):
    dry = call_script(*SCRIPT, "--dry-run", "--out", tmp_path / "run")
    assert dry.returncode == 0, dry.stderr
    assert "dry run: nothing was written" in dry.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--digits", 3, 12), "12 is not a label of digits8x8"),
        (("--hidden", 0), "`hidden` must be at least 1, got 0"),
        (("--n-qubits", 60), "`n_qubits` must be at most"),
        (("--sampler", "bogus"), "unknown `sampler` 'bogus'; choose from exact"),
        (("--ansatz", "ring"), "unknown `ansatz` 'ring'; choose from"),
    ],
)
def test_bad_input_is_one_sentence_and_status_2(call_script, tmp_path, options, message):
    result = call_script(*SCRIPT, *options, "--out", tmp_path / "run")
    assert result.returncode == 2
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "run").exists()
