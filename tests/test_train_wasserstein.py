"""The command line of the hybrid WGAN-GP QGAN at toy size, through real processes."""

from __future__ import annotations

import errno
import json
import os

import numpy as np
import pytest
import torch
from conftest import assert_same_checkpoint
from PIL import Image

import qcaan

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


@pytest.fixture(scope="module")
def run_dir(call_script, tmp_path_factory):
    """A finished toy run with its scores."""
    path = tmp_path_factory.mktemp("runs") / "normal"
    result = call_script("train_gaussian.py", *TOY, "--epochs", 2, "--out", path)
    assert result.returncode == 0, result.stderr
    assert "epoch 2/2" in result.stdout
    return path


def test_a_run_leaves_everything_that_was_promised(run_dir):
    config = json.loads((run_dir / "config.json").read_text())
    assert (config["config"]["data"], config["config"]["penalty"]) == ("normal", "one-sided")
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
        "train_gaussian.py", "--data", tmp_path / "pairs.npy", "--rescale", "--epochs", 2, *TOY,
        "--eval-samples", 40, "--sampler", "aer", "--shots", 20, "--switch-after-epochs", 1,
        "--n-qubits", 3, "--out", tmp_path / "run",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "sampler aer after 1 epoch, 20 shots" in result.stdout
    scores = json.loads((tmp_path / "run" / "scores.json").read_text())
    assert [len(scores[key]) for key in ("mean", "std", "w1", "ks")] == [2] * 4
    assert scores["real"]["sliced_w1"] < 1
    assert scores["real"]["mean"] == pytest.approx([5, 5], abs=1)


def test_a_run_draws_from_its_directory_without_its_data(call_script, tmp_path):
    np.save(tmp_path / "pairs.npy", np.random.default_rng(0).normal(5, 2, (200, 2)))
    options = ("--data", tmp_path / "pairs.npy", "--rescale", "--epochs", 1, *TOY)
    result = call_script("train_gaussian.py", *options, "--out", tmp_path / "run")
    assert result.returncode == 0, result.stderr
    (tmp_path / "pairs.npy").unlink()
    run = qcaan.load_run(tmp_path / "run", seed=3, device="cpu")
    drawn = run.generate(50)
    assert run.system == "wasserstein"
    assert (drawn.shape, drawn.dtype) == ((50, 2), torch.float64)
    assert (drawn - run.gan.centre).abs().max() <= run.gan.scale.max()
    again = qcaan.load_run(tmp_path / "run", seed=3, device="cpu").generate(50)
    assert torch.equal(drawn, again)


def test_a_dry_run_checks_and_writes_nothing(call_script, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    options = ("--device", "cpu", "--dry-run", "--out", tmp_path / "run")
    dry = call_script("train_gaussian.py", *options)
    assert dry.returncode == 0, dry.stderr
    assert "dry run: nothing was written" in dry.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--data", "cauchy"), "'cauchy'; choose from lognormal"),
        (("--shots", 9, "--gradient", "finite-difference"), "finite-difference of 9 shots"),
        (("--eval-samples", 1), "`eval_samples` must be at least 2, got 1"),
        (("--resume",), "holds no run to resume"),
        (("--sampler", "bogus"), "unknown `sampler` 'bogus'; choose from exact"),
        (("--penalty", "none"), "unknown `penalty` 'none'; choose from one-sided, two-sided"),
        (
            ("--sampler", "aer-noise:fake_manila", "--shots", 9, "--n-qubits", 6, "--dry-run"),
            "`n_qubits` must be at most 5 on aer-noise:fake_manila, got 6",
        ),
        (("--batch-size", 10**11), "`batch_size` must be at most 100,000, got 100000000000"),
    ],
)
def test_bad_input_is_one_sentence_and_status_2(
    call_script, monkeypatch, tmp_path, options, message
):
    monkeypatch.chdir(tmp_path)
    result = call_script("train_gaussian.py", "--out", tmp_path / "run", *options)
    assert result.returncode == 2
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["config.json", "checkpoint.pt", "samples.npz", "report.png"])
def test_a_full_disk_is_one_sentence_and_what_was_saved_goes_on(
    call_script, run_dir, tmp_path, monkeypatch, name
):
    """The disk is full when a file of this name is written, and has room again later."""
    command = ("train_gaussian.py", *TOY, "--epochs", 2, "--out", tmp_path / "run")
    replace = os.replace

    def fail(temporary, path):
        if path.name == name:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        replace(temporary, path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", fail)
        result = call_script(*command)
    assert result.returncode == 2
    assert f"{name}: No space left on device" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not list(tmp_path.rglob("*.part"))
    again = [] if name == "config.json" else ["--resume"]
    assert (tmp_path / "run").exists() == bool(again)
    result = call_script(*command, *again)
    assert result.returncode == 0, result.stderr
    assert_same_checkpoint(run_dir, tmp_path / "run")
    for kept in ("log.jsonl", "scores.json"):
        assert len((tmp_path / "run" / kept).read_text()) > 100
