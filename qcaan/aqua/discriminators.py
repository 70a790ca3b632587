"""Aqua's discriminators, and the base class of a user's own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from qcaan.aqua.instance import AquaError, QuantumInstance, aqua_globals
from qcaan.checks import Floats
from qcaan.files import atomic_write
from qcaan.gans.distribution.discriminator import GridDiscriminator
from qcaan.networks import PointMLP
from qcaan.randomness import RandomState, isolated
from qcaan.training import read_state

# smallest label in a logarithm, as in Aqua
SMALLEST = 1e-4


class DiscriminativeNetwork(ABC):
    """Base of discriminators. `QGAN` trains with the `train` and `get_label` of a subclass."""

    params: Any = None

    @abstractmethod
    def set_seed(self, seed: int) -> None:
        """Set the random seed."""

    @abstractmethod
    def get_label(self, x: ArrayLike) -> Any:
        """Return labels in (0, 1) of samples [m, k], 1 for real."""

    @abstractmethod
    def save_model(self, snapshot_dir: str) -> None:
        """Save the model into a folder."""

    @abstractmethod
    def loss(self, x: Any, y: Any, weights: Any = None) -> Any:
        """Return the loss of labels x if the labels y are right."""

    @abstractmethod
    def train(
        self,
        data: Sequence[ArrayLike],
        weights: Sequence[ArrayLike],
        penalty: bool = False,
        quantum_instance: QuantumInstance | None = None,
        shots: int | None = None,
    ) -> dict[str, Any]:
        """Take one step, and return `loss` and `params`.

        Args:
            data: real and generated samples, [m, k] each.
            weights: their weights, [m] each.
        """

    def update(self, points: Tensor, real: Tensor, fake: Tensor) -> float:
        """Take one step on points [m, k] with their probabilities [m], and return the loss."""
        samples = points.numpy()
        result = self.train([samples, samples], [real.numpy(), fake.numpy()])
        self.params = result["params"]
        return float(np.squeeze(result["loss"]))

    def slope(self, points: Tensor) -> Tensor:
        """Return the derivatives [m], float64, of the generator's loss at points [m, k]."""
        labels = torch.as_tensor(self.get_label(points.numpy())).detach().double().flatten()
        return -labels.clamp_min(SMALLEST).log()

    def state_dict(self) -> dict[str, Any]:
        """Return nothing: the state of a user's own discriminator is unknown."""
        return {}

    # not abstract, so that Aqua's subclasses run
    def load_state_dict(self, state: dict[str, Any]) -> None:  # noqa: B027
        """Do nothing: the state of a user's own discriminator is unknown."""


class PyTorchDiscriminator(DiscriminativeNetwork):
    """A network of 512 and 256 hidden units.

    Args:
        n_features: number of dimensions of the data.
        n_out: number of outputs, which is 1.

    Raises:
        AquaError: one of them is out of range.
    """

    _widths: tuple[int, ...] = (512, 256)

    def __init__(self, n_features: int = 1, n_out: int = 1) -> None:
        if n_features < 1 or n_out != 1:
            raise AquaError(
                "`n_features` must be at least 1 and `n_out` must be 1, "
                f"got {n_features} and {n_out}"
            )
        with isolated(RandomState(int(aqua_globals.random.integers(2**31)))):
            self._net = PointMLP(torch.tensor([[-1.0, 1.0]] * n_features), self._widths)
        self._player = GridDiscriminator(self._net)

    @property
    def discriminator_net(self) -> nn.Module:
        """Network from samples [m, k] in data units to logits [m]. It can be set to another one.

        See `qcaan.gans.distribution.discriminator.GridDiscriminator` for the samples' dtype.
        """
        return self._player.net

    @discriminator_net.setter
    def discriminator_net(self, net: nn.Module) -> None:
        self._player = GridDiscriminator(net)

    def scale(self, bounds: Floats) -> None:
        """Scale data from `bounds` [k, 2] to [-1, 1] before the network; `QGAN` calls this."""
        if len(bounds) == len(self._net.centre):
            self._net.centre.copy_(torch.from_numpy(bounds.mean(1)))
            self._net.radius.copy_(torch.from_numpy(np.ptp(bounds, axis=1) / 2))

    def set_seed(self, seed: int) -> None:
        """Set the seed of Aqua's global random state."""
        aqua_globals.random_seed = seed

    def get_label(self, x: ArrayLike, detach: bool = False) -> Any:
        """Return labels [m, 1] in (0, 1) of samples [m, k]: a tensor, or detached, an array."""
        samples = x if isinstance(x, Tensor) else torch.from_numpy(np.array(x, np.float64))
        labels = self._player.logits(samples).reshape(-1, 1).sigmoid()
        return labels.detach().numpy() if detach else labels

    def loss(self, x: Any, y: Any, weights: Any = None) -> Any:
        """Return the binary cross-entropy of labels x if the labels y are right.

        It is the mean, or with weights the sum.
        """
        labels, right = torch.as_tensor(x), torch.as_tensor(y)
        each = -(
            right * labels.clamp_min(SMALLEST).log()
            + (1 - right) * (1 - labels).clamp_min(SMALLEST).log()
        )
        return (
            each.mean()
            if weights is None
            else (each * torch.as_tensor(weights).reshape(each.shape)).sum()
        )

    def train(
        self,
        data: Sequence[ArrayLike],
        weights: Sequence[ArrayLike],
        penalty: bool = False,
        quantum_instance: QuantumInstance | None = None,
        shots: int | None = None,
    ) -> dict[str, Any]:
        """Take one step on real and generated samples, and return `loss` and `params`."""
        if penalty:
            raise AquaError("`penalty` is not supported; qcaan.QGAN(..., loss='wgan-gp') has one")
        real, fake, of_real, of_fake = (
            torch.from_numpy(np.array(part, np.float64)) for part in (*data, *weights)
        )
        points = torch.cat([part.reshape(len(part), -1) for part in (real, fake)])  # (m + m', k)
        loss = self._player.update(
            points,
            torch.cat([of_real.flatten(), real.new_zeros(len(fake))]),
            torch.cat([fake.new_zeros(len(real)), of_fake.flatten()]),
        )
        return {"loss": loss, "params": self._player.params}

    def save_model(self, snapshot_dir: str) -> None:
        """Write the weights and the optimiser's state to discriminator.pt in a folder."""
        with atomic_write(Path(snapshot_dir) / "discriminator.pt") as buffer:
            torch.save(self.state_dict(), buffer)

    def load_model(self, load_dir: str) -> None:
        """Load the state that `save_model` wrote.

        Args:
            load_dir: path of its file, or of the folder.

        Raises:
            AquaError: the file is damaged, or is of another network.
            OSError: it cannot be read.
        """
        path = Path(load_dir)
        state = read_state(path / "discriminator.pt" if path.is_dir() else path)
        try:
            self.load_state_dict(state)
        except (KeyError, TypeError, RuntimeError):
            raise AquaError(f"{path} does not hold a discriminator of this kind") from None

    def state_dict(self) -> dict[str, Any]:
        """Return all that training needs to continue."""
        return self._player.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state that `state_dict` returned."""
        self._player.load_state_dict(state)


class NumPyDiscriminator(PyTorchDiscriminator):
    """A network of 50 and 20 hidden units, as Aqua's had, whose labels are arrays.

    Torch runs it.
    """

    _widths = (50, 20)

    def get_label(self, x: ArrayLike, detach: bool = False) -> NDArray[np.float32]:
        """Return labels [m, 1] in (0, 1) of samples [m, k]."""
        return np.asarray(super().get_label(x, detach=True))
