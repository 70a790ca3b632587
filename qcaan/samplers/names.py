"""Samplers and engines by name, opened in this one place.

Every sampler is Qiskit's `BaseSamplerV2`; everything else is composed around it.
`run([(circuit, theta[K, P], shots)])` broadcasts K parameter sets over one circuit, and
`result()[i].join_data().to_bool_array(order="little")` is [K, shots, bit] with column i = clbit i.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any, NoReturn, Protocol, TypeAlias, runtime_checkable

import numpy as np
import torch
from qiskit.primitives import BackendSamplerV2, BaseSamplerV2
from qiskit.providers import BackendV2
from qiskit_aer import AerSimulator

from qcaan.checks import check_memory, random_generator
from qcaan.samplers.devices import DeviceOptions, Vendor
from qcaan.samplers.jobs import DeviceSampler
from qcaan.samplers.journal import Journal
from qcaan.samplers.noise import NoisySampler
from qcaan.samplers.requests import JobError
from qcaan.samplers.simulators import (
    AerSampler,
    ReferenceSampler,
    TranspiledSampler,
    backend_sampler,
    check_width,
)
from qcaan.samplers.vendors import make_vendor

EXACT = "exact"  # our own differentiable engine, which is not a sampler
# simulators without noise, whose exact probabilities are available too
IDEAL = ("aer", "aer:single", "aer-gpu", "aer-gpu:single", "statevector")
VENDORS = ("ibm", "aqt", "ionq")
DEVICES = ("ibm:BACKEND", "aqt:ideal", "aqt:noisy", "aqt:RESOURCE", "ionq:BACKEND")
SAMPLERS = (EXACT, *IDEAL, "aer-noise:DEVICE", *DEVICES)

MakeSampler: TypeAlias = "Callable[[str, np.random.Generator], BaseSamplerV2]"

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Engine:
    """An engine that runs circuits: our exact one, or a sampler.

    Attributes:
        name: name of the engine, or the class of a sampler object.
        sampler: the sampler; None for our exact engine.
        aer_options: device and precision with which Aer computes exact probabilities beside the
            sampler; None if the sampler has none.
        n_qubits: number of qubits of the device, if it is known.
    """

    name: str
    sampler: BaseSamplerV2 | None = None
    aer_options: dict[str, str] | None = None
    n_qubits: int | None = None

    @property
    def is_exact(self) -> bool:
        """Whether this is our differentiable engine."""
        return self.sampler is None

    @property
    def is_ideal(self) -> bool:
        """Whether exact probabilities are available."""
        return self.is_exact or self.aer_options is not None

    @property
    def is_remote(self) -> bool:
        """Whether circuits run on a vendor's machine, not in this process."""
        return isinstance(self.sampler, HasVendor) and not self.sampler.vendor.local

    def check_width(self, n_qubits: int) -> None:
        """Check that the device has enough qubits, if it says how many it has.

        Raises:
            ValueError: it has fewer.
        """
        if self.n_qubits is not None:
            check_width(n_qubits, self.n_qubits, self.name)

    def check_shots(self, shots: int) -> None:
        """Check that 0 shots, which ask for exact probabilities, are only asked of ideal engines.

        Raises:
            ValueError: the engine has no exact probabilities.
        """
        if shots == 0 and not self.is_ideal:
            raise ValueError(
                f"`shots` must be at least 1 on {self.name}, which has no exact probabilities, "
                "got 0"
            )

    def draw(self, pubs: Sequence[tuple[Any, ...]]) -> list[np.ndarray]:
        """Return the bits bool [..., shots, n] that the sampler measures for pubs, in one job.

        Column i is classical bit i. The job may be paid for.

        Args:
            pubs: circuits, their parameter values [..., P] or None, and their numbers of shots.

        Raises:
            JobError: the result is not that of these pubs.
        """
        assert self.sampler is not None, "the exact engine draws no shots"
        job = self.sampler.run(pubs)
        bits = [found.join_data().to_bool_array(order="little") for found in job.result()]
        asked = [
            (*np.shape(values)[:-1], shots, circuit.num_clbits) for circuit, values, shots in pubs
        ]
        if (shapes := [array.shape for array in bits]) != asked:
            job_id = str(job.job_id())
            raise JobError(
                f"job {job_id} on {self.name} holds impossible results: bits of shapes "
                f"{_listed(shapes)}, {_listed(asked)} were asked",
                job_id,
            )
        return bits


