"""Scores of generated images, in the features of a small classifier trained on the same data set.

A Fréchet distance on ImageNet features means nothing on 28x28 digits, so IS, FID and KID are computed by torchmetrics on
the 64 penultimate features of our own classifier. They compare runs on one data set; never quote them beside scores in
other features.
"""

from __future__ import annotations

import hashlib
import logging
import math
import os
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics import Metric
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.inception import InceptionScore
from torchmetrics.image.kid import KernelInceptionDistance

from qcaan.data.images import ImageSet

NUM_FEATURES = 64
FID_RELIABLE_FROM = (
    1000  # images; below, a 64x64 covariance is mostly noise and FID is biased upwards
)
_CLASSIFIER_STEPS = (
    1400  # 3 passes over MNIST: 99 % right on its test images, half a minute on two cores
)
_CLASSIFIER_BATCH = 128

log = logging.getLogger(__name__)


class DigitClassifier(nn.Module):
    """Small CNN: images [B, C, H, W] in [-1, 1] to logits [B, n_classes]; `features` gives the layer before."""

    def __init__(self, n_channels: int, n_classes: int) -> None:
        super().__init__()
        self.extractor = nn.Sequential(
            nn.Conv2d(n_channels, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.AdaptiveAvgPool2d(3),
            nn.Flatten(), nn.Linear(64 * 9, NUM_FEATURES), nn.ReLU(),
        )  # fmt: skip
        self.head = nn.Linear(NUM_FEATURES, n_classes)

    def features(self, images: Tensor) -> Tensor:
        """Images [B, C, H, W] in [-1, 1] to features [B, 64] >= 0."""
        return self.extractor(images)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.features(images))


class Reader:
    """A trained classifier with the labels of its outputs: what reads a generated image as a digit."""

    def __init__(self, classifier: DigitClassifier, labels: Sequence[int], accuracy: float) -> None:
        self.classifier = classifier.eval()
        self.labels = torch.tensor(labels)
        self.accuracy = accuracy  # share of held-out images of all classes read right

    @torch.no_grad()
    def features(self, images: Tensor, batch_size: int = 500) -> Tensor:
        """Images [N, C, H, W] in [-1, 1], any device, to features [N, 64] on the CPU."""
        device = next(self.classifier.parameters()).device
        return torch.cat(
            [self.classifier.features(part.to(device)).cpu() for part in images.split(batch_size)]
        )

    @torch.no_grad()
    def logits(self, features: Tensor) -> Tensor:
        """Features [N, 64] to logits [N, n_classes] on the CPU."""
        device = next(self.classifier.parameters()).device
        return self.classifier.head(features.to(device)).cpu()

    def read(self, images: Tensor) -> Tensor:
        """Images [N, C, H, W] in [-1, 1] to the labels [N] int64 that the classifier reads, among all of the data set's."""
        return self.labels[self.logits(self.features(images)).argmax(1)]


def cache_dir() -> Path:
    """The user's cache folder for trained classifiers."""
    return (
        Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "qcaan" / "classifiers"
    )


