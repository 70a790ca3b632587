"""Figures: the reports of runs, and plots of comparisons. One function saves them all."""

from __future__ import annotations

import math
import textwrap
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from qcaan.files import atomic_write, read_arrays
from qcaan.runs.directory import RunDirectory, RunError
from qcaan.training import describe_engine

# matplotlib is imported in the functions that draw, so that command lines answer at once
if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

_MOST_STRINGS = 40  # bitstrings in a histogram
_LONGEST_LINE = 120  # characters of a line of a title
_MOST_COLUMNS = 4  # columns of samples whose histograms and moments are plotted


def save_figure(path: Path, figure: Figure) -> Path:
    """Write a figure as PNG, atomically. Return its path."""
    return _save_png(path, figure, {})


def save_report(run: RunDirectory, figure: Figure, epoch: int) -> Path:
    """Write a run's report.png, which carries the number of finished epochs. Return its path."""
    return _save_png(run.path / "report.png", figure, {"comment": str(epoch)})


def _save_png(path: Path, figure: Figure, metadata: dict[str, str]) -> Path:
    with atomic_write(path) as buffer, warnings.catch_warnings():
        # on a slow machine, a legend may take a second to find its place
        warnings.filterwarnings("ignore", message="Creating legend with loc")
        figure.savefig(buffer, format="png", dpi=90, metadata=metadata)
    return path


def _literal(text: str) -> str:
    """Return text with names of the user's as matplotlib draws it literally, in short lines.

    Characters that its font lacks are escaped as in Python.
    """
    from matplotlib.font_manager import FontProperties, findfont, get_font

    drawn = get_font(findfont(FontProperties())).get_charmap()
    escaped = (c if c.isprintable() and ord(c) in drawn else ascii(c)[1:-1] for c in text)
    return textwrap.fill("".join(escaped), _LONGEST_LINE).replace("$", r"\$")


def _records(run: RunDirectory, keys: Sequence[str]) -> list[dict[str, Any]]:
    """Return the records of a run's log, one at least.

    Raises:
        RunError: there are none, or one of them lacks a key.
    """
    records = run.records()
    if not records or not all(key in record for record in records for key in keys):
        raise RunError(f"{run.log_path} lacks epochs, or a number of an epoch")
    return records


def image_figure(run: RunDirectory, title: str, *, cross_entropies: bool = True) -> Figure:
    """Plot the report of a run on images.

    It has losses, and generated images beside real ones. If a prior was fitted to bits, it also has
    the distance of the prior after each epoch, and the bitstrings of the last one.

    Args:
        run: directory of the run, after at least one epoch.
        title: title above the plots.
        cross_entropies: whether the losses are cross-entropies, else Wasserstein losses.
    """
    import imageio.v3 as iio
    from matplotlib.figure import Figure

    records, data = _records(run, ("epoch", "loss_d", "loss_g")), run.config()["data"]
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
    pictures = {
        "drawn.png": f"generated from fresh draws, epoch {records[-1]['epoch']}",
        "real.png": "real",
    }
    for axes, (name, caption) in zip(rows[-1].subplots(1, 2), pictures.items(), strict=True):
        picture = iio.imread(run.path / "samples" / name)
        axes.imshow(picture, cmap="gray" if picture.ndim == 2 else None, vmin=0, vmax=255)
        axes.set_title(caption)
        axes.axis("off")
    title = _literal(title)
    if data.get("stands_in"):
        title += f"\n{data['name']} STANDS IN for a data set that is not available"
    figure.suptitle(title)
    return figure


