"""Circuits as layers of a network: inputs become angles or amplitudes, and outputs are measured."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike
from torch import Tensor, nn

from qcaan.checks import as_tensor, check_memory, of_type, one_of, random_generator, whole
from qcaan.circuits.ansatz import PREPARATION, ROTATIONS, Ansatz
from qcaan.circuits.born import BornMachine
from qcaan.circuits.qiskit_circuits import distribution
from qcaan.circuits.statevector import (
    amplitudes,
    at_least_float32,
    expectations,
    preparation_angles,
    squared,
)
from qcaan.samplers.names import EXACT, EngineLike

Output = Literal["expectations", "probabilities"]
Gradient = Literal["backprop", "parameter-shift", "finite-difference"]

# the embedding that makes the inputs the amplitudes of the state
AMPLITUDES = "amplitudes"
# step of finite differences in float64, whose error is about the square of the step
_STEP = 1e-4
# more layers of gates take minutes to build
MAX_LAYERS = 10_000


class QuantumLayer(nn.Module):
    """Layer that measures a parametrised circuit: inputs [B, n_in] to outputs [B, n_out].

    Outputs are Pauli-Z expectations in [-1, 1], or probabilities. Inputs are angles, in radians, of
    the rotations of the embedding; or real amplitudes of the state, divided by their length. If
    there are fewer inputs than the embedding takes, the rest are zeros. The embedding and the
    ansatz alternate `uploads` times, with the same inputs and with other trained angles each time
    (data re-uploading, Perez-Salinas et al., arXiv:1907.02085).

    The trained angles `theta` [uploads, ansatz.n_params] start uniform in (-pi, pi).

    Circuits compute in float32, or in float64 if `theta` is float64, whatever surrounds them:
    inputs and angles of fewer bits are cast, and `torch.autocast` changes nothing. Outputs have the
    dtype to which torch promotes those of the inputs and of `theta`: bfloat16 after
    `model.bfloat16()`, and float32 under autocast.

    Rows with NaN or infinity, and all rows if an angle is, give NaN on every engine.

    Gradients with respect to theta and to the inputs are of three kinds:

    - `backprop` goes through our exact engine, and can be differentiated again.
    - `parameter-shift` measures at shifted angles, all in one job, on any engine (Schuld et al.,
      arXiv:1811.11184). The job may be paid for.
    - `finite-difference` takes central differences of exact values.

    The last two are computed in float64 and cannot be differentiated again; trying it raises a
    RuntimeError.

    Args:
        ansatz: the trained circuit.
        embedding: layers h, rx, ry and rz, whose angles are the inputs in their order; or
            `amplitudes` alone.
        uploads: number of times that the inputs are embedded; 1 for amplitudes.
        n_in: width of the inputs; default as many as the embedding takes.
        qubits: the measured qubits, in the order of the outputs; default all. Of joint
            probabilities, the first qubit is the lowest bit of the index.
        output: `expectations`, with n_out = len(qubits), or `probabilities`, with
            n_out = 2**len(qubits).
        sampler, shots, gradient, seed: engine and gradient; see `use`.

    Raises:
        TypeError: `ansatz` is no `Ansatz`.
        ValueError: an argument is out of range. When the layer is called: the inputs have another
            shape or dtype, or a row of amplitudes is zero.
    """

    _measured: Tensor

    def __init__(
        self,
        ansatz: Ansatz,
        embedding: str | Sequence[str] = ("rx",),
        *,
        uploads: int = 1,
        n_in: int | None = None,
        qubits: Sequence[int] | None = None,
        output: Output = "expectations",
        sampler: EngineLike = EXACT,
        shots: int = 0,
        gradient: Gradient | None = None,
        seed: int | np.random.Generator | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(ansatz, Ansatz):
            raise TypeError(
                "`ansatz` must be an Ansatz, as qcaan.make_ansatz returns it or as "
                f"qcaan.Ansatz(n_qubits, layers), got {type(ansatz).__name__}"
            )
        n = ansatz.n_qubits
        check_memory(n)  # before the angles are made
        names = (embedding,) if isinstance(embedding, str) else embedding
        layers = of_type("embedding", names, tuple[str, ...])
        self._as_amplitudes = layers == (AMPLITUDES,)
        if not self._as_amplitudes and not (
            set(layers) <= {"h", *ROTATIONS} and set(layers) & set(ROTATIONS)
        ):
            raise ValueError(
                f"`embedding` must be {AMPLITUDES}, or layers of {', '.join(ROTATIONS)} and h with "
                f"at least one rotation, got {' '.join(layers) or 'none'}"
            )
        whole("uploads", uploads)
        if uploads * len(ansatz.layers) > MAX_LAYERS:
            raise ValueError(
                f"`uploads` times the {len(ansatz.layers)} layers of gates of the ansatz must be "
                f"at most {MAX_LAYERS:,}, got {uploads}"
            )
        if self._as_amplitudes and uploads > 1:
            raise ValueError(f"`uploads` must be 1 for amplitudes, got {uploads}")
        self.ansatz, self.uploads = ansatz, uploads
        self.output = one_of("output", output, get_args(Output))
        self.embedding = Ansatz(n, (PREPARATION,) if self._as_amplitudes else layers)
        # number of inputs that the embedding takes
        self._room = 2**n if self._as_amplitudes else self.embedding.n_params
        self.n_in = self._room if n_in is None else whole("n_in", n_in, 1, self._room + 1)
        self.qubits = of_type("qubits", range(n) if qubits is None else qubits, tuple[int, ...])
        different = set(self.qubits)
        if not self.qubits or len(different) < len(self.qubits) or not different <= set(range(n)):
            raise ValueError(
                f"`qubits` must be different ones of 0..{n - 1}, got {list(self.qubits)}"
            )
        self.register_buffer("_measured", torch.tensor(self.qubits), persistent=False)
        self.n_out = len(self.qubits) if output == "expectations" else 2 ** len(self.qubits)
        self.theta = nn.Parameter(torch.empty(uploads, ansatz.n_params).uniform_(-math.pi, math.pi))
        self.use(sampler, shots=shots, gradient=gradient, seed=seed)

    def use(
        self,
        sampler: EngineLike,
        *,
        shots: int = 0,
        gradient: Gradient | None = None,
        seed: int | np.random.Generator | None = None,
    ) -> None:
        """Use another engine and another gradient from now on. The trained angles stay.

        Args:
            sampler: `exact` for our engine; or a name of `qcaan.make_sampler`, a `BaseSamplerV2`, a
                Qiskit backend, or an `Engine` that is open already.
            shots: number of shots per row of the inputs, and per shifted set of angles; 0 for exact
                probabilities, if the engine has them.
            gradient: `backprop` (on the exact engine without shots), `parameter-shift`, or
                `finite-difference` (without shots, in double precision); default `backprop` if it
                is available, else `parameter-shift`.
            seed: seed of named samplers and of the shots of the exact engine.

        Raises:
            ValueError: the sampler or the gradient is unknown or unavailable with the others.
        """
        whole("shots", shots, 0)
        rng = random_generator(seed)
        layers = (self.embedding.layers + self.ansatz.layers) * self.uploads
        born = BornMachine(Ansatz(self.ansatz.n_qubits, layers), ("z",), sampler, rng)
        born.engine.check_shots(shots)
        can_backprop = born.is_differentiable and shots == 0
        chosen: Gradient = gradient or ("backprop" if can_backprop else "parameter-shift")
        one_of("gradient", chosen, get_args(Gradient))
        if chosen == "backprop" and not can_backprop:
            raise ValueError(
                f"`gradient` backprop needs `sampler` {EXACT} without shots; choose parameter-shift"
            )
        if chosen == "finite-difference" and born.engine.name.endswith(":single"):
            raise ValueError(
                f"`gradient` finite-difference on {born.engine.name} would be rounding errors "
                "divided by a small step; choose parameter-shift"
            )
        if chosen == "finite-difference" and shots:
            raise ValueError(
                f"`gradient` finite-difference of {shots} shots would be noise divided by a small "
                "step; choose parameter-shift"
            )
        self.shots, self.gradient, self._born, self._rng = shots, chosen, born, rng

    def forward(self, inputs: Tensor | ArrayLike) -> Tensor:
        """Measure the circuit for inputs [B, n_in]; on a device, in a job that may be paid for."""
        dtype = at_least_float32(self.theta.dtype)
        if not isinstance(inputs, Tensor):
            inputs = as_tensor("inputs", inputs).to(self.theta.device, dtype)
        if (
            inputs.ndim != 2
            or inputs.shape[1] != self.n_in
            or not inputs.is_floating_point()
            or torch.promote_types(inputs.dtype, dtype) != dtype
        ):
            raise ValueError(
                f"`inputs` must be {dtype} [B, {self.n_in}], "
                f"got {inputs.dtype} {list(inputs.shape)}"
            )
        outputs = self._forward(inputs.to(dtype), self.theta.to(dtype))
        return outputs.to(torch.promote_types(inputs.dtype, self.theta.dtype))

    def _forward(self, inputs: Tensor, theta: Tensor) -> Tensor:
        """Measure the circuit at angles theta, both in the dtype of the computation."""
        if not len(inputs):
            return inputs.new_zeros(0, self.n_out) + 0 * (inputs.sum() + theta.sum())
        if self._as_amplitudes:
            # divided by the largest first, so that no square over- or underflows
            largest = inputs.detach().abs().amax(1, keepdim=True)
            if not largest.all():
                raise ValueError(
                    f"`inputs` are amplitudes, and row {int(largest.argmin())} of them is zero"
                )
            inputs = F.normalize(inputs / largest, dim=1)
        x = F.pad(inputs, (0, self._room - self.n_in))  # (B, room)
        if self.gradient == "backprop":
            return self._outputs(squared(self._state(x, theta)))

        parts = [part for row in theta for part in (x, row.expand(len(x), -1))]
        columns = torch.cat(parts, 1)  # (B, uploads * (room + n_params))
        trained = [inputs.requires_grad] * self.n_in + [False] * (self._room - self.n_in)
        trained += [self.theta.requires_grad] * self.ansatz.n_params
        return _Shifted.apply(columns.double(), self, torch.tensor(trained * self.uploads)).to(x)

    def _state(self, x: Tensor, theta: Tensor) -> Tensor:
        """Return the amplitudes [B, 2**n] for padded inputs [B, room] and angles [uploads, P].

        All rows share the trained angles, so a trained circuit is one matrix product for all.
        """
        state = torch.complex(x, torch.zeros_like(x)) if self._as_amplitudes else None
        for row in theta:
            if not self._as_amplitudes:
                state = amplitudes(self.embedding, x, state)
            state = amplitudes(self.ansatz, row[None], state)
        assert state is not None
        return state

    def _measure(self, columns: Tensor) -> Tensor:
        """Measure outputs [K, n_out] for rows of angles, or of amplitudes and then angles."""
        if self._as_amplitudes:
            inputs, angles = columns.tensor_split([self._room], dim=1)
            columns = torch.cat([preparation_angles(inputs), angles], 1)
        outputs = columns.new_full((len(columns), self.n_out), math.nan)
        finite = columns.isfinite().all(1)  # (K,)
        outputs[finite] = self._outputs(distribution(self._born, columns[finite], self.shots))
        return outputs

    def _outputs(self, probs: Tensor) -> Tensor:
        """Return the outputs [K, n_out] for probabilities or frequencies [K, 2**n]."""
        if self.output == "expectations":
            return expectations(probs).index_select(1, self._measured)
        n = self.ansatz.n_qubits
        # the axes of the measured bits, the highest first
        chosen = [n - qubit for qubit in reversed(self.qubits)]
        others = [axis for axis in range(1, n + 1) if axis not in chosen]
        ordered = probs.unflatten(1, (2,) * n).permute(0, *chosen, *others)  # (K, 2, ..., 2)
        return ordered.reshape(len(probs), self.n_out, -1).sum(2)

    def get_extra_state(self) -> dict[str, Any]:
        """Return the random state of the shots, which `state_dict` saves."""
        return {"rng": self._rng.bit_generator.state}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Restore the random state of the shots."""
        self._rng.bit_generator.state = state["rng"]

    def extra_repr(self) -> str:
        return (
            f"{self.n_in} -> {self.n_out}, {self.ansatz.n_qubits} qubits, "
            f"{self.theta.numel()} angles, {self.uploads} uploads, gradient {self.gradient}"
        )


