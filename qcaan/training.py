"""Shared parts of a training: seeds, devices, records, optimisers, averages, the saved state."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from zipfile import ZipFile

import numpy as np
import torch
from torch import Tensor, nn

from qcaan.checks import check_seed
from qcaan.randomness import RandomState

# steps; small data sets are passed over several times in an epoch, or the fits of the prior and the
# pictures would take most of the time
SHORTEST_EPOCH = 140
# qubits; from here on a second thread computes more than it waits
_THREADS_PAY = 8
# steps after which `DecayingAdam` has halved its learning rate
HALF_STEPS = 200


class TrainingCollapsed(RuntimeError):
    """Training cannot continue; the message says what happened and at which step."""


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Options of every run that torch trains."""

    seed: int = 1
    """Seed of weights, angles, batches, noise and shots, from 0 to below 2**63."""
    device: str = "auto"
    """Device of the networks: auto (CUDA if available), cpu, cuda or cuda:N."""

    def __post_init__(self) -> None:
        check_seed(self.seed)


@dataclass(frozen=True)
class StepRecord:
    """Record of one generator step, with the losses of the last discriminator step before it.

    Losses are without penalties, in nats for cross-entropies. For wgan-gp they are in the units of
    the samples that the critic sees.
    """

    epoch: int
    step: int
    loss_d: float
    loss_g: float


@dataclass(frozen=True)
class EpochRecord:
    """Record of one epoch: the means of its steps' losses. Systems add what ended their epoch."""

    epoch: int
    step: int
    loss_d: float
    loss_g: float


def finite_values(losses: tuple[Tensor, ...], step: int) -> Tensor:
    """Return the losses of a step as float64 [len(losses)] on the CPU.

    Raises:
        TrainingCollapsed: one of them is not finite.
    """
    values = torch.stack(losses).detach().double().cpu()
    if not values.isfinite().all():
        raise TrainingCollapsed(f"a loss is not finite at step {step}; a smaller --lr may help")
    return values


def steps_per_epoch(n_images: int, batch_size: int) -> int:
    """Return the default number of steps: one pass, but at least `SHORTEST_EPOCH`."""
    return max(n_images // batch_size, SHORTEST_EPOCH)


def reseed(rng: np.random.Generator, seed: int) -> None:
    """Reseed a NumPy generator in place, for all that hold it."""
    rng.bit_generator.state = np.random.default_rng(seed).bit_generator.state


def known_device(name: str) -> torch.device:
    """Return the torch device of a name, whether or not there is one here; `auto` is one here.

    Raises:
        ValueError: the name is neither the CPU nor a CUDA device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise ValueError(f"unknown `device` {name!r}; choose from auto, cpu, cuda, cuda:N")
    return device


def pick_device(name: str) -> torch.device:
    """Return the torch device of a name; `auto` is CUDA if available, else the CPU.

    Raises:
        ValueError: the name is neither the CPU nor a CUDA device, or there is no such CUDA device.
    """
    device = known_device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        n_devices = torch.cuda.device_count()
        raise ValueError(f"`device` {name!r} is a CUDA device, and torch finds {n_devices} of them")
    return device


def limit_threads(n_qubits: int) -> None:
    """Compute on one CPU thread if circuits are small: more threads would wait for each other."""
    if n_qubits < _THREADS_PAY:
        torch.set_num_threads(1)


class EMA(nn.Module):
    """Exponential moving average of a module's weights (Yazici et al., arXiv:1806.04498).

    Buffers are copied. The decay grows from 0 to `decay` with the number of updates, so that early
    averages forget the initial weights. The averaged module always stays in evaluation mode.
    """

    n_updates: Tensor

    def __init__(self, module: nn.Module, decay: float = 0.995) -> None:
        super().__init__()
        self.module = copy.deepcopy(module).requires_grad_(False).eval()
        self.decay = decay
        self.register_buffer("n_updates", torch.tensor(0))

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Move the average towards the weights of `module`, and copy its buffers."""
        self.n_updates += 1
        decay = min(self.decay, (1 + self.n_updates.item()) / (10 + self.n_updates.item()))
        for average, weight in zip(self.module.parameters(), module.parameters(), strict=True):
            average.lerp_(weight, 1 - decay)
        self.copy_buffers(module)

    def copy_buffers(self, module: nn.Module) -> None:
        """Copy the buffers of `module`."""
        for buffer, value in zip(self.module.buffers(), module.buffers(), strict=True):
            buffer.copy_(value)

    def train(self, mode: bool = True) -> EMA:
        """Change nothing: a picture must not depend on the pictures that are drawn beside it."""
        return self

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.module(*inputs)


class Trained(Protocol):
    """Two networks with their optimisers: the common part of the systems that torch trains."""

    epoch: int
    step: int
    random: RandomState

    @property
    def optimizer_g(self) -> torch.optim.Optimizer: ...

    @property
    def optimizer_d(self) -> torch.optim.Optimizer: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: Mapping[str, Any]) -> object: ...


