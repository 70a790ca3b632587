"""The public face of the package: its names, its types, and what an import costs."""

from __future__ import annotations

import doctest
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import qcaan


def test_every_public_name_is_there_and_described_in_the_docstring():
    assert qcaan.__doc__ is not None
    for name in qcaan.__all__:
        assert getattr(qcaan, name) is not None
        assert f"`{name}`" in qcaan.__doc__, name
    assert set(qcaan.__all__) <= set(dir(qcaan))
    assert len(set(qcaan.__all__)) == len(qcaan.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = qcaan.nothing


def test_the_example_of_the_docstring_runs():
    results = doctest.testmod(qcaan)
    assert results.attempted >= 4 and results.failed == 0


def test_the_version_is_the_packages_and_types_are_marked():
    assert qcaan.__version__ == version("qcaan")
    assert (Path(qcaan.__file__).parent / "py.typed").is_file()


def test_an_import_brings_in_no_vendor_and_changes_no_hook():
    program = """
import sys, warnings
import stamina
hooks, filters = stamina.instrumentation.get_on_retry_hooks(), list(warnings.filters)
import qcaan
for name in qcaan.__all__:
    getattr(qcaan, name)
assert stamina.instrumentation.get_on_retry_hooks() == hooks
print([m for m in sys.modules if m in ("qiskit_ibm_runtime", "qiskit_aqt_provider", "qiskit_ionq")])
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "[]"
