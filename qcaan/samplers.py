"""Samplers by name. Every one is Qiskit's `BaseSamplerV2`; what is added to it is composed around it.

`run([(circuit, theta[K, P], shots)])` broadcasts K parameter sets over one circuit, and
`result()[i].join_data().to_bool_array(order="little")` is [K, shots, bit] with column i = classical bit i.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version

import numpy as np
from qiskit import QuantumCircuit, transpile
from qiskit.primitives import (
    BaseSamplerV2,
    BitArray,
    DataBin,
    PrimitiveJob,
    PrimitiveResult,
    SamplerPubResult,
    StatevectorSampler,
)
from qiskit.primitives.containers import SamplerPubLike
from qiskit.primitives.containers.sampler_pub import SamplerPub
from qiskit_aer import AerSimulator

SAMPLERS = ("aer", "statevector")

log = logging.getLogger(__name__)


def make_sampler(name: str, seed: int | np.random.Generator | None = None) -> BaseSamplerV2:
    """The named sampler: `aer` (Qiskit Aer on one CPU thread) or `statevector` (Qiskit's reference).

    Args:
        name: one of `SAMPLERS`.
        seed: a seed, or a generator from which each run draws, so that its owner can save and restore the state. Two
            runs of one sampler differ; two fresh samplers of equal seed agree.

    Raises:
        ValueError: unknown name.
    """
    rng = np.random.default_rng(seed)  # hands a Generator through
    if name == "aer":
        _check_one_aer()
        return TranspiledSampler(AerSampler(rng), AerSimulator())
    if name == "statevector":
        return StatevectorSampler(seed=rng)
    raise ValueError(f"unknown sampler {name!r}; choose from {', '.join(SAMPLERS)}")


class AerSampler(BaseSamplerV2):
    """Shots from `AerSimulator.run`, all parameter sets bound in one call.

    Aer's own sampler class draws the same shots at every run when it is given a seed; this one draws a fresh simulator
    seed from `rng` per run. Circuits must consist of Aer's gates.
    """

    def __init__(self, rng: np.random.Generator, default_shots: int = 1024) -> None:
        self._rng = rng
        self._default_shots = default_shots
        # threads pay off from about 14 qubits on; below, starting them costs more than the simulation, and an index
        # over the probabilities (by default from 10 qubits on) saves a fifth of the time
        self._serial = AerSimulator(max_parallel_threads=1, statevector_sample_measure_opt=5)
        self._parallel = AerSimulator()

    def run(
        self, pubs: Iterable[SamplerPubLike], *, shots: int | None = None
    ) -> PrimitiveJob[PrimitiveResult[SamplerPubResult]]:
        coerced = [SamplerPub.coerce(pub, shots or self._default_shots) for pub in pubs]
        job = PrimitiveJob(lambda: PrimitiveResult([self._run_pub(pub) for pub in coerced]))
        job._submit()
        return job

    def _run_pub(self, pub: SamplerPub) -> SamplerPubResult:
        parameters = list(pub.circuit.parameters)
        values = pub.parameter_values.ravel().as_array(parameters)  # (K, P)
        simulator = self._serial if pub.circuit.num_qubits < 14 else self._parallel
        seed = int(self._rng.integers(2**31))
        binds = [dict(zip(parameters, values.T.tolist(), strict=True))]
        result = simulator.run(
            [pub.circuit], parameter_binds=binds if parameters else None, shots=pub.shots, seed_simulator=seed
        ).result()
        if not result.success:
            raise RuntimeError(f"Aer failed: {result.status}")
        registers = pub.circuit.cregs
        outcomes = [
            self._shuffled_shots(result.data(k)["counts"], sum(r.size for r in registers)) for k in range(len(values))
        ]
        bits = BitArray(np.stack(outcomes).reshape(*pub.shape, pub.shots, -1), sum(r.size for r in registers))
        # one BitArray holds all classical bits, first register lowest; cut it back into the circuit's registers
        fields, start = {}, 0
        for register in registers:
            fields[register.name] = bits.slice_bits(range(start, start + register.size))
            start += register.size
        return SamplerPubResult(DataBin(**fields, shape=pub.shape), metadata={"shots": pub.shots})

    def _shuffled_shots(self, counts: dict[str, int], n_bits: int) -> np.ndarray:
        """Counts of hexadecimal outcomes to shots in random order, bytes [shots, ceil(n_bits / 8)], highest byte first."""
        n_bytes = -(-n_bits // 8)
        packed = b"".join(int(outcome, 16).to_bytes(n_bytes, "big") for outcome in counts)
        outcomes = np.frombuffer(packed, np.uint8).reshape(-1, n_bytes)
        return self._rng.permutation(np.repeat(outcomes, list(counts.values()), axis=0))


class TranspiledSampler(BaseSamplerV2):
    """Transpiles each circuit once for `backend`, then runs `sampler`; for targets that take parametrised circuits.

    Level 1: levels 2 and 3 delete a last parametrised RZ, and the length of theta would no longer fit.
    """

    def __init__(self, sampler: BaseSamplerV2, backend: AerSimulator) -> None:
        self._sampler = sampler
        self._backend = backend
        self._transpiled: dict[int, tuple[QuantumCircuit, QuantumCircuit]] = {}  # by id, with the circuit kept alive

    def run(self, pubs: Iterable[SamplerPubLike], *, shots: int | None = None):
        coerced = [SamplerPub.coerce(pub, shots) for pub in pubs]
        return self._sampler.run(
            [(self._native(pub.circuit), pub.parameter_values, pub.shots) for pub in coerced], shots=shots
        )

    def _native(self, circuit: QuantumCircuit) -> QuantumCircuit:
        if id(circuit) not in self._transpiled:
            self._transpiled[id(circuit)] = (circuit, transpile(circuit, self._backend, optimization_level=1))
        return self._transpiled[id(circuit)][1]


def _check_one_aer() -> None:
    """Say it where pip has both Aer wheels: they share one folder, and the one installed last wins."""
    try:
        version("qiskit-aer"), version("qiskit-aer-gpu")
    except PackageNotFoundError:
        return
    log.warning("qiskit-aer and qiskit-aer-gpu are both installed and overwrite each other; uninstall one of them")
