"""`qcaan evaluate`: scores of a run, written again."""

from __future__ import annotations

import json
import os
import shutil

import pytest
from conftest import CIRCUIT, TOY
from PIL import Image

from qcaan.commands import evaluate
from qcaan.commands.compare.targets import latent_bits
from qcaan.commands.scoring import images_to_score


def test_evaluate_scores_a_run_again_and_agrees_with_itself(call_script, associative_run, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(associative_run, copy)
    texts = []
    for _ in range(2):
        result = call_script("evaluate.py", copy, "--n", 50)
        assert result.returncode == 0, result.stderr
        assert "held-out real" in result.stdout and "classified as" in result.stdout
        texts.append((copy / "scores.json").read_text())
    assert texts[0] == texts[1]
    scores = json.loads(texts[0])
    assert scores["generated"]["n_images"] == 50
    assert scores["held_out_real"]["unread"] < 0.1
    assert not scores["fid_reliable"]
    assert scores["classifier_accuracy"] > 0.9
    for side in (scores["generated"], scores["held_out_real"]):
        low, high = side["fid_interval"]
        assert low < side["fid"] < high
        assert side["pixel_frechet"] > 0 and 0 < side["confidence"] <= 1
        assert side["copies"] == 0
    assert "fid_inception" not in scores["generated"]
    with Image.open(copy / "neighbours.png") as picture:  # 2 rows of 8 pictures with their borders
        assert picture.size == (4 * 8 * 30, 4 * 2 * 30)
    assert scores["prior"]["kl_product"] > 0


def test_fewer_images_are_scored_by_default_if_a_device_draws_them():
    assert images_to_score("n", None, "aer") == images_to_score("n", None, None) == 10_000
    assert images_to_score("n", None, "ibm:fake_torino") == 3000
    assert images_to_score("n", 50, "ibm:fake_torino") == 50


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--n", 1), "`n` must be at least 2, got 1"),
        (("--seed", -1), "`seed` must be at least 0"),
        (("--device", "tpu"), "unknown `device` 'tpu'"),
    ],
)
def test_bad_options_are_one_sentence(call_script, associative_run, options, message):
    result = call_script("evaluate.py", associative_run, *options)
    assert result.returncode == 2
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert not (associative_run / "scores.json").exists()


def test_damaged_runs_and_other_folders_are_named(call_script, associative_run, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(associative_run, copy)
    os.truncate(copy / "checkpoint.pt", 2000)
    result = call_script("evaluate.py", copy)
    assert result.returncode == 2
    assert "checkpoint.pt is damaged" in result.stderr
    result = call_script("evaluate.py", tmp_path)
    assert result.returncode == 2
    assert "is not a run directory" in result.stderr


@pytest.mark.parametrize(
    ("script", "options"),
    [
        ("evaluate.py", ("--n", 50, "--dry-run")),
        ("generate.py", ("--sequence", 3, "--n", 50, "--dry-run")),
        (
            "train_mnist.py",
            (*TOY, *CIRCUIT, "--no-prompt", "--eval-images", 0, "--epochs", 3, "--resume"),
        ),
    ],
)
def test_commands_say_once_which_options_an_earlier_version_did_not_have(
    call_script, associative_run, tmp_path, caplog, script, options
):
    copy = tmp_path / "copy"
    shutil.copytree(associative_run, copy)
    record = json.loads((copy / "config.json").read_text())
    for name in ("copies", "digits"):
        del record["config"][name]
    (copy / "config.json").write_text(json.dumps(record))
    assert latent_bits(copy, 0, None).bits.shape[1] == 6  # as the comparisons of fits read a run
    said = [entry.getMessage() for entry in caplog.records]
    assert said == [
        f"{copy}/config.json is of an earlier version of qcaan; the options that it lacks take "
        "their defaults: copies is 1, digits is [3, 7, 9]"
    ]
    caplog.clear()
    place = ("--out", copy) if script == "train_mnist.py" else (copy,)
    result = call_script(script, *place, *options)
    assert result.returncode == 0, result.stderr
    again = [entry.getMessage() for entry in caplog.records if "earlier" in entry.getMessage()]
    assert again == said


@pytest.mark.parametrize("system", ["wasserstein", "distribution", "classify"])
def test_runs_without_images_are_not_scored(tmp_path, system):
    record = {"system": system, "format": 1, "config": {}, "data": {}}
    (tmp_path / "config.json").write_text(json.dumps(record))
    with pytest.raises(ValueError, match=f"the system {system}, which draws no images to score"):
        evaluate.main(tmp_path)
