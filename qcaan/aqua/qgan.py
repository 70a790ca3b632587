"""Aqua's QGAN."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from numpy.typing import ArrayLike
from qiskit import QuantumCircuit
from torch import nn

from qcaan.aqua.discriminators import (
    DiscriminativeNetwork,
    NumPyDiscriminator,
    PyTorchDiscriminator,
)
from qcaan.aqua.generators import Device, QuantumGenerator
from qcaan.aqua.instance import AquaError, QuantumInstance, aqua_globals
from qcaan.checks import Floats, whole
from qcaan.gans.distribution import qgan as modern
from qcaan.gans.distribution.circuit import CircuitLike
from qcaan.gans.distribution.discriminator import Adversary, MakeOptimizer
from qcaan.gans.distribution.generator import CircuitGenerator, GradientLike, Minimizer
from qcaan.gans.distribution.grid import Grid, as_samples, qubits_of_dimensions
from qcaan.samplers.names import EXACT


class QGAN:
    """Aqua's arguments, methods and components around a `qcaan.QGAN`, which does the work.

    The arguments have the meaning that they have there: `num_qubits` is `n_qubits`, `num_epochs` is
    `n_epochs`, `quantum_instance` is `sampler` with its `shots`. Without a `quantum_instance`
    probabilities are exact; a backend becomes a `QuantumInstance`.

    Raises:
        AquaError: an argument is out of range, or does not match the others.
    """

    def __init__(
        self,
        data: ArrayLike,
        bounds: ArrayLike | None = None,
        num_qubits: Sequence[int] | None = None,
        batch_size: int = 500,
        num_epochs: int = 3000,
        seed: int = 7,
        discriminator: nn.Module | Adversary | None = None,
        generator: CircuitLike | CircuitGenerator | None = None,
        tol_rel_ent: float | None = None,
        snapshot_dir: str | Path | None = None,
        quantum_instance: Device | None = None,
    ) -> None:
        samples = as_samples(data)
        if num_qubits is not None:
            num_qubits = qubits_of_dimensions("num_qubits", num_qubits, samples.shape[1])
        self._model = modern.QGAN(
            samples,
            bounds,
            num_qubits,
            batch_size=batch_size,
            n_epochs=whole("num_epochs", num_epochs),
            seed=seed,
            tol_rel_ent=tol_rel_ent,
            snapshot_dir=snapshot_dir,
        )
        # its own initial angles are not used, so their draws are taken back
        self._model.reseed(seed)
        self._instance = QuantumInstance(EXACT)
        with aqua_globals.lock:
            aqua_globals.random_seed = seed
            if isinstance(generator, CircuitGenerator):
                self._model.set_generator(generator)
                self._generator_options: dict[str, Any] | None = None
            else:
                self.set_generator(generator)
            self.set_discriminator(discriminator)
        if quantum_instance is not None:
            self.set_backend(quantum_instance)

    @property
    def model(self) -> modern.QGAN:
        """The `qcaan.QGAN` that does the work, on the instance as it is configured now."""
        self._model.use(self._instance.engine(self._model.random), self._instance.shots)
        return self._model

    # The instance

    @property
    def quantum_instance(self) -> QuantumInstance:
        """Backend with its shots. Set it to an instance, a backend, a sampler or its name."""
        return self._instance

    @quantum_instance.setter
    def quantum_instance(self, instance: Device) -> None:
        self.set_backend(instance)

    @property
    def backend(self) -> Any:
        """Backend of the instance."""
        return self._instance.backend

    @backend.setter
    def backend(self, backend: Device) -> None:
        self.set_backend(backend)

    @property
    def shots(self) -> int:
        """Number of shots of the instance, whose `set_config` changes it."""
        return self._instance.shots

    @shots.setter
    def shots(self, shots: int) -> None:
        self._instance.set_config(shots=shots)

    def set_backend(self, backend: Device, **config: Any) -> None:
        """Continue on another backend or instance.

        Args:
            backend: an instance, a backend, a sampler or its name.
            config: options of a backend, as of `QuantumInstance`.

        Raises:
            AquaError: as of `QuantumInstance`, or there is `config` beside an instance.
        """
        if isinstance(backend, QuantumInstance):
            if config:
                raise AquaError(
                    f"`{min(config)}` does not go with a QuantumInstance; use its set_config"
                )
            instance = backend
        else:
            instance = QuantumInstance(backend, **{"shots": self.shots, **config})
        self._model.use(instance.engine(self._model.random), instance.shots)
        self._instance = instance

    # The players

    @property
    def generator(self) -> CircuitGenerator:
        """Generator."""
        return self._model.generator

    @property
    def discriminator(self) -> Adversary:
        """Discriminator."""
        return self._model.discriminator

    def set_generator(
        self,
        generator_circuit: CircuitLike | None = None,
        generator_init_params: ArrayLike | None = None,
        generator_optimizer: MakeOptimizer | Minimizer | None = None,
        generator_gradient: GradientLike | None = None,
    ) -> None:
        """Start with a new `QuantumGenerator`; see there.

        Raises:
            AquaError: an argument is out of range, or does not match the grid or the instance.
        """
        options: dict[str, Any] = {
            "generator_circuit": generator_circuit,
            "generator_init_params": generator_init_params,
            "generator_optimizer": generator_optimizer,
            "generator_gradient": generator_gradient,
        }
        made = QuantumGenerator(self.grid.bounds, self.grid.n_qubits, *options.values())
        self.model.set_generator(made)
        self._generator_options = options

    def set_discriminator(self, discriminator: nn.Module | Adversary | None = None) -> None:
        """Start with a new discriminator, by default a `NumPyDiscriminator`.

        Raises:
            AquaError: it is not a discriminator, or does not take samples of the data's dimensions.
        """
        made = (
            NumPyDiscriminator(len(self.grid.n_qubits)) if discriminator is None else discriminator
        )
        if isinstance(made, PyTorchDiscriminator):
            made.scale(self.grid.bounds)
        self._model.set_discriminator(made)
        self._has_default_discriminator = discriminator is None
        if isinstance(made, DiscriminativeNetwork):
            made.set_seed(self.seed)

    @property
    def seed(self) -> int:
        """Seed of all draws, and of Aqua's global random state. Setting it starts anew."""
        return self._model.seed

    @seed.setter
    def seed(self, seed: int) -> None:
        self._model.seed = seed
        with aqua_globals.lock:
            aqua_globals.random_seed = seed
            if self._generator_options is not None:
                self.set_generator(**self._generator_options)
            self.set_discriminator(None if self._has_default_discriminator else self.discriminator)

    # Training, and what was learnt

    @property
    def num_epochs(self) -> int:
        """Number of passes over the samples in a run."""
        return self._model.n_epochs

    @num_epochs.setter
    def num_epochs(self, num_epochs: int) -> None:
        self._model.n_epochs = whole("num_epochs", num_epochs)

    @property
    def tol_rel_ent(self) -> float | None:
        """Relative entropy in nats at which a run ends early, or None."""
        return self._model.tol_rel_ent

    @tol_rel_ent.setter
    def tol_rel_ent(self, tolerance: float | None) -> None:
        self._model.tol_rel_ent = tolerance

    def run(
        self, quantum_instance: Device | None = None, progress: bool = False, **config: Any
    ) -> dict[str, Any]:
        """Train for `num_epochs` epochs; see `qcaan.QGAN.run`.

        Args:
            quantum_instance: instance or backend to use from now on; default the one in use.
            progress: whether to show a bar on the console.
            config: options of a backend, as of `set_backend`.

        Raises:
            AquaError: as of `set_backend`, or `config` needs a backend.
        """
        if quantum_instance is not None:
            self.set_backend(quantum_instance, **config)
        elif config:
            raise AquaError(f"`{min(config)}` needs a backend")
        return self.model.run(progress)

    def train(self, progress: bool = False) -> None:
        """Train for `num_epochs` epochs."""
        self.run(progress=progress)

    def load(self, snapshot_dir: str | Path | None = None) -> None:
        """Load the last epoch of a snapshot folder; see `qcaan.QGAN.load`."""
        self._model.load(snapshot_dir)

    def get_rel_entr(self) -> float:
        """Measure KL(model || data) in nats."""
        return self.model.relative_entropy()

    def circuit(self) -> QuantumCircuit:
        """Return the trained circuit, without measurements."""
        return self._model.circuit()

    def pdf(self) -> Floats:
        """Return the exact probability of each grid point, float64 [2**n]."""
        return self._model.pdf()

    @property
    def d_loss(self) -> list[float]:
        """Loss of the discriminator in each epoch."""
        return self._model.d_loss

    @property
    def g_loss(self) -> list[float]:
        """Loss of the generator in each epoch."""
        return self._model.g_loss

    @property
    def rel_entr(self) -> list[float]:
        """Relative entropy at the end of each epoch."""
        return self._model.rel_entr

    @property
    def grid(self) -> Grid:
        """Grid of the points."""
        return self._model.grid

    @property
    def data_probs(self) -> Floats:
        """Share [2**n] of the samples at each point of the grid."""
        return self._model.data_probs
