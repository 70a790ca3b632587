"""IBM's devices: its own client against a server that speaks a part of its API."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
import stamina
from device_draws import draw
from ibm_server import CRN, IBMServer
from qiskit import QuantumCircuit
from qiskit.primitives import BitArray, DataBin, SamplerPubResult
from qiskit_ibm_runtime.executor_sampler import Sampler
from werkzeug import Response

from qcaan.samplers.credentials import scrub
from qcaan.samplers.devices import DeviceOptions
from qcaan.samplers.journal import Journal
from qcaan.samplers.names import make_sampler
from qcaan.samplers.requests import JobError


@pytest.fixture
def ibm(monkeypatch, tmp_path, httpserver):
    """The server, and an account whose key has the line end of a mounted file."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("QISKIT_IBM_TOKEN", "open-sesame\n")
    monkeypatch.setenv("QISKIT_IBM_INSTANCE", CRN)
    monkeypatch.setenv("QISKIT_FUNCTIONS_EXPERIMENTAL", "1")  # no search for other instances
    server = IBMServer(httpserver)
    monkeypatch.setenv("QISKIT_IBM_URL", server.url)
    monkeypatch.setenv("IAM_URL", httpserver.url_for("").rstrip("/"))
    with stamina.set_testing(True, attempts=3):
        yield server


def test_a_device_is_opened_with_a_stripped_key_and_too_wide_a_circuit_is_refused(ibm):
    sampler = make_sampler("ibm:ibm_manila")
    assert sampler.n_qubits == 5 and ibm.keys == {"open-sesame"}
    wide = QuantumCircuit(6)
    wide.measure_all()
    with pytest.raises(ValueError, match="`n_qubits` must be at most 5 on ibm:ibm_manila, got 6"):
        sampler.run([(wide,)])


def test_a_job_whose_answer_was_lost_is_found_by_its_tag_and_the_wait_is_bounded(ibm, tmp_path):
    options = DeviceOptions(job_timeout=3.0)
    sampler = make_sampler("ibm:ibm_manila", options=options, journal=Journal(tmp_path / "jobs"))
    ibm.lost_answers = 1
    with pytest.raises(JobError, match=r"job \S+ on ibm:ibm_manila did not end within 3 s"):
        draw(sampler)
    (job,) = ibm.jobs.values()
    announced, noted = map(json.loads, (tmp_path / "jobs").read_text().splitlines())
    assert (job["tags"], job["id"]) == ([announced["tag"]], noted["job_id"])


@pytest.mark.parametrize("n_qubits", ["5", -1, 0, None, 10**9, float("nan")])
def test_a_device_without_a_sensible_number_of_qubits_is_refused(ibm, n_qubits):
    ibm.n_qubits = n_qubits
    with pytest.raises(ValueError, match="ibm:ibm_manila is not available: ") as caught:
        make_sampler("ibm:ibm_manila")
    assert "\n" not in str(caught.value)


def test_a_refused_key_is_one_sentence_without_it(ibm):
    refusal = Response('{"errorMessage": "apikey open-sesame is unknown"}', 401)
    ibm.troubles = {"/backends": [refusal] * 9}
    with pytest.raises(ValueError, match="ibm:ibm_manila is not available: ") as caught:
        make_sampler("ibm:ibm_manila")
    assert "sesame" not in str(caught.value)


@pytest.mark.parametrize("account", [None, " \n", "saved-sesame\n"])
def test_saved_accounts_are_read_stripped_and_hidden(ibm, monkeypatch, tmp_path, account):
    monkeypatch.delenv("QISKIT_IBM_TOKEN")
    path = tmp_path / "accounts.json"
    monkeypatch.setattr(
        "qiskit_ibm_runtime.accounts.management._DEFAULT_ACCOUNT_CONFIG_JSON_FILE", str(path)
    )
    if account is not None:
        saved = {
            "channel": "ibm_quantum_platform",
            "token": account,
            "instance": CRN,
            "url": ibm.url,
        }
        path.write_text(json.dumps({"default": {**saved, "is_default_account": True}}))
    if account == "saved-sesame\n":
        assert make_sampler("ibm:ibm_manila").n_qubits == 5
        assert ibm.keys == {"saved-sesame"} and "sesame" not in scrub("'saved-sesame'")
    else:
        with pytest.raises(ValueError, match=r"ibm:ibm_manila is not available: .*account"):
            make_sampler("ibm:ibm_manila")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda results: [], "shots of other shapes"),
        (lambda results: [*results, results[0]], "shots of other shapes"),
        (lambda results: [drawn(3, 49, 2)], "shots of other shapes"),
        (lambda results: [drawn(2, 50, 2)], "shots of other shapes"),
        (lambda results: [drawn(3, 50, 9)], "shots of other shapes"),
        (lambda results: [drawn(3, 50, 3)], "bitstrings of more than 2 bits"),
    ],
)
def test_impossible_results_are_refused_with_the_jobs_id(monkeypatch, change, message):
    """The client itself computes here, on a fake device; its results are changed after that."""
    run = Sampler.run

    def changed(self, pubs):
        job = run(self, pubs)
        results = change(list(job.result()))
        return SimpleNamespace(job_id=job.job_id, result=lambda: results)

    monkeypatch.setattr(Sampler, "run", changed)
    with pytest.raises(JobError, match=f"holds impossible results: {message}") as caught:
        draw(make_sampler("ibm:fake_manila", 0))
    assert caught.value.job_id and caught.value.job_id in str(caught.value)


def drawn(n_sets, shots, n_bits):
    """Return a result of ones."""
    bits = BitArray.from_bool_array(np.ones((n_sets, shots, n_bits), bool))
    return SamplerPubResult(DataBin(meas=bits, shape=(n_sets,)))
