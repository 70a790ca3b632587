"""The wide quantum prior: an IQP circuit of up to thousands of qubits, trained classically."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from qiskit import QuantumCircuit
from torch import Tensor

from qcaan.bits import BitsLike, all_bitstrings, as_bits, target_probabilities
from qcaan.checks import check_memory, random_generator, whole
from qcaan.circuits.iqp import BATCH, IQPCircuit, Reach
from qcaan.priors.bank import CircuitPrior
from qcaan.priors.base import MAX_HISTOGRAM_BITS
from qcaan.priors.labels import LabelCode, pair_shots
from qcaan.priors.marginals import MARGINALS
from qcaan.priors.report import FitReport, compare
from qcaan.priors.schedule import Schedule
from qcaan.priors.starts import LAST
from qcaan.priors.tree import ChowLiu, chow_liu_tree, pair_counts
from qcaan.samplers.names import EXACT, Engine, EngineLike, MakeSampler, is_device, open_engine

# number of steps of a fit if none is named
FIT_EVALS = 200
# highest learning rate of Adam within a fit, in radians; above .1 some fits are lost
_RATE = 0.06
# root of the sum of the squares of a qubit's two-qubit angles at the start: small, since large
# random angles leave no slope, and not 0, where the slope is 0 by symmetry
_COUPLED = 0.3
# share and largest number of the bitstrings that are held out of a fit; number of steps between two
# looks at their loss, and of looks without a gain that end the fit
_HELD_OUT, _MOST_HELD_OUT = 0.1, 2000
_LOOK, _PATIENCE = 20, 5
# correlators of a step of MMD: their number, their mean order, and their highest order
_CORRELATORS, _MEAN_ORDER, _HIGHEST_ORDER = 400, 2, 6


class IQP(CircuitPrior):
    """Bits of an IQP circuit: H, RZ on all qubits, RZZ on pairs, H, measured.

    The circuit is trained classically (Recio-Armengol et al., arXiv:2503.02934), and sampled here
    or on a device. With a limited reach it is fitted by maximum likelihood and sampled exactly at
    any width, so it needs no quantum computer. With all pairs it is fitted by the unbiased MMD,
    which sees correlators of at most 6 bits and so is blind to parities of more. No advantage is
    claimed: compare it with `qcaan.ChowLiu`, and with `qcaan.RBM`, the strongest control.

    With labels, the circuit has a few more qubits, whose bits stand first. They are coupled to all
    others. Our engine draws bits of a given label exactly, and never a string that is no label.
    Shots of another engine are chosen by their label.

    Args:
        n_qubits: number of qubits without those of a label; at least 2.
        reach: largest distance of two coupled qubits, from 1 to below `n_qubits`; or `all`.
        labels: labels whose bits stand before the others; see `qcaan.priors.labels`.
        sampler: engine that draws: `exact` (our engine), a name of `qcaan.make_sampler`, a
            `BaseSamplerV2` or a Qiskit backend. Fits are always exact and classical.
        fit_evals: maximum number of steps of Adam in a fit, of 256 bitstrings or 400 correlators.
        bank_shots: number of shots in the bank, from which `sample` draws with replacement.
        dither: standard deviation of the noise that `embed` adds to the signs.
        noise_dims: number of Gaussian coordinates that `embed` appends.
        seed: seed of the angles, the fits and the shots.
        switch_after_epochs: number of fits after which banks are drawn by `sampler`. Before, they
            are drawn exactly.
        make_sampler: maker of named samplers; default a new one, without a journal.

    Attributes:
        ansatz: the circuit without its angles.
        order: the bits int64 [dim] in the order of the circuit's qubits: those of the label, and
            the others along the Chow-Liu tree of the first fit's bits, so that bits that depend on
            each other are near.
        theta: the angles float64 in radians; see `qcaan.circuits.iqp.IQPCircuit`.

    Raises:
        ValueError: one of these is out of range; the message names the allowed values.
    """

    theta: Tensor
    order: Tensor
    schedule: Schedule[Engine]

    def __init__(
        self,
        n_qubits: int = 64,
        reach: Reach = 6,
        *,
        labels: Sequence[int] = (),
        sampler: EngineLike = EXACT,
        fit_evals: int = FIT_EVALS,
        bank_shots: int = 20_000,
        dither: float = 0.0,
        noise_dims: int = 0,
        seed: int | None = None,
        switch_after_epochs: int | None = None,
        make_sampler: MakeSampler | None = None,
    ) -> None:
        n_labels = LabelCode(labels).n_bits
        self.ansatz = IQPCircuit(whole("n_qubits", n_qubits, 2) + n_labels, reach, n_labels)
        width = self.ansatz.n_qubits
        super().__init__(width, dither, noise_dims, bank_shots=bank_shots, n_bases=1, labels=labels)
        self.fit_evals = whole("fit_evals", fit_evals)
        if switch_after_epochs is not None:
            whole("switch_after_epochs", switch_after_epochs)
        self.rng = random_generator(seed)
        engine = open_engine(sampler, self.rng, make_sampler)
        engine.check_width(width)
        if not engine.is_exact and not engine.is_remote:
            check_memory(width)  # a simulator holds the state
        self.schedule = Schedule(Engine(EXACT), engine, switch_after_epochs or 0)
        loss = f"likelihood, {self.fit_evals} steps of {BATCH} bitstrings"
        if not self.ansatz.is_banded:
            loss = f"MMD, {self.fit_evals} steps of {_CORRELATORS} correlators"
        self.fit_summaries = (f"adam on the exact {loss}; the circuit is trained classically",)
        self._device_circuit: QuantumCircuit | None = None
        self.register_buffer("order", torch.arange(width))
        self.register_buffer("theta", self._start(torch.full((width,), 0.5)))
        self.register_buffer("fits", torch.tensor(0))

    def check_drawable(self) -> None:
        """Check that samples can be drawn.

        Raises:
            ValueError: all pairs are coupled, our engine draws, and the state does not fit into
                memory.
        """
        if self.drawer.is_exact:
            self.ansatz.check_drawable()

    def circuit(self) -> QuantumCircuit:
        """Return the measured circuit at its angles. Qubit i and classical bit i are bit i."""
        bound = self.ansatz.to_circuit().assign_parameters(self.theta.cpu().numpy())
        bound.remove_final_measurements()
        placed = QuantumCircuit(self.dim)
        placed.compose(bound, self.order.tolist(), inplace=True)
        placed.measure_all()
        return placed

    def log_prob(self, bits: BitsLike) -> Tensor:
        """Return the logarithms float64 [m] of the probabilities of bits [m, dim], in nats.

        They are those of the ideal circuit, given that its label is one; -inf for strings that are
        no label.

        Raises:
            ValueError: all pairs are coupled, and the state vector does not fit into memory.
        """
        bits = as_bits(bits, self.dim, self.device)[:, self.order]
        return _all_log_probs(self.ansatz, self.code, self.theta, bits)

    def _label_weights(self) -> Tensor:
        """Return the exact probabilities float64 [labels], which need not add up to 1."""
        return self.ansatz.label_probabilities(self.theta)[: len(self.code.labels)]

    def fit(self, bits: BitsLike) -> FitReport:
        """Fit the angles to bits {0, 1} [m, dim], those of a label first, from the last fit's end.

        The first fit orders the bits. It starts at the product of their marginals, with small
        random couplings; so do later ones whose last angles are worse than that. A tenth of the
        bitstrings, the same ones in every fit of m, is held out: the angles with their lowest loss
        are kept, and the report's losses are theirs. The bank is then out of date: call
        `draw_bank`. A fit asks nothing of a device.

        Raises:
            ValueError: the bits are not of that shape or kind, or some have no label.
        """
        return super().fit(bits)

    def _fit(self, bits: Tensor) -> FitReport:
        if self.code.labels and not (self.code.places_of(bits) < len(self.code.labels)).all():
            raise ValueError("`bits` must start with the bits of a label in every row")
        if not self.fits:
            others = bits[:, self.code.n_bits :]
            order, _ = chow_liu_tree(pair_counts(others), len(others))
            self.order[self.code.n_bits :] = torch.from_numpy(order + self.code.n_bits)
        train, held_out = _split(bits[:, self.order])
        objective = (_Likelihood if self.ansatz.is_banded else _Discrepancy)(
            self.ansatz, self.code, train, held_out, self.rng
        )
        means = (train.sum(0) + 0.5) / (len(train) + 1)
        starts = {MARGINALS: self._start(means)}
        if self.fits:
            starts = {LAST: self.theta.clone(), **starts}
        losses = [objective.held_out(start) for start in starts.values()]
        # by name, up to the better one
        names = tuple(starts)[: 1 + int(np.argmin(losses))]
        best, least, steps = self._descend(objective, starts[names[-1]], min(losses))
        self.theta.copy_(best)
        self._end_fit()
        return FitReport(
            losses[0],
            least,
            evaluations=steps,
            optimizer="adam",
            starts=names,
            **self._likelihoods(train, held_out, means),
        )

    def rehearse_fit(self, bits: BitsLike) -> None:
        """End a fit without one: it asks nothing, and what is asked later depends on no angle."""
        self._end_fit()

    def _end_fit(self) -> None:
        self.fits += 1
        self.banked.fill_(False)

    def _start(self, means: Tensor) -> Tensor:
        """Return angles float64 [n_params] at marginals P(bit = 1) [n], in the order of qubits."""
        n_pairs = self.ansatz.n_params - self.dim
        scale = _COUPLED / np.sqrt(max(1, 2 * n_pairs / self.dim))
        couplings = torch.from_numpy(self.rng.normal(0, scale, n_pairs)).to(means.device)
        return torch.cat([2 * means.double().sqrt().asin(), couplings])

    def _descend(
        self, objective: _Objective, start: Tensor, least: float
    ) -> tuple[Tensor, float, int]:
        """Return the best angles [n_params], their held-out loss, and the number of steps."""
        best = start
        angles = start.float().requires_grad_()
        optimizer = torch.optim.Adam([angles], _RATE)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, _RATE, total_steps=self.fit_evals + 1
        )
        looks = 0
        for step in range(1, self.fit_evals + 1):
            optimizer.zero_grad()
            objective.loss(angles).backward()
            optimizer.step()
            schedule.step()
            if step % _LOOK and step < self.fit_evals:
                continue
            looks += 1
            found = angles.detach().double()
            if (loss := objective.held_out(found)) < least:
                best, least, looks = found, loss, 0
            elif looks == _PATIENCE:
                break
        return best, least, step

    def _likelihoods(self, train: Tensor, held_out: Tensor, means: Tensor) -> dict[str, Any]:
        """Return the held-out likelihoods of a report; none if the circuit's is too wide."""
        if not self.ansatz.is_banded and self.dim > MAX_HISTOGRAM_BITS:
            return {}
        tree = ChowLiu(self.dim).to(self.device)
        tree._fit(train)
        ones = torch.where(held_out == 1, means, 1 - means)
        return {
            "nll": -float(_all_log_probs(self.ansatz, self.code, self.theta, held_out).mean()),
            "nll_product": -float(ones.double().log().sum(1).mean()),
            "nll_tree": -float(tree.log_prob(held_out).mean()),
        }

    def _distances_after_fit(self, bits: Tensor) -> dict[str, Any]:
        # on a device, distances need a bank of shots, which a fit does not draw
        return self.distances(bits) if self.drawer.is_exact else {}

    def distances(self, bits: BitsLike) -> dict[str, Any]:
        """Return `kl`, `kl_product` and `tvd` to bits [m, dim], see `FitReport`; at most 16 bits.

        They are exact if our engine draws, and elsewhere those of the bank's shots. If the bank is
        out of date, a new one is drawn, which may submit jobs that are paid for.
        """
        if self.dim > MAX_HISTOGRAM_BITS:
            return {}
        bits = as_bits(bits, self.dim, self.device)
        return compare(target_probabilities(bits, 1), self._model(), bits)

    def distributions(self, bits: BitsLike) -> dict[str, np.ndarray]:
        """Return `bases`, `target` and `model` [1, 2**n] of bits [m, dim], of at most 16 bits.

        The model's are those of `distances`.
        """
        if self.dim > MAX_HISTOGRAM_BITS:
            return {}
        bits = as_bits(bits, self.dim, self.device)
        return {
            "bases": np.array(["z"]),
            "target": target_probabilities(bits, 1).cpu().numpy(),
            "model": self._model().cpu().numpy(),
        }

    def _model(self) -> Tensor:
        """Return the distribution [1, 2**n] of the circuit, or of the bank's shots."""
        if self.drawer.is_exact:
            return self.log_prob(all_bitstrings(self.dim, self.device)).exp()[None]
        if not self.banked:
            self.draw_bank()
        return target_probabilities(self.bank, 1)

    def label_shares(self) -> dict[int, float]:
        """Return the probability of each label, exactly if our engine draws; empty without labels.

        Elsewhere it is the share of the bank's shots.
        """
        if not self.drawer.is_exact:
            return super().label_shares()
        weights = self._label_weights()
        return dict(zip(self.code.labels, (weights / weights.sum()).tolist(), strict=True))

    def _draw_label(self, n: int, place: int) -> Tensor:
        if not self.drawer.is_exact:
            return super()._draw_label(n, place)
        return self._exact_bits(n, torch.full((n,), place))

    def _measure(self, n: int) -> Tensor:
        """Measure n new shots of the circuit."""
        bits, _ = self._measure_kept(n)
        return bits

    def _measure_kept(self, n: int) -> tuple[Tensor, float]:
        if self.drawer.is_exact:
            places = None
            if self.code.labels:
                shares = np.array(list(self.label_shares().values()))
                places = torch.from_numpy(self.rng.choice(len(shares), n, p=shares))
            return self._exact_bits(n, places), 1.0
        shots, kept = self._device_shots(n), 1.0
        if self.code.labels:
            # rows of shots take the place of their other bits, which may be too many for an index
            rows = torch.arange(n, device=self.device) << self.code.n_bits
            pairs, share = pair_shots(
                (rows | self.code.places_of(shots))[None], self.code, self.rng
            )
            shots, kept = shots[pairs[0] >> self.code.n_bits], share
        return self._in_order_of_bits(shots), kept

    def _in_order_of_bits(self, shots: Tensor) -> Tensor:
        """Return shots [n, dim] in the order of the qubits as bits float32 [n, dim]."""
        bits = torch.empty_like(shots)
        bits[:, self.order] = shots
        return bits.float()

    def _exact_bits(self, n: int, places: Tensor | None) -> Tensor:
        """Draw bits float32 [n, dim] exactly, of labels of given numbers [n], or of any."""
        return self._in_order_of_bits(self.ansatz.sample(self.theta, n, self.rng, places))

    def _device_shots(self, n: int) -> Tensor:
        """Return n shots uint8 [n, dim] of the engine that draws, in the order of the qubits."""
        # made once, so that a device's transpiler meets the same circuit again
        self._device_circuit = self._device_circuit or self.ansatz.to_circuit()
        (bits,) = self.drawer.draw([(self._device_circuit, self.theta[None].cpu().numpy(), n)])
        return torch.from_numpy(bits[0]).to(self.device, torch.uint8)

    @property
    def drawer(self) -> Engine:
        """The engine that draws now."""
        return self.schedule.drawer(int(self.fits))

    @property
    def is_drawn_on_device(self) -> bool:
        return is_device(self.drawer.name)


