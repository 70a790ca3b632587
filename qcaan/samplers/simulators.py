"""Parts of samplers: Aer without its overhead, a transpiler, and packed shots."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from qiskit import QuantumCircuit
from qiskit.dagcircuit import DAGCircuit
from qiskit.primitives import (
    BackendSamplerV2,
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
from qiskit.providers import BackendV2
from qiskit.providers.basic_provider import BasicSimulator
from qiskit.transpiler import AnalysisPass, PassManager, Target, generate_preset_pass_manager
from qiskit.transpiler.passes.layout.vf2_utils import ErrorMap
from qiskit_aer import AerSimulator
from qiskit_aer.backends.aerbackend import AerBackend

# number of shots of a circuit if none is named, as in Qiskit
DEFAULT_SHOTS = 1024
# what a target is made from, beside its operations
_TARGET_SETTINGS = (
    "description", "num_qubits", "dt", "granularity", "min_length", "pulse_alignment",
    "acquire_alignment", "qubit_properties", "concurrent_measurements",
)  # fmt: skip


def check_width(n_qubits: int, most: int, name: str) -> None:
    """Check that a device has enough qubits for a circuit.

    Raises:
        ValueError: the circuit has more; the message names the device.
    """
    if n_qubits > most:
        raise ValueError(f"`n_qubits` must be at most {most} on {name}, got {n_qubits}")


def aer_threads(n_qubits: int) -> dict[str, int]:
    """Return Aer's option for the number of threads: one below 14 qubits, where more cost time."""
    return {"max_parallel_threads": 1} if n_qubits < 14 else {}


def checked_pubs(pubs: Iterable[SamplerPubLike], shots: int | None) -> list[SamplerPub]:
    """Return the pubs of a run, with the default number of shots if none is named.

    Raises:
        ValueError: a number of shots is below 1, or a value of a parameter is not finite. Samplers
            differ in what they would draw.
    """
    coerced = [SamplerPub.coerce(pub, DEFAULT_SHOTS if shots is None else shots) for pub in pubs]
    for pub in coerced:
        for values in pub.parameter_values.data.values():
            if not np.isfinite(values).all():
                raise ValueError(
                    "values of parameters must be finite, got NaN or infinity among them"
                )
    return coerced


class AerSampler(BaseSamplerV2):
    """Draws shots by `AerSimulator.run`, with all parameter sets bound in one call.

    Aer's own sampler class with a seed draws the same shots at every run. This class draws a new
    seed of the simulator from `rng` at each run. Circuits must consist of the simulator's gates.

    Args:
        rng: random state of the shots and of their order.
        options: options of `AerSimulator`.
    """

    def __init__(self, rng: np.random.Generator, **options: Any) -> None:
        self._rng = rng
        # An index over the probabilities, which Aer makes from 10 qubits on, saves a fifth of the
        # time.
        self._serial = AerSimulator(**aer_threads(1), statevector_sample_measure_opt=5, **options)
        self._parallel = AerSimulator(**options)

    def run(
        self, pubs: Iterable[SamplerPubLike], *, shots: int | None = None
    ) -> PrimitiveJob[PrimitiveResult[SamplerPubResult]]:
        return finished([self._run_pub(pub) for pub in checked_pubs(pubs, shots)])

    def _run_pub(self, pub: SamplerPub) -> SamplerPubResult:
        if not pub.size:
            return empty_result(pub)
        parameters = list(pub.circuit.parameters)
        values = pub.parameter_values.ravel().as_array(parameters)  # (K, P)
        simulator = self._serial if aer_threads(pub.circuit.num_qubits) else self._parallel
        seed = int(self._rng.integers(2**31))
        binds = [dict(zip(parameters, values.T.tolist(), strict=True))]
        result = simulator.run(
            [pub.circuit] * (1 if parameters else pub.size),
            parameter_binds=binds if parameters else None,
            shots=pub.shots,
            seed_simulator=seed,
        ).result()
        if not result.success:
            raise RuntimeError(f"Aer failed: {result.status}")
        rows = []
        for k in range(len(values)):
            counts = {int(key, 16): n for key, n in result.data(k)["counts"].items()}
            rows.append(shuffled_shots(counts, pub.circuit.num_clbits, self._rng))
        return pub_result(pub, np.stack(rows))


