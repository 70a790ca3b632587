from __future__ import annotations

import numpy as np
import pytest
import torch
from qiskit.primitives import BaseSamplerV2, StatevectorSampler
from some_priors import correlated_bits, small_qcbm

from qcaan import losses
from qcaan.bits import all_bitstrings, histogram, index_to_bits, product_probabilities
from qcaan.optimizers import OPTIMIZERS
from qcaan.priors.classical import Bernoulli, Histogram, Product
from qcaan.priors.qcbm import QCBM
from qcaan.priors.shuffled import Shuffled
from qcaan.samplers.names import make_sampler


def test_bits_become_signs_in_the_generators_input_and_dither_spreads_them():
    bits = torch.tensor([[0.0, 1.0]]).repeat(2000, 1)
    assert Bernoulli(2).embed(bits[:1]).tolist() == [[-1, 1]]
    wide = Bernoulli(2, dither=0.3).embed(bits, spread=2.0)
    assert (wide - Bernoulli(2).embed(bits)).std() == pytest.approx(0.6, rel=0.1)
    spread = Bernoulli(2, dither=0.3).embed(bits)
    assert spread.mean(0).tolist() == pytest.approx([-1, 1], abs=0.04)
    assert spread.std(0).tolist() == pytest.approx([0.3, 0.3], abs=0.03)


def test_report_counts_what_was_spent_and_compares_with_the_product():
    bits = correlated_bits()
    report = small_qcbm(fit_evals=300).fit(bits)
    assert 100 < report.evaluations <= 302
    assert report.shots == 0  # the fit was exact
    expected = losses.kl(histogram(bits), product_probabilities(bits.double().mean(0))).item()
    assert report.kl_product == pytest.approx(expected)
    assert report.kl < 0.3 * report.kl_product


def test_marginals_start_at_the_fitted_product_and_not_at_a_dead_point(monkeypatch):
    bits = correlated_bits()
    prior = small_qcbm(fit_evals=30)
    monkeypatch.setitem(OPTIMIZERS, "cobyla", lambda objective, theta, *_: theta)
    report = prior.fit(bits)
    assert report.kl == pytest.approx(report.kl_product, abs=1e-6)
    shifts = 0.1 * torch.eye(len(prior.theta), dtype=torch.float64)
    up, down = prior.born.probabilities(torch.cat([prior.theta + shifts, prior.theta - shifts]))[
        :, 0
    ].chunk(2)
    slope = (losses.kl(histogram(bits), up) - losses.kl(histogram(bits), down)) / 0.2
    assert slope.abs().max() > 0.01


def test_a_start_without_a_slope_is_named():
    prior = small_qcbm(initial="random", sampler="exact", optimizer="adam", fit_evals=1)
    # |000> for sure: no angle changes its probability to first order, and the others are clipped
    prior.theta.zero_()
    with pytest.warns(
        UserWarning, match="adam could not move the angles: the gradient of the loss is zero"
    ):
        report = prior.fit(correlated_bits())
    assert "did NOT lower the loss" in report.summary()


@pytest.mark.parametrize("optimizer", ["cobyla", "spsa"])
def test_a_loss_that_never_changes_is_named(optimizer):
    class Stuck(BaseSamplerV2):
        def run(self, pubs, *, shots=None):
            return make_sampler("statevector", 0).run(
                [(circuit, 0 * theta, 1) for circuit, theta, _ in pubs]
            )

    prior = QCBM(
        3,
        2,
        initial="random",
        sampler=Stuck(),
        optimizer=optimizer,
        fit_evals=60,
        shots=1,
        bank_shots=1,
    )
    with pytest.warns(
        UserWarning, match=f"{optimizer} .* the (loss is the same|gradient of the loss is zero)"
    ):
        prior.fit(correlated_bits())


def test_adam_on_shots_goes_down_by_parameter_shifts():
    prior = small_qcbm(optimizer="adam", shots=2000, fit_loss="mmd", fit_evals=43 * 40)
    report = prior.fit(correlated_bits())
    assert report.kl < 0.5 * report.kl_product
    assert report.executions == report.evaluations


