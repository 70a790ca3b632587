"""The classifier: trained once, cached, and good enough to score by."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from qcaan.data.images import load_images
from qcaan.files import cache_folder
from qcaan.metrics import classifier as module
from qcaan.metrics.classifier import Classifier, ClassifierNetwork, load_classifier
from qcaan.metrics.images import ImageScorer


def test_features_and_labels_do_not_depend_on_the_batch():
    torch.manual_seed(0)
    network = ClassifierNetwork(3, 4)
    classifier = Classifier(network, (2, 3, 5, 7), accuracy=1.0)
    images = torch.rand(501, 3, 32, 32) * 2 - 1
    features = classifier.features(images)
    assert features.shape == (501, module.N_FEATURES)
    torch.testing.assert_close(features[500:], classifier.features(images[500:]))
    labels = classifier.classify(images)
    assert labels.dtype == torch.int64
    assert set(labels.tolist()) <= {2, 3, 5, 7}
    assert torch.equal(labels, classifier.labels[network(images).argmax(1)])


def test_classifier_is_accurate_cached_and_made_again_if_its_cache_is_damaged(
    tmp_path, monkeypatch, caplog
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(module, "_STEPS", 80)
    train, test = load_images("digits8x8"), load_images("digits8x8", split="test")
    classifier = load_classifier(train, test)
    assert classifier.accuracy > 0.93
    right = (classifier.classify(test.images) == test.labels).float().mean().item()
    assert right == pytest.approx(classifier.accuracy)
    (path,) = cache_folder("classifiers").glob("*.pt")
    written = path.stat().st_mtime_ns
    assert load_classifier(train, test).accuracy == classifier.accuracy
    assert path.stat().st_mtime_ns == written
    path.write_bytes(path.read_bytes()[:1000])
    assert load_classifier(train, test).accuracy == pytest.approx(classifier.accuracy)
    assert "unreadable" in caplog.text
    real = train.only((3, 7)).images
    scorer = ImageScorer(real, test.only((3, 7)).images, classifier, classes=(3, 7))
    scores = scorer.score_held_out()
    assert scores["unread"] < 0.1
    assert scores["balance"] > 0.99
    assert scores["distinct"] == scores["n_images"]
    assert scores["confidence"] > 0.9
    assert scores["copies"] == 0 and scores["nearer_than_held_out"] == 0.5
    swapped, _ = scorer.score(test.only((1, 2)).images)
    assert swapped["unread"] > 0.8
    assert swapped["fid"] > 5 * scores["fid"]
    assert swapped["pixel_frechet"] > 2 * scores["pixel_frechet"]
    copies, near = scorer.score(real[:20])
    assert copies["copies"] == 1 and copies["nearest_train"] == 0
    assert copies["nearer_than_held_out"] == 1
    pairs = scorer.closest(real[:20], near)
    assert pairs.shape == (2, 8, *real.shape[1:]) and torch.equal(pairs[0], pairs[1])
    noise, near = scorer.score(2 * torch.rand_like(real[:5]) - 1)
    assert noise["copies"] == 0 and noise["nearer_than_held_out"] == 0
    assert scorer.closest(real[:5], near).shape[1] == 5


def test_a_cached_accuracy_is_that_of_the_same_held_out_images(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(module, "_STEPS", 2)
    train = load_images("digits8x8", (3, 7))
    test = load_images("digits8x8", (3, 7), split="test")
    swapped = dataclasses.replace(test, labels=10 - test.labels)
    accuracy = load_classifier(train, test).accuracy
    assert load_classifier(train, swapped).accuracy == pytest.approx(1 - accuracy)
    assert load_classifier(train, test).accuracy == accuracy


def test_loading_the_classifier_leaves_torchs_random_state_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(module, "_STEPS", 2)
    few = load_images("digits8x8", (3, 7), split="test")
    before = torch.get_rng_state()
    for _ in range(2):  # trained, and read from its cache
        load_classifier(few, few)
        assert torch.equal(torch.get_rng_state(), before)


def test_a_cache_that_cannot_be_written_costs_only_a_warning(tmp_path, monkeypatch, caplog):
    (tmp_path / "qcaan").touch()  # a file where the folder must be
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(module, "_STEPS", 2)
    few = load_images("digits8x8", (3, 7), split="test")
    assert 0 <= load_classifier(few, few).accuracy <= 1
    assert "cannot cache the classifier" in caplog.text
