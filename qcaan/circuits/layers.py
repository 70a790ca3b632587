"""Circuits as layers of a network: inputs become angles or amplitudes, outputs are what is measured."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from qiskit.primitives import BaseSamplerV2
from torch import Tensor, nn

from qcaan.circuits.ansatz import PREPARATION, ROTATIONS, Ansatz
from qcaan.circuits.born import EXACT, BornMachine
from qcaan.circuits.statevector import amplitudes, expectations, preparation_angles, squared

AMPLITUDES = "amplitudes"
OUTPUTS = ("expectations", "probabilities")
GRADIENTS = ("backprop", "parameter-shift", "finite-difference")
_STEP = 1e-4  # of finite differences, in float64: their error is about its square


class QuantumLayer(nn.Module):
    """A parametrised circuit: inputs [B, n_in] to Pauli-Z expectations in [-1, 1] or probabilities [B, n_out].

    Inputs enter as angles in radians of the `embedding`'s rotations, or as the real amplitudes of the state, divided by
    their length. With `uploads` the embedding and the ansatz alternate that often, with the same inputs and with other
    trained angles (data re-uploading, Perez-Salinas et al., arXiv:1907.02085). Where there are fewer inputs than room for
    them, the rest are zeros. The trained angles `theta` [uploads, ansatz.n_params] start uniform in (-pi, pi).

    Gradients, with respect to theta and to the inputs: `backprop` through our exact engine, to any order;
    `parameter-shift` from runs at shifted angles, all in one job, on any sampler (Schuld et al., arXiv:1811.11184);
    `finite-difference`, central ones. The two last are computed in float64, and of first order only: a second one is refused.

    Args:
        ansatz: the trained circuit.
        embedding: layers h, rx, ry, rz whose angles are the inputs, in their order; or `amplitudes` alone.
        uploads: times that the inputs are embedded; 1 for amplitudes.
        n_in: width of the inputs; default as many as there is room for.
        qubits: those that are measured, in the order of the outputs; default all. Of joint probabilities, the first of them
            is the lowest bit of the index.
        output: `expectations`, n_out = len(qubits), or `probabilities`, n_out = 2**len(qubits).
        sampler, shots, gradient, seed: see `use`.

    Raises:
        ValueError: any of these out of range, with the allowed values; or, when called, inputs of another shape or dtype
            than theta's, or of length zero where they are to be amplitudes.
    """

    _measured: Tensor

    def __init__(
        self,
        ansatz: Ansatz,
        embedding: str | Sequence[str] = ("rx",),
        uploads: int = 1,
        n_in: int | None = None,
        qubits: Sequence[int] | None = None,
        output: str = "expectations",
        sampler: str | BaseSamplerV2 = EXACT,
        shots: int = 0,
        gradient: str | None = None,
        seed: int | np.random.Generator | None = None,
    ) -> None:
        super().__init__()
        n = ansatz.n_qubits
        embedding = (embedding,) if isinstance(embedding, str) else tuple(embedding)
        self._as_amplitudes = embedding == (AMPLITUDES,)
        if not self._as_amplitudes and not (
            set(embedding) <= {"h", *ROTATIONS} and set(embedding) & set(ROTATIONS)
        ):
            raise ValueError(
                f"embedding must be {AMPLITUDES}, or of {', '.join(ROTATIONS)} and h, got {' '.join(embedding) or 'none'}"
            )
        if uploads < 1 or (self._as_amplitudes and uploads > 1):
            raise ValueError(f"uploads must be at least 1, and 1 for amplitudes, got {uploads}")
        if output not in OUTPUTS:
            raise ValueError(f"unknown output {output!r}; choose from {', '.join(OUTPUTS)}")
        self.ansatz, self.uploads, self.output = ansatz, uploads, output
        self.embedding = Ansatz(n, (PREPARATION,) if self._as_amplitudes else embedding)
        self._room = 2**n if self._as_amplitudes else self.embedding.n_params
        self.n_in = self._room if n_in is None else n_in
        if not 1 <= self.n_in <= self._room:
            raise ValueError(
                f"n_in must be from 1 to {self._room} for {' '.join(embedding)} on {n} qubits, got {n_in}"
            )
        self.qubits = tuple(range(n) if qubits is None else map(operator.index, qubits))
        if (
            not self.qubits
            or len(set(self.qubits)) < len(self.qubits)
            or not set(self.qubits) <= set(range(n))
        ):
            raise ValueError(
                f"qubits must be different ones of 0..{n - 1}, got {list(self.qubits)}"
            )
        self.register_buffer("_measured", torch.tensor(self.qubits), persistent=False)
        self.n_out = len(self.qubits) if output == "expectations" else 2 ** len(self.qubits)
        self.theta = nn.Parameter(torch.empty(uploads, ansatz.n_params).uniform_(-math.pi, math.pi))
        self.use(sampler, shots, gradient, seed)

    def use(
        self,
        sampler: str | BaseSamplerV2,
        shots: int = 0,
        gradient: str | None = None,
        seed: int | np.random.Generator | None = None,
    ) -> None:
        """Run from now on with another engine and another gradient; what was trained stays.

        Args:
            sampler: `exact` (our engine), a name of `qcaan.samplers.names.SAMPLERS`, or any `BaseSamplerV2`.
            shots: per row of the inputs, and per shifted parameter set; 0 for exact probabilities where the sampler has a
                name.
            gradient: `backprop` (exact and without shots only), `parameter-shift` or `finite-difference` (without shots
                only, since the noise would be divided by the step); default the first of them that can be.
            seed: of named samplers; `exact` draws shots from torch's global random state.

        Raises:
            ValueError: an unknown sampler or gradient, or one that cannot be had with the others.
        """
        if shots < 0:
            raise ValueError(f"shots must be at least 0 (0 = exact probabilities), got {shots}")
        rng = np.random.default_rng(seed)
        circuit = Ansatz(
            self.ansatz.n_qubits, (self.embedding.layers + self.ansatz.layers) * self.uploads
        )
        born = BornMachine(circuit, ("z",), sampler, rng)
        if shots == 0 and not born.ideal:
            raise ValueError(
                "shots 0 asks for exact probabilities, which this sampler does not give; name a number"
            )
        can_backprop = born.differentiable and shots == 0
        gradient = gradient or ("backprop" if can_backprop else "parameter-shift")
        if gradient not in GRADIENTS:
            raise ValueError(f"unknown gradient {gradient!r}; choose from {', '.join(GRADIENTS)}")
        if gradient == "backprop" and not can_backprop:
            raise ValueError(
                f"gradient backprop needs sampler {EXACT!r} without shots; choose parameter-shift"
            )
        if (
            gradient == "finite-difference"
            and isinstance(sampler, str)
            and sampler.endswith(":single")
        ):
            raise ValueError(
                f"gradient finite-difference of {sampler} would be rounding divided by a small step; choose parameter-shift"
            )
        if gradient == "finite-difference" and shots:
            raise ValueError(
                f"gradient finite-difference of {shots} shots would be noise divided by a small step; choose parameter-shift"
            )
        self.shots, self.gradient, self._born, self._rng = shots, gradient, born, rng

    def forward(self, inputs: Tensor) -> Tensor:
        if inputs.ndim != 2 or inputs.shape[1] != self.n_in or inputs.dtype != self.theta.dtype:
            raise ValueError(
                f"inputs must be {self.theta.dtype} [B, {self.n_in}], got {inputs.dtype} {list(inputs.shape)}"
            )
        if not len(inputs):
            return inputs.new_zeros(0, self.n_out) + 0 * (inputs.sum() + self.theta.sum())
        if self._as_amplitudes:
            largest = (
                inputs.detach().abs().amax(1, keepdim=True)
            )  # so that no square over- or underflows
            if not largest.all():
                raise ValueError(f"inputs are amplitudes, but row {int(largest.argmin())} is zero")
            inputs = F.normalize(inputs / largest, dim=1)
        x = F.pad(inputs, (0, self._room - self.n_in))  # (B, room)
        if self.gradient == "backprop":
            return self._read(squared(self._state(x)))

        rows = [part for theta in self.theta for part in (x, theta.expand(len(x), -1))]
        columns = torch.cat(rows, 1)  # (B, uploads * (room + n_params))
        trained = [inputs.requires_grad] * self.n_in + [False] * (self._room - self.n_in)
        trained += [self.theta.requires_grad] * self.ansatz.n_params
        return _Shifted.apply(columns.double(), self, torch.tensor(trained * self.uploads)).to(x)

    def _state(self, x: Tensor) -> Tensor:
        """Amplitudes [B, 2**n] for filled up inputs [B, room]. Trained circuits are one matrix product for all rows."""
        state = torch.complex(x, torch.zeros_like(x)) if self._as_amplitudes else None
        for theta in self.theta:
            if not self._as_amplitudes:
                state = amplitudes(self.embedding, x, state)
            state = amplitudes(self.ansatz, theta[None], state)
        assert state is not None
        return state

    def _measure(self, columns: Tensor) -> Tensor:
        """Outputs [K, n_out] for rows of angles, or of amplitudes and then angles, by the sampler."""
        if self._as_amplitudes:
            columns = torch.cat(
                [preparation_angles(columns[:, : self._room]), columns[:, self._room :]], 1
            )
        if self.shots:
            if (
                not columns.isfinite().all()
            ):  # samplers differ in what they measure of such a circuit
                return columns.new_full((len(columns), self.n_out), math.nan)
            return self._read(self._born.frequencies(columns, self.shots)[:, 0])
        return self._read(self._born.probabilities(columns)[:, 0])

    def _read(self, probs: Tensor) -> Tensor:  # [K, 2**n] -> [K, n_out]
        if self.output == "expectations":
            return expectations(probs).index_select(1, self._measured)
        n = self.ansatz.n_qubits
        chosen = [n - q for q in reversed(self.qubits)]  # the axes of their bits, the highest first
        others = [axis for axis in range(1, n + 1) if axis not in chosen]
        return (
            probs.unflatten(1, (2,) * n)
            .permute(0, *chosen, *others)
            .reshape(len(probs), self.n_out, -1)
            .sum(2)
        )

    def get_extra_state(self) -> dict[str, Any]:
        return {"rng": self._rng.bit_generator.state}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        self._rng.bit_generator.state = state["rng"]

    def extra_repr(self) -> str:
        return (
            f"{self.n_in} -> {self.n_out}, {self.ansatz.n_qubits} qubits, {self.theta.numel()} angles, "
            f"{self.uploads} uploads, gradient {self.gradient}"
        )


class _Shifted(torch.autograd.Function):
    """What a layer measures [B, n_out] for columns [B, P], with a gradient from measurements at shifted columns.

    Angles: f' = (f(+s) - f(-s)) / 2 with s = pi / 2. Amplitudes v of length 1: f is a quadratic form in v over v's square,
    so f at v + e_i and at v - e_i tells its slope at v along e_i.
    """

    @staticmethod
    def forward(ctx: Any, columns: Tensor, layer: QuantumLayer, trained: Tensor) -> Tensor:
        outputs = layer._measure(columns)
        ctx.save_for_backward(columns, outputs)
        ctx.layer, ctx.trained = layer, trained.nonzero()[:, 0].to(columns.device)
        return outputs

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        # create_graph, which torch's own once_differentiable only sees where grad itself is trained
        if torch.is_grad_enabled():
            raise RuntimeError(
                f"gradient {ctx.layer.gradient} is of first order only; choose backprop"
            )
        (columns, outputs), layer, trained = ctx.saved_tensors, ctx.layer, ctx.trained
        differences = layer.gradient == "finite-difference"
        of_amplitudes = (trained < layer._room) & (layer._as_amplitudes and not differences)  # (T,)
        steps = torch.where(of_amplitudes, 1.0, _STEP if differences else math.pi / 2).to(columns)
        shifts = steps[:, None] * F.one_hot(trained, columns.shape[1])  # (T, P)
        shifted = columns + torch.stack([shifts, -shifts])[:, :, None]  # (2, T, B, P)
        up, down = layer._measure(shifted.flatten(0, 2)).view(
            2, len(trained), *outputs.shape
        )  # each (T, B, n_out)

        slopes = (up - down) / (2 * _STEP if differences else 2)
        v = columns[:, trained].T[:, :, None]  # (T, B, 1)
        slopes = torch.where(
            of_amplitudes[:, None, None], up - down + v * (up + down - 2 * outputs), slopes
        )
        gradient = torch.zeros_like(columns)
        gradient[:, trained] = (slopes * grad).sum(2).T
        return gradient, None, None
