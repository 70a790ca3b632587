"""Tables of numbers as text: what is read, what is told, and what is refused with its line."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qcaan.data.opening import DataError
from qcaan.data.samples import load_samples, read_samples
from qcaan.data.tables import read_table

PAIRS = [[1.5, 2.25], [-3.0, 400.0]]


@pytest.mark.parametrize(
    "text",
    [
        "1.5,2.25\n-3,4e2\n",
        "a,b\n1.5,2.25\n-3,400.\n",
        "a, b\r\n1.5, 2.25\r\n-3, 400\r\n",
        "a,b\r1.5,2.25\r-3,400",
        '"a";"b"\n"1.5";"2.25"\n"-3";"400"\n',
        "a;b\n1,5;2,25\n-3;4e2\n",
        "a\tb\n1,5\t2,25\n-3,0\t400\n",
        "a|b\n1.5|2.25\n-3|400\n",
        "1.5 2.25\n-3 400\n",
        "  1.50e+00   2.25e+00\n -3.00e+00   4.00e+02  \n",
        "1,5 2,25\n-3,0 400,0\n",
        "# by me\n% a, b\n1.5 2.25\n\n# more\n-3 400\n",
        "sep=;\na;b\n1.5;2.25\n-3;400\n",
        '"name, with a comma",b\n1.5,2.25\n-3,400\n',
        ",a,b\n0,1.5,2.25\n1,-3,400\n",
        "Unnamed: 0,a,b\n1,1.5,2.25\n2,-3,400\n",
        "\ta\tb\n0\t1.5\t2.25\n1\t-3\t400\n",
    ],
)
def test_dialects_of_one_table_give_one_array(tmp_path: Path, text: str):
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        path = tmp_path / f"{encoding}.TXT"
        path.write_bytes(text.encode(encoding))
        np.testing.assert_array_equal(load_samples(path, 1, 0), PAIRS)


@pytest.mark.parametrize("suffix", ["csv", "CSV", "tsv", "txt", "dat", "Csv"])
def test_the_structure_is_read_from_the_text_and_not_from_the_suffix(tmp_path: Path, suffix: str):
    path = tmp_path / f"x.{suffix}"
    path.write_text("a b\n1.5 2.5\n")
    assert load_samples(path, 1, 0).tolist() == [[1.5, 2.5]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        # decimal commas, or columns
        (
            "value\n3,08\n2,38\n",
            "line 2 has 2 cells, but line 1 has 1; decimal commas need columns",
        ),
        ("3,08\n2,38\n", "line 1 may be two numbers or one with a decimal comma; name the columns"),
        (
            "a;b\n1,500;2,250\n",
            "the comma of '1,500' in line 2 may be decimal or separate thousands",
        ),
        ("a;b\n1.234;2,5\n", "the comma of '2,5' in line 2 may be decimal or separate thousands"),
        # ragged
        ("a,b\n1,2\n\n# c\n3\n", "line 5, column 2 (b): there is no number"),
        ("a,b\n1,2\n\n# c\n3,4,5\n", "line 5 has 3 cells, but line 1 has 2"),
        ('"a"\n"1",3.5\n"2",4.5\n', "line 2 has 2 cells, but line 1 has 1"),
        ("1;2;3\n4;5\n", "line 2, column 3: there is no number"),
        ("1 2\n3\n", "line 2"),
        # cells
        ("a,b\n1,2\n3,x\n", "line 3, column 2 (b): 'x' is not a number"),
        ("1.5,x\n2,3\n", "line 1, column 2: 'x' is not a number"),
        ("a,b\n1,\n", "line 2, column 2 (b): there is no number"),
        ("a,b\n1,nan\n", "line 2, column 2 (b): 'nan' is not a finite number"),
        ("NaN\n1\n", "line 1, column 1: 'NaN' is not a finite number"),
        ("NA\n1\n", "line 1, column 1: 'NA' is not a number"),
        ("1\n-Inf\n", "line 2, column 1: '-Inf' is not a finite number"),
        ("1\n1e999\n", "line 2, column 1: '1e999' is not a finite number"),
        ("1_000\n2\n", "line 1, column 1: '1_000' is not a number"),
        ("True\nFalse\n", "line 1, column 1: 'True' is not a number"),
        ("date,v\n2020-01-01,5.5\n", "line 2, column 1 (date): '2020-01-01' is not a number"),
        ('a,b\n"1,234.5",2\n', "line 2, column 1 (a): '1,234.5' is not a number"),
        # index columns
        (",a\n5,2\n7,3\n", "its first column has no name and does not count the rows"),
        ("0,1.5\n1,2.5\n2,3.5\n", "its first column counts the rows, and no header line"),
        # not a table
        ("", "it is empty"),
        ("\n# nothing\n", "it is empty"),
        ("a,b\n", "it has a header line and no rows"),
        ("sep=;\n", "its first line names the separator ';'"),
        ('a,"b\n1,2\n', "the quote in line 1 is not closed"),
        ('a,"b\nc"\n1,2\n', "a quoted cell goes over several lines"),
        (b"1\n2\n\0", "it is not a text, as it holds zero bytes"),
        (b"a\n1\n\xfc\n", "line 3 is not text in UTF-8"),
        ("1.5," * 1001 + "1\n", "line 1 has 1,002 cells, and at most 1,000 columns are read"),
    ],
)
def test_what_is_not_certain_is_refused_with_its_line(
    tmp_path: Path, text: str | bytes, message: str
):
    path = tmp_path / "x.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DataError, match=f"^cannot read {path}: {re.escape(message)}") as caught:
        load_samples(path, 1, 0)
    assert "\n" not in str(caught.value)


def test_what_was_read_is_told(tmp_path: Path):
    path = tmp_path / "x.csv"
    path.write_text(",open,close\n0,1.5,2\n1,2.5,-3e3\n2,0.125,7\n")
    assert read_samples(path, 1, 0).origin == (
        f"{path} (3 rows and 2 columns, separated by commas, without its first column, which "
        "counts the rows; open from 0.125 to 2.5, close from -3000 to 7)"
    )
    path.write_text("1,5;2\n")
    assert read_samples(path, 1, 0).origin == (
        f"{path} (1 row and 2 columns, separated by semicolons, without a header line, with "
        "decimal commas; 1 from 1.5 to 1.5, 2 from 2 to 2)"
    )
    path.write_text(";".join("123456789") + "\n")
    assert read_samples(path, 1, 0).origin.endswith(
        "; 1 from 1 to 1, 2 from 2 to 2, 3 from 3 to 3, "
        "4 from 4 to 4, 5 from 5 to 5, 6 from 6 to 6, ...)"
    )


def test_a_named_column_that_counts_stays_and_that_of_an_index_goes(tmp_path: Path):
    frame = pd.DataFrame({"hour": range(5), "load": np.linspace(1, 2, 5)})
    frame.to_csv(tmp_path / "plain.csv", index=False)
    frame.to_csv(tmp_path / "index.csv")
    frame.reset_index().to_csv(tmp_path / "reset.csv", index=False)
    for name in ("plain", "index", "reset"):
        table = read_table(tmp_path / f"{name}.csv")
        assert table.names == ["hour", "load"]
        np.testing.assert_array_equal(table.values, frame)


@given(
    values=st.lists(
        st.tuples(*[st.floats(-1e300, 1e300, allow_subnormal=False)] * 3), min_size=3, max_size=9
    ),
    separator=st.sampled_from(",;\t| "),
    named=st.booleans(),
)
def test_what_numpy_writes_is_read_bit_for_bit(tmp_path_factory, values, separator, named):
    path = tmp_path_factory.getbasetemp() / "written.csv"
    header = separator.join(("x", "y", "z")) if named else ""
    np.savetxt(path, values, delimiter=separator, header=header, comments="", fmt="%.17g")
    if not named and [row[0] for row in values] in ([0, 1, 2], [1, 2, 3]):
        return
    np.testing.assert_array_equal(load_samples(path, 1, 0), values)