def training_state(gan: Trained) -> dict[str, Any]:
    """Return all that training needs to continue as if it had never stopped."""
    return {
        "model": gan.state_dict(),
        "optimizer_g": gan.optimizer_g.state_dict(),
        "optimizer_d": gan.optimizer_d.state_dict(),
        "epoch": gan.epoch,
        "step": gan.step,
        "random": gan.random.state_dict(),
    }


def load_training_state(gan: Trained, state: dict[str, Any]) -> None:
    """Restore the state that `training_state` returned."""
    gan.load_state_dict(state["model"])
    gan.optimizer_g.load_state_dict(state["optimizer_g"])
    gan.optimizer_d.load_state_dict(state["optimizer_d"])
    gan.epoch, gan.step = state["epoch"], state["step"]
    gan.random.load_state_dict(state["random"])


def check_switch(switch_after_epochs: int | None, n_epochs: int, differs: bool) -> None:
    """Check that a change of engine happens during a run and changes something.

    Args:
        switch_after_epochs: number of epochs on the exact engine, or None for no change.
        n_epochs: number of epochs of the run.
        differs: whether the later engine differs from the exact one.

    Raises:
        ValueError: the later engine would never be used, or it is the exact one.
    """
    if switch_after_epochs is None:
        return
    if not 1 <= switch_after_epochs < n_epochs:
        raise ValueError(
            f"`switch_after_epochs` must be at least 1 and less than the run's {n_epochs} epochs, "
            f"got {switch_after_epochs}"
        )
    if not differs:
        raise ValueError(
            "`switch_after_epochs` would change nothing, since all epochs use the exact engine; "
            "name a sampler or shots"
        )


def describe_engine(sampler: str, shots: int, switch_after_epochs: int | None) -> str:
    """Return a phrase for the console and the report: the sampler, its shots, and when it began."""
    epochs = "1 epoch" if switch_after_epochs == 1 else f"{switch_after_epochs} epochs"
    switched = f" after {epochs}" if switch_after_epochs else ""
    return f"sampler {sampler}{switched}" + (f", {shots:,} shots" if shots else "")


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that memory did not suffice. Torch has no type for the CPU's."""
    told = re.search("allocate memory|(enough|insufficient|out of) memory", str(error), re.I)
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and told is not None
    )


def read_state(path: Path, device: torch.device | str = "cpu") -> Any:
    """Return what torch saved in a file, on `device`. Only tensors and plain values are unpickled.

    Raises:
        ValueError: the file is damaged.
        OSError: it cannot be read.
        MemoryError, RuntimeError: it does not fit; see `is_out_of_memory`.
    """
    try:
        # torch does not compare the checksums of what it reads
        with ZipFile(path) as archive:
            if (record := archive.testzip()) is not None:
                raise ValueError(f"bad checksum of {record}")
            if any(name.endswith("/constants.pkl") for name in archive.namelist()):
                raise ValueError("a TorchScript archive, of which torch would only warn")
        return torch.load(path, map_location=device, weights_only=True)
    # a file cut short fails in many ways, each deep inside torch or zipfile
    except Exception as error:
        if isinstance(error, OSError) or is_out_of_memory(error):
            raise
        raise ValueError(f"{path} is damaged ({type(error).__name__})") from None


class DecayingAdam(torch.optim.Adam):
    """Adam for networks, whose learning rate at step k is lr / (1 + k / half_steps).

    At a constant rate the two players of a GAN circle around each other forever. The defaults
    settle every case of `qcaan compare qgan`, for both players of the QGAN.

    Args:
        params: weights, as torch's optimisers take them.
        lr: learning rate at the start.
        betas: decay rates of the two moments.
        half_steps: number of steps after which the rate is halved.
        n_steps: number of the first step.
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float = 0.02,
        *,
        betas: tuple[float, float] = (0.5, 0.99),
        half_steps: float = HALF_STEPS,
        n_steps: int = 0,
    ) -> None:
        group = {"params": params, "first_lr": lr, "half_steps": half_steps, "n_steps": n_steps}
        super().__init__([group], lr, betas)

    def step(self, closure: Any = None) -> Any:
        """Set the rate of this step, and take the step."""
        for group in self.param_groups:
            group["lr"] = group["first_lr"] / (1 + group["n_steps"] / group["half_steps"])
            group["n_steps"] += 1
        return super().step(closure)


def load_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Restore the state that the `state_dict` of a torch optimiser returned.

    Raises:
        ValueError: the state is that of an optimiser of another kind. Torch itself would find that
            out only in the next step.
    """
    here = [set(group) for group in optimizer.param_groups]
    there = [set(group) for group in state["param_groups"]]
    if here != there:
        raise ValueError("the state is that of an optimiser of another kind")
    optimizer.load_state_dict(state)
