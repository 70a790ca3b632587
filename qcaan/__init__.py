"""Quantum circuits as priors of image GANs: the quantum circuit associative adversarial network and its parts."""

from qcaan.ansatz import Ansatz, make_ansatz
from qcaan.data import ImageSet, load_images
from qcaan.gans.associative import AssociativeConfig, AssociativeGAN
from qcaan.networks import Discriminator, Generator
from qcaan.priors import Bernoulli, FitReport, Gaussian, Prior
from qcaan.qcbm import QCBM
from qcaan.samplers import make_sampler

__all__ = [
    "QCBM",
    "Ansatz",
    "AssociativeConfig",
    "AssociativeGAN",
    "Bernoulli",
    "Discriminator",
    "FitReport",
    "Gaussian",
    "Generator",
    "ImageSet",
    "Prior",
    "load_images",
    "make_ansatz",
    "make_sampler",
]
__version__ = "0.1.0"
