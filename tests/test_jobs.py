from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter

from qcaan.samplers.jobs import (
    Budget,
    JobError,
    JobFailed,
    Journal,
    Limits,
    Unsearchable,
    scrubbed,
    split_jobs,
    split_shots,
)
from qcaan.samplers.names import make_sampler


def turned(n_sets=3):
    """A circuit whose parameter set k gives the bits 1 k%2."""
    angle = Parameter("a")
    circuit = QuantumCircuit(2)
    circuit.x(0)
    circuit.rx(angle, 1)
    circuit.measure_all()
    return circuit, np.pi * (np.arange(n_sets)[:, None] % 2)


def draw(sampler, n_sets=3, shots=50):
    circuit, values = turned(n_sets)
    drawn = (
        sampler.run([(circuit, values, shots)])
        .result()[0]
        .join_data()
        .to_bool_array(order="little")
    )
    assert drawn.shape == (n_sets, shots, 2)
    assert drawn[:, :, 0].all()
    assert (drawn[:, :, 1] == (np.arange(n_sets)[:, None] % 2 == 1)).all()
    return drawn


@given(
    shots=st.lists(st.integers(1, 5), max_size=30),
    circuits=st.none() | st.integers(1, 4),
)
def test_jobs_hold_every_circuit_once_within_the_limits(shots, circuits):
    jobs = list(split_jobs(shots, Limits(1, circuits=circuits)))
    assert sorted(place for job in jobs for place in job) == list(range(len(shots)))
    assert all(
        len({shots[place] for place in job}) == 1 and len(job) <= (circuits or 30) for job in jobs
    )


@given(shots=st.integers(1, 10_000), most=st.none() | st.integers(1, 3000))
def test_shots_are_cut_to_the_limit(shots, most):
    parts = split_shots(shots, Limits(1, shots=most))
    assert sum(parts) == shots
    assert max(parts) <= (most or shots)
    assert len(parts) == -(-shots // (most or shots))


def test_batches_beyond_the_targets_limits_come_back_in_order():
    journal = Journal()
    draw(make_sampler("aqt:ideal", 0, journal), n_sets=60, shots=2500)
    # 60 circuits of 2,000 shots and 60 of 500, at most 50 a job
    assert journal.spent == (4, 150_000)


def test_one_job_for_many_circuits_and_shots_cut_for_a_qpu(ionq):
    draw(make_sampler("ionq:qpu.forte-1", 0), n_sets=30)
    assert len(ionq.jobs) == 1
    draw(make_sampler("ionq:qpu.forte-1", 0), n_sets=2, shots=25_000)
    assert [job["request"]["shots"] for job in ionq.jobs.values()] == [50, 10_000, 5_000]


def test_a_tag_is_written_before_and_an_id_after_and_both_travel(ionq, tmp_path):
    path = tmp_path / "jobs.jsonl"
    draw(make_sampler("ionq:simulator", 0, Journal(path)))
    announced, submitted = map(json.loads, path.read_text().splitlines())
    ((job_id, job),) = ionq.jobs.items()
    assert (
        job["request"]["name"]
        == job["request"]["metadata"]["qcaan_tag"]
        == announced["tag"]
        == submitted["tag"]
    )
    assert submitted["job_id"] == job_id
    assert announced["circuits"] == 3 and announced["shots"] == 150


def test_trouble_is_waited_out_and_a_job_whose_answer_was_lost_is_paid_once(ionq):
    ionq.troubles = [429, 500]
    ionq.lost_answers = 1
    draw(make_sampler("ionq:simulator", 0))
    assert len(ionq.jobs) == 1


def test_a_refused_request_is_an_error_without_retries_or_credentials(ionq):
    ionq.troubles = [403]
    with pytest.raises(JobError, match=r"ionq:simulator refused a request \(IonQAPIError"):
        draw(make_sampler("ionq:simulator", 0))
    assert not ionq.jobs
    assert scrubbed("apiKey open-sesame") == "apiKey <IONQ_API_KEY>"
    assert "open-sesame" not in str(JobError("rejected apiKey open-sesame"))


@pytest.mark.parametrize("cut", [1, 2])  # after the tag was written; after the id was
def test_a_job_of_a_run_that_died_is_fetched_not_paid_again(ionq, tmp_path, cut):
    path = tmp_path / "jobs.jsonl"
    first = draw(make_sampler("ionq:qpu.forte-1", 0, Journal(path)))
    for _ in range(2):  # other jobs, so that the list has pages
        draw(make_sampler("ionq:qpu.forte-1", 0))
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:cut]))
    again = draw(make_sampler("ionq:qpu.forte-1", 0, Journal(path)))
    assert (again == first).all()
    assert len(ionq.jobs) == 3


