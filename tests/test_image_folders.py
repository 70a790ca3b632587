"""Folders of pictures: what is a class, what is left out, and how pictures look."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from data_files import fill, grey, write_pictures
from PIL import Image

from qcaan.data.folders import read_folder
from qcaan.data.images import DataError, load_images


@pytest.fixture
def cats(tmp_path: Path) -> Path:
    """A class folder for pictures, `pets/cat`."""
    folder = tmp_path / "pets" / "cat"
    folder.mkdir(parents=True)
    return folder


def pixels(folder: Path, size: int = 28) -> list[list[int]]:
    """Return the middle pixel of each picture in the class folders of a folder."""
    found = read_folder(folder, size).pixels[:, size // 2, size // 2]
    return found.reshape(len(found), -1).tolist()


class TestClasses:
    def test_a_folder_without_pictures_is_no_class_and_shifts_no_label(self, tmp_path: Path):
        root = write_pictures(tmp_path / "pets", ant=[], bee=[grey(1)], cat=[], dog=[grey(2)])
        (root / "ant" / "notes.txt").write_text("none yet")
        images = load_images(root)
        assert images.class_names == {0: "bee", 1: "dog"}
        assert "the labels are 0 (bee), 1 (dog)" in images.provenance
        assert "left out: 2 folders without pictures (ant, cat)" in images.provenance
        with pytest.raises(DataError, match=r"2 is not a label of .*; its labels are 0 \(bee\), 1"):
            images.only([2])

    def test_numbers_stay_labels_beside_a_folder_without_pictures(self, tmp_path: Path):
        digits = {"1": [grey(1)], "2": [grey(2)], "10": [grey(10)]}
        root = write_pictures(tmp_path / "digits", logs=[], **digits)
        images = load_images(root)
        assert images.class_names == {1: "1", 2: "2", 10: "10"}
        assert fill(images.only([1]).images) == [1]
        assert "the labels are" not in images.provenance

    def test_names_of_which_one_is_no_number_are_numbered_and_told(self, tmp_path: Path):
        names = {"1": [grey(1)], "10": [grey(10)], "2": [grey(2)], "none": [grey(0)]}
        images = load_images(write_pictures(tmp_path / "mixed", **names))
        assert "the labels are 0 (1), 1 (10), 2 (2), 3 (none)" in images.provenance

    def test_parts_of_a_data_set_are_not_taken_for_classes(self, tmp_path: Path):
        for part in ("test", "train"):
            write_pictures(tmp_path / part, cat=[grey(1)], dog=[grey(2)])
        with pytest.raises(
            DataError, match=f"holds test, train, which are parts .*{tmp_path}/test"
        ):
            load_images(tmp_path)
        assert load_images(tmp_path / "train").class_names == {0: "cat", 1: "dog"}

    def test_pictures_in_subfolders_belong_to_the_class(self, cats: Path):
        (cats / "2019" / "may").mkdir(parents=True)
        grey(7).save(cats / "2019" / "may" / "a.png")
        grey(8).save(cats / "b.png")
        assert pixels(cats.parent) == [[7], [8]]

    def test_links_are_followed_and_circles_end(self, cats: Path, tmp_path: Path):
        grey(7).save(tmp_path / "elsewhere.png")
        write_pictures(tmp_path / "kennel", dog=[grey(9)])
        (cats / "linked.png").symlink_to(tmp_path / "elsewhere.png")
        (cats.parent / "dog").symlink_to(tmp_path / "kennel" / "dog")
        for place, target in (("up", ".."), ("self", "."), ("root", cats.parent)):
            (cats / place).symlink_to(target)
        (cats.parent / "loop").symlink_to(".")
        (cats / "x").mkdir()
        (cats / "y").mkdir()
        (cats / "x" / "there").symlink_to(cats / "y")
        (cats / "y" / "back").symlink_to(cats / "x")
        found = read_folder(cats.parent, None)
        assert found.class_names == {0: "cat", 1: "dog"}
        assert found.pixels[:, 0, 0].tolist() == [7, 9]


class TestLeftOut:
    def test_what_is_no_picture_is_counted_and_named(self, cats: Path):
        grey(5).save(cats / "a.png")
        (cats / "notes.txt").write_text("a cat")
        (cats / "drawing.svg").write_text("<svg/>")
        os.mkfifo(cats / "pipe")
        grey(6).save(cats.parent / "lone.png")
        (cats.parent / "README.md").touch()
        for name in (".DS_Store", "Thumbs.db", "desktop.ini", ".hidden.png"):
            (cats / name).write_text("of the system")
        assert load_images(cats.parent).provenance.endswith(
            "; left out: 4 files that are no pictures (README.md, cat/drawing.svg, cat/notes.txt, "
            "cat/pipe); left out: 1 picture outside of class folders (lone.png)"
        )

    def test_names_that_no_terminal_shows_are_told_all_the_same(self, tmp_path: Path):
        cats = tmp_path / os.fsdecode(b"k\xe4tzchen")
        cats.mkdir()
        grey(5).save(cats / "a.png")
        (cats / "two\nlines\x1b[31m").touch()
        images = load_images(tmp_path)
        assert images.class_names == {0: "k\ufffdtzchen"}
        assert "(k\ufffdtzchen/two\ufffdlines\ufffd[31m)" in images.provenance
        (cats / "b\n.png").touch()
        with pytest.raises(DataError, match=r"cannot read .*/b.\.png: cannot identify"):
            load_images(tmp_path)

    def test_a_folder_of_lone_pictures_says_so(self, tmp_path: Path):
        grey(1).save(tmp_path / "lone.png")
        with pytest.raises(
            DataError,
            match=r"no class folders with pictures \(left out: 1 picture outside of class",
        ):
            load_images(tmp_path)

    def test_pictures_are_known_by_their_content(self, cats: Path):
        grey(5).save(cats / "a", "PNG")
        grey(6).save(cats / "b.jpg", "PNG")
        grey(7).save(cats / "c.JPG")
        grey(8).save(cats / "d.jp2")
        grey(9).save(cats / "e.ico", sizes=[(28, 28)])
        grey(10).save(cats / "f.tga")
        assert pixels(cats.parent) == [[5], [6], [7], [8], [9], [10]]

    def test_a_wrong_folder_is_refused_before_all_of_it_is_read(self, cats: Path):
        for index in range(1001):
            (cats / f"{index:04}.log").touch()
        with pytest.raises(DataError, match="more than 1,000 files that are not pictures, such as"):
            load_images(cats.parent)

    def test_first_frames_are_told(self, cats: Path):
        more = [grey(90), grey(120)]
        for name in ("a.gif", "b.png", "c.tif"):
            grey(60).save(cats / name, save_all=True, append_images=more)
        images = load_images(cats.parent)
        assert fill(images.images) == [60, 60, 60]
        assert "first frames only of 3 pictures with several frames" in images.provenance

    @pytest.mark.parametrize("name", ["gone.png", "ring.png", "empty.jpg", "text.webp"])
    def test_a_damaged_picture_is_named_in_a_sentence(self, cats: Path, name: str):
        grey(5).save(cats / "a.png")
        if name == "gone.png":
            (cats / name).symlink_to("nowhere.png")
        elif name == "ring.png":
            (cats / name).symlink_to(name)
        else:
            (cats / name).write_text("" if name == "empty.jpg" else "a cat")
        with pytest.raises(DataError, match=f"^cannot read {cats / name}: ") as caught:
            load_images(cats.parent)
        assert "\n" not in str(caught.value)


def half_white() -> Image.Image:
    """Return a picture 40 pixels wide and 20 high whose left half is white."""
    picture = Image.new("L", (40, 20), 0)
    picture.paste(255, (0, 0, 20, 20))
    return picture


class TestLook:
    @pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.tif", "a.webp"])
    @pytest.mark.parametrize(("orientation", "white"), [(1, "left"), (3, "right"), (6, "top")])
    def test_pictures_are_turned_as_their_exif_data_say(
        self, cats: Path, name: str, orientation: int, white: str
    ):
        exif = Image.Exif()
        exif[0x112] = orientation
        half_white().save(cats / name, exif=exif)
        image = read_folder(cats.parent, 28).pixels[0].reshape(28, 28, -1)[..., 0] > 128
        halves = {"left": image[:, :12], "right": image[:, -12:], "top": image[:12]}
        others = {"left": image[:, -12:], "right": image[:, :12], "top": image[-12:]}
        assert halves[white].all() and not others[white].any()

    def test_damaged_exif_data_are_no_obstacle(self, cats: Path):
        for index, data in enumerate((b"garbage", b"II*\0\x08\0\0\0\xff\xff\x12\x01")):
            grey(77).save(cats / f"{index}.jpg", exif=b"Exif\0\0" + data)
        assert pixels(cats.parent) == [[77], [77]]

    def test_transparent_pixels_are_white(self, cats: Path):
        palette = Image.new("P", (28, 28), 3)
        palette.putpalette([0, 0, 0] * 3 + [200, 0, 0])
        grey(0).convert("LA").point(lambda value: 0).save(cats / "a.png")
        Image.new("RGBA", (28, 28), (255, 0, 0, 51)).save(cats / "b.png")
        palette.save(cats / "c.png", transparency=3)
        palette.save(cats / "d.gif", transparency=3)
        grey(7).save(cats / "e.png", transparency=7)
        Image.new("RGB", (28, 28), (1, 2, 3)).save(cats / "f.png", transparency=(1, 2, 3))
        white = [255, 255, 255]
        assert pixels(cats.parent) == [white, [255, 204, 204], white, white, white, white]

    def test_transparent_grey_stays_grey(self, cats: Path):
        Image.new("LA", (28, 28), (0, 51)).save(cats / "a.png")
        assert pixels(cats.parent) == [[204]]

    def test_sixteen_bits_become_eight(self, cats: Path):
        deep = np.full((28, 28), 40000, np.uint16)
        for name in ("a.png", "b.tif", "c.jp2"):
            Image.fromarray(deep).save(cats / name)
        (cats / "d.pgm").write_bytes(b"P5 28 28 65535\n" + deep.astype(">u2").tobytes())
        (cats / "e.pgm").write_bytes(b"P5 28 28 1023\n" + (deep * 0 + 1023).astype(">u2").tobytes())
        assert pixels(cats.parent) == [[156], [156], [156], [156], [255]]

    @pytest.mark.parametrize("value", [np.int32(40000), np.float32(0.5)])
    def test_thirty_two_bits_are_refused(self, cats: Path, value: np.generic):
        Image.fromarray(np.full((28, 28), value)).save(cats / "a.tif")
        with pytest.raises(DataError, match=r"a\.tif: it has 32 bits a channel, which"):
            load_images(cats.parent)

    def test_other_colour_spaces_become_rgb(self, cats: Path):
        Image.new("CMYK", (28, 28), (0, 255, 255, 0)).save(cats / "a.jpg", quality=100)
        Image.new("CMYK", (28, 28), (0, 255, 255, 0)).save(cats / "b.tif")
        Image.new("RGB", (28, 28), (255, 0, 0)).convert("P").save(cats / "c.png")
        for red, green, blue in pixels(cats.parent):
            assert red > 250 and max(green, blue) < 5


def png(side: int) -> bytes:
    """Return a PNG that claims to be a black square, and holds a thousand bytes of it."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    parts = (
        chunk(b"IHDR", header),
        chunk(b"IDAT", zlib.compress(bytes(1000))),
        chunk(b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize("side", [10_000, 30_000])
def test_a_picture_that_claims_to_be_huge_is_refused(cats: Path, side: int):
    (cats / "bomb.png").write_bytes(png(side))
    with pytest.raises(DataError, match=rf"bomb\.png: Image size \({side**2} pixels\) exceeds"):
        load_images(cats.parent)


def test_a_lack_of_memory_is_not_called_damage(cats: Path, monkeypatch: pytest.MonkeyPatch):
    def fail(*_: object, **__: object) -> Callable[[], None]:
        raise MemoryError

    grey(5).save(cats / "a.png")
    monkeypatch.setattr(Image, "open", fail)
    with pytest.raises(MemoryError):
        load_images(cats.parent)
