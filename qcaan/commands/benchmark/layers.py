"""Times of circuits as layers of networks, beside PennyLane's."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from qcaan.circuits.ansatz import make_ansatz
from qcaan.circuits.layers import QuantumLayer
from qcaan.commands.benchmark.timing import Goal, Row, is_installed, median_times, rows_of, times_of

BATCH = 128
_OURS, _PENNYLANE = "forward + backward: qcaan", "forward + backward: PennyLane "

# one forward and backward pass, which returns gradients
Pass = Callable[[], tuple[Tensor, ...]]


def quantum_layers(n_qubits: int, repeats: int) -> list[Row]:
    """Time forward and backward of a `QuantumLayer`, angles in and Pauli Z out, on one core.

    PennyLane has rows if it is installed (extra `bench`). It computes in float64 whatever it is
    given.
    """
    torch.manual_seed(0)
    layer = QuantumLayer(make_ansatz("ry-rx", n_qubits, 3))
    inputs, weights = torch.randn(2, BATCH, n_qubits)
    ways: dict[str, Pass] = {}
    if is_installed("pennylane"):
        for device, method in (("default.qubit", "backprop"), ("lightning.qubit", "adjoint")):
            way = _pennylane_pass(layer, inputs, weights, device, method)
            ways[f"{_PENNYLANE}{device}, {method}"] = way
    ways[_OURS] = _our_pass(layer, inputs, weights, torch.float32)
    ways[f"{_OURS}, float64"] = _our_pass(layer, inputs, weights, torch.float64)
    _check_equal(ways)
    return rows_of(median_times(ways, repeats))


def layer_goals(rows: Sequence[Row]) -> list[Goal]:
    """Return the goals of the layer; none if PennyLane is not installed."""
    ms = times_of(rows)
    others = [time for what, time in ms.items() if what.startswith(_PENNYLANE)]
    if not others:
        return []
    faster = min(others) / ms[_OURS]
    return [Goal("times faster than the better of PennyLane's", faster, "at least 5")]


def _check_equal(ways: Mapping[str, Pass]) -> None:
    """Check that all ways compute the same, which is part of what is claimed."""
    results = [way() for way in ways.values()]
    for result in results:
        for one, other in zip(result, results[0], strict=True):
            assert torch.allclose(one.double().flatten(), other.double().flatten(), atol=1e-4)


def _gradients(outputs: Tensor, weights: Tensor, *leaves: Tensor) -> tuple[Tensor, ...]:
    return torch.autograd.grad((outputs * weights).sum(), leaves)


def _our_pass(layer: QuantumLayer, inputs: Tensor, weights: Tensor, dtype: torch.dtype) -> Pass:
    copied = copy.deepcopy(layer).to(dtype)
    x = inputs.to(dtype).requires_grad_()
    return lambda: _gradients(copied(x), weights, x, copied.theta)


def _pennylane_pass(
    layer: QuantumLayer, inputs: Tensor, weights: Tensor, device: str, method: str
) -> Pass:
    import pennylane as qml

    n = layer.ansatz.n_qubits
    rotations = {"rx": qml.RX, "ry": qml.RY}

    def circuit(x: Tensor, theta: Tensor) -> object:
        qml.AngleEmbedding(x, wires=range(n), rotation="X")
        angles = iter(theta)
        for gate in layer.ansatz.layers:
            if gate == "cx":
                for i in range(n - 1):
                    qml.CNOT([i, i + 1])
            else:
                for i in range(n):
                    rotations[gate](next(angles), i)
        return [qml.expval(qml.PauliZ(i)) for i in range(n)]

    node = qml.QNode(circuit, qml.device(device, wires=n), interface="torch", diff_method=method)
    x, theta = inputs.clone().requires_grad_(), layer.theta[0].detach().clone().requires_grad_()
    return lambda: _gradients(torch.stack(tuple(node(x, theta)), 1), weights, x, theta)
