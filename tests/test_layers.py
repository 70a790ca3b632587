from __future__ import annotations

import math
import re

import numpy as np
import pennylane as qml
import pytest
import torch
from qiskit.primitives import BaseSamplerV2, StatevectorSampler
from torch import nn

from qcaan import QuantumLayer
from qcaan.circuits.ansatz import Ansatz, make_ansatz

CIRCUIT = Ansatz(3, ("ry", "rx", "cx", "rz", "ry"))
KINDS = {
    "angles": {},
    "few inputs, few qubits": {"n_in": 2, "qubits": (2, 0)},
    "uploads": {"embedding": ("h", "rz", "ry"), "n_in": 5, "uploads": 2},
    "probabilities": {"output": "probabilities", "qubits": (2, 0)},
    "amplitudes": {"embedding": ("amplitudes",), "n_in": 6},
}
EVERY_KIND = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)


class Counting(BaseSamplerV2):
    """A sampler that keeps the number of parameter sets of each of its runs."""

    def __init__(self) -> None:
        self.inner, self.runs = StatevectorSampler(seed=np.random.default_rng(0)), []

    def run(self, pubs, *, shots=None):
        self.runs.append([len(values) for _, values, _ in pubs])
        return self.inner.run(pubs, shots=shots)


def layer_and_inputs(kind, dtype=torch.float64, rows=4):
    torch.manual_seed(0)
    layer = QuantumLayer(CIRCUIT, **kind).to(dtype)
    inputs = torch.randn(rows, layer.n_in, dtype=dtype)
    inputs[0, :2] = 0  # where the angles that prepare a state have no gradient
    return layer, inputs.requires_grad_()


def values_and_gradients(layer, inputs):
    outputs = layer(inputs)
    weights = torch.randn(outputs.shape, generator=torch.Generator().manual_seed(1)).to(outputs)
    return outputs.detach(), *torch.autograd.grad((outputs * weights).sum(), (inputs, layer.theta))


def test_inputs_turn_the_qubits_in_their_order_and_again_at_each_upload():
    x = torch.tensor([[0.3, 1.2], [-0.5, 2.0]])
    for uploads in (1, 3):
        layer = QuantumLayer(Ansatz(2, ()), uploads=uploads)
        torch.testing.assert_close(layer(x), (uploads * x).cos())
    torch.testing.assert_close(QuantumLayer(Ansatz(2, ()), qubits=(1,))(x), x[:, 1:].cos())
    few = QuantumLayer(Ansatz(2, ()), n_in=1)
    torch.testing.assert_close(few(x[:, :1]), torch.stack([x[:, 0].cos(), torch.ones(2)], 1))
    two_turns = QuantumLayer(Ansatz(1, ()), embedding=("rx", "rx"))
    torch.testing.assert_close(two_turns(x), x.sum(1, keepdim=True).cos())


def test_amplitudes_are_those_of_the_state_with_their_signs():
    layer = QuantumLayer(Ansatz(2, ()), embedding=("amplitudes",))
    x = torch.tensor([[0.0, 2, 0, 0], [1, 0, 0, 1], [3, 0, -4, 0]])
    torch.testing.assert_close(layer(x), torch.tensor([[-1.0, 1], [0, 0], [1, (9 - 16) / 25]]))
    turned = QuantumLayer(Ansatz(1, ("h",)), embedding=("amplitudes",))
    torch.testing.assert_close(
        turned(torch.tensor([[1.0, 1], [-2, 2]])), torch.tensor([[1.0], [-1]])
    )


def test_joint_probabilities_have_the_first_qubit_as_lowest_bit():
    x = torch.tensor(
        [[1.0, 0, 0, 0, 3, 0, 0, 0]]
    )  # qubit 2 is 1 with probability 0.9, qubit 0 is 0
    kind = {"embedding": ("amplitudes",), "output": "probabilities"}
    for qubits, expected in (
        ((2, 0), [0.1, 0.9, 0, 0]),
        ((0, 2), [0.1, 0, 0.9, 0]),
        ((1,), [1.0, 0]),
    ):
        layer = QuantumLayer(Ansatz(3, ()), qubits=qubits, **kind)
        torch.testing.assert_close(layer(x), torch.tensor([expected]))
    whole = QuantumLayer(Ansatz(3, ()), **kind)
    torch.testing.assert_close(whole(x), (x / x.norm()).square())


