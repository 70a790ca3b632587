"""Pictures of a run: grids, strips, the progress GIF and the report. Everything is read from the run directory."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import imageio.v3 as iio
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from qcaan.files import atomic_write
from qcaan.runs.directory import RunDirectory
from qcaan.training import described

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Pixels = NDArray[np.uint8]
_LONGEST_GIF = 60  # frames; longer runs are thinned out evenly
_MOST_STRINGS = 40  # bitstrings shown in a histogram
_MOST_COLUMNS = 4  # of samples of more dimensions, whose histograms and moments are shown


def to_pixels(images: Tensor) -> Pixels:
    """Images [N, C, H, W] in [-1, 1] to uint8 [N, H, W] (grey) or [N, H, W, 3]."""
    pixels = (
        ((images.detach().cpu() + 1) * 127.5)
        .round()
        .clamp(0, 255)
        .byte()
        .permute(0, 2, 3, 1)
        .numpy()
    )
    return pixels[..., 0] if pixels.shape[-1] == 1 else pixels


def grid(images: Tensor, n_columns: int | None = None, scale: int = 2) -> Pixels:
    """Images [N, C, H, W] in [-1, 1] in rows of `n_columns` (default: as square as can be), each pixel `scale` wide."""
    pixels = np.pad(
        to_pixels(images),
        ((0, 0), (1, 1), (1, 1)) + ((0, 0),) * (images.shape[1] == 3),
        constant_values=60,
    )
    n_columns = n_columns or math.ceil(math.sqrt(len(pixels)))
    n_rows = -(-len(pixels) // n_columns)
    canvas = np.full((n_rows * n_columns, *pixels.shape[1:]), 60, np.uint8)
    canvas[: len(pixels)] = pixels
    height, width = pixels.shape[1:3]
    canvas = canvas.reshape(n_rows, n_columns, height, width, *pixels.shape[3:])
    joined = canvas.swapaxes(1, 2).reshape(n_rows * height, n_columns * width, *pixels.shape[3:])
    return joined.repeat(scale, 0).repeat(scale, 1)


def save_picture(path: Path, pixels: Pixels) -> None:
    """Write uint8 [H, W] or [H, W, 3] as PNG, atomically."""
    with atomic_write(path) as temporary:
        iio.imwrite(temporary, pixels, extension=".png")


def save_gif(path: Path, frames: Sequence[Pixels], seconds: float) -> None:
    """Write frames of one shape as an endless GIF, each shown for `seconds`, the last five times as long; atomically."""
    durations = [1000 * seconds] * (len(frames) - 1) + [5000 * seconds]
    duration = (
        durations if len(frames) > 1 else durations[0]
    )  # Pillow takes no list for a single frame
    with atomic_write(path) as temporary:
        iio.imwrite(
            temporary,
            np.stack(frames),
            extension=".gif",
            plugin="pillow",
            duration=duration,
            loop=0,
        )


def save_strip(path: Path, images: Tensor) -> None:
    """Write images [N, C, H, W] side by side as PNG or, for a path ending in .gif, one after another."""
    if path.suffix == ".gif":
        save_gif(path, [grid(image[None], scale=6) for image in images], seconds=0.8)
    else:
        save_picture(path, grid(images, n_columns=len(images), scale=4))


def progress_gif(run: RunDirectory) -> Path:
    """Make the run's `progress.gif`: its samples of fixed latents, a frame for each epoch."""
    paths = sorted((run.path / "samples").glob("epoch_*.png"))
    chosen = np.unique(
        np.linspace(0, len(paths) - 1, min(len(paths), _LONGEST_GIF)).round().astype(int)
    )
    target = run.path / "progress.gif"
    save_gif(target, [iio.imread(paths[index]) for index in chosen], seconds=0.3)
    return target


def report(run: RunDirectory, title: str, cross_entropies: bool = True) -> Path:
    """Make the `report.png` of a run on images: losses, samples beside real images and, where a prior was fitted to bits,
    its fits, target and bitstrings.

    Args:
        run: of either system.
        title: above all.
        cross_entropies: whether the losses are, or Wasserstein's.
    """
    from matplotlib.figure import Figure

    records, provenance = run.records(), run.config()["data"]["provenance"]
    fitted = "fit" in records[0]
    figure = Figure(figsize=(13, 11 if fitted else 9), layout="constrained")
    heights = (1, 1, 1.7) if fitted else (1, 1.7)
    rows: Any = figure.subfigures(len(heights), 1, height_ratios=heights)
    if fitted:
        losses, fits = rows[0].subplots(1, 2)
        _plot_fits(fits, records)
        _plot_bitstrings(rows[1], run.path / "prior.npz")
    else:
        losses = rows[0].subplots(1, 1)
    _plot_losses(losses, records, cross_entropies)
    for axes, name, caption in zip(
        rows[-1].subplots(1, 2),
        ("drawn.png", "real.png"),
        (f"generated from fresh draws, epoch {records[-1]['epoch']}", "real"),
        strict=True,
    ):
        picture = iio.imread(run.path / "samples" / name)
        axes.imshow(picture, cmap="gray" if picture.ndim == 2 else None, vmin=0, vmax=255)
        axes.set_title(caption)
        axes.axis("off")
    if "NOT MNIST" in provenance:
        title += "\nNOT MNIST but the 8x8 digits of scikit-learn: MNIST could not be had"
    figure.suptitle(title)
    target = run.path / "report.png"
    with atomic_write(target) as temporary:
        figure.savefig(temporary, dpi=90)
    return target


