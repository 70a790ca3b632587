"""`qcaan classify`: classify 8x8 digits with and without a circuit before a small network.

The circuit is a feature extractor: a `QuantumLayer` whose expectations the network sees. The same
network on the circuit's input angles is the control.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.decomposition import PCA
from torch import Tensor, nn

from qcaan.checks import check_memory, different, number, whole
from qcaan.circuits.ansatz import AnsatzName, make_ansatz
from qcaan.circuits.layers import QuantumLayer
from qcaan.data.images import ImageSet, load_splits
from qcaan.randomness import RandomState, isolated
from qcaan.runs.directory import RunDirectory
from qcaan.runs.planning import plan_steps
from qcaan.runs.restoring import restore_checkpoint
from qcaan.runs.session import announce_data, announce_plan, console, explain_stop, report_finished
from qcaan.samplers.devices import DeviceOptions
from qcaan.samplers.journal import Journal
from qcaan.samplers.names import MakeSampler, SamplerFactory, open_engine
from qcaan.samplers.rehearsal import Plan
from qcaan.training import (
    RunOptions,
    describe_engine,
    pick_device,
)

_DATA = "digits8x8"
_NAMES = ("with the circuit", "without it")


@dataclass(frozen=True, kw_only=True)
class ClassifyRunOptions(RunOptions):
    """Options of the run: its length, its seed and its optimiser."""

    epochs: int = 30
    """Number of epochs, each one pass over the training images."""
    batch_size: int = 32
    """Number of images in a batch."""
    lr: float = 1e-2
    """Learning rate of Adam, for both models."""


@dataclass(frozen=True, kw_only=True)
class ClassifyDataOptions:
    """Options of the data: the 8x8 digits of scikit-learn."""

    digits: tuple[int, ...] = (3, 7, 9)
    """Digits to tell apart."""


@dataclass(frozen=True, kw_only=True)
class ClassifyNetworksOptions:
    """Options of the classifier, which is the same in both models."""

    hidden: int = 16
    """Width of the classifier's hidden layer."""


@dataclass(frozen=True, kw_only=True)
class ClassifyCircuitOptions:
    """Options of the circuit, and of what runs it."""

    n_qubits: int = 4
    """Number of qubits; as many principal components of an image are their angles."""
    n_layers: int = 2
    """Number of layers of the ansatz."""
    ansatz: AnsatzName = "ry-rx"
    """Circuit family; ry-rx has layers of RY, RX and CX on the chain of qubits."""
    uploads: int = 2
    """Number of times that the angles are embedded, each followed by the ansatz (data
    re-uploading)."""
    sampler: str = "exact"
    """Engine that runs the circuit: exact (our differentiable engine), or the name of a sampler;
    `qcaan samplers` lists them."""
    shots: int = 0
    """Number of shots per image; 0 for exact expectations, if the engine has them."""


@dataclass(frozen=True, kw_only=True)
class ClassifyConfig(
    ClassifyRunOptions,
    ClassifyDataOptions,
    ClassifyNetworksOptions,
    ClassifyCircuitOptions,
    DeviceOptions,
):
    """Configuration of a comparison of one classifier with and without a circuit before it."""

    def __post_init__(self) -> None:
        RunOptions.__post_init__(self)
        DeviceOptions.__post_init__(self)
        for name in ("epochs", "batch_size", "hidden", "n_qubits", "n_layers", "uploads"):
            whole(name, getattr(self, name))
        whole("shots", self.shots, 0)
        number("lr", self.lr, above=0, below=1)
        different("digits", self.digits)
        check_memory(self.n_qubits)


@dataclass(frozen=True)
class Features:
    """Angles and classes of the images of one split.

    Attributes:
        x: angles [N, n_qubits] in radians.
        y: places [N] of the labels among the digits of the run.
    """

    x: Tensor
    y: Tensor


def main(
    config: ClassifyConfig = ClassifyConfig(),
    out: Path = Path("runs/classify"),
    resume: bool = False,
    dry_run: bool = False,
) -> None:
    """Train a classifier of digits on a circuit's measurements, and on its angles.

    Args:
        config: configuration of the run.
        out: Directory of the run.
        resume: Continue an unfinished run. --epochs may be raised; everything else must be as
            it was.
        dry_run: Check everything, print what the run would ask of a device, and write nothing.
    """
    device = pick_device(config.device)
    run = RunDirectory(out)
    run.check(resume=resume)
    journal = Journal(run.jobs_path)
    samplers = SamplerFactory(config, journal)
    train_set, test_set = (part.only(config.digits) for part in load_splits(_DATA))
    train_part, test_part = features(train_set, test_set, config, device)
    announce_data(train_set.provenance)
    plan = plan_run(config, samplers, train_part.x.cpu(), test_part.x.cpu())
    announce_plan(plan, config, config.epochs, dry_run=dry_run)
    if dry_run:
        return

    with run:
        random = RandomState(config.seed)
        with isolated(random):
            models = make_models(config, samplers).to(device)
        optimizer = torch.optim.Adam(models.parameters(), config.lr)
        facts = {
            "name": train_set.name,
            "provenance": train_set.provenance,
            "n_images": len(train_set.images),
            "fingerprint": train_set.fingerprint,
        }

        def load_state(state: dict[str, Any]) -> None:
            models.load_state_dict(state["models"])
            optimizer.load_state_dict(state["optimizer"])
            random.load_state_dict(state["random"])

        restore = partial(restore_checkpoint, run, load_state)
        checkpoint = run.begin(
            "classify", config, facts, resume=resume, device=device, restore=restore
        )
        done = checkpoint["epoch"] if checkpoint else 0
        if done >= config.epochs and report_finished(run, done, ("scores.json",)):
            return
        engine = describe_engine(config.sampler, config.shots, None)
        console.print(
            f"run: {run.path}, {len(train_part.x)} digits to train on, {len(test_part.x)} to test "
            f"with, {config.n_qubits} input angles, {config.epochs} epochs on {device}, {engine}"
        )

        journal.begin(done)
        with explain_stop(lambda: done):
            for epoch in range(done + 1, config.epochs + 1):
                losses = train_epoch(models, optimizer, train_part, config.batch_size, random)
                run.append({"epoch": epoch, "loss": dict(zip(_NAMES, losses, strict=True))})
                state = {
                    "models": models.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "random": random.state_dict(),
                }
                run.save_checkpoint({"epoch": epoch, **state})
                done = epoch
                journal.begin(done)
            scores = score(models, train_part, test_part)
        for name in _NAMES:
            console.print(
                f"{name}: test accuracy {scores[name]['test_accuracy']:.1%}, "
                f"{scores[name]['n_weights']} weights"
            )
        run.save_scores(scores, done)


