"""What Aqua's components share: its error, its global random state, and a backend with its shots."""

from __future__ import annotations

from typing import Any

import numpy as np
from qiskit.primitives import BaseSamplerV2
from qiskit.providers import BackendV2

from qcaan.checks import whole
from qcaan.circuits.born import EXACT
from qcaan.circuits.qiskit_circuits import as_sampler
from qcaan.samplers.names import make_sampler

AquaError = ValueError  # so that `except AquaError` meets whatever a user can get wrong
# of QuantumInstance: after the first two, what only steered the transpiler, the job, or a mitigation that is not asked for
_OPTIONS = {
    "shots", "seed_simulator", "max_credits", "seed_transpiler", "optimization_level", "timeout", "wait",
    "skip_qobj_validation", "job_callback", "cals_matrix_refresh_period",
}  # fmt: skip


class _AquaGlobals:
    """Aqua's global random state: initial angles and weights are drawn from it."""

    def __init__(self) -> None:
        self.random_seed = None

    @property
    def random_seed(self) -> int | None:
        return self._seed

    @random_seed.setter
    def random_seed(self, seed: int | None) -> None:
        self._seed = seed
        self.random = np.random.default_rng(seed)


aqua_globals = _AquaGlobals()


class QuantumInstance:
    """A backend with its number of shots.

    Args:
        backend: a Qiskit backend, a `BaseSamplerV2`, or a name of `--sampler`; also `statevector_simulator`, which gives exact
            probabilities as Aer's backend of that name does here, and `qasm_simulator`.
        shots: of each circuit, in training too, where Aqua took the size of the batch.
        seed_simulator: of the first run; Aqua's drew the same shots at every run. Default: the random state of the QGAN.
        options: Aqua's others. Those that only steered the transpiler or the job have no effect here.

    Raises:
        AquaError: an unknown backend or option, or one that would change results.
    """

    def __init__(
        self,
        backend: str | BaseSamplerV2 | BackendV2,
        shots: int = 1024,
        seed_simulator: int | None = None,
        **options: Any,
    ) -> None:
        self.backend, self.shots = backend, 1024
        self.set_config(shots=shots, seed_simulator=seed_simulator, **options)
        self._made: tuple[np.random.Generator, str | BaseSamplerV2] | None = None
        self._source = (
            EXACT if self.is_statevector else "aer" if backend == "qasm_simulator" else backend
        )
        as_sampler(self._source, np.random.default_rng())  # refuses an unknown backend now

    @property
    def backend_name(self) -> str:
        return self.backend.name if isinstance(self.backend, BackendV2) else str(self.backend)

    @property
    def is_statevector(self) -> bool:
        """Whether probabilities are exact."""
        return self.backend == EXACT or self.backend_name.startswith("statevector_simulator")

    def sampler(self, rng: np.random.Generator) -> str | BaseSamplerV2:
        """What it is to `qcaan.QGAN`: the same at each call, its shots drawn by `seed_simulator`, or else by `rng`."""
        rng = self._rng or rng
        if self._made is None or self._made[0] is not rng:
            sampler = as_sampler(self._source, rng)
            named = isinstance(sampler, str) and sampler != EXACT
            self._made = rng, make_sampler(sampler, rng) if named else sampler
        return self._made[1]

    def set_config(self, **config: Any) -> None:
        """Change `shots`, `seed_simulator` or the options, for QGANs that it was given to too.

        Raises:
            AquaError: an unknown option, or one that would change results.
        """
        if wrong := {name for name, value in config.items() if value is not None} - _OPTIONS:
            raise AquaError(f"{min(wrong)} is not supported; set it up in the backend itself")
        if config.get("shots") is not None:
            self.shots = whole("shots", config["shots"], 1)
        if "seed_simulator" in config:
            seed = config["seed_simulator"]
            self._rng = (
                None if seed is None else np.random.default_rng(whole("seed_simulator", seed, 0))
            )
