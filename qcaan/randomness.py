"""Random draws of torch without its global random state, and networks without its defaults."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from qcaan.checks import SEEDS, check_seed

# names of torch's functions that draw, the initialisers of `torch.nn.init` among them
_DRAWS = {
    "rand", "randn", "randint", "randperm", "rand_like", "randn_like", "randint_like",
    "normal", "multinomial", "bernoulli", "poisson",
    "uniform_", "normal_", "random_", "bernoulli_", "exponential_", "geometric_", "log_normal_",
    "cauchy_", "trunc_normal_", "kaiming_uniform_", "kaiming_normal_", "xavier_uniform_",
    "xavier_normal_", "orthogonal_", "sparse_",
}  # fmt: skip
# names of functions that make tensors of the default dtype, and on the default device
_OF_DEFAULT_DTYPE = {"empty", "zeros", "ones", "rand", "randn", "eye", "linspace"}
_ON_DEFAULT_DEVICE = _OF_DEFAULT_DTYPE | {"arange", "full", "tensor", "randint", "randperm"}
_CHANGED = _DRAWS | _ON_DEFAULT_DEVICE


class RandomState:
    """Torch's random generators of one owner, one for each device that it draws on.

    The draws of `RandomState(seed)` equal those of torch's global random state after
    `torch.manual_seed(seed)`. They do not depend on what else is drawn in the process.

    Args:
        seed: seed from 0 to below 2**63; default another one each time.
    """

    def __init__(self, seed: int | None = None) -> None:
        self.reseed(secrets.randbelow(SEEDS) if seed is None else seed)

    def reseed(self, seed: int) -> None:
        """Start the draws on all devices anew."""
        self._seed = check_seed(seed)
        self._generators: dict[torch.device, torch.Generator] = {}
        self._loaded: dict[str, Tensor] = {}

    def on(self, device: torch.device | str) -> torch.Generator:
        """Return the generator of the draws on a device."""
        device = torch.device(device)
        if device.type == "cuda" and device.index is None:
            device = torch.device("cuda", torch.cuda.current_device())
        if device not in self._generators:
            made = torch.Generator(device).manual_seed(self._seed)
            if device.type in self._loaded:
                made.set_state(self._loaded[device.type])
            self._generators[device] = made
        return self._generators[device]

    def normal(self, *shape: int, device: torch.device | str) -> Tensor:
        """Draw a tensor float32 [*shape] from N(0, 1)."""
        on = self.on(device)
        return torch.randn(shape, dtype=torch.float32, device=device, generator=on)

    def uniform(self, *shape: int, device: torch.device | str) -> Tensor:
        """Draw a tensor float32 [*shape] uniform in [0, 1)."""
        on = self.on(device)
        return torch.rand(shape, dtype=torch.float32, device=device, generator=on)

    def whole(self, below: int, *shape: int, device: torch.device | str) -> Tensor:
        """Draw a tensor int64 [*shape] of whole numbers from 0 to less than `below`."""
        return torch.randint(below, shape, device=device, generator=self.on(device))

    def state_dict(self) -> dict[str, Tensor]:
        """Return the states of the generators, by the type of their device."""
        used = {device.type: made.get_state() for device, made in self._generators.items()}
        return {**self._loaded, **used}

    def load_state_dict(self, states: Mapping[str, Tensor]) -> None:
        """Restore the states that `state_dict` returned."""
        self._generators = {}
        self._loaded = {kind: state.cpu() for kind, state in states.items()}


class isolated(TorchFunctionMode):
    """Context in which torch draws from a random state, and makes float32 tensors on one device.

    Networks that are made in it, and priors that draw in it, do not depend on torch's global random
    state, default dtype and default device. None of these is changed, so several threads may be in
    such a context. Dropout still draws from the global state.

    Args:
        random: random state of the draws that name no generator.
        device: device of the tensors that are made without one.
    """

    def __init__(self, random: RandomState, device: torch.device | str = "cpu") -> None:
        super().__init__()
        self._random, self._device = random, torch.device(device)

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        name, given = getattr(func, "__name__", ""), dict(kwargs or {})
        if name not in _CHANGED:  # all but a few functions
            return func(*args, **given)

        def default(key: str, value: object) -> None:
            if given.get(key) is None:
                given[key] = value

        if name in _ON_DEFAULT_DEVICE:
            default("device", self._device)
        if name in _OF_DEFAULT_DTYPE:
            default("dtype", torch.float32)
        if name in _DRAWS:
            tensors = [each for each in (*args, *given.values()) if isinstance(each, Tensor)]
            default("generator", self._random.on(tensors[0].device if tensors else given["device"]))
        return func(*args, **given)
