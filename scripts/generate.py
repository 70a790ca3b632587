"""Draw images from a run: a grid, an array with what they were drawn from, or a sequence of digits.

python scripts/generate.py runs/379 --n 64
python scripts/generate.py runs/379 --n 3000 --npz images.npz
python scripts/generate.py runs/379 --sequence 3 7 9 9 --out strip.png
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import tyro
from _cli import check_folder, console, image_system, run_script

from qcaan import metrics
from qcaan.files import atomic_write
from qcaan.runs import pictures
from qcaan.runs.directory import RunDirectory
from qcaan.runs.loading import run_data
from qcaan.training import pick_device


def main(
    path: tyro.conf.Positional[Path],
    n: int | None = None,
    sequence: tuple[int, ...] = (),
    out: Path | None = None,
    npz: Path | None = None,
    seed: int = 0,
    device: str = "auto",
    data_root: Path | None = None,
) -> None:
    """Draw images from a run, each from a freshly measured bitstring, or from fresh noise.

    Args:
        path: run directory.
        n: images to draw, default 64; with --sequence the draws among which its digits are looked for, default 1000.
        sequence: digits to write, from draws that the data set's classifier reads as them.
        out: picture, .png, or .gif for a sequence shown one by one; default grid.png or sequence.png in the run.
        npz: file for the images (uint8 [n, H, W] or [n, H, W, 3]) and what they were drawn from: `bits` (uint8
            [n, n_bits]), `latents` (float32) of a prior without bits, `noise` (float32) of an image QGAN, or its
            `expectations` where shots are the noise.
        seed: of the draws.
        device: auto, cpu, cuda, cuda:N.
        data_root: where the run's data set lies, if not where it did.
    """
    if n is not None and n < 1:
        raise ValueError(f"n must be at least 1, got {n}")
    out = out or (
        None if npz and not sequence else path / ("sequence.png" if sequence else "grid.png")
    )
    check_target(out, (".png", ".gif") if sequence else (".png",))
    check_target(npz, (".npz",))
    run = RunDirectory(path)
    gan = image_system(run).load_run(run, pick_device(device), seed, data_root)
    images, samples = gan.generate(n or (1000 if sequence else 64))

    if sequence:
        reader = metrics.load_reader(*run_data(run, gan.config.data_root), gan.device)
        chosen = metrics.choose_sequence(images, reader, sequence)
        images, samples = images[chosen], samples[chosen]
        for digit, values in zip(sequence, samples.tolist(), strict=True):
            console.print(f"{digit} <- {' '.join(f'{value:g}' for value in values)}")
    if out:
        if sequence:
            pictures.save_strip(out, images)
        else:
            pictures.save_picture(out, pictures.grid(images))
        console.print(f"wrote {out}")
    if npz:
        drawn = {
            gan.drawn_from: (
                samples.to(torch.uint8) if gan.drawn_from == "bits" else samples
            ).numpy()
        }
        with atomic_write(npz) as temporary:
            np.savez(temporary, images=pictures.to_pixels(images), **drawn)
        console.print(f"wrote {npz}")


def check_target(path: Path | None, suffixes: tuple[str, ...]) -> None:
    """Refuse a file of another kind, or that could not be written at the end."""
    if path is None:
        return
    if path.suffix not in suffixes:
        raise ValueError(f"{path} must end in {' or '.join(suffixes)}")
    check_folder(path)


if __name__ == "__main__":
    run_script(main)
