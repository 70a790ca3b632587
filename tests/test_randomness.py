"""Random states of systems, and torch's process-wide settings, which nothing here may touch."""

from __future__ import annotations

import ast
import random
import subprocess
import sys
import threading
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from qcaan import aqua, load_images, load_run
from qcaan.gans.associative.config import AssociativeConfig
from qcaan.gans.associative.gan import AssociativeGAN
from qcaan.gans.associative.gan import train as train_associative
from qcaan.gans.distribution.config import DistributionConfig, configured_samples, make_qgan
from qcaan.gans.distribution.qgan import train as train_distribution
from qcaan.gans.image.config import ImageConfig
from qcaan.gans.image.gan import ImageGAN
from qcaan.gans.image.gan import train as train_image
from qcaan.gans.wasserstein import gan as wasserstein
from qcaan.gans.wasserstein.config import WassersteinConfig
from qcaan.metrics import classifier as classifier_module
from qcaan.metrics.classifier import load_classifier
from qcaan.metrics.images import ImageScorer
from qcaan.priors.base import BitPrior
from qcaan.priors.report import FitReport
from qcaan.randomness import RandomState, isolated
from qcaan.runs.directory import RunDirectory

SOME = load_images("digits8x8", classes=(3, 7))
IMAGES, LABELS = SOME.images[:50], SOME.labels[:50]
SMALL = {"epochs": 1, "steps_per_epoch": 2, "batch_size": 4, "n_qubits": 2, "device": "cpu"}
CIRCUIT = {"bases": ("z",), "sampler": "exact", "optimizer": "adam", "fit_evals": 3}
FEW_BITS = {"width": 2, "digits": (3, 7), **CIRCUIT}


def associative(seed, **options):
    config = AssociativeConfig(**SMALL, **FEW_BITS, seed=seed, **options).resolved(50)
    gan = AssociativeGAN(config, (1, 28, 28))
    for record in train_associative(gan, IMAGES, LABELS):
        yield record.loss_d, record.loss_g
    yield gan.generate(3)[0]


def image(seed, **options):
    gan = ImageGAN(ImageConfig(**SMALL, width=2, seed=seed, **options), (1, 28, 28))
    for record in train_image(gan, IMAGES):
        yield record.loss_d, record.loss_g
    yield gan.generate(3)[0]


def real_numbers(seed, **options):
    samples = np.random.default_rng(0).normal(0, 0.2, (50, 1))
    gan = wasserstein.WassersteinGAN(WassersteinConfig(**SMALL, seed=seed, **options), samples)
    for record in wasserstein.train(gan, samples):
        yield record.loss_d, record.loss_g
    yield gan.generate(3)


def distribution(seed, **options):
    config = DistributionConfig(n_samples=100, batch_size=50, epochs=2, seed=seed, **options)
    qgan = make_qgan(config, configured_samples(config).values)
    for record in train_distribution(qgan):
        yield record.loss_d, record.loss_g
    yield qgan.generate(3)


def aquas(seed):
    qgan = aqua.QGAN(np.arange(40) % 4, [0, 3], [2], 20, 2, seed)
    for record in train_distribution(qgan.model):
        yield record.loss_d, record.loss_g
    yield qgan.model.generate(3)


SYSTEMS = {
    "associative": associative,
    "associative, bernoulli bits": lambda seed: associative(
        seed, binarize="bernoulli", prior="product", noise_dims=1
    ),
    "associative, gaussian": lambda seed: associative(seed, prior="gaussian"),
    "image": image,
    "image, wgan-gp": lambda seed: image(seed, loss="wgan-gp", theta_noise=0.1),
    "image, amplitudes": lambda seed: image(seed, noise="amplitudes", discriminator="quantum"),
    "image, exact shots": lambda seed: image(seed, noise="shots", shots=5),
    "wasserstein": real_numbers,
    "distribution": lambda seed: distribution(seed, loss="wgan-gp"),
    "distribution, aer": lambda seed: distribution(seed, sampler="aer", shots=50),
    "aqua": aquas,
}


