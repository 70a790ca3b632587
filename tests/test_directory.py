from __future__ import annotations

import errno
import json
import os
import random
import subprocess
import sys
from dataclasses import dataclass

import pytest
import torch

from qcaan.runs.directory import RunDirectory, RunError

DATA = {"name": "toy", "n_images": 3}


@dataclass(frozen=True)
class Config:
    epochs: int = 2
    lr: float = 0.1


def begin(run: RunDirectory, epochs: int = 2, resume: bool = False):
    return run.begin("image", Config(epochs=epochs), DATA, resume=resume)


def checkpointed(run: RunDirectory, epoch: int) -> None:
    run.append({"epoch": epoch})
    run.save_checkpoint({"epoch": epoch, "weights": torch.ones(2)})


def test_a_finished_run_is_given_back_and_an_unfinished_one_only_to_resume(tmp_path):
    run = RunDirectory(tmp_path / "run")
    assert begin(run) is None
    checkpointed(run, 1)
    with pytest.raises(
        RunError, match=r"unfinished run \(1 of 2 epochs\); continue it with --resume"
    ):
        begin(run)
    assert begin(run, resume=True)["epoch"] == 1
    checkpointed(run, 2)
    assert begin(run)["epoch"] == 2
    run.save_checkpoint({"epoch": 1, "finished": True})
    assert begin(run)["epoch"] == 1


def test_what_a_kill_left_half_written_goes_when_the_run_goes_on(tmp_path):
    run = RunDirectory(tmp_path / "run")
    begin(run)
    checkpointed(run, 1)
    mine = run.path / ".notes.txt"
    mine.write_text("kept")
    left = {run.path / f".{'0' * 16}.part", run.path / "samples" / f".{'a' * 16}.part"}
    for path in left:
        path.touch()
    lock = run.path / ".lock"
    assert set(run.path.rglob(".*")) == {lock, mine, *left}
    assert begin(run, resume=True)["epoch"] == 1
    assert set(run.path.rglob(".*")) == {lock, mine}


def test_resume_may_raise_epochs_and_nothing_else(tmp_path):
    run = RunDirectory(tmp_path / "run")
    begin(run)
    checkpointed(run, 2)
    for config, resume, message in (
        (Config(epochs=3), False, "--resume may raise --epochs"),
        (Config(epochs=1), True, "--resume may raise --epochs"),
        (Config(lr=0.2), True, r"another configuration \(lr is 0.1 there, 0.2 here\)"),
    ):
        with pytest.raises(RunError, match=message):
            run.begin("image", config, DATA, resume=resume)
    with pytest.raises(RunError, match="data name is 'toy' there, 'other' here"):
        run.begin("image", Config(), {"name": "other", "n_images": 3}, resume=True)
    assert begin(run, epochs=3, resume=True)["epoch"] == 2
    assert run.config()["config"]["epochs"] == 3


def test_a_run_killed_before_its_first_checkpoint_starts_again_on_resume(tmp_path):
    run = RunDirectory(tmp_path / "run")
    begin(run)
    run.append({"epoch": 1})
    assert begin(run, resume=True) is None
    assert run.records() == []


def test_a_run_killed_while_its_folder_was_made_begins_anew(tmp_path):
    (tmp_path / ".lock").touch()
    (tmp_path / "samples").mkdir()
    (tmp_path / f".{'0a' * 8}.part").write_text("{")
    run = RunDirectory(tmp_path)
    run.check(resume=False)
    (tmp_path / "samples" / "mine.png").touch()
    with pytest.raises(RunError, match="holds something else than a run"):
        run.check(resume=False)


def test_log_records_past_the_checkpoint_and_a_line_cut_short_are_dropped(tmp_path):
    run = RunDirectory(tmp_path / "run")
    begin(run)
    checkpointed(run, 1)
    run.append({"epoch": 2})
    with run.log_path.open("a") as file:
        file.write('{"epoch": 3, "lo')
    assert [record["epoch"] for record in run.records()] == [1, 2]
    begin(run, resume=True)
    assert run.log_path.read_text() == '{"epoch": 1}\n'


