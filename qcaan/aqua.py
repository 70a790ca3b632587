"""The names of Qiskit Aqua's quantum GAN, thin over `qcaan.QGAN`: an Aqua script runs after changing its imports.

    from qcaan.aqua import QGAN, NumPyDiscriminator, QuantumInstance, aqua_globals

Signatures are those of Aqua 0.9.5. What is different on purpose is listed in the README's migration section.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from qiskit import QuantumCircuit
from qiskit.primitives import BaseSamplerV2
from qiskit.providers import BackendV2
from scipy.optimize import OptimizeResult, minimize
from torch import Tensor, nn

from qcaan.ansatz import Ansatz
from qcaan.born import EXACT
from qcaan.circuits import as_sampler
from qcaan.gans import distribution
from qcaan.gans.distribution_discriminator import Discriminator
from qcaan.gans.distribution_generator import Generator, MakeOptimizer, Minimizer, generator_circuit
from qcaan.grids import Floats, make_grid
from qcaan.networks import PointMLP
from qcaan.training import atomic_write

_SMALLEST = 1e-4  # label in a logarithm, as in Aqua
_RHOBEG = 0.02  # radians
# of QuantumInstance: what only steered the transpiler or the job
_WITHOUT_EFFECT = {
    "max_credits", "seed_transpiler", "optimization_level", "timeout", "wait", "skip_qobj_validation", "job_callback",
}  # fmt: skip
# the old simulators by name, since BasicAer, which had them, is gone from Qiskit
_SIMULATORS = {"statevector_simulator": EXACT, "qasm_simulator": "aer"}


class AquaError(ValueError):
    """What a user can get wrong, in one sentence."""


@contextmanager
def _as_aqua_error() -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise AquaError(str(error)) from None


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
        seed_simulator: of the first run; Aqua's drew the same shots at every run.
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
        if wrong := {name for name, value in options.items() if value is not None} - _WITHOUT_EFFECT:
            raise AquaError(f"{min(wrong)} is not supported; set it up in the backend itself")
        self.backend = backend
        self.set_config(shots=shots)
        self._seed = seed_simulator
        self.sampler  # noqa: B018  refuses an unknown backend now

    @property
    def backend_name(self) -> str:
        return self.backend.name if isinstance(self.backend, BackendV2) else str(self.backend)

    @property
    def is_statevector(self) -> bool:
        """Whether probabilities are exact."""
        return self.backend == EXACT or self.backend_name.startswith("statevector_simulator")

    @cached_property
    def sampler(self) -> str | BaseSamplerV2:
        """What it is to `qcaan.QGAN`."""
        if self.is_statevector:
            return EXACT
        backend = _SIMULATORS.get(self.backend, self.backend) if isinstance(self.backend, str) else self.backend
        rng = np.random.default_rng(self._seed)
        with _as_aqua_error():
            return as_sampler(backend, rng)

    def set_config(self, shots: int) -> None:
        if shots < 1:
            raise AquaError(f"shots must be at least 1, got {shots}")
        self.shots = shots


@dataclass
class ADAM:
    """Adam (Kingma and Ba, arXiv:1412.6980), one step for each batch; makes a torch optimiser, which keeps its moments.

    `eps` was the width of Aqua's finite differences, which are not taken here; `tol` would end a minimisation of many steps.
    """

    maxiter: int = 10_000
    tol: float = 1e-6
    lr: float = 1e-3
    beta_1: float = 0.9
    beta_2: float = 0.99
    noise_factor: float = 1e-8
    eps: float = 1e-10
    amsgrad: bool = False
    snapshot_dir: str | None = None

    def __call__(self, params: list[Tensor]) -> torch.optim.Optimizer:
        betas = (self.beta_1, self.beta_2)
        return torch.optim.Adam(params, self.lr, betas, eps=self.noise_factor, amsgrad=self.amsgrad)


@dataclass
class COBYLA:
    """Powell's COBYLA from SciPy, run for each batch against the discriminator of the moment.

    `rhobeg` counts first steps of 0.02 radians: by whole radians for each batch the two players never settle.
    """

    maxiter: int = 1000
    disp: bool = False
    rhobeg: float = 1.0
    tol: float | None = None

    def minimize(
        self, fun: Callable[[Floats], float], x0: Floats, jac: Callable[[Floats], Floats] | None = None
    ) -> OptimizeResult:
        evaluations = len(x0) + 2
        if self.maxiter < evaluations:
            warnings.warn(
                f"COBYLA needs {evaluations} evaluations to move {len(x0)} angles at all; taking them, not maxiter "
                f"{self.maxiter}",
                stacklevel=2,
            )
        options = {"maxiter": max(self.maxiter, evaluations), "disp": self.disp, "rhobeg": _RHOBEG * self.rhobeg}
        return minimize(fun, x0, method="COBYLA", tol=self.tol, options=options)


class DiscriminativeNetwork(ABC):
    """Base of discriminators; what a subclass's `train` and `get_label` do is what `QGAN` trains with."""

    params: Any = None

    @abstractmethod
    def set_seed(self, seed: int) -> None:
        """Set a random seed."""

    @abstractmethod
    def get_label(self, x: ArrayLike) -> Any:
        """Samples [m, k] to labels in (0, 1), 1 for real."""

    @abstractmethod
    def save_model(self, snapshot_dir: str) -> None:
        """Save the model in a folder."""

    @abstractmethod
    def loss(self, x: Any, y: Any, weights: Any = None) -> Any:
        """Loss of labels x where y is right."""

    @abstractmethod
    def train(
        self,
        data: Sequence[ArrayLike],
        weights: Sequence[ArrayLike],
        penalty: bool = False,
        quantum_instance: QuantumInstance | None = None,
        shots: int | None = None,
    ) -> dict[str, Any]:
        """One step on [real, generated] samples [m, k] with their weights [m]; gives `loss` and `params`."""

    def update(self, points: Tensor, real: Tensor, fake: Tensor) -> float:
        samples = points.numpy()
        result = self.train([samples, samples], [real.numpy(), fake.numpy()])
        self.params = result["params"]
        return float(np.squeeze(result["loss"]))

    def slope(self, points: Tensor) -> Tensor:
        labels = torch.as_tensor(self.get_label(points.numpy())).detach().double().flatten()
        return -labels.clamp_min(_SMALLEST).log()

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:  # noqa: B027  not abstract, so that Aqua's subclasses run
        """Nothing: a foreign discriminator's state is not known."""


