"""Copies of a circuit on one chip: disjoint, counted, paid once, and of the same distribution."""

from __future__ import annotations

import json
from itertools import combinations

import numpy as np
import pytest
import rustworkx
from device_draws import draw
from qiskit import QuantumCircuit
from qiskit.primitives import BitArray
from qiskit.primitives.containers.sampler_pub import SamplerPub

from qcaan.circuits.ansatz import make_ansatz
from qcaan.circuits.born import BornMachine, mitigated
from qcaan.commands.main import main
from qcaan.samplers.copies import FIDELITY_MARGIN, CopyingTranspiler
from qcaan.samplers.devices import DeviceOptions
from qcaan.samplers.jobs import n_copies
from qcaan.samplers.journal import Journal, fingerprint
from qcaan.samplers.names import make_sampler
from qcaan.samplers.noise import couplings, estimated_fidelity, fake_device
from qcaan.samplers.rehearsal import Counts, Rehearsal
from qcaan.samplers.requests import JobError
from qcaan.samplers.simulators import ReadoutCircuit
from qcaan.samplers.vendors import make_vendor

DEVICE = "ibm:fake_guadalupe"
SHOTS = 20_000


def ion_trap_circuit(n_qubits):
    circuit = make_ansatz("ion-trap", n_qubits, 2).to_circuit("z")
    circuit.measure_all()
    return circuit


def tvd(one, other):
    return float((one - other).abs().sum()) / 2


def used_qubits(circuit):
    return {circuit.find_bit(qubit).index for step in circuit.data for qubit in step.qubits}


@pytest.mark.parametrize(
    ("device", "n_qubits", "copies"),
    [("fake_montreal", 4, 3), ("fake_kyiv", 8, 6), ("fake_guadalupe", 1, 5)],
)
def test_copies_lie_on_disjoint_connected_regions_with_idle_neighbours(device, n_qubits, copies):
    target = fake_device(device).target
    transpiler = CopyingTranspiler(target, copies, device)
    circuit = ion_trap_circuit(n_qubits)
    wide, regions = transpiler(circuit), transpiler.regions(circuit)
    assert (len(regions), wide.num_clbits) == (copies, copies * n_qubits)
    assert n_copies(circuit, wide) == copies and transpiler(circuit) is wide
    assert wide.parameters == circuit.parameters
    neighbours = couplings(target)
    graph = target.build_coupling_map().graph.to_undirected(multigraph=False)
    for region in regions:
        assert len(region.used) >= n_qubits
        assert rustworkx.is_connected(graph.subgraph(sorted(region.used)))
    for one, other in combinations(regions, 2):
        around = {beside for qubit in one.used for beside in neighbours[qubit]}
        assert not (one.used | around) & other.used
    assert used_qubits(wide) == frozenset().union(*(region.used for region in regions))
    # the chip takes every gate as it is, and its errors are those of all copies together
    assert all(
        target.instruction_supported(
            step.operation.name, [wide.find_bit(q).index for q in step.qubits]
        )
        for step in wide.data
        if step.operation.name != "barrier"
    )
    product = np.prod([region.fidelity for region in regions])
    assert estimated_fidelity(wide, target) == pytest.approx(product)


def test_auto_takes_the_copies_that_are_nearly_as_good_as_the_best():
    target = fake_device("fake_sherbrooke").target
    circuit = ion_trap_circuit(4)
    automatic = CopyingTranspiler(target, "auto", "chip").regions(circuit)
    fidelities = [region.fidelity for region in automatic]
    assert len(automatic) > 5 and min(fidelities) >= max(fidelities) - FIDELITY_MARGIN
    more = CopyingTranspiler(target, len(automatic) + 1, "chip").regions(circuit)
    assert [region.used for region in more[:-1]] == [region.used for region in automatic]
    assert more[-1].fidelity < max(fidelities) - FIDELITY_MARGIN


def test_broken_qubits_and_couplings_are_not_used():
    target = fake_device("fake_manhattan").target
    wide = CopyingTranspiler(target, 3, "chip")(ion_trap_circuit(3))
    assert used_qubits(wide) <= couplings(target).keys()
    assert estimated_fidelity(wide, target) > 0


