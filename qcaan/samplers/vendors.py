"""Devices of IBM, AQT and IonQ, each as what `qcaan.samplers.jobs.Vendor` asks for. A vendor's package is
imported when it is named.

Accounts are the vendors' own: IBM's saved account or `QISKIT_IBM_TOKEN`; AQT's log-in (`AQT_TOKEN` and the like, see
qiskit-aqt-provider); IonQ's `IONQ_API_KEY`, with `IONQ_API_URL` for another address.
"""

from __future__ import annotations

import atexit
import logging
import os
import uuid
import warnings
from collections.abc import Sequence
from functools import cache, cached_property
from typing import Any

import numpy as np
from qiskit import QuantumCircuit, transpile
from qiskit.primitives.containers.sampler_pub import SamplerPub
from qiskit.providers import BackendV2, JobStatus

from qcaan.samplers.jobs import Budget, JobError, JobFailed, Limits, Unsearchable, Vendor, scrubbed
from qcaan.samplers.noise import fake_device
from qcaan.samplers.simulators import Transpiler, shuffled_shots

log = logging.getLogger(__name__)


def make_vendor(name: str, rng: np.random.Generator, budget: Budget | None = None) -> Vendor:
    """The vendor's side of a sampler named `ibm:...`, `aqt:...` or `ionq:...`.

    Raises:
        ValueError: its package is missing, there is no account, or it knows no such device.
    """
    kind, _, device = name.partition(":")
    try:
        if kind == "ibm":
            return IBM(device, rng, (budget or Budget()).ibm_mode)
        return AQT(device, rng) if kind == "aqt" else IonQ(device, rng)
    except ImportError as error:
        extra = "qcaan" if kind == "ibm" else f"qcaan[{kind}]"
        raise ValueError(
            f'sampler {name!r} needs: pip install "{extra}" ({error.name} is missing)'
        ) from None


class IBM:
    """IBM Runtime through its executor's sampler; `fake_NAME` runs the same client on a fake device in this process."""

    binds = False

    def __init__(self, device: str, rng: np.random.Generator, mode: str) -> None:
        from qiskit_ibm_runtime import QiskitRuntimeService

        self.name = f"ibm:{device}"
        self.local = device.startswith("fake_")
        self.paid = not self.local
        self._rng = rng
        self._service: Any = None
        self._jobs: dict[str, Any] = {}
        if self.local:
            self._backend = fake_device(device)
            if mode != "job":
                _say_once(
                    f"{self.name} runs in this process, where IBM's client ignores the mode {mode}"
                )
            _say_once(f"{self.name} runs in this process, where IBM's client ignores job tags")
        else:
            try:
                token = os.environ.get("QISKIT_IBM_TOKEN")
                self._service = (
                    QiskitRuntimeService(token=token) if token else QiskitRuntimeService()
                )
                find = self._service
                self._backend = (
                    find.least_busy(simulator=False)
                    if device == "least_busy"
                    else find.backend(device)
                )
            except (
                Exception
            ) as error:  # the client raises many kinds, for accounts, networks and names
                raise ValueError(f"{self.name} cannot be had: {scrubbed(str(error))}") from None
        self._mode = "job" if self.local else mode
        self.limits = Limits(self._backend.num_qubits)
        self.gates = _gates(self._backend)
        self.native = Transpiler(backend=self._backend)

    @cached_property
    def _opened(self) -> Any:
        """The backend, or a batch or session on it, which costs from here on and is closed when the process ends."""
        from qiskit_ibm_runtime import Batch, Session

        if self._mode == "job":
            return self._backend
        opened = (Batch if self._mode == "batch" else Session)(backend=self._backend)
        atexit.register(opened.close)
        return opened

    def submit(self, pubs: Sequence[SamplerPub], tag: str) -> str:
        from qiskit_ibm_runtime.executor_sampler import Sampler

        sampler = Sampler(mode=self._opened)
        if self.local:  # a fixed seed would draw the same shots at every run
            sampler.options.simulator.seed_simulator = int(self._rng.integers(1, 2**31))
        else:
            sampler.options.environment.job_tags = [tag]
        job = sampler.run(pubs)
        self._jobs[job.job_id()] = job
        return job.job_id()

    def find(self, tag: str) -> str | None:
        found = self._service.jobs(job_tags=[tag], limit=1)
        return found[0].job_id() if found else None

    def fetch(self, job_id: str, pubs: Sequence[SamplerPub]) -> list[np.ndarray] | None:
        job = self._jobs.get(job_id) or self._service.job(job_id)
        if not self.local:
            status = str(job.status())
            if status in ("ERROR", "CANCELLED"):
                message = "" if status == "CANCELLED" else f": {job.error_message()}"
                raise JobFailed(
                    f"job {job_id} on {self.name} ended {status.lower()}{message}", job_id
                )
            if status != "DONE":
                return None
        results = job.result()
        self._jobs.pop(job_id, None)
        return [
            result.join_data().array.reshape(pub.size, pub.shots, -1)
            for result, pub in zip(results, pubs, strict=True)
        ]


