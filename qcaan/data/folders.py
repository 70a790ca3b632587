"""Folders of class folders: pictures of any format that Pillow reads, as a viewer shows them."""

from __future__ import annotations

import contextlib
import functools
import stat
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qcaan.data.opening import DataError, check_fits, listing, printable, reading

if TYPE_CHECKING:
    from PIL import Image

SIZES = {1: 28, 3: 32}  # default height and width in pixels, by the number of channels

# files that operating systems leave in folders, beside hidden ones
_SYSTEM_FILES = ("thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "__macosx")
# formats that Pillow names but does not decode itself
_NOT_DECODED = {"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"}
# names of the parts of a data set, which are no classes
_PARTS = {"train", "training", "test", "testing", "val", "valid", "validation"}
# number of other files from which on a folder with fewer pictures is taken for a wrong one
_MANY_OTHERS = 1000


class Pictures(NamedTuple):
    """A data set, or one split of it, as a reader found it; `load_images` checks the arrays.

    Attributes:
        pixels: uint8 [N, H, W] or [N, H, W, C].
        labels: integers [N].
        class_names: name of each label.
        origin: phrase that names the source.
        is_split: whether the source has a test part of its own.
        notes: phrases on what was decided or left out.
        both_splits: pixels and labels of both splits, if they were read; default those of this one.
    """

    pixels: NDArray[Any]
    labels: NDArray[Any]
    class_names: dict[int, str]
    origin: str
    is_split: bool = True
    notes: tuple[str, ...] = ()
    both_splits: tuple[NDArray[Any], ...] = ()


@dataclass
class _Survey:
    """The contents of a folder: its pictures by class, and the files that are left out.

    Attributes:
        classes: paths of the pictures in each class folder; there is at least one in each.
        grey: whether all pictures are grey.
        n_animated: number of pictures with more than one frame.
        others: files that are not pictures.
        outside: pictures that lie beside the class folders.
        empty: folders without pictures.
    """

    classes: dict[str, list[Path]] = field(default_factory=dict)
    grey: bool = True
    n_animated: int = 0
    others: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)


def read_folder(path: Path, size: int | None) -> Pictures:
    """Read the pictures in the class folders of a folder, resized to squares.

    A folder is a class if it or a folder in it holds a picture. If the names of all classes are
    different whole numbers, these are the labels; else the labels are 0, 1, ... in the sorted order
    of the names. A picture is turned as its EXIF data say, transparent pixels are white, 16 bits
    become 8, and of several frames the first is taken. Pictures are grey if all of them are.
    Symbolic links are followed, but each folder is read once in a class. Hidden files are ignored.

    Args:
        path: path of the folder.
        size: height and width in pixels; None for `SIZES` of the number of channels.

    Raises:
        DataError: there are no classes, or a picture cannot be read.
    """
    from PIL import Image

    with warnings.catch_warnings():
        # Pillow warns of damage to what a picture does not need, as to its EXIF data
        warnings.simplefilter("ignore", UserWarning)
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        found = _survey(path)
        names = list(found.classes)
        mode = "L" if found.grey else "RGB"
        side = size or SIZES[len(mode)]
        files = [file for name in names for file in found.classes[name]]
        check_fits(path, len(files) * side * side * len(mode))
        pixels = np.stack([_read_picture(file, mode, side) for file in files])
    # labels are int64, which hold every number of 18 digits
    numbers = [int(n) for n in names if n.isascii() and n.isdigit() and len(n) < 19]
    labels = numbers if len(set(numbers)) == len(names) else range(len(names))
    return Pictures(
        pixels,
        np.repeat(np.array(labels), [len(found.classes[name]) for name in names]),
        dict(zip(labels, map(printable, names), strict=True)),
        f"{path}, each resized to {side}x{side}",
        is_split=False,
        notes=_notes(found),
    )


def _survey(path: Path) -> _Survey:
    """Look at every file in a folder, and at the beginning of each that may be a picture.

    Raises:
        DataError: there are no classes, or a file named like a picture is none.
    """
    found, root = _Survey(), path.resolve()
    around = {root, *root.parents}
    for name in _visible(path):
        if not (path / name).is_dir():
            (found.outside if _look(path / name, path, found) else found.others).append(name)
            continue
        real = (path / name).resolve()
        if real in around:  # a symbolic link that leads back
            continue
        passed = around | {real, *real.parents}
        with reading(path / name):
            pictures = [
                file
                for file in _files(path / name, passed)
                if _look(file, path, found, inside=True)
            ]
        if pictures:
            found.classes[name] = pictures
        else:
            found.empty.append(name)
    if not found.classes:
        left_out = f" ({'; '.join(notes)})" if (notes := _notes(found)) else ""
        raise DataError(f"{path} has no class folders with pictures{left_out}")
    if {name.lower() for name in found.classes} <= _PARTS:
        raise DataError(
            f"{path} holds {', '.join(found.classes)}, which are parts of a data set and not "
            f"classes; give one of them, as {path / next(iter(found.classes))}"
        )
    return found