def test_a_foreign_folder_is_refused_and_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(RunError, match="holds something else than a run"):
        begin(RunDirectory(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
    with pytest.raises(RunError, match="holds no run to resume"):
        begin(RunDirectory(tmp_path), resume=True)


@pytest.mark.parametrize("name", ["checkpoint.pt", "config.json"])
def test_files_cut_short_are_named(tmp_path, name):
    run = RunDirectory(tmp_path / "run")
    begin(run)
    checkpointed(run, 1)
    path = run.path / name
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(RunError, match=f"{name} is damaged"):
        begin(run, resume=True)


@pytest.mark.parametrize("error", [MemoryError, torch.OutOfMemoryError, PermissionError])
def test_a_file_that_does_not_fit_or_cannot_be_read_is_not_called_damaged(
    tmp_path, monkeypatch, error
):
    run = RunDirectory(tmp_path / "run")
    begin(run)
    checkpointed(run, 1)

    def fail(*args, **options):
        raise error

    monkeypatch.setattr(torch, "load", fail)
    with pytest.raises(error):
        begin(run, resume=True)


def test_the_record_names_the_system_and_the_format_and_others_are_refused(tmp_path):
    run = RunDirectory(tmp_path / "run")
    begin(run)
    checkpointed(run, 2)
    record = run.config()
    assert (record["system"], record["format"], record["data"]) == ("image", 1, DATA)
    with pytest.raises(RunError, match="holds a run of the system image, not associative"):
        run.begin("associative", Config(), DATA, resume=True)
    for change in ({"format": 2}, {"format": None}, {"system": "warp"}):
        (run.path / "config.json").write_text(json.dumps({**record, **change}))
        with pytest.raises(RunError, match="is of another version of qcaan"):
            run.config()


def test_one_process_owns_a_run_at_a_time(tmp_path):
    """The lock dies with its process, even if the process is killed."""
    begin(RunDirectory(tmp_path / "run"))
    program = (
        "import sys, time; from pathlib import Path; from qcaan.runs.directory import RunDirectory;"
        "run = RunDirectory(Path(sys.argv[1])); run.lock();"
        "print('owned', flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "run")]
    other = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout.readline() == "owned\n"
        for resume in (False, True):
            with pytest.raises(RunError, match="is in use by another process"):
                begin(RunDirectory(tmp_path / "run"), resume=resume)
    finally:
        other.kill()
        other.communicate()
    assert begin(RunDirectory(tmp_path / "run"), resume=True) is None


def test_every_bit_of_a_checkpoint_is_checked(tmp_path):
    run = RunDirectory(tmp_path / "run")
    begin(run)
    state = {"epoch": 1, "weights": torch.arange(500.0)}
    run.save_checkpoint(state)
    whole = run.checkpoint_path.read_bytes()
    rng = random.Random(0)
    for _ in range(60):
        place, bit = rng.randrange(len(whole)), rng.randrange(8)
        damaged = bytearray(whole)
        damaged[place] ^= 1 << bit
        run.checkpoint_path.write_bytes(damaged)
        try:
            loaded = run.load_checkpoint()
        except RunError as error:
            assert "checkpoint.pt is damaged" in str(error)
        else:  # padding between the records, which says nothing
            assert loaded["epoch"] == 1 and torch.equal(loaded["weights"], state["weights"])


def tree(path):
    """Return the size and the times of everything in a folder."""
    found = {"": path.stat().st_mtime_ns}
    return found | {str(p): (p.stat().st_size, p.stat().st_mtime_ns) for p in path.rglob("*")}


def refuse(state):
    raise RunError("of other networks")


@pytest.mark.parametrize("locked", [True, False])
def test_a_refused_resume_changes_nothing(tmp_path, locked):
    with RunDirectory(tmp_path / "run") as run:
        begin(run)
    checkpointed(run, 1)
    run.append({"epoch": 2})  # a resumed run would drop it
    (run.path / f".{'0' * 16}.part").touch()
    if not locked:  # a run that was copied without its lock
        (run.path / ".lock").unlink()
    before = tree(run.path)
    good = {"system": "image", "config": Config(), "data": DATA, "resume": True}
    calls = (
        ({"system": "associative"}, "holds a run of the system image"),
        ({"config": Config(lr=0.2)}, "lr is 0.1 there"),
        ({"config": Config(epochs=1)}, "was planned for 2 epochs"),
        ({"data": {"name": "other", "n_images": 3}}, "data name is 'toy' there"),
        ({"resume": False}, "holds an unfinished run"),
        ({"restore": refuse}, "of other networks"),
        ({"restore": refuse, "config": Config(epochs=3)}, "of other networks"),
    )
    for call, message in calls:
        with pytest.raises(RunError, match=message), RunDirectory(run.path) as again:
            again.begin(**{**good, **call})
    assert tree(run.path) == before


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("log.jsonl", b'[1]\n{"epoch": 1}\n', r"log\.jsonl is damaged: line 1 is not a record"),
        ("log.jsonl", b'{"a": 1}\n', r"log\.jsonl is damaged: line 1 has no epoch"),
        ("log.jsonl", bytes(range(256)), r"log\.jsonl is damaged: line 1 is not a record"),
        ("log.jsonl", None, r"log\.jsonl is not a file"),
        ("checkpoint.pt", None, r"checkpoint\.pt is not a file"),
        ("checkpoint.pt", b"hello", r"checkpoint\.pt is damaged"),
        ("samples", b"", r"samples is not a folder"),
        ("config.json", b"[" * 100_000, r"config\.json is damaged"),
        ("config.json", b"\xff\xfe", r"config\.json is damaged"),
    ],
)
def test_foreign_files_are_refused_by_name_and_left_alone(tmp_path, name, content, message):
    with RunDirectory(tmp_path / "run") as run:
        begin(run)
    checkpointed(run, 1)
    path = run.path / name
    path.rmdir() if path.is_dir() else path.unlink()
    path.mkdir() if content is None else path.write_bytes(content)
    before = tree(run.path)
    with pytest.raises(RunError, match=message), RunDirectory(run.path) as again:
        begin(again, resume=True)
    assert tree(run.path) == before


class Code:
    def __reduce__(self):
        return (print, ("unpickled",))


@pytest.mark.parametrize("state", [[1, 2], torch.ones(3), {}, {"epoch": "one"}, {"epoch": Code()}])
def test_other_states_of_torch_are_no_checkpoints(tmp_path, state, capsys):
    run = RunDirectory(tmp_path / "run")
    begin(run)
    run.save_checkpoint(state)
    with pytest.raises(RunError, match=r"checkpoint\.pt is (damaged|not the checkpoint of a run)"):
        begin(run, resume=True)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("epochs", ["x", 2.5, None, 0])
def test_a_wrong_number_of_epochs_is_damage(tmp_path, epochs):
    run = RunDirectory(tmp_path / "run")
    begin(run)
    record = run.config()
    record["config"]["epochs"] = epochs
    (run.path / "config.json").write_text(json.dumps(record))
    with pytest.raises(RunError, match=r"config\.json is damaged: its number of epochs is"):
        begin(run, resume=True)


def change_options(run: RunDirectory, options: dict[str, object]) -> None:
    (run.path / "config.json").write_text(json.dumps({**run.config(), "config": options}))


def test_an_option_that_this_version_does_not_have_is_refused_by_name(tmp_path):
    run = RunDirectory(tmp_path / "run")
    begin(run)
    change_options(run, {"epochs": 2, "warp": 9})
    message = r"config\.json is of another version of qcaan: this version has no option warp"
    with pytest.raises(RunError, match=message):
        begin(run, resume=True)


def test_an_option_that_an_earlier_version_did_not_have_counts_as_its_default(tmp_path, caplog):
    run = RunDirectory(tmp_path / "run")
    begin(run)
    checkpointed(run, 1)
    change_options(run, {"epochs": 2})
    with pytest.raises(RunError, match=r"another configuration \(lr is 0.1 there, 0.2 here\)"):
        run.begin("image", Config(lr=0.2), DATA, resume=True)
    assert run.config()["config"] == {"epochs": 2}
    caplog.clear()
    for _ in range(2):  # the run is of this version after it went on
        assert begin(run, resume=True)["epoch"] == 1
        assert [record.getMessage() for record in caplog.records] == [
            f"{run.path}/config.json is of an earlier version of qcaan; the options that it lacks "
            "take their defaults: lr is 0.1"
        ]
    assert run.config()["config"] == {"epochs": 2, "lr": 0.1}


def test_a_run_that_cannot_be_begun_leaves_nothing_behind(tmp_path, monkeypatch):
    def fail(*paths: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match=r"config\.json"), RunDirectory(tmp_path / "a" / "run") as run:
        begin(run)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    assert begin(RunDirectory(tmp_path / "a" / "run")) is None


@pytest.mark.parametrize(
    "content", ["[1]", '{"epoch": 1e999}', '{"epoch": "x"}', "\xff", "[" * 9999]
)
def test_results_that_cannot_be_read_are_no_results(tmp_path, content):
    run = RunDirectory(tmp_path / "run")
    begin(run)
    (run.path / "scores.json").write_text(content)
    (run.path / "report.png").write_text(content)
    assert not run.has_results(["scores.json"], 1) and not run.has_results(["report.png"], 1)