class AQT:
    """AQT's ion traps: its offline simulators `ideal` and `noisy`, or a resource of its cloud."""

    binds = True  # a parametrised circuit cannot be transpiled for it

    def __init__(self, device: str, rng: np.random.Generator) -> None:
        from qiskit_aqt_provider import AQTProvider

        self.name = f"aqt:{device}"
        self.local = device in ("ideal", "noisy")
        self.paid = not self.local
        self._rng = rng
        self._jobs: dict[str, Any] = {}
        provider = AQTProvider()
        self._backend: Any = (
            getattr(provider.offline, device)() if self.local else _aqt_resource(provider, device)
        )
        self.limits = Limits(
            self._backend.num_qubits, self._backend.MAX_SHOTS, self._backend.max_circuits
        )
        self.gates = _gates(self._backend)

    def native(self, circuit: QuantumCircuit) -> QuantumCircuit:
        return transpile(circuit, self._backend, optimization_level=1)

    def submit(self, pubs: Sequence[SamplerPub], tag: str) -> str:
        circuits = [pub.circuit for pub in pubs]
        if self.local:
            seed = int(
                self._rng.integers(2**31)
            )  # a fixed one would draw the same shots at every run
            job = self._backend.run(circuits, shots=pubs[0].shots, seed_simulator=seed)
            job_id = str(uuid.uuid4())
        else:
            job = self._backend.run(circuits, shots=pubs[0].shots)
            job.persist()  # without it a later process could not read its result
            job_id = job.job_id()
        self._jobs[job_id] = job
        return job_id

    def find(self, tag: str) -> str | None:
        raise Unsearchable(
            f"a job for {self.name} was announced as {tag}, and AQT does not tell whether it arrived. Look it up there and add "
            f'{{"tag": "{tag}", "job_id": ...}} to jobs.jsonl, or {{"tag": "{tag}", "failed": true}} to send it again'
        )

    def fetch(self, job_id: str, pubs: Sequence[SamplerPub]) -> list[np.ndarray] | None:
        job = self._jobs.get(job_id) or self._backend.restore_job(job_id)
        if not self.local:
            status = job.status()
            if status in (JobStatus.ERROR, JobStatus.CANCELLED):
                raise JobFailed(f"job {job_id} on {self.name} ended {status.name.lower()}", job_id)
            if status != JobStatus.DONE:
                return None
        result = job.result()
        self._jobs.pop(job_id, None)
        return [
            _from_counts(
                {int(key.replace(" ", ""), 2): n for key, n in result.get_counts(k).items()},
                pub,
                self._rng,
            )
            for k, pub in enumerate(pubs)
        ]


