"""Images: how they are chosen, scaled, resized and split, and what happens if MNIST is missing."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from data_files import fill, write_mnist, write_npz

from qcaan.data.images import DataError, load_images, to_pixels


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"classes": (3, 12)}, "12 is not a label of mnist; its labels are 0..9"),
        ({"classes": (-1,)}, "-1 is not a label of mnist; its labels are 0..9"),
        ({"classes": (3, 3)},
         "`classes` must be one or more different labels of mnist, got (3, 3); its labels"),
        ({"classes": ()},
         "`classes` must be one or more different labels of mnist, got (); its labels are 0..9"),
        ({"split": "valid"}, "unknown `split` 'valid'; choose from train, test"),
        ({"size": 64}, "`size` must be 28 or 32, got 64"),
        ({"size": 0}, "`size` must be 28 or 32, got 0"),
        ({"name": "mnits"},
         "unknown `data` 'mnits'; choose from auto, mnist, mnist-5k, fashion-mnist, "),
        ({"name": ""}, "unknown `data` ''; choose from auto, mnist, "),
        ({"name": "~no user/x.npz"},
         "cannot read ~no user/x.npz: Could not determine home directory"),
        ({"root": "~no user/data"},
         "cannot read ~no user/data: Could not determine home directory"),
    ],
)  # fmt: skip
def test_a_bad_value_is_named_with_what_is_allowed(
    tmp_path: Path, arguments: dict[str, Any], message: str
) -> None:
    defaults: dict[str, Any] = {"name": "mnist", "root": write_mnist(tmp_path)}
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        load_images(**(defaults | arguments))


def test_classes_keep_the_order_of_the_data_set(tmp_path: Path) -> None:
    images = load_images("mnist", classes=(9, 3), root=write_mnist(tmp_path))
    assert images.labels.tolist() == [3, 9, 3, 9]
    assert fill(images.images) == [3, 9, 13, 19]
    assert images.class_names == {3: "3", 9: "9"}
    assert images.provenance.endswith("; kept are the 4 labelled 3, 9")


def test_only_refuses_what_an_earlier_choice_left_out(tmp_path: Path) -> None:
    images = load_images("mnist", classes=(3, 7, 9), root=write_mnist(tmp_path))
    assert images.only([7]).labels.tolist() == [7, 7]
    with pytest.raises(DataError, match=r"4 is not a label of mnist; its labels are 3, 7, 9"):
        images.only([4])


def test_size_32_resizes_grey_images(tmp_path: Path) -> None:
    images = load_images("mnist", root=write_mnist(tmp_path), size=32)
    assert images.images.shape == (20, 1, 32, 32)
    assert fill(images.images) == list(range(20))
    assert images.provenance.endswith("resized from 28x28 to 32x32")


def test_to_moves_both_tensors_and_keeps_the_rest(tmp_path: Path) -> None:
    images = load_images("mnist", root=write_mnist(tmp_path))
    moved = images.to("meta")
    assert moved.images.device.type == moved.labels.device.type == "meta"
    assert (moved.name, moved.class_names) == (images.name, images.class_names)
    assert moved.facts == images.facts


def test_auto_is_mnist_if_it_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QCAAN_DATA", str(write_mnist(tmp_path)))
    images = load_images()
    assert images.name == "mnist"
    assert "NOT" not in images.provenance
    assert not images.stands_in and images.facts["stands_in"] is False


def test_the_default_root_lies_in_the_cache_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("QCAAN_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    write_mnist(tmp_path / "qcaan" / "data")
    assert len(load_images("mnist").images) == 20


def test_a_root_that_is_a_file_is_an_error_under_auto_too(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(
        DataError, match=f"cannot read {tmp_path}/file/MNIST/raw: .*Not a directory"
    ):
        load_images("auto", root=tmp_path / "file")


def test_auto_says_loudly_that_it_stands_in_for_mnist() -> None:
    images = load_images("auto", classes=(3,), root="/proc/qcaan")  # where nobody can make a folder
    assert images.name == "mnist-5k"
    assert images.stands_in and images.facts["stands_in"] is True
    assert images.provenance.startswith(
        "NOT the whole MNIST but 5,000 of its images, because MNIST is not in /proc/qcaan and its "
        "down"
    )
    assert "3750 train images of the 5,000 MNIST images" in images.provenance
    by_name = load_images("mnist-5k", classes=(3,))
    assert torch.equal(by_name.images, images.images)
    assert not by_name.stands_in and "NOT" not in by_name.provenance


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist", "cifar10"])
def test_a_named_set_has_no_stand_in(name: str) -> None:
    with pytest.raises(
        DataError, match=r"is not in /proc/qcaan and its download failed \(.*\); to download it"
    ):
        load_images(name, root="/proc/qcaan")


def test_every_fourth_of_each_class_is_held_out_if_there_is_no_test_part(tmp_path: Path) -> None:
    path = write_npz(tmp_path / "grey.npz")
    train, test = load_images(path, split="train"), load_images(str(path), split="test")
    assert fill(test.images) == [12, 13, 14, 15, 28, 29, 30, 31]
    assert sorted(fill(train.images) + fill(test.images)) == list(range(40))
    assert test.name == str(path)
    assert test.class_names == {0: "0", 1: "1", 2: "2", 3: "3"}
    assert test.provenance == (
        f"8 test images of {path}, every fourth of each class held out as test images; "
        "pixels from 0 to 39 of 255"
    )


def test_shrinking_is_antialiased(tmp_path: Path) -> None:
    stripes = np.zeros((40, 112, 112), np.uint8)
    stripes[:, :, ::4] = 255  # without antialiasing every fourth column alone would decide
    images = load_images(write_npz(tmp_path / "stripes.npz", x_train=stripes)).images
    assert images.shape == (32, 1, 28, 28)
    torch.testing.assert_close(
        images[..., 1:-1], torch.full((32, 1, 28, 26), -0.5), atol=0.02, rtol=0
    )


def test_pixels_are_rounded_and_keep_the_shape() -> None:
    values = torch.tensor([-1.5, -1, -0.997, 0, 0.5, 1, 1.5], requires_grad=True)
    pixels = to_pixels(values.reshape(7, 1, 1, 1))
    assert (pixels.dtype, pixels.shape) == (torch.uint8, (7, 1, 1, 1))
    assert pixels.flatten().tolist() == [0, 0, 0, 128, 191, 255, 255]


def test_pixels_of_read_images_are_the_bytes_of_the_file(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, 28, 28), np.uint8)
    test = load_images(write_npz(tmp_path / "noise.npz", x_train=noise, y_train=np.zeros(40, int)))
    kept = np.arange(40) % 4 != 3
    assert to_pixels(test.images)[:, 0].numpy().tolist() == noise[kept].tolist()


def test_a_tilde_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    write_npz(tmp_path / "grey.npz")
    assert len(load_images("~/grey.npz").images) == 32