def test_a_torn_announcement_was_never_sent_and_the_journal_goes_on(ionq, tmp_path):
    path = tmp_path / "jobs.jsonl"
    path.write_text('{"tag": "qcaan-1", "epo')
    draw(make_sampler("ionq:simulator", 0, Journal(path)))
    assert len(ionq.jobs) == 1
    draw(make_sampler("ionq:simulator", 0, Journal(path)))
    assert len(ionq.jobs) == 1


def test_other_epochs_other_requests_and_fresh_draws_are_new_jobs(ionq, tmp_path):
    path = tmp_path / "jobs.jsonl"
    draw(make_sampler("ionq:simulator", 0, Journal(path)))
    later = Journal(path)
    later.begin(1)
    draw(make_sampler("ionq:simulator", 0, later))
    draw(make_sampler("ionq:simulator", 0, Journal(path)), shots=60)
    draw(make_sampler("ionq:simulator", 0, Journal(path, replay=False)))
    assert len(ionq.jobs) == 4
    assert Journal(path).spent == (4, 630)


@pytest.mark.parametrize(
    ("ending", "message"), [("failed", "an ion was lost"), ("canceled", "was cancelled")]
)
def test_a_job_that_ends_badly_is_a_typed_error_and_is_sent_anew_next_time(
    ionq, tmp_path, ending, message
):
    path = tmp_path / "jobs.jsonl"
    ionq.ending = ending
    with pytest.raises(JobFailed, match=message) as caught:
        draw(make_sampler("ionq:simulator", 0, Journal(path)))
    assert caught.value.job_id in ionq.jobs
    ionq.ending = "completed"
    draw(make_sampler("ionq:simulator", 0, Journal(path)))
    assert len(ionq.jobs) == 2


def test_a_wait_has_an_end_and_the_job_is_still_fetched_later(ionq, tmp_path):
    path = tmp_path / "jobs.jsonl"
    ionq.latency = 60
    with pytest.raises(
        JobError, match=r"job .* on ionq:simulator did not end within 0.2 s"
    ) as caught:
        draw(make_sampler("ionq:simulator", 0, Journal(path), Budget(job_timeout=0.2)))
    assert caught.value.job_id in ionq.jobs
    ionq.latency = 0
    draw(make_sampler("ionq:simulator", 0, Journal(path)))
    assert len(ionq.jobs) == 1


def test_nothing_is_sent_beyond_the_budget(ionq):
    sampler = make_sampler("ionq:simulator", 0, Journal(), Budget(max_jobs=1))
    draw(sampler)
    with pytest.raises(
        JobError, match="the next job would make 2 jobs on ionq:simulator; --max-jobs is 1"
    ):
        draw(sampler)
    with pytest.raises(
        JobError, match="would make 150 shots on ionq:simulator; --max-shots is 149"
    ):
        draw(make_sampler("ionq:simulator", 0, Journal(), Budget(max_shots=149)))
    assert len(ionq.jobs) == 1
    assert (Budget().most(paid=True)["jobs"], Budget().most(paid=False)["jobs"]) == (1000, None)


def test_a_vendor_that_cannot_be_searched_stops_the_run_and_says_so(tmp_path):
    path = tmp_path / "jobs.jsonl"
    draw(make_sampler("aqt:ideal", 0, Journal(path)))
    path.write_text(
        path.read_text().splitlines(keepends=True)[0]
    )  # announced, and no id was heard of
    sampler = make_sampler("aqt:ideal", 0, Journal(path))
    sampler.vendor.local = False  # as a resource of the cloud is
    with pytest.raises(Unsearchable, match="AQT does not tell whether it arrived"):
        draw(sampler)


def test_an_option_that_ibms_local_mode_ignores_is_said_once(caplog):
    from qcaan.samplers.vendors import _say_once

    _say_once.cache_clear()
    for _ in range(2):
        make_sampler("ibm:fake_manila", 0, budget=Budget(ibm_mode="batch"))
    said = [record.getMessage() for record in caplog.records]
    assert said == [
        "ibm:fake_manila runs in this process, where IBM's client ignores the mode batch",
        "ibm:fake_manila runs in this process, where IBM's client ignores job tags",
    ]