def global_states():
    return torch.get_rng_state().tolist(), repr(np.random.get_state()), random.getstate()  # noqa: NPY002


def numbers(values):
    return [np.asarray(value).tolist() for value in values]


@cache
def alone(name, seed):
    return numbers(SYSTEMS[name](seed))


@pytest.fixture
def default_float64():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("name", SYSTEMS)
def test_systems_leave_global_random_states_alone_and_do_not_use_them(name):
    expected = alone(name, 1)
    torch.rand(7), np.random.rand(7), random.random()  # noqa: NPY002
    before = global_states()
    assert numbers(SYSTEMS[name](1)) == expected
    assert global_states() == before


@pytest.mark.parametrize("name", SYSTEMS)
def test_two_systems_in_turns_give_the_numbers_that_they_give_alone(name):
    turns = zip(SYSTEMS[name](1), SYSTEMS[name](2), strict=True)
    one, other = zip(*turns, strict=True)
    assert numbers(one) == alone(name, 1) != alone(name, 2) == numbers(other)


def test_systems_in_threads_give_the_numbers_that_they_give_alone():
    jobs = [(name, seed) for name in SYSTEMS if name != "distribution, aer" for seed in (1, 2)]
    found, stop = {}, threading.Event()

    def run(name, seed):
        found[name, seed] = numbers(SYSTEMS[name](seed))

    def draw():
        while not stop.wait(1e-3):
            torch.rand(1)

    user = threading.Thread(target=draw)
    threads = [threading.Thread(target=run, args=job) for job in jobs]
    for thread in (user, *threads):
        thread.start()
    for thread in threads:
        thread.join()
    stop.set()
    user.join()
    assert found == {job: alone(*job) for job in jobs}


@pytest.mark.parametrize("name", SYSTEMS)
def test_systems_compute_in_float32_whatever_the_default_dtype_is(name, default_float64):
    assert numbers(SYSTEMS[name](1)) == alone(name, 1)


def test_a_users_prior_that_draws_from_the_global_state_draws_from_its_gans():
    class Coins(BitPrior):
        def _fit(self, bits):
            return FitReport()

        def sample(self, n):
            return torch.randint(2, (n, self.dim)).float()

        _draw = sample

    def drawn():
        config = AssociativeConfig(**SMALL, **FEW_BITS, seed=1, dither=0.0, prompt=False).resolved(
            50
        )
        gan = AssociativeGAN(config, (1, 28, 28))
        gan.prior = Coins(2, 0.0, 0)
        return gan.generate(40)[1]

    before = global_states()
    assert torch.equal(drawn(), drawn())
    assert global_states() == before


def test_float64_images_and_inputs_are_accepted():
    config = AssociativeConfig(**SMALL, **FEW_BITS).resolved(50)
    gan = AssociativeGAN(config, (1, 28, 28))
    assert len(list(train_associative(gan, IMAGES.double(), LABELS))) == 3
    assert gan.draw(gan.fixed_latents.double()).dtype == torch.float32


