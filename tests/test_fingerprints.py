"""Fingerprints of data: what they see, and runs that go on only with the data that they began."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from data_files import grey, write_mnist, write_npz, write_pictures

import qcaan
from qcaan.commands.train import associative, distribution, image, wasserstein
from qcaan.data.images import load_images, load_splits
from qcaan.data.opening import fingerprint
from qcaan.gans.associative.config import AssociativeConfig
from qcaan.gans.distribution.config import DistributionConfig
from qcaan.gans.image.config import ImageConfig
from qcaan.gans.wasserstein.config import WassersteinConfig
from qcaan.metrics import classifier
from qcaan.runs.directory import RunDirectory, RunError
from qcaan.runs.restoring import load_data

SMALL = {"epochs": 1, "batch_size": 4, "device": "cpu"}
CHANGED = (
    r"the data .* have changed since .* began: their fingerprint is \w{12} now, and was \w{12};"
)


class TestFingerprint:
    def test_it_is_the_sha_256_of_types_shapes_and_values(self):
        values = np.arange(6, dtype=np.uint8)
        assert fingerprint(values) == (
            "8f86ef6fd33b41205b0f40aeb879c0e780d19199795cd502522fac5ad8ca838c"
        )
        others = [values[::-1], values.reshape(2, 3), values.astype(int), values[:5]]
        assert len({fingerprint(other) for other in (values, *others)}) == 5
        assert fingerprint(values.astype(">i4")) == fingerprint(values.astype("<i4"))
        assert fingerprint(np.arange(12)[::2]) == fingerprint(np.arange(0, 12, 2))

    def test_it_sees_one_pixel_one_label_and_the_part_held_out(self, tmp_path: Path):
        x = np.random.default_rng(0).integers(0, 256, (40, 28, 28), np.uint8)
        y = np.arange(40) % 4
        seen = {load_images(write_npz(tmp_path / "x.npz", x_train=x)).fingerprint}
        for place in ((0, 0, 0), (39, 27, 27)):  # the last image is held out
            changed = x.copy()
            changed[place] ^= 1
            seen.add(load_images(write_npz(tmp_path / "x.npz", x_train=changed)).fingerprint)
        y[[0, 1]] = y[[1, 0]]
        seen.add(load_images(write_npz(tmp_path / "x.npz", x_train=x, y_train=y)).fingerprint)
        assert len(seen) == 4

    def test_both_parts_of_an_archive_have_the_same(self, tmp_path: Path):
        x, y = np.full((3, 28, 28), 77, np.uint8), np.array([0, 1, 1])
        path = write_npz(tmp_path / "x.npz", x_test=x, y_test=y)
        train, test = load_splits(path)
        assert train.fingerprint == test.fingerprint
        write_npz(path, x_test=x, y_test=y.astype(np.uint8))
        assert load_images(path).fingerprint == train.fingerprint
        write_npz(path, x_test=x + 1, y_test=y)
        assert load_images(path).fingerprint != train.fingerprint

    def test_it_is_that_of_the_data_set_and_not_of_the_classes_chosen(self):
        train, test = load_splits("digits8x8")
        assert train.fingerprint == test.fingerprint == train.only([3]).fingerprint
        assert train.facts["fingerprint"] == train.fingerprint
        # the same on every machine: pixels are hashed before they are resized
        assert train.fingerprint.startswith("0e167e520500541f")

    def test_the_format_of_a_file_does_not_matter(self, tmp_path: Path):
        root = write_mnist(tmp_path / "plain")
        packed = write_mnist(tmp_path / "packed", ".gz")
        images = [load_images("mnist", root=place) for place in (root, packed)]
        assert images[0].fingerprint == images[1].fingerprint


def change_pixels(path: Path) -> None:
    """Change one pixel of an .npz file of images."""
    with np.load(path) as arrays:
        x = arrays["x_train"].copy()
    x[5, 3, 3] ^= 1
    write_npz(path, x_train=x, y_train=np.arange(40) % 2)


def change_samples(path: Path) -> None:
    """Change two samples so that number, mean and extremes stay as they are."""
    samples = np.load(path)
    places = np.argsort(samples)[len(samples) // 2 :][:2]
    samples[places] = samples[places[::-1]]
    np.save(path, samples)


@pytest.mark.parametrize("system", ["associative", "image", "wasserstein", "distribution"])
def test_a_run_goes_on_only_with_the_data_that_it_began_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, system: str
):
    monkeypatch.chdir(tmp_path)
    if system in ("associative", "image"):
        path = write_npz(tmp_path / "x.npz", y_train=np.arange(40) % 2)
        options = {"data": "x.npz", "digits": (0, 1), "width": 2, "steps_per_epoch": 1, **SMALL}
        if system == "associative":
            config = AssociativeConfig(**options, prior="bernoulli", latent_dim=4)
            main, wanted = associative.main, {"eval_images": 0}
        else:
            config = ImageConfig(**options, n_qubits=2, n_layers=1)
            main, wanted = image.main, {"eval_images": 0}
        change = change_pixels
    else:
        path = tmp_path / "x.npy"
        np.save(path, np.random.default_rng(0).normal(0, 0.2, 40))
        change = change_samples
        if system == "wasserstein":
            config = WassersteinConfig(data="x.npy", steps_per_epoch=1, critic_width=4, **SMALL)
            main, wanted = wasserstein.main, {"eval_samples": 20}
        else:
            config = DistributionConfig(data="x.npy", epochs=1, batch_size=10)
            main, wanted = distribution.main, {}
    run = tmp_path / "run"
    main(config, out=run, **wanted)
    assert len(json.loads((run / "config.json").read_text())["data"]["fingerprint"]) == 64
    before = {file: file.read_bytes() for file in run.rglob("*") if file.is_file()}
    more = {"epochs": 2}
    changed = path.read_bytes()
    change(path)
    for resume in (False, True):
        with pytest.raises(RunError, match=CHANGED):
            main(type(config)(**{**vars(config), **(more if resume else {})}), out=run,
                 resume=resume, **wanted)  # fmt: skip
    assert {file: file.read_bytes() for file in run.rglob("*") if file.is_file()} == before
    if system == "distribution":
        with pytest.raises(RunError, match=CHANGED):
            qcaan.load_run(run)
    elif system != "wasserstein":
        with pytest.raises(RunError, match=CHANGED):
            load_data(RunDirectory(run), None)
    else:
        with pytest.raises(RunError, match=CHANGED):
            qcaan.runs.wasserstein.score_run(RunDirectory(run), qcaan.load_run(run).gan, 20)
    path.write_bytes(changed)
    main(type(config)(**{**vars(config), **more}), out=run, resume=True, **wanted)


@dataclass(frozen=True)
class Config:
    lr: float = 0.1
    epochs: int = 2
    steps_per_epoch: int = 10


@pytest.mark.parametrize(
    ("config", "name", "message"),
    [
        (Config(), "toy", CHANGED),
        # the default follows from the number of images
        (Config(steps_per_epoch=12), "toy", CHANGED),
        (Config(lr=0.2, steps_per_epoch=12), "toy", r"\(lr is 0.1 there, 0.2 here\)"),
        (Config(), "other", r"\(data name is 'toy' there, 'other' here\)"),
    ],
)
def test_the_cause_is_named_first(tmp_path: Path, config: Config, name: str, message: str):
    with RunDirectory(tmp_path / "run") as run:
        run.begin("image", Config(), {"name": "toy", "n_images": 3, "fingerprint": "0" * 64})
    with pytest.raises(RunError, match=message):
        facts = {"name": name, "n_images": 4, "fingerprint": "1" * 64}
        RunDirectory(tmp_path / "run").begin("image", config, facts, resume=True)


def test_a_folder_whose_pictures_changed_is_seen(tmp_path: Path):
    root = write_pictures(tmp_path / "pets", cat=[grey(1), grey(2)], dog=[grey(3)])
    before = load_images(root).fingerprint
    grey(4).save(root / "cat" / "01.png")
    assert load_images(root).fingerprint != before


def test_a_run_without_a_fingerprint_says_so(tmp_path: Path):
    run = RunDirectory(tmp_path / "run")
    config = ImageConfig(epochs=1, n_qubits=2)
    run.begin("image", config, {"name": "digits8x8"})
    with pytest.raises(RunError, match="is of an older version of qcaan, which recorded no finger"):
        RunDirectory(tmp_path / "run").check_fingerprint("0" * 64)
    run.__exit__()
    with pytest.raises(RunError, match="is of an older version of qcaan, which recorded no finger"):
        facts = {"name": "digits8x8", "fingerprint": "0" * 64}
        RunDirectory(tmp_path / "run").begin("image", config, facts, resume=True)


@pytest.mark.parametrize(
    "error",
    [MemoryError(), torch.OutOfMemoryError("out of memory"), RuntimeError("allocate memory")],
)
def test_a_lack_of_memory_does_not_train_the_cached_classifier_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
):
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(torch, "load", fail)
    train, test = load_splits("digits8x8")
    with pytest.raises(type(error)):
        classifier.load_classifier(train, test)
