"""What the scripts share: errors as one line, log lines in one style, the frame of a training, plans and scores as text."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import tyro

# Read when torch is loaded. Threads that spin for long while they wait make an epoch many times longer where others use the
# cores too; libgomp itself takes this number where it knows that it has fewer cores than threads.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

from rich.console import Console
from rich.logging import RichHandler
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from qcaan.runs import associative as associative_run
from qcaan.runs import image as image_run
from qcaan.runs.directory import RunDirectory, RunError
from qcaan.runs.planning import Plan
from qcaan.samplers.jobs import Budget, JobError, Journal
from qcaan.training import TrainingCollapsed

console = Console(
    soft_wrap=True, markup=False
)  # what is in brackets is ours or the user's, not a style


def run_script(main: Callable[..., None]) -> None:
    """Run `main` with the command line. What a user can get wrong ends as one sentence and exit status 2."""
    handler = RichHandler(console=console, show_path=False, show_time=False, show_level=False)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", handlers=[handler])
    logging.getLogger("qcaan").setLevel(logging.INFO)
    try:
        tyro.cli(main)
    except (ValueError, OSError, JobError) as error:
        known = isinstance(error, OSError) and error.filename is not None
        message = f"{error.filename}: {error.strerror}" if known else str(error)
        print(f"error: {message}", file=sys.stderr)
        raise SystemExit(2) from None
    except (
        MemoryError,
        RuntimeError,
    ) as error:  # torch has no type of its own for the CPU's memory
        if not isinstance(error, MemoryError) and "memory" not in str(error):
            raise
        print(
            "error: the memory does not hold this; ask for smaller batches, networks or numbers",
            file=sys.stderr,
        )
        raise SystemExit(2) from None


def check_folder(path: Path) -> None:
    """Refuse a file that could not be written at the end, before the work is done."""
    if not path.parent.is_dir():
        raise ValueError(f"{path.parent} is not a folder to write {path.name} into")


def image_system(run: RunDirectory) -> Any:
    """The module that loads and scores a run of images: that of its system."""
    return image_run if "decoder" in run.config()["config"] else associative_run


def begun(
    run: RunDirectory,
    gan: Any,
    facts: dict[str, Any],
    resume: bool,
    journal: Journal,
    scored: bool = True,
) -> bool:
    """Make the directory of a new run, or put what it holds into the gan; False, which is said, if nothing is left to do.

    `scored` is whether the run is to have scores: one that ended without those that were wanted only lacks them.
    """
    checkpoint = run.begin(gan.config, facts, resume, gan.device)
    if checkpoint is not None:
        gan.load_training_state(checkpoint)
        if gan.epoch >= gan.config.epochs and is_finished(run, gan.epoch, scored):
            return False
    journal.begin(gan.epoch)
    return True


def is_finished(run: RunDirectory, epochs: int, scored: bool = True) -> bool:
    """Whether a run whose epochs are done has all that it was to have; which is said."""
    finished = not scored or (run.path / "scores.json").is_file()
    if finished:
        console.print(
            f"{run.path} is finished: {epochs} epochs of this configuration; nothing to do"
        )
    return finished


def run_training(
    gan: Any,
    records: Iterable[Any],
    epoch_record: type,
    end_epoch: Callable[[Any, float], str],
    journal: Journal,
) -> None:
    """Train with a bar; `end_epoch(record, seconds)` saves an epoch and tells what to print of it."""
    columns = (BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    total = gan.config.epochs * gan.config.steps_per_epoch
    saved = gan.epoch  # the gan itself is an epoch ahead while that is being saved
    with (
        Progress(TextColumn("{task.description}"), *columns, console=console) as progress,
        stoppable(lambda: saved),
    ):
        bar = progress.add_task("", total=total, completed=gan.step)
        start = time.perf_counter()
        for record in records:
            if isinstance(record, epoch_record):
                said = end_epoch(record, time.perf_counter() - start)
                saved = gan.epoch
                journal.begin(saved)
                console.print(f"epoch {record.epoch}/{gan.config.epochs}: {said}")
                start = time.perf_counter()
            else:
                losses = f"D {record.loss_d:.2f} G {record.loss_g:.2f}"
                progress.update(
                    bar, completed=record.step, description=f"epoch {record.epoch} {losses}"
                )


@contextlib.contextmanager
def stoppable(epochs_saved: Callable[[], int]) -> Iterator[None]:
    """What can end a training early ends it with a sentence that says how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        console.print(
            f"stopped; {epochs_saved()} epochs are saved. Go on with the same command and --resume."
        )
        raise SystemExit(130) from None
    except TrainingCollapsed as error:
        console.print(
            f"stopped: {error}. The last good checkpoint is that of epoch {epochs_saved()}.",
            style="bold red",
        )
        raise SystemExit(1) from None
    except JobError as error:
        raise RunError(
            f"{error}; {epochs_saved()} epochs are saved, and --resume goes on from there"
        ) from None


def check_plan(planned: Plan | None, budget: Budget, epochs: int, dry_run: bool) -> None:
    """Print what the run asks of a device, if it asks anything or that is all that is wanted; refuse too much."""
    if planned is not None:
        limits = planned.limits
        console.print(
            f"plan for {planned.name}: {planned.two_qubit_gates} two-qubit gates, depth {planned.depth}; it has "
            f"{limits.n_qubits} qubits and takes {limits.shots or 'any number of'} shots a circuit, "
            f"{limits.circuits or 'any number of'} circuits a job; {'paid for' if planned.paid else 'free'}"
        )
        for what, counts in (
            ("an epoch on it", planned.epoch),
            (f"the run of {epochs} epochs", planned.run),
        ):
            console.print(
                f"  {what}: {counts.jobs:,} jobs, {counts.circuits:,} circuits, {counts.shots:,} shots"
            )
        planned.check(budget)
    elif dry_run:
        console.print(
            "plan: all circuits run in this process; no jobs are submitted, and nothing is paid for"
        )
    if dry_run:
        console.print("dry run: nothing was written")


def print_data(provenance: str) -> None:
    """Say what the data are, loudly where they stand in for others."""
    console.print(f"data: {provenance}", style="bold red" if "NOT MNIST" in provenance else None)


def print_scores(rows: list[tuple[str, str, str]], title: str) -> None:
    """Print rows (score, generated, held-out real) as a table."""
    table = Table("score", "generated", "held-out real", title=title)
    for row in rows:
        table.add_row(*row)
    console.print(table)
