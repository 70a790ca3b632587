"""`qcaan compare priors` at toy size."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
from PIL import Image

from qcaan.commands.compare.cells import cell_path
from qcaan.commands.compare.paired import holm, paired, paired_rows, paired_table
from qcaan.commands.compare.priors import CELLS, MAIN, SCORES
from qcaan.gans.associative.config import AssociativeConfig
from qcaan.priors.make import make_prior

TOY = (
    *("--data", "digits8x8", "--device", "cpu", "--epochs", 1, "--steps-per-epoch", 3),
    *("--width", 4, "--images", 60),
)


def test_priors_are_compared_and_finished_cells_are_kept(call_script, tmp_path):
    out = tmp_path / "compare"
    toy = (*TOY, "--out", out)
    first = call_script(
        "compare_priors.py", *toy, "--priors", "gaussian", "qcbm adam z", "--seeds", 0
    )
    assert first.returncode == 0, first.stderr
    cells = {path: path.stat().st_mtime_ns for path in (out / "cells").glob("*.json")}
    assert len(cells) == 3  # and the held-out images
    second = call_script("compare_priors.py", *toy, "--priors", "gaussian", "--seeds", 0, 1)
    assert second.returncode == 0, second.stderr
    assert {path: path.stat().st_mtime_ns for path in cells} == cells
    table = (out / "table.md").read_text().splitlines()
    assert [row.split(" | ")[:2] for row in table[2:4]] == [
        ["| gaussian", "2"],
        ["| qcbm adam z", "1"],
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
    toy = (*TOY, "--out", out, "--priors", "gaussian", "--seeds")
    assert call_script("compare_priors.py", *toy, 0).returncode == 0
    path = out / "cells" / "gaussian seed 0.json"
    cell = json.loads(path.read_text())
    new = ("pixel_frechet", "confidence", "copies", "nearer_than_held_out")
    path.write_text(json.dumps({key: cell[key] for key in cell if key not in new}))
    for seeds, n_known in (((0,), 0), ((0, 1), 1)):
        assert call_script("compare_priors.py", *toy, *seeds).returncode == 0
        rows = list(csv.DictReader((out / "table.csv").read_text().splitlines()))
        assert [sum(row[name] != "" for row in rows) for name in new] == [n_known] * 4


def test_a_training_that_collapsed_is_told_beside_the_others(call_script, tmp_path):
    out = tmp_path / "compare"
    toy = (*TOY, "--out", out, "--priors", "gaussian", "--seeds", 0)
    assert call_script("compare_priors.py", *toy).returncode == 0
    lost = {"prior": "gaussian", "seed": 7, "collapsed": "a loss is not finite"}
    (out / "cells" / "gaussian seed 7.json").write_text(json.dumps(lost))
    result = call_script("compare_priors.py", *toy)
    assert result.returncode == 0
    assert "| gaussian | 1 of 2 (others collapsed) |" in (out / "table.md").read_text()
    assert "a loss is not finite" in (out / "table.csv").read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--priors", "magic"), "unknown `priors` 'magic'; choose from qcbm, shuffled, product"),
        (("--width", 0), "`width` must be at least 1, got 0"),
        (("--epochs", 0), "`epochs` must be at least 1, got 0"),
        (("--images", 1), "`images` must be at least 2, got 1"),
        (("--seeds", -1), "`seeds` must be at least 0"),
        (("--seeds",), "`seeds` needs one or more values"),
        (("--against", "magic"), "unknown `against` 'magic'; choose from qcbm, shuffled, product"),
        (("--priors", "tree", "tree"), "`priors` must be one or more different values, got tree"),
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


def test_the_nine_priors_of_the_table_come_first():
    fitted = ["qcbm", "shuffled", "product", "histogram", "tree", "rbm"]
    nine = [*fitted, "bernoulli", "gaussian", "iqp-64"]
    assert list(CELLS)[:9] == list(MAIN) == nine
    assert CELLS["qcbm"] == {}  # the default run, unchanged
    assert [f"{name} unlabelled" in CELLS for name in nine] == [True] * 9


# 16 bits, unless the name says another number
BITS = {"qcbm adam z": 8, "qcbm adam z+o+t": 24, "gaussian": 64, "gaussian unlabelled": 64}


@pytest.mark.parametrize("name", CELLS)
def test_every_cell_makes_a_prior_as_wide_as_its_name_says(name):
    config = replace(AssociativeConfig(), **CELLS[name])
    prior = make_prior(config, config, seed=0, labels=config.digits)
    kind, *variant = name.split()
    bits = BITS.get(name, int(kind.partition("-")[2] or 16))
    n_labels = 0 if variant == ["unlabelled"] else 2
    assert prior.dim == bits + n_labels
    assert prior.latent_dim == prior.dim + (16 if "noise" in variant else 0)
    assert config.dither == (0 if variant[-1:] in (["noise"], ["undithered"]) else 0.5)
    assert len(set(SCORES)) == len(SCORES)


def test_paired_statistics_equal_those_worked_out_by_hand():
    # Differences 1, 2, 3 of three common seeds: t = 2 / (1 / sqrt(3)) with 2 degrees of freedom,
    # for which P(|T| > t) = 1 - t / sqrt(2 + t^2), and 97.5 % lie below 4.30265.
    three = paired({0: 1.0, 1: 4.0, 2: 9.0, 8: 5.0}, {2: 6.0, 1: 2.0, 0: 0.0, 9: 7.0})
    assert (three["seeds"], three["difference"]) == (3, 2)
    assert three["d_z"] == pytest.approx(2)
    assert three["p"] == pytest.approx(0.0741799)
    assert (three["low"], three["high"]) == pytest.approx((-0.484138, 4.484138), abs=1e-6)
    # differences 1 and 3: t = 2 with 1 degree of freedom, and p = 1 - 2 atan(2) / pi
    two = paired({0: 1.0, 1: 3.0}, {0: 0.0, 1: 0.0})
    assert (two["difference"], two["d_z"]) == pytest.approx((2, 2**0.5))
    assert two["p"] == pytest.approx(0.2951672)


@pytest.mark.parametrize(
    ("scores", "difference"),
    [
        ({0: 0.3, 1: 0.3}, 0.0),
        ({0: 1.3, 1: 1.3}, 1.0),
        ({0: 0.1 + 0.2, 1: 0.3}, 0.0),  # equal but for their rounding
        ({0: 9.0, 7: 1.0}, None),  # one common seed
        ({7: 1.0}, None),
    ],
)
def test_differences_without_spread_are_not_tested(scores, difference):
    found = paired(scores, {0: 0.3, 1: 0.3})
    assert found["difference"] == (None if difference is None else pytest.approx(difference))
    assert [found[name] for name in ("low", "high", "p", "d_z")] == [None] * 4


def test_p_values_are_corrected_by_holms_method():
    # .01 x 3; then .03 x 2; then .04 x 1, but no less than the one before
    assert holm([0.04, 0.01, None, 0.03]) == pytest.approx([0.06, 0.03, None, 0.06])
    assert holm([0.6, 0.5]) == [1, 1]
    assert holm([None]) == [None] and holm([]) == []


def test_priors_are_paired_with_each_control_once():
    def cells(*fids, first_seed=0):
        rest = {"precision": 0.5, "recall": 0.5, "unread": 0.0}
        return [{"seed": seed, "fid": fid, **rest} for seed, fid in enumerate(fids, first_seed)]

    found = {
        "qcbm": cells(2.0, 5.0, 10.0),
        "tree": cells(3.0, first_seed=2),
        "bernoulli": cells(1.0, 3.0, 7.0, 8.0),
        "gaussian": cells(1.0, 1.0),
    }
    rows = paired_rows(found, ("bernoulli", "gaussian", "rbm"))
    pairs = [(row["prior"], row["against"], row["seeds"]) for row in rows if row["score"] == "fid"]
    assert pairs == [
        ("qcbm", "bernoulli", 3),
        ("tree", "bernoulli", 1),
        ("gaussian", "bernoulli", 2),
        ("qcbm", "gaussian", 2),
        ("tree", "gaussian", 0),
    ]
    # differences of FID: 1, 2, 3; 0, -2; 1, 4. Of three tests the first has the smallest p, and
    # its p is multiplied by 3. t of the others with 1 degree of freedom is -1 and 5/3.
    assert paired_table(rows).splitlines()[2:7] == [
        "| qcbm | bernoulli | 3 | +2; p 0.074, Holm 0.22; d_z +2.00 | +0 | +0 | +0 |",
        "| tree | bernoulli | 1 |  |  |  |  |",
        "| gaussian | bernoulli | 2 | -1; p 0.5, Holm 0.69; d_z -0.71 | +0 | +0 | +0 |",
        "| qcbm | gaussian | 2 | +2.5; p 0.34, Holm 0.69; d_z +1.18 | +0 | +0 | +0 |",
        "| tree | gaussian | 0 |  |  |  |  |",
    ]
    assert paired_rows(found, ("rbm",)) == [] and paired_table([]) == ""


def test_two_processes_share_the_cells_and_compute_none_twice(start_script, tmp_path):
    out = tmp_path / "compare"
    priors = ("gaussian", "bernoulli", "product")
    words = (*TOY, "--out", out, "--priors", *priors, "--seeds", 0, 1)
    started = [start_script("compare_priors.py", *words) for _ in range(2)]
    both = [script.end() for script in started]
    assert [process.returncode for process in both] == [0, 0], both
    computed = [
        line.partition(": FID")[0]
        for process in both
        for line in process.stdout.splitlines()
        if ": FID" in line
    ]
    assert sorted(computed) == sorted(f"{name} seed {n}" for name in priors for n in (0, 1))
    with (out / "table.csv").open(newline="") as file:  # of the process that ended last
        assert len(list(csv.DictReader(file))) == 6
    with (out / "paired.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4 * 3 and {row["seeds"] for row in rows} == {"2"}
    assert "| product | gaussian | 2 |" in (out / "table.md").read_text()


def test_an_interrupted_comparison_says_how_to_go_on(start_script, tmp_path):
    words = (*TOY, "--precision", "bf16", "--steps-per-epoch", 1500, "--priors", "gaussian")
    script = start_script("compare_priors.py", *words, "--seeds", 0, 1, "--out", tmp_path / "out")
    for _ in range(600):
        if configs := list(tmp_path.glob("out/cells/*/config.json")):
            break
        time.sleep(0.1)
    ended = script.end(signal.SIGTERM)  # as Slurm sends it, and treated as Ctrl-C
    assert ended.returncode == 130
    assert "stopped; 0 of 2 cells are finished. Continue with the same command." in ended.stdout
    assert json.loads(configs[0].read_text())["config"]["precision"] == "bf16"


def test_a_cell_is_left_to_the_process_that_computes_it_while_it_lives(call_script, tmp_path):
    out = tmp_path / "compare"
    words = ("compare_priors.py", *TOY, "--out", out, "--seeds", 0, "--priors")
    assert call_script(*words, "bernoulli").returncode == 0
    program = (
        "import sys, time; from pathlib import Path; from qcaan.commands.compare.cells import *\n"
        "with claimed(Path(sys.argv[1])) as ours: print(ours, flush=True); time.sleep(60)"
    )
    path = cell_path(out, "gaussian seed 0")
    command = [sys.executable, "-c", program, str(path)]
    other = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout.readline() == "True\n"
        beside = call_script(*words, "gaussian", "product")
        assert beside.returncode == 0, beside.stderr
        assert "gaussian seed 0: another process computes it\n" in beside.stdout
        assert "product seed 0: FID" in beside.stdout and not path.exists()
        assert "| product | 1 |" in beside.stdout and "| gaussian |" not in beside.stdout
    finally:
        other.kill()
        other.communicate()
    after = call_script(*words, "gaussian", "product")
    assert "gaussian seed 0: FID" in after.stdout and path.exists()


def test_a_folder_of_other_things_is_refused_and_left_alone(call_script, tmp_path):
    (tmp_path / "table.md").write_text("years of work")
    result = call_script("compare_priors.py", "--data", "digits8x8", "--out", tmp_path)
    assert result.returncode == 2
    assert "holds something else than a comparison; name another --out" in result.stderr
    assert (tmp_path / "table.md").read_text() == "years of work"
    assert [path.name for path in tmp_path.iterdir()] == ["table.md"]
