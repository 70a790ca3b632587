"""`qcaan compare qgan` at toy size."""

from __future__ import annotations

import csv
from dataclasses import replace

from qcaan.commands.compare import qgan as compare
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
    qgan = make_qgan(replace(toy, seed=2), configured_samples(replace(toy, seed=2)))
    assert float(rows[1]["untrained"]) == qgan.relative_entropy()
    assert float(rows[1]["rel_entr"]) == qgan.run()["rel_entr"]
