"""The frame of a training on the console: plans, starts, progress, and stops."""

from __future__ import annotations

from contextlib import suppress
from unittest.mock import MagicMock

import pytest
import torch

from qcaan.gans.wasserstein.config import WassersteinConfig
from qcaan.gans.wasserstein.gan import EpochRecord, WassersteinGAN, train
from qcaan.runs.directory import RunDirectory, RunError
from qcaan.runs.session import (
    announce_data,
    announce_plan,
    explain_stop,
    make_pictures,
    print_scores,
    report_finished,
    start_or_resume,
    train_with_progress,
)
from qcaan.runs.wasserstein import save_epoch
from qcaan.samplers.devices import DeviceOptions, Limits
from qcaan.samplers.journal import Journal
from qcaan.samplers.prices import IBM
from qcaan.samplers.rehearsal import Counts, Plan
from qcaan.samplers.requests import JobError
from qcaan.training import TrainingCollapsed

SAMPLES = torch.linspace(-1, 1, 50, dtype=torch.float64)[:, None]
DATA = {"name": "line", "provenance": "50 points on a line"}


def make_plan(*, limits: Limits = Limits(20, 2000, 50), paid: bool = False) -> Plan:
    return Plan("aqt:ideal", limits, paid, Counts(2, 30, 1500), Counts(1204, 36_000, 90_000), 5, 17)


def make_gan(epochs: int = 2) -> WassersteinGAN:
    config = WassersteinConfig(
        epochs=epochs, steps_per_epoch=2, n_critic=1, batch_size=4, critic_width=4, n_layers=1
    )
    return WassersteinGAN(config, SAMPLES)


def train_run(path, epochs: int) -> WassersteinGAN:
    """Make a run in a directory, of so many epochs, and train it to its end."""
    gan, run = make_gan(epochs), RunDirectory(path)
    assert start_or_resume(
        run, "wasserstein", gan=gan, data=DATA, journal=Journal(), resume=False, results=()
    )
    for record in train(gan, SAMPLES):
        if isinstance(record, EpochRecord):
            save_epoch(run, gan, record, 0.0)
    return gan


def epoch_of_next_job(journal: Journal) -> int | None:
    return journal.announce("a job", 1, 1).epoch


# Plans


def test_a_plan_is_printed_with_its_counts_and_the_devices_limits(capsys):
    announce_plan(make_plan(), DeviceOptions(), 40, dry_run=False)
    assert capsys.readouterr().out.splitlines() == [
        "plan for aqt:ideal: 5 two-qubit gates, depth 17; it has 20 qubits and takes 2000 shots a "
        "circuit, 50 circuits a job; free",
        "  an epoch on it: 2 jobs, 30 circuits, 1,500 shots",
        "  the run of 40 epochs: 1,204 jobs, 36,000 circuits, 90,000 shots",
    ]


def test_a_plan_says_where_noise_hides_what_a_circuit_learns(capsys):
    for fidelity, words in (
        (0.62, "0.62"),
        (0.05213, "0.052, so nine of ten shots have errors, or more; one with fewer two-qubit"),
    ):
        plan = Plan("ibm:x", Limits(36), False, Counts(), Counts(1, 1, 10), 5, 17, 1, fidelity)
        announce_plan(plan, DeviceOptions(), None, dry_run=False)
        line = capsys.readouterr().out.splitlines()[1]
        assert line.startswith(f"  estimated fidelity of a circuit: {words}")


def test_a_device_may_have_no_limits_and_be_paid(capsys):
    plan = make_plan(limits=Limits(36), paid=True)
    announce_plan(plan, DeviceOptions(max_jobs=1204), 1, dry_run=False)
    assert "any number of shots a circuit, any number of circuits a job; paid\n" in (
        capsys.readouterr().out
    )


def test_a_plan_for_a_paid_device_says_what_it_costs(capsys):
    counts = Counts(1, 1, 1000, 1760.2, 1100.125)
    for price, words in (
        (None, "; no published price known"),
        (IBM, "; about 1,100 s of QPU, about $1,800 (IBM pay-as-you-go, list price of 2026-09)"),
    ):
        plan = Plan("ibm:x", Limits(36), True, counts, counts, 5, 17, price=price)
        announce_plan(plan, DeviceOptions(), None, dry_run=False)
        last = capsys.readouterr().out.splitlines()[-1]
        assert last == f"  the draws: 1 jobs, 1 circuits, 1,000 shots{words}"


