"""`qcaan samplers`: list the samplers, their devices, and the reasons why some are unavailable."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from rich.table import Table

from qcaan.runs.session import console
from qcaan.samplers.devices import Limits
from qcaan.samplers.names import EXACT, HasWidth, is_device, make_sampler
from qcaan.samplers.noise import ION_TRAPS, fake_devices
from qcaan.samplers.vendors import make_vendor

# the package of each kind of sampler
_PACKAGES = {
    "exact": "torch",
    "aer": "qiskit-aer",
    "aer-gpu": "qiskit-aer-gpu",
    "aer-noise": "qiskit-aer",
    "statevector": "qiskit",
    "ibm": "qiskit-ibm-runtime",
    "aqt": "qiskit-aqt-provider",
    "ionq": "qiskit-ionq",
}
_TRIED = (
    *("exact", "aer", "aer-gpu", "aer-noise:ionq-aria", "aer-noise:fake_guadalupe", "statevector"),
    *("ibm:fake_guadalupe", "ibm:least_busy", "aqt:ideal", "aqt:noisy", "ionq:simulator"),
)
_CAPTION = "shots: maximum per circuit; circuits: maximum per job"


def main(names: tuple[str, ...] = _TRIED) -> None:
    """List the samplers that can be used here, and the reasons why others cannot.

    Nothing is submitted to a device.

    Args:
        names: Samplers to try, as --sampler takes them.
    """
    table = Table("sampler", "qubits", "shots", "circuits", "status", caption=_CAPTION)
    gates, reasons = {}, {}
    for name in names:
        try:
            limits, gates[name], status = _open(name)
        except ValueError as error:
            reasons[name] = str(error)
            table.add_row(name, "", "", "", "unavailable")
        else:
            table.add_row(name, *_limit_cells(limits), status)
    console.print(table)
    _print_section("unavailable", reasons)
    _print_section("native gates", {name: found for name, found in gates.items() if found})
    kinds = dict.fromkeys(name.partition(":")[0] for name in names)
    _print_section("packages", {kind: _package(kind) for kind in kinds})
    _print_section(
        "names",
        {
            "aer-noise:NAME, ion traps": ", ".join(ION_TRAPS),
            "aer-noise:NAME and ibm:NAME, fake devices of IBM": ", ".join(sorted(fake_devices())),
        },
    )


def _open(name: str) -> tuple[Limits | None, str, str]:
    """Return the limits of a sampler, its native gates, and a word on its cost.

    Raises:
        ValueError: the sampler is unavailable.
    """
    if not is_device(name):
        sampler = None if name == EXACT else make_sampler(name, 0)
        limits = Limits(sampler.n_qubits) if isinstance(sampler, HasWidth) else None
        return limits, "", "runs here"
    vendor = make_vendor(name)
    status = "runs here" if vendor.local else "paid" if vendor.paid else "free"
    return vendor.limits, " ".join(vendor.gates), status


def _limit_cells(limits: Limits | None) -> tuple[str, str, str]:
    if limits is None:
        return "", "any", "any"
    return str(limits.n_qubits), str(limits.shots or "any"), str(limits.circuits or "any")


def _package(kind: str) -> str:
    """Return the package of a kind of sampler, with its version."""
    if kind not in _PACKAGES:
        return "unknown kind of sampler"
    try:
        return f"{_PACKAGES[kind]} {version(_PACKAGES[kind])}"
    except PackageNotFoundError:
        return f"{_PACKAGES[kind]}, not installed"


def _print_section(title: str, lines: dict[str, str]) -> None:
    """Print titled lines, wrapped at the width of the console."""
    if lines:
        console.print(f"\n{title}:")
    for name, text in lines.items():
        console.print(f"  {name}: {text}", soft_wrap=False)
