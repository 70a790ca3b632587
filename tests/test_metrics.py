"""Scores by hand-computed values, and the table and sequences made of them."""

from __future__ import annotations

import math

import pytest
import torch

from qcaan.data.images import ImageSet
from qcaan.data.readers import DataError
from qcaan.metrics import images as metrics
from qcaan.metrics.classifier import Classifier, ClassifierNetwork


def test_fid_of_equal_covariances_is_the_squared_distance_of_the_means():
    real = torch.randn(500, 64, generator=torch.Generator().manual_seed(0))
    assert metrics.fid(real, real + 0.5) == pytest.approx(64 * 0.25, rel=1e-3)


def test_kid_is_zero_on_average_for_the_same_distribution_and_positive_for_another():
    generator = torch.Generator().manual_seed(0)
    one, other = torch.randn(2, 600, 64, generator=generator)
    assert abs(metrics.kid(one, other)) < 0.02
    assert metrics.kid(one, other + 1) > 1


def test_scores_draw_nothing_from_the_global_random_state():
    features = torch.randn(50, 64)
    before = torch.get_rng_state()
    metrics.kid(features, features)
    metrics.inception_score(torch.randn(50, 10, generator=torch.Generator().manual_seed(0)))
    assert torch.equal(torch.get_rng_state(), before)


def test_inception_score_is_the_number_of_classes_for_sure_and_balanced_logits():
    assert metrics.inception_score(100 * torch.eye(4).repeat(250, 1)) == pytest.approx(4)
    assert metrics.inception_score(torch.zeros(100, 4)) == pytest.approx(1)


def test_inception_scores_of_other_numbers_of_images_are_comparable():
    generator = torch.Generator().manual_seed(0)
    classes = torch.randint(10, (20_000,), generator=generator)
    logits = 5 * torch.nn.functional.one_hot(classes, 10)
    logits = logits + torch.randn(20_000, 10, generator=generator)
    scores = [metrics.inception_score(logits[:n]) for n in (1000, 5000, 20_000)]
    assert scores == pytest.approx([scores[-1]] * 3, rel=0.01)


def test_precision_and_recall_by_hand():
    real = torch.tensor([[0.0], [1.0], [2.0], [3.0]])
    assert metrics.precision_recall(real, real) == (1, 1)
    # the fakes at 0 have balls of radius 0.2 (k=2), and cover the first real image only
    fake = torch.tensor([[0.0], [0.1], [0.2], [50.0]])
    precision, recall = metrics.precision_recall(real, fake, k=2)
    assert precision == 0.75
    # the outlier's ball reaches over all real images: recall is not robust to that
    assert recall == pytest.approx(1)
    assert metrics.precision_recall(real, fake[:3], k=2)[1] == 0.25


@pytest.mark.parametrize(
    ("labels", "expected"),
    [([3, 7, 9], 1.0), ([3, 3, 3], 0.0), ([3, 3, 7, 1], None), ([1, 1], 0.0)],
)
def test_balance_is_the_normalised_entropy_of_the_asked_classes(labels, expected):
    if expected is None:
        expected = -(2 / 3 * math.log(2 / 3) + 1 / 3 * math.log(1 / 3)) / math.log(3)
    assert metrics.class_balance(torch.tensor(labels), (3, 7, 9)) == pytest.approx(expected)


def fake_classifier(monkeypatch, labels_of_images):
    """Return a classifier that gives images these labels, more certain of later ones."""
    classifier = Classifier(ClassifierNetwork(1, 10), range(10), 1.0)
    certainty = torch.arange(1, 1 + len(labels_of_images))[:, None]
    logits = torch.nn.functional.one_hot(torch.tensor(labels_of_images), 10) * certainty
    monkeypatch.setattr(classifier, "features", lambda images: images)
    monkeypatch.setattr(classifier, "logits", lambda features: logits.float())
    return classifier


def test_a_sequence_takes_the_most_certain_images_each_once(monkeypatch):
    classifier = fake_classifier(monkeypatch, [3, 7, 3, 9, 3])
    assert metrics.choose_sequence(torch.zeros(5, 1, 28, 28), classifier, [3, 7, 3]) == [4, 1, 2]


def test_a_digit_that_is_missing_is_named(monkeypatch):
    classifier = fake_classifier(monkeypatch, [3, 7, 3])
    message = "`sequence` 7 3 7 needs 2 images classified as 7, but 1 of 3 draws are"
    with pytest.raises(ValueError, match=message):
        metrics.choose_sequence(torch.zeros(3, 1, 28, 28), classifier, [7, 3, 7])


@pytest.mark.parametrize(("reliable", "first"), [(True, "fid"), (False, "kid")])
def test_an_unreliable_fid_stands_second_and_says_so(reliable, first):
    names = ("fid", "kid", "inception_score", "precision", "recall", "unread", "balance")
    side = dict.fromkeys(names, 0.25)
    side |= {"distinct": 9, "n_images": 10, "n_reference": 20, "counts": {"3": 4, "7": 6}}
    scores = {"fid_reliable": reliable, "generated": side, "held_out_real": side}
    rows = metrics.scores_table({**scores, "prior": {"kl": 0.5}})
    assert rows[0] == (first, "0.250", "0.250")
    assert (rows[1][0] == "fid (unreliable: too few images)") is not reliable
    assert rows[-2:] == [("classified as", "3: 4 7: 6", "3: 4 7: 6"), ("prior kl", "0.500", "")]
    assert ("distinct", "9", "9") in rows


def test_the_shuffled_reference_is_always_the_same_and_mixed():
    images = torch.arange(100.0).reshape(100, 1, 1, 1)
    shuffled = metrics.shuffled(images)
    assert torch.equal(shuffled, metrics.shuffled(images))
    assert not torch.equal(shuffled, images)
    assert torch.equal(shuffled.flatten().sort().values, images.flatten())


def image_set(n: int, *, channels: int = 1, labels: tuple[int, ...] = (0, 1)) -> ImageSet:
    chosen = torch.tensor([labels[index % len(labels)] for index in range(n)])
    names = {label: str(label) for label in labels}
    return ImageSet(torch.zeros(n, channels, 28, 28), chosen, "toys", "toys", names, "")


@pytest.mark.parametrize(
    ("test", "classes", "message"),
    [
        (image_set(8, channels=3), (0, 1), r"training images \[1, 28, 28\] and test images \[3,"),
        (image_set(8, labels=(0,)), (0, 1), "has no test images of the class 1"),
        (image_set(1, labels=(0,)), (0,), "fewer than two images"),
    ],
)
def test_what_cannot_be_scored_is_refused(test, classes, message):
    metrics.check_scorable(image_set(8), image_set(8), (0, 1))
    with pytest.raises(DataError, match=message):
        metrics.check_scorable(image_set(8), test, classes)
