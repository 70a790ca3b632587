"""The command line of the image QGAN at toy size, with what draws from and scores its runs."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from conftest import assert_same_checkpoint
from PIL import Image

import qcaan

SCRIPT = "train_image_qgan.py"
TOY = (
    *(
        "--data",
        "digits8x8",
        "--steps-per-epoch",
        3,
        "--batch-size",
        8,
        "--width",
        4,
        "--device",
        "cpu",
    ),
    *("--n-qubits", 3, "--n-layers", 1),
)


@pytest.fixture(scope="module")
def run_dir(call_script, tmp_path_factory):
    """A finished toy run with its scores."""
    path = tmp_path_factory.mktemp("runs") / "image"
    result = call_script(SCRIPT, *TOY, "--epochs", 2, "--eval-images", 60, "--out", path)
    assert result.returncode == 0, result.stderr
    assert "epoch 2/2" in result.stdout
    assert "held-out real" in result.stdout
    return path


def test_a_run_leaves_everything_that_was_promised(run_dir):
    config = json.loads((run_dir / "config.json").read_text())
    assert (config["config"]["noise"], config["config"]["decoder"]) == ("angles", "convolutional")
    assert "scikit-learn" in config["data"]["provenance"]
    records = [json.loads(line) for line in (run_dir / "log.jsonl").read_text().splitlines()]
    assert [(record["epoch"], record["step"]) for record in records] == [(1, 3), (2, 6)]
    scores = json.loads((run_dir / "scores.json").read_text())
    assert scores["generated"]["n_images"] == 60
    # after six steps all pictures are nearly grey, and rounding decides whether two of them differ
    assert scores["generated"]["distinct"] > 50
    assert scores["held_out_real"]["unread"] < 0.1
    with Image.open(run_dir / "progress.gif") as gif:
        assert gif.n_frames == 2
    with Image.open(run_dir / "report.png") as report:
        assert min(report.size) > 500
    assert {path.name for path in (run_dir / "samples").iterdir()} == {
        "drawn.png", "epoch_0001.png", "epoch_0002.png", "real.png"
    }  # fmt: skip


def test_a_finished_run_says_so_and_another_configuration_is_refused(call_script, run_dir):
    before = {path: path.read_bytes() for path in run_dir.rglob("*") if path.is_file()}
    again = call_script(SCRIPT, *TOY, "--epochs", 2, "--out", run_dir)
    assert (again.returncode, again.stderr) == (0, "")
    assert "is finished" in again.stdout
    other = call_script(SCRIPT, *TOY, "--epochs", 2, "--noise", "amplitudes", "--out", run_dir)
    assert other.returncode == 2
    assert "another configuration (noise is 'angles' there, 'amplitudes' here)" in other.stderr
    assert {path: path.read_bytes() for path in run_dir.rglob("*") if path.is_file()} == before


def test_resumed_equals_uninterrupted(call_script, run_dir, tmp_path):
    command = (SCRIPT, *TOY, "--out", tmp_path / "run", "--eval-images", 60)
    assert call_script(*command, "--epochs", 1).returncode == 0
    unfinished = call_script(*command, "--epochs", 2)
    assert unfinished.returncode == 2 and "--resume" in unfinished.stderr
    resumed = call_script(*command, "--epochs", 2, "--resume")
    assert resumed.returncode == 0, resumed.stderr
    assert_same_checkpoint(run_dir, tmp_path / "run")
    assert (run_dir / "samples" / "epoch_0002.png").read_bytes() == (
        tmp_path / "run" / "samples" / "epoch_0002.png"
    ).read_bytes()


def test_its_runs_can_be_drawn_from_and_scored_like_those_of_the_main_job(
    call_script, run_dir, tmp_path
):
    drawn = call_script(
        "generate.py",
        run_dir,
        "--n",
        9,
        "--out",
        tmp_path / "grid[1].png",
        "--npz",
        tmp_path / "images.npz",
    )
    assert drawn.returncode == 0, drawn.stderr
    assert "grid[1].png" in drawn.stdout and (tmp_path / "grid[1].png").is_file()
    with np.load(tmp_path / "images.npz", allow_pickle=False) as arrays:
        assert (arrays["images"].shape, arrays["noise"].shape) == ((9, 28, 28), (9, 3))
    scored = call_script("evaluate.py", run_dir, "--n", 40)
    assert scored.returncode == 0, scored.stderr
    assert json.loads((run_dir / "scores.json").read_text())["generated"]["n_images"] == 40


def test_a_preset_decides_the_defaults_and_options_override_it(call_script, tmp_path):
    small = (
        "--data",
        "digits8x8",
        "--epochs",
        1,
        "--steps-per-epoch",
        2,
        "--device",
        "cpu",
        "--eval-images",
        30,
    )
    result = call_script(
        SCRIPT, "--preset", "published", *small, "--lr", 0.002, "--out", tmp_path / "run"
    )
    assert result.returncode == 0, result.stderr
    config = json.loads((tmp_path / "run" / "config.json").read_text())["config"]
    assert (config["noise"], config["decoder"], config["n_qubits"], config["lr"]) == (
        "none",
        "dense",
        4,
        0.002,
    )
    assert json.loads((tmp_path / "run" / "scores.json").read_text())["generated"]["distinct"] == 1
    shown = call_script(SCRIPT, "--preset=published", "--help")
    assert "(default: dense)" in " ".join(shown.stdout.replace("│", " ").split())
    unknown = call_script(SCRIPT, "--preset", "best")
    assert unknown.returncode == 2
    assert unknown.stderr == "error: unknown `preset` 'best'; choose from tuned, published\n"


def test_a_run_draws_from_its_directory(run_dir):
    run = qcaan.load_run(run_dir, seed=3, device="cpu")
    images, noise = run.generate(5)
    assert run.system == "image"
    assert (images.shape, noise.shape) == ((5, 1, 28, 28), (5, 3))
    again, _ = qcaan.load_run(run_dir, seed=3, device="cpu").generate(5)
    assert torch.equal(images, again)


def test_a_dry_run_checks_and_writes_nothing(call_script, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    dry = call_script(SCRIPT, *TOY, "--dry-run")
    assert dry.returncode == 0, dry.stderr
    assert "all circuits run in this process" in dry.stdout and "nothing was written" in dry.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--digits", 3, 12), "12 is not a label of digits8x8"),
        (("--noise", "shots"), "`noise` shots needs `shots` of at least 1, got 0"),
        (
            ("--noise", "shots", "--shots", 9, "--switch-after-epochs", 1),
            "`switch_after_epochs` would change nothing",
        ),
        (("--eval-images", 1), "`eval_images` must be at least 2, got 1"),
        (("--resume",), "holds no run to resume"),
        (("--device", "abacus"), "unknown `device` 'abacus'"),
    ],
)
def test_bad_input_is_one_sentence_and_status_2(call_script, tmp_path, options, message):
    result = call_script(SCRIPT, *TOY, *options, "--out", tmp_path / "run")
    assert result.returncode == 2
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("test_shape", "test_labels", "message"),
    [
        ((8, 28, 28), [0, 1] * 4, "training images [3, 32, 32] and test images [1, 28, 28]"),
        ((4, 28, 28, 3), [0] * 4, "has no test images of the class 1, which scores need"),
    ],
)
def test_what_scores_need_is_checked_before_the_training(
    call_script, tmp_path, test_shape, test_labels, message
):
    rng = np.random.default_rng(0)
    parts = {"train": ((40, 28, 28, 3), [0, 1] * 20), "test": (test_shape, test_labels)}
    arrays = {}
    for part, (shape, labels) in parts.items():
        arrays[f"x_{part}"] = rng.integers(0, 256, shape, dtype=np.uint8)
        arrays[f"y_{part}"] = np.array(labels)
    np.savez(tmp_path / "data.npz", **arrays)
    options = (*TOY, "--data", tmp_path / "data.npz", "--digits", 0, 1, "--out", tmp_path / "run")
    result = call_script(SCRIPT, *options)
    assert result.returncode == 2 and message in result.stderr
    assert not (tmp_path / "run").exists()
    assert call_script(SCRIPT, *options, "--eval-images", 0, "--dry-run").returncode == 0
