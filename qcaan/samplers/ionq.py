"""IonQ's ion traps and its simulator."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import requests
from qiskit import QuantumCircuit
from qiskit.primitives.containers.sampler_pub import SamplerPub
from qiskit_ionq.helpers import qiskit_to_ionq, resolve_credentials
from qiskit_ionq.ionq_backend import IonQBackend
from qiskit_ionq.ionq_client import IonQClient

from qcaan.samplers import prices
from qcaan.samplers.credentials import keep_secret, shown
from qcaan.samplers.devices import Limits, device_qubits
from qcaan.samplers.prices import NO_PRICE, Cost, Task
from qcaan.samplers.requests import JobError, JobFailed, opened
from qcaan.samplers.simulators import native_gates, native_passes, shuffled_shots

# IonQ's devices take 10,000 shots. No limit of the circuits in a job is published, but a request
# should stay small.
_MAX_SHOTS, _MAX_CIRCUITS = 10_000, 100
# pages of 100 jobs, the newest first
_MAX_PAGES = 1000
# seconds without a byte
_TIMEOUT = 30
# frequencies are rounded, so they add up to 1 only nearly
_SLACK = 1e-3


class IonQ:
    """An ion trap of IonQ, or its simulator.

    IonQ returns frequencies. Those of the simulator are exact, and shots are drawn from them here.

    Args:
        device: `simulator`, or the name of a device such as `qpu.forte-1`.
        seconds: maximum duration of opening it.

    Raises:
        ValueError: there is no account or no such device, IonQ cannot be reached, or it refuses
            the account.
    """

    binds = True
    target = None
    local = False
    no_price = NO_PRICE

    def __init__(self, device: str, seconds: float) -> None:
        self.name = f"ionq:{device}"
        self._exact = device == "simulator"
        self.paid = not self._exact
        self.price = prices.IONQ.get(self.name)
        if not (self._exact or re.fullmatch(r"qpu\.[\w.-]+", device)):
            raise ValueError(
                f"unknown device {self.name!r}; choose ionq:simulator, or a device such as "
                "ionq:qpu.forte-1"
            )
        account = resolve_credentials()
        token = keep_secret(account["token"], "IONQ_API_KEY")
        if token is None:
            raise ValueError(
                f"{self.name} is not available: there is no token; set IONQ_API_KEY to that of "
                "your account"
            )
        self._client = _Client(token, account["url"].strip())
        n_qubits = device_qubits(self.name, opened(self.name, self._ask_for_qubits, seconds))
        # IonQ's own classes take a device without a number of qubits for one of 4
        no_provider: Any = None
        with warnings.catch_warnings():
            # about the level of `transpile` if none is given
            warnings.simplefilter("ignore", UserWarning)
            self._backend: Any = IonQBackend(
                provider=no_provider,
                name=f"ionq_{device}",
                description="",
                gateset="qis",
                num_qubits=n_qubits,
                simulator=self._exact,
            )
        self._backend._client = self._client
        self._passes = native_passes(self._backend)
        self.limits = Limits(n_qubits, _MAX_SHOTS, _MAX_CIRCUITS)
        self.gates = native_gates(self._backend)

    def _ask_for_qubits(self) -> Any:
        """Return what the device's page gives as its number of qubits, if the account is good."""
        # the page itself is public; a list of one job is the cheapest answer that needs an account
        page = _object(self._client.get(f"backends/{self.name.removeprefix('ionq:')}"))
        self._client.get("jobs", limit=1)
        return page.get("qubits")

    def native(self, circuit: QuantumCircuit) -> QuantumCircuit:
        """Return the circuit in native gates."""
        return self._passes.run(circuit)

    def cost(self, tasks: Iterable[Task]) -> Cost:
        """Return the cost of one job by the list price; zero if there is none."""
        return self.price.cost(tasks) if self.price else Cost()

    def submit(self, pubs: Sequence[SamplerPub], tag: str, rng: np.random.Generator) -> str:
        """Submit one job, which may be paid for, and return its id."""
        circuits = [pub.circuit for pub in pubs]
        metadata = {"qcaan_tag": tag}
        job = self._backend.run(circuits, shots=pubs[0].shots, name=tag, extra_metadata=metadata)
        job_id: str = job.job_id()
        return job_id

    def find(self, tag: str) -> str | None:
        """Return the id of the job with a tag, or None. All pages of the list are read."""
        following: str | None = None
        for _ in range(_MAX_PAGES):
            rest = {"next": following} if following else {}
            page = _object(self._client.get("jobs", limit=100, **rest))
            for job in map(_object, page.get("jobs") or []):
                if tag in (job.get("name"), _object(job.get("metadata") or {}).get("qcaan_tag")):
                    job_id: str = job["id"]
                    return job_id
            following = page.get("next")
            if not following:
                return None
        raise JobError(
            f"{self.name} may hold a job that was announced as {tag}: it is not in the first "
            f"{_MAX_PAGES} pages of the list of jobs, and the list goes on"
        )

    def fetch(
        self, job_id: str, pubs: Sequence[SamplerPub], rng: np.random.Generator
    ) -> list[np.ndarray] | None:
        """Return packed bits [1, shots, bytes] of each pub, or None while the job is running.

        IonQ's own client is not asked for results: of the simulator, it draws shots itself without
        a seed, and drops the outcomes that it did not draw.
        """
        answer = _object(self._client.get(f"jobs/{job_id}"))
        status = answer.get("status")
        if status == "failed":
            failure = answer.get("failure") or {}
            reason = failure.get("error", failure) if isinstance(failure, dict) else failure
            raise JobFailed(f"job {job_id} on {self.name} failed: {reason}", job_id)
        if status in ("canceled", "cancelled"):
            raise JobFailed(f"job {job_id} on {self.name} was cancelled", job_id)
        if status != "completed":
            return None
        path = ((answer.get("results") or {}).get("probabilities") or {}).get("url")
        if not isinstance(path, str):
            raise JobError(f"job {job_id} on {self.name} has ended without results", job_id)
        answered = self._client.get(path)
        try:
            results = _by_circuit(answered, answer.get("child_job_ids"), len(pubs))
            frequencies = [
                _frequencies(result, pub.circuit) for result, pub in zip(results, pubs, strict=True)
            ]
        except ValueError as error:
            raise JobError(
                f"job {job_id} on {self.name} holds impossible results: {error}", job_id
            ) from None
        drawn = []
        for found, pub in zip(frequencies, pubs, strict=True):
            counts = _counts(found, pub.shots, rng, exact=self._exact)
            drawn.append(shuffled_shots(counts, pub.circuit.num_clbits, rng)[None])
        return drawn


