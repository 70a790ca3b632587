"""Types of what the public names take: plain ones are accepted, others refused by name."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from qiskit import QuantumCircuit

import qcaan

CONFIGS = (
    qcaan.AssociativeConfig,
    qcaan.ImageConfig,
    qcaan.WassersteinConfig,
    qcaan.DistributionConfig,
)
ANSATZ = qcaan.make_ansatz("ry-rx", 2, 1)


@pytest.mark.parametrize("config", CONFIGS)
def test_numbers_of_numpy_and_torch_become_plain_ones(config):
    made = config(
        epochs=np.int32(3),
        seed=torch.tensor(5),
        lr=np.float64(0.25),
        job_timeout=torch.tensor(2.0, requires_grad=True),
        data=Path("some") / "data",
    )
    assert made == config(epochs=3, seed=5, lr=0.25, job_timeout=2.0, data="some/data")
    assert json.loads(json.dumps([made.epochs, made.seed, made.lr])) == [3, 5, 0.25]
    assert type(made.epochs) is int and type(made.lr) is float and type(made.data) is str


def test_lists_arrays_and_strings_become_tuples_and_paths():
    for digits in ([3, 7], np.array([3, 7]), torch.tensor([3, 7]), (np.int64(3), 7)):
        config = qcaan.AssociativeConfig(digits=digits, bases=["z"], data_root="data")
        assert (config.digits, config.bases) == ((3, 7), ("z",))
        assert config.data_root == Path("data")


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 3.5}, "`epochs` must be a whole number, got 3.5"),
        ({"epochs": True}, "`epochs` must be a whole number, got True"),
        ({"epochs": "3"}, "`epochs` must be a whole number, got '3'"),
        ({"epochs": 10**12}, "`epochs` must be at most 1,000,000, got 1000000000000"),
        ({"batch_size": 10**12}, "`batch_size` must be at most 100,000, got 1000000000000"),
        ({"n_layers": 10**8}, "`n_layers` must be at most 1,000, got 100000000"),
        ({"shots": 10**30}, "`shots` must be at most 10,000,000, got a number of more than 20"),
        ({"lr": math.nan}, "`lr` must be finite, got nan"),
        ({"lr": "0.1"}, "`lr` must be a number, got '0.1'"),
        ({"lr": None}, "`lr` must be a number, got None"),
        ({"job_timeout": math.inf}, "`job_timeout` must be finite, got inf"),
        ({"data": 3}, "`data` must be text, got 3"),
        ({"data": None}, "`data` must be text, got None"),
        ({"ibm_mode": ["job"]}, r"unknown `ibm_mode` \['job'\]; choose from job, batch, session"),
    ],
)
def test_other_values_of_configurations_are_refused_by_name(config, options, message):
    with pytest.raises(ValueError, match=message):
        config(**options)


def test_every_number_of_every_configuration_must_be_finite():
    for config in CONFIGS:
        defaults = vars(config())
        for name in [name for name, value in defaults.items() if type(value) is float]:
            for value in (math.nan, math.inf, -math.inf):
                with pytest.raises(ValueError, match=f"`{name}` must be finite, got {value}"):
                    config(**{name: value})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"digits": 3}, "`digits` must be a list of values, got 3"),
        ({"digits": "37"}, "`digits` must be a list of values, got '37'"),
        ({"digits": [3.5]}, "`digits` must be a whole number, got 3.5"),
        ({"digits": ()}, "`digits` must be one or more different values, got none"),
        ({"digits": (3, 3)}, "`digits` must be one or more different values, got 3 3"),
        ({"bases": "zo"}, "`bases` must be a list of values, got 'zo'"),
        ({"data_root": 3}, "`data_root` must be a path, got 3"),
        ({"mitigate_readout": 1}, "`mitigate_readout` must be true or false, got 1"),
        ({"bank_shots": 10**12}, "`bank_shots` must be at most 10,000,000, got"),
        ({"width": 10**9}, "`width` must be at most 500, got"),
    ],
)
def test_other_values_of_the_qc_aan_are_refused_by_name(options, message):
    with pytest.raises(ValueError, match=message):
        qcaan.AssociativeConfig(**options)


@pytest.mark.parametrize("circuit", [QuantumCircuit(2), "ry-rx", None])
def test_a_layer_says_which_circuit_it_takes(circuit):
    with pytest.raises(TypeError, match=r"`ansatz` must be an Ansatz, as qcaan\.make_ansatz"):
        qcaan.QuantumLayer(circuit)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: qcaan.QuantumLayer(ANSATZ, uploads=2.0), "`uploads` must be a whole number of at"),
        (lambda: qcaan.QuantumLayer(ANSATZ, uploads=10**7), "`uploads` must be at most 1,000"),
        (lambda: qcaan.QuantumLayer(ANSATZ, embedding=3), "`embedding` must be a list of values"),
        (lambda: qcaan.QuantumLayer(ANSATZ, qubits=1), "`qubits` must be a list of values"),
        (lambda: qcaan.QuantumLayer(ANSATZ, qubits=[1.5]), "`qubits` must be a whole number"),
        (lambda: qcaan.QuantumLayer(ANSATZ, seed="x"), "`seed` must be a whole number"),
        (lambda: qcaan.QuantumLayer(ANSATZ)(np.ma.masked_all((1, 2))), "`inputs` must be an array"),
        (lambda: qcaan.Ansatz(2, "ry"), "`layers` must be a list of values, got 'ry'"),
        (lambda: qcaan.make_ansatz("seed", True, 1), "`n_qubits` must be a whole number"),
        (lambda: qcaan.make_sampler(None), "unknown `sampler` None"),
        (lambda: qcaan.make_sampler("aer", 1.5), "`seed` must be a whole number"),
        (lambda: qcaan.Generator(0, (1, 28, 28), 2, mix=False), "`dim` must be at least 1"),
        (lambda: qcaan.Discriminator(2, 28, 2, skip=False), "`image_shape` must be a list of"),
        (lambda: qcaan.load_images("digits8x8", classes=3), "`classes` must be a list of values"),
        (lambda: qcaan.load_samples("lognormal", 3, seed=0.5), "`seed` must be a whole number"),
        (lambda: qcaan.load_run(None), "`path` must be a path, got None"),
    ],
)
def test_other_types_are_refused_by_name(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_plain_types_of_others_are_accepted():
    layer = qcaan.QuantumLayer(
        qcaan.Ansatz(np.int64(2), ["ry"]),
        uploads=np.int64(1),
        qubits=np.array([1]),
        seed=np.int8(3),
    )
    assert layer.ansatz == qcaan.Ansatz(2, ("ry",))
    for inputs in ([[0, 1]], np.array([[0, 1]]), torch.tensor([[0.0, 1.0]], requires_grad=True)):
        assert layer(inputs).shape == (1, 1)
    kept = qcaan.load_images("digits8x8", classes=np.array([3, 7]))
    assert set(kept.class_names) == {3, 7}
