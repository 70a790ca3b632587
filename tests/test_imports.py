"""The layout: which package imports which, always downward, and what `import qcaan` must not bring in."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "qcaan"
# Every folder and top-level module of the package, lowest first, with exactly what it imports: only lines above its own.
IMPORTS = {
    "bits": set(),
    "checks": set(),
    "data": set(),
    "files": set(),
    "networks": set(),
    "optimizers": set(),
    "samplers": set(),
    "training": set(),
    "circuits": {"bits", "checks", "samplers"},
    "losses": {"bits"},
    "metrics": {"data"},
    "priors": {"bits", "checks", "circuits", "losses", "optimizers"},
    "gans": {
        "checks", "circuits", "data", "files", "losses", "networks", "optimizers", "priors",
        "samplers", "training",
    },
    "aqua": {"checks", "circuits", "files", "gans", "networks", "samplers"},
    "runs": {
        "bits", "checks", "data", "files", "gans", "metrics", "optimizers", "priors",
        "samplers", "training",
    },
}  # fmt: skip


def package_of(module: str) -> str:
    """The folder or top-level module of `qcaan` that a dotted module name lies in."""
    return module.removeprefix("qcaan.").partition(".")[0]


def imported_packages(path: Path) -> set[str]:
    """Packages of qcaan that a file imports anywhere, inside functions too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.startswith("qcaan")}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("qcaan"):
            module = node.module or ""
            found |= (
                {f"qcaan.{alias.name}" for alias in node.names} if module == "qcaan" else {module}
            )
        assert not (isinstance(node, ast.ImportFrom) and node.level), f"{path} imports relatively"
    return {package_of(name) for name in found}


def test_the_table_is_what_each_package_imports():
    found: dict[str, set[str]] = {}
    for path in PACKAGE.rglob("*.py"):
        name = package_of(".".join(path.relative_to(PACKAGE).with_suffix("").parts))
        if name != "__init__":
            found.setdefault(name, set()).update(imported_packages(path) - {name})
    assert found == IMPORTS


def test_imports_point_downward_only():
    below: set[str] = set()
    for name, imports in IMPORTS.items():
        assert imports <= below, f"{name} imports {imports - below}, which stand above it"
        below.add(name)


def test_import_qcaan_brings_in_no_vendor_package():
    program = "import sys, qcaan; print([m for m in sys.modules if m.split('.')[0] in VENDORS])"
    program = program.replace(
        "VENDORS", "('qiskit_ibm_runtime', 'qiskit_aqt_provider', 'qiskit_ionq')"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"
