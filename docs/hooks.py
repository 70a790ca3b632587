"""Pages that MkDocs makes while it builds the site: notebooks, the changelog, the model's page.

A notebook is a Python file in jupytext's percent format. Each build runs it from start to end, so
that its page shows what the code of this version prints. With QCAAN_TOY=1 the notebooks run at a
toy size, in seconds.
"""

from __future__ import annotations

import logging
import os
import tempfile
import time
from pathlib import Path

import jupytext
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from nbclient import NotebookClient
from nbconvert import MarkdownExporter

import qcaan
from qcaan.runs.pages import page_of

# as for the commands: threads that wait by spinning slow a training down on a shared machine
os.environ.setdefault("GOMP_SPINCOUNT", "1000")
log = logging.getLogger("mkdocs.hooks.qcaan")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that have no Markdown file of their own."""
    docs = Path(config.docs_dir)
    model = qcaan.from_pretrained("mnist-379", device="cpu")
    files.append(File.generated(config, "page/index.html", content=page_of(model)))
    changelog = (docs.parent / "CHANGELOG.md").read_text()
    files.append(File.generated(config, "changelog.md", content=changelog))
    for path in sorted((docs / "notebooks").glob("*.py")):
        start = time.perf_counter()
        text, pictures = run_notebook(path)
        log.info("ran %s in %.0f s", path.name, time.perf_counter() - start)
        files.append(File.generated(config, f"notebooks/{path.stem}.md", content=text))
        for name, data in pictures.items():
            files.append(File.generated(config, f"notebooks/{name}", content=data))
    return files


def run_notebook(path: Path) -> tuple[str, dict[str, bytes]]:
    """Run a notebook in an empty folder.

    Returns:
        The page as Markdown with the outputs, and its pictures by their file names.
    """
    notebook = jupytext.read(path, fmt="py:percent")
    with tempfile.TemporaryDirectory() as folder:
        client = NotebookClient(
            notebook,
            kernel_name="python3",
            timeout=None,
            coalesce_streams=True,
            resources={"metadata": {"path": folder}},
        )
        client.execute()
    names = {"output_files_dir": f"{path.stem}_files"}
    text, found = MarkdownExporter().from_notebook_node(notebook, resources=names)
    source = f"\n\n[The code of this page]({path.name}), to be opened as a notebook by jupytext.\n"
    return text + source, found["outputs"]