@EVERY_KIND
def test_all_gradients_agree_on_both_exact_engines(kind):
    layer, inputs = layer_and_inputs(kind)
    expected = values_and_gradients(layer, inputs)
    assert all(float(part.abs().max()) > 0.05 for part in expected)
    for sampler in ("exact", "aer"):
        for gradient in ("parameter-shift", "finite-difference"):
            layer.use(sampler, gradient=gradient)
            torch.testing.assert_close(
                values_and_gradients(layer, inputs), expected, atol=1e-6, rtol=0
            )


@EVERY_KIND
def test_in_single_precision_they_agree_to_1e_5(kind):
    layer, inputs = layer_and_inputs(kind, torch.float32)
    expected = values_and_gradients(layer, inputs)
    assert expected[0].dtype == torch.float32
    for gradient in ("parameter-shift", "finite-difference"):
        layer.use("exact", gradient=gradient)
        torch.testing.assert_close(values_and_gradients(layer, inputs), expected, atol=1e-5, rtol=0)


@EVERY_KIND
def test_second_derivatives_are_right_on_the_exact_path(kind):
    layer, inputs = layer_and_inputs(kind, rows=2)

    def function(x, theta):
        return torch.func.functional_call(layer, {"theta": theta}, (x,))

    assert torch.autograd.gradgradcheck(function, (inputs, layer.theta))


@pytest.mark.parametrize("gradient", ["parameter-shift", "finite-difference"])
def test_second_derivatives_are_refused_where_there_are_none(gradient):
    layer, inputs = layer_and_inputs({"gradient": gradient})
    with pytest.raises(
        RuntimeError, match=f"`gradient` {gradient} cannot be differentiated again; choose backprop"
    ):
        torch.autograd.grad(layer(inputs).sum(), inputs, create_graph=True)


@EVERY_KIND
@pytest.mark.parametrize(
    "engine", [{}, {"shots": 9}, {"sampler": "aer"}, {"sampler": "aer", "shots": 9}], ids=str
)
def test_no_rows_are_no_outputs(kind, engine):
    layer, inputs = layer_and_inputs({**kind, **engine})
    nothing = inputs.detach()[:0].requires_grad_()
    outputs = layer(nothing)
    assert outputs.shape == (0, layer.n_out)
    outputs.sum().backward()
    assert nothing.grad.shape == nothing.shape
    assert not layer.theta.grad.any()


@pytest.mark.parametrize("engine", [{}, {"shots": 9}, {"sampler": "aer", "shots": 9}], ids=str)
def test_angles_that_are_not_finite_give_nothing_that_looks_like_a_measurement(engine):
    layer = QuantumLayer(CIRCUIT, seed=0, **engine)
    layer.theta.data[0, 0] = math.nan
    assert layer(torch.zeros(2, 3)).isnan().any()


def test_amplitudes_may_be_of_any_size():
    layer = QuantumLayer(CIRCUIT, embedding="amplitudes", output="probabilities")
    for size in (1e-30, 3e19):
        torch.testing.assert_close(layer(torch.full((1, 8), size)), layer(torch.ones(1, 8)))


@pytest.mark.parametrize(
    ("embedding", "uploads"),
    [(("rx",), 1), (("h", "rz"), 2), (("amplitudes",), 1)],
    ids=["rx", "h rz twice", "amplitudes"],
)
def test_values_and_gradients_equal_those_of_pennylanes_qnode(embedding, uploads):
    layer, inputs = layer_and_inputs({"embedding": embedding, "uploads": uploads})

    @qml.qnode(qml.device("default.qubit", wires=3), interface="torch", diff_method="backprop")
    def node(x, theta):
        for angles in theta.unflatten(1, (-1, 3)):  # of each layer and qubit
            if embedding == ("amplitudes",):
                qml.AmplitudeEmbedding(
                    x, wires=(2, 1, 0), normalize=True
                )  # its first wire is the highest bit
            else:
                for qubit in range(3):
                    if embedding == ("h", "rz"):
                        qml.Hadamard(qubit)
                        qml.RZ(x[:, qubit], qubit)
                    else:
                        qml.RX(x[:, qubit], qubit)
            for gate, layer_angles in zip(
                (qml.RY, qml.RX, None, qml.RZ, qml.RY), angles[[0, 1, 0, 2, 3]], strict=True
            ):
                if gate is None:
                    qml.CNOT([0, 1])
                    qml.CNOT([1, 2])
                else:
                    for qubit in range(3):
                        gate(layer_angles[qubit], qubit)
        return [qml.expval(qml.PauliZ(qubit)) for qubit in range(3)]

    ours, theirs = layer(inputs), torch.stack(node(inputs, layer.theta), 1)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)
    for mine, other in zip(
        *(torch.autograd.grad(out.sin().sum(), (inputs, layer.theta)) for out in (ours, theirs)),
        strict=True,
    ):
        torch.testing.assert_close(mine, other, atol=1e-5, rtol=0)


