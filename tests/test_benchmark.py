"""`qcaan benchmark` at toy size."""

from __future__ import annotations

import json
import time
from functools import partial

import pytest
import torch

from qcaan.commands.benchmark import engines, fits, layers, training, wide
from qcaan.commands.benchmark.timing import Row, is_installed, median_times, rows_of

TOY = ("--repeats", 1, "--epochs", 0, "--qgan-steps", 1, "--qubits", 2, "--layer-qubits", 2)


def test_every_section_is_timed_and_written(call_script, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(fits, "EVALUATIONS", 100)
    monkeypatch.setattr(training, "_SHOTS", 100)
    path = tmp_path / "benchmark.json"
    result = call_script("benchmark.py", *TOY, "--json", path)
    assert result.returncode == 0, result.stderr
    written = json.loads(path.read_text())
    sections = [title for title, rows in written.items() if isinstance(rows, list)]
    assert [title.split(",")[0].split(":")[0] for title in sections] == [
        "cost evaluation", "COBYLA on Aer", "exact engines", "QuantumLayer", "IQP circuits",
        "QGAN tutorial",
    ]  # fmt: skip
    for title in sections:
        assert title in result.stdout
        assert written[title][0]["ratio"] == 1
        measured = [row for row in written[title] if row["milliseconds"] is not None]
        assert all(row["milliseconds"] > 0 for row in measured)
        assert [row for row in written[title] if row not in measured] == (
            [{"what": wide._LABS, "milliseconds": None, "ratio": None}]
            if title.startswith("IQP") and not is_installed("jax")
            else []
        )
    assert ("not installed" in result.stdout) != is_installed("jax")
    assert max(map(len, result.stdout.splitlines())) <= 80
    assert written["cores"] and written["python"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--repeats", 0), "`repeats` must be at least 1, got 0"),
        (("--epochs", -1), "`epochs` must be at least 0, got -1"),
        (("--qgan-steps", -1), "`qgan_steps` must be at least 0, got -1"),
        (("--qubits", 4, 0), "`qubits` must be at least 1, got 0"),
        (("--layer-qubits", 0), "`layer_qubits` must be at least 1, got 0"),
        (("--device", "tpu"), "unknown `device` 'tpu'"),
        (("--json", "/nowhere/benchmark.json"), "/nowhere is not a folder"),
    ],
)
def test_bad_options_are_one_sentence(call_script, options, message):
    result = call_script("benchmark.py", *TOY, *options)
    assert result.returncode == 2
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_the_prior_takes_a_part_of_an_epoch(monkeypatch):
    monkeypatch.setattr(training, "N_IMAGES", 64)
    small = {"batch_size": 8, "width": 2, "steps_per_epoch": 2, "n_qubits": 2, "bank_shots": 50}
    small = partial(training.AssociativeConfig, **small, fit_evals=50)
    monkeypatch.setattr(training, "AssociativeConfig", small)
    epoch, prior = training.epoch_share(torch.device("cpu"), 1)
    assert 0 < prior.milliseconds < epoch.milliseconds
    assert prior.ratio == pytest.approx(epoch.milliseconds / prior.milliseconds)


def test_times_are_medians_and_ratios_are_to_the_first_row(monkeypatch):
    calls, clock = [], [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])

    def way(name, seconds):
        calls.append(name)
        clock[0] += seconds

    ways = {"a": partial(way, "a", 0.004), "b": partial(way, "b", 2.0)}
    times = median_times(ways, 2)
    # two calls of what is fast and one of what is slow are not timed; turns take 10 ms
    assert "".join(calls) == "aab" + 2 * "aab"
    assert times == pytest.approx({"a": 4, "b": 2000})
    assert rows_of({"slow": 8.0, "fast": 2.0}) == [Row("slow", 8, 1), Row("fast", 2, 4)]


def test_goals_are_compared_with_what_is_installed():
    ms = {
        "value: qulacs": 1.0,
        "value: qcaan": 3.0,
        "value + gradient: qcaan": 2.0,
        "value + gradient: PennyLane default.qubit, backprop": 50.0,
        "value: qcaan, per set in a batch of 64": 0.5,
    }
    goals = engines.engine_goals(rows_of(ms))
    assert [goal.ratio for goal in goals] == [3, 0.5, 25]
    assert engines.engine_goals(rows_of({"value: qcaan": 3.0})) == []
    ours, others = "forward + backward: qcaan", "forward + backward: PennyLane "
    rows = rows_of({f"{others}a": 12.0, f"{others}b": 10.0, ours: 2.0})
    assert [goal.ratio for goal in layers.layer_goals(rows)] == [5]
    assert layers.layer_goals(rows_of({ours: 2.0})) == []
    rows = rows_of({"Qiskit Machine Learning, 10,000 shots": 60.0, "qcaan, exact": 2.0})
    assert [goal.ratio for goal in training.qgan_goals(rows)] == [30]
    assert training.qgan_goals(rows[1:]) == []
    pennylane = "value + gradient, 12 qubits, reach 3: PennyLane default.qubit, backprop"
    ours = {
        "value + gradient, 12 qubits, reach 3: qcaan": 2.0,
        "2,000 exact shots, 1,000 qubits, reach 3": 500.0,
        "400 correlators + gradient, 1,000 qubits, all pairs": 40.0,
        "400 correlators + gradient, 100 qubits, all pairs: qcaan, exact": 4.0,
    }
    labs = "400 correlators + gradient, 100 qubits, all pairs: pennylane.labs, 1,000 samples"
    goals = wide.iqp_goals(rows_of({pennylane: 20.0, labs: 80.0, **ours}))
    assert [goal.ratio for goal in goals] == [0.5, 0.04, 10, 20]
    goals = wide.iqp_goals([*rows_of(ours), Row(labs, None, None)])
    assert [goal.ratio for goal in goals] == [0.5, 0.04]
