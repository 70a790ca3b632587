"""A circuit as feature extractor: classify 8x8 digits with a QuantumLayer before a small network, and without it.

python scripts/classify_digits.py
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import torch.nn.functional as F
import tyro
from _cli import check_plan, console, is_finished, run_script, stoppable
from sklearn.decomposition import PCA
from torch import Tensor, nn

from qcaan import ImageSet, QuantumLayer, make_ansatz
from qcaan.checks import check_seed
from qcaan.circuits.born import open_sampler
from qcaan.data.images import load_splits
from qcaan.files import write_json
from qcaan.runs.directory import RunDirectory
from qcaan.runs.planning import Plan, plan_steps
from qcaan.samplers.jobs import Budget, Journal
from qcaan.samplers.names import MakeSampler, make_sampler
from qcaan.samplers.vendors import make_vendor
from qcaan.training import described, pick_device, random_state, seed_everything, set_random_state

NAMES = ("with the circuit", "without it")


@dataclass(frozen=True)
class ClassifyConfig(Budget):
    """A comparison of one classifier with and without a circuit before it."""

    digits: tuple[int, ...] = (3, 7, 9)
    """Classes to tell apart."""
    seed: int = 1
    """Of weights, angles, batches and shots."""
    device: str = "auto"
    """auto (CUDA if present), cpu, cuda, cuda:N."""
    epochs: int = 30
    """Passes over the training images."""
    batch_size: int = 32
    """Images in a batch."""
    lr: float = 1e-2
    """Adam's learning rate."""
    hidden: int = 16
    """Width of the classifier's hidden layer."""
    n_qubits: int = 4
    """Qubits, and as many principal components of the images as angles."""
    n_layers: int = 2
    """Layers of the ansatz."""
    ansatz: str = "ry-rx"
    """ry-rx, hardware-efficient, ion-trap or seed."""
    uploads: int = 2
    """Times that the angles are embedded, each followed by the ansatz."""
    sampler: str = "exact"
    """exact (our engine), or a name of a sampler."""
    shots: int = 0
    """Shots per image; 0 for exact expectations."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("epochs", "batch_size", "hidden"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not 0 < self.lr < 1:
            raise ValueError(f"lr must be between 0 and 1, got {self.lr}")
        check_seed(self.seed)


def main(
    config: Annotated[ClassifyConfig, tyro.conf.arg(name="")] = ClassifyConfig(),
    out: Path = Path("runs/classify"),
    resume: bool = False,
    dry_run: bool = False,
) -> None:
    """Train a classifier of digits on what a circuit measures, and the same one on the angles themselves.

    Args:
        config: the run.
        out: run directory.
        resume: go on with an unfinished run; --epochs may be raised, everything else must be as it was.
        dry_run: check everything, say what the run would ask of a device, and write nothing.
    """
    device = pick_device(config.device)
    train_set, test_set = (part.only(config.digits) for part in load_splits("digits8x8"))
    (train_x, train_y), (test_x, test_y) = features(train_set, test_set, config, device)
    check_plan(plan_run(config, train_x.cpu(), test_x.cpu()), config, config.epochs, dry_run)
    if dry_run:
        return
    run = RunDirectory(out)
    journal = Journal(run.jobs_path)
    seed_everything(config.seed)
    circuit = make_circuit(config, partial(make_sampler, journal=journal, budget=config))

    def classifier() -> nn.Module:
        return nn.Sequential(
            nn.Linear(config.n_qubits, config.hidden),
            nn.ReLU(),
            nn.Linear(config.hidden, len(config.digits)),
        )

    models = nn.ModuleList([nn.Sequential(circuit, classifier()), classifier()]).to(device)
    optimizer = torch.optim.Adam(models.parameters(), config.lr)
    facts = {
        "data": {
            "name": train_set.name,
            "provenance": train_set.provenance,
            "n_images": len(train_x),
        }
    }
    checkpoint = run.begin(config, facts, resume, device)
    done = 0
    if checkpoint is not None:
        models.load_state_dict(checkpoint["models"])
        optimizer.load_state_dict(checkpoint["optimizer"])
        set_random_state(checkpoint["random"])
        done = checkpoint["epoch"]
        if done >= config.epochs and is_finished(run, done):
            return
    console.print(
        f"run: {run.path}, {len(train_x)} digits to train on, {len(test_x)} to test with, {config.n_qubits} angles, "
        f"circuit of {circuit.theta.numel()} angles, {config.epochs} epochs on {device}, "
        + described(config.sampler, config.shots, None)
    )

    journal.begin(done)
    with stoppable(lambda: done):
        for epoch in range(done + 1, config.epochs + 1):
            sums = torch.zeros(len(models))
            for batch in torch.randperm(len(train_x), device=device).split(config.batch_size):
                # the two share no weights, so the gradient of their losses' sum is that of each
                values = torch.stack(
                    [F.cross_entropy(model(train_x[batch]), train_y[batch]) for model in models]
                )
                optimizer.zero_grad(set_to_none=True)
                values.sum().backward()
                optimizer.step()
                sums += len(batch) / len(train_x) * values.detach().cpu()
            run.append({"epoch": epoch, "loss": dict(zip(NAMES, sums.tolist(), strict=True))})
            state = {
                "models": models.state_dict(),
                "optimizer": optimizer.state_dict(),
                "random": random_state(),
            }
            run.save_checkpoint({"epoch": epoch, **state})
            done = epoch
            journal.begin(done)

        scores: dict[str, Any] = {"n_train": len(train_x), "n_test": len(test_x)}
        parts = {"train": (train_x, train_y), "test": (test_x, test_y)}
        for name, model in zip(NAMES, models, strict=True):
            scores[name] = {
                f"{part}_accuracy": accuracy(model, *data) for part, data in parts.items()
            }
            scores[name]["n_weights"] = sum(weight.numel() for weight in model.parameters())
    for name in NAMES:
        console.print(
            f"{name}: test accuracy {scores[name]['test_accuracy']:.1%}, {scores[name]['n_weights']} weights"
        )
    write_json(run.path / "scores.json", scores)


def make_circuit(config: ClassifyConfig, samplers: MakeSampler) -> QuantumLayer:
    """The circuit before the classifier, run by a sampler that `samplers` makes."""
    rng = np.random.default_rng(config.seed)
    ansatz = make_ansatz(config.ansatz, config.n_qubits, config.n_layers)
    sampler = open_sampler(config.sampler, samplers, rng)
    return QuantumLayer(
        ansatz, uploads=config.uploads, sampler=sampler, shots=config.shots, seed=rng
    )


def plan_run(config: ClassifyConfig, train_x: Tensor, test_x: Tensor) -> Plan | None:
    """What a run on these features, [N, n_qubits] on the CPU, would ask of a device; None if it asks none."""
    full_batches, rest = divmod(len(train_x), config.batch_size)

    def start(samplers: MakeSampler) -> tuple[Callable[[], object], ...]:
        circuit = make_circuit(config, samplers)

        def step(n: int) -> None:
            circuit(train_x[:n]).sum().backward()

        def score() -> None:
            with torch.no_grad():
                circuit(train_x), circuit(test_x)

        return partial(step, config.batch_size), lambda: rest and step(rest), score

    return plan_steps(start, partial(make_vendor, budget=config), config.epochs, full_batches, None)


def features(
    train_set: ImageSet, test_set: ImageSet, config: ClassifyConfig, device: torch.device
) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Angles [N, n_qubits] and places of the labels among the digits [N], of training and test images.

    The angles are principal components of the training images, in units of their deviation as radians.
    """
    pca = PCA(config.n_qubits, whiten=True, svd_solver="full").fit(
        train_set.images.flatten(1).numpy()
    )
    labels = torch.tensor(config.digits)
    parts = [
        (
            torch.from_numpy(pca.transform(part.images.flatten(1).numpy())).float().to(device),
            (part.labels[:, None] == labels).int().argmax(1).to(device),
        )
        for part in (train_set, test_set)
    ]
    return parts[0], parts[1]


@torch.no_grad()
def accuracy(model: nn.Module, x: Tensor, y: Tensor) -> float:
    """Share of rows x [N, n] that are given their class y [N]."""
    return float((model(x).argmax(1) == y).double().mean())


if __name__ == "__main__":
    run_script(main)