def test_scores_do_not_depend_on_the_default_dtype_nor_on_random_states(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(classifier_module, "_STEPS", 3)
    few = load_images("digits8x8", (3, 7), split="test")

    def scores():
        classifier = load_classifier(few, few)
        scorer = ImageScorer(few.images, few.images, classifier, classes=(3, 7))
        return scorer.score(few.images)[0]

    before = global_states()
    trained = scores()  # trains the classifier
    torch.set_default_dtype(torch.float64)
    try:
        assert scores() == trained  # reads it from its cache
    finally:
        torch.set_default_dtype(torch.float32)
    assert global_states() == before


def test_loading_a_run_and_drawing_from_it_leave_global_random_states_alone(tmp_path):
    gan = ImageGAN(ImageConfig(**SMALL, width=2), (1, 28, 28))
    run = RunDirectory(tmp_path / "run")
    run.begin("image", gan.config, {"name": "digits8x8", "image_shape": [1, 28, 28]})
    run.save_checkpoint(gan.training_state())
    before = global_states()
    load_run(run.path, device="cpu").generate(3)
    assert global_states() == before


def test_a_random_state_draws_as_torchs_own_of_the_same_seed():
    state = RandomState(5)
    torch.manual_seed(5)
    assert torch.equal(state.uniform(3, device="cpu"), torch.rand(3))
    assert torch.equal(state.normal(2, 2, device="cpu"), torch.randn(2, 2))
    assert torch.equal(state.whole(9, 4, device="cpu"), torch.randint(9, (4,)))
    saved = state.state_dict()
    expected = state.normal(3, device="cpu")
    other = RandomState(1)
    other.load_state_dict(saved)
    assert torch.equal(other.normal(3, device="cpu"), expected)
    state.reseed(5)
    torch.manual_seed(5)
    assert torch.equal(state.uniform(3, device="cpu"), torch.rand(3))
    assert RandomState()._seed != RandomState()._seed


def test_isolated_networks_are_those_of_torchs_seed_and_defaults():
    def network():
        return nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2), nn.Conv2d(1, 2, 3))

    torch.manual_seed(4)
    expected = network().state_dict()
    before = global_states()
    torch.set_default_dtype(torch.float64)
    try:
        with torch.device("meta"), isolated(RandomState(4)):
            made = network().state_dict()
    finally:
        torch.set_default_dtype(torch.float32)
    assert global_states() == before
    for name, value in expected.items():
        assert (made[name].dtype, made[name].device) == (value.dtype, value.device)
        assert torch.equal(made[name], value)


# prints what differs in a process after all modules of the package are imported
_IMPORT_ALL = """
import importlib, logging, os, pkgutil, random, signal, sys, threading, warnings
for name in sys.argv[1:]:
    importlib.import_module(name)
import matplotlib, numpy, stamina, torch
from PIL import Image, ImageFile

def settings():
    return {
        "warning filters": list(warnings.filters),
        "environment": dict(os.environ),
        "signal handlers": [signal.getsignal(each) for each in signal.valid_signals()],
        "logging": (logging.root.level, list(logging.root.handlers), logging.root.manager.disable),
        "hooks": (sys.excepthook, sys.displayhook, threading.excepthook, warnings.showwarning),
        "retry hooks": stamina.instrumentation.get_on_retry_hooks(),
        "matplotlib": [(key, matplotlib.rcParams._get(key)) for key in matplotlib.rcParams],
        "pictures": (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES),
        "threads": (torch.get_num_threads(), torch.get_num_interop_threads()),
        "torch": (torch.get_default_dtype(), torch.is_grad_enabled(), torch.get_rng_state().sum()),
        "numpy": (repr(numpy.random.get_state()), numpy.geterr(), numpy.get_printoptions()),
        "random": random.getstate(),
    }

before = settings()
import qcaan
for module in pkgutil.walk_packages(qcaan.__path__, "qcaan."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
after = settings()
print([key for key in before if before[key] != after[key]])
"""


def test_imports_change_no_setting_of_the_process():
    # other packages make settings of their own when they are imported, so they are imported first
    package = Path(__file__).parent.parent / "qcaan"
    others = {"matplotlib", "stamina", "PIL.Image"}
    for path in package.rglob("*.py"):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ImportFrom):
                others.add(node.module)
            elif isinstance(node, ast.Import):
                others |= {alias.name for alias in node.names}
    outside = sorted(
        name for name in others if name.partition(".")[0] not in ("qcaan", "__future__")
    )
    result = subprocess.run(
        [sys.executable, "-c", _IMPORT_ALL, *outside], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"
