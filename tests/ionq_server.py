"""A server that speaks IonQ's job API on 127.0.0.1, computes with Aer, and fails on demand."""

from __future__ import annotations

import json
import re
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from pytest_httpserver import HTTPServer
from qiskit import QuantumCircuit
from qiskit_aer import AerSimulator
from werkzeug import Request, Response

TWO_QUBIT = {"xx": "rxx", "yy": "ryy", "zz": "rzz"}


@dataclass
class IonQServer:
    """`jobs` holds every job that was ever posted, by id.

    `mischief` may answer in place of the server. It is given the kind of the request (device, post,
    list, job or results), the request, and a function that returns the honest answer.
    """

    http: HTTPServer
    latency: float = 0.0  # seconds until a job is done
    troubles: list[int] = field(
        default_factory=list
    )  # statuses of the next answers, instead of the answer
    lost_answers: int = 0  # of the next posts: the job is taken, and the answer is a 503
    ending: str = "completed"  # or failed, canceled
    n_qubits: Any = 29
    lag: float = 0.0  # seconds until the list holds a job
    mischief: Callable[[str, Request, Callable[[], Response]], Response] | None = None
    results: Any = None  # an answer to give instead of the distributions
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    tokens: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        for kind, path, method, answer in (
            ("device", "/v0.4/backends/.+", "GET", self._backend),
            ("post", "/v0.4/jobs", "POST", self._post),
            ("list", "/v0.4/jobs", "GET", self._list),
            ("results", "/v0.4/jobs/.+/results/.+", "GET", self._job),
            ("job", "/v0.4/jobs/[^/]+", "GET", self._job),
        ):
            expected = self.http.expect_request(re.compile(f"^{path}$"), method=method)
            expected.respond_with_handler(partial(self._answer, kind, answer))

    @property
    def url(self) -> str:
        return self.http.url_for("/v0.4")

    def _answer(
        self, kind: str, answer: Callable[[Request], Response], request: Request
    ) -> Response:
        honest = partial(answer, request)
        return honest() if self.mischief is None else self.mischief(kind, request, honest)

    def _backend(self, request: Request) -> Response:
        name = request.path.rpartition("/")[2]
        if name not in ("simulator", "qpu.forte-1"):
            return answered({"message": "no such device"}, 404)
        return answered({"backend": name, "qubits": self.n_qubits, "status": "available"})

    def _trouble(self, request: Request) -> Response | None:
        self.tokens.add(request.headers.get("Authorization", ""))
        return answered({"message": "try again"}, self.troubles.pop(0)) if self.troubles else None

    def _post(self, request: Request) -> Response:
        if trouble := self._trouble(request):
            return trouble
        job = {
            "id": str(uuid.uuid4()),
            "request": json.loads(request.data),
            "posted": time.monotonic(),
        }
        self.jobs[job["id"]] = job
        if self.lost_answers:
            self.lost_answers -= 1
            return answered({"message": "lost"}, 503)
        return answered({"id": job["id"], "status": "ready"})

    def _list(self, request: Request) -> Response:
        if trouble := self._trouble(request):
            return trouble
        start = int(request.args.get("next", 0))
        now = time.monotonic()
        listed = [job for job in self.jobs.values() if now - job["posted"] >= self.lag]
        page = listed[start : start + 2]  # two a page, so that pages are turned
        rest = {"next": str(start + 2)} if start + 2 < len(listed) else {}
        described = [
            {
                "id": job["id"],
                "name": job["request"]["name"],
                "metadata": job["request"]["metadata"],
            }
            for job in page
        ]
        return answered({"jobs": described, **rest})

    def _job(self, request: Request) -> Response:
        if trouble := self._trouble(request):
            return trouble
        job_id, _, rest = request.path.removeprefix("/v0.4/jobs/").partition("/")
        if job_id not in self.jobs:
            return answered({"message": "no such job"}, 404)
        job = self.jobs[job_id]
        circuits = job["request"]["input"]["circuits"]
        if rest == "results/probabilities" and self.results is not None:
            return answered(self.results)
        if rest == "results/probabilities":
            return answered({str(k): probabilities(c["circuit"]) for k, c in enumerate(circuits)})
        done = time.monotonic() - job["posted"] >= self.latency
        answer = {
            "id": job_id,
            "status": self.ending if done else "started",
            "metadata": job["request"]["metadata"],
        }
        if done and self.ending == "completed":
            answer["stats"] = {
                "qubits": job["request"]["input"]["qubits"],
                "circuits": len(circuits),
            }
            answer["results"] = {
                "probabilities": {"url": f"/v0.4/jobs/{job_id}/results/probabilities"}
            }
            answer["child_job_ids"] = [str(k) for k in range(len(circuits))]
            answer["execution_duration_ms"] = 1
        if done and self.ending == "failed":
            answer["failure"] = {"code": "InternalError", "error": "an ion was lost"}
        return answered(answer)


def probabilities(gates: list[dict[str, Any]]) -> dict[str, float]:
    """Probabilities of outcomes, by their number as a string, of a circuit in IonQ's format."""
    n_qubits = 1 + max(
        (q for gate in gates for q in gate["targets"] + gate.get("controls", [])), default=0
    )
    circuit = QuantumCircuit(n_qubits)
    for gate in gates:
        name = TWO_QUBIT.get(gate["gate"], gate["gate"])
        name = "p" if name == "z" and "rotation" in gate else name
        name = "c" * len(gate.get("controls", [])) + name
        angles = [gate["rotation"]] if "rotation" in gate else []
        getattr(circuit, name)(*angles, *gate.get("controls", []), *gate["targets"])
    circuit.save_probabilities_dict()
    return {
        str(k): p
        for k, p in AerSimulator().run(circuit).result().data()["probabilities"].items()
        if p > 1e-12
    }


def answered(value: Any, status: int = 200) -> Response:
    return Response(json.dumps(value), status, content_type="application/json")