class PyTorchDiscriminator(DiscriminativeNetwork):
    """A network of 512 and 256 hidden units.

    Args:
        n_features: dimensions of the data.
        n_out: 1.
    """

    _widths: tuple[int, ...] = (512, 256)

    def __init__(self, n_features: int = 1, n_out: int = 1) -> None:
        if n_features < 1 or n_out != 1:
            raise AquaError(f"n_features must be at least 1 and n_out must be 1, got {n_features} and {n_out}")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(aqua_globals.random.integers(2**31)))
            self._net = PointMLP(torch.tensor([[-1.0, 1.0]] * n_features), self._widths)
        self._player = Discriminator(self._net)

    @property
    def discriminator_net(self) -> nn.Module:
        """Samples [m, k] in data units to logits [m]; may be set to another such network."""
        return self._player.net

    @discriminator_net.setter
    def discriminator_net(self, net: nn.Module) -> None:
        self._player = Discriminator(net)

    def scale(self, bounds: Floats) -> None:
        """Take data between `bounds` [k, 2] to [-1, 1] first; `QGAN` does this."""
        if len(bounds) == len(self._net.centre):
            self._net.centre.copy_(torch.from_numpy(bounds.mean(1)))
            self._net.radius.copy_(torch.from_numpy(np.ptp(bounds, axis=1) / 2))

    def set_seed(self, seed: int) -> None:
        aqua_globals.random_seed = seed

    def get_label(self, x: ArrayLike, detach: bool = False) -> Any:
        """Labels [m, 1] in (0, 1) of samples [m, k], as a tensor, or detached as an array."""
        samples = x if isinstance(x, Tensor) else torch.tensor(np.asarray(x), dtype=torch.float32)
        labels = self._player.net(samples).reshape(-1, 1).sigmoid()
        return labels.detach().numpy() if detach else labels

    def loss(self, x: Any, y: Any, weights: Any = None) -> Any:
        """Binary cross-entropy of labels x where y is right: the mean, or the sum with weights."""
        labels, right = torch.as_tensor(x), torch.as_tensor(y)
        each = -(right * labels.clamp_min(_SMALLEST).log() + (1 - right) * (1 - labels).clamp_min(_SMALLEST).log())
        return each.mean() if weights is None else (each * torch.as_tensor(weights).reshape(each.shape)).sum()

    def train(
        self,
        data: Sequence[ArrayLike],
        weights: Sequence[ArrayLike],
        penalty: bool = False,
        quantum_instance: QuantumInstance | None = None,
        shots: int | None = None,
    ) -> dict[str, Any]:
        if penalty:
            raise AquaError("penalty is not supported; qcaan.QGAN(..., loss='wgan-gp') has one")
        real, fake = (torch.tensor(np.asarray(part), dtype=torch.float32) for part in data)
        points = torch.cat([part.reshape(len(part), -1) for part in (real, fake)])  # (m + m', k)
        of_real, of_fake = (torch.tensor(np.asarray(part), dtype=torch.float32).flatten() for part in weights)
        loss = self._player.update(
            points, torch.cat([of_real, torch.zeros(len(fake))]), torch.cat([torch.zeros(len(real)), of_fake])
        )
        return {"loss": loss, "params": self._player.params}

    def save_model(self, snapshot_dir: str) -> None:
        with atomic_write(Path(snapshot_dir) / "discriminator.pt") as temporary:
            torch.save(self.state_dict(), temporary)

    def load_model(self, load_dir: str) -> None:
        """Load what `save_model` left in a folder."""
        self.load_state_dict(torch.load(Path(load_dir) / "discriminator.pt", weights_only=True))

    def state_dict(self) -> dict[str, Any]:
        return self._player.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._player.load_state_dict(state)


