"""Too many qubits, and devices that cannot be used: one sentence, before anything is made."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ionq_server import answered
from qiskit import ClassicalRegister, QuantumCircuit, QuantumRegister
from qiskit.circuit import Parameter
from qiskit.primitives import BackendSamplerV2, BaseSamplerV2, StatevectorSampler
from qiskit.providers.fake_provider import GenericBackendV2
from qiskit_aer import AerSimulator
from qiskit_ibm_runtime.fake_provider import FakeManilaV2

from qcaan import QCBM, make_ansatz
from qcaan.circuits.layers import QuantumLayer
from qcaan.circuits.qiskit_circuits import CircuitMachine
from qcaan.samplers.names import make_sampler, open_engine
from qcaan.samplers.requests import JobError

ONE_STEP = ("--epochs", 1, "--steps-per-epoch", 1)
SYSTEMS = {
    "train_mnist.py": (
        "--data",
        "digits8x8",
        "--no-prompt",
        "--bases",
        "z",
        *("--fit-evals", 10**6),
        *ONE_STEP,
    ),
    "train_gaussian.py": ("--n-layers", 1, *ONE_STEP),
    "train_image_qgan.py": ("--data", "digits8x8", "--n-layers", 1, *ONE_STEP),
    "train_qgan.py": ("--data", "lognormal", "--epochs", 1),
    "classify_digits.py": ("--n-layers", 1, "--epochs", 1),
}
# qubits of the targets, those of the tests' server among them
WIDTHS = {
    "aqt:ideal": 20,
    "aqt:noisy": 20,
    "ibm:fake_manila": 5,
    "aer-noise:fake_manila": 5,
    "aer-noise:ionq-aria": 25,
    "ionq:simulator": 3,
    "ionq:qpu.forte-1": 3,
}


@pytest.fixture(autouse=True)
def many_gigabytes(monkeypatch):
    """Let the memory of the machine allow 28 qubits, more than each target has."""
    monkeypatch.setattr("qcaan.checks.memory_of", lambda device="cpu": 2**36)


@pytest.mark.parametrize("script", SYSTEMS)
def test_too_many_qubits_for_a_target_are_one_sentence(call_script, ionq, tmp_path, script):
    ionq.n_qubits = 3
    out = tmp_path / "run"
    # all of them for one system, and one of each kind for the others
    kinds = ("aqt:ideal", "ibm:fake_manila", "ionq:simulator")
    samplers = WIDTHS if script == "train_gaussian.py" else kinds
    for sampler in samplers:
        width = WIDTHS[sampler]
        options = ("--sampler", sampler, "--n-qubits", width + 1, "--shots", 100, "--out", out)
        result = call_script(script, *SYSTEMS[script], *options)
        expected = f"error: `n_qubits` must be at most {width} on {sampler}, got {width + 1}\n"
        assert (result.returncode, result.stderr) == (2, expected)
    assert not out.exists() and not ionq.jobs


@pytest.mark.parametrize("script", SYSTEMS)
def test_ten_million_qubits_are_refused_at_once(call_script, tmp_path, script):
    out = tmp_path / "run"
    for sampler, n_qubits in (("exact", 10**7), ("aer", 10**30), ("aqt:ideal", 10**7)):
        options = ("--sampler", sampler, "--n-qubits", n_qubits, "--out", out)
        result = call_script(script, *SYSTEMS[script], *options)
        assert result.returncode == 2
        assert result.stderr.startswith("error: `n_qubits` must be at ")
        assert "got " in result.stderr and result.stderr.count("\n") == 1
    assert not out.exists()


@pytest.mark.parametrize(
    ("script", "options"),
    [
        *(("train_mnist.py", ("--prior", prior)) for prior in ("bernoulli", "rbm", "gaussian")),
        ("train_image_qgan.py", ("--noise", "amplitudes")),
        ("train_image_qgan.py", ("--noise", "amplitudes", "--circuit", "none")),
        ("train_gaussian.py", ("--sampler", "aqt:ideal", "--switch-after-epochs", 1)),
        ("train_qgan.py", ("--data", "gaussian-2d")),
    ],
)
def test_nor_are_they_taken_by_other_priors_and_noises(call_script, tmp_path, script, options):
    qubits = (10**7,) * (2 if script == "train_qgan.py" else 1)
    given = (*SYSTEMS[script], "--epochs", 2, *options, "--n-qubits", *qubits)
    result = call_script(script, *given, "--out", tmp_path / "run")
    assert result.returncode == 2 and result.stderr.startswith("error: `n_")
    assert result.stderr.count("\n") == 1 and not (tmp_path / "run").exists()


def test_wide_discriminators_are_refused(call_script, tmp_path):
    for kind, width in (("quantum", 10**7), ("qcnn", 2**24)):
        options = ("--discriminator", kind, "--discriminator-qubits", width)
        out = ("--out", tmp_path / "run")
        result = call_script("train_image_qgan.py", *SYSTEMS["train_image_qgan.py"], *options, *out)
        assert result.returncode == 2 and f"got {width}" in result.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "target",
    [
        *("aqt:ideal", "ibm:fake_manila"),
        *(GenericBackendV2(5, seed=0), FakeManilaV2(), AerSimulator.from_backend(FakeManilaV2())),
        *(BackendSamplerV2(backend=FakeManilaV2()), make_sampler("aer-noise:fake_manila")),
    ],
)
def test_from_python_they_are_errors_too(target):
    with pytest.raises(ValueError, match=r"`n_qubits` must be at most .* got 21"):
        QuantumLayer(make_ansatz("ry-rx", 21, 1), sampler=target, shots=10)
    with pytest.raises(ValueError, match=r"`n_qubits` must be at most .* got 21"):
        QCBM(21, 1, sampler=target, shots=10, bank_shots=10)
    circuit = QuantumCircuit(21)
    circuit.ry(Parameter("a"), 0)
    with pytest.raises(ValueError, match=r"`n_qubits` must be at most .* got 21"):
        CircuitMachine(circuit, target, np.random.default_rng(0))


class Careless(BaseSamplerV2):
    """Measures something else than it was asked."""

    def __init__(self, change):
        self._change = change

    def run(self, pubs, *, shots=None):
        asked = [(circuit, values, n) for circuit, values, n in pubs]
        return StatevectorSampler(seed=0).run(self._change(asked))


def wider(circuit):
    extra = QuantumCircuit(*circuit.qregs, *circuit.cregs, ClassicalRegister(1), QuantumRegister(1))
    return extra.compose(circuit)


@pytest.mark.parametrize(
    "change",
    [
        lambda pubs: pubs[:-1],
        lambda pubs: [*pubs, pubs[0]],
        lambda pubs: [(circuit, values, n - 1) for circuit, values, n in pubs],
        lambda pubs: [(circuit, values[:-1], n) for circuit, values, n in pubs],
        lambda pubs: [(wider(circuit), values, n) for circuit, values, n in pubs],
    ],
)
def test_results_that_were_not_asked_are_refused_from_every_sampler(change):
    layer = QuantumLayer(make_ansatz("ry-rx", 2, 1), sampler=Careless(change), shots=10)
    with pytest.raises(
        JobError, match=r"job \S+ on Careless holds impossible results: bits"
    ) as caught:
        layer._born.frequencies(torch.zeros(3, layer._born.n_params, dtype=torch.float64), 10)
    assert caught.value.job_id in str(caught.value)


DRY = ("train_gaussian.py", *SYSTEMS["train_gaussian.py"], "--shots", 10, "--dry-run")


@pytest.mark.parametrize(
    "n_qubits", ["29", "many", -1, 0, 2.5, float("nan"), float("inf"), None, True, [29], 10**12]
)
def test_a_device_without_a_sensible_number_of_qubits_is_refused(
    call_script, ionq, tmp_path, n_qubits
):
    ionq.n_qubits = n_qubits
    result = call_script(*DRY, "--sampler", "ionq:simulator", "--out", tmp_path / "run")
    assert result.returncode == 2 and result.stderr.count("\n") == 1
    assert "ionq:simulator is not available: its number of qubits must be from 1" in result.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("page", "message"),
    [
        ({"backend": "simulator"}, "its number of qubits must be from 1 to 100,000, got None"),
        ([], "a list came instead of a JSON object"),
        ("busy", "a str came instead of a JSON object"),
    ],
)
def test_a_page_of_a_device_that_is_none_is_refused(call_script, ionq, tmp_path, page, message):
    ionq.mischief = lambda kind, request, honest: answered(page) if kind == "device" else honest()
    result = call_script(*DRY, "--sampler", "ionq:simulator", "--out", tmp_path / "run")
    assert result.returncode == 2 and message in result.stderr


@pytest.mark.parametrize("options", [(), ("--dry-run",)])
@pytest.mark.parametrize("key", ["wrong-sesame\n", "", " \n", None])
def test_a_bad_or_missing_key_is_one_sentence(
    call_script, ionq, tmp_path, monkeypatch, key, options
):
    monkeypatch.chdir(tmp_path)  # without an .env file
    monkeypatch.delenv("IONQ_API_KEY")
    if key is not None:
        monkeypatch.setenv("IONQ_API_KEY", key)

    def check_key(kind, request, honest):
        good = request.headers["Authorization"] == "apiKey open-sesame"
        refusal = {"message": f"invalid key {request.headers['Authorization']}"}
        return honest() if good or kind == "device" else answered(refusal, 401)

    ionq.mischief = check_key
    run = (*DRY[:-1], *options, "--sampler", "ionq:simulator", "--out", tmp_path / "run")
    result = call_script(*run)
    assert result.returncode == 2 and result.stderr.count("\n") == 1
    assert "ionq:simulator is not available: " in result.stderr
    assert "sesame" not in result.stdout + result.stderr
    assert not (tmp_path / "run").exists() and not ionq.jobs


def test_a_key_in_an_env_file_is_used_stripped_and_hidden(ionq, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("IONQ_API_KEY")
    monkeypatch.setattr(
        "qiskit_ionq.helpers.dotenv_values", lambda: {"IONQ_API_KEY": "sesame-of-env\n"}
    )
    make_sampler("ionq:simulator")
    assert "sesame" not in str(JobError("rejected 'sesame-of-env\\n'"))


def test_an_engine_knows_the_width_of_what_it_runs_on():
    rng = np.random.default_rng(0)
    assert open_engine(FakeManilaV2(), rng).n_qubits == 5
    assert open_engine("aer", rng).n_qubits is None