@dataclass
class _Objective(ABC):
    """A loss of the angles of a circuit, on batches of bits and on held-out ones.

    Attributes:
        circuit: the circuit.
        code: code of the labels, whose bits stand first.
        train, test: bits uint8 [m, n], and held-out ones [h, n], in the order of the qubits.
        rng: random state of the batches.
    """

    circuit: IQPCircuit
    code: LabelCode
    train: Tensor
    test: Tensor
    rng: np.random.Generator

    @abstractmethod
    def loss(self, theta: Tensor) -> Tensor:
        """Return the loss [] of a new batch, at angles [n_params] that may need gradients."""

    @abstractmethod
    def held_out(self, theta: Tensor) -> float:
        """Return the loss of the held-out bits."""


class _Likelihood(_Objective):
    """The mean negative log-likelihood in nats, given that the label is one."""

    def loss(self, theta: Tensor) -> Tensor:
        chosen = self.rng.integers(len(self.train), size=BATCH)
        batch = self.train[torch.from_numpy(chosen).to(theta.device)]
        return -_log_probs(self.circuit, self.code, theta, batch).mean()

    def held_out(self, theta: Tensor) -> float:
        found = _all_log_probs(self.circuit, self.code, theta.float(), self.test)
        return -float(found.mean())


@dataclass
class _Discrepancy(_Objective):
    """The squared MMD: the mean squared error of the correlators of random subsets of the bits.

    Each bit is in a subset with probability 2 / n, as for a Gaussian kernel, and subsets of more
    than 6 bits count as 0. The circuit's correlators are exact, and the square of the data's is
    unbiased.
    """

    def __post_init__(self) -> None:
        self._fixed = self._subsets()

    def loss(self, theta: Tensor) -> Tensor:
        chosen = self.rng.integers(len(self.train), size=_MOST_HELD_OUT)
        batch = self.train[torch.from_numpy(chosen).to(theta.device)]
        return self._value(theta, batch, self._subsets())

    @torch.no_grad()
    def held_out(self, theta: Tensor) -> float:
        return float(self._value(theta.float(), self.test, self._fixed))

    def _value(self, theta: Tensor, bits: Tensor, subsets: NDArray[np.bool_]) -> Tensor:
        """Return the squared MMD [] of bits [m, n], by subsets [K, n]."""
        m, total = len(bits), theta.new_zeros(())
        for order in range(1, _HIGHEST_ORDER + 1):
            chosen = subsets[subsets.sum(1) == order]
            if not len(chosen):
                continue
            places = torch.from_numpy(chosen.nonzero()[1].reshape(-1, order)).to(theta.device)
            inside = torch.from_numpy(chosen.T).to(theta)
            seen = (1 - 2 * (bits.to(theta) @ inside).remainder(2)).mean(0)
            found = self.circuit.correlators(theta, places)
            square = (m * seen.square() - 1) / (m - 1) if m > 1 else seen.square()
            total = total + (found.square() - 2 * found * seen + square).sum()
        return total / len(subsets)

    def _subsets(self) -> NDArray[np.bool_]:
        """Return random subsets [K, n] of the bits."""
        n = self.circuit.n_qubits
        return self.rng.random((_CORRELATORS, n)) < min(0.5, _MEAN_ORDER / n)


