"""`qcaan generate`: draw from a run or a ready-made model: a grid, a sequence, or an array."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import tyro
from torch import Tensor

from qcaan.checks import check_seed, whole
from qcaan.files import check_folder, write_arrays
from qcaan.metrics.classifier import Classifier, choose_sequence, load_classifier
from qcaan.runs import pictures
from qcaan.runs.directory import RunDirectory
from qcaan.runs.loading import IMAGE_SYSTEMS, Run, load_run
from qcaan.runs.pretrained import Pretrained, from_pretrained
from qcaan.runs.restoring import load_data
from qcaan.runs.session import announce_draws, console
from qcaan.samplers.names import EXACT


def main(
    path: tyro.conf.Positional[Path | None] = None,
    pretrained: str | None = None,
    n: int | None = None,
    sequence: tuple[int, ...] = (),
    out: Path | None = None,
    npz: Path | None = None,
    seed: int = 0,
    device: str = "auto",
    data_root: Path | None = None,
    max_jobs: int | None = None,
    max_shots: int | None = None,
    max_cost: float | None = None,
    dry_run: bool = False,
) -> None:
    """Draw images from a run or a ready-made model, or samples of real numbers.

    If a run uses a device, the draws are jobs that may be paid for. A model asks no device.

    Args:
        path: Directory of the run, unless --pretrained names a model.
        pretrained: Ready-made model to draw from instead of a run: mnist-379, which ships with
            qcaan; the folder of a model; or ORGANISATION/NAME on the Hugging Face hub, with the
            extra hub.
        n: Number of draws, at most 10,000 for a picture. Default: 64 images; 1000 for runs on real
            numbers and for --sequence of a run, which chooses among them or measures the agreement
            by them. A model draws the digits of --sequence alone.
        sequence: Digits to draw, in this order. A run with labels is asked for them, and the
            console says how often the data set's classifier agrees. Of a run without, those draws
            are chosen that the classifier labels as each digit.
        out: Path of the picture, a .png file; with --sequence also a .gif file, which shows the
            digits in turn. Default: grid.png or sequence.png in the run's directory, or a new file
            of that name here for a model.
        npz: Path of an .npz file for the draws. It holds `images` (uint8 [n, H, W] or
            [n, H, W, 3]) and the inputs that they were drawn from: `bits` (uint8 [n, n_bits]),
            `latents` (float32) of a prior without bits, `noise` (float32) of an image QGAN, or its
            `expectations` if its noise is the shots. Of a run on real numbers it holds `samples`
            (float64 [n, k]).
        seed: Seed of the draws, from 0 to below 2**63.
        device: Device of the networks: auto (CUDA if available), cpu, cuda or cuda:N.
        data_root: Folder of the data sets, if it is not the one that the run used.
        max_jobs: Maximum number of jobs of the draws on a device. Default: 1,000 on paid devices,
            no limit on others.
        max_shots: Maximum number of shots of the draws on a device. Default: 1,000,000 on paid
            devices, no limit on others.
        max_cost: Maximum cost of the draws on a paid device in US dollars, by its list price.
            Default: no limit.
        dry_run: Check everything, print what the draws would ask of a device, and write nothing.
    """
    if n is not None:
        whole("n", n)
    check_seed(seed)
    if (path is None) == (pretrained is None):
        raise ValueError("name either the directory of a run, or a model by --pretrained")
    if pretrained is not None:
        _check_unused(
            data_root=data_root, max_jobs=max_jobs, max_shots=max_shots, max_cost=max_cost
        )
        if sequence and n is not None:
            raise ValueError("`n` is for runs with --sequence: a model draws the digits alone")
    system = "associative" if path is None else RunDirectory(path).config()["system"]
    draws_images = system in IMAGE_SYSTEMS
    if not draws_images and (sequence or out or not npz):
        raise ValueError(
            f"{path} holds a run of the system {system}, which draws no pictures; name an .npz "
            "file for its samples by --npz, and leave out --out and --sequence"
        )
    if draws_images and out is None and (sequence or not npz):
        out = (path or Path()) / ("sequence.png" if sequence else "grid.png")
        if path is None and out.exists():
            raise ValueError(f"{out} is there already; name the picture by --out")
    _check_target("out", out, (".png", ".gif") if sequence else (".png",))
    _check_target("npz", npz, (".npz",))
    if out is not None and not sequence and n is not None and n > pictures.MOST_IMAGES:
        raise ValueError(
            f"`n` must be at most {pictures.MOST_IMAGES:,} for a picture, got {n}; for more draws "
            "name an .npz file by --npz, and no picture"
        )
    n = n or (64 if draws_images and not sequence else 1000)
    if pretrained is not None:
        model = from_pretrained(pretrained, seed=seed, device=device)
        if sequence and not model.labels:
            raise ValueError(
                "`sequence` asks for labels, and this model has none; draw from its run instead"
            )
        _check_digits(sequence, model.labels)
        if dry_run:
            console.print("dry run: nothing was written")
            return
        images, inputs = _draw_from_model(model, sequence, n)
        _write_images(images, inputs, model.gan.drawn_from, sequence, out, npz)
        return

    assert path is not None
    run = load_run(
        path,
        seed=seed,
        device=device,
        data_root=data_root,
        max_jobs=max_jobs,
        max_shots=max_shots,
        max_cost=max_cost,
    )
    if sequence:
        _check_digits(sequence, run.gan.config.digits)
    prompted = bool(sequence and run.labels)
    if not prompted:
        announce_draws(run, n, dry_run=dry_run)
    if dry_run:
        return
    if not draws_images:
        assert npz is not None
        samples = np.asarray(run.generate(n), np.float64)
        write_arrays(npz, {"samples": samples})
        console.print(f"wrote {npz}")
        return
    if sequence:  # all that the choice needs is there before draws are paid for
        train_set, test_set = load_data(run.directory, run.gan.config.data_root)
        classifier = load_classifier(train_set, test_set, device=run.gan.device)
        run.gan.reseed(seed)
    if prompted:
        images, inputs = _draw_prompted(run, sequence, n, classifier)
    else:
        images, inputs = run.generate(n)
        if sequence:
            chosen = choose_sequence(images, classifier, sequence)
            images, inputs = images[chosen], inputs[chosen]
    _write_images(images, inputs, run.gan.drawn_from, sequence, out, npz)


def _write_images(
    images: Tensor,
    inputs: Tensor,
    kind: str,
    sequence: Sequence[int],
    out: Path | None,
    npz: Path | None,
) -> None:
    """Write images and the inputs of a kind that they were drawn from, and say where."""
    for digit, values in zip(sequence, inputs.tolist() if sequence else (), strict=True):
        console.print(f"{digit} <- {' '.join(f'{value:g}' for value in values)}")
    if out:
        if sequence:
            pictures.save_strip(out, images)
        else:
            pictures.save_picture(out, pictures.grid(images))
        console.print(f"wrote {out}")
    if npz:
        values = inputs.numpy()
        values = values.astype(np.uint8) if kind == "bits" else values
        write_arrays(npz, {"images": pictures.channels_last(images), kind: values})
        console.print(f"wrote {npz}")


def _draw_from_model(model: Pretrained, sequence: Sequence[int], n: int) -> tuple[Tensor, Tensor]:
    """Draw n images of a ready-made model, or those of a sequence by their labels."""
    if model.gan.config.sampler != EXACT and model.gan.prior.schedule is not None:
        console.print("the draws are shots that the model's run measured, drawn with replacement")
    if not sequence:
        return model.generate(n)
    agreement = model.scores.get("generated", {}).get("agreement")
    if agreement is not None:
        console.print(
            f"recorded with the model: a classifier agrees with the label of {agreement:.1%} of "
            "its digits"
        )
    images, bits = zip(*(model.generate(1, label=digit) for digit in sequence), strict=True)
    return torch.cat(images), torch.cat(bits)


def _check_unused(**options: object) -> None:
    """Refuse options of a run's draws, which a model would ignore."""
    for name, value in options.items():
        if value is not None:
            raise ValueError(
                f"`{name}` is for runs; a ready-made model needs no data and asks no device"
            )


