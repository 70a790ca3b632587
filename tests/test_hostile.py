"""A hostile server: whatever it answers, nothing is lost, leaked or paid twice."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import shutil
import time
import urllib.parse
from collections import Counter

import pytest
import stamina
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ionq_server import IonQServer, answered
from matplotlib.figure import Figure
from werkzeug import Response

from qcaan.commands.main import main

KEY = "open/sesame+1=%"
# forms of the key's characteristic half, none of which may be seen
FORMS = ("sesame", base64.b64encode(KEY.encode()).decode()[:12])
RUN = [
    *("train-qgan", "--data", "binomial", "--n-samples", "100", "--n-qubits", "2"),
    *("--batch-size", "50", "--gradient", "spsa", "--shots", "20", "--epochs", "2"),
    *("--sampler", "ionq:simulator"),
]
N_JOBS = 8  # three in each epoch, and two for the scores

ECHO = "{key} {key!r} {quoted} {coded}".format(
    key=KEY,
    quoted=urllib.parse.quote(KEY, safe=""),
    coded=base64.b64encode(f"apiKey {KEY}".encode()).decode(),
)
WRONG_BODIES = [
    *("", "{", "null", "[]", "3", '"text"', "NaN", "[" * 5000, "<html>busy</html>", ECHO),
    *('{"id": null}', '{"id": {}}', '{"id": "../../backends/simulator"}', json.dumps({"id": KEY})),
    *('{"jobs": 7}', '{"jobs": [7]}', '{"jobs": [{"metadata": 3}]}', '{"jobs": null}'),
    *('{"status": 7}', '{"status": "completed"}', '{"status": "completed", "results": 3}'),
    *('{"qubits": "29"}', '{"qubits": -1}', '{"qubits": NaN}', '{"qubits": null}', "{}"),
    *('{"qubits": true}', '{"qubits": 1e400}', '{"qubits": 1000000000000}', '{"error": "down"}'),
]
IMPOSSIBLE = [
    *({"0": 0.5}, {"0": 1.0, "1": 1.0}, {"0": 1.5, "1": -0.5}, {"0": 0.0, "9": 1.0}, {"-1": 1.0}),
    *({"0": None}, {"0": "1.0"}, {"0": float("nan")}, {"0": float("inf")}, {}, [], "nothing", 1),
    *([{"0": 1.0}] * 9, {"a": {"0": 1.0}}, {"x": {"0": 1.0}, "y": {"0": 1.0}}),
]


def refused(status, body, headers=()):
    """Answer with a status, and do nothing."""
    return lambda request, honest: Response(body, status, dict(headers))


def lost(answer):
    """Do what was asked, and answer something else."""

    def act(request, honest):
        honest()
        return answer(request, honest)

    return act


def broken(request, honest):
    return Response(b"{", headers={"Content-Length": "1000"})


def slow(request, honest):
    def bytes_in_time():
        for _ in range(40):
            time.sleep(0.05)
            yield b" "

    return Response(bytes_in_time(), content_type="application/json")


def endless_list(request, honest):
    jobs = [{"id": f"other-{k}", "name": "other"} for k in range(100)]
    return answered({"jobs": jobs, "next": str(time.monotonic_ns())})


def impossible(value):
    return lambda request, honest: answered(value)


def still_running(request, honest):
    return answered({"id": "any", "status": "ready"})


statuses = st.sampled_from((400, 401, 403, 404, 408, 409, 425, 429, 500, 502, 503, 504, 520))
bodies = st.sampled_from(WRONG_BODIES)
waits = st.sampled_from(("0", "3", "99999999", "soon", "-1", "Wed, 21 Oct 2015 07:28:00 -0000"))
refusals = st.builds(
    refused, statuses, bodies, st.just(()) | st.tuples(st.tuples(st.just("Retry-After"), waits))
)
nonsense = st.builds(refused, st.just(200), bodies)
faults = refusals | nonsense | st.sampled_from((broken, slow))
mischiefs = st.one_of(
    st.tuples(st.sampled_from(("device", "list", "post", "job", "results")), faults),
    st.tuples(st.just("post"), st.builds(lost, faults)),
    st.tuples(st.just("list"), st.just(endless_list)),
    st.tuples(st.just("job"), st.just(still_running)),
    st.tuples(st.just("results"), st.builds(impossible, st.sampled_from(IMPOSSIBLE))),
)
# at which request of its kind a mischief begins, and how often it is repeated
schedules = st.lists(
    st.tuples(mischiefs, st.integers(0, 8), st.sampled_from((1, 1, 2, 1000))), max_size=3
)


def play(server, schedule):
    """Let the server follow a schedule of mischiefs."""
    seen = Counter()

    def act(kind, request, honest):
        seen[kind] += 1
        for (place, mischief), first, times in schedule:
            if place == kind and first < seen[kind] <= first + times:
                return mischief(request, honest)
        return honest()

    server.mischief = act


def run(*options):
    """Run the command. Return its status and all that it printed, stdout and stderr apart."""
    printed, errors = io.StringIO(), io.StringIO()
    status = 0
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(errors):
        try:
            main([*RUN, *map(str, options)])
        except SystemExit as ended:
            status = ended.code
    return status, printed.getvalue(), errors.getvalue()


@pytest.fixture
def server(monkeypatch, httpserver):
    monkeypatch.setenv("IONQ_API_KEY", f"{KEY}\n")  # as a mounted secret has it
    monkeypatch.setattr("qcaan.samplers.jobs._LIST_LAG", 1.0)
    monkeypatch.setattr("qcaan.samplers.jobs._LIST_PAUSE", 0.02)
    monkeypatch.setattr("qcaan.samplers.jobs._LONGEST_POLL", 0.05)
    monkeypatch.setattr("qcaan.samplers.ionq._MAX_PAGES", 10)
    # the picture is not what is tested, and takes most of the time
    monkeypatch.setattr("qcaan.runs.reports.distribution_figure", lambda *_, **__: Figure((1, 1)))
    server = IonQServer(httpserver)
    monkeypatch.setenv("IONQ_API_URL", server.url)
    with stamina.set_testing(True, attempts=3):
        yield server


@settings(max_examples=14, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(schedule=schedules, lag=st.sampled_from((0.0, 0.2)))
def test_whatever_a_server_answers_nothing_is_lost_leaked_or_paid_twice(
    server, tmp_path, schedule, lag
):
    if not hasattr(server, "expected"):
        status, *_ = run("--out", tmp_path / "undisturbed")
        assert (status, len(server.jobs)) == (0, N_JOBS)
        server.expected = json.loads((tmp_path / "undisturbed" / "scores.json").read_text())
    out = tmp_path / "run"
    shutil.rmtree(out, ignore_errors=True)
    server.jobs.clear()
    server.lag = lag
    play(server, schedule)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("qcaan.samplers.requests.LONGEST_ANSWER", 0.5)
        status, printed, errors = run("--out", out, "--job-timeout", 4)
    assert len(server.jobs) <= N_JOBS
    if status != 0:
        assert status == 2 and errors.startswith("error: ") and len(errors.splitlines()) == 1
        # one good server later, all that was paid is used
        server.mischief = None
        time.sleep(lag)
        resume = ["--resume"] if out.exists() else []
        again, more, wrong = run("--out", out, *resume)
        assert again == 0, wrong
        printed += more + wrong
    assert json.loads((out / "scores.json").read_text()) == server.expected
    assert len(server.jobs) == N_JOBS
    written = b"".join(file.read_bytes() for file in out.rglob("*") if file.is_file())
    for form in FORMS:
        assert form not in printed + errors and form.encode() not in written
