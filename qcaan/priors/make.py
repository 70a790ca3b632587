"""Priors by name: the options that describe a prior, and the function that makes it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import partial
from typing import Literal, get_args

from qcaan.checks import number, one_of, whole
from qcaan.circuits.ansatz import AnsatzName, Basis, check_bases
from qcaan.circuits.iqp import Reach
from qcaan.priors.base import USUAL_DITHER, BitPrior, Prior
from qcaan.priors.boltzmann import QBM, RBM
from qcaan.priors.classical import Bernoulli, Gaussian, Histogram, Product
from qcaan.priors.fitting import FitOptions
from qcaan.priors.iqp import FIT_EVALS, IQP
from qcaan.priors.per_label import PerLabel
from qcaan.priors.qcbm import QCBM, Initial
from qcaan.priors.shuffled import Shuffled
from qcaan.priors.tree import ChowLiu
from qcaan.samplers.names import EXACT, MakeSampler

PriorName = Literal[
    "qcbm", "iqp", "shuffled", "gaussian", "bernoulli", "product", "tree", "histogram", "rbm", "qbm"
]
_CLASSICAL: dict[str, Callable[..., BitPrior]] = {
    "bernoulli": Bernoulli,
    "product": Product,
    "tree": ChowLiu,
    "histogram": Histogram,
    "rbm": RBM,
    "qbm": QBM,
}


@dataclass(frozen=True, kw_only=True)
class PriorOptions:
    """Options of the prior: the distribution that the generator's inputs are drawn from."""

    prior: PriorName = "qcbm"
    """Kind of prior: qcbm, a quantum circuit Born machine; iqp, a wide circuit that is trained
    classically; or a control: shuffled (a QCBM without its correlations), gaussian, bernoulli (fair
    bits), product (fitted marginals), tree (the Chow-Liu tree), histogram (the exact fit), rbm, qbm
    (restricted and quantum Boltzmann machine)."""
    latent_dim: int | None = None
    """Width of the priors without a circuit. Default: 64 for gaussian, the number of bits of the
    QCBM for the others."""
    dither: float = USUAL_DITHER
    """Standard deviation of noise on the bits' signs, which lets one bitstring draw more than one
    picture."""
    draw_spread: float = 1.4
    """Factor on the dither of pictures and scores. More than 1 draws more varied pictures than
    those of training, and 1 the same. 1.4 multiplies the latents of gaussian by 1.09; --noise-dims
    stay as they are."""
    noise_dims: int = 0
    """Number of Gaussian coordinates beside the bits, for the same purpose."""
    prompt: bool = True
    """Learn the label of an image beside its bits: as many more qubits or bits as tell the digits
    apart, none for one digit. The circuit then decides which digit is drawn, and can be asked for
    one. A control has a prior of its own for each digit."""


@dataclass(frozen=True, kw_only=True)
class CircuitOptions(FitOptions):
    """Options of the circuit of a quantum prior, of its engines and of its fits."""

    n_qubits: int = 8
    """Number of qubits; each measurement basis gives as many bits. iqp has one basis, z, and as
    many as 1,000 qubits."""
    reach: Reach = 6
    """Largest distance of two coupled qubits of iqp, below --n-qubits: exact at any width, fitted
    by maximum likelihood. all: all pairs, fitted by MMD; beyond the state vector of about 27 qubits
    only a device can draw."""
    n_layers: int = 4
    """Number of layers of the ansatz, counted as its paper counts them."""
    ansatz: AnsatzName = "ion-trap"
    """Circuit family."""
    bases: tuple[Basis, ...] = ("z", "o")
    """Measurement bases: z, o (RX(pi/2) first), t (an RX with a trained angle first)."""
    sampler: str | None = None
    """Engine that draws the shots: exact (our differentiable engine), aer, aer-gpu, statevector;
    aer-noise:DEVICE (fake_NAME of IBM's, or ionq-aria); devices: ibm:BACKEND, ibm:least_busy,
    ibm:fake_NAME, aqt:ideal, aqt:noisy, aqt:RESOURCE, ionq:simulator, ionq:BACKEND. Default: aer;
    exact for iqp."""
    train_sampler: str | None = None
    """Engine of the fits of a QCBM, if --sampler is only to draw. Those of iqp are always exact."""
    switch_after_epochs: int | None = None
    """Number of epochs on --train-sampler (default: exact) before --sampler is used."""
    mitigate_readout: bool = False
    """Correct the frequencies of shots for readout errors, which are measured once."""
    bank_shots: int = 20_000
    """Number of shots per basis drawn after each fit; the batches of an epoch resample them."""
    initial: Initial = "marginals"
    """Start of the first fit: the target's marginals, or random angles."""


