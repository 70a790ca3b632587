"""Samplers by name. Every one is Qiskit's `BaseSamplerV2`; what is added to it is composed around it.

`run([(circuit, theta[K, P], shots)])` broadcasts K parameter sets over one circuit, and
`result()[i].join_data().to_bool_array(order="little")` is [K, shots, bit] with column i = classical bit i.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Any, TypeAlias

import numpy as np
import torch
from qiskit.primitives import BaseSamplerV2, StatevectorSampler
from qiskit_aer import AerSimulator

from qcaan.samplers.jobs import Budget, DeviceSampler, Journal
from qcaan.samplers.noise import NoisySampler
from qcaan.samplers.simulators import AerSampler, TranspiledSampler
from qcaan.samplers.vendors import make_vendor

MakeSampler: TypeAlias = "Callable[[str, np.random.Generator], BaseSamplerV2]"
IDEAL = (
    "aer",
    "aer:single",
    "aer-gpu",
    "aer-gpu:single",
    "statevector",
)  # without noise: exact probabilities exist
SAMPLERS = (
    *IDEAL,
    "aer-noise:DEVICE",
    "ibm:BACKEND",
    "aqt:ideal",
    "aqt:noisy",
    "aqt:RESOURCE",
    "ionq:BACKEND",
)

log = logging.getLogger(__name__)


def make_sampler(
    name: str,
    seed: int | np.random.Generator | None = None,
    journal: Journal | None = None,
    budget: Budget | None = None,
) -> BaseSamplerV2:
    """The named sampler.

    `aer` (Qiskit Aer on one CPU thread) and `aer-gpu` (on CUDA), either `:single` in precision; `aer-noise:fake_NAME` with
    the noise of an IBM fake device, `aer-noise:ionq-aria` with that of an ion trap (see `qcaan.samplers.noise`); `statevector`
    (Qiskit's reference); and devices (see `qcaan.samplers.vendors`): `ibm:BACKEND`, `ibm:least_busy`, `ibm:fake_NAME`,
    `aqt:ideal`, `aqt:noisy`, `aqt:RESOURCE`, `ionq:simulator`, `ionq:BACKEND`.

    Args:
        name: as above.
        seed: a seed, or a generator from which each run draws, so that its owner can save and restore the state. Two
            runs of one sampler differ; two fresh samplers of equal seed agree, unless they are real devices.
        journal, budget: of the jobs of a device.

    Raises:
        ValueError: unknown name, or what it needs is not here.
    """
    rng = np.random.default_rng(seed)  # hands a Generator through
    kind, _, device = name.partition(":")
    if name == "statevector":
        return StatevectorSampler(seed=rng)
    if name in IDEAL:
        _check_one_aer()
        return TranspiledSampler(AerSampler(rng, **aer_options(name)))
    if kind == "aer-noise" and device:
        return NoisySampler(device, rng)
    if is_device(name) and device:
        return DeviceSampler(make_vendor(name, rng, budget), journal, budget)
    raise ValueError(f"unknown sampler {name!r}; choose from {', '.join(('exact', *SAMPLERS))}")


def check_width(sampler: BaseSamplerV2, n_qubits: int) -> None:
    """Raise ValueError if the sampler says that its device has fewer qubits."""
    most = getattr(sampler, "n_qubits", None)
    if most is not None and n_qubits > most:
        raise ValueError(f"the device has {most} qubits, the circuit {n_qubits}")


def aer_options(name: str) -> dict[str, Any]:
    """Device and precision of Aer for a named sampler.

    Raises:
        ValueError: a GPU is asked for, and there is none or Aer was not built for it.
    """
    kind, _, precision = name.partition(":")
    if kind == "aer-gpu" and not (
        torch.cuda.is_available() and "GPU" in AerSimulator().available_devices()
    ):
        raise ValueError(
            f"sampler {name!r} needs a CUDA GPU and qiskit-aer-gpu in the place of qiskit-aer"
        )
    return {"device": "GPU" if kind == "aer-gpu" else "CPU", "precision": precision or "double"}


def is_sampler(name: str) -> bool:
    """Whether the name is one that `make_sampler` knows; the device that it names may still be unknown."""
    kind, _, device = name.partition(":")
    return name in IDEAL or (bool(device) and (kind == "aer-noise" or is_device(name)))


def is_device(name: str) -> bool:
    """Whether the named sampler sends jobs to a device, or to what stands in for one."""
    return name.partition(":")[0] in ("ibm", "aqt", "ionq")


def _check_one_aer() -> None:
    """Say it where pip has both Aer wheels: they share one folder, and the one installed last wins."""
    try:
        version("qiskit-aer"), version("qiskit-aer-gpu")
    except PackageNotFoundError:
        return
    log.warning(
        "qiskit-aer and qiskit-aer-gpu are both installed and overwrite each other; uninstall one of them"
    )