def samples_figure(run: RunDirectory) -> Figure:
    """Plot the report of a run on real numbers.

    It has histograms of generated and of real samples, losses, means and deviations, and distances.

    Args:
        run: directory of the run, with its samples.npz.
    """
    from matplotlib.figure import Figure

    config = run.config()
    records = _records(run, ("step", "loss_d", "loss_g", "mean", "std", "w1"))
    # (n, k), (m, k)
    generated, real = read_arrays(run.path / "samples.npz", ("generated", "real"))
    steps = [record["step"] for record in records]
    n_columns = min(real.shape[1], _MOST_COLUMNS)
    figure = Figure(figsize=(13, 9), layout="constrained")
    parts: Any = figure.subfigures(2, 1)
    top, bottom = parts
    for column, axes in enumerate(np.atleast_1d(top.subplots(1, n_columns))):
        _plot_samples(axes, real[:, column], generated[:, column])
        title = f"samples after step {steps[-1]}"
        axes.set_title(f"{title}, column {column}" if n_columns > 1 else title)
    losses, moments, distances = bottom.subplots(1, 3)
    losses.plot(steps, [record["loss_d"] for record in records], label="critic: D(fake) - D(real)")
    losses.plot(steps, [record["loss_g"] for record in records], label="generator: -D(fake)")
    losses.set(title="losses, without the penalty")
    for column in range(n_columns):
        name = f" {column}" if n_columns > 1 else ""
        means = "mean", real[:, column].mean(), "-"
        deviations = "std", real[:, column].std(), "--"
        for key, value, style in (means, deviations):
            values = [record[key][column] for record in records]
            (line,) = moments.plot(steps, values, style, label=f"{key}{name}")
            moments.axhline(value, color=line.get_color(), lw=0.8, ls=":")
        values = [record["w1"][column] for record in records]
        distances.plot(steps, values, label=f"Wasserstein-1{name}")
    moments.set(title="mean and deviation (dotted: real)")
    distances.set(title="distance to the training samples", yscale="log")
    for axes in (losses, moments, distances):
        axes.set_xlabel("generator step")
        axes.legend()
    settings = config["config"]
    engine = (settings["sampler"], settings["shots"], settings["switch_after_epochs"])
    title = (
        f"Hybrid WGAN-GP QGAN, {Path(config['data']['name']).name}, {settings['n_qubits']} qubits, "
        f"{settings['ansatz']} {settings['n_layers']}, {settings['penalty']} penalty, "
        f"{describe_engine(*engine)}"
    )
    figure.suptitle(_literal(title))
    return figure


def distribution_figure(
    axes: Sequence[NDArray[np.float64]],
    data: Sequence[NDArray[np.float64]],
    model: Sequence[NDArray[np.float64]],
    *,
    history: Mapping[str, Sequence[float]],
    title: str,
) -> Figure:
    """Plot the report of a distribution learned on a grid.

    It has the histogram and the cumulative distribution of each dimension, losses and relative
    entropy.

    Args:
        axes: values of each dimension, ascending.
        data: probabilities of these values in the data, for each dimension.
        model: probabilities of these values in the circuit, for each dimension.
        history: `d_loss`, `g_loss` and `rel_entr` of each epoch, in nats.
        title: title above the plots.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 3.2 * (len(axes) + 1)), layout="constrained")
    rows: Any = figure.subplots(len(axes) + 1, 2)
    for dimension, (values, real, learned) in enumerate(zip(axes, data, model, strict=True)):
        histogram, cdf = rows[dimension]
        width = 0.4 * (values[1] - values[0])
        for side, probs, name in ((-0.5, real, "data"), (0.5, learned, "circuit")):
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
    entropy.set(title="relative entropy KL(circuit || data)", xlabel="epoch", ylabel="nats")
    entropy.set_yscale("log")
    figure.suptitle(_literal(title))
    return figure


def spread_figure(
    panels: Mapping[str, Mapping[str, Sequence[float]]], label: str, *, n_columns: int = 1
) -> Figure:
    """Plot panels of named lists of positive values, a row each, on a logarithmic axis.

    Args:
        panels: for each title of a panel, the values of its rows by their names. Every value and
            their mean are shown.
        label: name of the quantity.
        n_columns: number of columns of panels. Panels in one column share their axis.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogFormatter

    class Plain(LogFormatter):  # 40 and 0.3, not 4 x 10^1 and 3e-01
        def __call__(self, x: float, pos: int | None = None) -> str:
            return f"{x:g}" if super().__call__(x, pos) else ""

    sizes = [1.5 + len(rows) for rows in panels.values()]
    heights = [max(sizes[i : i + n_columns]) for i in range(0, len(sizes), n_columns)]
    size = (2 + 7 * n_columns, 1 + 0.3 * sum(heights))
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(
        len(heights),
        n_columns,
        sharex=n_columns == 1,
        squeeze=False,
        gridspec_kw={"height_ratios": heights},
    )
    for axes, (title, rows) in zip(grid.flat, panels.items(), strict=False):
        for row, numbers in enumerate(rows.values()):
            axes.plot(numbers, [row] * len(numbers), "o", color="tab:blue", alpha=0.5)
            axes.plot(sum(numbers) / len(numbers), row, "|", color="tab:red", ms=16, mew=2)
        axes.set_yticks(range(len(rows)), list(rows))
        axes.set(title=title, xscale="log")
        axes.xaxis.set_major_formatter(Plain())
        axes.xaxis.set_minor_formatter(Plain())
        axes.margins(y=0.1)
        axes.invert_yaxis()
        axes.grid(axis="x", alpha=0.3, which="both")
    for axes in grid[-1]:
        axes.set_xlabel(f"{label} (dots: seeds; bar: their mean)")
    for axes in grid.flat[len(panels) :]:
        axes.remove()
    return figure