def check_prior_options(prior: PriorOptions, circuit: CircuitOptions) -> None:
    """Check the options that need no circuit to be refused.

    Raises:
        ValueError: one of them is out of range.
    """
    one_of("prior", prior.prior, get_args(PriorName))
    if prior.latent_dim is not None:
        whole("latent_dim", prior.latent_dim)
    number("dither", prior.dither, least=0)
    number("draw_spread", prior.draw_spread, least=0)
    whole("noise_dims", prior.noise_dims, 0)
    whole("n_qubits", circuit.n_qubits)
    check_bases(circuit.bases)
    FitOptions.__post_init__(circuit)
    if circuit.switch_after_epochs is not None:
        whole("switch_after_epochs", circuit.switch_after_epochs)


def sampler_name(prior: PriorOptions, circuit: CircuitOptions) -> str:
    """Return the name of the engine that draws from a quantum prior."""
    return circuit.sampler or (EXACT if prior.prior == "iqp" else "aer")


def make_prior(
    prior: PriorOptions,
    circuit: CircuitOptions,
    *,
    seed: int,
    make_sampler: MakeSampler | None = None,
    labels: Sequence[int] = (),
) -> Prior:
    """Return the prior that the options describe.

    Args:
        prior: kind, width and noise of the prior.
        circuit: circuit, engines and fits of a quantum prior.
        seed: seed of a quantum prior; others draw from torch's global random state.
        make_sampler: maker of the samplers by name; default a new one, without a journal.
        labels: labels of the images, which a prior with `prompt` learns; default none.

    Raises:
        ValueError: an option is out of range.
    """
    check_prior_options(prior, circuit)
    labels = labels if prior.prompt else ()
    if prior.prior == "gaussian":
        return Gaussian(prior.latent_dim or 64, labels=labels)
    if prior.prior in _CLASSICAL:
        width = prior.latent_dim or circuit.n_qubits * len(circuit.bases)
        kind, noise = _CLASSICAL[prior.prior], (prior.dither, prior.noise_dims)
        return PerLabel(partial(kind, width), labels, *noise) if labels else kind(width, *noise)
    if prior.prior == "iqp":
        iqp = IQP(
            circuit.n_qubits,
            circuit.reach,
            sampler=sampler_name(prior, circuit),
            fit_evals=circuit.fit_evals or FIT_EVALS,
            bank_shots=circuit.bank_shots,
            dither=prior.dither,
            noise_dims=prior.noise_dims,
            seed=seed,
            switch_after_epochs=circuit.switch_after_epochs,
            make_sampler=make_sampler,
            labels=labels,
        )
        iqp.check_drawable()
        return iqp
    qcbm = QCBM(
        circuit.n_qubits,
        circuit.n_layers,
        ansatz=circuit.ansatz,
        bases=circuit.bases,
        sampler=sampler_name(prior, circuit),
        train_sampler=circuit.train_sampler,
        switch_after_epochs=circuit.switch_after_epochs,
        mitigate_readout=circuit.mitigate_readout,
        **{field.name: getattr(circuit, field.name) for field in fields(FitOptions)},
        bank_shots=circuit.bank_shots,
        initial=circuit.initial,
        dither=prior.dither,
        noise_dims=prior.noise_dims,
        seed=seed,
        make_sampler=make_sampler,
        labels=labels,
    )
    return qcbm if prior.prior == "qcbm" else Shuffled(qcbm)
