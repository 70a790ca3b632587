"""The command lines a user types, at toy size, through real processes."""

from __future__ import annotations

import json
import signal
import time

import numpy as np
import pytest
import torch
from conftest import CIRCUIT, TOY, assert_same_checkpoint
from PIL import Image


@pytest.fixture(scope="module")
def run_dir(run_script, tmp_path_factory):
    """A finished toy run with its scores."""
    path = tmp_path_factory.mktemp("runs") / "379"
    result = run_script(
        "train_mnist.py", *TOY, *CIRCUIT, "--epochs", 2, "--eval-images", 60, "--out", path
    )
    assert result.returncode == 0, result.stderr
    assert "epoch 2/2" in result.stdout
    assert "held-out real" in result.stdout
    return path


def test_a_run_leaves_everything_that_was_promised(run_dir):
    config = json.loads((run_dir / "config.json").read_text())
    assert config["config"]["epochs"] == 2
    assert config["config"]["seed"] == 1
    assert config["versions"]["qiskit"]
    assert "scikit-learn" in config["data"]["provenance"]
    records = [json.loads(line) for line in (run_dir / "log.jsonl").read_text().splitlines()]
    assert [record["epoch"] for record in records] == [1, 2]
    assert records[0]["fit"]["loss_after"] <= records[0]["fit"]["loss_before"]
    assert records[0]["fit"]["kl"] > 0
    scores = json.loads((run_dir / "scores.json").read_text())
    assert scores["generated"]["n_images"] == 60
    assert scores["held_out_real"]["unread"] < 0.1
    assert not scores["fid_reliable"]
    assert scores["prior"]["kl_product"] > 0
    with Image.open(run_dir / "progress.gif") as gif:
        assert gif.n_frames == 2
    with Image.open(run_dir / "report.png") as report:
        assert min(report.size) > 500
    assert len(list((run_dir / "samples").glob("epoch_*.png"))) == 2
    with np.load(run_dir / "prior.npz", allow_pickle=False) as arrays:
        assert arrays["model"].shape == arrays["target"].shape == (2, 32)
        assert arrays["model"].sum(1).tolist() == pytest.approx([1, 1])


def test_a_finished_run_says_so_and_another_configuration_is_refused(call_script, run_dir):
    before = {path: path.read_bytes() for path in run_dir.rglob("*") if path.is_file()}
    again = call_script("train_mnist.py", *TOY, *CIRCUIT, "--epochs", 2, "--out", run_dir)
    assert (again.returncode, again.stderr) == (0, "")
    assert "is finished" in again.stdout
    other = call_script(
        "train_mnist.py", *TOY, *CIRCUIT, "--epochs", 2, "--lr", 0.01, "--out", run_dir
    )
    assert other.returncode == 2
    assert "another configuration (lr is 0.001 there, 0.01 here)" in other.stderr
    assert {path: path.read_bytes() for path in run_dir.rglob("*") if path.is_file()} == before


def test_resumed_equals_uninterrupted(run_script, call_script, tmp_path):
    options = ("--prior", "qcbm", *CIRCUIT, "--shots", 50, "--fit-loss", "mmd")
    command = ("train_mnist.py", *TOY, *options, "--eval-images", 0)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert run_script(*command, "--epochs", 2, "--out", whole).returncode == 0
    assert call_script(*command, "--epochs", 1, "--out", parts).returncode == 0
    unfinished = call_script(*command, "--epochs", 2, "--out", parts)
    assert unfinished.returncode == 2
    assert "--resume" in unfinished.stderr
    resumed = call_script(*command, "--epochs", 2, "--out", parts, "--resume")
    assert resumed.returncode == 0, resumed.stderr
    assert_same_checkpoint(whole, parts)
    assert (whole / "samples" / "epoch_0002.png").read_bytes() == (
        parts / "samples" / "epoch_0002.png"
    ).read_bytes()