SAMPLED = [("exact", kind) for kind in KINDS] + [("aer", kind) for kind in KINDS]


@pytest.mark.parametrize(
    ("sampler", "kind"),
    [*SAMPLED, (StatevectorSampler(seed=np.random.default_rng(0)), "amplitudes")],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_gradients_from_shots_are_near_the_exact_ones(sampler, kind):
    layer, inputs = layer_and_inputs(KINDS[kind], rows=2)
    expected = values_and_gradients(layer, inputs)
    layer.use(sampler, shots=2000, seed=0)
    from_shots = values_and_gradients(layer, inputs)
    assert (
        0 < (from_shots[0] - expected[0]).abs().max() < 0.08
    )  # a sign's deviation: 1 / sqrt(2,000) = 0.022
    for part, exact in zip(from_shots[1:], expected[1:], strict=True):
        assert torch.cosine_similarity(part.flatten(), exact.flatten(), 0) > 0.97


def test_all_shifted_sets_are_one_job_and_only_those_that_are_needed():
    sampler = Counting()
    layer, inputs = layer_and_inputs({"n_in": 2})
    layer.use(sampler, shots=10)
    n_angles = layer.theta.numel()
    layer(inputs).sum().backward()
    layer(inputs.detach()).sum().backward()
    layer.theta.requires_grad_(False)
    layer(inputs).sum().backward()
    rows = len(inputs)
    with_inputs, without, inputs_only = (2 * rows * n for n in (n_angles + 2, n_angles, 2))
    assert sampler.runs == [[rows], [with_inputs], [rows], [without], [rows], [inputs_only]]
    with torch.no_grad():
        layer(inputs)
    assert sampler.runs[6:] == [[rows]]


@pytest.mark.parametrize(("sampler", "shots", "steps"), [("exact", 0, 100), ("aer", 50, 40)])
def test_a_layer_learns_a_function_that_one_upload_cannot_draw(sampler, shots, steps):
    x = torch.linspace(-2, 2, 11)[:, None]
    wanted = (2 * x).sin() * 0.7
    errors = {}
    for uploads in (1, 2):
        torch.manual_seed(0)
        layer = QuantumLayer(
            Ansatz(1, ("rz", "ry", "rz")), uploads=uploads, sampler=sampler, shots=shots, seed=0
        )
        optimizer = torch.optim.Adam(layer.parameters(), 0.1)
        for _ in range(steps):
            optimizer.zero_grad()
            nn.functional.mse_loss(layer(x), wanted).backward()
            optimizer.step()
        layer.use("exact")
        errors[uploads] = nn.functional.mse_loss(layer(x), wanted).item()
    assert wanted.square().mean() > 0.2
    assert errors[1] > 0.15
    assert errors[2] < 0.04


def test_a_loaded_layer_draws_the_same_shots_as_the_one_saved():
    layer, inputs = layer_and_inputs({"sampler": "aer", "shots": 50, "seed": 1})
    layer(inputs)
    other = QuantumLayer(CIRCUIT, sampler="aer", shots=50, seed=2).double()
    other.load_state_dict(layer.state_dict())
    first = layer(inputs)
    assert torch.equal(first, other(inputs))
    assert not torch.equal(first, layer(inputs))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"embedding": ("rx", "cx")},
            "`embedding` must be amplitudes, or layers of rx, ry, rz and h with at least",
        ),
        ({"embedding": ("h",)}, "h with at least one rotation, got h"),
        ({"uploads": 0}, "`uploads` must be at least 1, got 0"),
        (
            {"embedding": ("amplitudes",), "uploads": 2},
            "`uploads` must be 1 for amplitudes, got 2",
        ),
        ({"n_in": 4}, "`n_in` must be at least 1 and below 4, got 4"),
        (
            {"embedding": ("amplitudes",), "n_in": 9},
            "`n_in` must be at least 1 and below 9, got 9",
        ),
        ({"qubits": (0, 3)}, "`qubits` must be different ones of 0..2, got [0, 3]"),
        ({"qubits": (1, 1)}, "`qubits` must be different ones of 0..2, got [1, 1]"),
        (
            {"output": "counts"},
            "unknown `output` 'counts'; choose from expectations, probabilities",
        ),
        ({"sampler": "warp"}, "unknown `sampler` 'warp'"),
        (
            {"gradient": "adjoint"},
            "unknown `gradient` 'adjoint'; choose from backprop, parameter-shift, finite",
        ),
        ({"shots": -1}, "`shots` must be at least 0, got -1"),
        (
            {"sampler": "aer", "gradient": "backprop"},
            "`gradient` backprop needs `sampler` exact without shots",
        ),
        (
            {"shots": 9, "gradient": "backprop"},
            "`gradient` backprop needs `sampler` exact without shots",
        ),
        (
            {"shots": 9, "gradient": "finite-difference"},
            "`gradient` finite-difference of 9 shots would be noise",
        ),
        (
            {"sampler": "aer:single", "gradient": "finite-difference"},
            "finite-difference on aer:single would be rounding",
        ),
        (
            {"sampler": "aer-noise:ionq-aria", "shots": 9, "embedding": "cx"},
            "`embedding` must be amplitudes, or layers of",
        ),
        (
            {"sampler": StatevectorSampler()},
            "`shots` must be at least 1 on StatevectorSampler, which has no exact probabilities",
        ),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        QuantumLayer(CIRCUIT, **options)


