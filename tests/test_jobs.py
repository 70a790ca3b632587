"""Jobs on devices: split to the limits, waited for, refused beyond the options, and joined."""

from __future__ import annotations

import pytest
from device_draws import draw
from hypothesis import given
from hypothesis import strategies as st

from qcaan.samplers.devices import DeviceOptions, Limits
from qcaan.samplers.jobs import split_jobs, split_shots
from qcaan.samplers.journal import Journal
from qcaan.samplers.names import make_sampler
from qcaan.samplers.requests import JobError, JobFailed


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
    draw(make_sampler("aqt:ideal", 0, journal=journal), n_sets=60, shots=2500)
    # 60 circuits of 2,000 shots and 60 of 500, at most 50 a job
    assert journal.spent == (4, 150_000)


def test_one_job_for_many_circuits_and_shots_cut_for_a_qpu(ionq):
    draw(make_sampler("ionq:qpu.forte-1", 0), n_sets=30)
    assert len(ionq.jobs) == 1
    draw(make_sampler("ionq:qpu.forte-1", 0), n_sets=2, shots=25_000)
    assert [job["request"]["shots"] for job in ionq.jobs.values()] == [50, 10_000, 5_000]


@pytest.mark.parametrize(
    ("ending", "message"), [("failed", "an ion was lost"), ("canceled", "was cancelled")]
)
def test_a_job_that_ends_badly_is_a_typed_error_and_is_sent_anew_next_time(
    ionq, tmp_path, ending, message
):
    path = tmp_path / "jobs.jsonl"
    ionq.ending = ending
    with pytest.raises(JobFailed, match=message) as caught:
        draw(make_sampler("ionq:simulator", 0, journal=Journal(path)))
    assert caught.value.job_id in ionq.jobs
    ionq.ending = "completed"
    draw(make_sampler("ionq:simulator", 0, journal=Journal(path)))
    assert len(ionq.jobs) == 2


def test_a_wait_has_an_end_and_the_job_is_still_fetched_later(ionq, tmp_path):
    path = tmp_path / "jobs.jsonl"
    ionq.latency = 60
    with pytest.raises(
        JobError, match=r"job .* on ionq:simulator did not end within 1 s"
    ) as caught:
        draw(
            make_sampler(
                "ionq:simulator", 0, journal=Journal(path), options=DeviceOptions(job_timeout=1.0)
            )
        )
    assert caught.value.job_id in ionq.jobs
    ionq.latency = 0
    draw(make_sampler("ionq:simulator", 0, journal=Journal(path)))
    assert len(ionq.jobs) == 1


def test_nothing_is_sent_beyond_the_budget(ionq):
    sampler = make_sampler(
        "ionq:simulator", 0, journal=Journal(), options=DeviceOptions(max_jobs=1)
    )
    draw(sampler)
    with pytest.raises(
        JobError, match="the next job would make 2 jobs on ionq:simulator; --max-jobs is 1"
    ):
        draw(sampler)
    with pytest.raises(
        JobError, match="would make 150 shots on ionq:simulator; --max-shots is 149"
    ):
        draw(
            make_sampler(
                "ionq:simulator", 0, journal=Journal(), options=DeviceOptions(max_shots=149)
            )
        )
    assert len(ionq.jobs) == 1
    assert (
        DeviceOptions().limits(paid=True)["jobs"],
        DeviceOptions().limits(paid=False)["jobs"],
    ) == (
        1000,
        None,
    )
