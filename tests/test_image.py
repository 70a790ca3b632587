"""The image QGAN: what its noises draw, what learns, and how it continues."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from qiskit.primitives import StatevectorSampler

from qcaan import load_images
from qcaan.circuits.layers import QuantumLayer
from qcaan.gans.image.config import PRESETS, ImageConfig
from qcaan.gans.image.gan import ImageGAN, train
from qcaan.gans.image.networks import make_discriminator
from qcaan.runs.image import report_title
from qcaan.training import EpochRecord, StepRecord, TrainingCollapsed

CPU = torch.device("cpu")
SHAPE = (1, 28, 28)
SHOTS = {"noise": "shots", "shots": 20}


@pytest.fixture(scope="module")
def images():
    return load_images("digits8x8", classes=(3, 7)).images


def toy(**options):
    small = {
        "epochs": 2,
        "steps_per_epoch": 3,
        "batch_size": 8,
        "width": 4,
        "n_qubits": 3,
        "n_layers": 1,
    }
    return ImageGAN(ImageConfig(**{**small, **options}), SHAPE, CPU)


def n_different(pictures):
    return len(pictures.unique(dim=0))


def test_the_preset_published_is_the_published_recipe(images):
    config = PRESETS["published"]
    gan = ImageGAN(config, SHAPE, CPU)
    circuit = gan.generator.circuit
    assert circuit.ansatz.layers == ("rx", "ry", "rz", "cx") * config.n_layers + ("ry",)
    assert (circuit.ansatz.n_qubits, circuit.n_out) == (4, 4)
    shapes = [
        tuple(weight.shape) for weight in gan.generator.decoder.parameters() if weight.ndim == 2
    ]
    assert shapes == [(128, 4), (784, 128)]
    kernels = [tuple(weight.shape) for weight in gan.discriminator.parameters() if weight.ndim > 1]
    assert kernels == [(16, 1, 5, 5), (32, 16, 5, 5), (1, 32 * 7 * 7)]
    assert (config.lr, config.epochs, config.loss, config.beta_1) == (1e-3, 50, "bce", 0.9)
    drawn, _ = gan.generate(300)
    assert drawn.shape == (300, *SHAPE) and -1 <= drawn.min() < drawn.max() <= 1
    assert n_different(drawn) == 1  # as published: it ignores its noise


@pytest.mark.parametrize("decoder", ["dense", "convolutional"])
@pytest.mark.parametrize(
    "noise", [{"noise": "angles"}, {"noise": "amplitudes"}, {"noise": "shots", "shots": 1000}]
)
def test_with_noise_it_draws_many_pictures(images, noise, decoder):
    gan = toy(**noise, decoder=decoder, n_qubits=4)
    assert gan.generator.noise_dim == (16 if noise["noise"] == "amplitudes" else 4)
    list(train(gan, images))
    drawn, latents = gan.generate(200)
    assert latents.shape == (200, gan.generator.noise_dim)
    assert n_different(drawn) > 190
    same = gan.draw(latents)
    assert (n_different(torch.stack([drawn[0], same[0]])) == 1) == (noise["noise"] != "shots")


def test_expectations_from_few_shots_are_multiples_of_two_over_their_number():
    gan = toy(**SHOTS)
    features = gan.generator.features(gan.generator.make_noise(50))
    torch.testing.assert_close((features * 10).round() / 10, features)
    assert n_different(features) > 10


def test_yields_every_step_and_ends_each_epoch_with_the_means_of_its_steps(images):
    gan = toy()
    records = list(train(gan, images))
    assert [type(record) for record in records] == ([StepRecord] * 3 + [EpochRecord]) * 2
    assert records[3].loss_d == pytest.approx(sum(step.loss_d for step in records[:3]) / 3)
    assert (gan.epoch, gan.step) == (2, 6)


@pytest.mark.parametrize("circuit", ["trained", "frozen", "none"])
def test_training_moves_the_weights_and_a_frozen_circuit_stays(images, circuit):
    gan = toy(circuit=circuit, discriminator="qcnn")
    before = {name: value.clone() for name, value in gan.named_parameters()}
    list(train(gan, images))
    kept = {name for name, value in gan.named_parameters() if torch.equal(value, before[name])}
    stays = (
        {"generator.circuit.theta", "average.module.circuit.theta"}
        if circuit == "frozen"
        else set()
    )
    assert kept == stays
    assert ("generator.circuit.theta" in before) == (circuit != "none")


@pytest.mark.parametrize("noise", [{"noise": "angles"}, {"noise": "shots", "shots": 100}], ids=str)
def test_it_learns_what_the_digits_look_like(images, noise):
    gan = toy(
        **noise,
        epochs=1,
        steps_per_epoch=200,
        lr=2e-3,
        batch_size=32,
        width=16,
        n_qubits=4,
        ema_decay=0.9,
    )
    real = images.mean(0)

    def off():
        return (gan.generate(300)[0].mean(0) - real).abs().mean()

    assert off() > 0.5  # untrained: grey, on mostly black digits
    list(train(gan, images))
    drawn, _ = gan.generate(300)
    assert off() < 0.2
    assert drawn.std(0).mean() > 0.3 * images.std(0).mean()


@pytest.mark.parametrize("decoder", ["dense", "convolutional"])
def test_without_noise_the_circuit_learns_all_the_same(images, decoder):
    gan = toy(noise="none", decoder=decoder)
    before = gan.generator.circuit.theta.clone()
    list(train(gan, images))
    assert (gan.generator.circuit.theta - before).abs().min() > 0
    assert n_different(gan.generate(50)[0]) == 1


@pytest.mark.parametrize("kind", ["cnn", "dcgan", "quantum", "qcnn"])
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32)])
def test_every_discriminator_learns_to_tell_digits_from_stripes(images, kind, shape):
    torch.manual_seed(0)
    real = torch.nn.functional.interpolate(images[:100], shape[1:]).expand(-1, *shape)
    stripes = (torch.linspace(0, 20, shape[2]) + torch.rand(100, 1, 1, 1)).sin().expand(-1, *shape)
    network = make_discriminator(kind, shape, width=4, n_qubits=4, n_layers=1)
    optimizer = torch.optim.Adam(network.parameters(), 5e-3)
    for _ in range(80):
        loss = torch.nn.functional.softplus(torch.cat([-network(real), network(stripes)])).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert network(real).shape == (100,)
    assert loss < 0.35  # ln 2 = 0.69 by guessing


def test_a_quantum_convolution_shares_its_angles_among_the_qubits():
    network = make_discriminator("qcnn", SHAPE, width=4, n_qubits=8, n_layers=1)
    (circuit,) = (module for module in network.modules() if isinstance(module, QuantumLayer))
    sizes = [size for size in circuit.ansatz.layer_sizes if size]
    assert circuit.parametrizations.theta.original.shape == (1, len(sizes))
    for part in circuit.theta[0].split(sizes):
        assert n_different(part) == 1
    assert circuit.n_out == 1


RESUMED = {
    "angles": {},
    "amplitudes, dense, cnn": {"noise": "amplitudes", "decoder": "dense", "discriminator": "cnn"},
    "shots, averaged": {**SHOTS, "gradient_draws": 2, "theta_noise": 0.1},
    "wgan-gp, quantum": {"loss": "wgan-gp", "n_critic": 2, "discriminator": "quantum"},
    "wgan-gp, qcnn, uploads": {"loss": "wgan-gp", "discriminator": "qcnn", "uploads": 2},
    "Aer at the end": {"sampler": "aer", "shots": 20, "switch_after_epochs": 1},
}


@pytest.mark.parametrize("options", RESUMED.values(), ids=RESUMED)
def test_resumed_equals_uninterrupted(images, tmp_path, options):
    whole = toy(**options)
    list(train(whole, images))
    first = toy(**options)
    next(record for record in train(first, images) if isinstance(record, EpochRecord))
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


def test_the_sampler_takes_over_after_the_epochs_asked_for_and_draws_are_averaged(images):
    class Counting(StatevectorSampler):
        sets = 0

        def run(self, pubs, *, shots=None):
            Counting.sets += sum(len(values) for _, values, _ in pubs)
            return super().run(pubs, shots=shots)

    options = {
        "epochs": 3,
        "batch_size": 2,
        "shots": 5,
        "sampler": "counting",
        "gradient_draws": 3,
        "n_layers": 1,
    }
    for switch, epochs in ((2, 1), (1, 2), (None, 3)):
        config = ImageConfig(
            **options, steps_per_epoch=2, n_qubits=2, width=4, switch_after_epochs=switch
        )
        gan = ImageGAN(config, SHAPE, make_sampler=lambda name, rng: Counting(seed=rng))
        list(train(gan, images))
        n_angles = gan.generator.circuit.theta.numel()
        assert Counting.sets == epochs * 2 * 3 * 2 * (1 + 2 * n_angles)
        Counting.sets = 0


def test_perturbed_angles_are_for_training_only():
    gan = toy(theta_noise=0.3)
    noise = gan.generator.make_noise(5)
    gan.train()
    assert not torch.equal(gan.generator.features(noise), gan.generator.features(noise))
    assert torch.equal(gan.average.module.features(noise), gan.average.module.features(noise))
    gan.generator.features(noise).sum().backward()
    assert gan.generator.circuit.theta.grad.abs().max() > 0


def test_a_picture_does_not_depend_on_those_drawn_beside_it(images):
    gan = toy()
    list(train(gan, images))
    noise = gan.generator.make_noise(40)
    torch.testing.assert_close(gan.draw(noise)[:3], gan.draw(noise[:3]))


def test_shots_as_noise_are_told_and_given_with_the_images():
    gan = toy(**SHOTS)
    _, measured = gan.generate(6)
    assert gan.drawn_from == "expectations" and toy().drawn_from == "noise"
    assert len(measured.unique(dim=0)) > 1
    torch.testing.assert_close(measured * 10, (measured * 10).round())  # of 20 shots each
    assert "sampler exact, 20 shots" in report_title(gan.config, "mnist")
    switched = ImageConfig(sampler="aer", shots=1000, switch_after_epochs=7)
    assert "sampler aer after 7 epochs, 1,000 shots" in report_title(switched, "mnist")


def test_losses_that_are_not_finite_stop_it(images):
    gan = toy()
    with torch.no_grad():
        next(gan.discriminator.parameters()).fill_(float("nan"))
    with pytest.raises(TrainingCollapsed, match="not finite at step 1"):
        list(train(gan, images))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"noise": "pink"}, "unknown `noise` 'pink'; choose from none, angles, amplitudes, shots"),
        (
            {"discriminator": "oracle"},
            "unknown `discriminator` 'oracle'; choose from cnn, dcgan, quantum, qcnn",
        ),
        ({"noise": "shots"}, "`noise` shots needs `shots` of at least 1, got 0"),
        ({"noise": "none", "shots": 9}, "`noise` none is exact and draws no shots, got `shots` 9"),
        (
            {"circuit": "none", "theta_noise": 0.1},
            "`circuit` none has no `theta_noise`, got 0.1",
        ),
        (
            {"circuit": "frozen", "theta_noise": 0.1},
            "`circuit` frozen keeps its angles, and `theta_noise` would move them, got 0.1",
        ),
        (
            {"discriminator": "quantum", "discriminator_qubits": 26},
            "parameter sets of 26 qubits need",
        ),
        ({"noise": "none", "circuit": "none"}, "`circuit` none gives the noise to the decoder"),
        (
            {"circuit": "none", "shots": 9},
            "`circuit` none has no `shots`, got 9",
        ),
        ({"n_qubits": 26}, "more than half of the"),
        ({"theta_noise": float("nan")}, "`theta_noise` must be finite, got nan"),
        ({"gradient_draws": 2}, "`gradient_draws` averages over draws of shots"),
        ({"shots": -1}, "`shots` must be at least 0, got -1"),
        ({"beta_1": 1.0}, "`beta_1` must be at least 0 and below 1, got 1.0"),
        ({"theta_noise": -0.1}, "`theta_noise` must be at least 0, got -0.1"),
        ({"lr": 1.0}, "`lr` must be above 0 and below 1, got 1.0"),
        ({"max_jobs": 0}, "`max_jobs` must be at least 1, got 0"),
        ({"ansatz": "warp"}, "unknown `ansatz` 'warp'"),
        ({"sampler": "warp", "shots": 9, "switch_after_epochs": 1}, "unknown `sampler` 'warp'"),
        (
            {"shots": 9, "gradient": "backprop"},
            "`gradient` backprop needs `sampler` exact without shots",
        ),
        ({"discriminator": "qcnn", "discriminator_qubits": 6}, "2, 4, 8, 16, ... qubits, got 6"),
        ({"noise": "amplitudes", "uploads": 2}, "`uploads` must be 1 for amplitudes, got 2"),
    ],
)
def test_bad_options_are_refused_by_name_before_any_training(options, message):
    with pytest.raises(ValueError) as error:
        toy(**options)
    assert message in str(error.value)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_it_trains_on_cuda(images):
    gan = ImageGAN(
        ImageConfig(epochs=1, steps_per_epoch=2, batch_size=8, width=4), SHAPE, torch.device("cuda")
    )
    list(train(gan, images.cuda()))
    assert np.isfinite(gan.generate(5)[0].numpy()).all()