def test_shuffled_keeps_the_marginals_and_loses_the_correlations():
    bits = correlated_bits()
    options = {"sampler": "exact", "optimizer": "adam", "fit_evals": 200, "bank_shots": 4000}
    prior = Shuffled(small_qcbm(**options))
    report = prior.fit(bits)
    assert report.kl == pytest.approx(report.kl_product, abs=0.02)
    torch.manual_seed(0)
    drawn = prior.sample(8000)
    assert drawn.mean(0).tolist() == pytest.approx(bits.double().mean(0).tolist(), abs=0.05)
    assert np.corrcoef(drawn[:, :2].numpy().T)[0, 1] == pytest.approx(0, abs=0.06)


@pytest.mark.parametrize("sampler", ["object", "aer-noise:fake_guadalupe"])
def test_shuffled_draws_from_its_own_bank_and_not_from_the_circuits(sampler):
    bits = correlated_bits()
    qcbm = small_qcbm(
        sampler=StatevectorSampler(seed=0) if sampler == "object" else sampler,
        train_sampler="exact",
        optimizer="adam",
        fit_evals=200,
        bank_shots=3000,
    )
    prior = Shuffled(qcbm)
    qcbm.fit(bits)
    qcbm.draw_bank()
    measured = qcbm.bank.clone()
    assert np.corrcoef(measured[:, :2].numpy().T)[0, 1] > 0.4
    prior.fit(bits)
    assert prior.draw_bank() == 3000
    assert abs(np.corrcoef(prior.sample(3000)[:, :2].numpy().T)[0, 1]) < 0.06
    assert torch.equal(qcbm.bank, measured)


def test_histogram_and_product_are_the_exact_fits_of_their_kinds():
    bits = correlated_bits()
    assert Histogram(3).fit(bits).kl == pytest.approx(0, abs=1e-9)
    report = Product(3).fit(bits)
    assert report.kl == pytest.approx(report.kl_product)


def test_bits_come_as_tensors_arrays_or_lists():
    bits = correlated_bits(50)
    reports = [Product(3).fit(form) for form in (bits, bits.numpy(), bits.tolist(), bits.bool())]
    assert {(report.loss_after, report.kl) for report in reports} == {
        (reports[0].loss_after, reports[0].kl)
    }
    qcbm = small_qcbm()
    assert qcbm.fit(bits.numpy()).kl == pytest.approx(qcbm.distances(bits.tolist())["kl"])
    signs = Bernoulli(2).embed([[0, 1]])
    assert torch.equal(signs, Bernoulli(2).embed(np.array([[0, 1]])))
    assert signs.tolist() == [[-1, 1]]


def test_noise_dims_stand_beside_the_bits():
    torch.manual_seed(0)
    inputs = Bernoulli(2, noise_dims=3).embed(torch.ones(4000, 2))
    assert inputs.shape == (4000, 5)
    assert set(inputs[:, :2].unique().tolist()) == {1.0}
    assert inputs[:, 2:].std(0).tolist() == pytest.approx([1, 1, 1], abs=0.05)


def test_an_unfitted_qcbm_with_marginals_is_uniform():
    np.testing.assert_allclose(
        small_qcbm(bases=("z", "o")).probabilities("o"), np.full(8, 1 / 8), atol=1e-6
    )


@pytest.mark.parametrize(
    ("shape", "n", "sampler", "optimizer", "fit_evals"),
    [
        ("ghz", 4, "aer", "cobyla", 1500),
        ("parity", 4, "aer", "cobyla", 1500),
        ("ghz", 8, "exact", "adam", 600),
        ("parity", 8, "exact", "adam", 600),
    ],
)
def test_qcbm_learns_what_no_product_can(shape, n, sampler, optimizer, fit_evals):
    strings = index_to_bits(torch.arange(2**n), n)
    bits = strings[(strings.sum(1) % n == 0) if shape == "ghz" else (strings.sum(1) % 2 == 0)]
    best = 1.0
    for seed in range(8):
        options = {
            "n_qubits": n,
            "shots": 0,
            "fit_evals": fit_evals,
            "sampler": sampler,
            "optimizer": optimizer,
        }
        best = min(best, QCBM(**options, bank_shots=1, initial="random", seed=seed).fit(bits).tvd)
        if best <= 0.05:
            break
    assert best <= 0.05
    product = Product(n)
    assert product.fit(bits).tvd >= 0.4