@pytest.mark.parametrize(
    ("paid", "options", "message"),
    [
        (False, {"max_jobs": 1203}, "1,204 jobs on aqt:ideal, --max-jobs is 1,203"),
        (False, {"max_shots": 89_999}, "90,000 shots on aqt:ideal, --max-shots is 89,999"),
        (True, {}, "1,204 jobs on aqt:ideal, --max-jobs is 1,000"),
    ],
)
@pytest.mark.parametrize("dry_run", [False, True])
def test_a_plan_beyond_the_limits_is_printed_and_refused(paid, options, message, dry_run, capsys):
    with pytest.raises(ValueError, match=message):
        announce_plan(make_plan(paid=paid), DeviceOptions(**options), 40, dry_run=dry_run)
    printed = capsys.readouterr().out
    assert "the run of 40 epochs: 1,204 jobs" in printed
    assert "dry run" not in printed


def test_a_dry_run_says_that_nothing_was_written(capsys):
    announce_plan(make_plan(), DeviceOptions(), 40, dry_run=True)
    assert capsys.readouterr().out.splitlines()[-1] == "dry run: nothing was written"
    announce_plan(None, DeviceOptions(), 40, dry_run=True)
    assert capsys.readouterr().out.splitlines() == [
        "plan: all circuits run in this process; no jobs are submitted, and nothing is paid",
        "dry run: nothing was written",
    ]
    announce_plan(None, DeviceOptions(), 40, dry_run=False)
    assert capsys.readouterr().out == ""


# Starts


def test_a_new_run_gets_a_directory_and_numbers_its_jobs_from_epoch_0(tmp_path):
    run, gan, journal = RunDirectory(tmp_path / "run"), make_gan(), Journal()
    assert start_or_resume(
        run, "wasserstein", gan=gan, data=DATA, journal=journal, resume=False, results=()
    )
    record = run.config()
    assert (record["system"], record["data"]) == ("wasserstein", DATA)
    assert record["config"]["epochs"] == 2
    assert (gan.epoch, epoch_of_next_job(journal)) == (0, 0)
    with pytest.raises(RunError, match="holds no run to resume"):
        start_or_resume(
            RunDirectory(tmp_path / "other"),
            "wasserstein",
            gan=gan,
            data=DATA,
            journal=journal,
            resume=True,
            results=(),
        )
    assert not (tmp_path / "other").exists()


def test_an_unfinished_run_is_loaded_to_be_resumed_and_refused_otherwise(tmp_path):
    trained = train_run(tmp_path, epochs=1)
    run, gan, journal = RunDirectory(tmp_path), make_gan(epochs=2), Journal()
    with pytest.raises(RunError, match="planned for 1 epochs, 2 asked for"):
        start_or_resume(
            run, "wasserstein", gan=gan, data=DATA, journal=journal, resume=False, results=()
        )
    assert gan.epoch == 0
    assert start_or_resume(
        run, "wasserstein", gan=gan, data=DATA, journal=journal, resume=True, results=()
    )
    assert (gan.epoch, gan.step, epoch_of_next_job(journal)) == (1, 2, 1)
    for mine, theirs in zip(gan.parameters(), trained.parameters(), strict=True):
        assert torch.equal(mine, theirs)
    # its record is of 2 epochs from now on
    with pytest.raises(RunError, match=r"unfinished run \(1 of 2 epochs\)"):
        start_or_resume(
            run, "wasserstein", gan=gan, data=DATA, journal=journal, resume=False, results=()
        )


@pytest.mark.parametrize("resume", [False, True])
def test_a_finished_run_has_nothing_left_to_do_unless_it_lacks_its_results(
    tmp_path, resume, capsys
):
    train_run(tmp_path, epochs=1)
    capsys.readouterr()

    def start(*results: str) -> bool:
        return start_or_resume(
            RunDirectory(tmp_path),
            "wasserstein",
            gan=make_gan(epochs=1),
            data=DATA,
            journal=Journal(),
            resume=resume,
            results=results,
        )

    finished = f"{tmp_path} is finished: 1 epochs of this configuration; nothing to do\n"
    assert start("scores.json")
    (tmp_path / "scores.json").write_text("{}")
    assert start("scores.json")
    RunDirectory(tmp_path).save_scores({"w1": 0.5}, epoch=0)
    assert start("scores.json")
    assert capsys.readouterr().out == ""
    RunDirectory(tmp_path).save_scores({"w1": 0.5}, epoch=1)
    for results in ([], ["scores.json"]):
        assert not start(*results)
        assert capsys.readouterr().out == finished
    assert report_finished(RunDirectory(tmp_path), 1, ["scores.json"])
    assert not report_finished(RunDirectory(tmp_path), 1, ["scores.json", "report.png"])


# Progress


