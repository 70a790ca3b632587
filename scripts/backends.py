"""List the samplers: what is installed, what can be reached, qubits, native gates, limits, and the reason where not.

python scripts/backends.py
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

import numpy as np
from _cli import console, run_script
from rich.table import Table

from qcaan.samplers.names import is_device, make_sampler
from qcaan.samplers.noise import ION_TRAPS, fake_devices
from qcaan.samplers.vendors import make_vendor

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


def main(names: tuple[str, ...] = _TRIED) -> None:
    """Say of samplers whether they can be used here.

    Args:
        names: those to try, as `--sampler` takes them.
    """
    table = Table(
        "sampler", "package", "qubits", "native gates", "shots a circuit", "circuits a job", ""
    )
    refused = []
    for name in names:
        kind = name.partition(":")[0]
        try:
            package = f"{_PACKAGES.get(kind, '')} {version(_PACKAGES.get(kind, ''))}"
        except (PackageNotFoundError, ValueError):
            package = f"{_PACKAGES.get(kind, 'none')}: not installed"
        try:
            table.add_row(name, package, *described(name))
        except ValueError as error:
            table.add_row(name, package, "", "", "", "", "no, see below")
            refused.append(f"{name}: {error}")
    console.print(table)
    for reason in refused:
        console.print(reason)
    console.print(
        f"NAME in ibm:NAME and aer-noise:NAME, fake devices of IBM: {', '.join(sorted(fake_devices()))}"
    )
    console.print(f"NAME in aer-noise:NAME, ion traps: {', '.join(ION_TRAPS)}")


def described(name: str) -> tuple[str, ...]:
    if not is_device(name):
        if name != "exact":
            make_sampler(name, 0)
        return "", "", "any", "any", "runs here"
    vendor = make_vendor(name, np.random.default_rng(0))
    limits = vendor.limits
    remark = "runs here" if vendor.local else "paid for" if vendor.paid else "free"
    return (
        str(limits.n_qubits),
        " ".join(vendor.gates),
        str(limits.shots or "any"),
        str(limits.circuits or "any"),
        remark,
    )


if __name__ == "__main__":
    run_script(main)
