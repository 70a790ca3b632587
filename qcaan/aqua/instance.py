"""Parts that Aqua's components share: its error, its random state, and a backend with shots."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
from qiskit.primitives import BaseSamplerV2
from qiskit.providers import BackendV2

from qcaan.checks import whole
from qcaan.samplers.names import EXACT, Engine, SamplerFactory, open_engine
from qcaan.samplers.simulators import DEFAULT_SHOTS

# so that `except AquaError` catches whatever a user can get wrong
AquaError = ValueError
# options of QuantumInstance. All after the first two only steered the transpiler, the job, or a
# mitigation that is not asked for
_OPTIONS = {
    "shots", "seed_simulator", "max_credits", "seed_transpiler", "optimization_level", "timeout",
    "wait", "skip_qobj_validation", "job_callback", "cals_matrix_refresh_period",
}  # fmt: skip


class _AquaGlobals:
    """Aqua's global random state: initial angles and weights are drawn from it.

    Attributes:
        random: NumPy's random generator.
        lock: lock that a `QGAN` holds while it seeds the state and draws its players from it.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.random_seed = None

    @property
    def random_seed(self) -> int | None:
        """Seed of the random state, or None. Setting it starts the state anew."""
        return self._seed

    @random_seed.setter
    def random_seed(self, seed: int | None) -> None:
        self._seed = seed
        self.random = np.random.default_rng(seed)


aqua_globals = _AquaGlobals()


class QuantumInstance:
    """A backend with its number of shots.

    Args:
        backend: a Qiskit backend, a `BaseSamplerV2`, or a name of `qcaan.make_sampler`; also
            `statevector_simulator`, which gives exact probabilities as Aer's backend of that name
            does here, and `qasm_simulator`.
        shots: number of shots of each circuit, in training too, for which Aqua took the size of
            the batch.
        seed_simulator: seed of the first run; Aqua's drew the same shots at every run. Default:
            the random state of the QGAN.
        options: other options of Aqua's. Those that only steered the transpiler or the job have no
            effect here.

    Raises:
        AquaError: the backend or an option is unknown, or an option would change results.
    """

    def __init__(
        self,
        backend: str | BaseSamplerV2 | BackendV2,
        shots: int = DEFAULT_SHOTS,
        seed_simulator: int | None = None,
        **options: Any,
    ) -> None:
        self.backend, self.shots = backend, DEFAULT_SHOTS
        self.set_config(shots=shots, seed_simulator=seed_simulator, **options)
        self._made: tuple[np.random.Generator, Engine] | None = None
        self._source = (
            EXACT if self.is_statevector else "aer" if backend == "qasm_simulator" else backend
        )
        self._samplers = SamplerFactory()
        # refuses an unknown backend now
        open_engine(self._source, np.random.default_rng(), self._samplers)

    @property
    def backend_name(self) -> str:
        """Name of the backend."""
        return self.backend.name if isinstance(self.backend, BackendV2) else str(self.backend)

    @property
    def is_statevector(self) -> bool:
        """Whether probabilities are exact."""
        return self.backend == EXACT or self.backend_name.startswith("statevector_simulator")

    def engine(self, rng: np.random.Generator) -> Engine:
        """Return the engine for `qcaan.QGAN`, the same at each call.

        Its shots are drawn by `seed_simulator`, or else by `rng`.
        """
        rng = self._rng or rng
        if self._made is None or self._made[0] is not rng:
            self._made = rng, open_engine(self._source, rng, self._samplers)
        return self._made[1]

    def set_config(self, **config: Any) -> None:
        """Change `shots`, `seed_simulator` or the options, also for QGANs that use the instance.

        Raises:
            AquaError: an option is unknown, or would change results.
        """
        if wrong := {name for name, value in config.items() if value is not None} - _OPTIONS:
            raise AquaError(f"`{min(wrong)}` is not supported; set it up in the backend itself")
        if config.get("shots") is not None:
            self.shots = whole("shots", config["shots"], 1)
        if "seed_simulator" in config:
            seed = config["seed_simulator"]
            self._rng = (
                None if seed is None else np.random.default_rng(whole("seed_simulator", seed, 0))
            )
