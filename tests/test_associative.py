from __future__ import annotations

from typing import get_args

import pytest
import torch

from qcaan import load_images
from qcaan.gans.associative.config import AssociativeConfig
from qcaan.gans.associative.gan import (
    AssociativeGAN,
    EpochRecord,
    StepRecord,
    TrainingCollapsed,
    train,
)
from qcaan.priors.make import PriorName

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def images():
    return load_images("digits8x8", classes=(3, 7)).images


# what networks of four channels learn in seconds
PLAIN = {"dither": 0.0, "lr": 2e-3, "refine": 0}


def toy(**options):
    small = {
        "epochs": 2,
        "steps_per_epoch": 4,
        "batch_size": 16,
        "width": 4,
        "n_qubits": 3,
        "bases": ("z",),
        "prompt": False,
    }
    config = AssociativeConfig(**{**small, "fit_evals": 40, "bank_shots": 200, **options})
    return AssociativeGAN(config.resolved(1), (1, 28, 28), CPU)


@pytest.mark.parametrize(
    ("n_images", "epochs"), [(18_345, 16), (1125, 10), (60_000, 12), (408, 10), (1500, 13)]
)
def test_few_images_are_passed_over_less_often(n_images, epochs):
    assert AssociativeConfig().resolved(n_images).epochs == epochs
    assert AssociativeConfig(epochs=3).resolved(n_images).epochs == 3


def test_yields_every_step_and_ends_each_epoch_with_the_fit_of_its_bits(images):
    gan = toy()
    records = list(train(gan, images))
    assert [type(record) for record in records] == ([StepRecord] * 4 + [EpochRecord]) * 2
    steps, epoch = records[:4], records[4]
    assert epoch.loss_d == pytest.approx(sum(step.loss_d for step in steps) / 4)
    assert epoch.bits.shape == (len(images), 3)
    assert records[-1].fit.kl == pytest.approx(gan.prior.distances(records[-1].bits)["kl"])
    assert (gan.epoch, gan.step) == (2, 8)


def test_median_bits_are_fair_sign_bits_follow_the_sign_and_bernoulli_bits_the_feature(images):
    gan = toy(binarize="median")
    features = gan.discriminator.latent(images).detach()
    assert gan.latent_bits(images).float().mean(0).tolist() == pytest.approx([0.5] * 3, abs=0.01)
    gan.config = toy(binarize="sign").config
    assert torch.equal(gan.latent_bits(images), (features > 0).to(torch.uint8))
    gan.config = toy(binarize="bernoulli").config
    draws = torch.stack([gan.latent_bits(images[:1]) for _ in range(2000)]).float().mean((0, 1))
    assert draws.tolist() == pytest.approx(((1 + features[0]) / 2).tolist(), abs=0.05)


def test_training_moves_every_weight_and_the_average_follows(images):
    gan = toy()
    before = {name: value.clone() for name, value in gan.named_parameters()}
    list(train(gan, images))
    moved = {name for name, value in gan.named_parameters() if not torch.equal(value, before[name])}
    assert moved == set(before)


def test_the_latent_layer_learns_to_read_the_bits_a_picture_was_drawn_from(images):
    gan = toy(epochs=1, steps_per_epoch=150, prior="bernoulli", latent_dim=4, **PLAIN)
    list(train(gan, images))
    gan.eval()
    bits = gan.prior.sample(400)
    read = gan.discriminator.latent(gan.generator(gan.prior.embed(bits))) > 0
    assert (read == bits.bool()).float().mean() > 0.8


def test_pictures_are_drawn_with_more_dither_than_in_training():
    gan = toy(prior="bernoulli", latent_dim=4, dither=0.5, draw_spread=1.6)
    bits = torch.zeros(4000, 4)
    assert (gan.embed(bits) + 1).std() == pytest.approx(0.8, abs=0.02)
    assert (gan.prior.embed(bits) + 1).std() == pytest.approx(0.5, abs=0.02)
    gan = toy(prior="gaussian", latent_dim=4, draw_spread=1.4)
    latents = torch.ones(2, gan.prior.dim)
    widened = gan.embed(latents)[:, -4:].flatten().tolist()
    assert widened == pytest.approx([((1 + 0.7**2) / (1 + 0.5**2)) ** 0.5] * 8)
    assert torch.equal(gan.prior.embed(latents)[:, -4:], latents[:, -4:])
    with pytest.raises(ValueError, match="`draw_spread` must be at least 0"):
        toy(draw_spread=-1.0)


def test_the_discriminator_sees_changed_images_and_the_generator_draws_whole_ones(images):
    gan = toy(augment="cut", epochs=1)
    seen = []
    gan.discriminator.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach()))
    list(train(gan, images))
    black = torch.stack([(batch == -1).double().mean() for batch in seen])
    assert len(seen) == 3 * 4 and (black > 0.05).all()
    assert (gan.generate(20)[0] > -1).all()


