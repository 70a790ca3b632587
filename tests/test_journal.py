"""The journal of jobs: what was asked before is fetched, and never paid for twice."""

from __future__ import annotations

import json

import pytest
from device_draws import draw

from qcaan.samplers.journal import Journal
from qcaan.samplers.names import make_sampler


def test_a_tag_is_written_before_and_an_id_after_and_both_travel(ionq, tmp_path):
    path = tmp_path / "jobs.jsonl"
    draw(make_sampler("ionq:simulator", 0, journal=Journal(path)))
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


@pytest.mark.parametrize("cut", [1, 2])  # after the tag was written; after the id was
def test_a_job_of_a_run_that_died_is_fetched_not_paid_again(ionq, tmp_path, cut):
    path = tmp_path / "jobs.jsonl"
    first = draw(make_sampler("ionq:qpu.forte-1", 0, journal=Journal(path)))
    for _ in range(2):  # other jobs, so that the list has pages
        draw(make_sampler("ionq:qpu.forte-1", 0))
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:cut]))
    again = draw(make_sampler("ionq:qpu.forte-1", 0, journal=Journal(path)))
    assert (again == first).all()
    assert len(ionq.jobs) == 3


def test_a_torn_announcement_was_never_sent_and_the_journal_goes_on(ionq, tmp_path):
    path = tmp_path / "jobs.jsonl"
    path.write_text('{"tag": "qcaan-1", "epo')
    draw(make_sampler("ionq:simulator", 0, journal=Journal(path)))
    assert len(ionq.jobs) == 1
    draw(make_sampler("ionq:simulator", 0, journal=Journal(path)))
    assert len(ionq.jobs) == 1


def test_other_epochs_other_requests_and_fresh_draws_are_new_jobs(ionq, tmp_path):
    path = tmp_path / "jobs.jsonl"
    draw(make_sampler("ionq:simulator", 0, journal=Journal(path)))
    later = Journal(path)
    later.begin(1)
    draw(make_sampler("ionq:simulator", 0, journal=later))
    draw(make_sampler("ionq:simulator", 0, journal=Journal(path)), shots=60)
    draw(make_sampler("ionq:simulator", 0, journal=Journal(path, replay=False)))
    assert len(ionq.jobs) == 4
    assert Journal(path).spent == (4, 630)
