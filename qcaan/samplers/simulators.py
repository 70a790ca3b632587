"""What samplers are made of: Aer without its overhead, transpiling once, and shots as `BaseSamplerV2` gives them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from qiskit import QuantumCircuit, transpile
from qiskit.primitives import (
    BaseSamplerV2,
    BitArray,
    DataBin,
    PrimitiveJob,
    PrimitiveResult,
    SamplerPubResult,
)
from qiskit.primitives.containers import SamplerPubLike
from qiskit.primitives.containers.sampler_pub import SamplerPub
from qiskit.providers import BackendV2
from qiskit_aer import AerSimulator


class AerSampler(BaseSamplerV2):
    """Shots from `AerSimulator.run`, all parameter sets bound in one call.

    Aer's own sampler class draws the same shots at every run when it is given a seed; this one draws a fresh simulator
    seed from `rng` per run. Circuits must consist of the simulator's gates.
    """

    def __init__(self, rng: np.random.Generator, default_shots: int = 1024, **options: Any) -> None:
        self._rng = rng
        self._default_shots = default_shots
        # threads pay off from about 14 qubits on; below, starting them costs more than the simulation, and an index
        # over the probabilities (by default from 10 qubits on) saves a fifth of the time
        self._serial = AerSimulator(
            max_parallel_threads=1, statevector_sample_measure_opt=5, **options
        )
        self._parallel = AerSimulator(**options)

    def run(
        self, pubs: Iterable[SamplerPubLike], *, shots: int | None = None
    ) -> PrimitiveJob[PrimitiveResult[SamplerPubResult]]:
        return finished(
            [self._run_pub(SamplerPub.coerce(pub, shots or self._default_shots)) for pub in pubs]
        )

    def _run_pub(self, pub: SamplerPub) -> SamplerPubResult:
        parameters = list(pub.circuit.parameters)
        values = pub.parameter_values.ravel().as_array(parameters)  # (K, P)
        simulator = self._serial if pub.circuit.num_qubits < 14 else self._parallel
        seed = int(self._rng.integers(2**31))
        binds = [dict(zip(parameters, values.T.tolist(), strict=True))]
        result = simulator.run(
            [pub.circuit],
            parameter_binds=binds if parameters else None,
            shots=pub.shots,
            seed_simulator=seed,
        ).result()
        if not result.success:
            raise RuntimeError(f"Aer failed: {result.status}")
        n_bits = pub.circuit.num_clbits
        counts = [result.data(k)["counts"] for k in range(len(values))]
        return pub_result(
            pub,
            np.stack(
                [
                    shuffled_shots({int(key, 16): n for key, n in c.items()}, n_bits, self._rng)
                    for c in counts
                ]
            ),
        )


def shuffled_shots(counts: dict[int, int], n_bits: int, rng: np.random.Generator) -> np.ndarray:
    """Counts of outcomes to shots in random order, packed as in `BitArray`: uint8 [shots, ceil(n_bits / 8)]."""
    n_bytes = -(-n_bits // 8)
    packed = b"".join(outcome.to_bytes(n_bytes, "big") for outcome in counts)
    outcomes = np.frombuffer(packed, np.uint8).reshape(-1, n_bytes)
    return rng.permutation(np.repeat(outcomes, list(counts.values()), axis=0))


def pub_result(pub: SamplerPub, packed: np.ndarray) -> SamplerPubResult:
    """The result of a pub from its packed shots [K, shots, bytes], cut into the circuit's registers."""
    bits = BitArray(packed.reshape(*pub.shape, pub.shots, -1), pub.circuit.num_clbits)
    fields, start = {}, 0
    for (
        register
    ) in pub.circuit.cregs:  # one array holds all classical bits, the first register lowest
        fields[register.name] = bits.slice_bits(range(start, start + register.size))
        start += register.size
    return SamplerPubResult(DataBin(**fields, shape=pub.shape), metadata={"shots": pub.shots})


def finished(results: list[SamplerPubResult]) -> PrimitiveJob[PrimitiveResult[SamplerPubResult]]:
    """A job that has ended. Waiting is done before, in the caller's thread, where Ctrl-C arrives."""
    job = PrimitiveJob(lambda: PrimitiveResult(results))
    job._submit()
    return job


class Transpiler:
    """Transpiles each circuit once, for targets that take parametrised ones.

    Level 1: levels 2 and 3 delete a last parametrised RZ, and the length of theta would no longer fit. A circuit without
    gates on two qubits is placed where the one before it ended, so that it is read by the same physical qubits.
    """

    def __init__(self, **target: Any) -> None:
        self._target = target
        self._done: dict[
            int, tuple[QuantumCircuit, QuantumCircuit]
        ] = {}  # by id, with the circuit kept alive
        self._layout: list[int] | None = None

    def __call__(self, circuit: QuantumCircuit) -> QuantumCircuit:
        if id(circuit) not in self._done:
            coupled = circuit.num_nonlocal_gates() > 0
            place = None if coupled else self._layout
            native = transpile(
                circuit,
                **self._target,
                optimization_level=1,
                seed_transpiler=0,
                initial_layout=place,
            )
            if coupled and native.layout is not None:
                self._layout = native.layout.final_index_layout()
            self._done[id(circuit)] = (circuit, native)
        return self._done[id(circuit)][1]


class TranspiledSampler(BaseSamplerV2):
    """Runs `sampler` on circuits transpiled for a backend, Aer's if none is given."""

    def __init__(self, sampler: BaseSamplerV2, backend: BackendV2 | None = None) -> None:
        self._sampler = sampler
        self._native = Transpiler(backend=backend or AerSimulator())

    def run(self, pubs: Iterable[SamplerPubLike], *, shots: int | None = None):
        coerced = [SamplerPub.coerce(pub, shots) for pub in pubs]
        return self._sampler.run(
            [(self._native(pub.circuit), pub.parameter_values, pub.shots) for pub in coerced],
            shots=shots,
        )
