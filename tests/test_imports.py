"""The rooms: who may import whom, and what `import qcaan` must not bring in."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "qcaan"
# In this order; a module may import from those above it that its line names.
ALLOWED = {
    "readers": set(),
    "data": {"readers"},
    "networks": set(),
    "ansatz": set(),
    "simulators": set(),
    "noise": {"simulators"},
    "jobs": {"simulators"},
    "devices": {"jobs", "noise", "simulators"},
    "samplers": {"devices", "jobs", "noise", "simulators"},
    "losses": set(),
    "optimizers": set(),
    "statevector": {"ansatz", "losses"},
    "born": {"ansatz", "samplers", "statevector"},
    "layers": {"ansatz", "born", "statevector"},
    "priors": {"born", "losses"},
    "qcbm": {"ansatz", "born", "losses", "optimizers", "priors"},
    "boltzmann": {"born", "priors"},
    "planning": {"jobs", "priors", "qcbm", "samplers", "simulators"},
    "metrics": {"data", "losses", "networks"},
    "training": set(),
    "animation": {"training"},
    "reopening": {"data", "jobs", "samplers", "training"},
    "targets": set(),
    "grids": {"born"},
    "circuits": {"ansatz", "born", "samplers", "simulators"},
    "gans/wasserstein": {"ansatz", "born", "jobs", "layers", "losses", "networks", "samplers", "targets", "training"},
    "gans/wasserstein_run": {"devices", "gans", "gans/wasserstein", "planning", "samplers", "training"},
    "gans/image_networks": {"ansatz", "layers", "networks"},
    "gans/image": {"ansatz", "born", "gans/image_networks", "jobs", "losses", "optimizers", "samplers", "training"},
    "gans/image_run": {
        "animation", "devices", "gans", "gans/image", "metrics", "planning", "reopening", "samplers", "training",
    },
    "gans/associative": {
        "boltzmann", "born", "jobs", "losses", "networks", "optimizers", "priors", "qcbm", "samplers", "training",
    },
    "gans/associative_run": {
        "animation", "devices", "gans", "gans/associative", "metrics", "planning", "priors", "qcbm", "reopening", "training",
    },
    "gans/distribution_discriminator": {"grids", "losses", "networks", "optimizers"},
    "gans/distribution_generator": {"ansatz", "born", "circuits", "grids", "optimizers"},
    "gans/distribution_snapshots": {"grids", "training"},
    "gans/distribution": {
        "ansatz", "born", "circuits", "gans/distribution_discriminator", "gans/distribution_generator",
        "gans/distribution_snapshots", "grids", "training",
    },
    "gans/distribution_run": {
        "animation", "devices", "gans/distribution", "gans/distribution_discriminator", "grids", "jobs", "optimizers",
        "planning", "samplers", "targets", "training",
    },
    "aqua/instance": {"born", "circuits", "grids", "samplers"},
    "aqua/optimizers": {"grids"},
    "aqua/discriminators": {
        "aqua/instance", "gans/distribution_discriminator", "gans/distribution_snapshots", "grids", "networks", "training",
    },
    "aqua/generators": {
        "ansatz", "aqua/discriminators", "aqua/instance", "aqua/optimizers", "born", "circuits",
        "gans/distribution_generator", "grids",
    },
    "aqua/qgan": {
        "ansatz", "aqua/discriminators", "aqua/generators", "aqua/instance", "gans", "gans/distribution_generator", "grids",
    },
}  # fmt: skip


def imported_modules(path: Path) -> set[str]:
    """Modules of qcaan that the file imports anywhere, inside functions too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.startswith("qcaan")}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("qcaan"):
            module = node.module or ""
            found |= {f"qcaan.{alias.name}" for alias in node.names} if module == "qcaan" else {module}
        assert not (isinstance(node, ast.ImportFrom) and node.level), f"{path} imports relatively"
    return {name.removeprefix("qcaan.").replace(".", "/") for name in found}


def test_modules_import_only_what_the_table_allows():
    modules = {str(path.relative_to(PACKAGE).with_suffix("")): path for path in PACKAGE.rglob("*.py")}
    modules = {name: path for name, path in modules.items() if not name.endswith("__init__")}
    assert set(modules) == set(ALLOWED)
    for name, path in modules.items():
        assert imported_modules(path) <= ALLOWED[name], name


def test_import_qcaan_brings_in_no_vendor_package():
    program = "import sys, qcaan; print([m for m in sys.modules if m.split('.')[0] in VENDORS])"
    program = program.replace("VENDORS", "('qiskit_ibm_runtime', 'qiskit_aqt_provider', 'qiskit_ionq')")
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
