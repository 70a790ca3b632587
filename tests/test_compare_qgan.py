"""`qcaan compare qgan` at toy size."""

from __future__ import annotations

import contextlib
import csv
from dataclasses import replace

import pytest

from qcaan.commands.compare import qgan as compare
from qcaan.commands.main import main
from qcaan.gans.distribution.config import DistributionConfig, configured_samples, make_qgan


def test_unknown_cases_of_the_measurement_are_refused(call_script):
    result = call_script("measure_qgan.py", "--cases", "cauchy")
    assert result.returncode == 2
    assert "unknown case 'cauchy'; choose from binomial; " in result.stderr


def test_the_measurement_writes_a_row_for_each_run(tmp_path, monkeypatch):
    toy = DistributionConfig(data="binomial", n_samples=200, batch_size=100, epochs=1)
    monkeypatch.setattr(compare, "CASES", {"toy": toy})
    compare.main(("toy",), (1, 2), tmp_path / "out")
    with (tmp_path / "out" / "measure_qgan.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["case"], row["seed"]) for row in rows] == [("toy", "1"), ("toy", "2")]
    assert list(rows[0])[2:] == [
        "untrained", "rel_entr", "product", "ks", "wasserstein", "ks_test_p", "seconds",
    ]  # fmt: skip
    qgan = make_qgan(replace(toy, seed=2), configured_samples(replace(toy, seed=2)).values)
    assert float(rows[1]["untrained"]) == qgan.relative_entropy()
    assert float(rows[1]["rel_entr"]) == qgan.run()["rel_entr"]


def test_the_command_line_names_cases_and_seeds(tmp_path, monkeypatch, capsys):
    toy = DistributionConfig(data="binomial", n_samples=200, batch_size=100, epochs=2)
    monkeypatch.setattr(compare, "CASES", {"toy": toy, "other": toy})
    words = ["--cases", "toy", "--seeds", "5", "3", "--out", str(tmp_path / "out")]
    main(["compare", "qgan", *words])
    with (tmp_path / "out" / "measure_qgan.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["case"], row["seed"]) for row in rows] == [("toy", "5"), ("toy", "3")]
    entropies = [float(row["rel_entr"]) for row in rows]
    # eight steps neither settle nor move far
    assert all(0 < entropy < 0.5 for entropy in entropies)
    assert all(0 <= float(row["ks"]) <= 1 and float(row["seconds"]) > 0 for row in rows)
    printed = capsys.readouterr().out
    assert f"toy: {entropies[0]:.4f} {entropies[1]:.4f}\n" in printed
    assert f"{max(entropies):.4f}" in printed and " of 2 " in printed
    main(["compare", "qgan", *words[:-1], str(tmp_path / "again")])  # equal seeds, equal numbers
    with (tmp_path / "again" / "measure_qgan.csv").open(newline="") as file:
        assert [float(row["rel_entr"]) for row in csv.DictReader(file)] == entropies


def test_a_cell_that_fails_is_told_and_the_others_are_kept(tmp_path, monkeypatch, capsys):
    toy = DistributionConfig(data="binomial", n_samples=200, batch_size=100, epochs=1)
    monkeypatch.setattr(compare, "CASES", {"toy": toy})
    measured, wanted = [], compare.measure

    def measure(config):
        measured.append(config.seed)
        if config.seed == 2 and measured.count(2) == 1:
            raise ValueError("lost")
        return wanted(config)

    monkeypatch.setattr(compare, "measure", measure)
    words = ["compare", "qgan", "--cases", "toy", "--seeds", "1", "2", "3", "--out"]
    for n in (2, 3):
        with contextlib.suppress(SystemExit):
            main([*words, str(tmp_path / "out")])
        with (tmp_path / "out" / "measure_qgan.csv").open(newline="") as file:
            assert len(list(csv.DictReader(file))) == n
    printed = capsys.readouterr()
    assert "toy seed 2: failed: ValueError: lost" in printed.out
    assert printed.err == "error: 1 of 3 cells failed; the same command tries them again\n"
    assert measured == [1, 2, 3, 2]


@pytest.mark.parametrize("option", ["--cases", "--seeds"])
def test_a_comparison_of_nothing_is_refused(option, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["compare", "qgan", option])
    assert ended.value.code == 2
    assert capsys.readouterr().err == f"error: `{option[2:]}` needs one or more values\n"


def test_a_folder_that_cannot_be_made_is_refused_before_the_training(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    with pytest.raises(SystemExit) as ended:
        main(["compare", "qgan", "--out", str(tmp_path / "file" / "below")])
    assert ended.value.code == 2
    assert capsys.readouterr().err == f"error: {tmp_path / 'file'} is not a folder to write into\n"
