"""The report of a prior's fit, and the distances in it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from qcaan import losses
from qcaan.bits import product_probabilities

# nats: a product distribution this near to the target means that the target's bits are independent
INDEPENDENT = 0.05


@dataclass(frozen=True)
class FitReport:
    """Report of a fit. The losses are those of new evaluations, not the optimiser's best draw.

    Attributes:
        loss_before, loss_after: loss at the first start and at the end; None if there was nothing
            to fit.
        evaluations: number of parameter sets whose distribution was computed or measured.
        optimizer: name of the optimiser of the angles; empty if there is none.
        executions: number of circuits run for them: one per basis and parameter set, and those
            that measured readout errors.
        shots: number of shots of all executions.
        jobs: number of requests to the engine; a device may split one into several jobs.
        seconds: duration in seconds.
        kl: KL(target || prior) in nats, summed over the measurement bases. None if the prior has
            no distribution over bitstrings, or if it must be estimated from shots: see `distances`.
        kl_product: the same of the product of the target's marginals, the fit without a circuit.
        tvd: total variation distance in [0, 1], summed over the bases.
        nll: mean negative log-likelihood in nats of bits that were held out of the fit, for a prior
            of any width that holds some out.
        nll_product, nll_tree: the same of the product of the marginals, and of the Chow-Liu tree.
        error_before, error_after: standard errors of the losses; 0 if they are exact.
        starts: names of the starts of a quantum prior's fit, in order: `marginals` of the target
            (`marginals of parities` if the ansatz cannot start at their product), `last angles`
            of the fit before, `random angles`, or an `exact fit` by our engine. More than one means
            that others led nowhere.
        kept: share of the bank's shots that have a label, and a partner of equal label in the other
            bases; 1 without labels.
    """

    loss_before: float | None = None
    loss_after: float | None = None
    evaluations: int = 0
    executions: int = 0
    shots: int = 0
    jobs: int = 0
    seconds: float = 0.0
    kl: float | None = None
    kl_product: float | None = None
    tvd: float | None = None
    nll: float | None = None
    nll_product: float | None = None
    nll_tree: float | None = None
    error_before: float = 0.0
    error_after: float = 0.0
    optimizer: str = ""
    starts: tuple[str, ...] = ()
    kept: float = 1.0

    @property
    def error(self) -> float:
        """Standard error of the difference of the losses."""
        return math.hypot(self.error_before, self.error_after)

    @property
    def lowered(self) -> bool:
        """Whether the fit lowered its loss, by more than rounding and the error of its shots."""
        if self.loss_before is None or self.loss_after is None:
            return False
        return lowers(self.loss_before, self.loss_after, self.error)

    def with_bank(self, shots: int, circuits: int, seconds: float, kept: float) -> FitReport:
        """Return the report with the cost of a bank of shots added; without shots, as it is."""
        if not shots:
            return self
        return replace(
            self,
            executions=self.executions + circuits,
            shots=self.shots + shots,
            seconds=self.seconds + seconds,
            kept=kept,
        )

    def summary(self) -> str:
        """Return a clause for the console."""
        if self.loss_before is None or self.loss_after is None:
            text = "prior is fixed"
        else:
            before = _with_error(self.loss_before, self.error_before)
            text = f"fit loss {before} -> {_with_error(self.loss_after, self.error_after)}"
            if not self.lowered:
                shots = f" beyond the error of its shots, {self.error:.1g}" if self.error else ""
                text += f" (the fit did NOT lower the loss{shots})"
            if len(self.starts) > 1 or "marginals of parities" in self.starts:
                text += f" (starts: {', '.join(self.starts)})"
        if self.nll is not None:
            text += (
                f", held-out NLL {self.nll:.2f} (product of marginals {self.nll_product:.2f}, "
                f"Chow-Liu tree {self.nll_tree:.2f})"
            )
        if self.kl is not None and self.kl_product is not None:
            text += f", KL {self.kl:.3f} (product of marginals {self.kl_product:.3f}"
            text += ": the latent bits are independent)" if self.kl_product < INDEPENDENT else ")"
        if self.kept < 1:
            text += f", {100 * self.kept:.1f} % of the shots have a label and a partner"
        return text


def _with_error(value: float, error: float) -> str:
    return f"{value:.4f}" + (f" ± {error:.4f}" if error else "")


def lowers(before: float, after: float, error: float = 0.0) -> bool:
    """Return whether a loss fell by more than rounding and by twice its standard error."""
    return before - after > max(2 * error, 1e-6 * abs(before) + 1e-9)


def compare(target: Tensor, model: Tensor, bits: Tensor) -> dict[str, Any]:
    """Return `kl`, `kl_product` and `tvd`, summed over the bases; see `FitReport`.

    Args:
        target, model: distributions [n_bases, 2**n].
        bits: the bits [m, n_bases * n] that `target` is the histogram of.
    """
    marginals = bits.double().mean(0).view(len(target), -1)
    product = torch.stack([product_probabilities(m) for m in marginals])
    return {
        "kl": sum(float(losses.kl(t, m)) for t, m in zip(target, model, strict=True)),
        "kl_product": sum(float(losses.kl(t, p)) for t, p in zip(target, product, strict=True)),
        "tvd": sum(float(losses.tvd(t, m)) for t, m in zip(target, model, strict=True)),
    }