def test_results_that_are_missing_or_of_an_earlier_epoch_are_made_again(call_script, tmp_path):
    run = tmp_path / "run"
    command = ("train_mnist.py", *TOY, "--prior", "bernoulli", "--eval-images", 60, "--out", run)
    names = ("scores.json", "report.png", "progress.gif")
    results = []
    for options in (("--epochs", 1), ("--epochs", 2, "--resume")):
        assert call_script(*command, *options).returncode == 0
        results.append({name: (run / name).read_bytes() for name in names})
    old, new = results
    assert json.loads(new["scores.json"])["epoch"] == 2
    damages = [{name: old[name]} for name in names]
    damages += [dict.fromkeys(names, left) for left in (b"", None)]
    for damage in damages:
        for name, left in damage.items():
            (run / name).unlink() if left is None else (run / name).write_bytes(left)
        again = call_script(*command, *options)
        assert (again.returncode, again.stderr) == (0, "")
        assert "is finished" not in again.stdout
        assert {name: (run / name).read_bytes() for name in names} == new
    assert "is finished" in call_script(*command, *options).stdout


def test_a_killed_and_an_interrupted_run_lose_nothing(start_script, tmp_path):
    arguments = (
        *TOY,
        "--prior",
        "bernoulli",
        "--eval-images",
        0,
        "--epochs",
        400,
        "--out",
        tmp_path / "run",
    )
    checkpoint = tmp_path / "run" / "checkpoint.pt"
    epochs = []
    for kill, extra in ((signal.SIGKILL, []), (signal.SIGINT, ["--resume"])):
        last = checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
        script = start_script("train_mnist.py", *arguments, *extra)
        deadline = time.monotonic() + 120
        while not checkpoint.exists() or checkpoint.stat().st_mtime_ns == last:
            assert script.process.is_alive(), script.end().stderr
            assert time.monotonic() < deadline
            time.sleep(0.05)
        ended = script.end(kill)
        epochs.append(torch.load(checkpoint, weights_only=True)["epoch"])
    assert ended.returncode == 130
    assert "Continue with the same command and --resume" in ended.stdout
    assert "Traceback" not in ended.stderr
    assert epochs[1] > epochs[0] >= 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--digits", 3, 12), "12 is not a label of digits8x8"),
        (("--digits", 3, 3), "`digits` must be one or more different values, got 3 3"),
        (("--n-qubits", 0), "`n_qubits` must be at least 1, got 0"),
        (("--n-qubits", 60), "`n_qubits` must be at most"),
        (("--sampler", "warp"), "unknown `sampler` 'warp'; choose from exact, aer, aer:single"),
        (("--fit-loss", "hinge"), "unknown `fit_loss` 'hinge'"),
        (("--ansatz", "ring"), "unknown `ansatz` 'ring'"),
        (("--latent", "deep"), "unknown `latent` 'deep'"),
        (("--bases", "z", "q"), "unknown `bases` 'q'; choose from z, o, t"),
        (("--data", "nowhere.npz"), "nowhere.npz"),
        (("--epochs", 0), "`epochs` must be at least 1, got 0"),
        (("--device", "tpu"), "unknown `device` 'tpu'"),
        (("--out", "/proc/qcaan/run"), "/proc/qcaan"),
        (("--resume",), "holds no run to resume"),
    ],
)
def test_bad_input_is_one_sentence_and_status_2(
    call_script, tmp_path, monkeypatch, options, message
):
    monkeypatch.chdir(tmp_path)
    result = call_script("train_mnist.py", *TOY, "--out", tmp_path / "run", *options)
    assert result.returncode == 2
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_mnist_trains_on_the_real_files(call_script, mnist_root, tmp_path):
    result = call_script(
        "train_mnist.py", "--data", "mnist", "--data-root", mnist_root, "--epochs", 1,
        "--steps-per-epoch", 4, "--width", 4, *CIRCUIT, "--eval-images", 0,
        "--out", tmp_path / "run",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert json.loads((tmp_path / "run" / "config.json").read_text())["data"]["n_images"] == 18345
