"""A server that speaks IonQ's job API on 127.0.0.1, computes with Aer, and fails on demand."""

from __future__ import annotations

import json
import re
import time
import uuid
from dataclasses import dataclass, field
from typing import Any

from pytest_httpserver import HTTPServer
from qiskit import QuantumCircuit
from qiskit_aer import AerSimulator
from werkzeug import Request, Response

TWO_QUBIT = {"xx": "rxx", "yy": "ryy", "zz": "rzz"}


@dataclass
class IonQServer:
    """`jobs` holds every job that was ever posted, by id."""

    http: HTTPServer
    latency: float = 0.0  # seconds until a job is done
    troubles: list[int] = field(
        default_factory=list
    )  # statuses of the next answers, instead of the answer
    lost_answers: int = 0  # of the next posts: the job is taken, and the answer is a 503
    ending: str = "completed"  # or failed, canceled
    n_qubits: int = 29
    results: Any = None  # an answer to give instead of the distributions
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    tokens: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.http.expect_request("/v0.4/backends/simulator").respond_with_handler(self._backend)
        self.http.expect_request("/v0.4/backends/qpu.forte-1").respond_with_handler(self._backend)
        self.http.expect_request("/v0.4/jobs", method="POST").respond_with_handler(self._post)
        self.http.expect_request("/v0.4/jobs", method="GET").respond_with_handler(self._list)
        self.http.expect_request(re.compile("^/v0.4/jobs/.+")).respond_with_handler(self._job)

    @property
    def url(self) -> str:
        return self.http.url_for("/v0.4")

    def _backend(self, request: Request) -> Response:
        return _answer({"backend": "simulator", "qubits": self.n_qubits, "status": "available"})

    def _trouble(self, request: Request) -> Response | None:
        self.tokens.add(request.headers.get("Authorization", ""))
        return _answer({"message": "try again"}, self.troubles.pop(0)) if self.troubles else None

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
            return _answer({"message": "lost"}, 503)
        return _answer({"id": job["id"], "status": "ready"})

    def _list(self, request: Request) -> Response:
        if trouble := self._trouble(request):
            return trouble
        start = int(request.args.get("next", 0))
        page = list(self.jobs.values())[start : start + 2]  # two a page, so that pages are turned
        rest = {"next": str(start + 2)} if start + 2 < len(self.jobs) else {}
        described = [
            {
                "id": job["id"],
                "name": job["request"]["name"],
                "metadata": job["request"]["metadata"],
            }
            for job in page
        ]
        return _answer({"jobs": described, **rest})

    def _job(self, request: Request) -> Response:
        if trouble := self._trouble(request):
            return trouble
        job_id, _, rest = request.path.removeprefix("/v0.4/jobs/").partition("/")
        if job_id not in self.jobs:
            return _answer({"message": "no such job"}, 404)
        job = self.jobs[job_id]
        circuits = job["request"]["input"]["circuits"]
        if rest == "results/probabilities" and self.results is not None:
            return _answer(self.results)
        if rest == "results/probabilities":
            return _answer({str(k): probabilities(c["circuit"]) for k, c in enumerate(circuits)})
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
        return _answer(answer)


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


def _answer(value: Any, status: int = 200) -> Response:
    return Response(json.dumps(value), status, content_type="application/json")
