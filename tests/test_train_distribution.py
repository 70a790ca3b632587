"""`qcaan train-qgan` as a user runs it, at toy size."""

from __future__ import annotations

import csv
import json
import resource

import numpy as np
import pytest
import torch
from PIL import Image

import qcaan
from qcaan.commands.train.distribution import main
from qcaan.gans.distribution.config import DistributionConfig
from qcaan.samplers import names

TOY = ("--data", "binomial", "--n-samples", 500, "--batch-size", 250)


@pytest.fixture(scope="module")
def run_dir(call_script, tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "binomial"
    result = call_script("train_qgan.py", *TOY, "--epochs", 120, "--out", path)
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


def test_a_run_is_loaded_to_draw_samples(run_dir):
    run = qcaan.load_run(run_dir, seed=3)
    samples = run.generate(1000)
    assert run.system == "distribution"
    assert (samples.shape, samples.dtype) == ((1000, 1), torch.float64)
    scores = json.loads((run_dir / "scores.json").read_text())
    assert run.gan.pdf().tolist() == pytest.approx(scores["pdf"])
    np.testing.assert_array_equal(qcaan.load_run(run_dir, seed=3).generate(1000), samples)
    assert (qcaan.load_run(run_dir, seed=4).generate(1000) != samples).any()


def test_a_loaded_run_reads_its_file_again_even_from_another_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("prices.npy", np.random.default_rng(0).normal(0, 1, (300, 2)))
    config = DistributionConfig(data="prices.npy", n_qubits=(1, 2), batch_size=100, epochs=1)
    main(config, tmp_path / "run")
    assert qcaan.load_run("run").generate(5).shape == (5, 2)
    (tmp_path / "moved").mkdir()
    (tmp_path / "prices.npy").rename(tmp_path / "moved" / "prices.npy")
    assert qcaan.load_run("run", data_root="moved").generate(5).shape == (5, 2)
    with pytest.raises(OSError, match="prices"):
        qcaan.load_run("run")


def test_a_run_of_another_system_is_not_overwritten(call_script, run_dir, tmp_path):
    (tmp_path / "run").mkdir()
    record = json.loads((run_dir / "config.json").read_text())
    (tmp_path / "run" / "config.json").write_text(json.dumps({**record, "system": "image"}))
    result = call_script("train_qgan.py", *TOY, "--out", tmp_path / "run")
    assert result.returncode == 2
    assert "holds a run of the system image, not distribution" in result.stderr


@pytest.mark.parametrize("dry_run", [False, True])
def test_a_vendor_is_opened_once_for_the_plan_and_the_training(
    tmp_path, monkeypatch, capsys, dry_run
):
    opened, make_vendor = [], names.make_vendor
    monkeypatch.setattr(
        names, "make_vendor", lambda name, *a: opened.append(name) or make_vendor(name, *a)
    )
    device = {"sampler": "aqt:ideal", "shots": 20}
    config = DistributionConfig(
        data="binomial", n_samples=200, batch_size=200, epochs=1, gradient="spsa", **device
    )
    main(config, tmp_path / "run", dry_run=dry_run)
    assert opened == ["aqt:ideal"]
    # a step: the angles and two beside them; the relative entropy; the scores: 20 and 500 shots
    assert "the run of 1 epochs: 4 jobs, 6 circuits, 600 shots" in capsys.readouterr().out
    assert (tmp_path / "run").exists() is not dry_run


def test_help_lists_the_options_in_groups(call_script):
    result = call_script("train_qgan.py", "--help")
    places = [
        result.stdout.index(f"─ {group} options ─")
        for group in ("run", "data", "networks", "circuit", "device")
    ]
    assert places == sorted(places)
    assert "--loss {bce,wgan-gp}" in result.stdout
    assert "--gradient {None,backprop,parameter-shift,spsa}" in result.stdout


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
            ("--gradient", "backprop", "--sampler", "aer"),
            "`gradient` 'backprop' needs an Ansatz on the exact engine",
        ),
        (("--sampler", "aer-noise:fake_nothing"), "fake_nothing"),
        (
            ("--sampler", "aer-noise:ionq-aria", "--shots", 0),
            "`shots` must be at least 1 on aer-noise:ionq-aria",
        ),
        (("--seed", -1), "`seed` must be at least 0 and below 2**63"),
        (("--seed", 2**63), "`seed` must be at least 0 and below 2**63"),
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


def test_a_file_in_two_dimensions_trains(call_script, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    samples = np.random.default_rng(0).normal(0, 1, (300, 2))
    np.savetxt(tmp_path / "prices.csv", samples, delimiter=",", header="open,close", comments="")
    options = (
        "--batch-size",
        100,
        "--epochs",
        2,
        "--n-qubits",
        1,
        2,
        "--initial-state",
        "normal",
    )
    result = call_script("train_qgan.py", "--data", "prices.csv", *options)
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
            "`batch_size` must be at most 500, the number of samples within the bounds, got 9999",
        ),
        (("--resume",), "holds no run to resume"),
    ],
)
def test_bad_input_is_one_sentence_and_status_2(
    call_script, monkeypatch, tmp_path, options, message
):
    monkeypatch.chdir(tmp_path)
    result = call_script("train_qgan.py", *TOY, "--out", tmp_path / "run", *options)
    assert result.returncode == 2
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_a_real_limit_of_file_sizes_is_one_sentence(start_script, tmp_path):
    """The system refuses to write more than 8,000 bytes into a file, as it does on a full disk."""

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8000, before[1]))  # the script inherits it
    try:
        script = start_script("train_qgan.py", *TOY, "--epochs", 1, "--out", tmp_path / "run")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    result = script.end()
    assert result.returncode == 2
    assert result.stderr == (
        f"error: {tmp_path / 'run' / 'checkpoint.pt'}: File too large; 0 epochs are saved, and "
        "--resume continues from there\n"
    )


def test_a_name_of_a_file_is_no_formula(call_script, tmp_path):
    data = tmp_path / "returns $x_{.npy"
    np.save(data, np.random.default_rng(0).normal(size=100))
    options = ("--data", data, "--batch-size", 50, "--epochs", 1, "--out", tmp_path / "run")
    result = call_script("train_qgan.py", *options)
    assert (result.returncode, result.stderr) == (0, "")
    assert {"report.png", "scores.json"} <= {path.name for path in (tmp_path / "run").iterdir()}
