"""`qcaan export`: make a ready-made model of a run, and upload it if asked to."""

from __future__ import annotations

from pathlib import Path

import tyro

from qcaan.runs.loading import load_run
from qcaan.runs.pretrained import check_pretrained, check_push, push_to_hub, save_pretrained
from qcaan.runs.session import console


def main(
    path: tyro.conf.Positional[Path],
    out: Path,
    push: str | None = None,
    private: bool = False,
    dry_run: bool = False,
) -> None:
    """Make a ready-made model of a run, with its scores and a card.

    Args:
        path: Directory of the run, of qcaan train.
        out: Folder of the model, new or empty.
        push: ORGANISATION/NAME on the Hugging Face hub to upload the model to, with the extra hub.
            The account is that of hf auth login, or of the variable HF_TOKEN. Default: nowhere.
        private: Make the model private on the hub, if it is new there.
        dry_run: Check everything, and write and upload nothing.
    """
    if push is not None:
        check_push(push)
    elif private:
        raise ValueError("`private` is for an upload; name one by --push")
    run = load_run(path)
    check_pretrained(run, out)
    if dry_run:
        console.print("dry run: nothing was written")
        return
    folder = save_pretrained(run, out)
    size = sum(file.stat().st_size for file in folder.iterdir())
    console.print(f"wrote {folder} ({size / 1e6:.2f} MB); draw from it with --pretrained {folder}")
    if push is not None:
        console.print(f"uploaded to {push_to_hub(folder, push, private=private)}")
