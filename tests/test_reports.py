"""Figures, looked at before they are saved: axes, labels, numbers of lines and their data."""

from __future__ import annotations

import io
import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib import cbook
from matplotlib.figure import Figure
from PIL import Image

from qcaan.runs import reports
from qcaan.runs.directory import RunDirectory, RunError


def texts(axes):
    """Return the texts of the legend of axes."""
    return [text.get_text() for text in axes.get_legend().get_texts()]


def labelled(axes):
    """Return the labelled lines of axes by label."""
    lines = {line.get_label(): line for line in axes.lines}
    return {label: line for label, line in lines.items() if not label.startswith("_")}


def write_run(path, records, config=None, data=None):
    """Write a run directory as far as a report reads it."""
    (path / "samples").mkdir(parents=True)
    for name, value in (("drawn.png", 30), ("real.png", 200)):
        Image.new("L", (8, 8), value).save(path / "samples" / name)
    record = {"system": "associative", "format": 1, "config": config or {}}
    data = {"name": "mnist", "provenance": "20 images", **(data or {})}
    (path / "config.json").write_text(json.dumps({**record, "data": data}))
    (path / "log.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    return RunDirectory(path)


def image_records(**fit):
    losses = ((1.0, 0.5), (0.75, 0.625))
    records = [
        {"epoch": epoch, "step": 10 * epoch, "loss_d": loss_d, "loss_g": loss_g}
        for epoch, (loss_d, loss_g) in enumerate(losses, 1)
    ]
    return [{**record, "fit": fit} for record in records] if fit else records


def test_the_report_of_a_run_without_bits_has_losses_and_two_pictures(tmp_path):
    figure = reports.image_figure(write_run(tmp_path / "run", image_records()), "a title")
    losses, drawn, real = figure.axes
    assert (losses.get_xlabel(), losses.get_ylabel()) == ("epoch", "nats")
    lines = labelled(losses)
    assert lines["discriminator"].get_xydata().tolist() == [[1, 1.0], [2, 0.75]]
    assert lines["generator"].get_xydata().tolist() == [[1, 0.5], [2, 0.625]]
    guess = lines["discriminator that cannot tell"].get_ydata()
    assert guess[0] == pytest.approx(2 * math.log(2))
    assert texts(losses) == list(lines)
    assert drawn.images[0].get_array()[0, 0] == 30 and real.images[0].get_array()[0, 0] == 200
    assert drawn.images[0].get_clim() == (0, 255)
    assert (drawn.get_title(), real.get_title()) == (
        "generated from fresh draws, epoch 2",
        "real",
    )
    assert figure.get_suptitle() == "a title"


def test_wasserstein_losses_have_no_unit_and_no_guess(tmp_path):
    run = write_run(tmp_path / "run", image_records())
    losses = reports.image_figure(run, "a title", cross_entropies=False).axes[0]
    assert losses.get_ylabel() == ""
    assert list(labelled(losses)) == ["discriminator", "generator"]


@pytest.mark.parametrize("stands_in", [True, False])
def test_a_report_says_that_its_data_stand_in_for_others(tmp_path, stands_in):
    data = {"name": "mnist-5k", "stands_in": stands_in}
    run = write_run(tmp_path / "run", image_records(), data=data)
    title = reports.image_figure(run, "a title").get_suptitle()
    added = "\nmnist-5k STANDS IN for a data set that is not available"
    assert title == "a title" + (added if stands_in else "")


def test_the_report_of_a_fitted_prior_has_its_fits_and_its_bitstrings(tmp_path):
    run = write_run(tmp_path / "run", image_records(kl=0.25, kl_product=0.5))
    target, model = np.array([[0.1, 0.6, 0.0, 0.3]] * 2), np.full((2, 4), 0.25)
    np.savez(run.path / "prior.npz", bases=np.array(["z", "o"]), target=target, model=model)
    figure = reports.image_figure(run, "a title")
    _, fits, z, o, _, _ = figure.axes
    lines = labelled(fits)
    assert lines["prior"].get_xydata().tolist() == [[1, 0.25], [2, 0.25]]
    product = lines["product of marginals (no circuit)"]
    assert product.get_xydata().tolist() == [[1, 0.5], [2, 0.5]]
    assert fits.get_ylim()[0] == 0
    assert z.get_title() == "basis z: the 4 most frequent bitstrings (qubit 0 left)"
    assert o.get_title().startswith("basis o: ")
    # index 1 has qubit 0 set, which stands on the left
    assert [label.get_text() for label in z.get_xticklabels()] == ["10", "11", "00", "01"]
    latent, circuit = z.containers
    assert [bar.get_height() for bar in latent] == [0.6, 0.3, 0.1, 0.0]
    assert [bar.get_height() for bar in circuit] == [0.25] * 4


def test_a_prior_without_a_distribution_says_so(tmp_path):
    run = write_run(tmp_path / "run", image_records(kl=None, kl_product=None))
    _, fits, bitstrings, _, _ = reports.image_figure(run, "a title").axes
    assert [text.get_text() for text in fits.texts] == [
        "this prior has no distribution over bitstrings"
    ]
    assert not fits.lines and not bitstrings.axison


@pytest.mark.parametrize("n_columns", [1, 5])
def test_the_report_on_real_numbers_has_four_columns_at_most(tmp_path, n_columns):
    config = {
        "n_qubits": 2, "ansatz": "ry-rx", "n_layers": 3, "penalty": "one-sided", "sampler": "exact",
        "shots": 0, "switch_after_epochs": None,
    }  # fmt: skip
    records = [
        {"epoch": i, "step": 10 * i, "loss_d": -0.5, "loss_g": 0.25, "mean": [0.1 * i] * n_columns,
         "std": [0.2] * n_columns, "w1": [0.3 / i] * n_columns}
        for i in (1, 2)
    ]  # fmt: skip
    run = write_run(tmp_path / "run", records, config, {"name": "normal"})
    rng = np.random.default_rng(0)
    real, generated = rng.normal(0, 1, (50, n_columns)), rng.normal(5, 1, (40, n_columns))
    np.savez(run.path / "samples.npz", real=real, generated=generated)
    figure = reports.samples_figure(run)
    shown = min(n_columns, 4)
    *histograms, losses, moments, distances = figure.axes
    assert len(histograms) == shown
    column = ", column 0" if n_columns > 1 else ""
    assert histograms[0].get_title() == f"samples after step 20{column}"
    assert sorted(texts(histograms[0])) == ["generated", "real"]
    assert labelled(losses)["generator: -D(fake)"].get_xydata().tolist() == [[10, 0.25], [20, 0.25]]
    assert len(labelled(moments)) == 2 * shown and len(moments.lines) == 4 * shown
    dotted = [line for line in moments.lines if line.get_linestyle() == ":"]
    assert dotted[0].get_ydata()[0] == pytest.approx(real[:, 0].mean())
    assert dotted[1].get_ydata()[0] == pytest.approx(real[:, 0].std())
    assert len(distances.lines) == shown and distances.get_yscale() == "log"
    assert {axes.get_xlabel() for axes in (losses, moments, distances)} == {"generator step"}
    assert figure.get_suptitle() == (
        "Hybrid WGAN-GP QGAN, normal, 2 qubits, ry-rx 3, one-sided penalty, sampler exact"
    )


def test_a_distribution_has_a_row_for_each_dimension_and_one_for_the_history():
    values = [np.array([0.0, 1.0, 2.0]), np.array([-1.0, 1.0])]
    data = [np.array([0.2, 0.3, 0.5]), np.array([0.5, 0.5])]
    model = [np.array([0.3, 0.3, 0.4]), np.array([0.25, 0.75])]
    history = {"d_loss": [0.7, 0.6], "g_loss": [0.7, 0.8], "rel_entr": [0.5, 0.25]}
    figure = reports.distribution_figure(values, data, model, history=history, title="a title")
    first, first_cdf, second, _, losses, entropy = figure.axes
    assert [bar.get_height() for bar in first.containers[1]] == [0.3, 0.3, 0.4]
    assert [bar.get_height() for bar in second.containers[0]] == [0.5, 0.5]
    assert first_cdf.lines[0].get_ydata() == pytest.approx([0.2, 0.5, 1])
    assert texts(first) == texts(first_cdf) == ["data", "circuit"]
    assert labelled(losses)["generator"].get_ydata().tolist() == [0.7, 0.8]
    assert entropy.lines[0].get_ydata().tolist() == [0.5, 0.25]
    assert (entropy.get_yscale(), entropy.get_ylabel()) == ("log", "nats")
    assert figure.get_suptitle() == "a title"


def test_a_spread_shows_every_value_and_the_mean():
    (axes,) = reports.spread_figure({"": {"qcbm": [1, 2, 6], "rbm": [4]}}, "FID").axes
    dots, mean, lone, _ = axes.lines
    assert dots.get_xydata().tolist() == [[1, 0], [2, 0], [6, 0]]
    assert mean.get_xydata().tolist() == [[3, 0]]
    assert lone.get_xydata().tolist() == [[4, 1]]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["qcbm", "rbm"]
    assert axes.get_xlabel() == "FID (dots: seeds; bar: their mean)"
    assert axes.get_xscale() == "log" and axes.yaxis_inverted()


def test_curves_share_logarithmic_axes_and_have_one_legend():
    panels = {"one": {"a": [(1, 2), (10, 3)], "b": [(2, 1)]}, "two": {"a": [(5, 5)]}}
    figure = reports.curves_figure(panels, x_label="seconds", y_label="KL")
    one, two = figure.axes
    assert (one.get_title(), two.get_title()) == ("one", "two")
    assert labelled(one)["a"].get_xydata().tolist() == [[1, 2], [10, 3]]
    assert len(one.lines) == 2 and len(two.lines) == 1
    assert (one.get_xlabel(), one.get_ylabel(), two.get_ylabel()) == ("seconds", "KL", "")
    assert one.get_xscale() == two.get_yscale() == "log"
    assert one.get_legend() is None and texts(two) == ["a"]


def test_panels_of_a_spread_in_two_columns_have_axes_of_their_own():
    panels = {
        "small": {"a": [0.01, 0.02], "b": [0.1]},
        "large": {"a": [40, 44]},
        "last": {"b": [3]},
    }
    figure = reports.spread_figure(panels, "nats", n_columns=2)
    small, large, last = figure.axes
    assert [axes.get_title() for axes in figure.axes] == list(panels)
    assert [label.get_text() for label in small.get_yticklabels()] == ["a", "b"]
    assert small.lines[0].get_xdata().tolist() == [0.01, 0.02]
    assert small.get_xlim()[1] < 1 < 30 < large.get_xlim()[0]
    assert last.get_xlabel() == "nats (dots: seeds; bar: their mean)"
    figure.draw_without_rendering()
    shown = {label.get_text() for label in large.get_xticklabels(minor=True)}
    assert {"40", "44"} <= shown


def test_a_figure_is_saved_whole_or_not_at_all(tmp_path):
    path = reports.save_figure(
        tmp_path / "fid.png", reports.spread_figure({"": {"rbm": [4]}}, "FID")
    )
    assert path == tmp_path / "fid.png"
    with Image.open(path) as picture:
        assert picture.size == (9 * 90, int(1.75 * 90))

    def fail(*arguments: object, **options: object) -> None:
        raise MemoryError

    with pytest.raises(MemoryError):
        reports.save_figure(tmp_path / "other.png", SimpleNamespace(savefig=fail))
    assert [file.name for file in tmp_path.iterdir()] == ["fid.png"]


NAMES = (
    "a$b.csv",
    "$x_$y$",
    r"a\$b",
    "line\nbreak\t",
    "[bold]red[/]",
    "手書き",
    "b\udcff",
    "n" * 250,
    r"\frac{1}{$",
)


@pytest.mark.parametrize("name", NAMES)
def test_names_of_users_are_drawn_as_they_are(name):
    figure = Figure(figsize=(2, 1))
    title = figure.suptitle(reports._literal(name))
    figure.savefig(io.BytesIO(), format="png")  # warns of characters that the font lacks
    assert not cbook.is_math_text(title.get_text())
    assert max(map(len, title.get_text().splitlines())) <= 125


def test_every_report_draws_names_of_users(tmp_path):
    """A finished training must not end in an error of a title."""
    name = "a$b 手"
    config = {
        **{"sampler": "exact", "shots": 0, "switch_after_epochs": None, "n_qubits": 3},
        **{"ansatz": "ry-rx", "n_layers": 1, "penalty": "one-sided"},
    }
    records = [{**record, "mean": [0.0], "std": [1.0], "w1": [0.1]} for record in image_records()]
    run = write_run(tmp_path / "run", records, config, {"name": f"/data/{name}"})
    np.savez(run.path / "samples.npz", real=np.zeros((9, 1)), generated=np.ones((9, 1)))
    history = {key: [0.1, 0.2] for key in ("d_loss", "g_loss", "rel_entr")}
    half = np.full(2, 0.5)
    for figure in (
        reports.image_figure(run, f"QC-AAN, {name}"),
        reports.samples_figure(run),
        reports.distribution_figure([np.arange(2.0)], [half], [half], history=history, title=name),
    ):
        assert r"a\$b \u624b" in figure.get_suptitle()
        assert reports.save_report(run, figure, 2).is_file()


def test_a_log_without_the_numbers_of_a_report_is_named(tmp_path):
    run = write_run(tmp_path / "run", [{"epoch": 1}])
    with pytest.raises(RunError, match=r"log\.jsonl lacks epochs, or a number of an epoch"):
        reports.image_figure(run, "a title")
    run.log_path.write_text("")
    with pytest.raises(RunError, match=r"log\.jsonl lacks epochs"):
        reports.image_figure(run, "a title")
