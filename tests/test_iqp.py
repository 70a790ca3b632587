"""The wide prior IQP and its control, the Chow-Liu tree: fits, draws, reports and command lines."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from conftest import TOY, assert_same_checkpoint
from qiskit.quantum_info import Statevector
from some_priors import correlated_bits

import qcaan
from qcaan.bits import all_bitstrings, histogram, product_probabilities
from qcaan.losses import kl, tvd
from qcaan.priors.tree import chow_liu_tree, mutual_information, pair_counts

IQP_RUN = (
    "--no-prompt",
    "--prior",
    "iqp",
    "--n-qubits",
    20,
    "--reach",
    2,
    "--fit-evals",
    20,
    "--bank-shots",
    99,
)


def markov_bits(n=24, m=3000, seed=0, flips=0.1):
    """Bits of a chain, each equal to the one before it but for flips, in a random order."""
    rng = np.random.default_rng(seed)
    steps = rng.random((m, n)) < flips
    steps[:, 0] = rng.random(m) < 0.5
    bits = np.logical_xor.accumulate(steps, axis=1)[:, rng.permutation(n)]
    return torch.from_numpy(bits.astype(np.uint8))


class TestChowLiu:
    def test_the_distribution_of_a_tree_is_found_exactly(self):
        bits = markov_bits(6, 20_000)
        prior = qcaan.ChowLiu(6, seed=0)
        report = prior.fit(bits)
        probs = prior.log_prob(all_bitstrings(6)).exp()
        assert float(probs.sum()) == pytest.approx(1)
        # a chain of 6 bits: the entropy of its first bit and of 5 flips
        entropy = math.log(2) - 5 * (0.1 * math.log(0.1) + 0.9 * math.log(0.9))
        assert report.loss_after == pytest.approx(entropy, abs=0.03)
        assert report.loss_before == pytest.approx(6 * math.log(2))
        assert report.kl < 0.005 < 1 < report.kl_product
        assert float(tvd(histogram(prior.sample(20_000).to(torch.uint8)), probs)) < 0.03

    def test_its_edges_are_those_of_a_spanning_tree_of_the_most_information(self):
        bits = markov_bits(8)
        order, parents = chow_liu_tree(pair_counts(bits), len(bits))
        assert sorted(order) == list(range(8)) and parents[order[0]] == order[0]
        places = np.argsort(order)
        children = order[1:]
        assert (places[parents[children]] < places[children]).all()
        # of a chain that starts at its end, each bit's parent is the bit before it
        assert (parents[children] == order[:-1]).all()

    def test_information_is_that_of_the_joint_distribution(self):
        bits = correlated_bits()
        found = mutual_information(pair_counts(bits), len(bits))
        for i, j in ((0, 1), (0, 2), (1, 1)):
            joint = histogram(bits[:, [i, j]])
            product = product_probabilities(bits[:, [i, j]].double().mean(0))
            assert found[i, j] == pytest.approx(float(kl(joint, product)), abs=1e-9)

    def test_independent_bits_which_share_no_information_are_a_tree_too(self):
        bits = all_bitstrings(4)
        prior = qcaan.ChowLiu(4)
        prior.fit(bits)
        assert prior.log_prob(bits).tolist() == pytest.approx([4 * math.log(0.5)] * 16)


class TestIQP:
    def test_it_learns_more_than_the_product_of_held_out_bits_and_draws_what_it_learnt(self):
        bits = markov_bits(10)
        prior = qcaan.IQP(10, 4, seed=0, fit_evals=120)
        report = prior.fit(bits[:2500])
        assert report.nll == pytest.approx(report.loss_after, abs=1e-4)
        assert report.nll < report.nll_product - 2
        assert report.nll_tree == pytest.approx(0.325 * 9 + math.log(2), abs=0.5)
        assert "held-out NLL" in report.summary() and "Chow-Liu tree" in report.summary()
        new = -float(prior.log_prob(bits[2500:]).mean())
        assert new == pytest.approx(report.nll, abs=0.5)
        expected = prior.log_prob(all_bitstrings(10)).exp()
        assert float(expected.sum()) == pytest.approx(1, abs=1e-9)
        drawn = histogram(prior.measure(20_000).to(torch.uint8))
        noise = (
            0.5 * float((expected * (1 - expected) / 20_000).sqrt().sum()) * (2 / math.pi) ** 0.5
        )
        assert float(tvd(drawn, expected)) < 1.2 * noise

    @pytest.mark.parametrize("reach", [2, "all"])
    def test_few_bits_are_reported_in_nats_and_their_circuit_is_qiskits(self, reach):
        bits = correlated_bits()
        prior = qcaan.IQP(3, reach, seed=0, fit_evals=100)
        report = prior.fit(bits)
        assert report.optimizer == "adam" and report.shots == report.executions == 0
        assert report.kl < 0.5 * report.kl_product
        assert report.nll < report.nll_product - 0.1
        assert report.starts == ("marginals",)
        circuit = prior.circuit()
        assert circuit.num_clbits == 3 and not circuit.parameters
        circuit.remove_final_measurements()
        expected = torch.from_numpy(Statevector(circuit).probabilities())
        found = prior.log_prob(all_bitstrings(3)).exp()
        torch.testing.assert_close(found, expected, atol=1e-9, rtol=0)
        assert float(tvd(histogram(prior.measure(20_000).to(torch.uint8)), expected)) < 0.02
        assert set(prior.distributions(bits)) == {"bases", "target", "model"}

    def test_a_second_fit_goes_on_from_the_first_unless_a_new_start_is_better(self):
        prior = qcaan.IQP(12, 3, seed=0, fit_evals=60)
        first = prior.fit(markov_bits(12))
        order = prior.order.clone()
        again = prior.fit(markov_bits(12))
        assert again.starts == ("last angles",)
        assert again.loss_before == pytest.approx(first.loss_after, abs=1e-5)
        other = prior.fit(1 - markov_bits(12, seed=5, flips=0.4) * (torch.arange(12) % 2))
        assert other.starts == ("last angles", "marginals")
        assert torch.equal(prior.order, order)

    def test_all_pairs_of_a_hundred_qubits_learn_correlations_by_mmd(self):
        bits = markov_bits(100, 2000)
        prior = qcaan.IQP(100, "all", fit_evals=40, seed=0)
        report = prior.fit(bits)
        assert report.loss_after < 0.7 * report.loss_before
        assert report.nll is None and report.kl is None
        with pytest.raises(ValueError, match="`reach` all, got 100: more come only from a device"):
            prior.sample(1)

    def test_a_device_draws_the_same_distribution_in_the_order_of_the_bits(self):
        bits = markov_bits(5)
        prior = qcaan.IQP(5, 2, sampler="aer", seed=0, fit_evals=60, switch_after_epochs=1)
        assert prior.drawer.is_exact  # as before any fit
        prior.fit(bits)
        assert prior.drawer.name == "aer"
        expected = prior.log_prob(all_bitstrings(5)).exp()
        assert float(tvd(histogram(prior.measure(20_000).to(torch.uint8)), expected)) < 0.03
        assert prior.distances(bits)["kl"] < prior.distances(bits)["kl_product"]

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"n_qubits": 6}, r"`reach` must be all, or at least 1 and below `n_qubits` \(6\)"),
            ({"n_qubits": 100, "sampler": "aer"}, "`n_qubits` must be at most .*, got 100"),
            ({"sampler": "ibm:fake_manila"}, "`n_qubits` must be at most 5 on ibm:fake_manila"),
            (
                {"n_qubits": 50, "sampler": "ibm:fake_sherbrooke"},
                "`n_qubits` must be at most .* 50",
            ),
            ({"sampler": "warp"}, "unknown `sampler` 'warp'"),
            ({"fit_evals": 0}, "`fit_evals` must be at least 1, got 0"),
            ({"switch_after_epochs": 0}, "`switch_after_epochs` must be at least 1, got 0"),
            ({"bank_shots": 10**9}, "`bank_shots` must be at most"),
        ],
    )
    def test_what_it_cannot_do_is_refused_by_name(self, options, message):
        with pytest.raises(ValueError, match=message):
            qcaan.IQP(**options)


def test_a_run_is_trained_scored_and_resumed(call_script, tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    command = ("train_mnist.py", *TOY, *IQP_RUN)
    result = call_script(*command, "--epochs", 2, "--eval-images", 60, "--out", whole)
    assert result.returncode == 0, result.stderr
    assert "fits: adam on the exact likelihood, 20 steps of 256 bitstrings" in result.stdout
    assert "held-out NLL" in result.stdout
    fit = json.loads((whole / "log.jsonl").read_text().splitlines()[-1])["fit"]
    assert fit["nll"] > 0 and fit["nll_tree"] > 0 and fit["kl"] is None
    assert (whole / "report.png").is_file() and not (whole / "prior.npz").exists()
    options = ("--eval-images", 0, "--out", parts)
    assert call_script(*command, "--epochs", 1, *options).returncode == 0
    assert call_script(*command, "--epochs", 2, *options, "--resume").returncode == 0
    assert_same_checkpoint(whole, parts)


def test_a_run_on_a_device_is_planned_before_it_starts(call_script):
    result = call_script(
        *("train_mnist.py", *TOY, *IQP_RUN, "--n-qubits", 6, "--sampler", "ibm:fake_guadalupe"),
        *("--epochs", 2, "--eval-images", 60, "--dry-run"),
    )
    assert result.returncode == 0, result.stderr
    # a bank before the first epoch and one after each; the scores are drawn from the last
    assert "3 jobs" in result.stdout and "297 shots" in result.stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--n-qubits", 6), "`reach` must be all, or at least 1 and below `n_qubits` (6), got 6"),
        (("--n-qubits", 64, "--reach", 0), "`reach` must be at least 1, got 0"),
        (
            ("--n-qubits", 64, "--reach", "all"),
            "with `reach` all, got 64: more come only from a de",
        ),
        (("--n-qubits", 64, "--reach", 40), "`reach` must be at most"),
    ],
)
def test_bad_widths_end_in_one_sentence(call_script, tmp_path, options, message):
    result = call_script(
        "train_mnist.py", *TOY, "--no-prompt", "--prior", "iqp", *options, "--out", tmp_path / "x"
    )
    assert result.returncode == 2
    assert result.stderr.startswith("error: ") and message in " ".join(result.stderr.split())
    assert not (tmp_path / "x").exists()