def test_halves_of_two_bases_follow_their_own_targets():
    rng = np.random.default_rng(0)
    bits = torch.from_numpy(
        (rng.random((3000, 6)) < [0.9, 0.5, 0.2, 0.5, 0.1, 0.5]).astype(np.uint8)
    )
    prior = small_qcbm(bases=("z", "o"), bank_shots=4000)
    prior.fit(bits)
    torch.manual_seed(0)
    assert prior.sample(4000).mean(0).tolist() == pytest.approx(
        [0.9, 0.5, 0.2, 0.5, 0.1, 0.5], abs=0.08
    )


def test_log_probabilities_of_two_bases_add_up():
    prior = QCBM(2, 2, bases=("z", "o"), sampler="exact", seed=0)
    z, o = prior.probabilities("z"), prior.probabilities("o")
    strings = all_bitstrings(4)  # z first, so that its bits are the lowest of the index
    np.testing.assert_allclose(prior.log_prob(strings).exp(), np.outer(o, z).ravel())


def test_a_sampler_object_serves_as_well_as_a_name_and_gives_frequencies():
    prior = QCBM(
        n_qubits=2,
        n_layers=2,
        sampler=make_sampler("statevector", 0),
        fit_evals=20,
        shots=200,
        bank_shots=1000,
    )
    bits = torch.tensor([[0, 1]] * 9 + [[1, 0]])
    assert prior.fit(bits).kl is None  # only a bank of shots tells it
    prior.draw_bank()
    assert prior.distances(bits)["kl"] >= 0
    assert prior.probabilities().sum() == pytest.approx(1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_qubits": 0}, "`n_qubits` must be at least 1, got 0"),
        ({"n_qubits": 60}, "`n_qubits` must be at most"),
        ({"sampler": "warp"}, "unknown `sampler` 'warp'"),
        ({"fit_loss": "hinge"}, "unknown `fit_loss` 'hinge'; choose from"),
        (
            {"optimizer": "magic"},
            "unknown `optimizer` 'magic'; choose from auto, cobyla, spsa, cma-es, adam, roto",
        ),
        ({"ansatz": "ring"}, "unknown `ansatz` 'ring'"),
        ({"bases": ("q",)}, "bases.? must be different ones of z, o, t, got q"),
        ({"shots": -1}, "`shots` must be at least 0"),
        ({"fit_evals": 22}, "`fit_evals` must be at least 23 for cobyla on 21 angles, got 22"),
        (
            {"optimizer": "cobyla", "n_layers": 1, "shots": 10, "fit_evals": 10},
            "`fit_evals` must be at least 11 for cobyla on 3 angles, got 10",
        ),
        (
            {"optimizer": "roto", "shots": 10, "fit_shots": 40, "fit_evals": None},
            "`fit_shots` must be at least 50 for roto on 21 angles, with 10 shots per basis in an",
        ),
        ({"fit_shots": 10, "shots": 0}, "`fit_shots` limits shots, and `shots` 0 asks for none"),
        ({"fit_shots": 0}, "`fit_shots` must be at least 1, got 0"),
        ({"device_steps": 0}, "`device_steps` must be at least 1, got 0"),
        ({"device_steps": 5}, "`device_steps` is for fits on samplers without exact probabilities"),
        ({"fit_loss": "mmd", "shots": 1}, "`shots` must be at least 2 for `fit_loss` mmd, got 1"),
        (
            {"n_qubits": 21, "n_layers": 1, "shots": 9, "optimizer": "twin"},
            "`optimizer` asks for a simulation of the circuit, of at most 20 qubits, got 21; roto",
        ),
        (
            {
                **{"sampler": "statevector", "switch_after_epochs": 1},
                **{"optimizer": "adam", "fit_evals": 40},
            },
            "`fit_evals` must be at least 43 for adam on 21 angles, got 40",
        ),
        ({"bank_shots": 10**13}, "`bank_shots` must be at most 10,000,000, got 10000000000000"),
        ({"initial": "zero"}, "unknown `initial` 'zero'; choose from marginals, random"),
        ({"dither": -0.1}, "`dither` must be at least 0, got -0.1"),
        ({"noise_dims": -1}, "`noise_dims` must be at least 0, got -1"),
        (
            {"optimizer": "adam", "fit_evals": 40},
            "`fit_evals` must be at least 43 for adam on 21 angles, got 40",
        ),
        (
            {"sampler": make_sampler("statevector")},
            "`shots` must be at least 1 on ReferenceSampler, which has no exact",
        ),
    ],
)
def test_bad_options_are_named_with_what_is_allowed(options, message):
    with pytest.raises(ValueError, match=message):
        small_qcbm(**options)


