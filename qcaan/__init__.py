"""Quantum circuits as priors of image GANs: the quantum circuit associative adversarial network and its parts."""

from qcaan.circuits.ansatz import Ansatz, make_ansatz
from qcaan.circuits.layers import QuantumLayer
from qcaan.data.images import ImageSet, load_images
from qcaan.data.samples import load_samples
from qcaan.gans.associative import AssociativeConfig, AssociativeGAN
from qcaan.gans.distribution.qgan import QGAN
from qcaan.networks import Discriminator, Generator
from qcaan.priors.base import FitReport, Prior
from qcaan.priors.boltzmann import QBM, RBM
from qcaan.priors.classical import Bernoulli, Gaussian, Histogram, Product
from qcaan.priors.qcbm import QCBM, Shuffled
from qcaan.samplers.names import make_sampler

__all__ = [
    "QBM",
    "QCBM",
    "QGAN",
    "RBM",
    "Ansatz",
    "AssociativeConfig",
    "AssociativeGAN",
    "Bernoulli",
    "Discriminator",
    "FitReport",
    "Gaussian",
    "Generator",
    "Histogram",
    "ImageSet",
    "Prior",
    "Product",
    "QuantumLayer",
    "Shuffled",
    "load_images",
    "load_samples",
    "make_ansatz",
    "make_sampler",
]
__version__ = "0.1.0"
