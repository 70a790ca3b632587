"""Tables of numbers as text: their structure is read from what is certain, or refused."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

from qcaan.checks import Floats
from qcaan.data.opening import DataError, check_fits, check_regular, printable

if TYPE_CHECKING:
    import pandas as pd

SUFFIXES = (".csv", ".tsv", ".txt", ".dat")

_SPACES = r"\s+"
_SEPARATORS = {"\t": "tabs", ";": "semicolons", "|": "bars", ",": "commas", _SPACES: "spaces"}
_NUMBER = r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?"
_DECIMAL_COMMA = r"[+-]?[0-9]*,[0-9]+([eE][+-]?[0-9]+)?"
_THOUSANDS = r"[+-]?[1-9][0-9]{0,2}(,[0-9]{3})+"  # which 1,234 may be too
_NOT_FINITE = r"[+-]?(nan|inf|infinity)"
# cells that name no column, though not all of them are numbers
_NO_NAME = rf"[+-]?[.,]?[0-9].*|{_NOT_FINITE}|na|n/a|null|none|true|false|[-?.]"
_WHOLE = r"[+-]?[0-9]+"
_MOST_COLUMNS = 1000
# names that pandas gives to the column that counts the rows
_INDEX_NAMES = ("", "Unnamed: 0", "index")
# memory of a table in bytes, for each byte of its file
_MEMORY_PER_BYTE = 32


class Table(NamedTuple):
    """A table of numbers.

    Attributes:
        values: float64 [N, k], finite.
        names: name of each column; its number if it has none.
        notes: phrases on how the text was read.
    """

    values: Floats
    names: list[str]
    notes: list[str]


def read_table(path: Path) -> Table:
    """Read a table of numbers, a line for each row, with or without a header line.

    Columns are separated by tabs, semicolons, bars, commas or spaces; cells may be quoted. A first
    line `sep=;` names the separator. Empty lines, and those that begin with # or %, are passed
    over. Decimal commas are read if commas do not separate the columns. A first column without a
    name that counts the rows, as pandas writes it, is left out.

    Raises:
        DataError: the file is empty, is no text, is too large for the memory, or its structure is
            not certain; or a cell is not a finite number. The message names the line.
        OSError: the file cannot be opened.
    """
    check_fits(path, check_regular(path) * _MEMORY_PER_BYTE)
    lines = _lines(path)
    separator = _separator(path, lines)
    cells = _cells(path, lines, separator)
    places = [number for number, _ in lines]
    n_columns = cells.shape[1]

    has_header = not _matches(cells[:1], _NO_NAME).any()
    names = [str(number) for number in range(1, n_columns + 1)]
    notes = [f"separated by {_SEPARATORS[separator]}"] if separator and n_columns > 1 else []
    given = list(cells.iloc[0]) if has_header else []
    if has_header:
        names = [printable(name) or number for name, number in zip(given, names, strict=True)]
        cells, places = cells[1:], places[1:]
    else:
        notes.append("without a header line")
    if not places:
        raise DataError(f"cannot read {path}: it has a header line and no rows")
    if not has_header and separator == "," and n_columns == 2 and _matches(cells, _WHOLE).all():
        raise DataError(
            f"cannot read {path}: line {places[0]} may be two numbers or one with a decimal comma; "
            "name the columns in a header line, or write decimal points"
        )
    if separator != "," and _matches(cells, ".*,.*").any():
        cells = _with_points(path, cells, places)
        notes.append("with decimal commas")
    values = _numbers(path, cells, places, names)
    if n_columns > 1 and _counts_rows(values[:, 0]):
        if not has_header and len(values) > 2:
            raise DataError(
                f"cannot read {path}: its first column counts the rows, and no header line says "
                "whether it belongs to the data; remove it, or name the columns"
            )
        if has_header and given[0] in _INDEX_NAMES:
            notes.append("without its first column, which counts the rows")
            return Table(values[:, 1:], names[1:], notes)
    if has_header and n_columns > 1 and given[0] in _INDEX_NAMES[:2]:
        raise DataError(
            f"cannot read {path}: its first column has no name and does not count the rows; remove "
            "it or name it"
        )
    return Table(values, names, notes)


def _lines(path: Path) -> list[tuple[int, str]]:
    """Return the lines of a text that hold something, each with its number from 1.

    Raises:
        DataError: there are none, or they are no text.
    """
    content = path.read_bytes()
    encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise DataError(f"cannot read {path}: line {line} is not text in UTF-8") from None
    if "\0" in text:
        raise DataError(f"cannot read {path}: it is not a text, as it holds zero bytes")
    lines = [
        (number, line)
        for number, line in enumerate(re.split(r"\r\n|\r|\n", text), 1)
        if line.strip() and not line.lstrip().startswith(("#", "%"))
    ]
    if not lines:
        raise DataError(f"cannot read {path}: it is empty")
    return lines


def _separator(path: Path, lines: list[tuple[int, str]]) -> str | None:
    """Return what separates the columns, a regular expression if it is spaces; None if nothing.

    A line that names the separator is taken out of `lines`.
    """
    if named := re.fullmatch(r"sep=(.)", lines[0][1].strip("\"' \r")):
        del lines[0]
        if not lines or named[1] not in _SEPARATORS:
            raise DataError(
                f"cannot read {path}: its first line names the separator {named[1]!r}; "
                "choose from , ; | and a tab, above one line or more"
            )
        return named[1]
    unquoted = [re.sub(r'"[^"]*"', "1", line) if '"' in line else line for _, line in lines]
    for separator in ("\t", ";", "|"):
        if any(separator in line.strip() for line in unquoted):
            return separator
    numbers = re.compile(f"{_NUMBER}|{_DECIMAL_COMMA}|{_NOT_FINITE}", re.IGNORECASE)
    rows = [words for line in unquoted if len(words := line.split()) > 1]
    if any(all(map(numbers.fullmatch, words)) for words in rows):
        return _SPACES
    if any("," in line for line in unquoted):
        return ","
    # names may hold spaces
    return _SPACES if len(unquoted[-1].split()) > 1 else None


def _cells(path: Path, lines: list[tuple[int, str]], separator: str | None) -> pd.DataFrame:
    """Return the cells of lines as text.

    Raises:
        DataError: a line has more cells than the first, or a quote is not closed.
    """
    # here, since pandas takes long to import
    import pandas as pd
    from pandas.errors import ParserError

    first = lines[0][1].strip()
    n_columns = len(first.split() if separator == _SPACES else first.split(separator or "\n"))
    if n_columns > _MOST_COLUMNS:
        raise DataError(
            f"cannot read {path}: line {lines[0][0]} has {n_columns:,} cells, and at most "
            f"{_MOST_COLUMNS:,} columns are read; each line must hold one sample"
        )
    text = "\n".join(line.strip(" ") for _, line in lines) + "\n"
    try:
        cells = pd.read_csv(
            io.StringIO(text),
            sep=separator or "\x1f",  # a character that separates units, and is in no number
            header=None,
            index_col=False,
            dtype=str,
            keep_default_na=False,
            skip_blank_lines=False,
            skipinitialspace=True,
        )
    except ParserError as error:
        reason = " ".join(str(error).split())
        if found := re.search(r"Expected (\d+) fields in line (\d+), saw (\d+)", reason):
            expected, place, seen = map(int, found.groups())
            reason = f"line {lines[place - 1][0]} has {seen} cells, but line {lines[0][0]} has "
            reason += f"{expected}"
            if separator == ",":
                reason += "; decimal commas need columns separated by semicolons or tabs"
        elif found := re.search(r"starting at row (\d+)", reason):
            reason = f"the quote in line {lines[int(found[1])][0]} is not closed"
        raise DataError(f"cannot read {path}: {reason}") from None
    if len(cells) != len(lines):
        raise DataError(f"cannot read {path}: a quoted cell goes over several lines")
    return cells.apply(lambda column: column.str.strip())


def _with_points(path: Path, cells: pd.DataFrame, places: list[int]) -> pd.DataFrame:
    """Return cells with decimal points instead of decimal commas.

    Raises:
        DataError: the commas may separate thousands.
    """
    commas = _matches(cells, ".*,.*")
    if _matches(cells, r".*\..*").any() or (commas == _matches(cells, _THOUSANDS)).all():
        row, column = map(int, np.argwhere(commas)[0])
        raise DataError(
            f"cannot read {path}: the comma of {cells.iat[row, column]!r} in line {places[row]} "
            "may be decimal or separate thousands; write decimal points and no thousands"
        )
    return cells.apply(lambda column: column.str.replace(",", ".", n=1, regex=False))


def _numbers(path: Path, cells: pd.DataFrame, places: list[int], names: list[str]) -> Floats:
    """Return the finite numbers that cells hold.

    Raises:
        DataError: a cell holds another thing, or nothing.
    """

    def refuse(row: int, column: int, reason: str) -> NoReturn:
        name = names[column]
        named = "" if name == str(column + 1) else f" ({name})"
        raise DataError(
            f"cannot read {path}: line {places[row]}, column {column + 1}{named}: {reason}"
        )

    wrong = ~_matches(cells, _NUMBER)
    if wrong.any():
        row, column = map(int, np.argwhere(wrong)[0])
        cell = cells.iat[row, column]
        finite = not re.fullmatch(_NOT_FINITE, cell, re.IGNORECASE)
        reason = f"{cell[:40]!r} is not a {'' if finite else 'finite '}number"
        refuse(row, column, reason if cell else "there is no number")
    values = cells.to_numpy(dtype=object).astype(np.float64)
    if not np.isfinite(values).all():
        row, column = map(int, np.argwhere(~np.isfinite(values))[0])
        refuse(row, column, f"{cells.iat[row, column][:40]!r} is not a finite number")
    return values


def _counts_rows(column: Floats) -> bool:
    """Return whether a column holds 0, 1, 2, ... or 1, 2, 3, ..."""
    return bool((column - np.arange(len(column)) == column[0]).all()) and column[0] in (0, 1)


def _matches(cells: pd.DataFrame, pattern: str) -> NDArray[np.bool_]:
    """Return which cells match a regular expression as a whole, in any case."""
    found = cells.apply(lambda column: column.str.fullmatch(pattern, flags=re.IGNORECASE))
    return found.to_numpy(dtype=bool)
