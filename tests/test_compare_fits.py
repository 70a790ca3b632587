"""`qcaan compare fits` on a toy run."""

from __future__ import annotations

import csv
import math

import pytest
from conftest import CIRCUIT, TOY
from PIL import Image

from qcaan.commands.main import main

FITS = ("--budgets", 40, "--evaluations", 30, "--deep-evaluations", 10)


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    """A finished toy run without scores."""
    path = tmp_path_factory.mktemp("runs") / "379"
    arguments = (*TOY, *CIRCUIT, "--epochs", 1, "--eval-images", 0, "--out", path)
    main(["train", *map(str, arguments)])
    return path


def test_fits_of_a_runs_bits_are_compared(call_script, run_dir, tmp_path):
    options = (*FITS, "--out", tmp_path)
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


def test_a_run_without_bits_is_refused(call_script, tmp_path):
    run = tmp_path / "gaussian"
    toy = (*TOY, "--prior", "gaussian", "--epochs", 1, "--eval-images", 0, "--out", run)
    assert call_script("train_mnist.py", *toy).returncode == 0
    result = call_script("compare_fits.py", run, *FITS)
    assert result.returncode == 2
    assert "holds no run whose prior has bits" in result.stderr
    assert not (run / "fits").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--budgets",), "`budgets` needs one or more values"),
        (("--budgets", 100, 0), "`budgets` must be at least 1, got 0"),
        (("--evaluations", 0), "`evaluations` must be at least 1, got 0"),
        (("--deep-evaluations", 0), "`deep_evaluations` must be at least 1, got 0"),
        (("--seed", -1), "`seed` must be at least 0"),
    ],
)
def test_bad_options_are_one_sentence(call_script, run_dir, options, message):
    result = call_script("compare_fits.py", run_dir, *FITS, *options)
    assert result.returncode == 2
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not (run_dir / "fits").exists()
