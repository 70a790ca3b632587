"""IBM's devices, through the executor's sampler of IBM Runtime."""

from __future__ import annotations

import atexit
import logging
from collections.abc import Callable, Iterable, Sequence
from functools import cache, cached_property
from itertools import zip_longest
from typing import Any

import numpy as np
from qiskit import QuantumCircuit
from qiskit.converters import circuit_to_dag, dag_to_circuit
from qiskit.exceptions import QiskitError
from qiskit.primitives.containers.bindings_array import BindingsArray
from qiskit.primitives.containers.sampler_pub import SamplerPub
from qiskit.transpiler import Target
from qiskit_ibm_runtime import Batch, QiskitRuntimeService, Session
from qiskit_ibm_runtime.accounts import Account, AccountManager
from qiskit_ibm_runtime.executor_sampler import Sampler

from qcaan.samplers import prices
from qcaan.samplers.copies import CopyingTranspiler
from qcaan.samplers.credentials import keep_secret, scrub
from qcaan.samplers.devices import Copies, IBMMode, Limits, device_qubits
from qcaan.samplers.noise import fake_device
from qcaan.samplers.prices import Cost, Task
from qcaan.samplers.requests import JobFailed, opened
from qcaan.samplers.simulators import Transpiler, native_gates

log = logging.getLogger(__name__)

# seconds: of a job beside its shots, of a pause between shots, and of a circuit
_JOB_SECONDS, _USUAL_DELAY, _USUAL_LENGTH = 2.0, 250e-6, 100e-6


class IBM:
    """A device of IBM, or a fake one.

    On `fake_NAME` the same client runs jobs in this process, and ignores modes and job tags.

    Args:
        device: name of the device, `least_busy`, or `fake_NAME`.
        mode: execution mode of the jobs: job, batch or session.
        seconds: maximum duration of opening it.
        copies: number of copies of each circuit on the chip; see `CopyingTranspiler`.

    Raises:
        ValueError: there is no account, or no such device.
    """

    binds = False
    no_price = "a session is billed for as long as it is open"

    def __init__(self, device: str, mode: IBMMode, seconds: float, copies: Copies = 1) -> None:
        self.name = f"ibm:{device}"
        self.local = device.startswith("fake_")
        self.paid = not self.local
        self._service: Any = None
        # by id: the client's job, and those with the other parts of its circuits, see `_run_here`
        self._jobs: dict[str, list[tuple[Any, list[int]]]] = {}
        if self.local:
            self._backend = fake_device(device)
            ignores = f"{self.name} runs in this process, where IBM's client ignores"
            if mode != "job":
                _log_once(f"{ignores} the mode {mode}")
            _log_once(f"{ignores} job tags")
        else:
            account = _account(self.name)
            self._service, self._backend = opened(
                self.name, lambda: _open(account, device), seconds
            )
            device_qubits(self.name, self._backend.configuration().n_qubits)
            # the client asks for the gates and their errors when they are needed
            opened(self.name, lambda: self._backend.target, seconds)
        self.target: Target = self._backend.target
        self._mode = "job" if self.local else mode
        self.price = prices.IBM if self.paid and mode != "session" else None
        self.limits = Limits(self._backend.num_qubits)
        self.gates = native_gates(self._backend)
        self.native: Callable[[QuantumCircuit], QuantumCircuit] = (
            Transpiler(backend=self._backend, target=self.target)
            if copies == 1
            else CopyingTranspiler(self.target, copies, self.name)
        )

    def cost(self, tasks: Iterable[Task]) -> Cost:
        """Return the cost of one job by the list price; zero if there is none."""
        return self.price.cost(qpu_seconds(tasks, self._backend)) if self.price else Cost()

    @cached_property
    def _opened(self) -> Any:
        """The backend, or a batch or session on it.

        A batch or session costs from here on, and is closed when the process ends.
        """
        if self._mode == "job":
            return self._backend
        session = (Batch if self._mode == "batch" else Session)(backend=self._backend)
        atexit.register(self._close, session)
        return session

    def _close(self, batch_or_session: Any) -> None:
        try:
            batch_or_session.close()
        # at the end of the process, there is nobody to handle an error
        except Exception as error:
            log.warning("%s could not be closed: %s", self.name, scrub(str(error)))

    def submit(self, pubs: Sequence[SamplerPub], tag: str, rng: np.random.Generator) -> str:
        """Submit one job, which may be paid for, and return its id."""
        if self.local:
            jobs = self._run_here(pubs, rng)
        else:
            sampler = Sampler(mode=self._opened)
            sampler.options.environment.job_tags = [tag]
            jobs = [(sampler.run(pubs), list(range(len(pubs))))]
        job_id = str(jobs[0][0].job_id())
        self._jobs[job_id] = jobs
        return job_id

    def _run_here(
        self, pubs: Sequence[SamplerPub], rng: np.random.Generator
    ) -> list[tuple[Any, list[int]]]:
        """Start jobs in this process; return each with the places of its pubs.

        The first job runs a part of each pub, and the others run what is left. A state of all the
        qubits of a wide circuit would be too large, and parts without a common gate are independent
        in the noise model.
        """
        jobs = []
        for layer in zip_longest(*map(_independent_parts, pubs)):
            sampler = Sampler(mode=self._opened)
            # a fixed seed would draw the same shots at every run
            sampler.options.simulator.seed_simulator = int(rng.integers(1, 2**31))
            places = [place for place, part in enumerate(layer) if part is not None]
            jobs.append((sampler.run([layer[place] for place in places]), places))
        return jobs

    def find(self, tag: str) -> str | None:
        """Return the id of the job with a tag, or None."""
        found = self._service.jobs(job_tags=[tag], limit=1)
        return next((str(job.job_id()) for job in found if tag in (job.tags or ())), None)

    def fetch(
        self, job_id: str, pubs: Sequence[SamplerPub], rng: np.random.Generator
    ) -> list[np.ndarray] | None:
        """Return packed bits [K, shots, bytes] of each pub, or None while the job is running."""
        (job, _), *others = self._jobs.get(job_id) or [(self._service.job(job_id), [])]
        if not self.local:
            status = str(job.status())
            if status in ("ERROR", "CANCELLED"):
                message = "" if status == "CANCELLED" else f": {job.error_message()}"
                raise JobFailed(
                    f"job {job_id} on {self.name} ended {status.lower()}{message}", job_id
                )
            if status != "DONE":
                return None
        bits = _packed(job)
        for other, places in others:
            for place, array in zip(places, _packed(other), strict=True):
                bits[place] |= array  # bits that a part does not measure are 0
        self._jobs.pop(job_id, None)
        return bits


