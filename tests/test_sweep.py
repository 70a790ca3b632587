"""`qcaan sweep` at toy size."""

from __future__ import annotations

import csv
import json
import shutil

import pytest

from qcaan.commands.sweep import Values, parse_space

TOY = (
    *("--data", "digits8x8", "--digits", 3, 7, "--device", "cpu", "--prior", "product"),
    *("--epochs", 1, "--steps-per-epoch", 3, "--batch-size", 16, "--images", 50),
)
VARY = ("--vary", "width=4,6,8", "lr=1e-4..1e-2:log", "refine=0..1")


def rows_of(out):
    with (out / "sweep.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_sweep_finds_the_best_keeps_its_trials_and_goes_on(call_script, tmp_path):
    out = tmp_path / "sweep"
    words = ("sweep.py", *VARY, *TOY, "--out", out)
    first = call_script(*words, "--trials", 2, "--parallel", 2)
    assert first.returncode == 0, first.stderr
    cells = {path: path.stat().st_mtime_ns for path in (out / "cells").glob("*.json")}
    assert len(cells) == 2
    # a run that was begun is finished first
    (begun, _), _ = cells.items()
    kept = json.loads(begun.read_text())
    begun.unlink()
    second = call_script(*words, "--trials", 3)
    assert second.returncode == 0, second.stderr
    again = json.loads(begun.read_text())
    assert again["values"] == kept["values"] and again["fid"] == kept["fid"]
    rows = rows_of(out)
    assert len(rows) == 3
    fids = [float(row["fid"]) for row in rows]
    assert fids == sorted(fids)
    assert {int(row["width"]) for row in rows} <= {4, 6, 8}
    assert all(1e-4 <= float(row["lr"]) <= 1e-2 for row in rows)
    assert f"best: --width {rows[0]['width']} --lr {rows[0]['lr']}" in second.stdout
    other = call_script(*words[:-2], "--out", out, "--epochs", 2)
    assert other.returncode == 2 and "holds a comparison with other options" in other.stderr


def test_the_same_search_tries_the_same_values(call_script, tmp_path):
    found = []
    for name in ("one", "other"):
        words = ("sweep.py", "--vary", "lr=1e-4..1e-2:log", *TOY, "--out", tmp_path / name)
        assert call_script(*words, "--trials", 2, "--search-seed", 5).returncode == 0
        found.append([(row["lr"], row["fid"]) for row in rows_of(tmp_path / name)])
    assert found[0] == found[1]


def test_few_values_end_the_search(call_script, tmp_path):
    words = ("sweep.py", "--vary", "width=4", *TOY, "--out", tmp_path / "sweep", "--trials", 3)
    result = call_script(*words, "--score", "recall")
    assert result.returncode == 0, result.stderr
    assert len(rows_of(tmp_path / "sweep")) == 1


def test_a_trial_that_fails_is_told_and_the_others_are_kept(call_script, tmp_path):
    out = tmp_path / "sweep"
    words = ("sweep.py", "--vary", "width=4,6", *TOY, "--out", out)
    assert call_script(*words, "--trials", 2, "--parallel", 2).returncode == 0
    width = rows_of(out)[0]["width"]
    (out / "cells" / f"width={width}.json").unlink()
    shutil.rmtree(out / "cells" / f"width={width}")
    (out / "cells" / f"width={width}").write_text("in the way")
    result = call_script(*words, "--trials", 2)
    assert result.returncode == 2 and "1 of 2 cells failed" in result.stderr
    assert f"width={width}: failed: " in result.stdout and len(rows_of(out)) == 1


@pytest.mark.parametrize(
    ("vary", "message"),
    [
        (("lr",), "`vary` takes words as lr=3e-4..3e-3:log or width=32,48, got 'lr'"),
        (("magic=1,2",), "unknown `vary` 'magic'; choose from"),
        (("lr=1e-3..1e-4",), "`vary` takes ranges from low to high"),
        (("lr=0..1e-4:log",), "`vary` takes :log behind a range above 0"),
        (("lr=1e-4..1e-3:square",), "`vary` takes :log behind a range, got"),
        (("width=4,wide",), "`width` must be"),
        (("width=0,4",), "`width` must be at least 1"),
        (("prior=product,magic",), "magic"),
        (("data=digits8x8,mnist-5k",), "unknown `vary` 'data'; choose from"),
        (("bases=z,o",), "unknown `vary` 'bases'; choose from"),
        (("max_jobs=1,2",), "unknown `vary` 'max_jobs'; choose from"),
        (("lr=1e-4,1e-3", "lr=1e-2"), "`vary` must name an option once, got lr twice"),
    ],
)
def test_bad_values_are_one_sentence(call_script, tmp_path, vary, message):
    result = call_script("sweep.py", "--vary", *vary, *TOY, "--out", tmp_path / "sweep")
    assert result.returncode == 2 and message in result.stderr, result.stderr
    assert len(result.stderr.splitlines()) == 1 and not (tmp_path / "sweep").exists()


def test_values_are_read():
    assert parse_space(("width=32,48", "--lr=1e-4..1e-3:log", "refine=0..2", "prior=qcbm,iqp")) == {
        "width": Values((32, 48)),
        "lr": Values(low=1e-4, high=1e-3, log=True),
        "refine": Values(low=0, high=2),
        "prior": Values(("qcbm", "iqp")),
    }
    assert parse_space(("prompt=true,false",)) == {"prompt": Values((True, False))}


def test_what_cannot_be_is_one_trial_that_fails(call_script, tmp_path):
    out = tmp_path / "sweep"
    fit = ("--bases", "z", "--fit-evals", 60, "--bank-shots", 100)
    words = ("sweep.py", "--vary", "prior=product,qcbm", "n_qubits=2,3,40", *TOY, *fit)
    result = call_script(*words, "--out", out, "--trials", 6, "--parallel", 6)
    assert result.returncode == 2 and "failed; the same command tries them again" in result.stderr
    assert "n_qubits=40 prior=qcbm: failed: ValueError: `n_qubits` must be at most" in result.stdout
    assert {(row["n_qubits"], row["prior"]) for row in rows_of(out)} >= {("2", "product")}
    assert ("40", "qcbm") not in {(row["n_qubits"], row["prior"]) for row in rows_of(out)}


def test_the_best_is_said_as_train_takes_it(call_script, tmp_path):
    out = tmp_path / "sweep"
    words = ("sweep.py", "--vary", "batch_size=64", "prompt=false", *TOY, "--width", 2)
    result = call_script(*words, "--out", out, "--trials", 5)
    assert result.returncode == 0, result.stderr
    assert "best: --batch-size 64 --no-prompt" in result.stdout
    assert "the search ended after 1 trials: it finds no other values" in result.stdout
    (record,) = (out / "cells").glob("*.json")
    record.write_text('{"fid": 3}')
    damaged = call_script(*words, "--out", out, "--trials", 5)
    assert damaged.returncode == 2 and "is damaged" in damaged.stderr


def test_nothing_is_paid_and_limits_hold(call_script, ionq, tmp_path):
    words = ("sweep.py", "--vary", "lr=1e-4,1e-3", *TOY, "--prior", "qcbm", "--fit-evals", 50)
    out = ("--n-qubits", 2, "--out", tmp_path / "sweep", "--dry-run")
    paid = call_script(*words, *out, "--sampler", "ionq:qpu.forte-1")
    assert paid.returncode == 2
    assert "`sampler` must be free, and ionq:qpu.forte-1 may cost money" in paid.stderr
    limited = call_script(*words, *out, "--sampler", "ionq:simulator", "--max-jobs", 1)
    assert limited.returncode == 2 and "--max-jobs is 1" in limited.stderr
    assert not ionq.jobs
