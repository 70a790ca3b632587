"""Rehearsals: they count what a device is asked, submit nothing, and make plans to check."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter

from qcaan.samplers.devices import DeviceOptions, Limits
from qcaan.samplers.journal import Journal
from qcaan.samplers.names import SamplerFactory
from qcaan.samplers.noise import estimated_fidelity
from qcaan.samplers.rehearsal import Counts, Plan, Rehearsal, Stage


def make_pubs():
    """Return two pubs of a circuit with one gate on two qubits: 3 parameter sets, and 1.

    Their shots are 2,010, of which AQT takes 2,000 at once, and 20.
    """
    angle = Parameter("a")
    circuit = QuantumCircuit(2)
    circuit.rx(angle, 0)
    circuit.cx(0, 1)
    circuit.measure_all()
    return [(circuit, [[0.1], [0.2], [0.3]], 2010), (circuit, [[0.4]], 20)]


def asked(path):
    """Return the counts of the jobs in a journal's file."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    jobs = [line for line in lines if "fingerprint" in line]
    circuits, shots = (sum(job[what] for job in jobs) for what in ("circuits", "shots"))
    return Counts(len(jobs), circuits, shots)


def test_counts_are_added_so_many_times():
    counts = Counts(1, 20, 300)
    assert Counts() == Counts(0, 0, 0)
    assert counts.plus(Counts(2, 3, 4)) == Counts(3, 23, 304)
    assert counts.plus(Counts(2, 3, 4), 10) == Counts(21, 50, 340)
    assert counts.plus(counts, -1) == Counts()


# AQT gets jobs of 3 circuits of 2,000 shots, of 3 of 10, and of 1 of 20
@pytest.mark.parametrize(
    ("name", "counts"),
    [("aqt:ideal", Counts(3, 7, 6050)), ("ibm:fake_manila", Counts(2, 4, 6050))],
)
def test_a_rehearsal_counts_what_a_device_is_then_asked(name, counts, tmp_path):
    journal = Journal(tmp_path / "jobs.jsonl")
    samplers = SamplerFactory(DeviceOptions(), journal)
    rehearsal = Rehearsal(samplers.vendor(name), np.random.default_rng(0))
    rehearsed = rehearsal.run(make_pubs()).result()
    assert journal.spent == (0, 0)
    sampled = samplers(name, np.random.default_rng(0)).run(make_pubs()).result()
    assert rehearsal.counts == asked(tmp_path / "jobs.jsonl") == counts
    assert journal.spent == (counts.jobs, counts.shots)
    for mine, theirs in zip(rehearsed, sampled, strict=True):
        assert mine.data.meas.array.shape == theirs.data.meas.array.shape
    rehearsal.run(make_pubs()[1:]).result()
    assert rehearsal.counts == counts.plus(Counts(1, 1, 20))


@pytest.mark.parametrize("name", ["aqt:ideal", "ibm:fake_manila"])
def test_a_rehearsal_measures_the_largest_circuit_in_native_gates(name):
    vendor = SamplerFactory().vendor(name)
    rehearsal = Rehearsal(vendor, np.random.default_rng(0))
    flat = QuantumCircuit(2)
    flat.x(0)
    flat.measure_all()
    rehearsal.run([(flat, None, 10)])
    assert rehearsal.two_qubit_gates == 0
    rehearsal.run(make_pubs())
    rehearsal.run([(flat, None, 10)])
    bound = make_pubs()[0][0].assign_parameters([0.1])
    assert (rehearsal.two_qubit_gates, rehearsal.depth) == (1, vendor.native(bound).depth())
    if vendor.target is None:  # no calibration data
        assert rehearsal.fidelity is None
    else:
        native = vendor.native(make_pubs()[0][0])
        assert rehearsal.fidelity == estimated_fidelity(native, vendor.target) < 0.99


def test_a_stage_rehearses_the_device_alone_and_tells_what_an_action_asks():
    stage = Stage(SamplerFactory())
    rng = np.random.default_rng(0)
    ideal, noisy = stage("aer", rng), stage("aer-noise:fake_manila", rng)
    assert stage.device is None
    assert noisy.n_qubits == 5
    device = stage("aqt:ideal", rng)
    assert stage.device is device
    circuit = QuantumCircuit(1, name="one")
    circuit.x(0)
    circuit.measure_all()

    def action():
        for sampler, shots in ((ideal, 10), (noisy, 20), (device, 30), (device, 40)):
            bits = sampler.run([(circuit, None, shots)]).result()[0].data.meas
            assert bits.num_shots == shots

    action()
    spent = stage.spent(action)
    assert spent == Counts(2, 2, 70)
    assert device.counts == Counts(4, 4, 140)
    plan = stage.plan(spent, spent.plus(spent))
    assert (plan.name, plan.paid, plan.two_qubit_gates) == ("aqt:ideal", False, 0)
    assert (plan.epoch, plan.run) == (Counts(2, 2, 70), Counts(4, 4, 140))
    assert plan.limits == stage.device.vendor.limits


def plan(run: Counts, *, paid: bool) -> Plan:
    return Plan("ionq:qpu.forte-1", Limits(36, 10_000), paid, Counts(), run, 5, 17)


@pytest.mark.parametrize(
    ("paid", "options", "message"),
    [
        (False, {"max_jobs": 1999}, "2,000 jobs on ionq:qpu.forte-1, --max-jobs is 1,999"),
        (False, {"max_shots": 2_999_999}, "3,000,000 shots on .*, --max-shots is 2,999,999"),
        (True, {}, "2,000 jobs on .*, --max-jobs is 1,000"),
        (True, {"max_jobs": 2000}, "3,000,000 shots on .*, --max-shots is 1,000,000"),
        (True, {"max_shots": 3_000_000}, "2,000 jobs on .*, --max-jobs is 1,000"),
    ],
)
def test_a_plan_beyond_the_limits_is_refused(paid, options, message):
    with pytest.raises(ValueError, match=f"the run plans {message}; plan less") as caught:
        plan(Counts(2000, 4000, 3_000_000), paid=paid).check(DeviceOptions(**options))
    assert "\n" not in str(caught.value)


def test_a_plan_within_the_limits_passes():
    counts = Counts(2000, 4000, 3_000_000)
    for paid in (False, True):
        plan(counts, paid=paid).check(DeviceOptions(max_jobs=2000, max_shots=3_000_000))
    plan(counts, paid=False).check(DeviceOptions())
    plan(Counts(1000, 1000, 1_000_000), paid=True).check(DeviceOptions())


def test_warnings_about_random_answers_are_not_shown():
    stage = Stage(SamplerFactory())
    stage("aqt:ideal", np.random.default_rng(0))
    assert stage.spent(lambda: warnings.warn("no correlations", stacklevel=1)) == Counts()
