"""Grids, strips and GIFs, pixel by pixel."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from qcaan.runs import pictures
from qcaan.runs.directory import RunDirectory


def test_grid_places_images_row_by_row_with_a_border():
    images = torch.stack([torch.full((1, 2, 2), value) for value in (-1.0, 0.0, 1.0)])
    pixels = pictures.grid(images, n_columns=2, scale=1)
    assert pixels.tolist() == [
        [60, 60, 60, 60, 60, 60, 60, 60],
        [60, 0, 0, 60, 60, 128, 128, 60],
        [60, 0, 0, 60, 60, 128, 128, 60],
        [60, 60, 60, 60, 60, 60, 60, 60],
        [60, 60, 60, 60, 60, 60, 60, 60],
        [60, 255, 255, 60, 60, 60, 60, 60],
        [60, 255, 255, 60, 60, 60, 60, 60],
        [60, 60, 60, 60, 60, 60, 60, 60],
    ]
    assert pictures.grid(torch.zeros(4, 3, 28, 28), scale=2).shape == (120, 120, 3)


@pytest.mark.parametrize("channels", [1, 3])
def test_strips_are_written_as_png_and_as_gif(tmp_path, channels):
    images = torch.linspace(-1, 1, 4).reshape(4, 1, 1, 1).expand(4, channels, 28, 28)
    pictures.save_strip(tmp_path / "strip.png", images)
    pictures.save_strip(tmp_path / "strip.gif", images)
    with Image.open(tmp_path / "strip.png") as picture:
        assert picture.size == (480, 120)
        assert np.asarray(picture.convert("L"))[60, [60, 180, 300, 420]].tolist() == [
            0,
            85,
            170,
            255,
        ]
    with Image.open(tmp_path / "strip.gif") as picture:
        assert picture.n_frames == 4
        assert picture.info["duration"] == 800
        assert picture.info["loop"] == 0


def test_a_gif_of_one_frame_is_written(tmp_path):
    pictures.save_gif(tmp_path / "one.gif", [np.zeros((4, 4), np.uint8)], seconds=0.3)
    with Image.open(tmp_path / "one.gif") as picture:
        assert picture.n_frames == 1


@pytest.mark.parametrize(("channels", "shape"), [(1, (2, 28, 28)), (3, (2, 28, 28, 3))])
def test_channels_come_last_and_a_single_one_goes(channels, shape):
    images = torch.ones(2, channels, 28, 28, requires_grad=True)
    pixels = pictures.channels_last(images)
    assert (pixels.dtype, pixels.shape) == (np.uint8, shape)
    assert (pixels == 255).all()


def test_the_progress_gif_has_a_frame_an_epoch_and_no_more_than_sixty(tmp_path):
    (tmp_path / "samples").mkdir()
    for epoch in range(1, 122):
        pixels = np.full((8, 8), epoch, np.uint8)
        pictures.save_picture(tmp_path / "samples" / f"epoch_{epoch:04}.png", pixels)
    with Image.open(pictures.progress_gif(RunDirectory(tmp_path))) as gif:
        assert gif.n_frames == 60
        assert np.asarray(gif.convert("L"))[0, 0] == 1
        gif.seek(59)
        assert np.asarray(gif.convert("L"))[0, 0] == 121