def test_losses_that_are_not_finite_stop_it(images):
    gan = toy()
    with torch.no_grad():
        next(gan.discriminator.parameters()).fill_(float("nan"))
    with pytest.raises(TrainingCollapsed, match="not finite at step 1"):
        list(train(gan, images))


def test_a_discriminator_that_tells_all_apart_stops_it(images):
    # a generator that is never moved, against a discriminator that quickly is
    gan = toy(epochs=50, steps_per_epoch=20, lr=5e-3, lr_half_steps=10**6)
    gan.optimizer_g = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))])
    with pytest.raises(TrainingCollapsed, match="tells all images apart"):
        list(train(gan, images))
    assert gan.epoch < 50


def test_eight_pictures_and_no_more_come_from_three_bits(images):
    gan = toy(prior="bernoulli", latent_dim=3, dither=0.0)
    drawn, bits = gan.generate(1200)
    assert len(drawn.unique(dim=0)) == len(bits.unique(dim=0)) == 8
    for string in bits.unique(dim=0):
        assert len(drawn[(bits == string).all(1)].unique(dim=0)) == 1


RESUMED = {name: {"prior": name, "reach": 2} for name in get_args(PriorName)} | {
    "qcbm exact adam": {"sampler": "exact", "optimizer": "adam"},
    "qcbm exact shots spsa": {
        "sampler": "exact",
        "optimizer": "spsa",
        "shots": 50,
        "fit_evals": 50,
        "fit_loss": "mmd",
    },
    "qcbm roto": {"shots": 50},
    "qcbm twin, noise": {"sampler": "aer-noise:fake_manila", "shots": 50, "fit_evals": 8},
    "qcbm cma-es noise dims": {"optimizer": "cma-es", "noise_dims": 2, "bases": ("z", "t")},
}


@pytest.mark.parametrize("options", RESUMED.values(), ids=RESUMED)
def test_resumed_equals_uninterrupted_with_every_prior(images, tmp_path, options):
    whole = toy(**options)
    list(train(whole, images))
    first = toy(**{**options, "epochs": 1})
    list(train(first, images))
    torch.save(first.training_state(), tmp_path / "state.pt")
    second = toy(**options)
    second.load_training_state(torch.load(tmp_path / "state.pt", weights_only=True))
    list(train(second, images))
    expected, state = whole.state_dict(), second.state_dict()
    assert expected.keys() == state.keys()
    for name, value in expected.items():
        same = (
            torch.equal(value, state[name])
            if isinstance(value, torch.Tensor)
            else value == state[name]
        )
        assert same, name


class TestPrompt:
    LABELS = load_images("digits8x8", classes=(3, 7)).labels

    @pytest.mark.parametrize("prior", get_args(PriorName))
    def test_every_prior_learns_the_label_and_is_asked_for_it(self, images, prior):
        options = {"prior": prior, "reach": 1, "latent_dim": 3}
        gan = toy(prompt=True, digits=(3, 7), epochs=1, **options)
        record = list(train(gan, images, self.LABELS))[-1]
        assert torch.equal(record.bits[:, 0], (self.LABELS == 7).to(torch.uint8))
        assert record.bits.shape == (len(images), 4)
        drawn, samples = gan.generate(20, 7)
        assert drawn.shape == (20, 1, 28, 28)
        assert (gan.prior.code.of(samples.long()) == 7).all()
        assert set(gan.prior.code.of(gan.generate(50)[1].long()).tolist()) == {3, 7}

    def test_the_discriminator_learns_to_tell_the_label(self, images):
        gan = toy(
            prompt=True,
            digits=(3, 7),
            epochs=1,
            steps_per_epoch=60,
            prior="product",
            augment="none",
            refine=0,
        )
        list(train(gan, images, self.LABELS))
        told = gan.discriminator.latent(images)[:, 0] > 0
        assert (told == (self.LABELS == 7)).double().mean() > 0.95

    def test_labels_are_needed(self, images):
        gan = toy(prompt=True, digits=(3, 7))
        with pytest.raises(ValueError, match="`labels` of the images are needed"):
            next(train(gan, images))

    def test_one_label_takes_no_bits_and_needs_no_labels(self, images):
        gan = toy(prompt=True, digits=(7,), epochs=1)
        record = list(train(gan, images[self.LABELS == 7]))[-1]
        assert record.bits.shape[1] == gan.prior.dim == 3
        assert (gan.labels_of(gan.generate(5, 7)[1]) == 7).all()

    def test_a_negative_weight_is_refused(self):
        with pytest.raises(ValueError, match="`label_weight` must be at least 0"):
            toy(prompt=True, digits=(3, 7), label_weight=-1.0)