def test_bad_inputs_are_named():
    layer = QuantumLayer(CIRCUIT)
    for inputs in (torch.zeros(2, 4), torch.zeros(3), torch.zeros(2, 3, dtype=torch.float64)):
        with pytest.raises(
            ValueError, match=re.escape("`inputs` must be torch.float32 [B, 3], got")
        ):
            layer(inputs)
    with pytest.raises(ValueError, match="`inputs` are amplitudes, and row 1 of them is zero"):
        QuantumLayer(CIRCUIT, embedding=("amplitudes",))(
            torch.eye(8)[:3] * torch.tensor([[1], [0], [1]])
        )


def test_inputs_come_as_tensors_arrays_or_lists():
    layer = QuantumLayer(CIRCUIT)
    inputs = torch.tensor([[0.5, -1.0, 0.25], [1.0, 2.0, -0.5]])
    expected = layer(inputs)
    assert torch.equal(layer(inputs.numpy()), expected)
    assert torch.equal(layer(inputs.tolist()), expected)


def test_angles_start_all_over_the_circle_and_follow_the_seed():
    torch.manual_seed(3)
    one, other = (QuantumLayer(make_ansatz("seed", 4, 3), uploads=2).theta for _ in range(2))
    assert one.shape == (2, make_ansatz("seed", 4, 3).n_params)
    assert not torch.equal(one, other)
    assert -math.pi <= one.min() < -2.5 and 2.5 < one.max() <= math.pi
    torch.manual_seed(3)
    assert torch.equal(QuantumLayer(make_ansatz("seed", 4, 3), uploads=2).theta, one)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@EVERY_KIND
def test_cuda_equals_the_cpu(kind):
    layer, inputs = layer_and_inputs(kind)
    expected = values_and_gradients(layer, inputs)
    on_gpu = inputs.detach().cuda().requires_grad_()
    layer.cuda()
    for sampler, gradient in (
        ("exact", "backprop"),
        ("exact", "parameter-shift"),
        ("aer", "parameter-shift"),
    ):
        layer.use(sampler, gradient=gradient)
        for part, cpu in zip(values_and_gradients(layer, on_gpu), expected, strict=True):
            assert part.is_cuda
            torch.testing.assert_close(part.cpu(), cpu)