def test_training_prints_and_numbers_every_epoch(tmp_path, capsys):
    gan, journal, begun = make_gan(epochs=2), Journal(), []

    def end_epoch(record: EpochRecord, seconds: float) -> str:
        begun.append((record.epoch, epoch_of_next_job(journal), seconds >= 0))
        return f"{record.step} steps"

    journal.begin(0)
    train_with_progress(
        gan, train(gan, SAMPLES), epoch_record=EpochRecord, end_epoch=end_epoch, journal=journal
    )
    # an epoch ends with its own jobs, those of its pictures for example
    assert begun == [(1, 0, True), (2, 1, True)]
    assert epoch_of_next_job(journal) == 2
    printed = capsys.readouterr().out
    assert "epoch 1/2: 2 steps\n" in printed and "epoch 2/2: 4 steps\n" in printed
    assert gan.epoch == 2


def test_an_epoch_that_was_being_saved_does_not_count_as_saved(capsys):
    gan = make_gan(epochs=2)

    def end_epoch(record: EpochRecord, seconds: float) -> str:
        if record.epoch == 2:
            raise KeyboardInterrupt
        return "saved"

    with pytest.raises(SystemExit) as ended:
        train_with_progress(
            gan,
            train(gan, SAMPLES),
            epoch_record=EpochRecord,
            end_epoch=end_epoch,
            journal=Journal(),
        )
    assert ended.value.code == 130
    assert gan.epoch == 2
    assert "stopped; 1 epochs are saved. " in capsys.readouterr().out


# Stops


def test_an_interrupt_says_how_to_continue(capsys):
    with pytest.raises(SystemExit) as ended, explain_stop(lambda: 3):
        raise KeyboardInterrupt
    assert ended.value.code == 130
    assert capsys.readouterr().out == (
        "stopped; 3 epochs are saved. Continue with the same command and --resume.\n"
    )


def test_a_collapsed_training_names_the_last_good_checkpoint(capsys):
    with pytest.raises(SystemExit) as ended, explain_stop(lambda: 3):
        raise TrainingCollapsed("a loss is not finite at step 7")
    assert ended.value.code == 1
    assert capsys.readouterr().out == (
        "stopped: a loss is not finite at step 7. The last good checkpoint is that of epoch 3.\n"
    )


def test_a_failed_job_is_an_error_that_says_how_to_continue():
    with pytest.raises(RunError) as caught, explain_stop(lambda: 3):
        raise JobError("job 12 on ionq:simulator was cancelled", "12")
    assert str(caught.value) == (
        "job 12 on ionq:simulator was cancelled; 3 epochs are saved, and --resume continues from "
        "there"
    )


def test_the_epochs_are_counted_when_the_training_stops(capsys):
    saved = 0
    with suppress(SystemExit), explain_stop(lambda: saved):
        saved = 5
        raise KeyboardInterrupt
    assert "stopped; 5 epochs are saved." in capsys.readouterr().out
    with explain_stop(lambda: saved):
        pass
    with pytest.raises(ZeroDivisionError), explain_stop(lambda: saved):
        1 / 0  # noqa: B018


# What else is printed


def test_data_and_scores_are_printed(capsys):
    announce_data("50 points [of a line]")
    announce_data("digits", stands_in=True)
    assert capsys.readouterr().out == "data: 50 points [of a line]\ndata: digits\n"
    print_scores([("FID", "12.3", "4.5"), ("KID", "0.1", "0.0")], "scores of a run")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].strip() == "scores of a run"
    rows = [[word for word in line.split() if word.isascii()] for line in lines]
    assert ["FID", "12.3", "4.5"] in rows and ["KID", "0.1", "0.0"] in rows


# Pictures


def test_a_picture_that_fails_ends_neither_the_others_nor_the_run(tmp_path, capsys):
    def unreadable():
        raise ValueError("cannot\nparse $x")

    def full():
        raise OSError(28, "No space left on device", "report.png")

    failed = make_pictures(unreadable, lambda: tmp_path / "progress.gif", full)
    assert capsys.readouterr().out == f"wrote {tmp_path / 'progress.gif'}\n"
    assert str(failed) == (
        "2 of 3 pictures could not be made (ValueError: cannot parse $x; OSError: report.png: No "
        "space left on device); all else is saved, and the same command makes them again"
    )
    assert make_pictures(lambda: tmp_path / "progress.gif") is None
    for ending in (KeyboardInterrupt, BrokenPipeError):
        with pytest.raises(ending):
            make_pictures(MagicMock(side_effect=ending))


def test_a_full_disk_says_how_to_continue():
    error = OSError(28, "No space left on device", "runs/379/checkpoint.pt")
    with pytest.raises(RunError) as caught, explain_stop(lambda: 3):
        raise error
    assert str(caught.value) == (
        "runs/379/checkpoint.pt: No space left on device; 3 epochs are saved, and --resume "
        "continues from there"
    )
    with pytest.raises(BrokenPipeError), explain_stop(lambda: 3):
        raise BrokenPipeError
