"""The quantum GAN that learns a probability distribution from samples and loads it into a quantum state.

Zoufal, Lucchi and Woerner, "Quantum generative adversarial networks for learning and loading random distributions", npj
Quantum Information 5, 103 (2019), arXiv:1904.00043, as Qiskit Aqua had it. Aqua's own names are in `qcaan.aqua`.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import ArrayLike
from qiskit import QuantumCircuit
from qiskit.primitives import BaseSamplerV2
from qiskit.providers import BackendV2
from rich.progress import track
from scipy.stats import ks_2samp
from torch import nn

from qcaan.checks import whole
from qcaan.circuits.ansatz import Ansatz
from qcaan.circuits.born import EXACT
from qcaan.circuits.qiskit_circuits import as_sampler, distribution
from qcaan.gans.distribution.discriminator import (
    LOSSES,
    Adversary,
    Discriminator,
    default_discriminator,
)
from qcaan.gans.distribution.generator import (
    Generator,
    Machine,
    MakeOptimizer,
    Minimizer,
    build_circuit,
)
from qcaan.gans.distribution.grid import Floats, fit_grid, read_data
from qcaan.gans.distribution.snapshots import EpochRecord, Snapshots, read_snapshot
from qcaan.training import TrainingCollapsed

Device: TypeAlias = str | BaseSamplerV2 | BackendV2
KS_ACCEPTS = 0.05  # least p-value with which a test accepts at 95 %


class QGAN:
    """A circuit that learns, against a classical discriminator, the distribution of samples on a grid.

    Samples outside the inclusive bounds are dropped; each other goes to the nearest of the 2**m values between them, m
    qubits to a dimension. The points' order is that of `qcaan.gans.distribution.grid`: dimension 0 first.

    `run` trains `num_epochs` epochs and, called again, as many more from where it stands: angles, networks, optimisers and
    histories go on. Setting `seed` starts anew.

    Args:
        data: samples [N] or [N, k]; never changed.
        bounds: [min, max], or a pair for each dimension; default the 5th and 95th percentiles.
        num_qubits: qubits of each dimension; default 3.
        batch_size: samples in a batch, each of which is a step of both players. What is left of an epoch's shuffled
            samples after the last whole batch is left out of it.
        num_epochs: passes over the samples in a run.
        seed: of everything; at least 0 and below 2**63.
        discriminator: a network from samples [m, k] to logits [m], a `Discriminator`, or None; see `set_discriminator`.
        generator: a circuit, a `Generator`, or None; see `set_generator`.
        tol_rel_ent: a run ends early when the relative entropy is at most this.
        snapshot_dir: folder that each epoch leaves a row of output.csv and a checkpoint in; see `load`. Those of an earlier
            training are overwritten unless they were loaded.
        quantum_instance: Aqua's name of `sampler`.
        sampler: `exact` (our engine, the default), a name of `qcaan.samplers.names.SAMPLERS`, a `BaseSamplerV2`, or a Qiskit
            backend.
        shots: of every circuit on a sampler; 0 for exact probabilities on one that has a name.
        loss: `bce` or `wgan-gp`, of the default discriminator or of a network.

    Attributes:
        d_loss, g_loss, rel_entr: a number for each epoch.
        grid, data_probs: the grid, and the share [2**n] of the samples at each of its points.
        random: NumPy's random generator of batches, angles and shots.

    Raises:
        ValueError: any of these out of range or not matching the others, in one sentence.
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
        generator: Ansatz | QuantumCircuit | Generator | None = None,
        tol_rel_ent: float | None = None,
        snapshot_dir: str | Path | None = None,
        quantum_instance: Device | None = None,
        *,
        sampler: Device | None = None,
        shots: int = 1024,
        loss: str = "bce",
    ) -> None:
        samples = read_data(data)
        self.grid = fit_grid(samples, bounds, num_qubits)
        inside = samples[self.grid.contains(samples)]
        if not len(inside):
            raise ValueError(
                f"none of the {len(samples)} samples lies within the bounds {self.grid.bounds.tolist()}"
            )
        self.batch_size = whole("batch_size", batch_size, 1)
        if batch_size > len(inside):
            raise ValueError(
                f"batch_size must be from 1 to the {len(inside)} samples within the bounds, got {batch_size}"
            )
        self.num_epochs = whole("num_epochs", num_epochs, 1)
        if loss not in LOSSES:
            raise ValueError(f"unknown loss {loss!r}; choose from {', '.join(LOSSES)}")
        if quantum_instance is not None and sampler is not None:
            raise ValueError("sampler is the new name of quantum_instance; give one of them")
        self.tol_rel_ent = tol_rel_ent
        self.loss = loss
        self._snapshots = None if snapshot_dir is None else Snapshots(snapshot_dir)
        self._index = torch.from_numpy(
            self.grid.index(inside)
        )  # (N',) places of the samples in the grid
        self.data_probs = np.bincount(self._index, minlength=len(self.grid.points)) / len(
            self._index
        )
        self._points = torch.from_numpy(self.grid.points).float()  # (2**n, k)
        self._random_seed = whole("seed", seed, 0, 2**63)
        self._restart()
        self._attach(EXACT, shots)
        if isinstance(generator, Generator):
            self._set_generator(generator)
        else:
            self.set_generator(generator)
        self.set_discriminator(discriminator)
        device = sampler if sampler is not None else quantum_instance
        if device is not None:
            self.quantum_instance = device

    # What it is made of

    @property
    def seed(self) -> int:
        """Setting it starts anew: the history is dropped, and what was not given by the user is drawn again."""
        return self._random_seed

    @seed.setter
    def seed(self, seed: int) -> None:
        self._random_seed = whole("seed", seed, 0, 2**63)
        self._restart()
        self.quantum_instance = self.quantum_instance  # its shots are seeded by `random`
        if self._generator_options is not None:
            self.set_generator(**self._generator_options)
        else:
            self.generator.load_state_dict(self._given_generator)
            self._set_generator(self.generator)
        if self._given_discriminator is None:
            self.set_discriminator()
        else:
            self.discriminator.load_state_dict(copy.deepcopy(self._given_discriminator))
            self.set_discriminator(self.discriminator)

    @property
    def tol_rel_ent(self) -> float | None:
        """Relative entropy at which a run ends early, or None."""
        return self._tol_rel_ent

    @tol_rel_ent.setter
    def tol_rel_ent(self, tolerance: float | None) -> None:
        if tolerance is not None and not tolerance >= 0:
            raise ValueError(f"tol_rel_ent must be at least 0 or None, got {tolerance}")
        self._tol_rel_ent = tolerance

    @property
    def quantum_instance(self) -> Device:
        """The sampler, its name, or the backend, as it was given."""
        return self._device

    @quantum_instance.setter
    def quantum_instance(self, device: Device) -> None:
        self.set_backend(device)

    @property
    def backend(self) -> BackendV2 | None:
        """The backend, where one was given."""
        return self._device if isinstance(self._device, BackendV2) else None

    @backend.setter
    def backend(self, backend: BackendV2) -> None:
        self.set_backend(backend)

    def set_backend(self, backend: Device, shots: int | None = None) -> None:
        """Go on with another backend or sampler, and with so many shots.

        Raises:
            ValueError: an unknown one, or one that cannot be had or that the generator cannot be trained on.
        """
        before = self._device, self.shots
        self._attach(backend, self.shots if shots is None else shots)
        try:
            self._check(self.generator)
        except Exception:
            self._attach(*before)
            raise

    def _attach(self, device: Device, shots: int) -> None:
        self.shots, self._sampler = whole("shots", shots, 0), as_sampler(device, self.random)
        self._device = device

    def _check(self, generator: Generator) -> None:
        """Raise now what would else be raised in the first step of training."""
        generator.check(generator.machine(self._sampler, self.random), self._draws)

    def set_generator(
        self,
        generator_circuit: Ansatz | QuantumCircuit | None = None,
        generator_init_params: ArrayLike | None = None,
        generator_optimizer: MakeOptimizer | Minimizer | None = None,
        generator_gradient: str | Callable[[Floats], ArrayLike] | None = None,
        *,
        initial_state: str | None = None,
        reps: int = 1,
    ) -> None:
        """Start with a new generator; arguments as of `Generator` and `build_circuit` in `distribution_generator`.

        The default circuit is H on all qubits, RY, CZ on a ring, RY. Whether a distribution is out of its reach is told by
        a relative entropy that levels off while the discriminator's loss stays below ln 2: take more `reps`, each of which
        adds CZ and RY. (The paper's bimodal case cannot get below 0.22 with one and below 0.001 with three.)

        Raises:
            ValueError: any of them out of range or not matching the grid.
        """
        options = {
            "generator_circuit": generator_circuit,
            "generator_init_params": generator_init_params,
            "generator_optimizer": generator_optimizer,
            "generator_gradient": generator_gradient,
            "initial_state": initial_state,
            "reps": reps,
        }
        circuit = build_circuit(
            self.grid, generator_circuit, initial_state, reps, self.data_probs, self.random
        )
        arguments = (generator_init_params, generator_optimizer, generator_gradient)
        self._set_generator(Generator(self.grid, circuit, *arguments, rng=self.random), options)

    def _set_generator(self, generator: Generator, options: dict[str, Any] | None = None) -> None:
        """Take over a generator: one that was given, or one that `set_generator` makes again with its options."""
        here, there = self.grid, generator.grid
        if there.num_qubits != here.num_qubits:
            raise ValueError(
                f"the generator must have {list(here.num_qubits)} qubits, got {list(there.num_qubits)}"
            )
        if not np.array_equal(there.bounds, here.bounds):
            raise ValueError(
                f"the generator must have bounds {here.bounds.tolist()}, got {there.bounds.tolist()}"
            )
        self._check(generator)
        generator.rng = self.random
        self.generator, self._generator_options = generator, options
        self._given_generator = copy.deepcopy(generator.state_dict())

    def set_discriminator(self, discriminator: nn.Module | Adversary | None = None) -> None:
        """Start with a new discriminator: a network from samples [m, k] to logits, a `Discriminator`, or the default.

        Raises:
            ValueError: something else.
        """
        if discriminator is None:
            self.discriminator: Adversary = default_discriminator(
                self.grid, self.loss, self._random_seed
            )
            self._given_discriminator: dict[str, Any] | None = None
            return
        if isinstance(discriminator, nn.Module):
            discriminator = Discriminator(discriminator, self.loss, seed=self._random_seed)
        if not isinstance(discriminator, Adversary):
            raise ValueError(
                f"discriminator must be a torch module or a Discriminator, got {type(discriminator).__name__}"
            )
        try:
            judged = discriminator.slope(self._points).shape == (len(self._points),)
        except (RuntimeError, ValueError):  # torch's and our networks', of shapes that do not match
            judged = False
        if not judged:
            raise ValueError(
                f"the discriminator must take float32 samples [m, {self._points.shape[1]}] to logits [m]"
            )
        self.discriminator = discriminator
        self._given_discriminator = copy.deepcopy(discriminator.state_dict())

    def _restart(self) -> None:
        self.random = np.random.default_rng(self._random_seed)
        self.d_loss: list[float] = []
        self.g_loss: list[float] = []
        self.rel_entr: list[float] = []

    # Training

    def run(self, quantum_instance: Device | None = None, progress: bool = False) -> dict[str, Any]:
        """Train, and give the trained parameters with the losses and the relative entropy of the last epoch.

        Args:
            quantum_instance: sampler, name or backend to go on with; default the one there is.
            progress: whether to show a bar on the console.

        Returns:
            `params_d`, `params_g` [P], `loss_d`, `loss_g`, `rel_entr`.
        """
        if quantum_instance is not None:
            self.set_backend(quantum_instance)
        self.train(progress)
        return {
            "params_d": self.discriminator.params,
            "params_g": self.generator.parameter_values,
            "loss_d": self.d_loss[-1],
            "loss_g": self.g_loss[-1],
            "rel_entr": self.rel_entr[-1],
        }

    def train(self, progress: bool = False) -> None:
        """Train `num_epochs` epochs, or until the relative entropy is at most `tol_rel_ent`."""
        whole("num_epochs", self.num_epochs, 1)
        for _ in track(self.epochs(), "training", self.num_epochs, disable=not progress):
            pass

    def epochs(self, n: int | None = None) -> Iterator[EpochRecord]:
        """Train `n` (default `num_epochs`) epochs, with a record after each, when it can be saved.

        Raises:
            TrainingCollapsed: a loss is not finite.
        """
        machine = self._machine
        n_batches = len(self._index) // self.batch_size
        for _ in range(self.num_epochs if n is None else n):
            order = torch.from_numpy(self.random.permutation(len(self._index)))
            batches = self._index[order][: n_batches * self.batch_size].view(
                n_batches, self.batch_size
            )
            losses = []
            for batch in batches:
                # real
                counts = torch.bincount(batch, minlength=len(self._points))
                real = counts.double() / self.batch_size  # (2**n,)

                # generate
                fake, learn = self.generator.generate(machine, self._draws)  # (2**n,)

                # update D
                loss_d = self.discriminator.update(self._points, real, fake)

                # update G
                slope = self.discriminator.slope(self._points)  # (2**n,)
                learn(slope)
                losses.append((loss_d, float(fake @ slope)))

            mean_d, mean_g = np.mean(losses, axis=0).tolist()
            if not (math.isfinite(mean_d) and math.isfinite(mean_g)):
                raise TrainingCollapsed(
                    f"a loss is not finite in epoch {len(self.rel_entr)}; a smaller learning rate may help"
                )
            self.d_loss.append(mean_d)
            self.g_loss.append(mean_g)
            self.rel_entr.append(self.get_rel_entr())
            record = EpochRecord(len(self.rel_entr) - 1, mean_d, mean_g, self.rel_entr[-1])
            if self._snapshots is not None:
                self._snapshots.write(
                    record, self.generator.parameter_values, self.training_state()
                )
            yield record
            if self.is_good_enough:
                return

    @property
    def is_good_enough(self) -> bool:
        """Whether the last epoch's relative entropy is at most `tol_rel_ent`."""
        return (
            self.tol_rel_ent is not None
            and bool(self.rel_entr)
            and self.rel_entr[-1] <= self.tol_rel_ent
        )

    # What it has learnt

    def get_rel_entr(self) -> float:
        """KL(model || data) in nats of the model as the sampler measures it."""
        return self.grid.relative_entropy(self._measured(), self.data_probs)

    def distances(self) -> dict[str, float]:
        """Relative entropy, Kolmogorov-Smirnov statistic and Wasserstein-1 distance; see `Grid.distances`."""
        return self.grid.distances(self._measured(), self.data_probs)

    def ks_test(self, n: int = 500) -> tuple[float, float]:
        """Two-sample Kolmogorov-Smirnov test of n samples of the model against all those of the data, on the grid.

        Statistic and p-value (at least `KS_ACCEPTS` where it accepts at 95 %) of the dimension that it accepts least.
        """
        data = self.grid.points[self._index]
        columns = zip(self.sample(n).T, data.T, strict=True)
        results = [ks_2samp(model, real, method="asymp") for model, real in columns]
        return min(
            ((float(r.statistic), float(r.pvalue)) for r in results), key=lambda pair: pair[1]
        )

    def sample(self, n: int) -> Floats:
        """n measured samples in data units, float64 [n, k]."""
        whole("n", n, 1)
        if self._draws == 0:
            probs = self._measured()
            index = self.random.choice(len(probs), n, p=probs / probs.sum())
        else:
            counts = np.rint(n * self._frequencies(n)).astype(int)
            index = self.random.permutation(np.repeat(np.arange(len(counts)), counts))
        return self.grid.points[index]

    def pdf(self) -> Floats:
        """Probability of each point of the grid, float64 [2**n], that `circuit` loads on an ideal machine."""
        machine = self.generator.machine(EXACT, self.random)
        return distribution(machine, self.generator.theta[None], 0)[0].numpy()

    def circuit(self) -> QuantumCircuit:
        """The trained circuit, without measurements, for a larger one: |0> to the sum of sqrt(pdf()[i]) |i> up to phases.

        The last dimension has the lowest qubits, and in each dimension the lowest qubit is the finest step.
        """
        return self.generator.circuit()

    @property
    def n_samples(self) -> int:
        """Samples within the bounds."""
        return len(self._index)

    @property
    def _draws(self) -> int:
        """Shots of an evaluation, 0 for exact probabilities."""
        return 0 if self._sampler == EXACT else self.shots

    @property
    def _machine(self) -> Machine:
        return self.generator.machine(self._sampler, self.random)

    def _measured(self) -> Floats:
        return self._frequencies(self._draws)

    def _frequencies(self, shots: int) -> Floats:
        return distribution(self._machine, self.generator.theta[None], shots)[0].numpy()

    # Snapshots

    def training_state(self) -> dict[str, Any]:
        """All that training needs to go on as if it had never stopped, for `torch.save`."""
        return {
            "epoch": len(self.rel_entr),
            "finished": self.is_good_enough,
            "bounds": self.grid.bounds.tolist(),
            "num_qubits": list(self.grid.num_qubits),
            "generator": self.generator.state_dict(),
            "discriminator": self.discriminator.state_dict(),
            "history": [self.d_loss, self.g_loss, self.rel_entr],
            "random": self.random.bit_generator.state,
        }

    def load_training_state(self, state: dict[str, Any]) -> None:
        """Put back what `training_state` gave; one that is refused changes nothing.

        Raises:
            ValueError: it is of another system, grid, generator, discriminator or loss.
        """
        before = copy.deepcopy(self.training_state())
        if not isinstance(state, dict) or not before.keys() <= state.keys():
            raise ValueError("the snapshot is not one of a QGAN of distributions")
        for name, here in (
            ("bounds", self.grid.bounds.tolist()),
            ("num_qubits", list(self.grid.num_qubits)),
        ):
            if state[name] != here:
                raise ValueError(
                    f"the snapshot is of other {name}: {state[name]} there, {here} here"
                )
        try:
            self._put_back(state)
        except (
            Exception
        ) as error:  # of players of another kind: from deep inside torch or the user's own
            self._put_back(before)
            what = str(error) if isinstance(error, ValueError) else type(error).__name__
            raise ValueError(
                f"the snapshot is of another generator, discriminator or optimiser ({what})"
            ) from None

    def _put_back(self, state: dict[str, Any]) -> None:
        self.generator.load_state_dict(state["generator"])
        self.discriminator.load_state_dict(state["discriminator"])
        self.d_loss, self.g_loss, self.rel_entr = (list(values) for values in state["history"])
        self.random.bit_generator.state = state["random"]

    def load(self, snapshot_dir: str | Path | None = None) -> None:
        """Go on from the last epoch in a snapshot folder, by default one's own, made by a QGAN of the same arguments.

        Raises:
            ValueError: there is no snapshot, it is damaged, or it is of another grid, generator or discriminator.
        """
        if snapshot_dir is None:
            if self._snapshots is None:
                raise ValueError("snapshot_dir must be a folder to load from, got None")
            snapshot_dir = self._snapshots.folder
        self.load_training_state(read_snapshot(Path(snapshot_dir)))
