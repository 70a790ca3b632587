"""`qcaan generate`: grids, arrays and sequences from a run, and refusals in one sentence."""

from __future__ import annotations

import json
import os
import re
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import TOY
from PIL import Image

from qcaan.commands import generate


def write_config(path, system):
    path.mkdir()
    record = {"system": system, "format": 1, "config": {}, "data": {}}
    (path / "config.json").write_text(json.dumps(record))
    return path


def test_generate_makes_grids_and_arrays(call_script, associative_run, tmp_path):
    grid, npz = tmp_path / "grid.png", tmp_path / "images.npz"
    options = ("--n", 9, "--out", grid, "--npz", npz)
    result = call_script("generate.py", associative_run, *options)
    assert result.returncode == 0, result.stderr
    assert f"wrote {grid}" in result.stdout and f"wrote {npz}" in result.stdout
    with Image.open(grid) as picture:
        assert picture.size == (180, 180)  # 3 x 3 images of 30 x 30 with borders, doubled
    with np.load(npz, allow_pickle=False) as arrays:
        assert (arrays["images"].shape, arrays["images"].dtype) == ((9, 28, 28), np.uint8)
        assert (arrays["bits"].shape, arrays["bits"].dtype) == ((9, 6), np.uint8)
        assert set(arrays["bits"].ravel().tolist()) <= {0, 1}


def test_equal_seeds_draw_equal_images_and_another_seed_others(
    call_script, associative_run, tmp_path
):
    images = []
    for index, seed in enumerate((0, 0, 1)):
        npz = tmp_path / f"{index}.npz"
        options = ("--n", 9, "--seed", seed, "--npz", npz)
        assert call_script("generate.py", associative_run, *options).returncode == 0
        with np.load(npz) as arrays:
            images.append(arrays["images"])
    assert (images[0] == images[1]).all()
    assert (images[0] != images[2]).any()
    assert not (associative_run / "grid.png").exists()


def test_a_sequence_is_drawn_as_the_classifier_labels_it(
    call_script, associative_run, tmp_path, monkeypatch
):
    # an untrained generator draws no digit on demand, so the classifier is replaced
    monkeypatch.setattr(generate, "load_classifier", lambda *sets, device: None)
    monkeypatch.setattr(generate, "choose_sequence", lambda images, classifier, digits: [4, 2, 4])
    strip, npz = tmp_path / "strip.gif", tmp_path / "strip.npz"
    options = ("--sequence", 3, 7, 3, "--n", 10, "--out", strip, "--npz", npz)
    result = call_script("generate.py", associative_run, *options)
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert [line[:4] for line in lines[:3]] == ["3 <-", "7 <-", "3 <-"]
    assert lines[0] == lines[2]
    with Image.open(strip) as picture:
        assert picture.format == "GIF"
    with np.load(npz) as arrays:
        assert (arrays["images"][0] == arrays["images"][2]).all()
        bits = " ".join(map(str, arrays["bits"][0].tolist()))
    assert lines[0] == f"3 <- {bits}"


