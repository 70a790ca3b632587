# %% [markdown]
# # A prior of your own
#
# The prior of a QC-AAN can be any distribution over bits. This notebook writes one, a mixture of
# product distributions, and trains a GAN with it. That is how a new prior is compared with the
# circuit: the same networks, the same data, another class.

# %%
import os
from typing import Any

import torch
from PIL import Image
from torch import Tensor

import qcaan
from qcaan.bits import BitsLike, as_bits, product_probabilities, target_probabilities
from qcaan.checks import whole
from qcaan.gans.associative.gan import EpochRecord
from qcaan.priors.base import BitPrior
from qcaan.priors.report import FitReport, compare
from qcaan.runs.pictures import grid

TOY = os.environ.get("QCAAN_TOY") == "1"

# %% [markdown]
# ## The class
#
# `BitPrior` turns bits into the generator's input, adds noise if asked, and reports the distance to
# the bits after a fit. A subclass needs two methods:
#
# - `_fit(bits)` gets bits uint8 [m, n_bits] and returns a `FitReport`;
# - `_draw(n)` returns bits float32 [n, n_bits] in {0, 1}, for n of at least 1.
#
# All that a resumed run needs is kept in buffers, so that it is part of `state_dict()`. The method
# `distances` is optional: with it, reports have the KL beside the KL of the product of marginals.


# %%
class Mixture(BitPrior):
    """A mixture of product distributions, fitted by expectation maximisation.

    Its loss is the negative log-likelihood, in nats.

    Args:
        n_bits, dither, noise_dims: see `BitPrior`.
        n_components: number of product distributions.
        steps: number of steps of a fit.
    """

    weights: Tensor
    ones: Tensor

    def __init__(
        self,
        n_bits: int,
        dither: float = 0.0,
        noise_dims: int = 0,
        *,
        n_components: int = 16,
        steps: int = 50,
    ) -> None:
        super().__init__(n_bits, dither, noise_dims)
        self.steps = whole("steps", steps)
        n = whole("n_components", n_components)
        self.register_buffer("weights", torch.full((n,), 1 / n, dtype=torch.float64))
        # P(bit = 1) in each component
        self.register_buffer("ones", 0.25 + 0.5 * torch.rand(n, n_bits, dtype=torch.float64))

    def _fit(self, bits: Tensor) -> FitReport:
        x = bits.double()  # (m, n_bits)
        before = self._nll(x)
        for _ in range(self.steps):
            shares = torch.softmax(self._log_joint(x), 1)  # (m, components)
            sizes = shares.sum(0)
            # pseudo-counts keep all probabilities above 0
            self.weights.copy_((sizes + 1) / (sizes + 1).sum())
            self.ones.copy_((shares.T @ x + 1) / (sizes[:, None] + 2))
        return FitReport(before, self._nll(x))

    def _draw(self, n: int) -> Tensor:
        component = torch.multinomial(self.weights, n, replacement=True)
        chances = self.ones[component]  # (n, n_bits)
        return (torch.rand(n, self.dim, device=self.device) < chances).float()

    def distances(self, bits: BitsLike) -> dict[str, Any]:
        bits = as_bits(bits, self.dim, self.device)
        parts = torch.stack([product_probabilities(ones) for ones in self.ones])
        return compare(target_probabilities(bits, 1), (self.weights @ parts)[None], bits)

    def _log_joint(self, x: Tensor) -> Tensor:
        chances = x @ self.ones.log().T + (1 - x) @ (1 - self.ones).log().T
        return self.weights.log() + chances  # (m, components)

    def _nll(self, x: Tensor) -> float:
        return float(-torch.logsumexp(self._log_joint(x), 1).mean())


# %% [markdown]
# ## Does it learn?
#
# Two equal bits and a free one: a product of marginals misses the correlation, a mixture finds it.

# %%
torch.manual_seed(0)
bits = torch.randint(2, (2000, 3))
bits[:, 1] = bits[:, 0]
prior = Mixture(3, n_components=4)
report = prior.fit(bits)
print(report.summary())
assert report.kl < 0.1 < report.kl_product

# %% [markdown]
# `state_dict()` must hold all of it: a copy that loads the state draws from the same distribution.

# %%
copy = Mixture(3, n_components=4)
copy.load_state_dict(prior.state_dict())
assert copy.distances(bits) == prior.distances(bits)

# %% [markdown]
# ## In a GAN
#
# The networks are built for the width of a prior. So the configuration names a prior of the same
# width, and the attribute `prior` is replaced before training starts.

# %%
images = qcaan.load_images("mnist-5k", classes=(3, 7, 9)).images
sizes = {"epochs": 1, "steps_per_epoch": 2, "width": 8} if TOY else {"epochs": 4}
config = qcaan.AssociativeConfig(prior="product", latent_dim=12, prompt=False, seed=1, **sizes)
gan = qcaan.AssociativeGAN(config.resolved(len(images)), (1, 28, 28))
prior = Mixture(12, dither=config.dither).to(gan.device)
assert (prior.dim, prior.latent_dim) == (gan.prior.dim, gan.prior.latent_dim)
gan.prior = prior

for record in qcaan.train_associative(gan, images):
    if isinstance(record, EpochRecord):
        print(f"epoch {record.epoch}: {record.fit.summary()}")

# %%
pictures, _ = gan.generate(40)
Image.fromarray(grid(pictures, n_columns=10))

# %% [markdown]
# ## As an option of the command line
#
# In the package, the class goes into `qcaan/priors/`. Its name goes into `PriorName` and its class
# into the table of classes in `qcaan/priors/make.py`. Then `qcaan train --prior NAME` trains with
# it, and a cell in `qcaan compare priors` compares it with all other priors over several seeds.
