"""Times of trainings: the prior's share of an epoch of the QC-AAN, and the QGAN of a tutorial."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from qcaan.circuits.ansatz import Ansatz
from qcaan.commands.benchmark.timing import (
    Goal,
    Row,
    is_installed,
    median_times,
    rows_of,
    times_of,
)
from qcaan.gans.associative.config import AssociativeConfig
from qcaan.gans.associative.gan import AssociativeGAN, EpochRecord, train
from qcaan.gans.distribution.discriminator import GridDiscriminator
from qcaan.gans.distribution.generator import CircuitGenerator
from qcaan.gans.distribution.grid import Grid, make_grid
from qcaan.networks import PointMLP
from qcaan.training import StepRecord

# number of training images of MNIST's digits 3, 7 and 9
N_IMAGES = 18_345
_SHOTS = 10_000
_TUTORIAL, _OURS = "Qiskit Machine Learning, 10,000 shots", "qcaan, exact"
# EfficientSU2 with linear entanglement and six repetitions
_CIRCUIT = Ansatz(6, ("h", *("ry", "rz", "cx") * 6, "ry", "rz"))
_adam = partial(torch.optim.Adam, lr=0.01, betas=(0.7, 0.999), weight_decay=0.005)


def epoch_share(device: torch.device, epochs: int) -> list[Row]:
    """Time epochs of the default run on as many images as MNIST 3/7/9, and the prior's part."""
    whole, prior = [], []
    _, records = default_run(N_IMAGES, epochs, device)
    start = time.perf_counter()
    for record in records:
        if isinstance(record, EpochRecord):
            whole.append(1000 * (time.perf_counter() - start))
            prior.append(1000 * record.fit.seconds)
            start = time.perf_counter()
    whole_ms, prior_ms = statistics.median(whole), statistics.median(prior)
    return rows_of({"one epoch": whole_ms, "of it the prior: fit and bank of shots": prior_ms})


def default_run(
    n_images: int, epochs: int, device: torch.device
) -> tuple[AssociativeConfig, Iterator[StepRecord | EpochRecord]]:
    """Return the configuration and the training of the default run, on images of noise."""
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(n_images, 1, 28, 28, generator=generator).to(device) * 2 - 1
    config = AssociativeConfig(epochs=epochs, device=str(device)).resolved(n_images)
    labels = torch.tensor(config.digits)[torch.arange(n_images) % len(config.digits)]
    return config, train(AssociativeGAN(config, (1, 28, 28), device), images, labels)


def qgan_training(steps: int, repeats: int) -> list[Row]:
    """Time the QGAN of a tutorial of Qiskit Machine Learning: 6 qubits, 84 angles, 8 x 8 points.

    The target is a normal distribution. Each way trains `steps` steps on the same circuit, with the
    tutorial's network and optimisers, and with 10,000 shots or exact probabilities. The tutorial
    has a row if its package is installed (extra `bench`).
    """
    grid = make_grid([[-2, 2]] * 2, (3, 3))
    real = torch.from_numpy(np.exp(-(grid.points**2).sum(1) / 2))  # (64,)
    real /= real.sum()
    start = np.random.default_rng(42).random(_CIRCUIT.n_params)
    ways: dict[str, Callable[[], None]] = {}
    if is_installed("qiskit_machine_learning"):
        ways[_TUTORIAL] = partial(_train_tutorial, grid, real, start, steps)
    ours = partial(_train_ours, grid, real, start, steps)
    ways[_OURS] = partial(ours, "exact", 0)
    ways["qcaan, 10,000 shots on Aer"] = partial(ours, "aer", _SHOTS)
    return rows_of(median_times(ways, repeats))


def qgan_goals(rows: Sequence[Row]) -> list[Goal]:
    """Return the goals of the QGAN's training; none if the tutorial's package is not installed."""
    ms = times_of(rows)
    if _TUTORIAL not in ms:
        return []
    what = "exact training, times faster than the tutorial's"
    return [Goal(what, ms[_TUTORIAL] / ms[_OURS], "at least 20")]


def _train_ours(
    grid: Grid, real: Tensor, start: NDArray[np.float64], steps: int, sampler: str, shots: int
) -> None:
    points = torch.from_numpy(grid.points).float()  # (64, 2)
    rng = np.random.default_rng(0)
    generator = CircuitGenerator(grid, _CIRCUIT, init_params=start, optimizer=_adam, rng=rng)
    network = PointMLP(torch.from_numpy(grid.bounds), (20,))
    discriminator = GridDiscriminator(network, optimizer=_adam)
    machine = generator.machine(sampler, rng)
    for _ in range(steps):
        fake, learn = generator.generate(machine, shots)
        discriminator.update(points, real, fake)
        learn(discriminator.slope(points))


def _train_tutorial(grid: Grid, real: Tensor, start: NDArray[np.float64], steps: int) -> None:
    from qiskit.primitives import StatevectorSampler
    from qiskit_machine_learning.connectors import TorchConnector
    from qiskit_machine_learning.neural_networks import SamplerQNN

    points = torch.from_numpy(grid.points).float()  # (64, 2)
    circuit = _CIRCUIT.to_circuit()
    sampler = StatevectorSampler(default_shots=_SHOTS, seed=np.random.default_rng(0))
    network: Any = SamplerQNN(
        circuit=circuit, sampler=sampler, input_params=[], weight_params=circuit.parameters
    )
    generator: Any = TorchConnector(network, start)
    discriminator = nn.Sequential(
        nn.Linear(2, 20), nn.LeakyReLU(0.2), nn.Linear(20, 1), nn.Flatten(0)
    )
    optimizer_g, optimizer_d = _adam(generator.parameters()), _adam(discriminator.parameters())
    for _ in range(steps):
        fake = generator(torch.tensor([])).flatten()
        logits = discriminator(points)
        real_loss = (real * F.softplus(-logits)).sum()
        fake_loss = (fake.detach() * F.softplus(logits)).sum()
        optimizer_d.zero_grad()
        ((real_loss + fake_loss) / 2).backward()
        optimizer_d.step()
        optimizer_g.zero_grad()
        (fake * F.softplus(-discriminator(points).detach())).sum().backward()
        optimizer_g.step()
