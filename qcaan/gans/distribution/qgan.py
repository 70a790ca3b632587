"""The QGAN of distributions: it learns a distribution from samples, and loads it into a circuit.

Zoufal, Lucchi and Woerner, "Quantum generative adversarial networks for learning and loading random
distributions", npj Quantum Information 5, 103 (2019), arXiv:1904.00043, as Qiskit Aqua had it.
Aqua's own names are in `qcaan.aqua`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from numpy.typing import ArrayLike
from qiskit import QuantumCircuit
from torch import nn

from qcaan.checks import Floats, check_seed, number, one_of, whole
from qcaan.circuits.qiskit_circuits import Machine
from qcaan.gans.distribution.circuit import CircuitLike, InitialState
from qcaan.gans.distribution.discriminator import Adversary, GridLoss, MakeOptimizer
from qcaan.gans.distribution.generator import CircuitGenerator, GradientLike, Minimizer
from qcaan.gans.distribution.grid import QubitsLike, as_samples, ks_test, place_samples
from qcaan.gans.distribution.players import as_adversary, make_generator, restarting
from qcaan.gans.distribution.snapshots import (
    EpochRecord,
    Snapshots,
    load_training_state,
    read_snapshot,
    training_state,
)
from qcaan.samplers.names import EXACT, EngineLike, open_engine
from qcaan.samplers.simulators import DEFAULT_SHOTS
from qcaan.training import TrainingCollapsed, reseed


class QGAN:
    """A circuit that learns, against a classical discriminator, a distribution on a grid.

    Samples outside the inclusive bounds are dropped. Each other sample goes to the nearest of the
    2**m values between the bounds, with m qubits for a dimension. The points' order is stated in
    `qcaan.gans.distribution.grid`: dimension 0 first.

    `run` trains for `n_epochs` epochs and, called again, for as many more. Setting `seed` starts
    anew.

    Args:
        data: samples [N] or [N, k], as NumPy, torch or lists; never changed.
        bounds: [min, max], or a pair for each dimension; default the 5th and 95th percentiles.
        n_qubits: number of qubits of each dimension; default 3.
        batch_size: number of samples in a batch; each batch is a step of both players. The rest of
            an epoch's shuffled samples, after its last whole batch, is left out of it.
        n_epochs: number of passes over the samples in a run.
        seed: seed of all draws, from 0 to below 2**63.
        discriminator: a network from samples [m, k] to logits [m], a `GridDiscriminator`, or None
            for the default.
        generator: a circuit, a `CircuitGenerator`, or None for the default; see `set_generator`.
        tol_rel_ent: relative entropy in nats at which a run ends early.
        snapshot_dir: folder into which each epoch writes a row of output.csv and a checkpoint; see
            `load`. Those of an earlier training are overwritten unless they were loaded.
        sampler: `exact` (our engine), a name of `qcaan.make_sampler`, a `BaseSamplerV2`, or a
            Qiskit backend.
        shots: number of shots of each circuit on a sampler; 0 for exact probabilities, which named
            simulators without noise have.
        loss: `bce` or `wgan-gp`, of the default discriminator or of a network.

    Attributes:
        d_loss, g_loss, rel_entr: lists with a number for each epoch.
        grid: grid of the points.
        points: points of the grid, a tensor float64 [2**n, k].
        places: index of each sample's point, a tensor int64 [N'].
        data_probs: share [2**n] of the samples at each point.
        generator, discriminator: the two players.
        engine, shots: engine that measures, and its number of shots.
        random: NumPy's random generator of batches, angles and shots.

    Raises:
        ValueError: an argument is out of range, or does not match the others.
    """

    def __init__(
        self,
        data: ArrayLike,
        bounds: ArrayLike | None = None,
        n_qubits: QubitsLike | None = None,
        *,
        batch_size: int = 500,
        n_epochs: int = 3000,
        seed: int = 7,
        discriminator: nn.Module | Adversary | None = None,
        generator: CircuitLike | CircuitGenerator | None = None,
        tol_rel_ent: float | None = None,
        snapshot_dir: str | Path | None = None,
        sampler: EngineLike = EXACT,
        shots: int = DEFAULT_SHOTS,
        loss: GridLoss = "bce",
    ) -> None:
        self.grid, index = place_samples(as_samples(data), bounds, n_qubits)
        self.places = torch.from_numpy(index)  # (N',)
        self.points = torch.from_numpy(self.grid.points)  # (2**n, k)
        self.data_probs = np.bincount(index, minlength=len(self.points)) / len(index)
        self.batch_size = whole("batch_size", batch_size)
        if batch_size > len(index):
            raise ValueError(
                f"`batch_size` must be at most {len(index)}, the number of samples within the "
                f"bounds, got {batch_size}"
            )
        self.n_epochs = whole("n_epochs", n_epochs)
        self.loss: GridLoss = one_of("loss", loss, get_args(GridLoss))
        if tol_rel_ent is not None:
            number("tol_rel_ent", tol_rel_ent, least=0)
        self.tol_rel_ent = tol_rel_ent
        self.snapshots = None if snapshot_dir is None else Snapshots(snapshot_dir)
        self._seed = check_seed(seed)
        self.random = np.random.default_rng(seed)
        self.d_loss: list[float] = []
        self.g_loss: list[float] = []
        self.rel_entr: list[float] = []
        self.shots = whole("shots", shots, 0)
        self.engine = open_engine(sampler, self.random)
        self.generator: CircuitGenerator
        self.discriminator: Adversary
        self._start_generator: Callable[[], CircuitGenerator]
        self._start_discriminator: Callable[[], Adversary] | None
        self.set_generator(generator)
        self.set_discriminator(discriminator)

    # Players and engine

    @property
    def seed(self) -> int:
        """Seed of all draws. Setting it starts anew.

        The history is dropped, given players return to their first state, and default ones are
        drawn again.
        """
        return self._seed

    @seed.setter
    def seed(self, seed: int) -> None:
        self._seed = check_seed(seed)
        self.reseed(seed)
        self.d_loss, self.g_loss, self.rel_entr = [], [], []
        self.generator = self._start_generator()
        if self._start_discriminator is None:
            self.set_discriminator()
        else:
            self.discriminator = self._start_discriminator()

    def reseed(self, seed: int) -> None:
        """Seed all draws from now on."""
        # in place, since samplers hold the same generator
        reseed(self.random, seed)

    def use(self, sampler: EngineLike, shots: int | None = None) -> None:
        """Continue on another engine.

        Args:
            sampler: as of the class.
            shots: number of shots of each circuit; default unchanged.

        Raises:
            ValueError: the sampler is unknown or unavailable, or the generator cannot be trained
                on it. Then nothing is changed.
        """
        shots = self.shots if shots is None else whole("shots", shots, 0)
        engine = open_engine(sampler, self.random)
        draws = 0 if engine.is_exact else shots
        self.generator.check(self.generator.machine(engine, self.random), draws)
        self.engine, self.shots = engine, shots

    @property
    def draws(self) -> int:
        """Number of shots of an evaluation; 0 for exact probabilities."""
        return 0 if self.engine.is_exact else self.shots

    @property
    def machine(self) -> Machine:
        """Machine that measures the generator's circuit on the engine."""
        return self.generator.machine(self.engine, self.random)

    def set_generator(
        self,
        generator: CircuitLike | CircuitGenerator | None = None,
        *,
        init_params: ArrayLike | None = None,
        optimizer: MakeOptimizer | Minimizer | None = None,
        gradient: GradientLike | None = None,
        initial_state: InitialState | None = None,
        n_layers: int = 1,
    ) -> None:
        """Start with a new generator.

        The default circuit is H on all qubits, RY, CZ on a ring, RY. A distribution is out of its
        reach if the relative entropy levels off while the discriminator's loss stays below ln 2.
        Then take more `n_layers`, each of which adds CZ and RY. (The paper's bimodal case stays
        above 0.22 with one, and gets below 0.001 with three.)

        Args:
            generator: a circuit; or a `CircuitGenerator`, for which the other arguments are unused.
            init_params, optimizer, gradient: as of `CircuitGenerator`.
            initial_state, n_layers: as of `qcaan.gans.distribution.circuit.build_circuit`.

        Raises:
            ValueError: an argument is out of range, or does not match the grid or the engine.
        """
        if isinstance(generator, CircuitGenerator):
            generator.check_grid(self.grid)
            start: Callable[[], CircuitGenerator] = restarting(generator)
        else:
            start = partial(
                make_generator,
                self.grid,
                generator,
                initial_state=initial_state,
                n_layers=n_layers,
                data_probs=self.data_probs,
                rng=self.random,
                init_params=init_params,
                optimizer=optimizer,
                gradient=gradient,
            )
        made = start()
        made.check(made.machine(self.engine, self.random), self.draws)
        made.rng = self.random
        self.generator, self._start_generator = made, start

    def set_discriminator(self, discriminator: nn.Module | Adversary | None = None) -> None:
        """Start with a new discriminator.

        Args:
            discriminator: a network from samples [m, k] to logits [m], a `GridDiscriminator`, or
                None for the default.

        Raises:
            ValueError: it is something else, or does not take samples of the data's dimensions.
        """
        made = as_adversary(discriminator, self.grid, self.loss, seed=self._seed)
        self.discriminator = made
        self._start_discriminator = None if discriminator is None else restarting(made)

    # Training

    @property
    def n_samples(self) -> int:
        """Number of samples within the bounds."""
        return len(self.places)

    @property
    def epoch(self) -> int:
        """Number of finished epochs."""
        return len(self.rel_entr)

    @property
    def is_good_enough(self) -> bool:
        """Whether the last epoch's relative entropy is at most `tol_rel_ent`."""
        tolerance = self.tol_rel_ent
        return tolerance is not None and bool(self.rel_entr) and self.rel_entr[-1] <= tolerance

    def run(self, progress: bool = False) -> dict[str, Any]:
        """Train for `n_epochs` epochs, or until the relative entropy is at most `tol_rel_ent`.

        On a device each step submits a job, which may be paid for.

        Args:
            progress: whether to show a bar on the console.

        Returns:
            The trained parameters `params_d` and `params_g` [P], and `loss_d`, `loss_g` and
            `rel_entr` of the last epoch.
        """
        records: Iterable[EpochRecord] = train(self)
        if progress:
            # here, since rich draws from Python's global random state when it is imported
            from rich.progress import track

            records = track(records, "training", self.n_epochs)
        for _ in records:
            pass
        return {
            "params_d": self.discriminator.params,
            "params_g": self.generator.parameter_values,
            "loss_d": self.d_loss[-1],
            "loss_g": self.g_loss[-1],
            "rel_entr": self.rel_entr[-1],
        }

    # The learnt distribution: on a device, all but `pdf` and `circuit` submit a job

    def measure(self) -> Floats:
        """Measure the probabilities float64 [2**n] of the grid's points on the engine."""
        return self.generator.measure(self.machine, self.draws)

    def relative_entropy(self) -> float:
        """Measure KL(model || data) in nats."""
        return self.grid.relative_entropy(self.measure(), self.data_probs)

    def distances(self) -> dict[str, float]:
        """Measure the distances between model and data; see `Grid.distances`."""
        return self.grid.distances(self.measure(), self.data_probs)

    def ks_test(self, n: int = 500) -> tuple[float, float]:
        """Test n generated samples against all samples of the data; see `grid.ks_test`.

        Returns the statistic and the p-value, which is at least 0.05 if the test accepts at 95 %.
        """
        return ks_test(self.generate(n), self.grid.points[self.places])

    def generate(self, n: int) -> Floats:
        """Measure n samples in data units, float64 [n, k]."""
        whole("n", n)
        if self.draws == 0:
            probs = self.measure()
            index = self.random.choice(len(probs), n, p=probs / probs.sum())
        else:
            counts = np.rint(n * self.generator.measure(self.machine, n)).astype(int)
            index = self.random.permutation(np.repeat(np.arange(len(counts)), counts))
        return np.asarray(self.grid.points[index])

    def pdf(self) -> Floats:
        """Return the exact probability of each grid point, float64 [2**n]."""
        return self.generator.measure(self.generator.machine(EXACT, self.random), 0)

    def circuit(self) -> QuantumCircuit:
        """Return the trained circuit, without measurements, to be put into a larger one.

        It takes |0> to the sum of sqrt(pdf()[i]) |i>, up to phases. The last dimension has the
        lowest qubits, and in each dimension the lowest qubit is the finest step.
        """
        return self.generator.circuit()

    # State

    def training_state(self) -> dict[str, Any]:
        """Return all that training needs to continue as if it had never stopped."""
        return training_state(self)

    def load_training_state(self, state: dict[str, Any]) -> None:
        """Restore the state that `training_state` returned. A refused state changes nothing.

        Raises:
            ValueError: it is of another system, grid, generator, discriminator or loss.
        """
        load_training_state(self, state)

    def load(self, snapshot_dir: str | Path | None = None) -> None:
        """Load the last epoch of a snapshot folder that a QGAN of the same arguments wrote.

        Args:
            snapshot_dir: path of the folder; default that of the QGAN itself.

        Raises:
            ValueError: there is no snapshot, it is damaged, or it is of another grid, generator or
                discriminator.
        """
        if snapshot_dir is None:
            if self.snapshots is None:
                raise ValueError("`snapshot_dir` must be a folder to load from, got None")
            snapshot_dir = self.snapshots.folder
        self.load_training_state(read_snapshot(Path(snapshot_dir)))


