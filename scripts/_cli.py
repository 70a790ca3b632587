"""What the scripts share: errors as one line, log lines in one style, and the table of scores."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable

import tyro
from rich.console import Console
from rich.logging import RichHandler
from rich.table import Table

from qcaan.jobs import JobError

console = Console(soft_wrap=True)


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


def print_scores(rows: list[tuple[str, str, str]], title: str) -> None:
    """Print rows (score, generated, held-out real) as a table."""
    table = Table("score", "generated", "held-out real", title=title)
    for row in rows:
        table.add_row(*row)
    console.print(table)
