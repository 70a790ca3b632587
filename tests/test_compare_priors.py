"""`qcaan compare priors` at toy size."""

from __future__ import annotations

import csv
import json

import pytest
from PIL import Image

from qcaan.commands.compare.priors import CELLS, SCORES
from qcaan.gans.associative import AssociativeConfig
from qcaan.priors.make import make_prior

TOY = ("--data", "digits8x8", "--epochs", 1, "--steps-per-epoch", 3, "--width", 4, "--images", 60)


def test_priors_are_compared_and_finished_cells_are_kept(call_script, tmp_path):
    out = tmp_path / "compare"
    toy = (*TOY, "--out", out)
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
    other = call_script("compare_priors.py", *toy, "--seeds", 0, "--images", 50)
    assert other.returncode == 2
    assert "holds a comparison with other options (images is 60 there)" in other.stderr
    assert len(other.stderr.splitlines()) == 1


def test_cells_of_an_earlier_version_lack_newer_scores(call_script, tmp_path):
    out = tmp_path / "compare"
    toy = (*TOY, "--out", out, "--priors", "gaussian-64", "--seeds")
    assert call_script("compare_priors.py", *toy, 0).returncode == 0
    path = out / "cells" / "gaussian-64 seed 0.json"
    cell = json.loads(path.read_text())
    new = ("pixel_frechet", "confidence", "copies", "nearer_than_held_out")
    path.write_text(json.dumps({key: cell[key] for key in cell if key not in new}))
    for seeds, n_known in (((0,), 0), ((0, 1), 1)):
        assert call_script("compare_priors.py", *toy, *seeds).returncode == 0
        rows = list(csv.DictReader((out / "table.csv").read_text().splitlines()))
        assert [sum(row[name] != "" for row in rows) for name in new] == [n_known] * 4


def test_a_training_that_collapsed_is_told_beside_the_others(call_script, tmp_path):
    out = tmp_path / "compare"
    toy = (*TOY, "--out", out, "--priors", "gaussian-64", "--seeds", 0)
    assert call_script("compare_priors.py", *toy).returncode == 0
    lost = {"prior": "gaussian-64", "seed": 7, "collapsed": "a loss is not finite"}
    (out / "cells" / "gaussian-64 seed 7.json").write_text(json.dumps(lost))
    result = call_script("compare_priors.py", *toy)
    assert result.returncode == 0
    assert "| gaussian-64 | 1 of 2 (others collapsed) |" in (out / "table.md").read_text()
    assert "a loss is not finite" in (out / "table.csv").read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--priors", "magic"), "unknown `priors` 'magic'; choose from gaussian-64"),
        (("--width", 0), "`width` must be at least 1, got 0"),
        (("--epochs", 0), "`epochs` must be at least 1, got 0"),
        (("--images", 1), "`images` must be at least 2, got 1"),
        (("--seeds", -1), "`seeds` must be at least 0"),
        (("--seeds",), "`seeds` needs one or more values"),
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


@pytest.mark.parametrize("name", [name for name in CELLS if name != "qcbm-16 z"])
def test_every_cell_makes_a_prior_as_wide_as_its_name_says(name):
    config = AssociativeConfig(**{"dither": 0.0, "prompt": False, **CELLS[name]})
    prior = make_prior(config, config, seed=0, labels=config.digits)
    kind, *rest = name.split()
    n_bases = rest[0].count("+") + 1 if kind.startswith("qcbm") else 1
    n_labels = 2 if "prompt" in rest else 0
    assert prior.dim == int(kind.split("-")[1]) * n_bases + n_labels
    assert prior.latent_dim == prior.dim + (16 if "noise" in rest else 0)
    assert bool(config.dither) == ("dither" in rest or "prompt" in rest)
    assert len(set(SCORES)) == len(SCORES)


def test_a_folder_of_other_things_is_refused_and_left_alone(call_script, tmp_path):
    (tmp_path / "table.md").write_text("years of work")
    result = call_script("compare_priors.py", "--data", "digits8x8", "--out", tmp_path)
    assert result.returncode == 2
    assert "holds something else than a comparison; name another --out" in result.stderr
    assert (tmp_path / "table.md").read_text() == "years of work"
    assert [path.name for path in tmp_path.iterdir()] == ["table.md"]