@runtime_checkable
class HasWidth(Protocol):
    """A sampler of a device with a known number of qubits."""

    n_qubits: int


@runtime_checkable
class HasVendor(Protocol):
    """A sampler of a vendor's device, or its rehearsal."""

    vendor: Vendor


EngineLike: TypeAlias = str | BaseSamplerV2 | BackendV2 | Engine


class SamplerFactory:
    """Makes the samplers of one run; each vendor is opened once, when it is first named.

    Args:
        options: limits of what the run may ask of a device.
        journal: record of the run's jobs.
    """

    def __init__(
        self, options: DeviceOptions | None = None, journal: Journal | None = None
    ) -> None:
        self._options = options or DeviceOptions()
        self._journal = journal or Journal()
        self._vendors: dict[str, Vendor] = {}

    def __call__(self, name: str, rng: np.random.Generator) -> BaseSamplerV2:
        """Return the named sampler; see `make_sampler`."""
        if is_device(name):
            return DeviceSampler(
                self.vendor(name), rng, journal=self._journal, options=self._options
            )
        return _make_simulator(name, rng)

    def vendor(self, name: str) -> Vendor:
        """Return the vendor of a device. Opening it logs in, and submits no job."""
        if name not in self._vendors:
            self._vendors[name] = make_vendor(name, self._options)
        return self._vendors[name]

    def check_free(self, option: str) -> None:
        """Check that nothing that was made so far may cost money, as where no plan is announced.

        Args:
            option: the option that names the samplers.

        Raises:
            ValueError: something may.
        """
        for name, vendor in self._vendors.items():
            if vendor.paid:
                raise ValueError(f"`{option}` must be free, and {name} may cost money")

    @property
    def spent(self) -> tuple[int, int]:
        """Numbers of jobs and of shots that devices were asked so far; see `Journal.spent`."""
        return self._journal.spent

    @property
    def usd(self) -> float:
        """Cost of the jobs so far in US dollars; see `Journal.usd`."""
        return self._journal.usd


def make_sampler(
    name: str,
    seed: int | np.random.Generator | None = None,
    *,
    journal: Journal | None = None,
    options: DeviceOptions | None = None,
) -> BaseSamplerV2:
    """Return the named sampler.

    `aer` (Qiskit Aer on one CPU thread) and `aer-gpu` (on CUDA), either with `:single` for single
    precision; `aer-noise:fake_NAME` with the noise of an IBM fake device, `aer-noise:ionq-aria`
    with that of an ion trap (see `qcaan.samplers.noise`); `statevector` (Qiskit's reference); and
    devices (see `qcaan.samplers.vendors`): `ibm:BACKEND`, `ibm:least_busy`, `ibm:fake_NAME`,
    `aqt:ideal`, `aqt:noisy`, `aqt:RESOURCE`, `ionq:simulator`, `ionq:BACKEND`.

    Args:
        name: name of the sampler.
        seed: a seed, or a generator from which each run draws, so that its owner can save and
            restore the state. Two runs of one sampler differ; two new samplers of equal seed
            agree, unless they are real devices.
        journal: record of the jobs of a device.
        options: limits of what may be asked of a device.

    Raises:
        ValueError: the name is unknown, or its package, account or hardware is missing.
    """
    if not isinstance(name, str):
        raise ValueError(_unknown(name))
    return SamplerFactory(options, journal)(name, random_generator(seed))


def open_engine(
    given: EngineLike,
    rng: np.random.Generator,
    make_sampler: MakeSampler | None = None,
    *,
    n_qubits: int | None = None,
) -> Engine:
    """Return the engine for a name, a sampler, a Qiskit backend, or an engine that is open already.

    Args:
        given: `exact`, a name of `make_sampler`, a `BaseSamplerV2`, a backend, or an engine.
        rng: random state of named samplers and of simulator backends.
        make_sampler: maker of named samplers; default a new `SamplerFactory`.
        n_qubits: number of qubits of the circuits that it is to run, if it is known.

    Raises:
        ValueError: the name is unknown, its package, account or hardware is missing, or the
            circuits need more qubits or more memory than there are.
    """
    if n_qubits is not None:
        check_memory(n_qubits)  # before a device is opened
    engine = _open(given, rng, make_sampler)
    if n_qubits is not None:
        engine.check_width(n_qubits)
    return engine


