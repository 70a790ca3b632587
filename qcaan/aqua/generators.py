"""Aqua's generator, and the base class of its kind."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from qiskit import QuantumCircuit

from qcaan.aqua.discriminators import SMALLEST, DiscriminativeNetwork
from qcaan.aqua.instance import AquaError, QuantumInstance, aqua_globals
from qcaan.aqua.optimizers import ADAM
from qcaan.circuits.ansatz import Ansatz
from qcaan.circuits.born import EXACT
from qcaan.circuits.qiskit_circuits import as_sampler
from qcaan.gans.distribution.generator import Generator, MakeOptimizer, Minimizer, build_circuit
from qcaan.gans.distribution.grid import Floats, make_grid


class GenerativeNetwork(ABC):
    """Base of generators."""

    @property
    @abstractmethod
    def parameter_values(self) -> Any:
        """Its parameters."""

    @abstractmethod
    def set_seed(self, seed: int) -> None:
        """Set a random seed."""

    @abstractmethod
    def set_discriminator(self, discriminator: DiscriminativeNetwork) -> None:
        """Set the discriminator to train against."""

    @abstractmethod
    def get_output(self, quantum_instance: Any, params: Any = None, shots: Any = None) -> Any:
        """Generated samples and their frequencies."""

    @abstractmethod
    def loss(self, x: Any, weights: Any) -> Any:
        """Loss of samples with labels x."""

    @abstractmethod
    def train(self, quantum_instance: Any = None, shots: Any = None) -> dict[str, Any]:
        """One training step; gives `loss` and `params`."""


class QuantumGenerator(Generator, GenerativeNetwork):
    """A parametrised circuit as generator.

    Args:
        bounds: [min, max], or one such pair for each dimension.
        num_qubits: qubits of each dimension.
        generator_circuit: default H on all qubits, then RY, CZ on a ring, RY.
        init_params: initial angles; default drawn from `aqua_globals.random`.
        optimizer: `ADAM`, `COBYLA`, or what `qcaan.QGAN.set_generator` takes.
        gradient_function: a function of the angles that gives the gradient of the loss, `parameter-shift` or `spsa`.
        snapshot_dir: has no effect; `QGAN`'s leaves the angles and the optimiser's state.
    """

    def __init__(
        self,
        bounds: ArrayLike,
        num_qubits: Sequence[int],
        generator_circuit: QuantumCircuit | Ansatz | None = None,
        init_params: ArrayLike | None = None,
        optimizer: MakeOptimizer | Minimizer | None = None,
        gradient_function: str | Callable[[Floats], ArrayLike] | None = None,
        snapshot_dir: str | None = None,
    ) -> None:
        grid, rng = make_grid(bounds, num_qubits), aqua_globals.random
        nothing = np.zeros(
            len(grid.points)
        )  # data, which the uniform initial state does not ask for
        circuit = build_circuit(grid, generator_circuit, None, 1, nothing, rng)
        super().__init__(grid, circuit, init_params, optimizer, gradient_function, rng)
        if isinstance(optimizer, ADAM) and optimizer.maxiter != 1:
            warnings.warn(
                f"ADAM takes one step for each batch, not maxiter {optimizer.maxiter}; set it to 1",
                stacklevel=2,
            )
        self.discriminator: DiscriminativeNetwork | None = None

    @property
    def generator_circuit(self) -> QuantumCircuit:
        """The circuit with its parameters."""
        return self.ansatz.to_circuit() if isinstance(self.ansatz, Ansatz) else self.ansatz

    @property
    def seed(self) -> int | None:
        return aqua_globals.random_seed

    @seed.setter
    def seed(self, seed: int) -> None:
        aqua_globals.random_seed = seed

    def set_seed(self, seed: int) -> None:
        self.seed = seed

    def set_discriminator(self, discriminator: DiscriminativeNetwork) -> None:
        self.discriminator = discriminator

    def construct_circuit(self, params: ArrayLike | None = None) -> QuantumCircuit:
        """The circuit at `params` [P], or with its parameters."""
        return self.generator_circuit if params is None else self.circuit(params)

    def get_output(
        self, quantum_instance: Any, params: ArrayLike | None = None, shots: int | None = None
    ) -> tuple[list[list[float]], list[float]]:
        """Generated points as lists of k coordinates, and their frequencies; all points where probabilities are exact."""
        device, draws = self._unwrap(quantum_instance, shots)
        return super().get_output(device, params, draws)

    def loss(self, x: Any, weights: ArrayLike) -> float:
        """Non-saturating loss -Σ weights log x of labels x [m] or [m, 1] in (0, 1)."""
        labels = torch.as_tensor(x).detach().double().flatten().numpy()
        return float(-np.asarray(weights, np.float64) @ np.log(np.maximum(labels, SMALLEST)))

    def train(self, quantum_instance: Any = None, shots: int | None = None) -> dict[str, Any]:
        """One step against `discriminator`; gives `loss` and `params` [P]."""
        if self.discriminator is None:
            raise AquaError("the generator has no discriminator to train against; set one")
        device, draws = self._unwrap(EXACT if quantum_instance is None else quantum_instance, shots)
        sampler = as_sampler(device, self.rng)
        fake, learn = self.generate(
            self.machine(sampler, self.rng), 0 if sampler == EXACT else draws or 1024
        )
        slope = self.discriminator.slope(torch.from_numpy(self.grid.points).float())
        learn(slope)
        return {"loss": float(fake @ slope), "params": self.parameter_values}

    def _unwrap(self, instance: Any, shots: int | None) -> tuple[Any, int | None]:
        if isinstance(instance, QuantumInstance):
            return instance.sampler(self.rng), instance.shots if shots is None else shots
        return instance, shots