def test_a_sequence_that_is_not_among_the_draws_is_refused(call_script, associative_run, tmp_path):
    strip = tmp_path / "strip.png"
    result = call_script("generate.py", associative_run, "--sequence", 3, 12, "--out", strip)
    assert result.returncode == 2
    assert "`sequence` must hold digits of the run, 3 7 9, got 12" in result.stderr
    assert not strip.exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--n", 0), "`n` must be at least 1, got 0"),
        (("--seed", -1), "`seed` must be at least 0"),
        (("--out", "grid.jpg"), "`out` must end in .png, got grid.jpg"),
        (("--out", "strip.gif"), "`out` must end in .png, got strip.gif"),
        (("--sequence", 3, "--out", "strip.jpg"), "`out` must end in .png or .gif, got strip.jpg"),
        (("--npz", "images.png"), "`npz` must end in .npz, got images.png"),
        (("--npz", "nowhere/images.npz"), "nowhere is not a folder to write images.npz into"),
        (("--device", "tpu"), "unknown `device` 'tpu'"),
        (("--n", 10_001), "`n` must be at most 10,000 for a picture, got 10001"),
        (("--out", f"{'n' * 300}.png"), "File name too long"),
        (("--npz", ""), "`npz` must not be empty"),
    ],
)
def test_bad_options_are_one_sentence(
    call_script, associative_run, tmp_path, monkeypatch, options, message
):
    monkeypatch.chdir(tmp_path)
    result = call_script("generate.py", associative_run, *options)
    assert result.returncode == 2
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_damaged_runs_and_other_folders_are_named(call_script, associative_run, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(associative_run, copy)
    os.truncate(copy / "checkpoint.pt", 2000)
    result = call_script("generate.py", copy)
    assert result.returncode == 2
    assert "checkpoint.pt is damaged" in result.stderr
    result = call_script("generate.py", tmp_path)
    assert result.returncode == 2
    assert "is not a run directory" in result.stderr


@pytest.mark.parametrize("draw", [torch.from_numpy, np.asarray], ids=["tensor", "array"])
@pytest.mark.parametrize("system", ["wasserstein", "distribution"])
def test_samples_of_real_numbers_are_an_array(tmp_path, monkeypatch, capsys, system, draw):
    path = write_config(tmp_path / "run", system)

    def load_run(path, *, seed, **options):
        rng = np.random.default_rng(seed)
        return SimpleNamespace(
            generate=lambda n: draw(rng.normal(size=(n, 2))),
            plan=lambda n, scores: None,
            limits=None,
        )

    monkeypatch.setattr(generate, "load_run", load_run)
    generate.main(path, npz=tmp_path / "samples.npz", seed=3)
    assert "samples.npz" in capsys.readouterr().out
    with np.load(tmp_path / "samples.npz", allow_pickle=False) as arrays:
        assert (arrays["samples"].shape, arrays["samples"].dtype) == ((1000, 2), np.float64)
        expected = np.random.default_rng(3).normal(size=(1000, 2))
        np.testing.assert_array_equal(arrays["samples"], expected)


@pytest.mark.parametrize("options", [{}, {"out": "grid.png"}, {"sequence": (3,)}])
def test_runs_on_real_numbers_draw_no_pictures(tmp_path, options):
    path = write_config(tmp_path / "run", "wasserstein")
    with pytest.raises(ValueError, match="the system wasserstein, which draws no pictures; name"):
        generate.main(path, **({"npz": tmp_path / "samples.npz", **options} if options else {}))
    assert [entry.name for entry in tmp_path.iterdir()] == ["run"]


def test_a_folder_is_no_target_and_no_run(call_script, associative_run, tmp_path):
    (tmp_path / "grid.png").mkdir()
    (tmp_path / "file").write_text("")
    for words, message in (
        ((associative_run, "--out", tmp_path / "grid.png"), "is a folder, not a file to write"),
        ((tmp_path / "nosuch",), "nosuch does not exist; name the directory of a run"),
        ((tmp_path / "file",), "file is a file; name the directory of a run"),
        ((tmp_path,), "is not a run directory: it has no config.json"),
    ):
        result = call_script("generate.py", *words)
        assert result.returncode == 2 and message in result.stderr


def test_a_run_with_prompt_writes_a_sequence_by_the_circuits_label(call_script, tmp_path):
    run, strip, npz = tmp_path / "run", tmp_path / "strip.png", tmp_path / "strip.npz"
    circuit = ("--n-qubits", 3, "--n-layers", 2, "--fit-evals", 60, "--bank-shots", 200)
    options = ("--prompt", "--digits", 3, 7, 9, "--epochs", 1, "--eval-images", 50, "--out", run)
    trained = call_script("train_mnist.py", *TOY, *circuit, *options)
    assert trained.returncode == 0, trained.stderr
    assert "agreement with the circuit's label" in trained.stdout
    scores = json.loads((run / "scores.json").read_text())
    assert 0 <= scores["generated"]["agreement"] <= 1
    assert 0 < scores["prior"]["pair_error_across"] < 1
    result = call_script(
        *("generate.py", run, "--sequence", 3, 7, 9, 9, "--n", 60, "--out", strip, "--npz", npz)
    )
    assert result.returncode == 0, result.stderr
    told = re.search(
        r"shots by label: 3: ([\d.]+)%, 7: ([\d.]+)%, 9: ([\d.]+)%; the classifier agrees with the "
        r"label of ([\d.]+)% of 60 digits",
        " ".join(result.stdout.split()),
    )
    assert sum(map(float, told.groups()[:3])) == pytest.approx(100, abs=0.2)
    with np.load(npz) as arrays:
        # the label is the number in the first two bits
        assert arrays["bits"][:, :2].tolist() == [[0, 0], [1, 0], [0, 1], [0, 1]]
        assert arrays["images"].shape == (4, 28, 28)
    with Image.open(strip) as picture:
        assert picture.size[0] > 3 * picture.size[1]