def _visible(folder: Path) -> Iterator[str]:
    return (name for name in listing(folder) if name.lower() not in _SYSTEM_FILES)


def _files(folder: Path, passed: set[Path]) -> Iterator[Path]:
    """Yield the files in a folder and in its subfolders that were not passed, in sorted order."""
    for name in _visible(folder):
        path = folder / name
        if not path.is_dir():
            yield path
        elif (real := path.resolve()) not in passed:
            passed.add(real)
            yield from _files(path, passed)


def _look(path: Path, root: Path, found: _Survey, *, inside: bool = False) -> bool:
    """Return whether a file is a picture, and note in `found` what it is.

    Raises:
        DataError: it is named like a picture and is none; or the folder holds mostly other files.
    """
    from PIL import Image, UnidentifiedImageError

    formats, suffixes = _formats()
    with reading(path), contextlib.suppress(UnidentifiedImageError):
        # to open a pipe may wait forever
        if stat.S_ISREG(path.stat().st_mode):
            with path.open("rb") as file, Image.open(file, formats=formats) as picture:
                if inside:
                    found.grey = _is_grey(picture, path) and found.grey
                    found.n_animated += getattr(picture, "is_animated", False)
            return True
    if path.suffix.lower() in suffixes:
        raise DataError(
            f"cannot read {path}: cannot identify image file, though its name ends in {path.suffix}"
        )
    if inside:
        found.others.append(str(path.relative_to(root)))
    n_pictures = len(found.outside) + sum(map(len, found.classes.values()))
    if len(found.others) > max(_MANY_OTHERS, n_pictures):
        raise DataError(
            f"{root} holds more than {_MANY_OTHERS:,} files that are not pictures, such as "
            f"{found.others[0]}; give a folder of class folders"
        )
    return False


@functools.cache
def _formats() -> tuple[list[str], frozenset[str]]:
    """Return the formats that Pillow decodes, and the suffixes of their files."""
    from PIL import Image

    Image.init()
    formats = [name for name in Image.OPEN if name not in _NOT_DECODED]
    suffixes = Image.registered_extensions().items()
    return formats, frozenset(suffix for suffix, name in suffixes if name in (*formats, "MPO"))


def _is_grey(picture: Image.Image, path: Path) -> bool:
    """Return whether a picture is grey by its mode, without decoding it.

    Raises:
        DataError: it has more than 16 bits a channel.
    """
    deep = picture.mode == "I" and picture.format not in ("PNG", "PPM")
    if deep or picture.mode == "F":
        raise DataError(
            f"cannot read {path}: it has 32 bits a channel, which viewers show in "
            "different ways; save it with 8 or 16"
        )
    if picture.mode in ("P", "PA"):
        palette = np.array(picture.getpalette()).reshape(-1, 3)
        return bool((palette == palette[:, :1]).all())
    return picture.mode in ("1", "L", "LA", "La") or picture.mode.startswith("I")


def _read_picture(path: Path, mode: str, side: int) -> NDArray[np.uint8]:
    """Read a picture as uint8 [side, side] in mode `L`, [side, side, 3] in mode `RGB`."""
    from PIL import Image, ImageOps

    # Pillow 13 garbles an uncompressed TIFF that is to be turned if it opens the file itself
    with (
        reading(path),
        path.open("rb") as file,
        Image.open(file, formats=_formats()[0]) as picture,
    ):
        upright = ImageOps.exif_transpose(picture)
        if upright.mode.startswith("I"):  # 16 bits, which Pillow would clip
            levels = np.asarray(upright).clip(0, 65535) / 257
            upright = Image.fromarray(levels.round().astype(np.uint8))
        if upright.has_transparency_data:
            upright = upright.convert("RGBA")
            paper = Image.new("RGBA", upright.size, "white")
            upright = Image.alpha_composite(paper, upright)
        return np.array(upright.convert(mode).resize((side, side), Image.Resampling.BILINEAR))


def _notes(found: _Survey) -> tuple[str, ...]:
    """Return phrases on what was left out."""
    notes = [
        f"left out: {name} ({_listed(names)})"
        for name, names in (
            (_counted(len(found.others), "file that is no picture", "files that are no pictures"),
             found.others),
            (_counted(len(found.outside), "picture", "pictures") + " outside of class folders",
             found.outside),
            (_counted(len(found.empty), "folder", "folders") + " without pictures", found.empty),
        )
        if names
    ]  # fmt: skip
    if found.n_animated:
        animated = _counted(found.n_animated, "picture", "pictures")
        notes.append(f"first frames only of {animated} with several frames")
    return tuple(notes)


def _counted(n: int, one: str, more: str) -> str:
    return f"{n:,} {one if n == 1 else more}"


def _listed(names: list[str], most: int = 5) -> str:
    return ", ".join([*map(printable, names[:most]), *(["..."] if len(names) > most else [])])