def test_planned_jobs_are_made_and_a_resumed_run_pays_nothing_twice(tmp_path):
    path, circuit = tmp_path / "jobs.jsonl", ion_trap_circuit(3)
    values = np.random.default_rng(0).normal(0, 0.5, (2, circuit.num_parameters))
    pubs = [(circuit, values, 100), (circuit, values[:1], 99)]
    vendor = make_vendor(DEVICE, DeviceOptions(copies=2))
    rehearsal = Rehearsal(vendor, np.random.default_rng(0))
    rehearsal.run(pubs)
    assert (rehearsal.counts, rehearsal.copies) == (Counts(1, 3, 150), 2)
    drawn = []
    for _ in range(2):
        journal = Journal(path)
        sampler = make_sampler(DEVICE, 0, journal=journal, options=DeviceOptions(copies=2))
        drawn.append([result.data.meas for result in sampler.run(pubs).result()])
        assert journal.spent == (1, 150)
    found = [(bits.shape, bits.num_shots, bits.num_bits) for bits in drawn[0]]
    assert found == [((2,), 100, 3), ((1,), 99, 3)]
    assert all(np.array_equal(one.array, same.array) for one, same in zip(*drawn, strict=True))
    jobs = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(job["circuits"], job["shots"]) for job in jobs if "fingerprint" in job] == [(3, 150)]


def test_another_number_of_copies_asks_for_other_jobs():
    circuit = ion_trap_circuit(3)
    natives = [make_vendor(DEVICE, DeviceOptions(copies=k)).native(circuit) for k in (2, 3)]
    values = np.zeros(circuit.num_parameters)
    prints = [fingerprint([SamplerPub.coerce((native, values, 9))]) for native in natives]
    assert prints[0] != prints[1]


def test_the_limit_of_shots_is_of_those_that_are_paid():
    circuit = ion_trap_circuit(2)
    values = np.zeros((3, circuit.num_parameters))
    options = DeviceOptions(copies=3, max_shots=50)
    with pytest.raises(JobError, match=r"would make 51 shots .* --max-shots is 50"):
        make_sampler(DEVICE, 0, options=options).run([(circuit, values, 50)])


def test_the_order_of_the_shots_says_nothing_about_the_copy():
    """Copies that always give 0, 1 and 2: each is anywhere in the order of each parameter set."""
    sampler = make_sampler(DEVICE, 0, options=DeviceOptions(copies=3))
    circuit = QuantumCircuit(2)
    circuit.measure_all()
    pub = SamplerPub.coerce((circuit, None, 8999))
    copies = np.broadcast_to([[0, 0], [1, 0], [0, 1]], (2, 3000, 3, 2)).reshape(2, 3000, 6)
    packed = BitArray.from_bool_array(copies.astype(bool), order="little").array
    joined = BitArray(sampler._pooled(packed, pub, 3), 2).to_bool_array(order="little")
    values = joined @ [1, 2]  # (2, 8999)
    assert values.shape == (2, 8999)
    assert np.bincount(values.ravel(), minlength=4)[3] == 0
    for half in (values[:, :4500], values[:, 4500:]):
        assert np.mean(half, axis=1) == pytest.approx(1, abs=0.05)
    assert np.mean(values[0] == values[1]) == pytest.approx(1 / 3, abs=0.02)
    assert np.mean(values[0, 1:] == values[0, :-1]) == pytest.approx(1 / 3, abs=0.02)


def test_copies_draw_the_same_distribution_and_their_readout_is_corrected():
    ansatz = make_ansatz("ion-trap", 3, 1)
    theta = np.random.default_rng(3).normal(0, 0.3, (1, ansatz.n_params))
    exact = BornMachine(ansatz, ("z",), "exact", np.random.default_rng(0))
    machines = []
    for copies in (1, 2):
        sampler = make_sampler(DEVICE, copies, options=DeviceOptions(copies=copies))
        machines.append(BornMachine(ansatz, ("z",), sampler, np.random.default_rng(0)))
    one, pooled = (machine.frequencies(theta, SHOTS)[0] for machine in machines)
    assert tvd(one, pooled) < 0.03  # shots alone give .007
    errors = machines[1].readout_errors(SHOTS)
    native, target = sampler.vendor.native, fake_device("fake_guadalupe").target
    qubits = [region.used for region in native.regions(machines[1]._circuits[0])]
    known = np.mean([target["measure"][(q,)].error for used in qubits for q in used])
    flips = (errors[0, :, 0, 1] + errors[0, :, 1, 0]).mean() / 2
    assert float(flips) == pytest.approx(known, abs=0.003)
    truth = exact.probabilities(theta)[0]
    assert tvd(mitigated(pooled, errors), truth) < 0.8 * tvd(pooled, truth)