class NumPyDiscriminator(PyTorchDiscriminator):
    """A network of 50 and 20 hidden units, as Aqua's had; it is run by torch all the same, and gives arrays."""

    _widths = (50, 20)

    def get_label(self, x: ArrayLike, detach: bool = False) -> NDArray[np.float32]:
        return super().get_label(x, detach=True)


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
        with _as_aqua_error():
            grid, rng = make_grid(bounds, num_qubits), aqua_globals.random
            nothing = np.zeros(len(grid.points))  # data, which the uniform initial state does not ask for
            circuit = _make_circuit(grid, generator_circuit, None, 1, nothing, rng)
            super().__init__(grid, circuit, init_params, optimizer, gradient_function, rng)
        if isinstance(optimizer, ADAM) and optimizer.maxiter != 1:
            warnings.warn(
                f"ADAM takes one step for each batch, not maxiter {optimizer.maxiter}; set it to 1", stacklevel=2
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
        with _as_aqua_error():
            device, draws = _unwrap(quantum_instance, shots)
            return super().get_output(device, params, draws)

    def loss(self, x: Any, weights: ArrayLike) -> float:
        """Non-saturating loss -Σ weights log x of labels x [m] or [m, 1] in (0, 1)."""
        labels = torch.as_tensor(x).detach().double().flatten().numpy()
        return float(-np.asarray(weights, np.float64) @ np.log(np.maximum(labels, _SMALLEST)))

    def train(self, quantum_instance: Any = None, shots: int | None = None) -> dict[str, Any]:
        """One step against `discriminator`; gives `loss` and `params` [P]."""
        if self.discriminator is None:
            raise AquaError("the generator has no discriminator to train against; set one")
        with _as_aqua_error():
            device, draws = _unwrap(EXACT if quantum_instance is None else quantum_instance, shots)
            sampler = as_sampler(device, self._rng)
            fake, learn = self.generate(self.machine(sampler, self._rng), 0 if sampler == EXACT else draws or 1024)
        slope = self.discriminator.slope(torch.from_numpy(self.grid.points).float())
        learn(slope)
        return {"loss": float(fake @ slope), "params": self.parameter_values}


class QGAN(distribution.QGAN):
    """`qcaan.QGAN` with Aqua's arguments, components and error; see there for what they mean.

    A `quantum_instance` that is not given is the exact engine.
    """

    def __init__(self, data: ArrayLike, *arguments: Any, **options: Any) -> None:
        with _as_aqua_error():
            super().__init__(data, *arguments, **options)

    @property
    def quantum_instance(self) -> Any:
        return self._instance

    @quantum_instance.setter
    def quantum_instance(self, instance: Any) -> None:
        if isinstance(instance, BackendV2):
            instance = QuantumInstance(instance)
        if isinstance(instance, QuantumInstance):
            self.shots = instance.shots
            self._sampler = instance.sampler
        else:
            with _as_aqua_error():
                self._sampler = as_sampler(instance, self.random)
        self._instance = instance

    @property
    def backend(self) -> Any:
        return self._instance.backend if isinstance(self._instance, QuantumInstance) else None

    @backend.setter
    def backend(self, backend: BackendV2) -> None:
        self.set_backend(backend)

    def set_backend(self, backend: Any, **config: Any) -> None:  # type: ignore[override]  # Aqua's signature
        """Go on with another backend; `config` as of `QuantumInstance`."""
        self.quantum_instance = QuantumInstance(backend, **config)

    def set_generator(  # type: ignore[override]  # without the options that Aqua did not have
        self,
        generator_circuit: QuantumCircuit | Ansatz | None = None,
        generator_init_params: ArrayLike | None = None,
        generator_optimizer: MakeOptimizer | Minimizer | None = None,
        generator_gradient: str | Callable[[Floats], ArrayLike] | None = None,
    ) -> None:
        grid = self.grid
        arguments = (generator_circuit, generator_init_params, generator_optimizer, generator_gradient)
        self._set_generator(QuantumGenerator(grid.bounds, grid.num_qubits, *arguments))

    def set_discriminator(self, discriminator: Any = None) -> None:
        with _as_aqua_error():
            discriminator = NumPyDiscriminator(len(self.grid.num_qubits)) if discriminator is None else discriminator
            if isinstance(discriminator, PyTorchDiscriminator):
                discriminator.scale(self.grid.bounds)
            super().set_discriminator(discriminator)

    @property
    def seed(self) -> int:
        return self._random_seed

    @seed.setter
    def seed(self, seed: int) -> None:
        aqua_globals.random_seed = seed
        distribution.QGAN.seed.fset(self, seed)  # type: ignore[attr-defined]

    def run(self, quantum_instance: Any = None, **config: Any) -> dict[str, Any]:  # type: ignore[override]
        """Train; `quantum_instance` may be a backend, with `config` as of `QuantumInstance`."""
        with _as_aqua_error():
            if isinstance(quantum_instance, BackendV2):
                self.set_backend(quantum_instance, **config)
            elif quantum_instance is not None:
                self.quantum_instance = quantum_instance
            return super().run()

    def load(self, snapshot_dir: str | Path | None = None) -> None:
        with _as_aqua_error():
            super().load(snapshot_dir)


_make_circuit = generator_circuit  # an argument has that name


def _unwrap(instance: Any, shots: int | None) -> tuple[Any, int | None]:
    if isinstance(instance, QuantumInstance):
        return instance.sampler, instance.shots if shots is None else shots
    return instance, shots
