from __future__ import annotations

import os
import stat
from dataclasses import dataclass

import pytest
import torch
from torch import nn

from qcaan.files import atomic_write
from qcaan.runs.directory import RunDirectory, RunError
from qcaan.training import EMA, pick_device

FACTS = {"data": {"name": "toy", "n_images": 3}}


@dataclass(frozen=True)
class Config:
    epochs: int = 2
    lr: float = 0.1


def checkpointed(run: RunDirectory, epoch: int) -> None:
    run.append({"epoch": epoch})
    run.save_checkpoint({"epoch": epoch, "weights": torch.ones(2)})


def test_a_finished_run_is_given_back_and_an_unfinished_one_only_to_resume(tmp_path):
    run = RunDirectory(tmp_path / "run")
    assert run.begin(Config(), FACTS, False, "cpu") is None
    checkpointed(run, 1)
    with pytest.raises(RunError, match=r"unfinished run \(1 of 2 epochs\); go on with --resume"):
        run.begin(Config(), FACTS, False, "cpu")
    assert run.begin(Config(), FACTS, True, "cpu")["epoch"] == 1
    checkpointed(run, 2)
    assert run.begin(Config(), FACTS, False, "cpu")["epoch"] == 2
    run.save_checkpoint({"epoch": 1, "finished": True})
    assert run.begin(Config(), FACTS, False, "cpu")["epoch"] == 1


def test_what_a_kill_left_half_written_goes_when_the_run_goes_on(tmp_path):
    run = RunDirectory(tmp_path / "run")
    run.begin(Config(), FACTS, False, "cpu")
    checkpointed(run, 1)
    mine = run.path / ".notes.txt"
    mine.write_text("kept")
    begun = [atomic_write(run.path / name) for name in ("checkpoint.pt", "samples/epoch_0001.png")]
    left = {writing.__enter__() for writing in begun}  # and never left
    assert set(run.path.rglob(".*")) == {mine, *left}
    assert run.begin(Config(), FACTS, True, "cpu")["epoch"] == 1
    assert list(run.path.rglob(".*")) == [mine]


def test_resume_may_raise_epochs_and_nothing_else(tmp_path):
    run = RunDirectory(tmp_path / "run")
    run.begin(Config(), FACTS, False, "cpu")
    checkpointed(run, 2)
    for config, resume, message in (
        (Config(epochs=3), False, "--resume may raise --epochs"),
        (Config(epochs=1), True, "--resume may raise --epochs"),
        (Config(lr=0.2), True, r"another configuration \(lr is 0.1 there, 0.2 here\)"),
    ):
        with pytest.raises(RunError, match=message):
            run.begin(config, FACTS, resume, "cpu")
    with pytest.raises(RunError, match="data name is 'toy' there, 'other' here"):
        run.begin(Config(), {"data": {"name": "other", "n_images": 3}}, True, "cpu")
    assert run.begin(Config(epochs=3), FACTS, True, "cpu")["epoch"] == 2
    assert run.config()["config"]["epochs"] == 3


def test_a_run_killed_before_its_first_checkpoint_starts_again_on_resume(tmp_path):
    run = RunDirectory(tmp_path / "run")
    run.begin(Config(), FACTS, False, "cpu")
    run.append({"epoch": 1})
    assert run.begin(Config(), FACTS, True, "cpu") is None
    assert run.records() == []


def test_log_records_past_the_checkpoint_and_a_line_cut_short_are_dropped(tmp_path):
    run = RunDirectory(tmp_path / "run")
    run.begin(Config(), FACTS, False, "cpu")
    checkpointed(run, 1)
    run.append({"epoch": 2})
    with run.log_path.open("a") as file:
        file.write('{"epoch": 3, "lo')
    assert [record["epoch"] for record in run.records()] == [1, 2]
    run.begin(Config(), FACTS, True, "cpu")
    assert run.log_path.read_text() == '{"epoch": 1}\n'


def test_a_foreign_folder_is_refused_and_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(RunError, match="holds something else than a run"):
        RunDirectory(tmp_path).begin(Config(), FACTS, False, "cpu")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
    with pytest.raises(RunError, match="holds no run to resume"):
        RunDirectory(tmp_path).begin(Config(), FACTS, True, "cpu")


@pytest.mark.parametrize("name", ["checkpoint.pt", "config.json"])
def test_files_cut_short_are_named(tmp_path, name):
    run = RunDirectory(tmp_path / "run")
    run.begin(Config(), FACTS, False, "cpu")
    checkpointed(run, 1)
    path = run.path / name
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(RunError, match=f"{name} is damaged"):
        run.begin(Config(), FACTS, True, "cpu")


def test_atomic_write_leaves_the_old_file_when_the_block_fails(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError), atomic_write(path) as temporary:
        temporary.write_text("half of the n")
        raise RuntimeError
    assert [p.name for p in tmp_path.iterdir()] == ["file.txt"]
    assert path.read_text() == "old"
    with atomic_write(path) as temporary:
        temporary.write_text("new")
    assert path.read_text() == "new"
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~mask


def test_ema_follows_weights_slowly_and_copies_buffers():
    module = nn.BatchNorm1d(2)
    average = EMA(module, decay=0.9)
    with torch.no_grad():
        module.weight.fill_(3)
        module.running_mean.fill_(5)
    average.update(module)  # first decay is 2 / 11
    assert average.module.weight.tolist() == pytest.approx([3 - 2 * 2 / 11] * 2)
    assert average.module.running_mean.tolist() == [5, 5]
    assert not average.module.weight.requires_grad


def test_devices_that_are_not_there_are_named():
    assert pick_device("cpu").type == "cpu"
    with pytest.raises(ValueError, match="unknown device 'tpu9'"):
        pick_device("tpu9")
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="asks for a CUDA device, and torch sees 0"):
            pick_device("cuda")
