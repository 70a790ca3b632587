"""What torchrun starts for test_processes.py: a toy training whose batch normalisation is frozen.

The argument is a folder. Each process saves its losses, weights and random states there.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import nn

import qcaan
from qcaan.gans.associative.config import AssociativeConfig
from qcaan.gans.associative.gan import AssociativeGAN, train
from qcaan.processes import joined
from qcaan.training import StepRecord

folder = Path(sys.argv[1])
data = qcaan.load_images("digits8x8", classes=(3, 7))
config = AssociativeConfig(
    digits=(3, 7), data="digits8x8", epochs=1, steps_per_epoch=6, batch_size=128, width=4,
    n_qubits=2, n_layers=2, fit_evals=30, bank_shots=200, device="cpu",
)  # fmt: skip
with joined() as processes:
    gan = AssociativeGAN(config, (1, 28, 28))
    for layer in gan.generator.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.train = lambda mode=True, layer=layer: nn.Module.train(layer, False)
    records = train(gan, data.images, data.labels, processes)
    losses = [(r.loss_d, r.loss_g) for r in records if isinstance(r, StepRecord)]
    state = {"losses": losses, "model": gan.state_dict(), "random": gan.random.state_dict()}
    torch.save(state, folder / f"{processes.rank} of {processes.count}.pt")