class _Shifted(torch.autograd.Function):
    """Outputs [B, n_out] of a layer for columns [B, P], with gradients from shifted columns.

    For angles, f' = (f(+s) - f(-s)) / 2 with s = pi / 2. For amplitudes v of length 1, f is a
    quadratic form in v divided by the square of v, so f(v + e_i) and f(v - e_i) give the slope of f
    at v along e_i.
    """

    @staticmethod
    def forward(ctx: Any, columns: Tensor, layer: QuantumLayer, trained: Tensor) -> Tensor:
        outputs = layer._measure(columns)
        ctx.save_for_backward(columns, outputs)
        ctx.layer, ctx.trained = layer, trained.nonzero()[:, 0].to(columns.device)
        return outputs

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        # `create_graph` was asked for; torch's own once_differentiable only sees it if grad itself
        # requires a gradient
        if torch.is_grad_enabled():
            raise RuntimeError(
                f"`gradient` {ctx.layer.gradient} cannot be differentiated again; choose backprop"
            )
        (columns, outputs), layer, trained = ctx.saved_tensors, ctx.layer, ctx.trained
        differences = layer.gradient == "finite-difference"
        of_amplitudes = (trained < layer._room) & (layer._as_amplitudes and not differences)  # (T,)
        steps = torch.where(of_amplitudes, 1.0, _STEP if differences else math.pi / 2).to(columns)
        shifts = steps[:, None] * F.one_hot(trained, columns.shape[1])  # (T, P)
        shifted = columns + torch.stack([shifts, -shifts])[:, :, None]  # (2, T, B, P)
        measured = layer._measure(shifted.flatten(0, 2))  # (2 * T * B, n_out)
        up, down = measured.view(2, len(trained), *outputs.shape)  # each (T, B, n_out)

        slopes = (up - down) / (2 * _STEP if differences else 2)
        v = columns[:, trained].T[:, :, None]  # (T, B, 1)
        of_quotient = up - down + v * (up + down - 2 * outputs)  # (T, B, n_out)
        slopes = torch.where(of_amplitudes[:, None, None], of_quotient, slopes)
        gradient = torch.zeros_like(columns)
        gradient[:, trained] = (slopes * grad).sum(2).T
        return gradient, None, None