def curves_figure(
    panels: Mapping[str, Mapping[str, Sequence[tuple[float, float]]]],
    *,
    x_label: str,
    y_label: str,
) -> Figure:
    """Plot panels of curves side by side, all axes logarithmic.

    Args:
        panels: for each title of a panel, the (x, y) points of its named curves.
        x_label, y_label: labels of the axes of all panels.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullFormatter

    figure = Figure(figsize=(1 + 5 * len(panels), 4.5), layout="constrained")
    row = figure.subplots(1, len(panels), sharex=True, sharey=True, squeeze=False)[0]
    for axes, (title, curves) in zip(row, panels.items(), strict=True):
        for name, points in curves.items():
            axes.plot(*zip(*points, strict=True), "o-", label=name)
        axes.set(title=title, xlabel=x_label, ylabel=y_label, xscale="log", yscale="log")
        axes.grid(alpha=0.3, which="both")
        # within one decade, labels between the powers of ten overlap
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.label_outer()
    row[-1].legend(loc="lower left")
    return figure


def _plot_losses(axes: Axes, records: list[dict[str, Any]], cross_entropies: bool) -> None:
    epochs = [record["epoch"] for record in records]
    axes.locator_params(axis="x", integer=True)
    axes.plot(epochs, [record["loss_d"] for record in records], label="discriminator")
    axes.plot(epochs, [record["loss_g"] for record in records], label="generator")
    if cross_entropies:
        axes.set_ylabel("nats")
        guess = "discriminator that cannot tell"
        axes.axhline(2 * math.log(2), color="grey", lw=0.8, ls=":", label=guess)
    axes.set(title="adversarial losses", xlabel="epoch")
    axes.legend()


def _plot_fits(axes: Axes, records: list[dict[str, Any]]) -> None:
    epochs, fits = [record["epoch"] for record in records], [record["fit"] for record in records]
    axes.locator_params(axis="x", integer=True)
    title = "prior: KL(latent bits || prior), summed over bases"
    axes.set(title=title, xlabel="epoch", ylabel="nats")
    if fits[0]["kl"] is None and fits[0].get("nll") is not None:
        axes.set_title("prior: negative log-likelihood of held-out latent bits")
        curves = {
            "nll": "prior",
            "nll_product": "product of marginals",
            "nll_tree": "Chow-Liu tree",
        }
        for key, label in curves.items():
            axes.plot(
                epochs, [fit[key] for fit in fits], ls="-" if key == "nll" else "--", label=label
            )
        axes.legend()
        return
    if fits[0]["kl"] is None:
        text = "this prior has no distribution over bitstrings"
        axes.text(0.5, 0.5, text, ha="center", transform=axes.transAxes)
        return
    axes.plot(epochs, [fit["kl"] for fit in fits], label="prior")
    product = [fit["kl_product"] for fit in fits]
    axes.plot(epochs, product, ls="--", label="product of marginals (no circuit)")
    axes.set_ylim(bottom=0)
    axes.legend()


def _plot_bitstrings(figure: SubFigure, path: Path) -> None:
    """Plot the most frequent bitstrings of each basis, if the prior has distributions."""
    if not path.is_file():
        figure.subplots(1, 1).axis("off")
        return
    bases, targets, models = read_arrays(path, ("bases", "target", "model"))
    n_qubits = targets.shape[1].bit_length() - 1
    panels = np.atleast_1d(figure.subplots(1, len(bases)))
    for axes, basis, target, model in zip(panels, bases, targets, models, strict=True):
        order = np.argsort(-target)[:_MOST_STRINGS]
        places = np.arange(len(order))
        axes.bar(places - 0.2, target[order], 0.4, label="latent bits of real images")
        axes.bar(places + 0.2, model[order], 0.4, label="circuit")
        labels = [format(index, f"0{n_qubits}b")[::-1] for index in order]
        axes.set_xticks(places, labels, rotation=90, fontsize=6)
        axes.set(
            title=f"basis {basis}: the {len(order)} most frequent bitstrings (qubit 0 left)",
            ylabel="probability",
        )
        axes.legend()


def _plot_samples(axes: Axes, real: NDArray[np.float64], generated: NDArray[np.float64]) -> None:
    """Plot histograms of real and generated numbers [n], [m] over the same bins."""
    bins = np.histogram_bin_edges(np.concatenate([real, generated]), 60).tolist()
    axes.hist(real, bins, density=True, color="lightgrey", label="real")
    axes.hist(generated, bins, density=True, histtype="step", color="tab:blue", label="generated")
    axes.legend()
