"""Time what has to be fast, as ratios within one run: machines differ and are shared, so read those.

python scripts/benchmark.py --json benchmark.json
"""

from __future__ import annotations

import copy
import importlib.util
import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from _cli import check_folder, console, run_script
from qiskit import transpile
from qiskit.quantum_info import Statevector
from qiskit_aer import AerSimulator
from qiskit_aer.primitives import SamplerV2
from rich.table import Table

from qcaan import losses
from qcaan.circuits.ansatz import Ansatz, make_ansatz
from qcaan.circuits.born import BornMachine
from qcaan.circuits.layers import QuantumLayer
from qcaan.circuits.statevector import probabilities
from qcaan.files import write_json
from qcaan.gans.associative import AssociativeConfig, AssociativeGAN, EpochRecord, train
from qcaan.gans.distribution.discriminator import Discriminator
from qcaan.gans.distribution.generator import Generator
from qcaan.gans.distribution.grid import make_grid
from qcaan.networks import PointMLP
from qcaan.training import pick_device

SHOTS = 2000
_STATEVECTOR_QUBITS, _BACKPROP_QUBITS, _BATCH_QUBITS = (
    16,
    10,
    12,
)  # above, a row would take minutes or the memory
_LAYER, _PENNYLANE = "forward + backward: qcaan", "forward + backward: PennyLane "
os.environ.setdefault("QULACS_NUM_THREADS", "1")  # read at its import; one core is what is compared


@dataclass(frozen=True)
class Row:
    what: str
    milliseconds: float  # median
    ratio: float  # of the section's first row to this one: how many times faster


def median_ms(function: Callable[[], object], repeats: int, most_seconds: float = 10.0) -> float:
    function()  # warm-up
    times: list[float] = []
    while len(times) < repeats and sum(times) < 1000 * most_seconds:
        start = time.perf_counter()
        function()
        times.append(1000 * (time.perf_counter() - start))
    return statistics.median(times)


def cost_evaluations(repeats: int) -> list[Row]:
    """One cost evaluation of a QCBM on Aer: 8 qubits, seed ansatz with 2 layers, one basis, 2,000 shots."""
    ansatz = make_ansatz("seed", 8, 2)
    theta = torch.randn(
        1, ansatz.n_params, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    )
    circuit = ansatz.to_circuit()
    circuit.measure_all()
    simulator = AerSimulator()
    transpiled = transpile(circuit, simulator, optimization_level=1)
    aer_sampler = SamplerV2()
    rng = np.random.default_rng(0)
    born, both = (BornMachine(ansatz, bases, "aer", rng) for bases in (("z",), ("z", "o")))

    def transpile_and_run() -> object:
        bound = transpile(circuit, simulator).assign_parameters(theta[0].numpy())
        return simulator.run(bound, shots=SHOTS).result().get_counts()

    ways = {
        "transpile and run at every call": transpile_and_run,
        "Aer's SamplerV2, transpiled once": lambda: aer_sampler.run(
            [(transpiled, theta[0].numpy())], shots=SHOTS
        ).result(),
        "qcaan, --sampler aer": lambda: born.frequencies(theta, SHOTS),
        "qcaan, --shots 0 (exact, by Aer)": lambda: born.probabilities(theta),
        "qcaan, --shots 0, two bases": lambda: both.probabilities(theta),
    }
    times = {what: median_ms(function, repeats) for what, function in ways.items()}
    first = next(iter(times.values()))
    return [Row(what, ms, first / ms) for what, ms in times.items()]


