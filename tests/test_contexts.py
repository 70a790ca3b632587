"""Circuits under torch's modes and transforms, which leave nothing behind, and at low precision."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx

from qcaan import losses
from qcaan.circuits import program
from qcaan.circuits.ansatz import ANSATZE, Ansatz, make_ansatz, qcnn_ansatz
from qcaan.circuits.layers import QuantumLayer
from qcaan.circuits.statevector import all_probabilities

# couplings, CX and CZ: each kind of constant that is kept
CIRCUITS = (make_ansatz("ion-trap", 4, 4), qcnn_ansatz(4), Ansatz(3, ("ry", "cx-ring", "rz/2")))
INPUTS = torch.linspace(-1, 1, 12)[:, None] * torch.tensor([1.0, 0.3, -0.7, 0.9])


def loss(layer, inputs):
    return layer(inputs[:, : layer.n_in])[:, 0].sum()


def in_inference_mode(layer):
    with torch.inference_mode():
        layer(INPUTS[:, : layer.n_in])


def in_fake_mode(layer):
    with FakeTensorMode(allow_non_fake_inputs=True):
        layer(torch.zeros(3, layer.n_in))


def with_fake_angles(layer):
    with FakeTensorMode():
        QuantumLayer(layer.ansatz)(torch.zeros(3, layer.n_in))


def beside_the_meta_device(layer):
    with torch.device("meta"):
        loss(layer, INPUTS)


def on_the_meta_device(layer):
    for _ in range(2):
        QuantumLayer(layer.ansatz).to("meta")(torch.zeros(3, layer.n_in, device="meta"))


def transformed(transform):
    return lambda layer: transform(lambda inputs: loss(layer, inputs))(INPUTS)


CONTEXTS = {
    "inference_mode": in_inference_mode,
    "fake": in_fake_mode,
    "all fake": with_fake_angles,
    "default device": beside_the_meta_device,
    "meta": on_the_meta_device,
    "vmap": lambda layer: torch.func.vmap(lambda row: loss(layer, row[None]))(INPUTS),
    "grad": transformed(torch.func.grad),
    "jvp": lambda layer: torch.func.jvp(lambda x: loss(layer, x), (INPUTS,), (INPUTS,)),
    "hessian": transformed(torch.func.hessian),
    "functionalize": transformed(torch.func.functionalize),
    "make_fx": transformed(make_fx),
    "autocast": lambda layer: torch.autocast("cpu", torch.bfloat16)(loss)(layer, INPUTS),
}


def forget():
    for kept in (program.compile_ansatz, program.cz_signs, program.cx_index, program._kept_tensors):
        kept.cache_clear()


def trained(layer):
    """Outputs, gradients and second derivatives of a layer, each once."""
    inputs = INPUTS.clone().requires_grad_()
    value = loss(layer, inputs)
    (first,) = torch.autograd.grad(value, inputs, create_graph=True)
    (second,) = torch.autograd.grad(first.square().sum(), layer.theta)
    forward = torch.func.grad(lambda x: loss(layer, x))(inputs.detach())
    return [part.detach() for part in (value, first, second, forward)]


# torch's own, of forward derivatives
@pytest.mark.filterwarnings("ignore:.*torch.jit.script")
@pytest.mark.parametrize("context", CONTEXTS)
@pytest.mark.parametrize("ansatz", CIRCUITS, ids=("couplings", "cz and strides", "cx"))
def test_a_training_after_any_mode_or_transform_is_as_without(context, ansatz):
    layer = QuantumLayer(ansatz)
    forget()
    expected = trained(layer)
    forget()
    CONTEXTS[context](layer)
    for found, wanted in zip(trained(layer), expected, strict=True):
        assert type(found) is torch.Tensor
        assert torch.equal(found, wanted)


def test_what_is_kept_for_another_device_is_made_outside_all_modes():
    forget()

    def inside(theta):
        program.constants(torch.zeros(1, device="meta"), program.cz_signs, 3, "cz")
        return theta.sum()

    with torch.inference_mode():
        torch.func.grad(inside)(torch.zeros(2))
    (kept,) = program.constants(torch.zeros(1, device="meta"), program.cz_signs, 3, "cz")
    again = program.constants(torch.zeros(1, device="meta"), program.cz_signs, 3, "cz")[0]
    assert kept is again
    assert not kept.is_inference()
    assert not torch._C._functorch.is_functorch_wrapped_tensor(kept)


def test_losses_after_inference_mode_have_gradients():
    target = torch.tensor([0.1, 0.2, 0.3, 0.4]).double()
    for name, of in losses.BIT_LOSSES.items():
        with torch.inference_mode():
            of(target, target)
        model = torch.full_like(target, 0.25).requires_grad_()
        of(target, model).backward()
        assert model.grad.abs().sum() > 0, name


@pytest.mark.parametrize("name", ANSATZE)
def test_autocast_changes_no_circuit(name):
    ansatz = make_ansatz(name, 4, 3)
    layer, inputs = QuantumLayer(ansatz), INPUTS.clone().requires_grad_()
    theta = INPUTS.new_tensor(range(ansatz.n_params + 4))[None] / 7
    plain, probs = layer(inputs), all_probabilities(ansatz, theta, ("z", "t"))
    (expected,) = torch.autograd.grad(plain[:, 0].sum(), inputs)
    with torch.autocast("cpu", torch.bfloat16):
        lowered = layer(inputs)
        assert torch.equal(all_probabilities(ansatz, theta, ("z", "t")), probs)
    assert lowered.dtype == torch.float32
    assert torch.equal(lowered, plain)
    assert torch.equal(torch.autograd.grad(lowered[:, 0].sum(), inputs)[0], expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("embedding", ["rx", "amplitudes"])
@pytest.mark.parametrize("gradient", ["backprop", "parameter-shift"])
def test_a_layer_stands_between_layers_of_16_bits(dtype, embedding, gradient):
    circuit = QuantumLayer(make_ansatz("seed", 2, 1), embedding, gradient=gradient)
    model = nn.Sequential(nn.Linear(3, circuit.n_in), circuit, nn.Linear(2, 1)).to(dtype)
    out = model(torch.ones(5, 3, dtype=dtype))
    assert out.dtype == dtype
    out.sum().backward()
    assert circuit.theta.grad.dtype == dtype
    assert circuit.theta.grad.abs().sum() > 0
    # the circuit computes in float32: its outputs are off by one rounding alone
    inputs = torch.full((1, circuit.n_in), 0.3, dtype=dtype)
    precise = QuantumLayer(circuit.ansatz, embedding)
    precise.theta.data = circuit.theta.data.float()
    torch.testing.assert_close(circuit(inputs), precise(inputs.float()).to(dtype), rtol=0, atol=0)
    # angles of 32 bits, inputs of 16
    assert precise(inputs).dtype == torch.float32


def test_a_linear_layer_under_autocast_stands_before_a_circuit():
    model = nn.Sequential(nn.Linear(3, 2), QuantumLayer(make_ansatz("ion-trap", 2, 2)))
    with torch.autocast("cpu", torch.bfloat16):
        out = model(torch.ones(5, 3))
    assert out.dtype == torch.float32
    out.sum().backward()
    assert all(p.grad is not None for p in model.parameters())


def test_losses_of_bits_keep_their_precision_under_autocast():
    target = torch.softmax(torch.arange(8.0), 0)
    model = torch.full((2, 8), 0.125)
    for of in losses.BIT_LOSSES.values():
        expected = of(target, model)
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(of(target, model), expected)
