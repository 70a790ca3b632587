"""Snapshots of the QGAN: saved, loaded, trained on, and refused."""

from __future__ import annotations

import copy
import csv
import json
from functools import partial

import numpy as np
import pytest
import torch
from qgans import DEFAULT, ROTATIONS, assert_same, binomial
from torch import nn

from qcaan.gans.distribution import snapshots as distribution_snapshots
from qcaan.gans.distribution.generator import CircuitGenerator
from qcaan.gans.distribution.grid import make_grid


@pytest.mark.parametrize("sampler", ["exact", "aer"])
@pytest.mark.parametrize("loss", ["bce", "wgan-gp"])
def test_snapshots_can_be_loaded_and_trained_on(tmp_path, loss, sampler):
    options = {"loss": loss, "sampler": sampler, "batch_size": 500}
    whole = binomial(n_epochs=4, snapshot_dir=tmp_path / "whole", **options)
    whole.run()
    first = binomial(n_epochs=2, snapshot_dir=tmp_path / "parts", **options)
    first.run()
    second = binomial(n_epochs=2, snapshot_dir=tmp_path / "parts", **options)
    second.load()
    assert second.rel_entr == whole.rel_entr[:2]
    second.run()
    assert_same(whole, second)
    assert (tmp_path / "whole" / "output.csv").read_text() == (
        tmp_path / "parts" / "output.csv"
    ).read_text()
    with (tmp_path / "parts" / "output.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == [
        "epoch",
        "loss_discriminator",
        "loss_generator",
        "params_generator",
        "rel_entropy",
    ]
    assert [row["epoch"] for row in rows] == ["0", "1", "2", "3"]
    assert json.loads(rows[-1]["params_generator"]) == whole.generator.parameter_values.tolist()
    assert [float(row["rel_entropy"]) for row in rows] == whole.rel_entr
    assert [float(row["loss_discriminator"]) for row in rows] == whole.d_loss


def test_a_new_training_starts_its_csv_anew_and_rows_without_a_checkpoint_are_dropped(tmp_path):
    options = {"snapshot_dir": tmp_path, "batch_size": 1000}
    binomial(n_epochs=3, **options).run()
    binomial(n_epochs=1, **options).run()
    text = (tmp_path / "output.csv").read_text()
    assert len(text.splitlines()) == 2
    (tmp_path / "output.csv").write_text(text + "1,0,0,[],0\n")  # cut off before the checkpoint
    qgan = binomial(n_epochs=1, **options)
    qgan.load()
    qgan.run()
    assert len((tmp_path / "output.csv").read_text().splitlines()) == 3


def test_a_resumed_run_with_a_given_generator_equals_an_uninterrupted_one(tmp_path):
    def make(n, folder):
        generator = CircuitGenerator(
            make_grid([0, 3], [2]), ROTATIONS, init_params=[0.1, 0.2], gradient="spsa"
        )
        return binomial(n_epochs=n, generator=generator, snapshot_dir=tmp_path / folder)

    whole, first, second = make(4, "whole"), make(2, "parts"), make(2, "parts")
    whole.run()
    first.run()
    second.load()
    second.run()
    assert_same(whole, second)
    whole.seed, again = 1, make(4, "again")  # SPSA's random state is of the seed too
    for qgan in (whole, again):
        qgan.run()
    assert_same(whole, again)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"discriminator": nn.Linear(1, 1)}, r"optimiser \(RuntimeError\)$"),
        (
            {
                "generator": CircuitGenerator(
                    make_grid([0, 3], [2]),
                    DEFAULT,
                    init_params=np.ones(4),
                    optimizer=partial(torch.optim.Adam, lr=0.1),
                )
            },
            r"an optimiser of another kind",
        ),
        ({"loss": "wgan-gp"}, r"the discriminator learns by wgan-gp, the one in the state by bce"),
        ({"generator": ROTATIONS}, r"parameters must be 2 finite numbers, got shape \[4\]"),
    ],
)
def test_a_refused_snapshot_changes_nothing(tmp_path, other, message):
    binomial(n_epochs=2, snapshot_dir=tmp_path).run()
    qgan, untouched = (binomial(n_epochs=1, seed=3, **copy.deepcopy(other)) for _ in range(2))
    for each in (qgan, untouched):
        each.run()
    with pytest.raises(ValueError, match=message) as caught:
        qgan.load(tmp_path)
    assert "\n" not in str(caught.value)
    assert_same(qgan, untouched)
    for each in (qgan, untouched):
        each.run()
    assert_same(qgan, untouched)