def exact_engines(n_qubits: int, repeats: int) -> list[Row]:
    """Probabilities and the gradient of a KL, seed ansatz with 2 layers, on one core: our engine beside others.

    The rows of batches are per parameter set. qulacs and PennyLane have rows where they are installed (extra `bench`).
    """
    ansatz = make_ansatz("seed", n_qubits, 2)
    theta = torch.randn(
        1, ansatz.n_params, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    )
    target = torch.full((2**n_qubits,), 0.5**n_qubits, dtype=torch.float64)
    born = BornMachine(ansatz, ("z",), "aer", np.random.default_rng(0))
    circuit = ansatz.to_circuit()

    def gradient(angles: torch.Tensor) -> torch.Tensor:
        point = angles.requires_grad_()
        value = losses.kl(target.to(angles), probabilities(ansatz, point)[0])
        return torch.autograd.grad(value, point)[0][0]

    def batch(k: int) -> Callable[[], object]:
        return lambda sets=theta.repeat(k, 1): probabilities(ansatz, sets)

    values: dict[str, Callable[[], object]] = {
        "value: Qiskit Aer, tuned": lambda: born.probabilities(theta)[0, 0]
    }
    if n_qubits <= _STATEVECTOR_QUBITS:
        values["value: Qiskit Statevector"] = lambda: Statevector(
            circuit.assign_parameters(theta[0].numpy())
        ).probabilities()
    gradients: dict[str, Callable[[], object]] = {}
    if importlib.util.find_spec("qulacs"):
        values["value: qulacs"] = qulacs_value(ansatz, theta[0].tolist())
    if importlib.util.find_spec("pennylane"):
        values["value: PennyLane lightning.qubit"] = pennylane(
            ansatz, theta[0], "lightning.qubit", None
        )
        if n_qubits <= _BACKPROP_QUBITS:
            gradients["value + gradient: PennyLane default.qubit, backprop"] = pennylane(
                ansatz, theta[0], "default.qubit", target
            )
    values["value: qcaan"] = lambda: probabilities(ansatz, theta)[0]
    gradients["value + gradient: qcaan"] = lambda: gradient(theta.clone())
    gradients["value + gradient: qcaan, float32"] = lambda: gradient(theta.float())
    for engines in (
        values,
        gradients,
    ):  # that all of them compute the same is part of what is claimed
        results = [torch.as_tensor(engine()).double() for engine in engines.values()]
        assert all(torch.allclose(result, results[0], atol=1e-4) for result in results)

    times = {what: median_ms(engine, repeats) for what, engine in (values | gradients).items()}
    if n_qubits <= _BATCH_QUBITS:
        for k in (64, 512):
            times[f"value: qcaan, per set in a batch of {k}"] = median_ms(batch(k), repeats) / k
    first = next(iter(times.values()))
    return [Row(what, ms, first / ms) for what, ms in times.items()]


def qulacs_value(ansatz: Ansatz, theta: list[float]) -> Callable[[], object]:
    import qulacs

    n, circuit = ansatz.n_qubits, qulacs.ParametricQuantumCircuit(ansatz.n_qubits)
    add = {"rx": circuit.add_parametric_RX_gate, "rz": circuit.add_parametric_RZ_gate}
    for gate in ansatz.layers:
        for i in range(n):
            if gate == "h":
                circuit.add_H_gate(i)
            elif gate == "rxx":
                for j in range(i + 1, n):
                    circuit.add_parametric_multi_Pauli_rotation_gate([i, j], [1, 1], 0.0)
            else:
                add[gate](i, 0.0)
    state = qulacs.QuantumState(n)

    def value() -> object:
        for index, angle in enumerate(theta):
            circuit.set_parameter(index, -angle)  # its rotations turn the other way
        state.set_zero_state()
        circuit.update_quantum_state(state)
        return np.abs(state.get_vector()) ** 2

    return value


def pennylane(
    ansatz: Ansatz, theta: torch.Tensor, device: str, target: torch.Tensor | None
) -> Callable[[], object]:
    """Probabilities; with a target the gradient of KL(target || probabilities) by backpropagation."""
    import pennylane as qml

    n = ansatz.n_qubits
    wires = range(n - 1, -1, -1)  # its first wire is the highest bit

    @qml.qnode(
        qml.device(device, wires=n),
        interface="torch",
        diff_method="backprop" if target is not None else None,
    )
    def node(angles: torch.Tensor) -> object:
        values = iter(angles)
        for gate in ansatz.layers:
            for i in range(n):
                if gate == "h":
                    qml.Hadamard(i)
                elif gate == "rxx":
                    for j in range(i + 1, n):
                        qml.IsingXX(next(values), [i, j])
                else:
                    {"rx": qml.RX, "rz": qml.RZ}[gate](next(values), i)
        return qml.probs(wires=wires)

    def gradient() -> object:
        point = theta.clone().requires_grad_()
        return torch.autograd.grad(losses.kl(target, node(point)), point)[0]

    return gradient if target is not None else lambda: node(theta)


