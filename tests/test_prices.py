"""Prices of devices: of hand-computed jobs, of plans and the jobs then made, and their limits."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from device_draws import draw, turned
from qiskit import QuantumCircuit, transpile
from qiskit.circuit import Parameter
from qiskit.transpiler import Target
from qiskit_ibm_runtime.fake_provider import FakeManilaV2

from qcaan.samplers.devices import DeviceOptions, Limits
from qcaan.samplers.ibm import qpu_seconds
from qcaan.samplers.journal import Journal
from qcaan.samplers.names import SamplerFactory, make_sampler
from qcaan.samplers.prices import IBM, IONQ, NO_PRICE, Task, about
from qcaan.samplers.rehearsal import Counts, Plan, Rehearsal
from qcaan.samplers.requests import JobError

FORTE = IONQ["ionq:qpu.forte-1"]
DEVICES = Path(__file__).parent.parent / "docs" / "devices.md"


def circuit_of_gates() -> QuantumCircuit:
    """Return a circuit with 3 gates on one qubit and 2 on two."""
    circuit = QuantumCircuit(2)
    circuit.h([0, 1])
    circuit.rx(0.3, 0)
    circuit.rxx(0.3, 0, 1)
    circuit.cx(0, 1)
    circuit.measure_all()
    return circuit


def test_gates_are_paid_by_the_shot_but_no_circuit_costs_less_than_its_minimum():
    circuit = circuit_of_gates()
    # 100,000 shots × (3 × 0.0001645 + 2 × 0.001121)
    assert FORTE.cost([Task(circuit, 1, 100_000)]).usd == pytest.approx(273.55)
    assert FORTE.cost([Task(circuit, 3, 499)]).usd == pytest.approx(3 * 25.7899)
    both = [Task(circuit, 2, 500), Task(circuit, 1, 100_000)]
    assert FORTE.cost(both).usd == pytest.approx(2 * 168.195 + 273.55)
    wide = QuantumCircuit(4)
    wide.mcx([0, 1, 2], 3)  # 12 gates on two qubits
    assert FORTE.cost([Task(wide, 1, 100_000)]).usd == pytest.approx(1345.2)
    assert FORTE.cost([]).usd == 0


def test_seconds_of_qpu_follow_ibms_rule():
    backend = FakeManilaV2()
    circuit = QuantumCircuit(1)
    circuit.rx(Parameter("a"), 0)
    circuit.measure_all()
    native = transpile(circuit, backend, optimization_level=1)
    once = native.estimate_duration(backend.target) + 5.514666666666666e-6  # and a reset
    seconds = qpu_seconds([Task(native, 3, 1000), Task(native, 1, 500)], backend)
    assert seconds == pytest.approx(2 + 3500 * (250e-6 + once))
    assert IBM.cost(310) == pytest.approx((496, 310))

    class NoDurations:
        target = Target.from_configuration(["rz", "sx", "cx", "measure"], num_qubits=1)

    # IBM's quick formula
    assert qpu_seconds([Task(native, 1, 1000)], NoDurations) == pytest.approx(2 + 0.00035 * 1000)


def test_numbers_are_told_with_two_digits():
    assert [about(x) for x in (1760.2, 310, 14.6, 1_234_567, 2.345)] == [
        *("1,800", "310", "15", "1,200,000", "2.35")
    ]


@pytest.mark.parametrize(("shots", "n_sets"), [(50, 3), (10_000, 3), (25_000, 2)])
def test_the_planned_price_is_that_of_the_jobs_made(ionq, tmp_path, shots, n_sets):
    journal = Journal(tmp_path / "jobs.jsonl")
    samplers = SamplerFactory(DeviceOptions(), journal)
    rehearsal = Rehearsal(samplers.vendor("ionq:qpu.forte-1"), np.random.default_rng(0))
    circuit, _ = turned()
    pubs = [(circuit, np.full((n_sets, 1), 0.4), shots)]
    rehearsal.run(pubs).result()
    assert not ionq.jobs and rehearsal.counts.usd > 0
    samplers("ionq:qpu.forte-1", np.random.default_rng(0)).run(pubs).result()
    assert samplers.usd == pytest.approx(rehearsal.counts.usd)
    assert Journal(tmp_path / "jobs.jsonl").usd == samplers.usd
    assert Journal(tmp_path / "jobs.jsonl", replay=False).usd == 0


def test_no_job_goes_beyond_the_cost_and_resumed_runs_count_what_was_spent(ionq, tmp_path):
    path = tmp_path / "jobs.jsonl"

    def sample(max_cost: float, epoch: int) -> None:
        journal = Journal(path)
        journal.begin(epoch)
        options = DeviceOptions(max_cost=max_cost)
        draw(make_sampler("ionq:qpu.forte-1", 0, journal=journal, options=options))

    with pytest.raises(JobError, match=r"the cost \$77.37 on .*; --max-cost is \$77.00"):
        sample(77, 0)
    assert not ionq.jobs and not path.exists()
    sample(78, 0)
    sample(78, 0)  # fetched again, not paid
    with pytest.raises(JobError, match=r"the cost \$154.74 on .*; --max-cost is \$154.00"):
        sample(154, 1)
    assert len(ionq.jobs) == 1


def test_a_plan_is_refused_beyond_the_cost_and_without_a_price():
    counts = Counts(1, 1, 1000, 120.5)
    plan = Plan("ionq:qpu.forte-1", Limits(36), True, counts, counts, 5, 17, price=FORTE)
    plan.check(DeviceOptions(max_cost=120.5))
    plan.check(DeviceOptions())
    with pytest.raises(ValueError, match=r"plans \$120.50 on .* --max-cost is \$120.00; plan less"):
        plan.check(DeviceOptions(max_cost=120))
    with pytest.raises(ValueError, match=r"plans \$130.50 \(\$10.00 of them spent\)"):
        plan.check(DeviceOptions(max_cost=130), (1, 1000), 10.0)
    for paid, price in ((True, None), (False, None)):
        other = Plan("aqt:x", Limits(12), paid, counts, Counts(1, 1, 10), 5, 17, price=price)
        other.check(DeviceOptions())
        if not paid:
            other.check(DeviceOptions(max_cost=1))
            continue
        with pytest.raises(ValueError, match=f"--max-cost cannot be kept on aqt:x: {NO_PRICE}"):
            other.check(DeviceOptions(max_cost=1))


@pytest.mark.parametrize("name", ["ibm:fake_manila", "aqt:ideal", "ionq:simulator"])
def test_stand_ins_cost_nothing(name, ionq):
    vendor = SamplerFactory().vendor(name)
    assert not vendor.paid and vendor.price is None
    assert vendor.cost([Task(vendor.native(circuit_of_gates()), 1, 1000)]) == (0, 0)
    make_sampler(name, 0, options=DeviceOptions(max_cost=0.01))


@pytest.mark.parametrize("value", [0, -1, float("nan")])
def test_a_cost_must_be_positive(value):
    with pytest.raises(ValueError, match="`max_cost` must be"):
        DeviceOptions(max_cost=value)


def test_the_table_of_the_documentation_is_that_of_the_data():
    rows = [
        f"| `{name}` | {price.one_qubit:g} a shot of a gate on one qubit, {price.two_qubit:g} on "
        f"two; a circuit at least {price.least}, mitigated {price.least_mitigated} | "
        f"[{price.seller}]({price.source}) | {price.date} |"
        for name, price in IONQ.items()
    ]
    rows += [
        f"| `ibm:BACKEND` | {IBM.second} a second of QPU | [{IBM.seller}]({IBM.source}) | "
        f"{IBM.date} |",
        f"| `aqt:RESOURCE` | {NO_PRICE} | | |",
    ]
    table = re.search(r"^## Prices\n.*?((?:^\|[^\n]*\n)+)", DEVICES.read_text(), re.M | re.S)
    assert table is not None and table[1].splitlines()[2:] == rows
