"""`qcaan benchmark growth` at toy size, and the laws that it fits."""

from __future__ import annotations

import csv

import pytest

from qcaan.commands.benchmark.growth import AXES, Cost, fitted_law


@pytest.mark.parametrize("exponent", [0.5, 1.0, 2.0])
def test_law_of_a_power_beside_a_fixed_part(exponent):
    costs = [Cost(n, 0.002 + 3e-5 * n**exponent, 0) for n in (10, 100, 1_000, 10_000, 100_000)]
    law = fitted_law(costs, doubles=False)
    assert law.fixed == pytest.approx(0.002, rel=0.05)
    assert law.slope == pytest.approx(3e-5, rel=0.05)
    assert law.exponent == pytest.approx(exponent, abs=0.01)


def test_law_of_what_doubles():
    law = fitted_law([Cost(n, 1e-3 + 1e-8 * 2 ** (1.1 * n), 0) for n in range(4, 23, 3)], True)
    assert law.exponent == pytest.approx(1.1, abs=0.01)


def test_three_sizes_have_no_law():
    assert fitted_law([Cost(n, 1.0, 0) for n in (1, 2, 3)], False) is None


def test_sizes_are_measured_in_processes_and_written(call_script, tmp_path):
    path = tmp_path / "growth.csv"
    options = ("--axes", "value", "--sizes", 20, "--repeats", 1, "--out", path)
    result = call_script("benchmark_growth.py", *options)
    assert result.returncode == 0, result.stderr
    assert "too few sizes for a law" in result.stdout
    (row,) = csv.DictReader(path.read_text().splitlines())
    assert (row["axis"], row["unit"], row["size"]) == ("value", "qubits", "20")
    assert float(row["seconds"]) > 0
    assert int(row["bytes"]) > 2**24  # of the state alone


def test_a_size_that_needs_too_much_memory_ends_its_axis(call_script):
    result = call_script("benchmark_growth.py", "--axes", "value", "--sizes", 50, "--repeats", 1)
    assert result.returncode == 0, result.stderr
    assert "value: 50 qubits need more memory than there is" in result.stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--axes", "depth"), f"unknown `axes` 'depth'; choose from {', '.join(AXES)}"),
        (("--sizes", 4), "`sizes` belong to one axis; name it by --axes"),
        (("--axes", "value", "--sizes", 0), "`sizes` must be at least 1, got 0"),
        (("--axes", "iqp", "--sizes", 1), "`n_qubits` must be at least 2, got 1"),
        (("--repeats", 0), "`repeats` must be at least 1, got 0"),
        (("--out", "/nowhere/growth.csv"), "/nowhere is not a folder"),
    ],
)
def test_bad_options_are_one_sentence(call_script, options, message):
    result = call_script("benchmark_growth.py", *options)
    assert result.returncode == 2
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1
