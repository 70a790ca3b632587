"""Labels in the bits of priors: their code, circuits with label qubits, and shots by label."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from qiskit.quantum_info import Statevector

from qcaan.bits import all_bitstrings, bits_to_index, histogram
from qcaan.circuits.ansatz import ANSATZE, make_ansatz
from qcaan.circuits.born import BornMachine
from qcaan.priors.classical import Bernoulli, Gaussian, Histogram, Product
from qcaan.priors.labels import LabelCode, draw_labelled, pair_shots
from qcaan.priors.per_label import PerLabel
from qcaan.priors.qcbm import QCBM
from qcaan.priors.shuffled import Shuffled

LABELS = (3, 7, 9)
CODE = LabelCode(LABELS)


def labelled_bits(m: int = 3000) -> torch.Tensor:
    """Two bits in each of two bases after the label: those of a label, each flipped by 20 %.

    Fewer flips could not be reached: of a qubit, <Z>^2 + <Y>^2 is at most 1.
    """
    rng = np.random.default_rng(0)
    places = rng.integers(3, size=m)
    patterns = np.array([[0, 1, 1, 0], [1, 1, 0, 1], [1, 0, 0, 0]])
    bits = patterns[places] ^ (rng.random((m, 4)) < 0.2)
    label = CODE.bits(torch.tensor(LABELS)[torch.from_numpy(places)])
    return torch.cat([label, torch.from_numpy(bits.astype(np.uint8))], 1)


def small_qcbm(**options) -> QCBM:
    circuit = {"bases": ("z", "o"), "sampler": "exact", "optimizer": "adam", "fit_evals": 150}
    return QCBM(2, 4, **{**circuit, "labels": LABELS, "bank_shots": 4000, "seed": 0, **options})


class TestCode:
    def test_a_label_is_its_number_in_binary(self):
        assert CODE.n_bits == 2
        assert CODE.bits(torch.tensor([9, 3, 7])).tolist() == [[0, 1], [0, 0], [1, 0]]
        assert CODE.of(torch.tensor([[0, 1, 1], [1, 0, 1]])).tolist() == [9, 7]

    @given(st.lists(st.integers(-50, 50), min_size=2, max_size=20, unique=True))
    def test_every_label_has_a_string_of_its_own(self, labels):
        code = LabelCode(labels)
        bits = code.bits(torch.tensor(labels))
        assert 2 ** (code.n_bits - 1) < len(labels) <= 2**code.n_bits
        assert code.of(bits).tolist() == labels
        assert code.places(bits_to_index(bits)).tolist() == list(range(len(labels)))

    def test_no_labels_and_one_label_take_no_bits(self):
        assert LabelCode().n_bits == LabelCode((7,)).n_bits == 0
        assert len(LabelCode().labels) == 0
        assert LabelCode((7,)).bits(torch.tensor([7, 7])).shape == (2, 0)
        assert CODE.bits(torch.tensor([], dtype=torch.int64)).shape == (0, 2)

    @pytest.mark.parametrize(
        ("labels", "message"),
        [
            ((3, 3), "`labels` must be one or more different values, got 3 3"),
            (("a", "b"), "`labels`"),
        ],
    )
    def test_bad_labels_are_refused(self, labels, message):
        with pytest.raises(ValueError, match=message):
            LabelCode(labels)

    def test_an_unknown_label_is_refused(self):
        with pytest.raises(ValueError, match="`label` must be one of 3, 7, 9, got 5"):
            CODE.bits(torch.tensor([3, 5]))


class TestPairs:
    def test_shots_of_equal_label_stand_side_by_side(self):
        rng = np.random.default_rng(0)
        index = torch.from_numpy(rng.integers(16, size=(3, 5000)))
        pairs, kept = pair_shots(index, CODE, rng)
        places = CODE.places(pairs)
        assert (places == places[0]).all() and (places < 3).all()
        assert kept == pytest.approx(0.75, abs=0.02)  # three of four strings are labels
        # the first basis keeps its shots, each once before some occur again
        n_kept = round(kept * 5000)
        labelled = index[0][CODE.places(index[0]) < 3]
        assert sorted(pairs[0, :n_kept].tolist()) == sorted(labelled.tolist())

    def test_pairs_keep_what_the_label_correlates_and_add_nothing(self):
        rng = np.random.default_rng(0)
        places = torch.from_numpy(rng.integers(3, size=(2, 20_000)))
        # the bit after the label is the same in both bases given the label 3, and random else
        bit = torch.where(places == 0, 1, torch.from_numpy(rng.integers(2, size=(2, 20_000))))
        pairs, _ = pair_shots(places + 4 * bit, CODE, rng)
        one, other = (pairs >> 2).double()
        given = CODE.places(pairs[0])
        assert (one[given == 0] == 1).all() and (other[given == 0] == 1).all()
        assert abs(torch.corrcoef(torch.stack([one, other])[:, given == 1])[0, 1]) < 0.03

    def test_shots_without_a_partner_are_refused(self):
        index = torch.tensor([[0, 0, 3], [1, 2, 3]])
        with pytest.raises(ValueError, match="of 3 shots in each basis, none have equal labels"):
            pair_shots(index, CODE, np.random.default_rng(0))

    def test_draws_follow_the_distributions_given_the_label(self):
        rng = np.random.default_rng(0)
        probs = torch.from_numpy(rng.dirichlet(np.ones(16), 2))
        drawn = draw_labelled(probs, 40_000, CODE, rng)
        assert (CODE.places(drawn[0]) == CODE.places(drawn[1])).all()
        wanted = probs.view(2, 4, 4)[..., :3]
        shares = wanted[0].sum(0) / wanted[0].sum()  # of the first basis
        for place in range(3):
            chosen = drawn[:, CODE.places(drawn[0]) == place]
            assert chosen.shape[1] / 40_000 == pytest.approx(float(shares[place]), abs=0.01)
            for basis in range(2):
                found = torch.bincount(chosen[basis] >> 2, minlength=4) / chosen.shape[1]
                given = wanted[basis, :, place] / wanted[basis, :, place].sum()
                assert (found - given).abs().sum() / 2 < 0.02
        assert (CODE.places(draw_labelled(probs, 100, CODE, rng, place=2)) == 2).all()


@settings(max_examples=12)
@given(
    name=st.sampled_from(sorted(ANSATZE)),
    n=st.integers(2, 4),
    z_qubits=st.integers(1, 2),
    seed=st.integers(0, 99),
)
def test_label_qubits_are_measured_in_z_in_every_basis(name, n, z_qubits, seed):
    z_qubits = min(z_qubits, n - 1)
    rng = np.random.default_rng(seed)
    exact, aer = (
        BornMachine(make_ansatz(name, n, 2), ("t", "o", "z"), engine, rng, z_qubits)
        for engine in ("exact", "aer")
    )
    assert exact.n_params == exact.ansatz.n_params + n - z_qubits
    theta = rng.normal(0, 2, (2, exact.n_params))
    probs = exact.probabilities(theta)
    torch.testing.assert_close(aer.probabilities(theta), probs, atol=1e-12, rtol=0)
    for b, basis in enumerate(exact.bases):
        circuit = exact.ansatz.to_circuit(basis, z_qubits)
        bound = circuit.assign_parameters(theta[0, : circuit.num_parameters])
        np.testing.assert_allclose(probs[0, b], Statevector(bound).probabilities(), atol=1e-12)
    labels = probs.view(2, 3, -1, 2**z_qubits).sum(2)
    torch.testing.assert_close(labels[:, :1].expand(-1, 3, -1), labels, atol=1e-12, rtol=0)


@pytest.fixture(scope="module")
def fitted():
    qcbm = small_qcbm()
    return qcbm, qcbm.fit(labelled_bits())


class TestQCBM:
    def test_label_qubits_come_first_and_are_counted_once(self, fitted):
        qcbm, report = fitted
        assert (qcbm.dim, qcbm.n_bits, qcbm.born.n_qubits) == (6, 6, 4)
        assert report.loss_after < 0.3 * report.loss_before
        assert qcbm.sample(10).shape == (10, 6)
        assert qcbm.embed(qcbm.sample(10)).shape == (10, 6)

    def test_samples_have_the_label_that_is_asked_for_and_its_bits(self, fitted):
        qcbm, _ = fitted
        bits = labelled_bits()
        for draw in (qcbm.sample, qcbm.draw):
            for label in LABELS:
                drawn, wanted = draw(2000, label), bits[CODE.of(bits) == label].float()
                assert (CODE.of(drawn.long()) == label).all()
                assert (drawn.mean(0) - wanted.mean(0)).abs().max() < 0.12

    def test_halves_of_different_bases_are_correlated_through_the_label(self, fitted):
        qcbm, _ = fitted
        drawn, wanted = (torch.corrcoef(bits[:, 2:].T.double())[:2, 2:] for bits in (
            qcbm.measure(8000), labelled_bits()
        ))  # fmt: skip
        assert wanted.abs().max() > 0.25
        assert (drawn - wanted).abs().max() < 0.1

    def test_the_log_probabilities_are_those_of_what_is_drawn(self, fitted):
        qcbm, _ = fitted
        probs = qcbm.log_prob(all_bitstrings(6)).exp()
        assert float(probs.sum()) == pytest.approx(1, abs=1e-12)
        assert (histogram(qcbm.measure(40_000).long()) - probs).abs().sum() / 2 < 0.02

    def test_shares_of_labels_are_exact_and_near_those_of_the_bits(self, fitted):
        qcbm, _ = fitted
        shares = qcbm.label_shares()
        assert list(shares) == [3, 7, 9]
        assert sum(shares.values()) == pytest.approx(1, abs=1e-12)
        assert max(abs(share - 1 / 3) for share in shares.values()) < 0.05

    @pytest.mark.parametrize("sampler", ["aer", "statevector"])
    def test_simulators_condition_exactly(self, sampler, fitted):
        qcbm = small_qcbm(sampler=sampler, optimizer="cobyla", bank_shots=100)
        qcbm.load_state_dict({**fitted[0].state_dict(), "bank": qcbm.bank})
        assert qcbm.label_shares() == pytest.approx(fitted[0].label_shares(), abs=1e-9)
        assert (qcbm.code.of(qcbm.draw(1, 9).long()) == 9).all()

    def test_shots_of_a_noisy_sampler_are_post_selected(self, fitted):
        qcbm = small_qcbm(sampler="aer-noise:ionq-aria", optimizer="spsa", bank_shots=2000)
        qcbm.load_state_dict({**fitted[0].state_dict(), "bank": qcbm.bank})
        qcbm.draw_bank()
        assert 0.8 < qcbm.kept < 1  # noise leads to the string of no label, and to no partner
        drawn = qcbm.sample(500, 7)
        assert (qcbm.code.of(drawn.long()) == 7).all()
        assert {tuple(row) for row in drawn.tolist()} <= {tuple(row) for row in qcbm.bank.tolist()}
        assert sum(qcbm.label_shares().values()) == pytest.approx(1)
        assert qcbm.distances(labelled_bits())["kl"] < 1.5

    def test_without_labels_none_can_be_asked_for(self):
        qcbm = QCBM(2, 1, sampler="exact", bank_shots=10, seed=0)
        with pytest.raises(ValueError, match="`label` asks for a prior with labels"):
            qcbm.sample(3, 7)
        assert qcbm.label_shares() == {}
        with pytest.raises(ValueError, match="`label` must be one of 3, 7, 9, got 4"):
            small_qcbm().sample(3, 4)


class TestPerLabel:
    @pytest.mark.parametrize("kind", [Product, Histogram])
    def test_each_label_has_a_prior_of_its_own(self, kind):
        prior, bits = PerLabel(lambda: kind(4), LABELS, seed=0), labelled_bits()
        report = prior.fit(bits)
        assert report.loss_after < report.loss_before
        probs = prior.log_prob(all_bitstrings(6)).exp()
        assert float(probs.sum()) == pytest.approx(1, abs=1e-12)
        # given the label, the bits are independent: the product is right up to the sample
        assert (probs - histogram(bits)).abs().sum() / 2 < (0.03 if kind is Product else 1e-12)
        drawn = prior.sample(20_000)
        assert (histogram(drawn.long()) - probs).abs().sum() / 2 < 0.03
        assert (prior.code.of(prior.sample(100, 9).long()) == 9).all()
        assert prior.label_shares() == pytest.approx(
            {label: float((prior.code.of(bits) == label).double().mean()) for label in LABELS}
        )
        assert report.kl == pytest.approx(0, abs=0.02)

    def test_a_prior_that_is_not_fitted_only_learns_the_shares(self):
        prior = PerLabel(lambda: Bernoulli(4), LABELS, 0.5, 2, seed=0)
        report = prior.fit(labelled_bits())
        assert report.loss_after is None and report.kl > 0.7
        latents = prior.embed(samples := prior.sample(50))
        assert latents.shape == (50, 8)
        assert torch.equal(latents[:, :2], 2 * samples[:, :2] - 1)  # no dither on the label

    def test_its_state_brings_back_the_same_draws(self):
        prior, other = (PerLabel(lambda: Product(4), LABELS, seed=seed) for seed in (0, 1))
        prior.fit(labelled_bits())
        other.load_state_dict(prior.state_dict())
        torch.manual_seed(0)
        expected = prior.sample(50)
        torch.manual_seed(0)
        assert torch.equal(other.sample(50), expected)

    @pytest.mark.parametrize(
        ("rows", "message"),
        [
            ([[0, 0, 1, 1, 1, 1], [1, 0, 1, 1, 1, 1]], "there are none of 9"),
            ([[1, 1, 1, 1, 1, 1]], "must begin with those of a label of 3, 7, 9"),
        ],
    )
    def test_bits_without_a_label_are_refused(self, rows, message):
        with pytest.raises(ValueError, match=message):
            PerLabel(lambda: Product(4), LABELS).fit(rows)


class TestBank:
    """A bank of a device, whose shots are drawn once each."""

    @pytest.fixture
    def qcbm(self, fitted):
        qcbm = small_qcbm(sampler="aqt:ideal", optimizer="spsa", bank_shots=300)
        qcbm.load_state_dict({**fitted[0].state_dict(), "bank": qcbm.bank})
        qcbm.draw_bank()
        return qcbm

    def test_shots_of_a_label_are_drawn_once_and_no_job_is_sent(self, qcbm, monkeypatch):
        monkeypatch.setattr(qcbm.drawer, "shots", None)  # nothing may be measured
        n_sevens = int((CODE.of(qcbm.bank) == 7).sum())
        drawn = torch.cat([qcbm.draw(n_sevens - 10, 7), qcbm.draw(10, 7)])
        assert sorted(drawn.tolist()) == sorted(qcbm.bank[CODE.of(qcbm.bank) == 7].float().tolist())
        assert qcbm.n_undrawn == 300 - n_sevens
        with pytest.raises(
            ValueError, match=r"1 samples of label 7 .* the bank holds 0 shots of it"
        ):
            qcbm.draw(1, 7)
        assert len(qcbm.draw(qcbm.n_undrawn)) == 300 - n_sevens
        with pytest.raises(ValueError, match="label 3"):
            qcbm.draw(1, 3)

    def test_a_label_without_probability_is_refused(self):
        qcbm = QCBM(1, 1, sampler="exact", labels=LABELS, bank_shots=10, seed=0)
        qcbm.theta.zero_()
        assert (CODE.of(qcbm.draw(5).long()) == 3).all()
        with pytest.raises(ValueError, match="the circuit gives no probability to label 9"):
            qcbm.draw(5, 9)


def test_shuffled_bits_keep_the_marginals_of_each_label_and_lose_its_correlations():
    bits = labelled_bits()
    bits[:, 3] = bits[:, 2]  # equal within the first basis, whatever the label
    prior = Shuffled(small_qcbm())
    report = prior.fit(bits)
    drawn, whole = prior.measure(20_000), prior.qcbm.measure(20_000)
    places = CODE.places_of(drawn)
    for place in range(3):
        mine, theirs = drawn[places == place, 2:], whole[CODE.places_of(whole) == place, 2:]
        assert abs(mine.mean(0) - theirs.mean(0)).max() < 0.02
        assert abs(torch.corrcoef(mine.T)[0, 1]) < 0.05
        assert torch.corrcoef(theirs.T)[0, 1] > 0.3
    assert report.kl is not None and report.kl > prior.qcbm.distances(bits)["kl"] + 0.05
    model = prior.distributions(bits)["model"]
    np.testing.assert_allclose(model.sum(1), 1, atol=1e-9)
    assert (CODE.of(prior.sample(50, label=7).long()) == 7).all()


def test_gaussian_latents_stand_beside_a_label_that_is_drawn_as_often_as_it_occurs():
    prior = Gaussian(3, seed=0, labels=LABELS)
    assert (prior.dim, prior.latent_dim) == (5, 5)
    bits = torch.cat(
        [CODE.bits(torch.tensor([3] * 60 + [7] * 30 + [9] * 10)), torch.zeros(100, 3)], 1
    )
    prior.fit(bits.to(torch.uint8))
    assert prior.label_shares() == pytest.approx({3: 0.6, 7: 0.3, 9: 0.1})
    drawn = prior.sample(5000)
    shares = torch.bincount(CODE.places_of(drawn.long()), minlength=3) / 5000
    assert shares.tolist() == pytest.approx([0.6, 0.3, 0.1], abs=0.02)
    latents = prior.embed(prior.sample(2000, label=9))
    assert latents[:, :2].unique(dim=0).tolist() == [[-1, 1]]
    assert latents[:, 2:].mean() == pytest.approx(0, abs=0.05)
    assert latents[:, 2:].std() == pytest.approx(1, abs=0.05)