def features(
    train_set: ImageSet, test_set: ImageSet, config: ClassifyConfig, device: torch.device
) -> tuple[Features, Features]:
    """Return the features of the training and of the test images, on `device`.

    The angles are principal components of the training images; a component's standard deviation is
    one radian.
    """
    digits = torch.tensor(config.digits)
    pca = PCA(config.n_qubits, whiten=True, svd_solver="full")
    pca.fit(train_set.images.double().flatten(1).numpy())

    def of(part: ImageSet) -> Features:
        pixels = part.images.double().flatten(1).numpy()
        angles = torch.from_numpy(pca.transform(pixels)).float()
        places = (part.labels[:, None] == digits).int().argmax(1)
        return Features(angles.to(device), places.to(device))

    return of(train_set), of(test_set)


def make_circuit(config: ClassifyConfig, make_sampler: MakeSampler) -> QuantumLayer:
    """Return the circuit before the classifier, on the engine that the configuration names."""
    rng = np.random.default_rng(config.seed)
    return QuantumLayer(
        make_ansatz(config.ansatz, config.n_qubits, config.n_layers),
        uploads=config.uploads,
        sampler=open_engine(config.sampler, rng, make_sampler, n_qubits=config.n_qubits),
        shots=config.shots,
        seed=rng,
    )


def make_models(config: ClassifyConfig, make_sampler: MakeSampler) -> nn.ModuleList:
    """Return the classifier with and without the circuit before it, in the order of `_NAMES`."""
    circuit = make_circuit(config, make_sampler)

    def classifier() -> nn.Module:
        return nn.Sequential(
            nn.Linear(config.n_qubits, config.hidden),
            nn.ReLU(),
            nn.Linear(config.hidden, len(config.digits)),
        )

    return nn.ModuleList([nn.Sequential(circuit, classifier()), classifier()])


def train_epoch(
    models: nn.ModuleList,
    optimizer: torch.optim.Optimizer,
    data: Features,
    batch_size: int,
    random: RandomState,
) -> list[float]:
    """Train all models for one pass over the data, and return their mean losses.

    The models see the same batches. On a device, each step submits jobs that may be paid for.
    """
    sums = torch.zeros(len(models), dtype=torch.float32, device="cpu")
    device = data.x.device
    order = torch.randperm(len(data.x), device=device, generator=random.on(device))
    for batch in order.split(batch_size):
        x, y = data.x[batch], data.y[batch]  # (B, n_qubits), (B,)
        # the models share no weights, so the gradient of the sum is that of each loss
        values = torch.stack([F.cross_entropy(model(x), y) for model in models])
        optimizer.zero_grad(set_to_none=True)
        values.sum().backward()
        optimizer.step()
        sums += len(batch) / len(data.x) * values.detach().cpu()
    return sums.tolist()


def score(models: nn.ModuleList, train_part: Features, test_part: Features) -> dict[str, Any]:
    """Return the accuracies and the numbers of weights of all models.

    On a device, the classifications are jobs that may be paid for.
    """
    scores: dict[str, Any] = {"n_train": len(train_part.x), "n_test": len(test_part.x)}
    for name, model in zip(_NAMES, models, strict=True):
        scores[name] = {
            "train_accuracy": accuracy(model, train_part),
            "test_accuracy": accuracy(model, test_part),
            "n_weights": sum(weight.numel() for weight in model.parameters()),
        }
    return scores


@torch.no_grad()
def accuracy(model: nn.Module, data: Features) -> float:
    """Return the share of images in [0, 1] that a model gives their class."""
    return float((model(data.x).argmax(1) == data.y).double().mean())


def plan_run(
    config: ClassifyConfig, samplers: SamplerFactory, train_x: Tensor, test_x: Tensor
) -> Plan | None:
    """Plan the device jobs of a run on angles [N, n_qubits]. Return None if it uses no device."""
    full_batches, rest = divmod(len(train_x), config.batch_size)

    def start(make_sampler: MakeSampler) -> tuple[Callable[[], object], ...]:
        circuit = make_circuit(config, make_sampler)

        def step(n: int) -> None:
            if n:
                circuit(train_x[:n]).sum().backward()

        def classify() -> None:
            with torch.no_grad():
                circuit(train_x), circuit(test_x)

        return partial(step, config.batch_size), partial(step, rest), classify

    return plan_steps(
        start,
        samplers,
        epochs=config.epochs,
        steps_per_epoch=full_batches,
        switch_after_epochs=None,
    )
