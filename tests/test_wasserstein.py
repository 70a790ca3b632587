from __future__ import annotations

import copy
import math
import re

import numpy as np
import pytest
import torch
from qiskit.primitives import StatevectorSampler

from qcaan.gans.wasserstein import gan as wasserstein
from qcaan.gans.wasserstein.config import WassersteinConfig
from qcaan.gans.wasserstein.gan import EpochRecord, StepRecord, WassersteinGAN, train
from qcaan.metrics.samples import column_scores, sliced_wasserstein
from qcaan.runs.wasserstein import load_data
from qcaan.training import TrainingCollapsed

TOY = {"epochs": 2, "steps_per_epoch": 3, "batch_size": 8, "critic_width": 8}
FAST = {"epochs": 2, "steps_per_epoch": 150, "lr": 5e-3, "ema_decay": 0.98}


@pytest.fixture
def few_fixed_latents(monkeypatch):
    """Samplers take long over the thousands whose moments the log follows."""
    monkeypatch.setattr(wasserstein, "FIXED_LATENTS", 30)


def made(make_sampler=None, **options):
    config = WassersteinConfig(**options)
    samples, held_out, _ = load_data(config)
    return WassersteinGAN(config, samples, make_sampler=make_sampler), samples, held_out


def trained(gan, samples):
    return list(train(gan, samples))


def test_the_defaults_are_the_published_set_up():
    gan, samples, held_out = made()
    assert [part.shape for part in (samples, held_out)] == [(80_000, 1), (20_000, 1)]
    assert held_out.std().item() == pytest.approx(0.2, rel=0.01)
    z = torch.randn(7, 2)
    outputs = gan.generator(z)
    assert outputs.shape == (7, 1)
    assert outputs.abs().max() <= 1
    assert gan.generator[1].ansatz.layers == ("ry", "rx", "cx", "ry", "rx", "cx")
    assert gan.config.epochs * gan.config.steps_per_epoch == 8000
    assert (
        gan.config.batch_size,
        gan.config.n_critic,
        gan.config.lr,
        gan.config.penalty_weight,
    ) == (64, 5, 1e-4, 10)


def test_yields_every_step_and_ends_each_epoch_with_its_means_and_the_samples_moments():
    gan, samples, _ = made(**TOY)
    records = trained(gan, samples)
    assert [type(record) for record in records] == ([StepRecord] * 3 + [EpochRecord]) * 2
    assert records[3].loss_d == pytest.approx(sum(step.loss_d for step in records[:3]) / 3)
    drawn = gan.draw(gan.fixed_latents)
    assert records[-1].mean == [pytest.approx(drawn.mean().item())]
    assert records[-1].std == [pytest.approx(drawn.std().item())]
    assert (gan.epoch, gan.step) == (2, 6)


def test_training_moves_every_weight_that_decides_the_output():
    gan, samples, _ = made(**TOY, ansatz="ion-trap")
    before = {name: value.clone() for name, value in gan.named_parameters()}
    trained(gan, samples)
    still = {name for name, value in gan.named_parameters() if torch.equal(value, before[name])}
    assert still <= {"critic.net.4.bias"}  # it cancels in D(fake) - D(real)


@pytest.mark.parametrize(("mean", "std", "seed"), [(0.0, 0.2, 1), (-0.4, 0.1, 2)])
def test_learns_mean_and_deviation_that_it_does_not_start_with(mean, std, seed):
    gan, samples, held_out = made(**FAST, mean=mean, std=std, seed=seed)
    untrained = column_scores(gan.generate(5000), held_out)
    trained(gan, samples)
    scores = column_scores(gan.generate(5000), held_out)
    assert abs(untrained["mean"][0] - mean) > 0.2 and untrained["w1"][0] > 0.2
    assert abs(scores["mean"][0] - mean) < 0.05
    assert 0.75 < scores["std"][0] / std < 1.25
    assert scores["w1"][0] < 0.05


def test_learns_two_columns_that_depend_on_each_other():
    rng = np.random.default_rng(0)
    first = rng.normal(0, 0.25, 5000)
    samples = torch.from_numpy(np.stack([first, 0.8 * first + rng.normal(0, 0.08, 5000)], 1)).clamp(
        -1, 1
    )
    config = WassersteinConfig(**FAST, n_layers=3)
    gan = WassersteinGAN(config, samples)
    before = sliced_wasserstein(gan.generate(3000), samples)
    trained(gan, samples)
    generated = gan.generate(3000)
    assert sliced_wasserstein(generated, samples) < 0.06 < before
    assert torch.corrcoef(generated.T)[0, 1] > 0.7