def sample_report(run: RunDirectory) -> Path:
    """Make the `report.png` of a run on real numbers: histograms of generated and real samples, losses, mean and deviation."""
    from matplotlib.figure import Figure

    config, records = run.config(), run.records()
    with np.load(run.path / "samples.npz", allow_pickle=False) as saved:
        generated, real = saved["generated"], saved["real"]  # (n, k), (m, k)
    steps = [record["step"] for record in records]
    n_columns = min(real.shape[1], _MOST_COLUMNS)
    figure = Figure(figsize=(13, 9), layout="constrained")
    parts: Any = figure.subfigures(2, 1)
    top, bottom = parts
    for column, axes in enumerate(np.atleast_1d(top.subplots(1, n_columns))):
        bins = np.histogram_bin_edges(np.concatenate([real[:, column], generated[:, column]]), 60)
        axes.hist(real[:, column], bins, density=True, color="lightgrey", label="real")
        axes.hist(
            generated[:, column],
            bins,
            density=True,
            histtype="step",
            color="tab:blue",
            label="generated",
        )
        axes.set(
            title=f"samples after step {steps[-1]}"
            + (f", column {column}" if n_columns > 1 else "")
        )
        axes.legend()
    losses, moments, distances = bottom.subplots(1, 3)
    losses.plot(steps, [record["loss_d"] for record in records], label="critic: D(fake) - D(real)")
    losses.plot(steps, [record["loss_g"] for record in records], label="generator: -D(fake)")
    losses.set(title="losses, without the penalty")
    for column in range(n_columns):
        name = f" {column}" if n_columns > 1 else ""
        for key, value, line in (
            ("mean", real[:, column].mean(), "-"),
            ("std", real[:, column].std(), "--"),
        ):
            (drawn,) = moments.plot(
                steps, [record[key][column] for record in records], line, label=f"{key}{name}"
            )
            moments.axhline(value, color=drawn.get_color(), lw=0.8, ls=":")
        distances.plot(
            steps, [record["w1"][column] for record in records], label=f"Wasserstein-1{name}"
        )
    moments.set(title="mean and deviation (dotted: real)")
    distances.set(title="distance to the training samples", yscale="log")
    for axes in (losses, moments, distances):
        axes.set_xlabel("generator step")
        axes.legend()
    settings = config["config"]
    figure.suptitle(
        f"Hybrid WGAN-GP QGAN, {config['data']['name']}, {settings['n_qubits']} qubits, {settings['ansatz']} "
        f"{settings['n_layers']}, {settings['penalty']} penalty, "
        + described(settings["sampler"], settings["shots"], settings["switch_at"])
    )
    target = run.path / "report.png"
    with atomic_write(target) as temporary:
        figure.savefig(temporary, dpi=90)
    return target


def spread_plot(path: Path, values: dict[str, list[float]], label: str) -> Path:
    """Save a picture of named lists of positive values, one row each: every value, and their mean, on a log axis."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 1 + 0.3 * len(values)), layout="constrained")
    axes = figure.subplots()
    for row, numbers in enumerate(values.values()):
        axes.plot(numbers, [row] * len(numbers), "o", color="tab:blue", alpha=0.5)
        axes.plot(sum(numbers) / len(numbers), row, "|", color="tab:red", ms=16, mew=2)
    axes.set_yticks(range(len(values)), list(values))
    axes.invert_yaxis()
    axes.set(xlabel=f"{label} (dots: seeds; bar: their mean)", xscale="log")
    axes.grid(axis="x", alpha=0.3, which="both")
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=90)
    return path


def curves(
    path: Path, panels: dict[str, dict[str, list[tuple[float, float]]]], x_label: str, y_label: str
) -> Path:
    """Save a picture of titled panels of named curves of (x, y) points, all axes logarithmic."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullFormatter

    figure = Figure(figsize=(1 + 5 * len(panels), 4.5), layout="constrained")
    grid_of_axes = figure.subplots(1, len(panels), sharex=True, sharey=True, squeeze=False)
    for axes, (title, lines) in zip(grid_of_axes[0], panels.items(), strict=True):
        for name, points in lines.items():
            axes.plot(*zip(*points, strict=True), "o-", label=name)
        axes.set(title=title, xlabel=x_label, ylabel=y_label, xscale="log", yscale="log")
        axes.grid(alpha=0.3, which="both")
        axes.xaxis.set_minor_formatter(
            NullFormatter()
        )  # within one decade its labels run into one another
        axes.label_outer()
    figure.axes[-1].legend(loc="lower left")
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=90)
    return path


