"""Quantum circuits as priors of image GANs: the QC-AAN, its parts, and its sibling quantum GANs.

These are all public names. They are imported when they are first used.

Systems, each with its configuration, its networks, and a function that trains and yields records:

- QC-AAN: `AssociativeConfig`, `AssociativeGAN`, `train_associative`
- image QGAN: `ImageConfig`, `ImageGAN`, `train_image`
- hybrid WGAN-GP QGAN: `WassersteinConfig`, `WassersteinGAN`, `train_wasserstein`
- QGAN of distributions: `DistributionConfig`, `QGAN`, `train_distribution`

Runs on disk: `load_run`, `Run`. Ready-made models: `from_pretrained`, `Pretrained`, `push_to_hub`.
A page to play with a circuit: `write_page`. Data: `load_images`, `ImageSet`, `load_samples`.

Priors: `Prior`, `FitReport`, `QCBM`, `IQP`, `Shuffled`, `Gaussian`, `Bernoulli`, `Product`,
`ChowLiu`, `Histogram`, `PerLabel`, `RBM`, `QBM`. Circuits: `Ansatz`, `make_ansatz`, `QuantumLayer`,
`make_sampler`. Networks: `Generator`, `Discriminator`.

>>> import qcaan
>>> prior = qcaan.QCBM(2, 2, shots=0, fit_evals=50, bank_shots=100, seed=0)
>>> report = prior.fit([[0, 0], [1, 1]])
>>> report.loss_after < report.loss_before
True
>>> prior.sample(3).shape
torch.Size([3, 2])
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qcaan.circuits.ansatz import Ansatz, make_ansatz
    from qcaan.circuits.layers import QuantumLayer
    from qcaan.data.images import ImageSet, load_images
    from qcaan.data.samples import load_samples
    from qcaan.gans.associative.config import AssociativeConfig
    from qcaan.gans.associative.gan import AssociativeGAN
    from qcaan.gans.associative.gan import train as train_associative
    from qcaan.gans.distribution.config import DistributionConfig
    from qcaan.gans.distribution.qgan import QGAN
    from qcaan.gans.distribution.qgan import train as train_distribution
    from qcaan.gans.image.config import ImageConfig
    from qcaan.gans.image.gan import ImageGAN
    from qcaan.gans.image.gan import train as train_image
    from qcaan.gans.wasserstein.config import WassersteinConfig
    from qcaan.gans.wasserstein.gan import WassersteinGAN
    from qcaan.gans.wasserstein.gan import train as train_wasserstein
    from qcaan.networks import Discriminator, Generator
    from qcaan.priors.base import Prior
    from qcaan.priors.boltzmann import QBM, RBM
    from qcaan.priors.classical import Bernoulli, Gaussian, Histogram, Product
    from qcaan.priors.iqp import IQP
    from qcaan.priors.per_label import PerLabel
    from qcaan.priors.qcbm import QCBM
    from qcaan.priors.report import FitReport
    from qcaan.priors.shuffled import Shuffled
    from qcaan.priors.tree import ChowLiu
    from qcaan.runs.loading import Run, load_run
    from qcaan.runs.pages import write_page
    from qcaan.runs.pretrained import Pretrained, from_pretrained, push_to_hub
    from qcaan.samplers.names import make_sampler

__version__ = version("qcaan")

# public name: its module, and its name there if that is another
_PLACES = {
    "AssociativeConfig": "gans.associative.config",
    "AssociativeGAN": "gans.associative.gan",
    "train_associative": "gans.associative.gan:train",
    "ImageConfig": "gans.image.config",
    "ImageGAN": "gans.image.gan",
    "train_image": "gans.image.gan:train",
    "WassersteinConfig": "gans.wasserstein.config",
    "WassersteinGAN": "gans.wasserstein.gan",
    "train_wasserstein": "gans.wasserstein.gan:train",
    "DistributionConfig": "gans.distribution.config",
    "QGAN": "gans.distribution.qgan",
    "train_distribution": "gans.distribution.qgan:train",
    "load_run": "runs.loading",
    "Run": "runs.loading",
    "from_pretrained": "runs.pretrained",
    "Pretrained": "runs.pretrained",
    "push_to_hub": "runs.pretrained",
    "write_page": "runs.pages",
    "load_images": "data.images",
    "ImageSet": "data.images",
    "load_samples": "data.samples",
    "Prior": "priors.base",
    "FitReport": "priors.report",
    "QCBM": "priors.qcbm",
    "IQP": "priors.iqp",
    "Shuffled": "priors.shuffled",
    "Gaussian": "priors.classical",
    "Bernoulli": "priors.classical",
    "Product": "priors.classical",
    "ChowLiu": "priors.tree",
    "Histogram": "priors.classical",
    "PerLabel": "priors.per_label",
    "RBM": "priors.boltzmann",
    "QBM": "priors.boltzmann",
    "Ansatz": "circuits.ansatz",
    "make_ansatz": "circuits.ansatz",
    "QuantumLayer": "circuits.layers",
    "make_sampler": "samplers.names",
    "Generator": "networks",
    "Discriminator": "networks",
}
__all__ = [  # noqa: RUF022  in groups, not sorted
    # systems
    "AssociativeConfig",
    "AssociativeGAN",
    "train_associative",
    "ImageConfig",
    "ImageGAN",
    "train_image",
    "WassersteinConfig",
    "WassersteinGAN",
    "train_wasserstein",
    "DistributionConfig",
    "QGAN",
    "train_distribution",
    # runs and data
    "load_run",
    "Run",
    "from_pretrained",
    "Pretrained",
    "push_to_hub",
    "load_images",
    "ImageSet",
    "load_samples",
    # priors
    "Prior",
    "FitReport",
    "QCBM",
    "IQP",
    "Shuffled",
    "Gaussian",
    "Bernoulli",
    "Product",
    "ChowLiu",
    "Histogram",
    "PerLabel",
    "RBM",
    "QBM",
    # circuits and networks
    "Ansatz",
    "make_ansatz",
    "QuantumLayer",
    "make_sampler",
    "Generator",
    "Discriminator",
    "write_page",
]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, other_name = _PLACES[name].partition(":")
    value = getattr(import_module(f"qcaan.{module}"), other_name or name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
