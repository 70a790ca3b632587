"""AQT's cloud: its own client against a server that speaks its API."""

from __future__ import annotations

import functools
import json

import pytest
import stamina
from aqt_connector import ArnicaConfig
from aqt_connector._infrastructure.access_token_verifier import AccessTokenVerifier
from aqt_server import AQTServer
from device_draws import draw
from werkzeug import Response

from qcaan.samplers.devices import DeviceOptions
from qcaan.samplers.journal import Journal
from qcaan.samplers.names import make_sampler
from qcaan.samplers.requests import JobError, JobFailed, Unsearchable

TOKEN = "the-token-of-a-login"


@pytest.fixture
def aqt(monkeypatch, tmp_path, httpserver):
    """The server, an account whose token has the line end of a mounted file, and no waits."""
    folder = tmp_path / "aqt"
    folder.mkdir()
    (folder / "access_token").write_text(f"{TOKEN}\n")
    monkeypatch.setattr("qcaan.samplers.aqt.ArnicaConfig", functools.partial(ArnicaConfig, folder))
    # whose keys lie on the net
    monkeypatch.setattr(AccessTokenVerifier, "verify_access_token", lambda self, token: token)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("qcaan.samplers.jobs._LONGEST_POLL", 0.05)
    monkeypatch.setenv("AQT_ARNICA_URL", f"{httpserver.url_for('').rstrip('/')}\n")
    with stamina.set_testing(True, attempts=3):
        yield AQTServer(httpserver)


def trouble(status, text="", **headers):
    return Response(text, status, headers)


def test_shots_come_from_the_cloud_and_the_token_is_stripped(aqt, capsys):
    sampler = make_sampler("aqt:lab/trap")
    draw(sampler)
    assert sampler.n_qubits == 5 and len(aqt.jobs) == 1
    assert aqt.headers == {f"Bearer {TOKEN}"}
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda samples: [], "0 results of 3 circuits"),
        (lambda samples: [*samples, samples[0]], "4 results of 3 circuits"),
        (lambda samples: samples[:-1], "2 results of 3 circuits"),
        (lambda samples: [shots[:-1] for shots in samples], "shots of other shapes"),
        (lambda samples: [[*shots, shots[0]] for shots in samples], "shots of other shapes"),
        (lambda samples: [[shot[:1] for shot in shots] for shots in samples], "shots of 1 bits"),
        (lambda samples: [[shot * 9 for shot in shots] for shots in samples], "shots of 18 bits"),
    ],
)
def test_impossible_results_are_refused_with_the_jobs_id(aqt, change, message):
    aqt.change = change
    with pytest.raises(JobError, match=message) as caught:
        draw(make_sampler("aqt:trap"))
    assert caught.value.job_id in aqt.jobs and caught.value.job_id in str(caught.value)


@pytest.mark.parametrize("bits", [[[2, 0]] * 50, [[0.5, 0]] * 50, [["one", 0]] * 50, "all"])
def test_results_that_are_no_bits_are_refused_with_the_jobs_id(aqt, bits):
    aqt.change = lambda samples: [bits] * len(samples)
    with pytest.raises(JobError, match="AQTApiError") as caught:
        draw(make_sampler("aqt:trap"))
    assert caught.value.job_id in aqt.jobs and caught.value.job_id in str(caught.value)


def test_a_wait_is_bounded_and_an_outage_is_survived(aqt, tmp_path):
    journal, options = Journal(tmp_path / "jobs.jsonl"), DeviceOptions(job_timeout=1.0)
    sampler = make_sampler("aqt:trap", journal=journal, options=options)
    aqt.status = "ongoing"
    with pytest.raises(JobError, match=r"job \S+ on aqt:trap did not end within 1 s"):
        draw(sampler)
    aqt.status = "finished"
    aqt.troubles = [trouble(503), trouble(502)]
    draw(make_sampler("aqt:trap", journal=Journal(tmp_path / "jobs.jsonl")))
    assert len(aqt.jobs) == 1


def test_a_refusal_by_rate_limit_is_repeated_and_a_lost_answer_is_not(aqt, tmp_path):
    sampler = make_sampler("aqt:trap")
    aqt.troubles = [trouble(429, **{"Retry-After": "5"})]
    draw(sampler)
    assert len(aqt.jobs) == 1
    journal = Journal(tmp_path / "jobs.jsonl")
    aqt.troubles = [trouble(503)]
    with pytest.raises(Unsearchable, match="AQT does not tell whether it arrived"):
        draw(make_sampler_unhurt(aqt, journal))
    (announced,) = map(json.loads, (tmp_path / "jobs.jsonl").read_text().splitlines())
    assert announced["job_id"] is None


def make_sampler_unhurt(aqt, journal):
    """Open the sampler before the troubles begin."""
    troubles, aqt.troubles = aqt.troubles, []
    sampler = make_sampler("aqt:trap", journal=journal)
    aqt.troubles = troubles
    return sampler


def test_a_job_that_fails_is_one_sentence(aqt):
    aqt.status = "error"
    with pytest.raises(JobFailed, match=r"job \S+ on aqt:trap ended error: an ion was lost"):
        draw(make_sampler("aqt:trap"))


@pytest.mark.parametrize(
    ("name", "prepare", "message"),
    [
        ("aqt:warp", lambda aqt, folder: None, "unknown AQT resource 'warp'"),
        (
            "aqt:trap",
            lambda aqt, folder: (folder / "access_token").unlink(),
            "aqt:trap is not available: there is no account; log in once by",
        ),
        (
            "aqt:trap",
            lambda aqt, folder: aqt.troubles.append(trouble(401, f'{{"detail": "bad {TOKEN}"}}')),
            "aqt:trap is not available: .*bad <AQT's access_token>",
        ),
        ("aqt:trap", lambda aqt, folder: vars(aqt).update(available_qubits=-1), "not available"),
        ("aqt:trap", lambda aqt, folder: vars(aqt).update(available_qubits=0), "from 1 to"),
        ("aqt:trap", lambda aqt, folder: vars(aqt).update(available_qubits=None), "available_qub"),
        ("aqt:trap", lambda aqt, folder: aqt.troubles.append(trouble(200, "{")), "Invalid JSON"),
    ],
)
def test_what_cannot_be_opened_is_one_sentence(aqt, tmp_path, name, prepare, message):
    prepare(aqt, tmp_path / "aqt")
    with pytest.raises(ValueError, match=message) as caught:
        make_sampler(name)
    assert TOKEN not in str(caught.value) and "\n" not in str(caught.value)