def shuffled_shots(counts: dict[int, int], n_bits: int, rng: np.random.Generator) -> np.ndarray:
    """Return the shots of counted outcomes in random order.

    They are packed as in `BitArray`: uint8 [shots, ceil(n_bits / 8)].
    """
    n_bytes = -(-n_bits // 8)
    packed = b"".join(outcome.to_bytes(n_bytes, "big") for outcome in counts)
    outcomes = np.frombuffer(packed, np.uint8).reshape(-1, n_bytes)
    return rng.permutation(np.repeat(outcomes, list(counts.values()), axis=0))


def pub_result(pub: SamplerPub, packed: np.ndarray) -> SamplerPubResult:
    """Return the result of a pub from its packed shots [K, shots, bytes], by register."""
    bits = BitArray(packed.reshape(*pub.shape, *packed.shape[1:]), pub.circuit.num_clbits)
    fields, start = {}, 0
    # one array holds all classical bits, the first register lowest
    for register in pub.circuit.cregs:
        fields[register.name] = bits.slice_bits(range(start, start + register.size))
        start += register.size
    return SamplerPubResult(DataBin(**fields, shape=pub.shape), metadata={"shots": pub.shots})


def empty_result(pub: SamplerPub) -> SamplerPubResult:
    """Return the result of a pub without parameter sets."""
    return pub_result(pub, np.zeros((0, pub.shots, -(-pub.circuit.num_clbits // 8)), np.uint8))


def finished(results: list[SamplerPubResult]) -> PrimitiveJob[PrimitiveResult[SamplerPubResult]]:
    """Return a job that has ended, with these results.

    Samplers here wait in the thread of their caller, because that thread receives Ctrl-C.
    """
    job = PrimitiveJob(lambda: PrimitiveResult(results))
    job._submit()
    return job


class ReadoutCircuit(QuantumCircuit):
    """A circuit without gates, to be placed on the qubits on which another circuit ends.

    A `Transpiler` places it so, and the same physical qubits are read.

    Attributes:
        like: the other circuit.
    """

    def __init__(self, like: QuantumCircuit) -> None:
        super().__init__(like.num_qubits)
        self.like = like


class Transpiler:
    """Transpiles each circuit once, for targets that take circuits with parameters.

    It uses level 1: levels 2 and 3 delete a last parametrised RZ, and the length of theta would no
    longer fit.

    Args:
        least_errors: whether the qubits are those that level 2 chooses by the errors of the target.
            Level 1 takes the first qubits if the circuit's gates fit on them.
        backend: backend that the circuits are for.
        target: target of the circuits; see `ordered`.
    """

    def __init__(
        self,
        *,
        least_errors: bool = False,
        backend: BackendV2 | None = None,
        target: Target | None = None,
    ) -> None:
        self._least_errors = least_errors
        self._target = {"backend": backend, "target": target and ordered(target)}
        # by the id of a circuit: the circuit, which must stay alive, and its native form
        self._done: dict[int, tuple[QuantumCircuit, QuantumCircuit]] = {}

    def __call__(self, circuit: QuantumCircuit) -> QuantumCircuit:
        if id(circuit) not in self._done:
            native = self._transpiled(circuit, level=1, layout=self._layout(circuit))
            self._done[id(circuit)] = (circuit, native)
        return self._done[id(circuit)][1]

    def _layout(self, circuit: QuantumCircuit) -> list[int] | None:
        """Return the physical qubits that a circuit must start on; None if any will do."""
        layout: list[int] | None = None
        if isinstance(circuit, ReadoutCircuit):
            like = self(circuit.like).layout
            layout = like and like.final_index_layout()
        elif self._least_errors:
            chosen = self._transpiled(circuit, level=2).layout
            layout = chosen and chosen.initial_index_layout(filter_ancillas=True)
        return layout

    def _transpiled(
        self, circuit: QuantumCircuit, *, level: int, layout: list[int] | None = None
    ) -> QuantumCircuit:
        passes = generate_preset_pass_manager(
            level, **self._target, seed_transpiler=0, initial_layout=layout
        )
        if target := self._target["target"]:
            passes.pre_layout = PassManager([_MeanErrors(target)])
        return passes.run(circuit)


class _MeanErrors(AnalysisPass):
    """Sets the mean error of each qubit and coupling, by which layouts are compared.

    Qiskit adds the errors up in an order that differs from process to process, and the last digit
    of a sum decides between layouts that are equally good. These sums are exact.
    """

    def __init__(self, target: Target) -> None:
        super().__init__()
        self._errors: ErrorMap | None = None
        found: dict[tuple[int, ...], list[float]] = {}
        for name in target.operation_names:
            for qubits, gate in target[name].items():
                if qubits:
                    found.setdefault(qubits, []).append(gate.error or 0.0 if gate else 0.0)
        if any(any(errors) for errors in found.values()):
            self._errors = ErrorMap(len(found))
            for qubits, errors in found.items():
                mean = math.fsum(errors) / len(errors)
                self._errors.add_error((qubits[0], qubits[-1]), mean)

    def run(self, dag: DAGCircuit) -> None:
        self.property_set["vf2_avg_error_map"] = self._errors


def ordered(target: Target) -> Target:
    """Return a target with its operations in the order of their names.

    Where two layouts are equally good, that order decides. In targets of IBM's devices it is
    another one in each process, so a resumed run would submit, and pay, other circuits.
    """
    settings = {name: getattr(target, name) for name in _TARGET_SETTINGS}
    same = Target(**settings)
    for name in sorted(target.operation_names):
        properties = dict(target[name])
        everywhere = None in properties
        same.add_instruction(
            target.operation_from_name(name), None if everywhere else properties, name=name
        )
    return same


class TranspiledSampler(BaseSamplerV2):
    """Runs a sampler on circuits that are transpiled for a backend.

    Args:
        sampler: the sampler.
        backend: backend that the circuits are transpiled for; default Aer's simulator.
    """

    def __init__(self, sampler: BaseSamplerV2, backend: BackendV2 | None = None) -> None:
        self._sampler = sampler
        backend = backend or AerSimulator()
        # `AerSimulator.target` is built at each access, and making passes reads it 150 times
        self._native = (
            Transpiler(target=backend.target)
            if isinstance(backend, AerBackend)
            else Transpiler(backend=backend)
        )

    def run(
        self, pubs: Iterable[SamplerPubLike], *, shots: int | None = None
    ) -> PrimitiveJob[PrimitiveResult[SamplerPubResult]]:
        coerced = checked_pubs(pubs, shots)
        asked = [pub for pub in coerced if pub.size]
        if len(asked) < len(coerced):
            drawn = iter(self.run(asked).result() if asked else ())
            return finished([next(drawn) if pub.size else empty_result(pub) for pub in coerced])
        native = [(self._native(pub.circuit), pub.parameter_values, pub.shots) for pub in coerced]
        return self._sampler.run(native)


class ReferenceSampler(StatevectorSampler):
    """Qiskit's reference sampler, which refuses what all samplers here refuse."""

    def run(
        self, pubs: Iterable[SamplerPubLike], *, shots: int | None = None
    ) -> PrimitiveJob[PrimitiveResult[SamplerPubResult]]:
        return super().run(checked_pubs(pubs, shots))


class _SeededBackendSampler(BaseSamplerV2):
    """Draws from a simulator backend, with a new seed at each run. One seed would repeat shots."""

    def __init__(self, backend: BackendV2, rng: np.random.Generator) -> None:
        self._backend, self._rng = backend, rng

    def run(
        self, pubs: Iterable[SamplerPubLike], *, shots: int | None = None
    ) -> PrimitiveJob[PrimitiveResult[SamplerPubResult]]:
        options = {"seed_simulator": int(self._rng.integers(2**31))}
        return BackendSamplerV2(backend=self._backend, options=options).run(pubs, shots=shots)


def backend_sampler(backend: BackendV2, rng: np.random.Generator) -> BaseSamplerV2:
    """Return a sampler that runs circuits on a Qiskit backend; simulators are seeded from `rng`."""
    seeded = isinstance(backend, AerBackend | BasicSimulator)
    sampler = _SeededBackendSampler(backend, rng) if seeded else BackendSamplerV2(backend=backend)
    return TranspiledSampler(sampler, backend)


def native_passes(backend: BackendV2) -> PassManager:
    """Return the passes that bring circuits into the gates of a backend, at level 1.

    `transpile` makes them anew for each circuit, which takes four times as long as to run them.
    """
    return generate_preset_pass_manager(1, backend)


def native_gates(backend: BackendV2) -> tuple[str, ...]:
    """Return the names of the gates of a backend, sorted."""
    return tuple(sorted(set(backend.operation_names) - {"measure", "reset", "delay", "barrier"}))
