"""`qcaan compare shots` on standard targets, and what these are."""

from __future__ import annotations

import csv

import pytest
import torch
from PIL import Image

from qcaan.bits import bits_to_index, histogram
from qcaan.commands.compare.targets import STANDARD, standard
from qcaan.commands.main import main

SMALL = ("--shots", "5000", "--seeds", "0", "--n-layers", "2", "--bank-shots", "2000")


def _compare(*words):
    main(["compare", "shots", *map(str, words)])


def test_fits_are_compared_at_equal_shots_and_finished_cells_are_kept(tmp_path, capsys):
    words = ("ghz-6", "--methods", "roto", "twin after exact", *SMALL, "--evaluations", 20)
    words = (*words, "--samplers", "exact", "aer", "aer-noise:ionq-aria", "--out", tmp_path / "out")
    _compare(*words)
    printed = capsys.readouterr().out
    assert "aer-noise:ionq-aria: twin after exact" in printed
    with (tmp_path / "out" / "shots.csv").open(newline="") as file:
        rows = {(row["sampler"], row["method"]): row for row in csv.DictReader(file)}
    # exact probabilities need no exact start, and Aer's shots would be no correction of it
    assert set(rows) == {
        ("exact", "roto"),
        ("aer", "roto"),
        ("aer-noise:ionq-aria", "roto"),
        ("aer-noise:ionq-aria", "twin after exact"),
    }
    assert rows["exact", "roto"]["shots"] == "0"
    for row in rows.values():
        assert int(row["shots"]) <= 5000 and row["bases"] == "z"
        assert float(row["kl"]) == pytest.approx(float(row["share"]) * float(row["kl_product"]))
    # five circuits teach nothing, but a correction of an exact fit has learnt before
    assert float(rows["aer-noise:ionq-aria", "twin after exact"]["share"]) < 0.4
    with Image.open(tmp_path / "out" / "shots.png") as picture:
        assert min(picture.size) > 100
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "cells").iterdir()}
    _compare(*words)
    assert before == {path: path.stat().st_mtime_ns for path in before}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "name the directory of a run, standard, or one of ghz-6"),
        (("nosuch",), "nosuch does not exist"),
        (("ghz-6", "--methods", "warp"), "unknown `methods` 'warp'; choose from cobyla"),
        (("ghz-6", "--samplers", "warp"), "unknown `sampler` 'warp'"),
        (("ghz-6", "--shots", "0"), "`shots` must be at least 1, got 0"),
        (("ghz-6", "--n-bases", "2"), "no target has so many bases"),
        (("ghz-6", "--samplers", "aer", "--methods", "exact"), "all samplers are without noise"),
        (("ghz-6", "--n-bases", "0"), "`n_bases` must be at least 1, got 0"),
        (("ghz-6", "--seeds", "-1"), "`seeds` must be at least 0"),
        (("ghz-6", "--n-layers", "0"), "`n_layers` must be at least 1, got 0"),
    ],
)
def test_bad_options_are_one_sentence_and_leave_nothing(tmp_path, capsys, words, message):
    with pytest.raises(SystemExit) as stopped:
        _compare(*words, "--out", tmp_path / "out")
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert message in error and len(error.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_a_folder_of_other_options_is_refused(tmp_path, capsys):
    words = ("ghz-6", "--samplers", "exact", "--methods", "roto", "--out", tmp_path / "out")
    words = (*words, *SMALL)
    _compare(*words, "--evaluations", 10)
    with pytest.raises(SystemExit):
        _compare(*words, "--evaluations", 20)
    assert "holds a comparison with other options (evaluations is 10 there)" in (
        capsys.readouterr().err
    )


def test_standard_targets_are_what_their_names_say():
    found = {name: standard(name) for name in STANDARD}
    assert all(target.bits.shape[1] == target.n_qubits for target in found.values())
    assert found["ghz-8"].bits.tolist() == [[0] * 8, [1] * 8]
    assert bits_to_index(found["w-6"].bits).tolist() == [1, 2, 4, 8, 16, 32]
    parity = found["parity-6"].bits
    assert len(parity) == 32 and not (parity.sum(1) % 2).any()
    # 2^2 + 2^3 - 2 and 2^3 + 2^3 - 2 pictures, since those of one colour are both
    assert len(found["bars-and-stripes-2x3"].bits) == 10
    assert len(found["bars-and-stripes-3x3"].bits) == 14
    mixture = histogram(found["gaussian-mixture-8"].bits)
    x = (torch.arange(256) + 0.5) / 256
    mean = float((mixture * x).sum())
    assert mean == pytest.approx(0.5, abs=0.01)
    # .5 * (.06**2 + .12**2) + .2**2, but for the tails
    assert float((mixture * (x - mean) ** 2).sum()) == pytest.approx(0.049, abs=0.001)