def test_copies_are_simulated_with_seeds_of_their_own():
    """Equal circuits of equal seed would draw equal shots, and the copies would agree too well."""
    vendor, rng = make_vendor(DEVICE, DeviceOptions(copies=2)), np.random.default_rng(0)
    circuit = QuantumCircuit(1)
    circuit.sx(0)
    circuit.measure_all()
    pub = SamplerPub.coerce((vendor.native(circuit), None, SHOTS))
    (packed,) = vendor.fetch(vendor.submit([pub], "tag", rng), [pub], rng)
    bits = BitArray(packed, 2).to_bool_array(order="little")[0]  # (SHOTS, 2)
    assert bits.mean(0) == pytest.approx(0.5, abs=0.03)
    assert abs(np.corrcoef(bits.T)[0, 1]) < 0.03


def test_readout_is_measured_on_the_qubits_of_the_copies():
    vendor = make_vendor(DEVICE, DeviceOptions(copies=3))
    circuit = ion_trap_circuit(3)
    prepared = ReadoutCircuit(circuit)
    prepared.x(range(3))
    prepared.measure_all()
    found, read = (
        {
            wide.find_bit(step.clbits[0]).index: wide.find_bit(step.qubits[0]).index
            for step in wide.data
            if step.operation.name == "measure"
        }
        for wide in (vendor.native(circuit), vendor.native(prepared))
    )
    assert found == read and len(set(read.values())) == 9


def test_more_copies_than_fit_are_refused_in_a_sentence():
    sampler = make_sampler("ibm:fake_manila", 0, options=DeviceOptions(copies=3))
    with pytest.raises(
        ValueError,
        match=r"^`copies` must be at most 2 for this circuit of 2 qubits on ibm:fake_manila, got 3",
    ):
        draw(sampler)
    with pytest.raises(ValueError, match="`n_qubits` must be at most 5 on ibm:fake_manila, got 6"):
        sampler.vendor.native(ion_trap_circuit(6))


@pytest.mark.parametrize("name", ["aqt:ideal", "ionq:simulator"])
def test_ion_traps_refuse_copies_and_take_auto_as_one(name, ionq):
    with pytest.raises(ValueError, match=f"`copies` must be 1 or auto on {name}, got 2: only IBM"):
        make_sampler(name, 0, options=DeviceOptions(copies=2))
    journal = Journal()
    draw(make_sampler(name, 0, journal=journal, options=DeviceOptions(copies="auto")))
    assert journal.spent == (1, 150)
    assert make_vendor(name, DeviceOptions(copies=1)).name == name


@pytest.mark.parametrize("copies", [0, -1, 1.5, "many", True, None])
def test_a_number_of_copies_that_is_none_is_refused(copies):
    with pytest.raises(ValueError, match="`copies` must be"):
        DeviceOptions(copies=copies)


def test_copies_of_the_command_line_reach_the_plan_and_are_refused_on_ion_traps(capsys):
    toy = (
        "--no-prompt",
        "--data",
        "digits8x8",
        "--n-qubits",
        "3",
        *("--fit-evals", "30", "--shots", "99"),
    )
    run = ("train", *toy, "--bank-shots", "90", "--epochs", "1", "--eval-images", "0", "--dry-run")
    main([*run, "--sampler", DEVICE, "--copies", "3"])
    assert "up to 3 copies of each circuit share its shots" in capsys.readouterr().out
    with pytest.raises(SystemExit) as ended:
        main([*run, "--sampler", "aqt:ideal", "--copies", "2"])
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("error: `copies` must be 1 or auto on aqt:ideal")