class _Client(IonQClient):
    """IonQ's client, with one attempt for each request: some of its own retries never end."""

    def get(self, path: str, **params: Any) -> Any:
        """Return the JSON value at a path after the address of the API."""
        url, headers = self.make_path(path), self.api_headers
        if path.startswith("/"):  # with the version of the API, which is in the address too
            url = re.sub(r"/v\d+\.\d+/", "", url, count=1)
        return _json(requests.get(url, params=params, headers=headers, timeout=_TIMEOUT))

    def submit_job(self, job: Any) -> dict[str, Any]:
        """Submit a job, and return the answer."""
        payload = qiskit_to_ionq(
            job.circuit,
            job.backend(),
            job._passed_args,
            job.extra_query_params,
            job.extra_metadata,
        )
        url, headers = self.make_path("jobs"), self.api_headers
        return _object(_json(requests.post(url, payload, headers=headers, timeout=_TIMEOUT)))


def _json(reply: requests.Response) -> Any:
    """Return the JSON value of an answer, or raise an error that tells what it says."""
    if reply.status_code >= 400:
        raise requests.HTTPError(
            f"{reply.status_code} {reply.reason}: {reply.text}", response=reply
        )
    return reply.json()


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError(f"a {type(value).__name__} came instead of a JSON object")
    return value


def _by_circuit(answer: Any, children: Any, n_circuits: int) -> list[Any]:
    """Return the distributions of a job's circuits, in the order of its children's ids.

    Raises:
        ValueError: they are those of other circuits.
    """
    found = answer if isinstance(answer, list) else [answer]
    if isinstance(answer, dict) and answer and all(isinstance(v, dict) for v in answer.values()):
        ordered = children or list(answer)
        if not isinstance(ordered, list) or set(map(str, ordered)) != set(answer):
            raise ValueError("distributions of other circuits than the job's")
        found = [answer[str(child)] for child in ordered]
    if len(found) != n_circuits:
        raise ValueError(f"{len(found)} distributions of {n_circuits} circuits")
    return found


def _frequencies(result: Any, circuit: QuantumCircuit) -> dict[int, float]:
    """Return the frequencies of the classical outcomes of a circuit.

    Args:
        result: frequencies of the outcomes of all qubits, by their numbers as strings, qubit 0 the
            lowest bit.
        circuit: the circuit, whose measurements say which bit each qubit is read into.

    Raises:
        ValueError: the frequencies are not a distribution over the outcomes.
    """
    if not isinstance(result, dict):
        raise ValueError(f"{type(result).__name__} instead of frequencies")
    measured = [
        (circuit.find_bit(step.qubits[0]).index, circuit.find_bit(step.clbits[0]).index)
        for step in circuit.data
        if step.operation.name == "measure"
    ]
    used = {circuit.find_bit(qubit).index for step in circuit.data for qubit in step.qubits}
    possible = sum(1 << qubit for qubit in used)  # a qubit without a gate stays 0
    frequencies: dict[int, float] = {}
    for key, value in result.items():
        if not (re.fullmatch("[0-9]+", key) and not int(key) & ~possible):
            raise ValueError(f"outcome {shown(key)} of {len(used)} qubits")
        if type(value) not in (int, float) or not (math.isfinite(value) and value >= 0):
            raise ValueError(f"frequency {shown(value)}")
        bits = sum((int(key) >> qubit & 1) << bit for qubit, bit in measured)
        frequencies[bits] = frequencies.get(bits, 0.0) + value
    total = sum(frequencies.values())
    if abs(total - 1) > _SLACK:
        raise ValueError(f"frequencies that add up to {total:.4g}")
    return frequencies


def _counts(
    frequencies: dict[int, float], shots: int, rng: np.random.Generator, *, exact: bool
) -> dict[int, int]:
    """Return the counts of the outcomes: drawn if the frequencies are exact, else as observed."""
    weights = np.array(list(frequencies.values()))
    observed = np.rint(weights * shots).astype(int)
    # error mitigation gives weights that no number of shots has
    if exact or observed.sum() != shots:
        observed = rng.multinomial(shots, weights / weights.sum())
    return dict(zip(frequencies, observed.tolist(), strict=True))
