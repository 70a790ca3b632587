"""`qcaan page`: write a page on which one turns the circuit of a model and watches it draw."""

from __future__ import annotations

from pathlib import Path

import tyro

from qcaan.runs.loading import load_run
from qcaan.runs.pages import check_page, page_of, write_page
from qcaan.runs.pretrained import from_pretrained
from qcaan.runs.session import console


def main(
    path: tyro.conf.Positional[Path | None] = None,
    *,
    out: Path,
    pretrained: str | None = None,
    data_root: Path | None = None,
    dry_run: bool = False,
) -> None:
    """Write a page to play with a trained circuit: one file, no server.

    Args:
        path: Directory of the run, of qcaan train, unless --pretrained names a model.
        out: Folder of the page, new or empty.
        pretrained: Ready-made model instead of a run: mnist-379, which ships with qcaan; the folder
            of a model; or ORGANISATION/NAME on the Hugging Face hub, with the extra hub.
        data_root: Folder of the data sets, if it is not the one that the run used. They are read
            for a run without labels only: a classifier tells what its samples draw.
        dry_run: Check everything, and write nothing.
    """
    if (path is None) == (pretrained is None):
        raise ValueError("name either the directory of a run, or a model by --pretrained")
    if pretrained is not None and data_root is not None:
        raise ValueError("`data_root` is for runs; a ready-made model needs no data")
    check_page(out)
    model = (
        from_pretrained(pretrained, device="cpu")
        if path is None and pretrained is not None
        else load_run(path or Path(), device="cpu", data_root=data_root)
    )
    if dry_run:
        page_of(model)
        console.print("dry run: nothing was written")
        return
    page = write_page(model, out)
    size = page.stat().st_size / 1e6
    console.print(f"wrote {page} ({size:.2f} MB); open it in a browser, or copy it to a website")
