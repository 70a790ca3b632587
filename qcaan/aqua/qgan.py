"""Aqua's QGAN."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numpy.typing import ArrayLike
from qiskit import QuantumCircuit
from qiskit.primitives import BaseSamplerV2

from qcaan.aqua.discriminators import (
    DiscriminativeNetwork,
    NumPyDiscriminator,
    PyTorchDiscriminator,
)
from qcaan.aqua.generators import QuantumGenerator
from qcaan.aqua.instance import AquaError, QuantumInstance, aqua_globals
from qcaan.circuits.ansatz import Ansatz
from qcaan.gans.distribution import qgan as distribution
from qcaan.gans.distribution.generator import MakeOptimizer, Minimizer
from qcaan.gans.distribution.grid import Floats


class QGAN(distribution.QGAN):
    """`qcaan.QGAN` with Aqua's arguments and components; see there for what they mean.

    A `quantum_instance` that is not given is the exact engine; one that is no `QuantumInstance` is made one.
    """

    @property
    def quantum_instance(self) -> QuantumInstance:
        return self._device

    @quantum_instance.setter
    def quantum_instance(self, instance: QuantumInstance | distribution.Device) -> None:
        self.set_backend(instance)

    @property
    def backend(self) -> Any:
        return self._device.backend

    @backend.setter
    def backend(self, backend: distribution.Device) -> None:
        self.set_backend(backend)

    @property
    def shots(self) -> int:
        """Those of the instance, whose `set_config` changes them."""
        return self._device.shots

    @shots.setter
    def shots(self, shots: int) -> None:
        self._device.set_config(shots=shots)

    @property
    def _sampler(self) -> str | BaseSamplerV2:  # type: ignore[override]
        return self._device.sampler(self.random)

    def _attach(self, device: Any, shots: int) -> None:
        self._device: QuantumInstance = (
            device if isinstance(device, QuantumInstance) else QuantumInstance(device, shots)
        )

    def set_backend(self, backend: Any, **config: Any) -> None:  # type: ignore[override]  # Aqua's signature
        """Go on with another backend, or an instance; `config` of a backend as of `QuantumInstance`.

        Raises:
            AquaError: as of `QuantumInstance`, or `config` beside an instance.
        """
        if isinstance(backend, QuantumInstance) and config:
            raise AquaError(f"{min(config)} does not go with a QuantumInstance; use its set_config")
        if config:
            backend = QuantumInstance(backend, **{"shots": self.shots, **config})
        super().set_backend(backend)

    def set_generator(  # type: ignore[override]  # without the options that Aqua did not have
        self,
        generator_circuit: QuantumCircuit | Ansatz | None = None,
        generator_init_params: ArrayLike | None = None,
        generator_optimizer: MakeOptimizer | Minimizer | None = None,
        generator_gradient: str | Callable[[Floats], ArrayLike] | None = None,
    ) -> None:
        options: dict[str, Any] = {
            "generator_circuit": generator_circuit,
            "generator_init_params": generator_init_params,
            "generator_optimizer": generator_optimizer,
            "generator_gradient": generator_gradient,
        }
        generator = QuantumGenerator(self.grid.bounds, self.grid.num_qubits, *options.values())
        self._set_generator(generator, options)

    def set_discriminator(self, discriminator: Any = None) -> None:
        given = discriminator is not None
        if discriminator is None:
            discriminator = NumPyDiscriminator(len(self.grid.num_qubits))
        if isinstance(discriminator, PyTorchDiscriminator):
            discriminator.scale(self.grid.bounds)
        super().set_discriminator(discriminator)
        if not given:
            self._given_discriminator = None
        if isinstance(discriminator, DiscriminativeNetwork):
            discriminator.set_seed(self._random_seed)

    def run(
        self, quantum_instance: Any = None, progress: bool = False, **config: Any
    ) -> dict[str, Any]:
        """Train, on `quantum_instance` from now on, if it is given; see `set_backend` for it and `config`."""
        if quantum_instance is not None:
            self.set_backend(quantum_instance, **config)
        elif config:
            raise AquaError(f"{min(config)} must come with the backend that it is of")
        return super().run(progress=progress)

    def _restart(self) -> None:
        aqua_globals.random_seed = self._random_seed
        super()._restart()
