"""The layout: which package imports which, always downward."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "qcaan"
# Every folder and top-level module, lowest first, with exactly what it imports: lines above it.
IMPORTS = {
    "bits": set(),
    "checks": set(),
    "cobyla": set(),
    "files": set(),
    "randomness": {"checks"},
    "spectra": {"bits"},
    "optimizers": {"bits", "cobyla", "spectra"},
    "data": {"checks", "files"},
    "augment": {"randomness"},
    "losses": {"bits"},
    "networks": {"checks"},
    "samplers": {"checks", "files"},
    "training": {"checks", "randomness"},
    "circuits": {"bits", "checks", "samplers"},
    "metrics": {"bits", "data", "files", "randomness", "training"},
    "priors": {"bits", "checks", "circuits", "losses", "optimizers", "samplers", "training"},
    "processes": set(),
    "gans": {
        "augment", "checks", "circuits", "data", "files", "losses", "metrics", "networks",
        "priors", "processes", "randomness", "samplers", "training",
    },
    "aqua": {
        "checks", "circuits", "files", "gans", "networks", "randomness", "samplers", "training",
    },
    "runs": {
        "bits", "checks", "circuits", "data", "files", "gans", "metrics", "networks", "priors",
        "processes", "samplers", "training",
    },
    "commands": {
        "bits", "checks", "circuits", "cobyla", "data", "files", "gans", "losses", "metrics",
        "networks", "optimizers", "priors", "processes", "randomness", "runs", "samplers",
        "training",
    },
    "__main__": {"commands"},
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


def test_every_package_that_is_imported_is_declared_with_bounds():
    project = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    declared = [*project["dependencies"], *extras["aqt"], *extras["ionq"]]
    declared += [*extras["inception"], *extras["hub"], *extras["bench"]]
    names = {re.split(r"[\[<>=!;]", line)[0].lower().replace("_", "-") for line in declared}
    imported: set[str] = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add((node.module or "").partition(".")[0])
    known = packages_distributions()
    for module in imported - set(sys.stdlib_module_names) - {"qcaan"}:
        # a package of the extra `bench` need not be installed; its name is that of its module
        owners = {name.lower().replace("_", "-") for name in known.get(module, [module])}
        assert {name.replace("_", "-") for name in owners} & names, module
    for line in project["dependencies"]:
        assert ">=" in line and ("<" in line or line.startswith("stamina")), line