def asked(rows: list[Row]) -> list[tuple[str, float, str]]:
    """What was asked of the engine at 8 qubits, with what was measured; empty where the others are not installed."""
    ms = {row.what: row.milliseconds for row in rows}
    ours, qulacs = ms["value: qcaan"], ms.get("value: qulacs")
    backprop = ms.get("value + gradient: PennyLane default.qubit, backprop")
    ratios = []
    if qulacs:
        per_set = ms["value: qcaan, per set in a batch of 64"]
        ratios.append(("one value, times qulacs'", ours / qulacs, "at most 4"))
        ratios.append(("one of a batch of 64, times qulacs'", per_set / qulacs, "below 1"))
    if backprop:
        faster = backprop / ms["value + gradient: qcaan"]
        ratios.append(
            ("value + gradient, times faster than PennyLane's backprop", faster, "at least 10")
        )
    return ratios


def layers(n_qubits: int, repeats: int) -> list[Row]:
    """Forward and backward of a QuantumLayer, angles in and Pauli-Z out, batch 128, on one core.

    PennyLane has rows where it is installed (extra `bench`); it computes in float64 whatever it is given.
    """
    torch.manual_seed(0)
    layer = QuantumLayer(make_ansatz("ry-rx", n_qubits, 3))
    inputs, weights = torch.randn(2, 128, n_qubits)

    def gradients(outputs: torch.Tensor, *leaves: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return torch.autograd.grad((outputs * weights).sum(), leaves)

    def ours(dtype: torch.dtype) -> Callable[[], tuple[torch.Tensor, ...]]:
        copied = copy.deepcopy(layer).to(dtype)
        x = inputs.to(dtype).requires_grad_()
        return lambda: gradients(copied(x), x, copied.theta)

    ways: dict[str, Callable[[], tuple[torch.Tensor, ...]]] = {}
    if importlib.util.find_spec("pennylane"):
        for device, method in (("default.qubit", "backprop"), ("lightning.qubit", "adjoint")):
            ways[f"{_PENNYLANE}{device}, {method}"] = pennylane_layer(
                layer, inputs, device, method, gradients
            )
    ways[_LAYER] = ours(torch.float32)
    ways[f"{_LAYER}, float64"] = ours(torch.float64)
    results = [way() for way in ways.values()]
    for result in results:  # that all of them compute the same is part of what is claimed
        for one, other in zip(result, results[0], strict=True):
            assert torch.allclose(one.double().flatten(), other.double().flatten(), atol=1e-4)
    times = {what: median_ms(way, repeats) for what, way in ways.items()}
    first = next(iter(times.values()))
    return [Row(what, ms, first / ms) for what, ms in times.items()]


def pennylane_layer(
    layer: QuantumLayer,
    inputs: torch.Tensor,
    device: str,
    method: str,
    gradients: Callable[..., tuple[torch.Tensor, ...]],
) -> Callable[[], tuple[torch.Tensor, ...]]:
    import pennylane as qml

    n = layer.ansatz.n_qubits

    @qml.qnode(qml.device(device, wires=n), interface="torch", diff_method=method)
    def node(x: torch.Tensor, theta: torch.Tensor) -> object:
        qml.AngleEmbedding(x, wires=range(n), rotation="X")
        angles = iter(theta)
        for gate in layer.ansatz.layers:
            if gate == "cx":
                for i in range(n - 1):
                    qml.CNOT([i, i + 1])
            else:
                for i in range(n):
                    {"rx": qml.RX, "ry": qml.RY}[gate](next(angles), i)
        return [qml.expval(qml.PauliZ(i)) for i in range(n)]

    x, theta = inputs.clone().requires_grad_(), layer.theta[0].detach().clone().requires_grad_()
    return lambda: gradients(torch.stack(tuple(node(x, theta)), 1), x, theta)


def asked_of_layers(rows: list[Row]) -> list[tuple[str, float, str]]:
    """What was asked of the layer, with what was measured; empty where PennyLane is not installed."""
    ms = {row.what: row.milliseconds for row in rows}
    others = [time for what, time in ms.items() if what.startswith(_PENNYLANE)]
    if not others:
        return []
    return [("times faster than the better of PennyLane's", min(others) / ms[_LAYER], "at least 5")]


def epoch_share(device: torch.device, epochs: int) -> list[Row]:
    """An epoch of the default run's shape (18,345 pictures, as MNIST 3/7/9 has) and what the prior takes of it."""
    images = (
        torch.rand(18_345, 1, 28, 28, generator=torch.Generator().manual_seed(0)).to(device) * 2 - 1
    )
    config = AssociativeConfig(epochs=epochs, device=str(device)).resolved(len(images))
    gan = AssociativeGAN(config, (1, 28, 28), device)
    whole, prior = [], []
    start = time.perf_counter()
    for record in train(gan, images):
        if isinstance(record, EpochRecord):
            whole.append(1000 * (time.perf_counter() - start))
            prior.append(1000 * record.fit.seconds)
            start = time.perf_counter()
    whole_ms, prior_ms = statistics.median(whole), statistics.median(prior)
    return [
        Row("one epoch", whole_ms, 1.0),
        Row("of it the prior: fit and bank of shots", prior_ms, whole_ms / prior_ms),
    ]


def qgan_training(steps: int) -> list[Row]:
    """Qiskit Machine Learning's torch QGAN tutorial: 6 qubits, 84 angles, a normal distribution on 8 x 8 points.

    Each way trains `steps` steps on the same circuit, with the tutorial's network, optimisers and 10,000 shots or exact
    probabilities. Its own row is there where the package is installed (extra `bench`).
    """
    ansatz = Ansatz(
        6, ("h", *("ry", "rz", "cx") * 6, "ry", "rz")
    )  # EfficientSU2, linear, six repetitions
    grid = make_grid([[-2, 2]] * 2, (3, 3))
    points = torch.from_numpy(grid.points).float()  # (64, 2)
    real = torch.from_numpy(np.exp(-(grid.points**2).sum(1) / 2))
    real /= real.sum()
    start = np.random.default_rng(42).random(ansatz.n_params)
    adam = partial(torch.optim.Adam, lr=0.01, betas=(0.7, 0.999), weight_decay=0.005)

    def ours(sampler: str, shots: int) -> None:
        rng = np.random.default_rng(0)
        generator = Generator(grid, ansatz, start, adam, rng=rng)
        discriminator = Discriminator(
            PointMLP(torch.from_numpy(grid.bounds), (20,)), optimizer=adam
        )
        machine = generator.machine(sampler, rng)
        for _ in range(steps):
            fake, learn = generator.generate(machine, shots)
            discriminator.update(points, real, fake)
            learn(discriminator.slope(points))

    def tutorial() -> None:
        from qiskit.primitives import StatevectorSampler
        from qiskit_machine_learning.connectors import TorchConnector
        from qiskit_machine_learning.neural_networks import SamplerQNN

        circuit = ansatz.to_circuit()
        sampler = StatevectorSampler(default_shots=10_000, seed=np.random.default_rng(0))
        network = SamplerQNN(
            circuit=circuit, sampler=sampler, input_params=[], weight_params=circuit.parameters
        )
        generator = TorchConnector(network, start)
        discriminator = torch.nn.Sequential(
            torch.nn.Linear(2, 20),
            torch.nn.LeakyReLU(0.2),
            torch.nn.Linear(20, 1),
            torch.nn.Flatten(0),
        )
        of_generator, of_discriminator = (
            adam(generator.parameters()),
            adam(discriminator.parameters()),
        )
        for _ in range(steps):
            fake = generator(torch.tensor([])).flatten()
            logits = discriminator(points)
            real_loss, fake_loss = (
                (real * F.softplus(-logits)).sum(),
                (fake.detach() * F.softplus(logits)).sum(),
            )
            of_discriminator.zero_grad()
            ((real_loss + fake_loss) / 2).backward()
            of_discriminator.step()
            of_generator.zero_grad()
            (fake * F.softplus(-discriminator(points).detach())).sum().backward()
            of_generator.step()

    ways: dict[str, Callable[[], None]] = {}
    if importlib.util.find_spec("qiskit_machine_learning"):
        ways["Qiskit Machine Learning, 10,000 shots"] = tutorial
    ways |= {
        "qcaan, exact": partial(ours, "exact", 0),
        "qcaan, 10,000 shots on Aer": partial(ours, "aer", 10_000),
    }
    times = {}
    for what, train_once in ways.items():
        begin = time.perf_counter()
        train_once()
        times[what] = 1000 * (time.perf_counter() - begin)
    first = next(iter(times.values()))
    return [Row(what, ms, first / ms) for what, ms in times.items()]


def main(
    repeats: int = 30,
    epochs: int = 2,
    qgan_steps: int = 50,
    qubits: tuple[int, ...] = (4, 8, 12, 16, 20),
    layer_qubits: tuple[int, ...] = (4, 8),
    device: str = "auto",
    json: Path | None = None,
) -> None:
    """Time cost evaluations on Aer, exact engines, the prior's share of an epoch, and circuits as layers.

    Args:
        repeats: evaluations per row; the median is shown. Rows of seconds get fewer.
        qubits: sizes at which exact engines are timed.
        layer_qubits: sizes at which circuits as layers are timed.
        epochs: epochs of the default run's shape to time; 0 leaves them out.
        qgan_steps: steps of the QGAN tutorial to time, minutes where Qiskit Machine Learning is installed; 0 leaves it out.
        device: of the epochs: auto, cpu, cuda, cuda:N.
        json: file for the same numbers.
    """
    if repeats < 1 or epochs < 0:
        raise ValueError(
            f"repeats must be at least 1 and epochs at least 0, got {repeats} and {epochs}"
        )
    if qgan_steps < 0:
        raise ValueError(f"qgan_steps must be at least 0, got {qgan_steps}")
    if not min((*qubits, *layer_qubits), default=1) >= 1:
        raise ValueError(
            f"qubits and layer_qubits must be at least 1, got {qubits} and {layer_qubits}"
        )
    if json:
        check_folder(json)
    where = pick_device(device)
    name = (
        torch.cuda.get_device_name(where) if where.type == "cuda" else f"{os.cpu_count()} CPU cores"
    )
    sections = {"cost evaluation, 8 qubits, 2,000 shots": cost_evaluations(repeats)}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    for n in qubits:
        sections[f"exact engines, {n} qubits, one core"] = exact_engines(n, repeats)
    for n in layer_qubits:
        sections[f"QuantumLayer, {n} qubits, batch 128, one core"] = layers(n, repeats)
    if qgan_steps:
        sections[f"QGAN tutorial: 6 qubits, 84 angles, {qgan_steps} steps, one core"] = (
            qgan_training(qgan_steps)
        )
    torch.set_num_threads(threads)
    if epochs:
        sections[f"default epoch on {name}"] = epoch_share(where, epochs)
    for title, rows in sections.items():
        table = Table("what", "median ms", "times faster than the first", title=title)
        for row in rows:
            table.add_row(row.what, f"{row.milliseconds:.3g}", f"{row.ratio:.3g}")
        console.print(table)
        ratios = asked(rows) if title == "exact engines, 8 qubits, one core" else []
        ratios += asked_of_layers(rows) if title.startswith("QuantumLayer") else []
        for what, ratio, bound in ratios:
            console.print(f"{what}: {ratio:.3g} (asked: {bound})")
        if title.startswith("QGAN tutorial") and rows[0].what.startswith("Qiskit"):
            console.print(
                f"exact training, times faster than the tutorial's: {rows[1].ratio:.3g} (asked: at least 20)"
            )
    if json:
        machine = {
            "machine": platform.machine(),
            "cores": os.cpu_count(),
            "python": platform.python_version(),
        }
        results = {title: [vars(row) for row in rows] for title, rows in sections.items()}
        write_json(json, {**machine, "device": name, **results})


if __name__ == "__main__":
    run_script(main)
