"""Requests to a vendor: bounded in time, repeated after outages, and free of credentials."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from types import SimpleNamespace

import httpx
import pytest
import requests
import stamina
from device_draws import draw
from ionq_server import answered
from qiskit_aqt_provider.exceptions import AQTApiError, AQTValueError
from qiskit_ibm_runtime.api.exceptions import RequestsApiError
from qiskit_ibm_runtime.exceptions import IBMRuntimeError
from qiskit_ionq.exceptions import IonQRetriableError
from werkzeug import Response

from qcaan.samplers.credentials import scrub
from qcaan.samplers.devices import DeviceOptions
from qcaan.samplers.journal import Journal
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


@pytest.fixture
def hurried(monkeypatch):
    """No waits between attempts, and short ones between looks."""
    monkeypatch.setattr("qcaan.samplers.jobs._LIST_PAUSE", 0.02)
    monkeypatch.setattr("qcaan.samplers.jobs._LONGEST_POLL", 0.05)
    with stamina.set_testing(True, attempts=5):
        yield


@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_a_list_that_lags_behind_costs_no_second_job(ionq, hurried, tmp_path, status):
    ionq.lag = 1.5
    lost = []

    def lose(kind, request, honest):
        answer = honest()
        if kind == "post" and not lost and status != 429:
            lost.append(answer)
            return answered({"message": "lost"}, status)
        return answer

    ionq.mischief = lose
    path = tmp_path / "jobs.jsonl"
    draw(make_sampler("ionq:simulator", 0, journal=Journal(path)))
    assert len(ionq.jobs) == 1
    # nor after a crash between the submission and the note of its id
    path.write_text(path.read_text().splitlines(keepends=True)[0])
    for job in ionq.jobs.values():
        job["posted"] = time.monotonic()
    draw(make_sampler("ionq:simulator", 0, journal=Journal(path)))
    assert len(ionq.jobs) == 1


def test_a_rate_limit_is_no_reason_to_look_for_long(ionq, hurried, monkeypatch):
    monkeypatch.setattr("qcaan.samplers.jobs._LIST_LAG", 1e9)
    sampler = make_sampler("ionq:simulator", 0)
    ionq.troubles = [429, 429]
    draw(sampler)
    assert len(ionq.jobs) == 1


def trickle(request, honest):
    def bytes_in_time():
        for _ in range(60):
            time.sleep(0.05)
            yield b" "

    return Response(bytes_in_time(), content_type="application/json")


def endless_pages(request, honest):
    return answered({"jobs": [], "next": str(time.monotonic_ns())})


def lost_post(request, honest):
    return answered({"message": "lost"}, 503)


@pytest.mark.parametrize(
    ("mischiefs", "message"),
    [
        ({"device": trickle}, "is not available: .* gave no answer within"),
        ({"post": trickle}, "did not confirm the job qcaan-.* within 0.6 s"),
        ({"job": trickle}, "did not end within 0.6 s"),
        ({"results": trickle}, "did not end within 0.6 s"),
        ({"job": lambda *_: answered({"status": "ready"})}, "did not end within 0.6 s"),
        ({"job": lambda *_: answered({}, 503)}, "503|did not end within 0.6 s"),
        ({"post": lost_post, "list": trickle}, "did not confirm the job qcaan-.* within 0.6 s"),
        ({"post": lost_post, "list": lost_post}, "503"),
        ({"post": lost_post}, "did not confirm the job qcaan-.* within 0.6 s"),
    ],
)
def test_one_deadline_bounds_every_wait(ionq, hurried, monkeypatch, mischiefs, message):
    def act(kind, request, honest):
        return mischiefs[kind](request, honest) if kind in mischiefs else honest()

    options = DeviceOptions(job_timeout=0.6)
    if "device" not in mischiefs:
        sampler = make_sampler("ionq:simulator", 0)
        sampler._options = options
        ionq.mischief = act
        with pytest.raises(JobError, match=message):
            draw(sampler)
    else:
        ionq.mischief = act
        with pytest.raises(ValueError, match=message):
            make_sampler("ionq:simulator", 0, options=options)
    assert len(ionq.jobs) <= 1


def test_a_list_without_an_end_is_given_up(ionq, hurried, monkeypatch):
    monkeypatch.setattr("qcaan.samplers.ionq._MAX_PAGES", 20)
    sampler = make_sampler("ionq:simulator", 0)
    ionq.lost_answers = 1
    ionq.mischief = lambda kind, request, honest: (
        endless_pages(request, honest) if kind == "list" else honest()
    )
    with pytest.raises(JobError, match="not in the first 20 pages of the list of jobs"):
        draw(sampler)
    assert len(ionq.jobs) == 1


def test_a_search_that_was_given_up_submits_nothing_later(ionq, hurried, monkeypatch):
    """Only the thread that waits decides whether to submit."""
    monkeypatch.setattr("qcaan.samplers.requests.LONGEST_ANSWER", 0.2)
    monkeypatch.setattr("qcaan.samplers.jobs._LIST_LAG", 0.1)
    sampler = make_sampler("ionq:simulator", 0)
    seen = {"list": 0, "post": 0}

    def act(kind, request, honest):
        seen[kind] = seen.get(kind, 0) + 1
        if kind == "post" and seen[kind] == 1:
            return answered({"message": "busy"}, 503)
        if kind == "list" and seen[kind] <= 2:
            time.sleep(0.4)
        return honest()

    ionq.mischief = act
    draw(sampler)
    time.sleep(0.5)  # the searches that were given up have ended
    assert len(ionq.jobs) == 1


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("1.5", 1.5), ("0", 0), ("Wed, 21 Oct 2015 07:28:00 GMT", 0), ("-1", None), ("nan", None),
     ("Wed, 21 Oct 2015 07:28:00 -0000", 0), ("", None), ("in a while", None)],
)  # fmt: skip
def test_odd_times_that_a_vendor_asks_for(value, seconds):
    assert _retry_after(Refused(429, **{"Retry-After": value})) == seconds


def test_ibms_and_aqts_errors_are_told_apart_by_their_causes():
    def raised(outer, cause):
        try:
            try:
                raise cause
            except Exception as error:
                raise outer from error
        except Exception as error:
            return error

    refused = requests.ConnectionError("connection reset by peer")
    down = httpx.HTTPStatusError(
        "503", request=httpx.Request("GET", "http://h"), response=httpx.Response(503)
    )
    gone = httpx.HTTPStatusError(
        "404", request=httpx.Request("GET", "http://h"), response=httpx.Response(404)
    )
    # IBM's client has -1 for a connection that broke
    assert is_transient(raised(IBMRuntimeError("failed"), RequestsApiError("broken", 502)))
    assert is_transient(raised(RequestsApiError("broken", -1), refused))
    assert not is_transient(raised(RequestsApiError("no such job", 404), refused))
    assert is_transient(raised(AQTApiError(""), raised(RuntimeError(), down)))
    assert not is_transient(raised(AQTValueError(""), raised(ValueError(), gone)))
    assert is_transient(IonQRetriableError(refused))
    assert not is_transient(IonQRetriableError(requests.exceptions.InvalidSchema("htp://")))


def test_a_long_text_is_cut_after_its_credentials_are_gone(monkeypatch):
    monkeypatch.setenv("IONQ_API_KEY", "open-sesame" * 20)

    def send():
        raise ValueError(f"{'page ' * 90} {'open-sesame' * 20} {'page ' * 9000}\nmore")

    with pytest.raises(JobError) as caught:
        request("trap", send, seconds=5)
    text = str(caught.value)
    assert len(text) < 700 and "\n" not in text and "sesame" not in text