def _check_digits(sequence: Sequence[int], known: Sequence[int]) -> None:
    if missing := set(sequence) - set(known):
        raise ValueError(
            f"`sequence` must hold digits of the run, {' '.join(map(str, known))}, got "
            f"{min(missing)}"
        )


def _draw_prompted(
    run: Run, sequence: Sequence[int], n: int, classifier: Classifier
) -> tuple[Tensor, Tensor]:
    """Draw the images of a sequence by their labels, and say how often the classifier agrees.

    About n images are drawn, as many of each label; the first ones are returned, with their bits.
    """
    shares = run.gan.prior.label_shares()
    labels = list(dict.fromkeys(sequence))
    drawn, agreed = {}, []
    for label in labels:
        count = max(n // len(labels), sequence.count(label))
        images, bits = run.generate(count, label=label)
        drawn[label] = zip(images, bits, strict=True)
        agreed.append(classifier.classify(images) == label)
    asked = torch.cat(agreed)
    told = ", ".join(f"{label}: {shares[label]:.1%}" for label in labels)
    console.print(
        f"shots by label: {told}; the classifier agrees with the label of "
        f"{asked.double().mean():.1%} of {len(asked):,} digits"
    )
    images, bits = zip(*(next(drawn[digit]) for digit in sequence), strict=True)
    return torch.stack(images), torch.stack(bits)


def _check_target(option: str, path: Path | None, suffixes: tuple[str, ...]) -> None:
    """Check, before anything is drawn, that a file is of the right kind and can be written.

    Raises:
        ValueError: the path has another suffix, or its folder does not exist.
    """
    if path is None:
        return
    if path.suffix not in suffixes:
        raise ValueError(f"`{option}` must end in {' or '.join(suffixes)}, got {path}")
    check_folder(path)
