"""The command lines a user types, at toy size, through real processes."""

from __future__ import annotations

import csv
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

ROOT = Path(__file__).parent.parent
TOY = (
    "--data",
    "digits8x8",
    "--steps-per-epoch",
    3,
    "--batch-size",
    16,
    "--width",
    4,
    "--device",
    "cpu",
)
CIRCUIT = ("--n-qubits", 3, "--fit-evals", 30, "--bank-shots", 200)


def tensors(value, prefix=""):
    """All leaves of a checkpoint by their path."""
    if isinstance(value, dict):
        return {
            k: v for key, item in value.items() for k, v in tensors(item, f"{prefix}/{key}").items()
        }
    if isinstance(value, list | tuple):
        return {
            k: v
            for key, item in enumerate(value)
            for k, v in tensors(item, f"{prefix}/{key}").items()
        }
    return {prefix: value}


def assert_same_checkpoint(one: Path, other: Path):
    left, right = (
        tensors(torch.load(path / "checkpoint.pt", weights_only=True)) for path in (one, other)
    )
    assert left.keys() == right.keys()
    for key, value in left.items():
        same = (
            torch.equal(value, right[key])
            if isinstance(value, torch.Tensor)
            else value == right[key]
        )
        assert same, key


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
        assert arrays["model"].shape == arrays["target"].shape == (2, 8)
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


def test_resumed_equals_uninterrupted(run_script, tmp_path):
    options = ("--prior", "qcbm", *CIRCUIT, "--shots", 50, "--loss", "mmd")
    command = ("train_mnist.py", *TOY, *options, "--eval-images", 0)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert run_script(*command, "--epochs", 2, "--out", whole).returncode == 0
    assert run_script(*command, "--epochs", 1, "--out", parts).returncode == 0
    unfinished = run_script(*command, "--epochs", 2, "--out", parts)
    assert unfinished.returncode == 2
    assert "--resume" in unfinished.stderr
    resumed = run_script(*command, "--epochs", 2, "--out", parts, "--resume")
    assert resumed.returncode == 0, resumed.stderr
    assert_same_checkpoint(whole, parts)
    assert (whole / "samples" / "epoch_0002.png").read_bytes() == (
        parts / "samples" / "epoch_0002.png"
    ).read_bytes()


