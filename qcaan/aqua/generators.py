"""Aqua's generator, and the base class of its kind."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import ArrayLike
from qiskit import QuantumCircuit
from qiskit.primitives import BaseSamplerV2
from qiskit.providers import BackendV2

from qcaan.aqua.discriminators import SMALLEST, DiscriminativeNetwork
from qcaan.aqua.instance import AquaError, QuantumInstance, aqua_globals
from qcaan.aqua.optimizers import ADAM
from qcaan.checks import whole
from qcaan.circuits.ansatz import Ansatz
from qcaan.gans.distribution.circuit import CircuitLike, build_circuit
from qcaan.gans.distribution.discriminator import MakeOptimizer
from qcaan.gans.distribution.generator import CircuitGenerator, GradientLike, Minimizer
from qcaan.gans.distribution.grid import make_grid
from qcaan.samplers.names import EXACT, Engine, open_engine
from qcaan.samplers.simulators import DEFAULT_SHOTS

Device: TypeAlias = QuantumInstance | str | BaseSamplerV2 | BackendV2


class GenerativeNetwork(ABC):
    """Base of generators."""

    @property
    @abstractmethod
    def parameter_values(self) -> Any:
        """Parameters."""

    @abstractmethod
    def set_seed(self, seed: int) -> None:
        """Set the random seed."""

    @abstractmethod
    def set_discriminator(self, discriminator: DiscriminativeNetwork) -> None:
        """Set the discriminator to train against."""

    @abstractmethod
    def get_output(self, quantum_instance: Any, params: Any = None, shots: Any = None) -> Any:
        """Return generated samples and their frequencies."""

    @abstractmethod
    def loss(self, x: Any, weights: Any) -> Any:
        """Return the loss of samples with labels x."""

    @abstractmethod
    def train(self, quantum_instance: Any = None, shots: Any = None) -> dict[str, Any]:
        """Take one training step, and return `loss` and `params`."""


class QuantumGenerator(CircuitGenerator, GenerativeNetwork):
    """A parametrised circuit as generator.

    Args:
        bounds: [min, max], or one such pair for each dimension.
        num_qubits: number of qubits of each dimension.
        generator_circuit: circuit; default H on all qubits, then RY, CZ on a ring, RY.
        init_params: initial angles [P]; default drawn from `aqua_globals.random`.
        optimizer: `ADAM`, `COBYLA`, or another optimiser, as of `qcaan.QGAN.set_generator`.
        gradient_function: `parameter-shift`, `spsa`, or a function from the angles to the gradient
            of the loss.
        snapshot_dir: unused; the snapshots of `QGAN` hold the angles and the optimiser's state.
    """

    def __init__(
        self,
        bounds: ArrayLike,
        num_qubits: Sequence[int],
        generator_circuit: CircuitLike | None = None,
        init_params: ArrayLike | None = None,
        optimizer: MakeOptimizer | Minimizer | None = None,
        gradient_function: GradientLike | None = None,
        snapshot_dir: str | None = None,
    ) -> None:
        grid = make_grid(bounds, num_qubits)
        rng = aqua_globals.random
        super().__init__(
            grid,
            build_circuit(grid, generator_circuit, rng=rng),
            init_params=init_params,
            optimizer=optimizer,
            gradient=gradient_function,
            rng=rng,
        )
        if isinstance(optimizer, ADAM) and optimizer.maxiter != 1:
            warnings.warn(
                f"ADAM takes one step for each batch, not maxiter {optimizer.maxiter}; set it to 1",
                stacklevel=2,
            )
        self.discriminator: DiscriminativeNetwork | None = None

    @property
    def generator_circuit(self) -> QuantumCircuit:
        """Circuit with its parameters."""
        return self.ansatz.to_circuit() if isinstance(self.ansatz, Ansatz) else self.ansatz

    @property
    def seed(self) -> int | None:
        """Seed of Aqua's global random state."""
        return aqua_globals.random_seed

    @seed.setter
    def seed(self, seed: int) -> None:
        aqua_globals.random_seed = seed

    def set_seed(self, seed: int) -> None:
        """Set the seed of Aqua's global random state."""
        self.seed = seed

    def set_discriminator(self, discriminator: DiscriminativeNetwork) -> None:
        """Set the discriminator to train against."""
        self.discriminator = discriminator

    def construct_circuit(self, params: ArrayLike | None = None) -> QuantumCircuit:
        """Return the circuit at `params` [P], or with its parameters."""
        return self.generator_circuit if params is None else self.circuit(params)

    def get_output(
        self, quantum_instance: Device, params: ArrayLike | None = None, shots: int | None = None
    ) -> tuple[list[list[float]], list[float]]:
        """Measure points of the grid, as lists of their k coordinates, and their frequencies.

        Points that were not measured are left out; an exact instance gives all points.

        Args:
            quantum_instance: an instance, a backend, a sampler, or its name.
            params: angles [P] to measure at instead of the trained ones.
            shots: number of shots; default those of the instance, or 1,024.
        """
        engine, draws = self._open(quantum_instance, shots)
        probs = self.measure(self.machine(engine, self.rng), draws, params)
        seen = np.arange(len(probs)) if draws == 0 else probs.nonzero()[0]
        return self.grid.points[seen].tolist(), probs[seen].tolist()

    def loss(self, x: Any, weights: ArrayLike) -> float:
        """Return the non-saturating loss -Σ weights log x of labels x [m] or [m, 1] in (0, 1)."""
        labels = torch.as_tensor(x).detach().double().flatten().numpy()
        return float(-np.asarray(weights, np.float64) @ np.log(np.maximum(labels, SMALLEST)))

    def train(
        self, quantum_instance: Device | None = None, shots: int | None = None
    ) -> dict[str, Any]:
        """Take one step against `discriminator`, and return `loss` and `params` [P].

        Raises:
            AquaError: there is no discriminator.
        """
        if self.discriminator is None:
            raise AquaError("the generator has no discriminator to train against; set one")
        engine, draws = self._open(EXACT if quantum_instance is None else quantum_instance, shots)
        fake, learn = self.generate(self.machine(engine, self.rng), draws)
        slope = self.discriminator.slope(torch.from_numpy(self.grid.points))
        learn(slope)
        return {"loss": float(fake @ slope), "params": self.parameter_values}

    def _open(self, given: Device, shots: int | None) -> tuple[Engine, int]:
        """Return the engine of an instance or a backend, and its number of shots, 0 if exact."""
        if isinstance(given, QuantumInstance):
            engine, shots = given.engine(self.rng), given.shots if shots is None else shots
        else:
            engine = open_engine(given, self.rng)
        return engine, 0 if engine.is_exact else whole(
            "shots", DEFAULT_SHOTS if shots is None else shots, 0
        )
