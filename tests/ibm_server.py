"""A server that speaks a part of the API of IBM Quantum on 127.0.0.1; its jobs never end."""

from __future__ import annotations

import base64
import json
import re
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import qiskit_ibm_runtime
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

CRN = "crn:v1:bluemix:public:quantum-computing:us-east:a/1:2::"
_MANILA = Path(qiskit_ibm_runtime.__file__).parent / "fake_provider" / "backends" / "manila"


@dataclass
class IBMServer:
    """A device ibm_manila of 5 qubits.

    `jobs` holds every job that was ever posted, by id. The client takes an address with the word
    experimental as it is.
    """

    http: HTTPServer
    n_qubits: Any = 5
    troubles: dict[str, list[Response]] = field(default_factory=dict)  # next answers, by path
    lost_answers: int = 0  # of the next posts: the job is taken, and the answer is a 425
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    keys: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        configuration = json.loads((_MANILA / "conf_manila.json").read_text())
        configuration["backend_name"] = "ibm_manila"
        properties = json.loads((_MANILA / "props_manila.json").read_text())
        status = {"state": True, "status": "active", "message": "", "length_queue": 0}
        devices = {"devices": [{"name": "ibm_manila", "qubits": 5}]}
        for path, answer in (
            ("/identity/token", self._token),
            ("/backends", lambda _: devices),
            (
                "/backends/ibm_manila/configuration",
                lambda _: {**configuration, "n_qubits": self.n_qubits},
            ),
            ("/backends/ibm_manila/properties", lambda _: properties),
            ("/backends/ibm_manila/status", lambda _: {"backend_version": "1", **status}),
            ("/instances/usage", lambda _: {}),
            ("/jobs", self._jobs),
            ("/jobs/.+", lambda request: self.jobs[request.path.rpartition("/")[2]]),
        ):
            place = path if path.startswith("/identity") else f"/experimental{path}"
            expected = self.http.expect_request(re.compile(f"^{place}$"))
            expected.respond_with_handler(self._unless_trouble(path, answer))

    @property
    def url(self) -> str:
        return self.http.url_for("/experimental")

    def _unless_trouble(self, path: str, answer: Any) -> Any:
        def act(request: Request) -> Response:
            if self.troubles.get(path):
                return self.troubles[path].pop(0)
            answered = answer(request)
            if isinstance(answered, Response):
                return answered
            return Response(json.dumps(answered), content_type="application/json")

        return act

    def _token(self, request: Request) -> Any:
        self.keys.add(request.form["apikey"])
        times = {"iat": int(time.time()), "exp": int(time.time()) + 3600}
        parts = [base64.urlsafe_b64encode(json.dumps(part).encode()) for part in ({}, times)]
        return {"access_token": b".".join([*parts, b""]).replace(b"=", b"").decode()}

    def _jobs(self, request: Request) -> Any:
        if request.method == "GET":
            tags = request.args.getlist("tags")
            found = [job for job in self.jobs.values() if set(tags) <= set(job["tags"])]
            return {"jobs": found, "count": len(found), "limit": 1, "offset": 0}
        asked = request.get_json()
        job_id = str(uuid.uuid4())
        self.jobs[job_id] = {
            "id": job_id,
            "backend": asked["backend"],
            "tags": asked["tags"],
            "state": {"status": "Queued"},
            "status": "Queued",
            "program": {"id": asked["program_id"]},
        }
        if self.lost_answers:
            self.lost_answers -= 1
            return Response("{}", 425)  # which the client does not repeat by itself
        return {"id": job_id, "backend": asked["backend"]}