def _open(given: EngineLike, rng: np.random.Generator, make_sampler: MakeSampler | None) -> Engine:
    if isinstance(given, Engine):
        return given
    if isinstance(given, BackendV2):
        return Engine(str(given.name), backend_sampler(given, rng), n_qubits=given.num_qubits)
    if isinstance(given, BaseSamplerV2):
        return Engine(type(given).__name__, given, n_qubits=_width(given))
    if given == EXACT:
        return Engine(EXACT)
    if not isinstance(given, str):
        raise ValueError(f"{_unknown(given)}, or give a BaseSamplerV2 or a backend")
    options = aer_options(given) if given in IDEAL else None
    sampler = (make_sampler or SamplerFactory())(given, rng)
    return Engine(given, sampler, options, _width(sampler))


def _width(sampler: BaseSamplerV2) -> int | None:
    """Return the number of qubits of a sampler's device, if it is known."""
    if isinstance(sampler, BackendSamplerV2):
        width: int | None = sampler.backend.num_qubits
        return width
    return sampler.n_qubits if isinstance(sampler, HasWidth) else None


def aer_options(name: str) -> dict[str, str]:
    """Return Aer's device and precision for the name of a simulator without noise.

    Raises:
        ValueError: the name asks for a GPU, and there is none or Aer was not built for it.
    """
    kind, _, precision = name.partition(":")
    if kind == "aer-gpu" and not (
        torch.cuda.is_available() and "GPU" in AerSimulator().available_devices()
    ):
        raise ValueError(
            f"`sampler` {name!r} needs a CUDA GPU, and qiskit-aer-gpu instead of qiskit-aer"
        )
    return {"device": "GPU" if kind == "aer-gpu" else "CPU", "precision": precision or "double"}


class ClosedSampler(BaseSamplerV2):
    """A sampler that measures nothing, for what must not ask a device.

    Args:
        why: what a `ValueError` says if it is asked.
    """

    def __init__(self, why: str) -> None:
        self._why = why

    def run(self, pubs: object, *, shots: int | None = None) -> NoReturn:
        raise ValueError(self._why)


def is_ideal(name: str) -> bool:
    """Return whether a named engine has no noise, so that exact probabilities are available."""
    return name in (EXACT, *IDEAL)


def is_device(name: str) -> bool:
    """Return whether a named sampler submits jobs to a device, or to a stand-in for one."""
    kind, _, device = name.partition(":")
    return kind in VENDORS and bool(device)


def _make_simulator(name: str, rng: np.random.Generator) -> BaseSamplerV2:
    kind, _, device = name.partition(":")
    if name == "statevector":
        return ReferenceSampler(seed=rng)
    if name in IDEAL:
        _warn_of_two_aers()
        options: dict[str, Any] = aer_options(name)
        return TranspiledSampler(AerSampler(rng, **options))
    if kind == "aer-noise" and device:
        return NoisySampler(device, rng)
    if name == EXACT:
        raise ValueError(f"`sampler` {name!r} is our own engine, which is no BaseSamplerV2")
    raise ValueError(_unknown(name))


def _listed(shapes: Sequence[tuple[int, ...]]) -> str:
    return " ".join(str(list(shape)) for shape in shapes) or "none"


def _unknown(name: object) -> str:
    return f"unknown `sampler` {name!r}; choose from {', '.join(SAMPLERS)}"


def _warn_of_two_aers() -> None:
    """Warn if pip has both Aer wheels: they share one folder, and the last one installed wins."""
    try:
        version("qiskit-aer"), version("qiskit-aer-gpu")
    except PackageNotFoundError:
        return
    log.warning(
        "qiskit-aer and qiskit-aer-gpu are both installed and overwrite each other; uninstall one"
    )
