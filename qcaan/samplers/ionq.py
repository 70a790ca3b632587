"""IonQ's ion traps and its simulator."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from qiskit import QuantumCircuit, transpile
from qiskit.primitives.containers.sampler_pub import SamplerPub
from qiskit_ionq import IonQProvider

from qcaan.samplers.jobs import Limits
from qcaan.samplers.requests import JobError, JobFailed, scrub
from qcaan.samplers.simulators import native_gates, shuffled_shots

# IonQ's devices take 10,000 shots. No limit of the circuits in a job is published, but a request
# should stay small.
_MAX_SHOTS, _MAX_CIRCUITS = 10_000, 100
# frequencies are rounded, so they add up to 1 only nearly
_SLACK = 1e-3


class IonQ:
    """An ion trap of IonQ, or its simulator.

    IonQ returns frequencies. Those of the simulator are exact, and shots are drawn from them here.

    Args:
        device: `simulator`, or the name of a device such as `qpu.forte-1`.

    Raises:
        ValueError: there is no account or no such device, or IonQ cannot be reached.
    """

    binds = True
    local = False

    def __init__(self, device: str) -> None:
        self.name = f"ionq:{device}"
        self._exact = device == "simulator"
        self.paid = not self._exact
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                backend: Any = IonQProvider().get_backend(f"ionq_{device}")
                # `client` asks for the credentials
                backend._client = _Unretried(backend.client)
            # the client raises many kinds of errors: for accounts, networks and names
            except Exception as error:
                raise ValueError(f"{self.name} is not available: {scrub(str(error))}") from None
        # if the address cannot be reached, IonQ's client only warns, and assumes 4 qubits
        for warning in caught:
            if f"Failed to get qubits for {device}:" in str(warning.message):
                raise ValueError(f"{self.name} cannot be reached: {scrub(str(warning.message))}")
        self._backend = backend
        self.limits = Limits(backend.num_qubits, _MAX_SHOTS, _MAX_CIRCUITS)
        self.gates = native_gates(backend)

    def native(self, circuit: QuantumCircuit) -> QuantumCircuit:
        """Return the circuit in native gates."""
        return transpile(circuit, self._backend, optimization_level=1)

    def submit(self, pubs: Sequence[SamplerPub], tag: str, rng: np.random.Generator) -> str:
        """Submit one job, which may be paid for, and return its id."""
        circuits = [pub.circuit for pub in pubs]
        metadata = {"qcaan_tag": tag}
        job = self._backend.run(circuits, shots=pubs[0].shots, name=tag, extra_metadata=metadata)
        return str(job.job_id())

    def find(self, tag: str) -> str | None:
        """Return the id of the job with a tag, or None. All pages of the list are read."""
        client = self._backend.client
        following: str | None = None
        while True:
            reply = client.get_with_retry(
                client.make_path("jobs"),
                headers=client.api_headers,
                params={"limit": 100, **({"next": following} if following else {})},
            )
            reply.raise_for_status()
            page = reply.json()
            for job in page.get("jobs", []):
                if tag in (job.get("name"), (job.get("metadata") or {}).get("qcaan_tag")):
                    return str(job["id"])
            following = page.get("next")
            if not following:
                return None

    def fetch(
        self, job_id: str, pubs: Sequence[SamplerPub], rng: np.random.Generator
    ) -> list[np.ndarray] | None:
        """Return packed bits [1, shots, bytes] of each pub, or None while the job is running.

        IonQ's own client is not asked for results: of the simulator, it draws shots itself without
        a seed, and drops the outcomes that it did not draw.
        """
        client = self._backend.client
        answer = client.retrieve_job(job_id)
        status = answer.get("status")
        if status == "failed":
            failure = answer.get("failure") or {}
            raise JobFailed(
                f"job {job_id} on {self.name} failed: {failure.get('error', failure)}", job_id
            )
        if status in ("canceled", "cancelled"):
            raise JobFailed(f"job {job_id} on {self.name} was cancelled", job_id)
        if status != "completed":
            return None
        url = ((answer.get("results") or {}).get("probabilities") or {}).get("url")
        if not isinstance(url, str):
            raise JobError(f"job {job_id} on {self.name} has ended without results", job_id)
        results = _by_circuit(client.get_results(url), answer.get("child_job_ids") or [])
        if len(results) != len(pubs):
            raise JobError(
                f"job {job_id} on {self.name} holds {len(results)} results, {len(pubs)} were asked",
                job_id,
            )
        drawn = []
        for result, pub in zip(results, pubs, strict=True):
            try:
                frequencies = _frequencies(result, pub.circuit)
            except (TypeError, ValueError) as error:
                raise JobError(
                    f"job {job_id} on {self.name} holds impossible results: {error}", job_id
                ) from None
            counts = _counts(frequencies, pub.shots, rng, exact=self._exact)
            drawn.append(shuffled_shots(counts, pub.circuit.num_clbits, rng)[None])
        return drawn


class _Unretried:
    """IonQ's client without its own retries, some of which never end.

    Our retries are bounded, and look for the job before they submit it again.
    """

    def __init__(self, client: Any) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        method = getattr(type(self._client), name, None)
        unwrapped = getattr(method, "__wrapped__", None)
        if unwrapped is not None:
            return unwrapped.__get__(self._client)
        return getattr(self._client, name)


def _by_circuit(answer: Any, children: Sequence[str]) -> list[Any]:
    """Return the distributions of a job's circuits, in their order."""
    if not isinstance(answer, dict):
        return answer if isinstance(answer, list) else [answer]
    if not answer or not all(isinstance(value, dict) for value in answer.values()):
        return [answer]
    ordered = children if set(children) == set(answer) else list(answer)
    return [answer[child] for child in ordered]


def _frequencies(result: Any, circuit: QuantumCircuit) -> dict[int, float]:
    """Return the frequencies of the classical outcomes of a circuit.

    Args:
        result: frequencies of the outcomes of all qubits, by their numbers as strings, qubit 0 the
            lowest bit.
        circuit: the circuit, whose measurements say which bit each qubit is read into.

    Raises:
        ValueError, TypeError: the frequencies are not a distribution over the outcomes.
    """
    if not isinstance(result, dict):
        raise TypeError(f"{type(result).__name__} instead of frequencies")
    measured = [
        (circuit.find_bit(step.qubits[0]).index, circuit.find_bit(step.clbits[0]).index)
        for step in circuit.data
        if step.operation.name == "measure"
    ]
    used = {circuit.find_bit(qubit).index for step in circuit.data for qubit in step.qubits}
    possible = sum(1 << qubit for qubit in used)  # a qubit without a gate stays 0
    frequencies: dict[int, float] = {}
    for key, value in result.items():
        outcome, frequency = int(key), float(value)
        if outcome < 0 or outcome & ~possible:
            raise ValueError(f"outcome {key} of {len(used)} qubits")
        if not (math.isfinite(frequency) and frequency >= 0):
            raise ValueError(f"frequency {value}")
        bits = sum((outcome >> qubit & 1) << bit for qubit, bit in measured)
        frequencies[bits] = frequencies.get(bits, 0.0) + frequency
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
