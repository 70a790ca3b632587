from __future__ import annotations

import math

import pytest
import torch

from qcaan import metrics
from qcaan.data.images import load_images


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
    assert metrics.inception_score(100 * torch.eye(4).repeat(250, 1)) == pytest.approx(4, rel=0.05)
    assert metrics.inception_score(torch.zeros(100, 4)) == pytest.approx(1)


def test_precision_and_recall_by_hand():
    real = torch.tensor([[0.0], [1.0], [2.0], [3.0]])
    assert metrics.precision_recall(real, real) == (1, 1)
    # fakes cluster at 0 with balls of radius 0.2 (k=2): two of four near a real image, only the first real is covered
    fake = torch.tensor([[0.0], [0.1], [0.2], [50.0]])
    precision, recall = metrics.precision_recall(real, fake, k=2)
    assert precision == 0.75
    assert recall == pytest.approx(
        1
    )  # the outlier's ball reaches over all real images: recall is not robust to that
    assert metrics.precision_recall(real, fake[:3], k=2)[1] == 0.25


@pytest.mark.parametrize(
    ("labels", "expected"),
    [([3, 7, 9], 1.0), ([3, 3, 3], 0.0), ([3, 3, 7, 1], None), ([1, 1], 0.0)],
)
def test_balance_is_the_normalised_entropy_of_the_asked_classes(labels, expected):
    if expected is None:
        expected = -(2 / 3 * math.log(2 / 3) + 1 / 3 * math.log(1 / 3)) / math.log(3)
    assert metrics.class_balance(torch.tensor(labels), (3, 7, 9)) == pytest.approx(expected)


def test_classifier_reads_held_out_digits_is_cached_and_a_damaged_cache_is_made_again(
    tmp_path, monkeypatch, caplog
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(metrics, "_CLASSIFIER_STEPS", 150)
    train, test = load_images("digits8x8"), load_images("digits8x8", split="test")
    reader = metrics.load_reader(train, test)
    assert reader.accuracy > 0.93
    assert (reader.read(test.images) == test.labels).float().mean().item() == pytest.approx(
        reader.accuracy
    )
    (path,) = metrics.cache_dir().iterdir()
    written = path.stat().st_mtime_ns
    assert metrics.load_reader(train, test).accuracy == reader.accuracy
    assert path.stat().st_mtime_ns == written
    path.write_bytes(path.read_bytes()[:1000])
    assert metrics.load_reader(train, test).accuracy == pytest.approx(reader.accuracy)
    assert "unreadable" in caplog.text
    scores = metrics.score_images(
        test.only((3, 7)).images, train.only((3, 7)).images, reader, (3, 7)
    )
    assert scores["unread"] < 0.1
    assert scores["balance"] > 0.99
    assert scores["distinct"] == scores["n_images"]
    swapped = metrics.score_images(
        test.only((1, 2)).images, train.only((3, 7)).images, reader, (3, 7)
    )
    assert swapped["unread"] > 0.8
    assert swapped["fid"] > 5 * scores["fid"]
