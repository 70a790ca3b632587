"""The classifier behind the scores: a small CNN, trained once on a data set and cached."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from filelock import FileLock
from torch import Tensor, nn

from qcaan.data.images import ImageSet, to_pixels
from qcaan.files import atomic_write, cache_folder
from qcaan.randomness import RandomState, isolated

N_FEATURES = 64
# 3 passes over MNIST: 99 % of its test images are right, after half a minute on two cores
_STEPS = 1400
_BATCH = 128

log = logging.getLogger(__name__)


class ClassifierNetwork(nn.Module):
    """Small CNN: images [B, C, H, W] in [-1, 1] to logits [B, n_classes].

    Args:
        n_channels: number of channels C of the images.
        n_classes: number of classes.
    """

    def __init__(self, n_channels: int, n_classes: int) -> None:
        super().__init__()
        self.extractor = nn.Sequential(
            nn.Conv2d(n_channels, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.AdaptiveAvgPool2d(3),
            nn.Flatten(), nn.Linear(64 * 9, N_FEATURES), nn.ReLU(),
        )  # fmt: skip
        self.head = nn.Linear(N_FEATURES, n_classes)

    def features(self, images: Tensor) -> Tensor:
        """Return the features [B, 64] >= 0, the last layer but one, of images [B, C, H, W]."""
        return self.extractor(images)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.features(images))


class Classifier:
    """A trained classifier with the labels of its outputs.

    Args:
        network: the trained network.
        labels: label of each of its outputs.
        accuracy: share of held-out images of all classes that it classifies right.
    """

    def __init__(self, network: ClassifierNetwork, labels: Sequence[int], accuracy: float) -> None:
        self.network = network.eval()
        self.labels = torch.tensor(labels)
        self.accuracy = accuracy

    @torch.no_grad()
    def features(self, images: Tensor) -> Tensor:
        """Return the features [N, 64], on the CPU, of images [N, C, H, W] in [-1, 1]."""
        device = self.network.head.weight.device
        parts = [self.network.features(part.to(device)).cpu() for part in images.split(500)]
        return torch.cat(parts)

    @torch.no_grad()
    def logits(self, features: Tensor) -> Tensor:
        """Return the logits [N, n_classes], on the CPU, of features [N, 64]."""
        return self.network.head(features.to(self.network.head.weight.device)).cpu()

    def classify(self, images: Tensor) -> Tensor:
        """Return the likeliest labels [N] int64 of images [N, C, H, W] in [-1, 1]."""
        return self.labels[self.logits(self.features(images)).argmax(1)]


def load_classifier(
    train: ImageSet, test: ImageSet, *, device: str | torch.device = "cpu"
) -> Classifier:
    """Return the classifier of a data set from the cache, or train and cache it.

    Training takes under a minute on two cores, and has a fixed seed of its own. The cache key is a
    hash of the pixels and labels of both parts.

    Args:
        train: training images of **all** classes of the data set, so that the classifier can tell
            that an image belongs to none of the wanted classes.
        test: held-out images of all classes, for the accuracy.
        device: device of the network.
    """
    path = cache_folder("classifiers") / f"{_fingerprint(train, test)}.pt"
    with _one_at_a_time(path):
        return _load_or_train(path, train, test, device)


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


@contextlib.contextmanager
def _one_at_a_time(path: Path) -> Iterator[None]:
    """Let one process make a cache file, while others wait to read it."""
    with contextlib.ExitStack() as stack:
        # in a folder that cannot be written, each process trains for itself
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(FileLock(path.with_suffix(".lock")))
        yield


def _load_or_train(
    path: Path, train: ImageSet, test: ImageSet, device: str | torch.device
) -> Classifier:
    labels = sorted(train.class_names)

    def new_network(random: RandomState) -> ClassifierNetwork:
        with isolated(random):
            return ClassifierNetwork(train.images.shape[1], len(labels))

    try:
        state = torch.load(path, weights_only=True)
        network = new_network(RandomState(0))
        network.load_state_dict(state["model"])
        return Classifier(network.to(device), labels, state["accuracy"])
    except FileNotFoundError:
        log.info("training the classifier that scores %s images (once, then cached)", train.name)
    # damage to a cache file shows in many ways, and a new file mends them all
    except Exception as error:
        # torch has no error type of its own for the memory of the CPU
        if isinstance(error, MemoryError) or "memory" in str(error):
            raise
        log.warning(
            "cached classifier %s is unreadable (%s): training it again", path, type(error).__name__
        )
    random = RandomState(0)
    network = new_network(random).to(device)
    targets = torch.searchsorted(torch.tensor(labels), train.labels)
    _train(network, train.images.to(device), targets.to(device), random)
    classifier = Classifier(network, labels, accuracy=math.nan)
    classifier.accuracy = (classifier.classify(test.images) == test.labels).float().mean().item()
    state = {"model": network.state_dict(), "accuracy": classifier.accuracy}
    # with a read-only cache, each evaluation trains the classifier anew
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as buffer:
            torch.save(state, buffer)
    except OSError as error:
        log.warning("cannot cache the classifier in %s (%s)", path.parent, error.strerror)
    return classifier


def _fingerprint(*parts: ImageSet) -> str:
    digest = hashlib.sha256(f"{_STEPS} v2".encode())
    for part in parts:
        pixels = to_pixels(part.images).contiguous()
        digest.update(str(tuple(pixels.shape)).encode())
        digest.update(pixels.numpy().tobytes())
        digest.update(part.labels.numpy().tobytes())
    return digest.hexdigest()[:16]


def _train(
    network: ClassifierNetwork, images: Tensor, targets: Tensor, random: RandomState
) -> None:
    optimizer = torch.optim.Adam(network.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=4e-3, total_steps=_STEPS)
    network.train()
    for _ in range(_STEPS):
        chosen = random.whole(len(images), _BATCH, device="cpu").to(images.device)
        loss = F.cross_entropy(network(_jitter(images[chosen], random)), targets[chosen])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
    network.eval()


def _jitter(images: Tensor, random: RandomState) -> Tensor:
    """Return the batch [B, C, H, W] shifted by up to two pixels.

    Without shifts, a small data set would teach the network where digits lie.
    """
    height, width = images.shape[2:]
    padded = F.pad(images, (2, 2, 2, 2), mode="replicate")
    top, left = random.whole(5, 2, device="cpu").tolist()
    return padded[:, :, top : top + height, left : left + width]
