"""Requests to a vendor: bounded in time, repeated after outages, and free of credentials."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from types import SimpleNamespace

import pytest
from device_draws import draw

from qcaan.samplers.credentials import scrub
from qcaan.samplers.names import make_sampler
from qcaan.samplers.requests import (
    JobError,
    TransientError,
    _retry_after,
    is_transient,
    request,
)


class Refused(Exception):
    def __init__(self, status, **headers):
        super().__init__(f"status {status}")
        self.response = SimpleNamespace(status_code=status, headers=headers)


def test_an_outage_is_waited_out_and_a_refusal_is_not():
    seen = []

    def send():
        seen.append("attempt")
        if len(seen) < 3:
            raise ConnectionError("connection reset")
        return "answer"

    assert request("trap", send, seconds=60) == "answer" and len(seen) == 3

    def refuse():
        raise Refused(403)

    with pytest.raises(
        JobError, match=r"trap refused a request about job 7 \(Refused: status 403\)"
    ) as caught:
        request("trap", refuse, seconds=60, job_id="7")
    assert caught.value.job_id == "7" and not isinstance(caught.value, TransientError)


def test_an_answer_that_never_comes_ends_within_the_limit():
    start = time.monotonic()
    with pytest.raises(JobError, match="trap gave no answer within"):
        request("trap", lambda: time.sleep(30), seconds=0.3)
    assert time.monotonic() - start < 5


def test_the_first_cause_of_an_error_is_told():
    def send():
        try:
            raise OSError("no route to host")
        except OSError as error:
            raise RuntimeError("Unknown error") from error

    with pytest.raises(JobError, match=r"trap refused a request \(OSError: no route to host\)"):
        request("trap", send, seconds=5)


@pytest.mark.parametrize(
    ("status", "expected"),
    [(408, True), (429, True), (500, True), (503, True), (400, False), (404, False)],
)
def test_which_answers_may_change(status, expected):
    assert is_transient(Refused(status)) is expected


def test_the_time_that_a_vendor_asks_for_is_waited():
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)
    assert _retry_after(Refused(429, **{"Retry-After": "7"})) == 7
    assert _retry_after(Refused(429, **{"Retry-After": later})) == pytest.approx(90, abs=5)
    assert _retry_after(Refused(429, **{"Retry-After": "soon"})) is None
    assert _retry_after(Refused(429)) is None

    seen = []

    def send():
        seen.append("attempt")
        if len(seen) == 1:
            raise Refused(429, **{"Retry-After": "1"})
        return time.monotonic()

    start = time.monotonic()
    assert request("trap", send, seconds=60) - start >= 1


def test_trouble_is_waited_out_and_a_job_whose_answer_was_lost_is_paid_once(ionq):
    ionq.troubles = [429, 500]
    ionq.lost_answers = 1
    draw(make_sampler("ionq:simulator", 0))
    assert len(ionq.jobs) == 1


def test_a_refused_request_is_an_error_without_retries_or_credentials(ionq):
    sampler = make_sampler("ionq:simulator", 0)
    ionq.troubles = [403]
    with pytest.raises(
        JobError, match=r"ionq:simulator refused a request \(HTTPError: 403 FORBIDDEN"
    ):
        draw(sampler)
    assert not ionq.jobs
    assert scrub("apiKey open-sesame") == "apiKey <IONQ_API_KEY>"
    assert "open-sesame" not in str(JobError("rejected apiKey open-sesame"))