def distribution_report(
    path: Path,
    axes: Sequence[NDArray[np.float64]],
    target: Sequence[NDArray[np.float64]],
    model: Sequence[NDArray[np.float64]],
    history: dict[str, Sequence[float]],
    title: str,
) -> Path:
    """Save a picture of learnt distributions on a grid: histogram and CDF of each dimension, losses, relative entropy.

    Args:
        path: of the picture.
        axes: values of each dimension, ascending.
        target, model: distribution along each dimension, over those values.
        history: `d_loss`, `g_loss` and `rel_entr` of each epoch.
        title: above all.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 3.2 * (len(axes) + 1)), layout="constrained")
    rows: Any = figure.subplots(len(axes) + 1, 2)
    for dimension, (values, real, learnt) in enumerate(zip(axes, target, model, strict=True)):
        histogram, cdf = rows[dimension]
        width = 0.4 * (values[1] - values[0])
        for side, probs, name in ((-0.5, real, "data"), (0.5, learnt, "circuit")):
            histogram.bar(values + side * width, probs, width, label=name)
            cdf.step(values, probs.cumsum(), where="post", label=name)
        histogram.set(title=f"dimension {dimension}", xlabel="value", ylabel="probability")
        cdf.set(title=f"dimension {dimension}, cumulative", xlabel="value", ylim=(0, 1.05))
        histogram.legend()
        cdf.legend()
    losses, entropy = rows[-1]
    losses.plot(history["d_loss"], label="discriminator")
    losses.plot(history["g_loss"], label="generator")
    losses.set(title="losses, mean of an epoch", xlabel="epoch", ylabel="nats")
    losses.legend()
    entropy.plot(history["rel_entr"])
    entropy.set(
        title="relative entropy KL(circuit || data)", xlabel="epoch", ylabel="nats", yscale="log"
    )
    figure.suptitle(title)
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=90)
    return path


def _plot_losses(axes: Axes, records: list[dict[str, Any]], cross_entropies: bool) -> None:
    epochs = [record["epoch"] for record in records]
    axes.locator_params(axis="x", integer=True)
    axes.plot(epochs, [record["loss_d"] for record in records], label="discriminator")
    axes.plot(epochs, [record["loss_g"] for record in records], label="generator")
    if cross_entropies:
        axes.set_ylabel("nats")
        axes.axhline(
            2 * math.log(2), color="grey", lw=0.8, ls=":", label="discriminator that cannot tell"
        )
    axes.set(title="adversarial losses", xlabel="epoch")
    axes.legend()


def _plot_fits(axes: Axes, records: list[dict[str, Any]]) -> None:
    epochs, fits = [record["epoch"] for record in records], [record["fit"] for record in records]
    axes.locator_params(axis="x", integer=True)
    axes.set(
        title="prior: KL(latent bits || prior), summed over bases", xlabel="epoch", ylabel="nats"
    )
    if fits[0]["kl"] is None:
        axes.text(
            0.5,
            0.5,
            "this prior has no distribution over bitstrings",
            ha="center",
            transform=axes.transAxes,
        )
        return
    axes.plot(epochs, [fit["kl"] for fit in fits], label="prior")
    axes.plot(
        epochs,
        [fit["kl_product"] for fit in fits],
        ls="--",
        label="product of marginals (no circuit)",
    )
    axes.set_ylim(bottom=0)
    axes.legend()


def _plot_bitstrings(figure: Any, path: Path) -> None:
    if not path.is_file():
        figure.subplots(1, 1).axis("off")
        return
    with np.load(path, allow_pickle=False) as saved:
        bases, targets, models = saved["bases"], saved["target"], saved["model"]
    n_qubits = targets.shape[1].bit_length() - 1
    for axes, basis, target, model in zip(
        np.atleast_1d(figure.subplots(1, len(bases))), bases, targets, models, strict=True
    ):
        order = np.argsort(-target)[:_MOST_STRINGS]
        places = np.arange(len(order))
        axes.bar(places - 0.2, target[order], 0.4, label="latent bits of real images")
        axes.bar(places + 0.2, model[order], 0.4, label="QCBM")
        labels = [format(index, f"0{n_qubits}b")[::-1] for index in order]
        axes.set_xticks(places, labels, rotation=90, fontsize=6)
        axes.set(
            title=f"basis {basis}: the {len(order)} most frequent bitstrings (qubit 0 left)",
            ylabel="probability",
        )
        axes.legend()
