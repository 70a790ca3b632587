"""Vendors: what is missing is told in one sentence, and native gates are the vendor's."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from device_draws import draw
from qiskit import QuantumCircuit

from qcaan.circuits.ansatz import make_ansatz
from qcaan.samplers.devices import DeviceOptions
from qcaan.samplers.journal import Journal
from qcaan.samplers.names import make_sampler
from qcaan.samplers.requests import JobError, Unsearchable


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("warp", "unknown `sampler` 'warp'; choose from exact, aer, .*, ionq:BACKEND"),
        ("ibm:", "unknown `sampler` 'ibm:'"),
        (
            "aer-noise:warp",
            "unknown device 'warp'; choose from ionq-aria, or a fake device of IBM such as "
            "fake_guadalupe",
        ),
        ("ibm:fake_warp", "unknown device 'fake_warp'"),
        ("ionq:simulator", "ionq:simulator is not available: .*token"),
        ("ibm:ibm_warp", "ibm:ibm_warp is not available: .*account"),
    ],
)
def test_what_is_not_available_is_one_sentence(name, message, monkeypatch, tmp_path):
    for variable in ("IONQ_API_KEY", "IONQ_API_TOKEN", "QISKIT_IONQ_API_TOKEN", "QISKIT_IBM_TOKEN"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("IONQ_API_URL", "http://127.0.0.1:9")  # nothing listens there
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(ValueError, match=message):
        make_sampler(name)


def test_a_missing_extra_says_how_to_get_it(monkeypatch):
    for name in ("qiskit_ionq", "qiskit_ionq.helpers"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, "qcaan.samplers.ionq", raising=False)
    with pytest.raises(
        ValueError,
        match=r"`sampler` 'ionq:simulator' needs: pip install \"qcaan\[ionq\]\" \(qiskit_ionq",
    ):
        make_sampler("ionq:simulator")


def test_the_ion_trap_ansatz_becomes_native_rxx_on_aqt_and_no_more():
    ansatz = make_ansatz("ion-trap", 5, 4)
    circuit = ansatz.to_circuit().assign_parameters(
        np.random.default_rng(0).normal(0, 2, ansatz.n_params)
    )
    circuit.measure_all()
    native = make_sampler("aqt:ideal").vendor.native(circuit)
    assert native.count_ops()["rxx"] == native.num_nonlocal_gates() == 2 * 10
    assert set(native.count_ops()) <= {"r", "rz", "rxx", "measure", "barrier"}


def test_a_vendor_that_cannot_be_searched_stops_the_run_and_says_so(tmp_path):
    path = tmp_path / "jobs.jsonl"
    draw(make_sampler("aqt:ideal", 0, journal=Journal(path)))
    # announced, and without an id
    path.write_text(path.read_text().splitlines(keepends=True)[0])
    sampler = make_sampler("aqt:ideal", 0, journal=Journal(path))
    sampler.vendor.local = False  # as a resource of the cloud is
    with pytest.raises(Unsearchable, match="AQT does not tell whether it arrived"):
        draw(sampler)


def test_an_option_that_ibms_local_mode_ignores_is_said_once(caplog):
    from qcaan.samplers.ibm import _log_once

    _log_once.cache_clear()
    for _ in range(2):
        make_sampler("ibm:fake_manila", 0, options=DeviceOptions(ibm_mode="batch"))
    said = [record.getMessage() for record in caplog.records]
    assert said == [
        "ibm:fake_manila runs in this process, where IBM's client ignores the mode batch",
        "ibm:fake_manila runs in this process, where IBM's client ignores job tags",
    ]


def biased(p_one: float) -> QuantumCircuit:
    circuit = QuantumCircuit(1)
    circuit.ry(2 * np.arcsin(np.sqrt(p_one)), 0)
    circuit.measure_all()
    return circuit


def shots_of(sampler, circuit, shots=200):
    result = sampler.run([(circuit, None, shots)]).result()[0]
    return result.join_data().to_bool_array(order="little")


def test_ionqs_simulator_draws_from_the_exact_distribution_by_the_seed(ionq):
    """IonQ's own client draws without a seed, and drops outcomes that it did not draw."""
    circuit = biased(0.4)
    draws = [shots_of(make_sampler("ionq:simulator", seed), circuit) for seed in range(20)]
    assert np.mean(draws) == pytest.approx(0.4, abs=0.025)  # three standard deviations
    assert (shots_of(make_sampler("ionq:simulator", 3), circuit) == draws[3]).all()
    rare = biased(0.002)
    assert shots_of(make_sampler("ionq:simulator", 0), rare, 100_000).sum() == pytest.approx(
        200, abs=60
    )


@pytest.mark.parametrize(
    ("results", "message"),
    [
        ({"0": 0.5}, "frequencies that add up to 0.5"),
        ({"0": 1.0, "1": 1.0}, "frequencies that add up to 2"),
        ({"0": 1.5, "1": -0.5}, "frequency -0.5"),
        ({"0": 0.0, "9": 1.0}, "outcome '9' of 1 qubits"),
        ({"-1": 1.0}, "outcome '-1' of 1 qubits"),
        ({"zero": 1.0}, "outcome 'zero' of 1 qubits"),
        ({"0": "0.5", "1": 0.5}, "frequency '0.5'"),
        ({"0": float("nan"), "1": 0.5}, "frequency nan"),
        ({"0": float("inf")}, "frequency inf"),
        ({"0": None, "1": 1.0}, "frequency None"),
        (
            {"a": {"0": 1.0}, "b": {"0": 1.0}},
            "2 distributions of 1 circuits|distributions of other circuits",
        ),
        ([], "0 distributions of 1 circuits"),
        ({}, "frequencies that add up to 0"),
        ("nothing", "str instead of frequencies"),
    ],
)
def test_impossible_results_are_refused_with_the_jobs_id(ionq, results, message):
    ionq.results = results
    with pytest.raises(JobError, match=message) as caught:
        shots_of(make_sampler("ionq:simulator", 0), biased(0.5))
    assert caught.value.job_id in ionq.jobs


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda bits: bits[:-1], "shots of other shapes"),
        (lambda bits: [*bits, bits[0]], "shots of other shapes"),
        (lambda bits: [bits[0][:, :-1]], "shots of other shapes"),
        (lambda bits: [bits[0].astype(float)], "shots of other shapes"),
        (lambda bits: [bits[0] | 2], "bitstrings of more than 1 bits"),
    ],
)
def test_shots_that_were_not_asked_are_refused_from_every_vendor(change, message):
    sampler = make_sampler("aqt:ideal", 0)
    fetch = sampler.vendor.fetch
    sampler.vendor.fetch = lambda *arguments: change(fetch(*arguments))
    with pytest.raises(JobError, match=f"holds impossible results: {message}"):
        shots_of(sampler, biased(0.5))