def test_what_is_no_snapshot_of_it_is_refused(tmp_path):
    qgan = binomial(n_epochs=1, batch_size=1000, snapshot_dir=tmp_path)
    for state in ({"epoch": 3, "model": {}}, [1, 2]):
        torch.save(state, tmp_path / "checkpoint.pt")
        with pytest.raises(ValueError, match="the snapshot is not that of a QGAN of distributions"):
            qgan.load()
    for text in ("date,price\n1,2\n", "", "epoch\n"):
        (tmp_path / "output.csv").write_text(text)
        with pytest.raises(
            ValueError,
            match=r"output\.csv is not the history of a QGAN; name another `snapshot_dir`",
        ):
            qgan.run()
        assert (tmp_path / "output.csv").read_text() == text


def test_the_history_is_read_only_when_it_was_left_by_another(tmp_path, monkeypatch):
    reads = []
    original = distribution_snapshots._rows_before
    monkeypatch.setattr(
        distribution_snapshots, "_rows_before", lambda *a: reads.append(a) or original(*a)
    )
    qgan = binomial(n_epochs=5, batch_size=1000, snapshot_dir=tmp_path)
    qgan.run()
    assert not reads
    again = binomial(n_epochs=3, batch_size=1000, snapshot_dir=tmp_path)
    again.load()
    again.run()
    assert len(reads) == 1
    assert len((tmp_path / "output.csv").read_text().splitlines()) == 9


def test_bad_snapshots_are_named(tmp_path):
    binomial(n_epochs=1, snapshot_dir=tmp_path).run()
    with pytest.raises(ValueError, match=r"the snapshot has the n_qubits \[2\], expected \[3\]"):
        binomial(n_qubits=[3]).load(tmp_path)
    with pytest.raises(ValueError, match=r"parameters must be 2 finite numbers, got shape \[4\]"):
        binomial(generator=ROTATIONS).load(tmp_path)
    with pytest.raises(
        ValueError, match=r"of another generator, discriminator or optimiser \(RuntimeError\)"
    ):
        binomial(discriminator=nn.Linear(1, 1)).load(tmp_path)
    with pytest.raises(ValueError, match="nowhere holds no snapshot"):
        binomial().load(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="`snapshot_dir` must be a folder to load from, got None"):
        binomial().load()
    (tmp_path / "checkpoint.pt").write_bytes(b"PK cut short")
    with pytest.raises(ValueError, match=r"checkpoint\.pt is damaged"):
        binomial().load(tmp_path)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"),
    ],
)
def test_a_snapshot_that_does_not_fit_is_not_called_another(tmp_path, monkeypatch, error):
    qgan = binomial(n_epochs=1, snapshot_dir=tmp_path)
    qgan.run()

    def fail(state):
        raise error

    monkeypatch.setattr(qgan.discriminator, "load_state_dict", fail)
    with pytest.raises(type(error)) as caught:
        qgan.load()
    assert caught.value is error


@pytest.mark.parametrize("content", [b"a,b\n1,2\n", bytes(range(256)), b""])
def test_a_foreign_history_is_named_before_the_training_goes_on(tmp_path, content):
    snapshots = distribution_snapshots.Snapshots(tmp_path)
    snapshots.check()
    (tmp_path / "output.csv").write_bytes(content)
    with pytest.raises(ValueError, match=r"output\.csv is not the history of a QGAN"):
        snapshots.check()
