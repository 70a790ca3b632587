"""Scores of images by hand-computed values, and the table and sequences made of them."""

from __future__ import annotations

import math
import statistics

import pytest
import torch

from qcaan.data.images import ImageSet
from qcaan.data.readers import DataError
from qcaan.metrics import images as metrics
from qcaan.metrics.classifier import Classifier, ClassifierNetwork, choose_sequence
from qcaan.metrics.copies import copied, nearer, nearest
from qcaan.metrics.features import (
    class_balance,
    confidence,
    frechet,
    frechet_interval,
    gaussian,
    inception_score,
    kid,
    precision_recall,
)


def randn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def distance(one: torch.Tensor, other: torch.Tensor) -> float:
    return frechet(gaussian(one), gaussian(other))


def test_frechet_of_equal_covariances_is_the_squared_distance_of_the_means():
    real = randn(5000, 64)
    assert distance(real, real + 0.5) == pytest.approx(64 * 0.25, rel=1e-6)
    assert distance(real, real) == pytest.approx(0, abs=1e-10)


def test_frechet_of_scaled_axes_is_the_sum_of_squared_differences_of_deviations():
    real = randn(5000, 3).double()
    real = real - real.mean(0)
    # along its principal components, the covariance is diagonal
    real = real @ torch.linalg.eigh(torch.cov(real.T)).eigenvectors
    scales = torch.tensor([1.0, 2.0, 3.0])
    expected = ((scales - 1) ** 2 * real.var(0)).sum()
    assert distance(real, real * scales) == pytest.approx(float(expected), rel=1e-9)


def test_frechet_of_fewer_images_than_features_is_exact():
    # two points each, along different axes: singular covariances diag(2, 0, 0), diag(0, 8, 0)
    one = torch.tensor([[1.0, 0, 0], [-1.0, 0, 0]])
    other = torch.tensor([[0, 2.0, 3.0], [0, -2.0, 3.0]])
    assert distance(one, other) == pytest.approx(9 + 2 + 8)
    assert distance(one, 2 * one) == pytest.approx(2 + 8 - 2 * 4)


def test_frechet_is_that_of_torchmetrics():
    from torchmetrics.image.fid import FrechetInceptionDistance

    from qcaan.metrics.features import _Identity

    real, fake = randn(900, 20).double(), randn(700, 20, seed=1).double() @ randn(20, 20).double()
    metric = FrechetInceptionDistance(feature=_Identity(20), normalize=True)
    metric.update(real, real=True)
    metric.update(fake, real=False)
    assert distance(real, fake) == pytest.approx(float(metric.compute()), rel=1e-9)


def test_the_interval_of_fid_is_as_wide_as_draws_differ():
    real, n = gaussian(randn(4000, 8)), 500
    draws = [1.2 * randn(n, 8, seed=seed) for seed in range(1, 31)]
    found = [frechet(real, gaussian(draw)) for draw in draws]
    intervals = [frechet_interval(real, draw) for draw in draws[:10]]
    assert intervals[0] == frechet_interval(real, draws[0])
    widths = [(high - low) / 2 / 1.96 for low, high in intervals]
    assert statistics.mean(widths) == pytest.approx(statistics.stdev(found), rel=0.25)
    mean = statistics.mean(found)
    assert sum(low <= mean <= high for low, high in intervals) >= 8
    assert (intervals[0][0] + intervals[0][1]) / 2 == pytest.approx(found[0])


def test_copies_of_training_images_are_told_from_new_ones():
    train, held_out = randn(400, 30), randn(300, 30, seed=1)
    held = nearest(held_out, train).distances
    copies = nearest(train[:100] + 0.01 * randn(100, 30, seed=2), train)
    assert copies.places.tolist() == list(range(100))
    assert copied(copies.distances) == 1
    assert nearer(copies.distances[:, 0], held[:, 0]) == 1
    assert copied(held) == 0
    assert nearer(held[:, 0], held[:, 0]) == 0.5
    new = nearest(randn(300, 30, seed=3), train).distances
    assert nearer(new[:, 0], held[:, 0]) == pytest.approx(0.5, abs=0.05)
    noise = nearest(10 * randn(100, 30, seed=4), train).distances
    assert copied(noise) == 0 and nearer(noise[:, 0], held[:, 0]) == 0


def test_an_exact_copy_of_an_image_that_occurs_twice_is_a_copy():
    train = 100 + torch.cat([torch.eye(30), torch.eye(30)])  # sums of squares hide the distances
    found = nearest(train[:30], train)
    assert found.distances.eq(0).all()
    assert copied(found.distances) == 1


def test_nearest_images_by_hand_in_blocks(monkeypatch):
    train = torch.tensor([[0.0, 0], [3, 4], [6, 8]])
    images = torch.tensor([[0.0, 0], [6, 8], [0, 1]])
    whole = nearest(images, train)
    assert whole.distances.tolist() == [[0, 5], [0, 5], [1, pytest.approx(18**0.5)]]
    assert whole.places.tolist() == [0, 2, 0]
    monkeypatch.setattr("qcaan.metrics.copies._BLOCK", 1)
    assert all(map(torch.equal, nearest(images, train), whole))