def load_reader(train: ImageSet, test: ImageSet, device: str | torch.device = "cpu") -> Reader:
    """The classifier of a data set: read from the cache, or trained once (under a minute on two cores) and cached.

    `train` and `test` hold **all** classes of the data set, so that an image of none of the asked digits can be seen
    to be one. The cache key is a hash of the training pixels and labels. Training is seeded and leaves torch's global
    random state as it was.
    """
    path = cache_dir() / f"{_fingerprint(train)}.pt"
    labels = sorted(train.class_names)
    classifier = DigitClassifier(train.images.shape[1], len(labels))
    try:
        state = torch.load(path, weights_only=True)
        classifier.load_state_dict(state["model"])
        return Reader(classifier.to(device), labels, state["accuracy"])
    except FileNotFoundError:
        log.info("training the classifier that scores %s images (once, then cached)", train.name)
    except Exception as error:  # any damage to a cache file is mended the same way: make it again
        log.warning(
            "cached classifier %s is unreadable (%s): training it again", path, type(error).__name__
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        classifier = DigitClassifier(train.images.shape[1], len(labels)).to(device)
        _train_classifier(
            classifier,
            train.images.to(device),
            torch.searchsorted(torch.tensor(labels), train.labels).to(device),
        )
    reader = Reader(classifier, labels, accuracy=math.nan)
    reader.accuracy = (reader.read(test.images) == test.labels).float().mean().item()
    try:
        _save_atomically({"model": classifier.state_dict(), "accuracy": reader.accuracy}, path)
    except OSError as error:  # a read-only home costs a minute at each evaluation, not the scores
        log.warning("cannot cache the classifier in %s (%s)", path.parent, error.strerror)
    return reader


def _fingerprint(data: ImageSet) -> str:
    pixels = ((data.images + 1) * 127.5).round().to(torch.uint8).contiguous()
    digest = hashlib.sha256(pixels.numpy().tobytes())
    digest.update(data.labels.numpy().tobytes())
    digest.update(f"{tuple(pixels.shape)} {_CLASSIFIER_STEPS} v1".encode())
    return digest.hexdigest()[:16]


def _save_atomically(state: dict[str, Any], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        torch.save(state, file)
    os.replace(file.name, path)


def _train_classifier(classifier: DigitClassifier, images: Tensor, targets: Tensor) -> None:
    optimizer = torch.optim.Adam(classifier.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=4e-3, total_steps=_CLASSIFIER_STEPS
    )
    classifier.train()
    for _ in range(_CLASSIFIER_STEPS):
        chosen = torch.randint(len(images), (_CLASSIFIER_BATCH,)).to(images.device)
        loss = F.cross_entropy(classifier(_jitter(images[chosen])), targets[chosen])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
    classifier.eval()


def _jitter(images: Tensor) -> Tensor:
    """The batch [B, C, H, W] shifted by up to two pixels, so that a small data set does not teach positions."""
    height, width = images.shape[2:]
    padded = F.pad(images, (2, 2, 2, 2), mode="replicate")
    top, left = torch.randint(5, (2,)).tolist()
    return padded[:, :, top : top + height, left : left + width]


# Scores: pure functions of features [N, 64] or logits [N, n_classes]


class _Features(nn.Module):
    """What torchmetrics calls as feature extractor; ours has run already."""

    num_features = NUM_FEATURES

    def forward(self, features: Tensor) -> Tensor:
        return features


def _quiet(metric: type[Metric], **arguments: Any) -> Any:
    with (
        warnings.catch_warnings()
    ):  # torchmetrics warns that it keeps all features, which is what is wanted here
        warnings.filterwarnings(
            "ignore", message="Metric `.*` will save all extracted features", category=UserWarning
        )
        return metric(**arguments)


def fid(real: Tensor, fake: Tensor) -> float:
    """Fréchet distance of two feature sets [N, 64], [M, 64] (Heusel et al., arXiv:1706.08500)."""
    metric = FrechetInceptionDistance(feature=_Features(), normalize=True)
    metric.update(real, real=True)
    metric.update(fake, real=False)
    return float(metric.compute())


def kid(real: Tensor, fake: Tensor) -> float:
    """Kernel distance of two feature sets [N, 64], [M, 64]: unbiased cubic MMD^2 (Binkowski et al., arXiv:1801.01401)."""
    subset = min(1000, len(real), len(fake))
    metric = _quiet(
        KernelInceptionDistance, feature=_Features(), normalize=True, subsets=20, subset_size=subset
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        metric.update(real, real=True)
        metric.update(fake, real=False)
        return float(metric.compute()[0])


def inception_score(logits: Tensor) -> float:
    """exp of the mutual information of image and read label, in [1, n_classes] (Salimans et al., arXiv:1606.03498)."""
    metric = _quiet(InceptionScore, feature=_Features(), splits=10)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        metric.update(logits)
        return float(metric.compute()[0])


def precision_recall(real: Tensor, fake: Tensor, k: int = 3) -> tuple[float, float]:
    """Improved precision and recall by k-nearest-neighbour balls (Kynkäänniemi et al., arXiv:1904.06991).

    Precision: share of fake features [M, d] inside the ball of some real one [N, d] (radius: distance to its k-th
    neighbour); recall: the same with the roles exchanged. Both sets should have about the same size.
    """

    def share_covered(centres: Tensor, points: Tensor) -> float:
        # the (k+1)-th smallest: the nearest "neighbour" of a centre is itself
        radii = (
            torch.cdist(centres, centres).kthvalue(min(k + 1, len(centres)), dim=1).values
        )  # [N]
        return (torch.cdist(points, centres) <= radii).any(1).float().mean().item()

    return share_covered(real, fake), share_covered(fake, real)


def class_balance(labels: Tensor, classes: Sequence[int]) -> float:
    """Entropy of the asked classes' shares among `labels` [N], over its greatest value: 1 = all alike, 0 = only one."""
    counts = torch.tensor([(labels == c).sum() for c in classes], dtype=torch.float64)
    if len(classes) == 1 or counts.sum() == 0:
        return float(counts.sum() > 0)
    return float(torch.special.entr(counts / counts.sum()).sum() / math.log(len(classes)))


def shuffled(images: Tensor) -> Tensor:
    """Real images in an order that is always the same: of a reference sorted by class, the first n would be of one class."""
    return images[torch.randperm(len(images), generator=torch.Generator().manual_seed(0))]


def score_images(
    images: Tensor, reference: Tensor, reader: Reader, classes: Sequence[int]
) -> dict[str, Any]:
    """All scores of `images` [M, C, H, W] against the real `reference` [N, C, H, W], both in [-1, 1].

    FID and KID use all of both; precision and recall the first min(M, N) of each. `unread` is the share that the
    classifier reads as none of `classes`; `distinct` the number of different pictures at 8 bits a pixel.
    """
    real, fake = reader.features(reference), reader.features(images)
    logits = reader.logits(fake)
    labels = reader.labels[logits.argmax(1)]
    same = min(len(real), len(fake))
    precision, recall = precision_recall(real[:same], fake[:same])
    counts = {str(c): int((labels == c).sum()) for c in classes}
    pixels = ((images + 1) * 127.5).round().to(torch.uint8).flatten(1)
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
        "distinct": len({row.numpy().tobytes() for row in pixels.cpu()}),
    }


def score_run(
    images: Tensor,
    train_set: ImageSet,
    test_set: ImageSet,
    classes: Sequence[int],
    device: str | torch.device,
) -> dict[str, Any]:
    """What scores.json says of generated `images` [n, C, H, W], and of held-out real ones, both against the training images.

    The sets hold all classes of the data set; see `load_reader` and `score_images`.
    """
    reader = load_reader(train_set, test_set, device)
    real, held_out = train_set.only(classes).images, test_set.only(classes).images
    reference = shuffled(real)
    return {
        "data": train_set.provenance,
        "features": f"{NUM_FEATURES} features of a {train_set.name} classifier, {reader.accuracy:.1%} right",
        "fid_reliable": min(len(images), len(held_out)) >= FID_RELIABLE_FROM,
        "generated": score_images(images, reference, reader, classes),
        "held_out_real": score_images(held_out, reference, reader, classes),
    }


def choose_sequence(images: Tensor, reader: Reader, digits: Sequence[int]) -> list[int]:
    """Indices of `images` [N, C, H, W] that the classifier reads as `digits`, in their order, each used once.

    Of several images that read as a digit, the surest readings come first.

    Raises:
        ValueError: the images hold too few of a digit.
    """
    confidence, place = reader.logits(reader.features(images)).softmax(1).max(1)  # (N,), (N,)
    labels = reader.labels[place]
    order = confidence.argsort(descending=True)
    found = {digit: iter(order[labels[order] == digit].tolist()) for digit in digits}
    chosen = [next(found[digit], None) for digit in digits]
    missing = [digit for digit, index in zip(digits, chosen, strict=True) if index is None]
    if missing:
        raise ValueError(
            f"sequence {' '.join(map(str, digits))}: {len(images)} draws hold {int((labels == missing[0]).sum())} "
            f"that read as {missing[0]}, {list(digits).count(missing[0])} needed; nothing was written"
        )
    return [index for index in chosen if index is not None]


def scores_table(scores: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Rows (score, generated, held-out real) of a scores dictionary, for a console table."""
    sides = ("generated", "held_out_real")
    names = ["kid", "fid"] if not scores["fid_reliable"] else ["fid", "kid"]
    names += [
        "inception_score",
        "precision",
        "recall",
        "unread",
        "balance",
        "distinct",
        "n_images",
        "n_reference",
    ]
    rows = []
    for name in names:
        label = (
            f"{name} (unreliable: too few images)"
            if name == "fid" and not scores["fid_reliable"]
            else name
        )
        generated, real = (_short(scores[side][name]) for side in sides)
        rows.append((label, generated, real))
    generated, real = (
        " ".join(f"{k}: {v}" for k, v in scores[side]["counts"].items()) for side in sides
    )
    rows.append(("read as", generated, real))
    rows += [
        (f"prior {name}", _short(value), "") for name, value in scores.get("prior", {}).items()
    ]
    return rows


def _short(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.3f}"
