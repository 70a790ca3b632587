"""IBM's devices, through the executor's sampler of IBM Runtime."""

from __future__ import annotations

import atexit
import logging
import os
from collections.abc import Sequence
from functools import cache, cached_property
from typing import Any

import numpy as np
from qiskit.primitives.containers.sampler_pub import SamplerPub
from qiskit_ibm_runtime import Batch, QiskitRuntimeService, Session
from qiskit_ibm_runtime.executor_sampler import Sampler

from qcaan.samplers.jobs import IBMMode, Limits
from qcaan.samplers.noise import fake_device
from qcaan.samplers.requests import JobFailed, scrub
from qcaan.samplers.simulators import Transpiler, native_gates

log = logging.getLogger(__name__)


class IBM:
    """A device of IBM, or a fake one.

    On `fake_NAME` the same client runs jobs in this process, and ignores modes and job tags.

    Args:
        device: name of the device, `least_busy`, or `fake_NAME`.
        mode: execution mode of the jobs: job, batch or session.

    Raises:
        ValueError: there is no account, or no such device.
    """

    binds = False

    def __init__(self, device: str, mode: IBMMode) -> None:
        self.name = f"ibm:{device}"
        self.local = device.startswith("fake_")
        self.paid = not self.local
        self._service: Any = None
        self._jobs: dict[str, Any] = {}
        if self.local:
            self._backend = fake_device(device)
            ignores = f"{self.name} runs in this process, where IBM's client ignores"
            if mode != "job":
                _log_once(f"{ignores} the mode {mode}")
            _log_once(f"{ignores} job tags")
        else:
            try:
                self._service = _service()
                self._backend = _open_backend(self._service, device)
            # the client raises many kinds of errors: for accounts, networks and names
            except Exception as error:
                raise ValueError(f"{self.name} is not available: {scrub(str(error))}") from None
        self._mode = "job" if self.local else mode
        self.limits = Limits(self._backend.num_qubits)
        self.gates = native_gates(self._backend)
        self.native = Transpiler(backend=self._backend)

    @cached_property
    def _opened(self) -> Any:
        """The backend, or a batch or session on it.

        A batch or session costs from here on, and is closed when the process ends.
        """
        if self._mode == "job":
            return self._backend
        opened = (Batch if self._mode == "batch" else Session)(backend=self._backend)
        atexit.register(opened.close)
        return opened

    def submit(self, pubs: Sequence[SamplerPub], tag: str, rng: np.random.Generator) -> str:
        """Submit one job, which may be paid for, and return its id."""
        sampler = Sampler(mode=self._opened)
        if self.local:
            # a fixed seed would draw the same shots at every run
            sampler.options.simulator.seed_simulator = int(rng.integers(1, 2**31))
        else:
            sampler.options.environment.job_tags = [tag]
        job = sampler.run(pubs)
        job_id = str(job.job_id())
        self._jobs[job_id] = job
        return job_id

    def find(self, tag: str) -> str | None:
        """Return the id of the job with a tag, or None."""
        found = self._service.jobs(job_tags=[tag], limit=1)
        return str(found[0].job_id()) if found else None

    def fetch(
        self, job_id: str, pubs: Sequence[SamplerPub], rng: np.random.Generator
    ) -> list[np.ndarray] | None:
        """Return packed bits [K, shots, bytes] of each pub, or None while the job is running."""
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


def _service() -> Any:
    token = os.environ.get("QISKIT_IBM_TOKEN")
    return QiskitRuntimeService(token=token) if token else QiskitRuntimeService()


def _open_backend(service: Any, device: str) -> Any:
    if device == "least_busy":
        return service.least_busy(simulator=False)
    return service.backend(device)


@cache
def _log_once(text: str) -> None:
    """Log a warning, once in a process."""
    log.warning(text)
