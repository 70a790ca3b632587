"""Scores of generated images, in the features of a small classifier trained on the same data set.

A Fréchet distance on ImageNet features means nothing on 28x28 digits. Therefore torchmetrics
computes FID and KID on the 64 features of our own classifier. The scores compare runs on one data
set; never quote them beside scores in other features. FID, precision and recall also depend on the
numbers of images; KID does not, and the Inception Score hardly does.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from qcaan.data.images import ImageSet, to_pixels
from qcaan.data.opening import DataError
from qcaan.metrics.classifier import N_FEATURES, Classifier, load_classifier
from qcaan.randomness import RandomState, isolated

# number of images below which FID is biased upwards, since a 64x64 covariance is mostly noise
FID_RELIABLE_FROM = 1000


class _Features(nn.Module):
    """Feature extractor for torchmetrics that returns its input, which is features already."""

    num_features = N_FEATURES

    def forward(self, features: Tensor) -> Tensor:
        return features


def fid(real: Tensor, fake: Tensor) -> float:
    """Return the Fréchet distance of features [N, 64] and [M, 64].

    See Heusel et al., "GANs Trained by a Two Time-Scale Update Rule", arXiv:1706.08500.
    """
    # here, since torchmetrics takes seconds to import
    from torchmetrics.image.fid import FrechetInceptionDistance

    with isolated(RandomState(0)):
        metric = FrechetInceptionDistance(feature=_Features(), normalize=True)
        metric.update(real, real=True)
        metric.update(fake, real=False)
        return float(metric.compute())


def kid(real: Tensor, fake: Tensor) -> float:
    """Return the kernel distance of features [N, 64] and [M, 64], an unbiased cubic MMD^2.

    See Binkowski et al., "Demystifying MMD GANs", arXiv:1801.01401.
    """
    from torchmetrics.image.kid import KernelInceptionDistance

    subset = min(1000, len(real), len(fake))
    with isolated(RandomState(0)):
        with warnings.catch_warnings():
            warnings.filterwarnings(
                "ignore", "Metric `.*` will save all extracted features", UserWarning
            )
            metric = KernelInceptionDistance(
                feature=_Features(), normalize=True, subsets=20, subset_size=subset
            )
        metric.update(real, real=True)
        metric.update(fake, real=False)
        return float(metric.compute()[0])


def inception_score(logits: Tensor) -> float:
    """Return the Inception Score, in [1, n_classes], of logits [N, n_classes].

    The score is exp of the mutual information of image and label. See Salimans et al., "Improved
    Techniques for Training GANs", arXiv:1606.03498. Theirs is the mean over ten splits, which
    depends on N. All images are one split here, and the score is too low by a share of about
    (n_classes - 1) / 2N: by half a percent of 10 classes for 1,000 images (Chong and Forsyth,
    "Effectively Unbiased FID and Inception Score and where to find them", arXiv:1911.07023).
    """
    probs = logits.double().softmax(1)  # (N, n_classes)
    entropy_of_mean, mean_entropy = (
        torch.special.entr(p).sum(-1).mean() for p in (probs.mean(0), probs)
    )
    return math.exp(entropy_of_mean - mean_entropy)


def precision_recall(real: Tensor, fake: Tensor, *, k: int = 3) -> tuple[float, float]:
    """Return the improved precision and recall of features, both in [0, 1].

    The ball of a point reaches to its k-th nearest neighbour in its own set. Precision is the share
    of fake features [M, d] inside the ball of a real feature [N, d]; recall is the share of real
    features inside the ball of a fake one. Both sets should have about the same size. See
    Kynkäänniemi et al., "Improved Precision and Recall Metric for Assessing Generative Models",
    arXiv:1904.06991.
    """

    def share_covered(centres: Tensor, points: Tensor) -> float:
        # the (k+1)-th smallest distance, since the nearest "neighbour" of a centre is itself
        nth = min(k + 1, len(centres))
        radii = torch.cdist(centres, centres).kthvalue(nth, dim=1).values  # [N]
        return (torch.cdist(points, centres) <= radii).any(1).float().mean().item()

    return share_covered(real, fake), share_covered(fake, real)


def class_balance(labels: Tensor, classes: Sequence[int]) -> float:
    """Return how evenly `labels` [N] are spread over `classes`, in [0, 1].

    It is the entropy of the shares of the classes, over its greatest value. It is 0 if only one
    class occurs, or none.
    """
    counts = torch.tensor([(labels == c).sum() for c in classes], dtype=torch.float64)
    if len(classes) == 1 or counts.sum() == 0:
        return float(counts.sum() > 0)
    return float(torch.special.entr(counts / counts.sum()).sum() / math.log(len(classes)))


def shuffled(images: Tensor) -> Tensor:
    """Return real images [N, C, H, W] in another order, always the same one.

    The first n images of a reference sorted by class would be of one class only.
    """
    return images[torch.randperm(len(images), generator=torch.Generator().manual_seed(0))]


def score_images(
    images: Tensor,
    reference: Tensor,
    classifier: Classifier,
    *,
    classes: Sequence[int],
    asked: Tensor | None = None,
) -> dict[str, Any]:
    """Return all scores of images against real reference images.

    FID and KID use all images of both sets; precision and recall use the first min(M, N) of each.
    `unread` is the share of images that the classifier gives a label that is not in `classes`.
    `distinct` is the number of different images at 8 bits a pixel. `agreement` is the share of
    images that the classifier gives the label that they were drawn with, if they have one.

    Args:
        images: [M, C, H, W] in [-1, 1], M at least 2.
        reference: real images [N, C, H, W] in [-1, 1], in mixed order.
        classifier: classifier of the data set.
        classes: labels of the reference images.
        asked: labels [M] that the images were drawn with; default none.
    """
    real, fake = classifier.features(reference), classifier.features(images)
    logits = classifier.logits(fake)
    labels = classifier.labels[logits.argmax(1)]
    same = min(len(real), len(fake))
    precision, recall = precision_recall(real[:same], fake[:same])
    counts = {str(c): int((labels == c).sum()) for c in classes}
    rows = to_pixels(images).flatten(1).cpu().numpy()
    agreement = {}
    if asked is not None:
        agreement = {"agreement": float((labels == asked.to(labels)).double().mean())}
    return {
        "n_images": len(images),
        "n_reference": len(reference),
        "kid": kid(real, fake),
        "fid": fid(real, fake),
        "inception_score": inception_score(logits),
        "precision": precision,
        "recall": recall,
        "unread": 1 - sum(counts.values()) / len(images),
        "balance": class_balance(labels, classes),
        "counts": counts,
        "distinct": len({row.tobytes() for row in rows}),
        **agreement,
    }


def check_scorable(train_set: ImageSet, test_set: ImageSet, classes: Sequence[int]) -> None:
    """Check, before anything is trained or drawn, that images of `classes` can be scored.

    Args:
        train_set, test_set: training and held-out images of all classes of the data set.
        classes: labels that the run learns.

    Raises:
        DataError: the held-out images have another shape, a class has none, or there are fewer than
            two training or held-out images.
    """
    shapes = [list(part.images.shape[1:]) for part in (train_set, test_set)]
    if shapes[0] != shapes[1]:
        raise DataError(
            f"{train_set.name} has training images {shapes[0]} and test images {shapes[1]}; scores "
            "need images of the same channels and size"
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
) -> dict[str, Any]:
    """Return the scores of generated images and of held-out images, for scores.json.

    Both are scored against the training images of `classes`; see `score_images`.

    Args:
        images: generated images [n, C, H, W] in [-1, 1].
        train_set, test_set: training and held-out images of all classes of the data set.
        classes: labels that the run learned.
        device: device of the classifier.
        asked: labels [n] that the generated images were drawn with; default none.
    """
    classifier = load_classifier(train_set, test_set, device=device)
    reference = shuffled(train_set.only(classes).images)
    held_out = test_set.only(classes).images
    return {
        "data": train_set.provenance,
        "features": (
            f"{N_FEATURES} features of a {train_set.name} classifier, "
            f"{classifier.accuracy:.1%} right"
        ),
        "fid_reliable": min(len(images), len(held_out)) >= FID_RELIABLE_FROM,
        "generated": score_images(images, reference, classifier, classes=classes, asked=asked),
        "held_out_real": score_images(held_out, reference, classifier, classes=classes),
    }


def choose_sequence(images: Tensor, classifier: Classifier, digits: Sequence[int]) -> list[int]:
    """Return the indices of images that the classifier labels as `digits`, in that order.

    Each image is used once. Images of which the classifier is most certain come first.

    Args:
        images: [N, C, H, W] in [-1, 1].
        classifier: classifier of the data set.
        digits: labels, with repetitions.

    Raises:
        ValueError: too few images have the label of a digit.
    """
    certainty, place = classifier.logits(classifier.features(images)).softmax(1).max(1)  # [N], [N]
    labels = classifier.labels[place]
    order = certainty.argsort(descending=True)
    found = {digit: iter(order[labels[order] == digit].tolist()) for digit in digits}
    chosen = [next(found[digit], None) for digit in digits]
    missing = [digit for digit, index in zip(digits, chosen, strict=True) if index is None]
    if missing:
        n_found = int((labels == missing[0]).sum())
        raise ValueError(
            f"`sequence` {' '.join(map(str, digits))} needs {list(digits).count(missing[0])} "
            f"images classified as {missing[0]}, but {n_found} of {len(images)} draws are; "
            "nothing was written"
        )
    return [index for index in chosen if index is not None]


def scores_table(scores: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Return the rows (score, generated, held-out real) of scores.json for a table."""
    generated, real = scores["generated"], scores["held_out_real"]
    reliable = scores["fid_reliable"]
    names = [
        *(("fid", "kid") if reliable else ("kid", "fid")),
        "inception_score",
        "precision",
        "recall",
        "unread",
        "balance",
        "distinct",
        "n_images",
        "n_reference",
    ]
    notes = {} if reliable else {"fid": " (unreliable: too few images)"}
    if generated["n_images"] != real["n_images"]:
        notes["n_images"] = " (fid, precision and recall of other numbers are not comparable)"
    rows = [
        (name + notes.get(name, ""), _short(generated[name]), _short(real[name])) for name in names
    ]
    if "agreement" in generated:
        rows.append(("agreement with the circuit's label", _short(generated["agreement"]), ""))
    rows.append(("classified as", _counts(generated), _counts(real)))
    prior = scores.get("prior", {})
    return rows + [(f"prior {name}", _short(value), "") for name, value in prior.items()]


def _counts(side: dict[str, Any]) -> str:
    return " ".join(f"{label}: {count}" for label, count in side["counts"].items())


def _short(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.3f}"
