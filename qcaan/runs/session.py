"""The frame of a training on the console: plan, start or resume, train with a bar, stop, score."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from qcaan.files import reason
from qcaan.processes import ProcessLost, is_lost
from qcaan.runs.directory import RunDirectory, RunError, System
from qcaan.runs.loading import Run
from qcaan.runs.restoring import restore_checkpoint
from qcaan.samplers.devices import DeviceOptions
from qcaan.samplers.journal import Journal
from qcaan.samplers.rehearsal import Plan
from qcaan.samplers.requests import JobError
from qcaan.training import TrainingCollapsed

# text in brackets is ours or the user's, not a style
console = Console(soft_wrap=True, markup=False)


# estimated fidelity of a circuit below which a plan says that its errors hide what it learns
_LOW_FIDELITY = 0.1
_LOW_FIDELITY_ADVICE = (
    ", so nine of ten shots have errors, or more; one with fewer two-qubit gates on this device "
    "(another --ansatz, fewer layers or qubits) may learn more"
)


def announce_plan(
    plan: Plan | None, options: DeviceOptions, epochs: int | None, *, dry_run: bool
) -> None:
    """Print the plan of a run on a device, and check it.

    Args:
        plan: the plan; None if no device is used.
        options: limits of what may be asked of the device.
        epochs: number of epochs of the run; None for draws from a finished one.
        dry_run: whether to print that nothing else will be done.

    Raises:
        ValueError: the plan is beyond the limits.
    """
    if plan is not None and not plan.run.jobs:
        console.print(f"plan for {plan.name}: nothing is asked of it")
    elif plan is not None:
        limits = plan.limits
        console.print(
            f"plan for {plan.name}: {plan.two_qubit_gates} two-qubit gates, depth {plan.depth}; "
            f"it has {limits.n_qubits} qubits and takes {limits.shots or 'any number of'} shots a "
            f"circuit, {limits.circuits or 'any number of'} circuits a job; "
            f"{'paid' if plan.paid else 'free'}"
        )
        if plan.fidelity is not None:
            advice = _LOW_FIDELITY_ADVICE if plan.fidelity < _LOW_FIDELITY else ""
            console.print(f"  estimated fidelity of a circuit: {plan.fidelity:.2g}{advice}")
        if plan.copies > 1:
            console.print(f"  up to {plan.copies} copies of each circuit share its shots")
        stages = (
            (("the draws", plan.run),)
            if epochs is None
            else (("an epoch on it", plan.epoch), (f"the run of {epochs} epochs", plan.run))
        )
        for what, counts in stages:
            cost = f"; {plan.priced(counts)}" if plan.paid else ""
            console.print(
                f"  {what}: {counts.jobs:,} jobs, {counts.circuits:,} circuits, "
                f"{counts.shots:,} shots{cost}"
            )
        plan.check(options)
    elif dry_run:
        console.print(
            "plan: all circuits run in this process; no jobs are submitted, and nothing is paid"
        )
    if dry_run:
        console.print("dry run: nothing was written")


def announce_draws(run: Run, n: int, *, scores: bool = False, dry_run: bool) -> None:
    """Print the plan of n draws from a run, and check it; see `Run.plan` and `announce_plan`."""
    plan = run.plan(n, scores=scores)
    if plan is not None and run.n_banked:
        console.print(
            f"{min(n, run.n_banked):,} of the {n:,} draws are shots that the run has measured "
            f"already; its bank holds {run.n_banked:,}"
        )
    announce_plan(plan, run.limits, None, dry_run=dry_run)


def announce_data(provenance: str, *, stands_in: bool = False) -> None:
    """Print what the data are, in red if they stand in for others."""
    console.print(f"data: {provenance}", style="bold red" if stands_in else None)


def start_or_resume(
    run: RunDirectory,
    system: System,
    gan: Any,
    *,
    data: dict[str, Any],
    journal: Journal,
    resume: bool,
    results: Iterable[str],
) -> bool:
    """Make the directory of a new run, or load the checkpoint of an existing one.

    Args:
        run: directory of the run.
        system: name of the system.
        gan: the networks, with their configuration.
        data: facts about the data for config.json.
        journal: record of the run's jobs.
        resume: whether an unfinished run may continue.
        results: files that the end of the run makes. A finished run that lacks one of them, or
            whose file belongs to an earlier epoch, makes them all again.

    Returns:
        Whether anything is left to do. If not, that is printed.
    """
    restore = partial(restore_checkpoint, run, gan.load_training_state)
    run.begin(system, gan.config, data, resume=resume, device=gan.device, restore=restore)
    if gan.epoch >= gan.config.epochs and report_finished(run, gan.epoch, results):
        return False
    journal.begin(gan.epoch)
    return True


def report_finished(run: RunDirectory, epochs: int, results: Iterable[str]) -> bool:
    """Return whether a run whose epochs are done has its results too, and print it if so."""
    finished = run.has_results(results, epochs)
    if finished:
        console.print(
            f"{run.path} is finished: {epochs} epochs of this configuration; nothing to do"
        )
    return finished


def train_with_progress(
    gan: Any,
    records: Iterable[Any],
    *,
    epoch_record: type[Any],
    end_epoch: Callable[[Any, float], str],
    journal: Journal,
) -> None:
    """Train with a progress bar.

    Args:
        gan: the networks, with their configuration.
        records: records of steps and epochs, which training yields.
        epoch_record: class of the records of epochs.
        end_epoch: saves an epoch, given its record and its seconds, and returns what to print.
        journal: record of the run's jobs.
    """
    columns = (BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    total = gan.config.epochs * gan.config.steps_per_epoch
    saved = gan.epoch  # while an epoch is being saved, the gan is one ahead
    with (
        Progress(TextColumn("{task.description}"), *columns, console=console) as progress,
        explain_stop(lambda: saved),
    ):
        bar = progress.add_task("", total=total, completed=gan.step)
        start = time.perf_counter()
        for record in records:
            if isinstance(record, epoch_record):
                summary = end_epoch(record, time.perf_counter() - start)
                saved = gan.epoch
                journal.begin(saved)
                console.print(f"epoch {record.epoch}/{gan.config.epochs}: {summary}")
                start = time.perf_counter()
            else:
                losses = f"D {record.loss_d:.2f} G {record.loss_g:.2f}"
                description = f"epoch {record.epoch} {losses}"
                progress.update(bar, completed=record.step, description=description)


@contextlib.contextmanager
def explain_stop(epochs_saved: Callable[[], int]) -> Iterator[None]:
    """End a training that stops early with a sentence that says how to continue."""
    try:
        yield
    except KeyboardInterrupt:
        console.print(
            f"stopped; {epochs_saved()} epochs are saved. "
            "Continue with the same command and --resume."
        )
        raise SystemExit(130) from None
    except TrainingCollapsed as error:
        console.print(
            f"stopped: {error}. The last good checkpoint is that of epoch {epochs_saved()}.",
            style="bold red",
        )
        raise SystemExit(1) from None
    except BrokenPipeError:
        raise
    except (JobError, OSError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not isinstance(error, JobError):
            if not is_lost(error):
                raise
            error = ProcessLost()
        raise RunError(
            f"{reason(error)}; {epochs_saved()} epochs are saved, and --resume continues from there"
        ) from None


def make_pictures(*makers: Callable[[], Path]) -> RunError | None:
    """Make the pictures of a finished run, which end neither the run nor each other if they fail.

    Args:
        makers: functions that make a picture each, and return its path.

    Returns:
        The error to raise at the very end if a picture could not be made.
    """
    failed = []
    for make in makers:
        try:
            console.print(f"wrote {make()}")
        except BrokenPipeError:
            raise
        # whatever fails in a library that draws, what was learnt is worth more than a picture
        except Exception as error:
            failed.append(f"{type(error).__name__}: {reason(error)}")
    if not failed:
        return None
    return RunError(
        f"{len(failed)} of {len(makers)} pictures could not be made ({'; '.join(failed)}); all "
        "else is saved, and the same command makes them again"
    )


def print_scores(rows: list[tuple[str, str, str]], title: str) -> None:
    """Print rows (score, generated, held-out real) as a table."""
    table = Table("score", "generated", "held-out real", title=title)
    for row in rows:
        table.add_row(*row)
    console.print(table)
