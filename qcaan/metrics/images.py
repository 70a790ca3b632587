"""Scores of generated images beside held-out images, both against the training images.

FID and KID are of the 64 features of a small classifier trained on the same data set, since
ImageNet features mean little on 28x28 digits. They compare runs on one data set; never quote them
beside scores in other features. The Fréchet distances of pixels and of Inception features are
comparable with those of other programs. Fréchet distances depend on the numbers of images; KID does
not, and the Inception Score hardly does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from qcaan.data.images import ImageSet, to_pixels
from qcaan.data.opening import DataError
from qcaan.metrics.classifier import N_FEATURES, Classifier, load_classifier
from qcaan.metrics.copies import Nearest, copied, nearer, nearest
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
from qcaan.metrics.inception import inception_features

# number of images below which FID is biased upwards, since a 64x64 covariance is mostly noise
FID_RELIABLE_FROM = 1000
# Maximum number of images of scores of neighbours, which take time and memory in proportion to
# pairs of images. So these scores are comparable between larger numbers.
NEIGHBOUR_IMAGES = 3000
# number of pairs of images in the picture of the nearest training images
_N_PAIRS = 8


def flat_pixels(images: Tensor) -> Tensor:
    """Return the pixels float32 [N, C * H * W] in [0, 1], at 8 bits, of images in [-1, 1]."""
    return to_pixels(images).flatten(1).cpu().float() / 255


def shuffled(images: Tensor) -> Tensor:
    """Return real images [N, C, H, W] in another order, always the same one.

    The first n images of a reference sorted by class would be of one class only.
    """
    return images[torch.randperm(len(images), generator=torch.Generator().manual_seed(0))]


class ImageScorer:
    """Scores of images against real ones, whose features are computed once.

    Args:
        train: real images [N, C, H, W] in [-1, 1] of the wanted classes, N at least 2.
        held_out: held-out images [K, C, H, W] of the same classes, K at least 2.
        classifier: classifier of the data set.
        classes: labels of these images.
        inception: network of `fid_inception`; see `qcaan.metrics.inception.load_inception`.
            Default: none, and no such score.
    """

    def __init__(
        self,
        train: Tensor,
        held_out: Tensor,
        classifier: Classifier,
        *,
        classes: Sequence[int],
        inception: nn.Module | None = None,
    ) -> None:
        self.train, self.held_out = shuffled(train), shuffled(held_out)
        self.classifier, self.classes = classifier, classes
        self._features = classifier.features(self.train)
        self._real = gaussian(self._features)
        self._extractors: dict[str, Callable[[Tensor], Tensor]] = {"pixel_frechet": flat_pixels}
        if inception is not None:
            self._extractors["fid_inception"] = partial(inception_features, inception)
        self._real_in = {
            name: gaussian(extract(self.train)) for name, extract in self._extractors.items()
        }
        self._pixels = flat_pixels(self.train)
        self._near = self._nearest(self.held_out)

    def score(
        self, images: Tensor, *, asked: Tensor | None = None
    ) -> tuple[dict[str, Any], Nearest]:
        """Return all scores of images, and the nearest training images of the first ones.

        `fid` and `fid_interval` are in the features of the classifier; see `frechet` and
        `frechet_interval` in `qcaan.metrics.features`. `pixel_frechet` is the Fréchet distance of
        the pixels in [0, 1], and `fid_inception` the one of Inception features. These and KID use
        all images of both sets.

        Precision and recall use the first images of each set, as many of each and 3,000 at most. So
        do `nearest_train`, the median distance to the nearest training image by the pixels in
        [0, 1]; `copies`, see `qcaan.metrics.copies.copied`; and `nearer_than_held_out`, see
        `qcaan.metrics.copies.nearer`.

        `confidence` is the mean probability of the likeliest class. `unread` is the share of images
        that the classifier gives a label that is not in `classes`. `distinct` is the number of
        different images at 8 bits a pixel. `agreement` is the share of images that the classifier
        gives the label that they were drawn with, if they have one.

        Args:
            images: [M, C, H, W] in [-1, 1], M at least 2.
            asked: labels [M] that the images were drawn with; default none.
        """
        near = self._nearest(images)
        return self._score(images, near, asked), near

    def score_held_out(self) -> dict[str, Any]:
        """Return all scores of the held-out images; see `score`."""
        return self._score(self.held_out, self._near)

    def closest(self, images: Tensor, near: Nearest) -> Tensor:
        """Return the images nearest to training images, and these, [2, k, C, H, W] with k <= 8.

        Args:
            images: images that `score` was given.
            near: the nearest training images that it returned.
        """
        first = near.distances[:, 0].argsort()[:_N_PAIRS]
        return torch.stack([images[first].to(self.train), self.train[near.places[first]]])

    def _nearest(self, images: Tensor) -> Nearest:
        return nearest(flat_pixels(images[:NEIGHBOUR_IMAGES]), self._pixels)

    def _score(self, images: Tensor, near: Nearest, asked: Tensor | None = None) -> dict[str, Any]:
        real, fake = self._features, self.classifier.features(images)
        logits = self.classifier.logits(fake)
        labels = self.classifier.labels[logits.argmax(1)]
        same = min(len(real), len(fake), NEIGHBOUR_IMAGES)
        precision, recall = precision_recall(real[:same], fake[:same])
        counts = {str(c): int((labels == c).sum()) for c in self.classes}
        rows = to_pixels(images).flatten(1).cpu().numpy()
        agreement = {}
        if asked is not None:
            agreement = {"agreement": float((labels == asked.to(labels)).double().mean())}
        return {
            "n_images": len(images),
            "n_reference": len(real),
            "kid": kid(real, fake),
            "fid": frechet(self._real, gaussian(fake)),
            "fid_interval": frechet_interval(self._real, fake),
            **{
                name: frechet(self._real_in[name], gaussian(extract(images)))
                for name, extract in self._extractors.items()
            },
            "inception_score": inception_score(logits),
            "confidence": confidence(logits),
            "precision": precision,
            "recall": recall,
            "unread": 1 - sum(counts.values()) / len(images),
            "balance": class_balance(labels, self.classes),
            "counts": counts,
            "distinct": len({row.tobytes() for row in rows}),
            "nearest_train": float(near.distances[:, 0].median()),
            "copies": copied(near.distances),
            "nearer_than_held_out": nearer(near.distances[:, 0], self._near.distances[:, 0]),
            **agreement,
        }


def check_scorable(train_set: ImageSet, test_set: ImageSet, classes: Sequence[int]) -> None:
    """Check, before anything is trained or drawn, that images of `classes` can be scored.

    Args:
        train_set, test_set: training and held-out images of all classes of the data set.
        classes: labels that the run learns.

    Raises:
        DataError: the held-out images have another shape, a class has none, there are fewer than
            two training or held-out images, or the data set has one class.
    """
    shapes = [list(part.images.shape[1:]) for part in (train_set, test_set)]
    if shapes[0] != shapes[1]:
        raise DataError(
            f"{train_set.name} has training images {shapes[0]} and test images {shapes[1]}; scores "
            "need images of the same channels and size"
        )
    if len(train_set.class_names) < 2:  # a classifier of one class learns nothing
        raise DataError(
            f"{train_set.name} has one class, and scores are in the features of a classifier of "
            "several; train with --eval-images 0"
        )
    if missing := [label for label in classes if label not in test_set.class_names]:
        raise DataError(
            f"{test_set.name} has no test images of the class {missing[0]}, which scores need"
        )
    for part in (train_set, test_set):
        if len(part.only(classes).images) < 2:
            raise DataError(
                f"{part.name} has fewer than two images of these classes in its training or its "
                "test part, which scores need"
            )


def score_generated(
    images: Tensor,
    train_set: ImageSet,
    test_set: ImageSet,
    *,
    classes: Sequence[int],
    device: str | torch.device,
    asked: Tensor | None = None,
    inception: nn.Module | None = None,
) -> tuple[dict[str, Any], Tensor]:
    """Score generated images and held-out images against the training images of `classes`.

    Returns the scores for scores.json, see `ImageScorer.score`, and the generated images that are
    nearest to training images beside these, see `ImageScorer.closest`.

    Args:
        images: generated images [n, C, H, W] in [-1, 1].
        train_set, test_set: training and held-out images of all classes of the data set.
        classes: labels that the run learned.
        device: device of the classifier.
        asked: labels [n] that the generated images were drawn with; default none.
        inception: network of `fid_inception`; default none.
    """
    classifier = load_classifier(train_set, test_set, device=device)
    train, held_out = (part.only(classes).images for part in (train_set, test_set))
    scorer = ImageScorer(train, held_out, classifier, classes=classes, inception=inception)
    generated, near = scorer.score(images, asked=asked)
    scores = {
        "data": train_set.provenance,
        "features": (
            f"{N_FEATURES} features of a {train_set.name} classifier, "
            f"{classifier.accuracy:.1%} right"
        ),
        "classifier_accuracy": classifier.accuracy,
        "fid_reliable": min(len(images), len(scorer.held_out)) >= FID_RELIABLE_FROM,
        "generated": generated,
        "held_out_real": scorer.score_held_out(),
    }
    return scores, scorer.closest(images, near)


def scores_table(scores: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Return the rows (score, generated, held-out real) of scores.json for a table."""
    generated, real = scores["generated"], scores["held_out_real"]
    reliable = scores["fid_reliable"]
    names = [
        *(("fid", "fid_interval", "kid") if reliable else ("kid", "fid", "fid_interval")),
        "pixel_frechet",
        "fid_inception",
        "inception_score",
        "confidence",
        "precision",
        "recall",
        "unread",
        "balance",
        "nearest_train",
        "copies",
        "nearer_than_held_out",
        "distinct",
        "n_images",
        "n_reference",
    ]
    notes = {} if reliable else {"fid": " (unreliable: too few images)"}
    if generated["n_images"] != real["n_images"]:
        notes["n_images"] = " (fewer raise fid, pixel_frechet)"
    rows = [
        (name + notes.get(name, ""), _short(generated[name]), _short(real[name]))
        for name in names
        if name in generated
    ]
    if "agreement" in generated:
        rows.append(("agreement with the circuit's label", _short(generated["agreement"]), ""))
    rows.append(("classified as", _counts(generated), _counts(real)))
    prior = scores.get("prior", {})
    return rows + [(f"prior {name}", _short(value), "") for name, value in prior.items()]


def _counts(side: dict[str, Any]) -> str:
    return " ".join(f"{label}: {count}" for label, count in side["counts"].items())


def _short(value: float | list[float]) -> str:
    if isinstance(value, list):
        return " to ".join(f"{number:.4g}" for number in value)
    return str(value) if isinstance(value, int) else f"{value:.3f}"