def _log_probs(circuit: IQPCircuit, code: LabelCode, theta: Tensor, bits: Tensor) -> Tensor:
    """Return the log-probabilities [m] of bits [m, n], given that the label is one.

    They are -inf for strings that are no label.
    """
    found = circuit.log_probs(theta, bits)
    if not code.labels:
        return found
    share = circuit.label_probabilities(theta)[: len(code.labels)].sum()
    return torch.where(code.places_of(bits) < len(code.labels), found - share.log(), -torch.inf)


@torch.no_grad()
def _all_log_probs(circuit: IQPCircuit, code: LabelCode, theta: Tensor, bits: Tensor) -> Tensor:
    """Return the same of many bitstrings, a part after another."""
    parts = bits.split(BATCH if circuit.is_banded else len(bits))
    return torch.cat([_log_probs(circuit, code, theta, part) for part in parts])


def _split(bits: Tensor) -> tuple[Tensor, Tensor]:
    """Return bits [m, n] to train on and to hold out; of too few bits all are both.

    The same places are held out whenever there are m rows.
    """
    n_held_out = min(int(_HELD_OUT * len(bits)), _MOST_HELD_OUT)
    if not n_held_out:
        return bits, bits
    order = torch.from_numpy(np.random.default_rng(0).permutation(len(bits))).to(bits.device)
    return bits[order[n_held_out:]], bits[order[:n_held_out]]