def test_the_sampler_takes_over_after_the_epochs_asked_for(few_fixed_latents):
    class Counting(StatevectorSampler):
        sets = 0

        def run(self, pubs, *, shots=None):
            Counting.sets += sum(len(values) for _, values, _ in pubs)
            return super().run(pubs, shots=shots)

    options = {**TOY, "epochs": 3, "shots": 5, "sampler": "counting"}
    for switch, epochs in ((2, 1), (1, 2), (None, 3)):
        gan, samples, _ = made(
            lambda name, rng: Counting(seed=rng), **options, switch_after_epochs=switch
        )
        steps = [r for r in train(gan, samples) if isinstance(r, StepRecord)]
        assert len(steps) == 9
        step = 8 * (5 + 1 + 2 * (2 + 8))
        assert Counting.sets == epochs * (3 * step + len(gan.fixed_latents))
        assert gan.generator[1].gradient == "parameter-shift"
        Counting.sets = 0


def test_learns_from_shots(few_fixed_latents):
    gan, samples, held_out = made(
        **{**FAST, "epochs": 1, "steps_per_epoch": 150},
        shots=30,
        batch_size=16,
        n_layers=1,
        n_qubits=1,
        latent_dim=1,
    )
    untrained = column_scores(gan.generate(1000), held_out)
    trained(gan, samples)
    scores = column_scores(gan.generate(1000), held_out)
    assert scores["w1"][0] < 0.1 < 0.3 < untrained["w1"][0]


def test_files_are_data_and_rescaled_ones_are_drawn_in_their_own_units(tmp_path):
    values = np.random.default_rng(0).uniform(20, 40, (300, 2))
    np.save(tmp_path / "data.npy", values)
    np.savetxt(tmp_path / "data.csv", values, delimiter=",")
    for name in ("data.npy", "data.csv"):
        gan, samples, held_out = made(data=str(tmp_path / name), rescale=True, **TOY)
        assert sorted(torch.cat([samples, held_out])[:, 0].tolist()) == pytest.approx(
            sorted(values[:, 0])
        )
        assert len(held_out) == 60
        drawn = gan.generate(200)
        assert drawn.shape == (200, 2)
        assert drawn.min() > 15 and drawn.max() < 45
        reach = gan.centre + torch.tensor([-1.0, 1.0])[:, None] * gan.scale
        assert ((reach[0] < samples.min(0).values) & (reach[1] > samples.max(0).values)).all()
    np.save(tmp_path / "line.npy", values[:, 0] / 100)
    assert load_data(WassersteinConfig(data=str(tmp_path / "line.npy")))[0].shape == (240, 1)


def test_rescaled_data_may_lie_far_from_zero(tmp_path):
    np.save(tmp_path / "times.npy", 1.7e9 + np.random.default_rng(0).normal(0, 0.2, 500))
    gan, samples, _ = made(data=str(tmp_path / "times.npy"), rescale=True, **TOY)
    for _ in train(gan, samples):
        pass
    drawn = gan.generate(200)
    assert abs(drawn - 1.7e9).max() < 2
    assert len(drawn.unique()) > 100


@pytest.mark.parametrize(("scale", "offset"), [(1.0, 1e8), (1e6, 0.0), (1e-6, 0.0)])
def test_rescaled_data_are_learnt_in_any_units(few_fixed_latents, scale, offset):
    values = np.random.default_rng(0).normal(0, 1, (200, 2))

    def outputs(scale, offset):
        config = WassersteinConfig(rescale=True, **TOY)
        gan = WassersteinGAN(config, scale * values + offset)
        for _ in train(gan, scale * values + offset):
            pass
        return (gan.generate(20) - gan.centre) / gan.scale

    torch.testing.assert_close(outputs(scale, offset), outputs(1.0, 0.0), atol=1e-4, rtol=1e-4)


def test_whole_numbers_are_rescaled_as_real_numbers():
    values = torch.tensor([[-100], [0], [100], [127]], dtype=torch.int8)
    gan = WassersteinGAN(WassersteinConfig(rescale=True, **TOY), values)
    assert gan.centre.tolist() == [13.5]
    assert (113.5 / gan.scale).tolist() == pytest.approx([0.9])


def test_bad_data_are_named(tmp_path):
    def refused(message, **options):
        with pytest.raises((ValueError, OSError), match=re.escape(message)):
            made(**options)

    (tmp_path / "words.csv").write_text("height,weight\n1,2\n")
    (tmp_path / "broken.npy").write_bytes(b"\x93NUMPY")
    np.save(tmp_path / "few.npy", np.zeros((9, 1)))
    np.save(tmp_path / "nan.npy", np.full(20, np.nan))
    np.save(tmp_path / "constant.npy", np.ones((20, 1)))
    np.save(tmp_path / "wide.npy", np.random.default_rng(0).uniform(-1, 1, (20, 3)))
    np.save(tmp_path / "objects.npy", np.array([{}] * 20), allow_pickle=True)
    np.save(tmp_path / "scalar.npy", np.array(3.0))
    refused("'cauchy'; choose from lognormal", data="cauchy")
    refused("beyond the outputs' range [-1, 1]; add --rescale", mean=3.0)
    refused("nowhere.csv", data=str(tmp_path / "nowhere.csv"))
    refused("cannot read", data=str(tmp_path / "broken.npy"))
    refused("it holds Python objects", data=str(tmp_path / "objects.npy"))
    for name in ("words.csv", "few.npy"):
        refused(f"{name} must hold at least ten rows", data=str(tmp_path / name))
    refused("scalar.npy must hold samples [N]", data=str(tmp_path / "scalar.npy"))
    refused("must hold finite numbers, got nan in row 1", data=str(tmp_path / "nan.npy"))
    refused("is constant and cannot be rescaled", data=str(tmp_path / "constant.npy"), rescale=True)
    refused(
        "`n_qubits` must be at least 3, one for each column of the data, got 2",
        data=str(tmp_path / "wide.npy"),
    )