def test_a_killed_and_an_interrupted_run_lose_nothing(tmp_path):
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
    command = [sys.executable, str(ROOT / "scripts" / "train_mnist.py"), *map(str, arguments)]
    checkpoint = tmp_path / "run" / "checkpoint.pt"
    epochs = []
    for kill, extra in ((signal.SIGKILL, []), (signal.SIGINT, ["--resume"])):
        last = checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
        process = subprocess.Popen(
            [*command, *extra],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # a shell starts its background jobs with Ctrl-C ignored, and these tests may be one
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        deadline = time.monotonic() + 120
        while not checkpoint.exists() or checkpoint.stat().st_mtime_ns == last:
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(kill)
        output, errors = process.communicate(timeout=60)
        epochs.append(torch.load(checkpoint, weights_only=True)["epoch"])
    assert process.returncode == 130
    assert "Go on with the same command and --resume" in output
    assert "Traceback" not in errors
    assert epochs[1] > epochs[0] >= 1


def test_generate_makes_grids_arrays_and_sequences(call_script, run_dir, tmp_path):
    result = call_script(
        "generate.py",
        run_dir,
        "--n",
        9,
        "--out",
        tmp_path / "grid.png",
        "--npz",
        tmp_path / "images.npz",
    )
    assert result.returncode == 0, result.stderr
    with np.load(tmp_path / "images.npz", allow_pickle=False) as arrays:
        assert (arrays["images"].shape, arrays["images"].dtype) == ((9, 28, 28), np.uint8)
        assert (arrays["bits"].shape, arrays["bits"].dtype) == ((9, 6), np.uint8)
    again = call_script("generate.py", run_dir, "--n", 9, "--npz", tmp_path / "again.npz")
    assert again.returncode == 0
    with np.load(tmp_path / "images.npz") as one, np.load(tmp_path / "again.npz") as other:
        assert (one["images"] == other["images"]).all()
    # two epochs of three steps draw no digit at will: take a sequence of what the classifier does read
    missing = call_script(
        "generate.py", run_dir, "--sequence", 3, 12, "--out", tmp_path / "strip.png"
    )
    assert missing.returncode == 2
    assert "read as 12" in missing.stderr or "read as 3" in missing.stderr
    assert not (tmp_path / "strip.png").exists()


def test_evaluate_scores_a_run_again_and_agrees_with_itself(call_script, run_dir, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(run_dir, copy)
    texts = []
    for _ in range(2):
        result = call_script("evaluate.py", copy, "--n", 50)
        assert result.returncode == 0, result.stderr
        texts.append((copy / "scores.json").read_text())
    assert texts[0] == texts[1]
    assert json.loads(texts[0])["generated"]["n_images"] == 50


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--digits", 3, 12), "12 is not a label of digits8x8"),
        (("--digits", 3, 3), "different labels"),
        (("--n-qubits", 0), "n_qubits must be at least 1, got 0"),
        (("--n-qubits", 60), "n_qubits must be at most"),
        (("--sampler", "warp"), "unknown sampler 'warp'; choose from exact, aer, aer:single"),
        (("--loss", "hinge"), "unknown loss 'hinge'"),
        (("--ansatz", "ring"), "unknown ansatz 'ring'"),
        (("--latent", "deep"), "unknown latent 'deep'"),
        (("--bases", "z", "q"), "bases must be different ones of z, o, t, got z q"),
        (("--data", "nowhere.npz"), "nowhere.npz"),
        (("--epochs", 0), "epochs must be at least 1, got 0"),
        (("--device", "tpu"), "unknown device 'tpu'"),
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


def test_damaged_runs_are_named(call_script, run_dir, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(run_dir, copy)
    os.truncate(copy / "checkpoint.pt", 2000)
    for name in ("generate.py", "evaluate.py"):
        result = call_script(name, copy)
        assert result.returncode == 2
        assert "checkpoint.pt is damaged" in result.stderr
    result = call_script("evaluate.py", tmp_path)
    assert result.returncode == 2
    assert "is not a run directory" in result.stderr


def test_mnist_trains_on_the_real_files(call_script, mnist_root, tmp_path):
    result = call_script(
        "train_mnist.py", "--data", "mnist", "--data-root", mnist_root, "--epochs", 1, "--steps-per-epoch", 4, "--width", 4,
        *CIRCUIT, "--eval-images", 0, "--out", tmp_path / "run",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert json.loads((tmp_path / "run" / "config.json").read_text())["data"]["n_images"] == 18345


def test_priors_are_compared_and_finished_cells_are_kept(call_script, tmp_path):
    out = tmp_path / "compare"
    toy = (
        "--data",
        "digits8x8",
        "--epochs",
        1,
        "--steps-per-epoch",
        3,
        "--width",
        4,
        "--images",
        60,
        "--out",
        out,
    )
    first = call_script(
        "compare_priors.py", *toy, "--priors", "gaussian-64", "qcbm-8 z", "--seeds", 0
    )
    assert first.returncode == 0, first.stderr
    cells = {path: path.stat().st_mtime_ns for path in (out / "cells").iterdir()}
    assert len(cells) == 3  # and the held-out images
    second = call_script("compare_priors.py", *toy, "--priors", "gaussian-64", "--seeds", 0, 1)
    assert second.returncode == 0, second.stderr
    assert {path: path.stat().st_mtime_ns for path in cells} == cells
    table = (out / "table.md").read_text().splitlines()
    assert [row.split(" | ")[:2] for row in table[2:4]] == [
        ["| gaussian-64", "2"],
        ["| qcbm-8 z", "1"],
    ]
    assert "±" in table[2] and "±" not in table[3] and "held-out real" in table[4]
    rows = (out / "table.csv").read_text().splitlines()
    assert len(rows) == 4 and rows[0].startswith("prior,seed,fid,kid")
    with Image.open(out / "fid.png") as picture:
        assert min(picture.size) > 100


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--priors", "magic"), "unknown prior 'magic'; choose from gaussian-64"),
        (("--width", 0), "width must be at least 1, got 0"),
    ],
)
def test_bad_comparisons_are_one_sentence(call_script, tmp_path, options, message):
    result = call_script(
        "compare_priors.py", "--data", "digits8x8", "--out", tmp_path / "c", *options
    )
    assert result.returncode == 2
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not (tmp_path / "c").exists()


def test_fits_of_a_runs_bits_are_compared(call_script, run_dir, tmp_path):
    options = ("--budgets", 40, "--evaluations", 30, "--deep-evaluations", 10, "--out", tmp_path)
    result = call_script("compare_fits.py", run_dir, *options)
    assert result.returncode == 0, result.stderr
    fits = [line.split(",") for line in (tmp_path / "fits.csv").read_text().splitlines()[1:]]
    assert [row[0] for row in fits] == ["cobyla", "spsa", "cma-es", "adam"] * 2
    with (tmp_path / "models.csv").open(newline="") as file:
        models = {row["model"]: row for row in csv.DictReader(file)}
    assert float(models["uniform"]["held_out_nll"]) == pytest.approx(6 * math.log(2))
    assert float(models["histogram of all bits"]["across"]) == 0
    assert len(models) == 10
    with Image.open(tmp_path / "fits.png") as picture:
        assert min(picture.size) > 100
    refused = call_script("compare_fits.py", tmp_path, *options)
    assert refused.returncode == 2 and len(refused.stderr.splitlines()) == 1