@pytest.mark.parametrize("bits", [torch.zeros(5, 2), torch.zeros(0, 3), torch.full((2, 3), 2)])
def test_bad_bits_are_refused(bits):
    with pytest.raises(ValueError, match="`bits` must"):
        small_qcbm().fit(bits)


def test_the_default_circuit_fits_exact_probabilities_and_learns():
    prior = QCBM(3, 2, fit_evals=100, bank_shots=1, seed=0)
    report = prior.fit(correlated_bits())
    assert report.shots == 0 and report.optimizer == "cobyla"
    assert report.kl < 0.5 * report.kl_product
    (fitting,) = QCBM(3, 2, sampler=StatevectorSampler(), bank_shots=1).fittings
    assert (fitting.optimizer, fitting.fit_loss, fitting.shots) == ("twin", "kl", 1000)


# --- what `auto` and None stand for


@pytest.mark.parametrize(
    ("sampler", "options", "expected"),
    [
        ("aer", {}, ("cobyla", 0, 300)),
        ("exact", {"fit_evals": 50}, ("cobyla", 0, 50)),
        ("aer", {"shots": 500}, ("roto", 500, 200)),
        ("aer", {"fit_shots": 50_000}, ("roto", 1000, 50)),
        ("aer", {"fit_shots": 50_000, "bases": ("z", "o")}, ("roto", 1000, 25)),
        ("aer", {"fit_shots": 50_000, "fit_evals": 20}, ("roto", 1000, 20)),
        ("aer", {"optimizer": "roto"}, ("roto", 0, 300)),
        ("aer-noise:ionq-aria", {}, ("twin", 1000, 100)),
        ("aer-noise:ionq-aria", {"optimizer": "adam"}, ("adam", 25, 4000)),
        ("aer-noise:ionq-aria", {"optimizer": "cobyla"}, ("cobyla", 100, 1000)),
        ("aer-noise:ionq-aria", {"optimizer": "spsa", "shots": 2000}, ("spsa", 2000, 50)),
        ("aer-noise:ionq-aria", {"device_steps": 30}, ("twin", 1000, 30)),
        (StatevectorSampler(), {}, ("twin", 1000, 100)),
    ],
)
def test_what_is_not_said_of_a_fit_is_filled_in(sampler, options, expected):
    (fitting,) = QCBM(3, 2, sampler=sampler, bank_shots=1, **options).fittings
    assert (fitting.optimizer, fitting.shots, fitting.evaluations) == expected
    assert fitting.summary.startswith(f"{expected[0]} on ")
    says = fitting.shots > 0 and fitting.optimizer not in ("roto", "twin")
    assert ("learns more" in fitting.summary) is says
    assert fitting.corrects is ("device_steps" in options)


def test_engines_before_and_after_a_change_are_fitted_each_in_its_way():
    prior = QCBM(3, 2, sampler="aer-noise:ionq-aria", switch_after_epochs=1, bank_shots=1)
    early, late = prior.fittings
    assert (early.optimizer, early.shots) == ("cobyla", 0)
    assert (late.optimizer, late.shots) == ("twin", 1000)
    assert "no exact probabilities, and our engine holds its 3 qubits" in late.summary


def test_a_few_device_steps_correct_a_fit_by_our_engine():
    prior = QCBM(3, 3, sampler="aer-noise:fake_manila", device_steps=20, bank_shots=4000, seed=0)
    report = prior.fit(correlated_bits())
    assert report.starts == ("exact fit",) and report.evaluations == 20
    assert report.shots == 20_000 and report.jobs == 18
    found = prior.distances(correlated_bits())
    assert found["kl"] < 0.5 * found["kl_product"]


def test_cobyla_has_six_evaluations_for_each_angle_and_others_300():
    (fitting,) = QCBM(8, 4, bases=("z", "o")).fittings
    assert (fitting.optimizer, fitting.evaluations) == ("cobyla", 6 * 96)
    assert QCBM(2, 1).fittings[0].evaluations == 300
    assert QCBM(8, 4, sampler="exact", optimizer="adam").fittings[0].evaluations == 300
    assert QCBM(8, 4, fit_evals=120).fittings[0].evaluations == 120