def test_confidence_is_the_mean_probability_of_the_likeliest_class():
    logits = torch.tensor([[0.6, 0.3, 0.1], [0.2, 0.0, 0.8]]).log()
    assert confidence(logits) == pytest.approx(0.7)


def test_kid_is_zero_on_average_for_the_same_distribution_and_positive_for_another():
    generator = torch.Generator().manual_seed(0)
    one, other = torch.randn(2, 600, 64, generator=generator)
    assert abs(kid(one, other)) < 0.02
    assert kid(one, other + 1) > 1


def test_scores_draw_nothing_from_the_global_random_state():
    features = torch.randn(50, 64)
    before = torch.get_rng_state()
    kid(features, features)
    inception_score(torch.randn(50, 10, generator=torch.Generator().manual_seed(0)))
    assert torch.equal(torch.get_rng_state(), before)


def test_inception_score_is_the_number_of_classes_for_sure_and_balanced_logits():
    assert inception_score(100 * torch.eye(4).repeat(250, 1)) == pytest.approx(4)
    assert inception_score(torch.zeros(100, 4)) == pytest.approx(1)


def test_inception_scores_of_other_numbers_of_images_are_comparable():
    generator = torch.Generator().manual_seed(0)
    classes = torch.randint(10, (20_000,), generator=generator)
    logits = 5 * torch.nn.functional.one_hot(classes, 10)
    logits = logits + torch.randn(20_000, 10, generator=generator)
    scores = [inception_score(logits[:n]) for n in (1000, 5000, 20_000)]
    assert scores == pytest.approx([scores[-1]] * 3, rel=0.01)


def test_precision_and_recall_by_hand():
    real = torch.tensor([[0.0], [1.0], [2.0], [3.0]])
    assert precision_recall(real, real) == (1, 1)
    # the fakes at 0 have balls of radius 0.2 (k=2), and cover the first real image only
    fake = torch.tensor([[0.0], [0.1], [0.2], [50.0]])
    precision, recall = precision_recall(real, fake, k=2)
    assert precision == 0.75
    # the outlier's ball reaches over all real images: recall is not robust to that
    assert recall == pytest.approx(1)
    assert precision_recall(real, fake[:3], k=2)[1] == 0.25


@pytest.mark.parametrize(
    ("labels", "expected"),
    [([3, 7, 9], 1.0), ([3, 3, 3], 0.0), ([3, 3, 7, 1], None), ([1, 1], 0.0)],
)
def test_balance_is_the_normalised_entropy_of_the_asked_classes(labels, expected):
    if expected is None:
        expected = -(2 / 3 * math.log(2 / 3) + 1 / 3 * math.log(1 / 3)) / math.log(3)
    assert class_balance(torch.tensor(labels), (3, 7, 9)) == pytest.approx(expected)


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
    assert choose_sequence(torch.zeros(5, 1, 28, 28), classifier, [3, 7, 3]) == [4, 1, 2]


def test_a_digit_that_is_missing_is_named(monkeypatch):
    classifier = fake_classifier(monkeypatch, [3, 7, 3])
    message = "`sequence` 7 3 7 needs 2 images classified as 7, but 1 of 3 draws are"
    with pytest.raises(ValueError, match=message):
        choose_sequence(torch.zeros(3, 1, 28, 28), classifier, [7, 3, 7])


@pytest.mark.parametrize(("reliable", "first"), [(True, "fid"), (False, "kid")])
def test_an_unreliable_fid_stands_second_and_says_so(reliable, first):
    names = ("fid", "kid", "inception_score", "precision", "recall", "unread", "balance")
    side = dict.fromkeys((*names, "copies"), 0.25) | {"fid_interval": [0.125, 0.375]}
    side |= {"distinct": 9, "n_images": 10, "n_reference": 20, "counts": {"3": 4, "7": 6}}
    scores = {"fid_reliable": reliable, "generated": side, "held_out_real": side}
    rows = metrics.scores_table({**scores, "prior": {"kl": 0.5}})
    assert rows[0] == (first, "0.250", "0.250")
    assert (rows[1][0] == "fid (unreliable: too few images)") is not reliable
    assert ("fid_interval", "0.125 to 0.375", "0.125 to 0.375") in rows
    assert ("copies", "0.250", "0.250") in rows
    assert not any(row[0] == "fid_inception" for row in rows)
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


def test_a_data_set_of_one_class_has_no_classifier_to_score_by():
    one = image_set(8, labels=(3,))
    with pytest.raises(DataError, match=r"toys has one class, .* train with --eval-images 0"):
        metrics.check_scorable(one, one, (3,))