def _packed(job: Any) -> list[np.ndarray]:
    """Return the packed bits [K, shots, bytes] of each pub of a job of the client."""
    # one set of shots after another, whatever the shape of the parameter sets
    arrays = [result.join_data().array for result in job.result()]
    return [array.reshape(-1, *array.shape[-2:]) for array in arrays]


def _independent_parts(pub: SamplerPub) -> list[SamplerPub]:
    """Return the measured parts of a pub that no gate or barrier connects, on the same qubits."""
    found = circuit_to_dag(pub.circuit).separable_circuits()
    parts = [dag_to_circuit(dag) for dag in found if "measure" in dag.count_ops()]
    if len(parts) < 2:
        return [pub]
    return [
        SamplerPub.coerce(
            (part, pub.parameter_values.as_array(list(part.parameters)), pub.shots)
            if part.parameters
            else (part, BindingsArray(shape=pub.shape), pub.shots)
        )
        for part in parts
    ]


def qpu_seconds(tasks: Iterable[Task], backend: Any) -> float:
    """Estimate the seconds of QPU of one job.

    IBM's own estimate is 2 s for the job, and for each shot the length of the circuit and the
    repetition delay: https://quantum.cloud.ibm.com/docs/guides/estimate-job-run-time. The length
    includes a reset. A job that IBM divides takes 2 s more for each part.

    Args:
        tasks: circuits of the job in native gates.
        backend: the device, which knows its delay and the durations of its gates. If it does not,
            the delay is 250 µs and a circuit takes 100 µs, as IBM says of most.
    """
    delay = getattr(backend, "default_rep_delay", None) or _USUAL_DELAY
    return _JOB_SECONDS + sum(
        sets * shots * (delay + _length(circuit, backend.target)) for circuit, sets, shots in tasks
    )


def _length(circuit: QuantumCircuit, target: Target) -> float:
    """Return the seconds of one shot of a circuit, with a reset before it."""
    try:
        length = circuit.estimate_duration(target)
    except QiskitError:  # the target lacks a duration
        return _USUAL_LENGTH
    resets = target["reset"].values() if "reset" in target.operation_names else ()
    return float(length + max((reset.duration or 0.0 for reset in resets if reset), default=0.0))


def _account(name: str) -> Account:
    """Return the account that the environment or IBM's file of saved accounts holds.

    Raises:
        ValueError: there is none.
    """
    try:
        account = AccountManager.get()
    # the client raises many kinds of errors, those of a damaged file among them
    except Exception as error:
        raise ValueError(f"{name} is not available: {scrub(str(error))}") from None
    account.token = keep_secret(account.token, "QISKIT_IBM_TOKEN")
    if account.token is None:
        raise ValueError(f"{name} is not available: the token of the account is empty")
    return account


def _open(account: Account, device: str) -> tuple[Any, Any]:
    """Return the service of an account, and the backend of a device."""
    service = QiskitRuntimeService(
        channel=account.channel,
        token=account.token,
        url=account.url,
        instance=account.instance and account.instance.strip(),
        proxies=account.proxies and account.proxies.to_dict(),
        verify=account.verify,
        private_endpoint=account.private_endpoint,
        region=account.region,
        plans_preference=account.plans_preference,
        tags=account.tags,
    )
    if device == "least_busy":
        return service, service.least_busy(simulator=False)
    return service, service.backend(device)


@cache
def _log_once(text: str) -> None:
    """Log a warning, once in a process."""
    log.warning(text)