def test_a_loaded_run_continues_bit_for_bit_across_the_switch_to_a_sampler_and_after_it(
    few_fixed_latents,
):
    options = {
        **TOY,
        "sampler": "aer",
        "shots": 20,
        "steps_per_epoch": 2,
        "epochs": 3,
        "switch_after_epochs": 1,
    }
    whole, samples, _ = made(**options)
    saved, records = [], []
    for record in train(whole, samples):
        records.append(record)
        if isinstance(record, EpochRecord):
            saved.append((copy.deepcopy(whole.training_state()), len(records)))
    for state, n_records in saved[:2]:
        again, _, _ = made(**options)
        again.load_training_state(state)
        assert trained(again, samples) == records[n_records:]
        for key, value in whole.state_dict().items():
            other = again.state_dict()[key]
            assert (
                torch.equal(value, other) if isinstance(value, torch.Tensor) else value == other
            ), key


def test_a_run_that_is_not_finite_stops():
    gan, samples, _ = made(**TOY)
    with torch.no_grad():
        gan.critic.net[0].weight.fill_(float("nan"))
    with pytest.raises(TrainingCollapsed, match="a loss is not finite at step 1"):
        trained(gan, samples)


def test_the_least_and_the_greatest_rows_make_the_same_networks_as_the_data():
    gan, samples, _ = made(**TOY, data="gaussian-2d", rescale=True)
    extremes = torch.stack([samples.min(0).values, samples.max(0).values])
    again = WassersteinGAN(gan.config, extremes)
    for key, value in gan.state_dict().items():
        assert isinstance(value, dict) or torch.equal(value, again.state_dict()[key]), key
    torch.testing.assert_close(gan.draw(gan.fixed_latents), again.draw(gan.fixed_latents))


def test_samples_come_as_tensors_arrays_or_lists():
    gan, samples, _ = made(**TOY)
    expected = [record for record in train(gan, samples) if isinstance(record, EpochRecord)]
    for form in (samples.numpy(), samples.tolist()):
        again = WassersteinGAN(gan.config, form)
        records = [record for record in train(again, form) if isinstance(record, EpochRecord)]
        assert records == expected


def test_draws_of_equal_seeds_are_equal():
    gan, _, _ = made(**TOY, sampler="aer", shots=20)
    drawn = []
    for seed in (3, 3, 4):
        gan.reseed(seed)
        drawn.append(gan.generate(5))
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])


def test_column_scores_by_hand():
    one = torch.tensor([[0.0, 1], [1, 1], [2, 1], [3, 1]]).double()
    scores = column_scores(one + torch.tensor([0.5, 2]), one)
    assert scores["mean"] == [2, 3]
    assert scores["std"] == [pytest.approx((5 / 3) ** 0.5), 0]
    assert scores["w1"] == [0.5, 2]
    assert scores["ks"] == [0.25, 1]


def test_the_sliced_distance_sees_what_columns_do_not():
    x = torch.randn(4000, 1, generator=torch.Generator().manual_seed(0)).double()
    together, against = torch.cat([x, x], 1), torch.cat([x, -x], 1)
    assert max(column_scores(together, against)["w1"]) < 0.1
    assert sliced_wasserstein(together, against) > 0.3
    assert sliced_wasserstein(together, together) == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"penalty": "none"}, "unknown `penalty` 'none'; choose from one-sided, two-sided"),
        ({"n_critic": 0}, "`n_critic` must be at least 1, got 0"),
        ({"lr": 0.0}, "`lr` must be above 0 and below 1, got 0.0"),
        ({"std": 0.0}, "`std` must be above 0, got 0.0"),
        ({"ansatz": "ring"}, "unknown `ansatz` 'ring'"),
        ({"sampler": "warp", "switch_after_epochs": 5}, "unknown `sampler` 'warp'"),
        ({"shots": 5, "gradient": "backprop"}, "`gradient` backprop needs"),
        (
            {"switch_after_epochs": -1},
            "`switch_after_epochs` must be at least 1 and less than the run's 80 epochs, got -1",
        ),
        (
            {"switch_after_epochs": 5},
            "`switch_after_epochs` would change nothing, since all epochs use the exact engine",
        ),
        ({"mean": math.nan}, "`mean` must be finite, got nan"),
        (
            {"data": "lognormal", "rescale": True, "std": 1.0},
            "`mean` and `std` belong to `data` normal, got `data` lognormal",
        ),
        ({"n_qubits": 26}, "320 parameter sets of 26 qubits need"),
        ({"uploads": 0}, "`uploads` must be at least 1"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        made(**options)
