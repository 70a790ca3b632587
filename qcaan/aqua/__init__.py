"""The names of Qiskit Aqua's quantum GAN, around `qcaan.QGAN`.

An Aqua script runs after its imports are changed:

    from qcaan.aqua import QGAN, NumPyDiscriminator, QuantumInstance, aqua_globals

Signatures are those of Aqua 0.9.5. The documentation lists what is different on purpose.
"""

from qcaan.aqua.discriminators import (
    DiscriminativeNetwork,
    NumPyDiscriminator,
    PyTorchDiscriminator,
)
from qcaan.aqua.generators import GenerativeNetwork, QuantumGenerator
from qcaan.aqua.instance import AquaError, QuantumInstance, aqua_globals
from qcaan.aqua.optimizers import ADAM, COBYLA
from qcaan.aqua.qgan import QGAN

__all__ = [
    "ADAM",
    "COBYLA",
    "QGAN",
    "AquaError",
    "DiscriminativeNetwork",
    "GenerativeNetwork",
    "NumPyDiscriminator",
    "PyTorchDiscriminator",
    "QuantumGenerator",
    "QuantumInstance",
    "aqua_globals",
]