class IonQ:
    """IonQ's simulator and ion traps. It gives frequencies; a simulator's are exact, and shots are drawn from them here."""

    binds = True
    local = False

    def __init__(self, device: str, rng: np.random.Generator) -> None:
        from qiskit_ionq import IonQProvider

        self.name = f"ionq:{device}"
        self._exact = device == "simulator"
        self.paid = not self._exact
        self._rng = rng
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                backend: Any = IonQProvider().get_backend(f"ionq_{device}")
                backend._client = _Unretried(backend.client)  # which asks for the credentials
            except Exception as error:
                raise ValueError(f"{self.name} cannot be had: {scrubbed(str(error))}") from None
        for (
            warning
        ) in caught:  # where the address cannot be reached, the client goes on with 4 qubits
            if f"Failed to get qubits for {device}:" in str(warning.message):
                raise ValueError(f"{self.name} cannot be reached: {scrubbed(str(warning.message))}")
        self._backend = backend
        # QPUs take 10,000 shots; for circuits in a job no limit is published, and a request should stay small
        self.limits = Limits(backend.num_qubits, 10_000, 100)
        self.gates = _gates(backend)

    def native(self, circuit: QuantumCircuit) -> QuantumCircuit:
        return transpile(circuit, self._backend, optimization_level=1)

    def submit(self, pubs: Sequence[SamplerPub], tag: str) -> str:
        circuits = [pub.circuit for pub in pubs]
        return self._backend.run(
            circuits, shots=pubs[0].shots, name=tag, extra_metadata={"qcaan_tag": tag}
        ).job_id()

    def find(self, tag: str) -> str | None:
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
                if job.get("name") == tag or (job.get("metadata") or {}).get("qcaan_tag") == tag:
                    return job["id"]
            following = page.get("next")
            if not following:
                return None

    def fetch(self, job_id: str, pubs: Sequence[SamplerPub]) -> list[np.ndarray] | None:
        from qiskit_ionq.exceptions import IonQJobFailureError

        try:
            with warnings.catch_warnings():
                warnings.simplefilter(
                    "ignore", UserWarning
                )  # of a cancelled job, which is told below
                job = self._backend.retrieve_job(job_id)
        except IonQJobFailureError as error:
            raise JobFailed(f"job {job_id} on {self.name} failed: {error}", job_id) from None
        status = job.status()
        if status is JobStatus.CANCELLED:
            raise JobFailed(f"job {job_id} on {self.name} was cancelled", job_id)
        if status is not JobStatus.DONE:
            return None
        results = job.result().results
        if len(results) != len(pubs):
            raise JobError(
                f"job {job_id} on {self.name} holds {len(results)} results, {len(pubs)} were asked",
                job_id,
            )
        return [
            _from_frequencies(
                {int(key, 2): p for key, p in result.data.probabilities.items()},
                pub,
                self._rng,
                self._exact,
            )
            for result, pub in zip(results, pubs, strict=True)
        ]


class _Unretried:
    """A client without its own retries, some of them endless: ours are bounded, and look before they submit again."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        method = getattr(type(self._client), name, None)
        if method is not None and hasattr(method, "__wrapped__"):
            return method.__wrapped__.__get__(self._client)
        return getattr(self._client, name)


@cache
def _say_once(text: str) -> None:
    log.warning(text)


def _gates(backend: BackendV2) -> tuple[str, ...]:
    return tuple(
        sorted(
            name
            for name in backend.operation_names
            if name not in ("measure", "reset", "delay", "barrier")
        )
    )


def _aqt_resource(provider: Any, device: str) -> BackendV2:
    try:
        cloud = provider.cloud()
        cloud.log_in()
        for workspace in cloud.fetch_workspaces():
            for resource in workspace.list_backends():
                if device in (resource.id, f"{workspace.id}/{resource.id}"):
                    return workspace.get_backend(resource.id)
    except Exception as error:
        raise ValueError(f"aqt:{device} cannot be had: {scrubbed(str(error))}") from None
    raise ValueError(
        f"unknown AQT resource {device!r}; choose from ideal, noisy, and those of your account"
    )


def _from_counts(counts: dict[int, int], pub: SamplerPub, rng: np.random.Generator) -> np.ndarray:
    return shuffled_shots(counts, pub.circuit.num_clbits, rng)[None]


def _from_frequencies(
    frequencies: dict[int, float], pub: SamplerPub, rng: np.random.Generator, exact: bool
) -> np.ndarray:
    """Shots of frequencies: drawn where those are exact, otherwise as many of each outcome as were observed."""
    weights = np.array(list(frequencies.values()))
    observed = np.rint(weights * pub.shots).astype(int)
    if (
        exact or observed.sum() != pub.shots
    ):  # error mitigation gives weights that no number of shots has
        observed = rng.multinomial(pub.shots, weights / weights.sum())
    return _from_counts(dict(zip(frequencies, observed.tolist(), strict=True)), pub, rng)