def train(qgan: QGAN, n_epochs: int | None = None) -> Iterator[EpochRecord]:
    """Train from the QGAN's state, and yield a record after each epoch, when it can be saved.

    Training ends early when the relative entropy is at most `qgan.tol_rel_ent`. On a device each
    step and the end of each epoch submit a job, which may be paid for.

    Args:
        qgan: the QGAN.
        n_epochs: number of epochs; default `qgan.n_epochs`.

    Raises:
        TrainingCollapsed: a loss is not finite.
        ValueError: the number of epochs is out of range.
    """
    n_epochs = (
        whole("n_epochs", qgan.n_epochs) if n_epochs is None else whole("n_epochs", n_epochs, 0)
    )
    machine, points, size = qgan.machine, qgan.points, qgan.batch_size
    n_batches = len(qgan.places) // size
    for _ in range(n_epochs):
        order = torch.from_numpy(qgan.random.permutation(len(qgan.places)))
        batches = qgan.places[order][: n_batches * size].view(n_batches, size)
        losses = []
        for batch in batches:
            # real
            counts = torch.bincount(batch, minlength=len(points))
            real = counts.double() / size  # (2**n,)

            # generate
            fake, learn = qgan.generator.generate(machine, qgan.draws)  # (2**n,)

            # update D
            loss_d = qgan.discriminator.update(points, real, fake)

            # update G
            slope = qgan.discriminator.slope(points)  # (2**n,)
            losses.append((loss_d, float(fake @ slope)))
            if not np.isfinite(losses[-1]).all():  # before the angles become so too
                raise TrainingCollapsed(
                    f"a loss is not finite in epoch {qgan.epoch + 1}; "
                    "a smaller learning rate may help"
                )
            learn(slope)

        mean_d, mean_g = np.mean(losses, axis=0).tolist()
        entropy = qgan.relative_entropy()
        qgan.d_loss.append(mean_d)
        qgan.g_loss.append(mean_g)
        qgan.rel_entr.append(entropy)
        record = EpochRecord(qgan.epoch, qgan.epoch * n_batches, mean_d, mean_g, entropy)
        if qgan.snapshots is not None:
            angles = qgan.generator.parameter_values
            qgan.snapshots.write(record, angles, qgan.training_state())
        yield record
        if qgan.is_good_enough:
            return
