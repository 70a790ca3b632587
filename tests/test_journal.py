"""The journal of jobs: what was asked before is fetched, and never paid for twice."""

from __future__ import annotations

import errno
import json
import os

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


GOOD = {
    **{"tag": "qcaan-1", "epoch": 0, "index": 0, "fingerprint": "f", "circuits": 1, "shots": 5},
    **{"job_id": None, "failed": False},
}


@pytest.mark.parametrize(
    ("record", "wrong"),
    [
        ({"a": 1}, "tag"),
        ({"tag": ["x"]}, "tag"),
        ({**GOOD, "warp": 9}, "warp"),
        ({**GOOD, "shots": "many"}, "shots"),
        ({name: value for name, value in GOOD.items() if name != "index"}, "index"),
        ({"tag": "qcaan-1", "job_id": 5}, "job_id"),
        ({"tag": "qcaan-1", "spent": 0}, "spent"),
    ],
)
def test_a_foreign_journal_is_named(tmp_path, record, wrong):
    path = tmp_path / "jobs.jsonl"
    path.write_text(f"{json.dumps(GOOD)}\n{json.dumps(record)}\n")
    with pytest.raises(ValueError, match=rf"jobs\.jsonl is not the journal .* wrong `{wrong}`"):
        Journal(path)


@pytest.mark.parametrize("content", [b"[1]\n", bytes(range(256)), b"not a record\n"])
def test_a_damaged_journal_is_named(tmp_path, content):
    (tmp_path / "jobs.jsonl").write_bytes(content)
    with pytest.raises(ValueError, match=r"jobs\.jsonl is damaged: line 1 is not a record"):
        Journal(tmp_path / "jobs.jsonl")


def test_a_job_that_cannot_be_recorded_is_not_submitted(ionq, tmp_path, monkeypatch):
    def fail(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path = tmp_path / "jobs.jsonl"
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match=r"jobs\.jsonl"):
        draw(make_sampler("ionq:qpu.forte-1", 0, journal=Journal(path)))
    assert (len(ionq.jobs), path.read_bytes()) == (0, b"")
