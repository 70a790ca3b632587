"""A server that speaks the API of AQT's cloud on 127.0.0.1, and computes with Aer."""

from __future__ import annotations

import json
import math
import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from pytest_httpserver import HTTPServer
from qiskit import QuantumCircuit
from qiskit_aer import AerSimulator
from werkzeug import Request, Response


@dataclass
class AQTServer:
    """`jobs` holds the payload of every job that was ever submitted, by id."""

    http: HTTPServer
    available_qubits: Any = 5
    status: str = "finished"  # of all jobs
    troubles: list[Response] = field(default_factory=list)  # the next answers, instead of the own
    change: Callable[[list[list[list[int]]]], Any] = lambda samples: samples
    jobs: dict[str, Any] = field(default_factory=dict)
    headers: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        for path, answer in (
            ("/v1/workspaces", self._workspaces),
            ("/v1/resources/trap", self._resource),
            ("/v1/submit/lab/trap", self._submit),
            ("/v1/result/.+", self._result),
        ):
            expected = self.http.expect_request(re.compile(f"^{path}$"))
            expected.respond_with_handler(self._unless_trouble(answer))

    def _unless_trouble(self, answer: Callable[[Request], Any]) -> Callable[[Request], Response]:
        def act(request: Request) -> Response:
            self.headers.add(request.headers.get("Authorization", ""))
            if self.troubles:
                return self.troubles.pop(0)
            return Response(json.dumps(answer(request)), content_type="application/json")

        return act

    def _workspaces(self, request: Request) -> Any:
        resource = {"id": "trap", "name": "Trap", "type": "device"}
        lab = {"id": "lab", "accepting_job_submissions": True, "jobs_being_processed": True}
        return [{**lab, "resources": [resource]}]

    def _resource(self, request: Request) -> Any:
        return {
            "id": "trap",
            "name": "Trap",
            "type": "device",
            "status": "online",
            "available_qubits": self.available_qubits,
            "status_updated_at": "2026-01-01T00:00:00Z",
        }

    def _submit(self, request: Request) -> Any:
        job_id = str(uuid.uuid4())
        self.jobs[job_id] = request.get_json()["payload"]["circuits"]
        return {"job": _described(job_id), "response": {"status": "queued"}}

    def _result(self, request: Request) -> Any:
        job_id = request.path.rpartition("/")[2]
        response = {"status": self.status}
        if self.status == "finished":
            samples = self.change([_samples(circuit) for circuit in self.jobs[job_id]])
            response["result"] = dict(enumerate(samples))
        if self.status == "error":
            response["message"] = "an ion was lost"
        if self.status == "ongoing":
            response["finished_count"] = 0
        return {"job": _described(job_id), "response": response}


def _described(job_id: str) -> dict[str, str]:
    return {"job_id": job_id, "resource_id": "trap", "workspace_id": "lab"}


def _samples(asked: dict[str, Any]) -> list[list[int]]:
    """Return the bits of all qubits in each shot."""
    circuit = QuantumCircuit(asked["number_of_qubits"])
    for step in asked["quantum_circuit"]:
        if step["operation"] == "RZ":
            circuit.rz(step["phi"] * math.pi, step["qubit"])
        elif step["operation"] == "R":
            circuit.r(step["theta"] * math.pi, step["phi"] * math.pi, step["qubit"])
        elif step["operation"] == "RXX":
            circuit.rxx(step["theta"] * math.pi, *step["qubits"])
    circuit.measure_all()
    simulator = AerSimulator()
    result = simulator.run(circuit, shots=asked["repetitions"], memory=True, seed_simulator=0)
    return [[int(bit) for bit in reversed(shot)] for shot in result.result().get_memory()]
