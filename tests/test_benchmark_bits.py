"""`qcaan benchmark bits` at toy size, and the models that it compares."""

from __future__ import annotations

import csv
import math

import pytest
import torch
from PIL import Image

from qcaan.bits import all_bitstrings
from qcaan.commands.benchmark.models import MODELS
from qcaan.data import readers

GHZ = torch.tensor([[0] * 8, [1] * 8])
FAST = ("--targets", "bars-and-stripes-2x2", "--models", "product", "uniform", "--seeds", 0)


def rows_of(folder):
    """Return the rows of a folder's table by target and model, for the first seed."""
    with (folder / "bits.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return {(row["target"], row["model"]): row for row in reversed(rows)}


def test_scores_are_those_computed_by_hand(call_script, tmp_path):
    targets = ("bars-and-stripes-2x2", "parity-12", "codes-64")
    options = ("--targets", *targets, "--models", "histogram", "product", "uniform")
    out = tmp_path / "bits"
    result = call_script(
        "benchmark_bits.py", *options, "--seeds", 0, "--data", "digits8x8", "--out", out
    )
    assert result.returncode == 0, result.stderr
    rows = rows_of(out)

    def value(target, model, key):
        return float(rows[target, model][key])

    # 6 of 16 pictures, of which each pair of pixels in a row or column is equal in 4
    uniform = rows["bars-and-stripes-2x2", "uniform"]
    assert float(uniform["kl"]) == pytest.approx(math.log(16 / 6))
    assert float(uniform["nll"]) == pytest.approx(math.log(16))
    assert float(uniform["tvd"]) == pytest.approx(10 / 16)
    errors = [float(uniform[f"correlators_{order}"]) for order in (2, 3, 4)]
    assert errors == pytest.approx([1 / 3, 0, 1])
    a = math.exp(-1 / (2 * 0.6**2))  # distances within the target: one 0, four 2 and one 4
    exact = (1 + 4 * a**2 + a**4) / 6 - (1 + a) ** 4 / 16
    assert float(uniform["mmd2_0.6"]) == pytest.approx(exact)
    assert value("bars-and-stripes-2x2", "product", "kl") == pytest.approx(math.log(16 / 6))
    for key in ("kl", "tvd", "mmd2_1.3", "correlators_4"):
        assert value("bars-and-stripes-2x2", "histogram", key) == pytest.approx(0, abs=1e-12)
    assert value("bars-and-stripes-2x2", "histogram", "qbas") > 0.95
    assert 0.4 < float(uniform["qbas"]) < 0.5
    assert rows["bars-and-stripes-2x2", "histogram"]["rate"] == ""  # no valid string is unseen

    # half of all strings are valid; a fair draw is unseen and valid a little more seldom
    assert value("parity-12", "uniform", "rate") == pytest.approx(0.5 - 156 / 4096, abs=0.02)
    assert value("parity-12", "histogram", "rate") == 0
    assert value("parity-12", "histogram", "coverage") == 0
    assert rows["parity-12", "histogram"]["fidelity"] == ""  # no draw is unseen

    assert value("codes-64", "uniform", "nll") == pytest.approx(64 * math.log(2))
    assert value("codes-64", "product", "nll") == pytest.approx(64 * math.log(2), abs=0.2)
    assert rows["codes-64", "product"]["kl"] == ""
    assert ("codes-64", "histogram") not in rows

    table = (out / "bits.md").read_text()
    assert "| codes-64 | histogram | 0 | left out: at most 16 bits |" in table
    assert "| bars-and-stripes-2x2 | uniform | 1 | 0.9808 | 0.625 |" in table
    assert "histogram on bars-and-stripes-2x2" in table.splitlines()[-1]
    with Image.open(out / "bits.png") as picture:
        assert min(picture.size) > 300


def test_finished_cells_are_kept_and_others_added(call_script, tmp_path):
    out = tmp_path / "bits"
    assert call_script("benchmark_bits.py", *FAST, "--out", out).returncode == 0
    cells = {path: path.stat().st_mtime_ns for path in (out / "cells").glob("*.json")}
    assert len(cells) == 2
    again = call_script("benchmark_bits.py", *FAST, 1, "--out", out)
    assert again.returncode == 0 and "seed 0:" not in again.stdout
    assert all(path.stat().st_mtime_ns == time for path, time in cells.items())
    assert len(list((out / "cells").glob("*.json"))) == 4
    other = call_script("benchmark_bits.py", *FAST, "--evaluations", 7, "--out", out)
    assert other.returncode == 2 and "evaluations is 200 there" in other.stderr


def test_codes_of_a_data_set_that_is_not_available_are_left_out(call_script, tmp_path, monkeypatch):
    monkeypatch.setattr(readers, "DOWNLOAD_SECONDS", 0.01)
    place = ("--data-root", tmp_path / "data", "--out", tmp_path / "bits")
    options = ("--models", "uniform", "--seeds", 0, *place)
    result = call_script("benchmark_bits.py", "--targets", "ghz-8", "codes-64", *options)
    assert result.returncode == 0, result.stderr
    assert "codes-64 is left out: " in result.stdout.replace("\n", " ")
    assert [target for target, _ in rows_of(tmp_path / "bits")] == ["ghz-8"]
    refused = call_script("benchmark_bits.py", "--targets", "codes-64", *options)
    assert refused.returncode == 2 and len(refused.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--targets", "moons"), "unknown `targets` 'moons'; choose from blobs-4x4"),
        (("--models", "gan"), "unknown `models` 'gan'; choose from qcbm ion-trap 4"),
        (("--seeds", -1), "`seeds` must be at least 0"),
        (("--evaluations", 0), "`evaluations` must be at least 1, got 0"),
        (
            ("--targets", "codes-64", "--models", "histogram", "--data", "digits8x8"),
            "none of `models` can have as many bits as one of `targets`",
        ),
    ],
)
def test_bad_options_are_one_sentence(call_script, tmp_path, options, message):
    result = call_script("benchmark_bits.py", *FAST, *options, "--out", tmp_path / "bits")
    assert result.returncode == 2
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not (tmp_path / "bits").exists()


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("qcbm ion-trap 4", (96, 56)),
        ("qcbm seed 2", (88, 56)),
        ("rbm", (8 * 64 + 8 + 64, 0)),
        ("product", (8, 0)),
        ("histogram", (1, 0)),
        ("uniform", (0, 0)),
    ],
)
def test_a_model_has_a_likelihood_draws_and_a_size(name, size):
    model = MODELS[name]
    fitted = model.make(8, 0, 3)
    if name != "rbm":  # which would take seconds
        fitted.fit(GHZ)
    assert model.size(fitted) == size
    assert fitted.log_prob(all_bitstrings(8)).exp().sum().item() == pytest.approx(1)
    assert fitted.measure(10).shape == (10, 8)
    assert model.takes(16)
    assert model.takes(64) == (name in ("rbm", "product", "uniform"))
