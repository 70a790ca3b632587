"""What every training run needs: seeds, a run directory that nothing is lost from, checkpoints, an averaged generator."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn


class TrainingCollapsed(RuntimeError):
    """Training cannot go on; the message says what happened at which step."""


def seed_everything(seed: int) -> None:
    """Seed torch's global generators; NumPy's randomness here is all in generators that are handed around."""
    torch.manual_seed(seed)


def pick_device(name: str) -> torch.device:
    """`auto` is CUDA if present, else the CPU; any other name is taken as torch takes it.

    Raises:
        ValueError: neither the CPU nor a CUDA device, or CUDA asked for where there is none.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise ValueError(f"unknown device {name!r}; choose auto, cpu, cuda or cuda:N")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(
            f"device {name!r} asks for a CUDA device, and torch sees {torch.cuda.device_count()}"
        )
    return device


def use_one_thread() -> None:
    """Compute on one CPU thread: where matrices are small, the others only wait for the first."""
    torch.set_num_threads(1)


def random_state() -> dict[str, Tensor]:
    """State of torch's generators on the CPU and, where there is one, the GPU."""
    state = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def set_random_state(state: dict[str, Tensor]) -> None:
    """Put back what `random_state` gave."""
    torch.set_rng_state(state["cpu"].cpu())
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"].cpu())


class EMA(nn.Module):
    """Exponential moving average of a module's weights; buffers are copied (Yazici et al., arXiv:1806.04498).

    The decay grows from 0 to `decay` with the number of updates, so that early averages are not of the initial weights.
    """

    n_updates: Tensor

    def __init__(self, module: nn.Module, decay: float = 0.995) -> None:
        super().__init__()
        self.module = copy.deepcopy(module).requires_grad_(False).eval()
        self.decay = decay
        self.register_buffer("n_updates", torch.tensor(0))

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        self.n_updates += 1
        decay = min(self.decay, (1 + self.n_updates.item()) / (10 + self.n_updates.item()))
        for average, weight in zip(self.module.parameters(), module.parameters(), strict=True):
            average.lerp_(weight, 1 - decay)
        for buffer, value in zip(self.module.buffers(), module.buffers(), strict=True):
            buffer.copy_(value)

    def train(self, mode: bool = True) -> EMA:
        """Change nothing: averages only draw, and what they draw must not depend on what is drawn beside it."""
        return self

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.module(*inputs)


class Trained(Protocol):
    """Networks of one run with their optimisers: what the systems trained by `torch` have in common."""

    epoch: int
    step: int

    @property
    def optimizer_g(self) -> torch.optim.Optimizer: ...

    @property
    def optimizer_d(self) -> torch.optim.Optimizer: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: Mapping[str, Any]) -> object: ...


def training_state(gan: Trained) -> dict[str, Any]:
    """All that a training needs to go on as if it had never stopped, torch's global random state included."""
    return {
        "model": gan.state_dict(),
        "optimizer_g": gan.optimizer_g.state_dict(),
        "optimizer_d": gan.optimizer_d.state_dict(),
        "epoch": gan.epoch,
        "step": gan.step,
        "random": random_state(),
    }


def load_training_state(gan: Trained, state: dict[str, Any]) -> None:
    """Put back what `training_state` gave."""
    gan.load_state_dict(state["model"])
    gan.optimizer_g.load_state_dict(state["optimizer_g"])
    gan.optimizer_d.load_state_dict(state["optimizer_d"])
    gan.epoch, gan.step = state["epoch"], state["step"]
    set_random_state(state["random"])


def check_switch(switch_at: int | None, n_steps: int, differs: bool) -> None:
    """Raise ValueError if the sampler would never be used, or nothing `differs` where it is."""
    if switch_at is None:
        return
    if not 0 <= switch_at < n_steps:
        raise ValueError(
            f"switch_at must be at least 0 and less than the run's {n_steps} steps, got {switch_at}"
        )
    if not differs:
        raise ValueError(
            "switch_at would change nothing: all steps are on the exact engine; name a sampler or shots"
        )


def described(sampler: str, shots: int, switch_at: int | None) -> str:
    """What ran a run's circuits, in words for its console line and its report."""
    switched = f" from step {switch_at} on" if switch_at else ""
    return f"sampler {sampler}{switched}" + (f", {shots:,} shots" if shots else "")
