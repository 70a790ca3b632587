"""Devices by name: the vendor's side of a sampler, see `qcaan.samplers.devices.Vendor`.

A vendor's package is imported when the vendor is named. Accounts are the vendors' own: IBM's saved
account or `QISKIT_IBM_TOKEN`; AQT's log-in, or `AQT_CLIENT_ID` and `AQT_CLIENT_SECRET`; IonQ's
`IONQ_API_KEY`, with `IONQ_API_URL` for another address.
"""

from __future__ import annotations

from qcaan.samplers.devices import DeviceOptions, Vendor


def make_vendor(name: str, options: DeviceOptions | None = None) -> Vendor:
    """Return the vendor's side of a sampler. Opening it may log in, and submits no job.

    Args:
        name: name of the sampler: `ibm:...`, `aqt:...` or `ionq:...`.
        options: limits of what may be asked of the device.

    Raises:
        ValueError: the vendor's package is missing, there is no account, the vendor refuses the
            account or knows no such device, or it cannot be reached; or copies are asked of an ion
            trap.
    """
    kind, _, device = name.partition(":")
    options = options or DeviceOptions()
    if kind != "ibm" and options.copies not in ("auto", 1):
        raise ValueError(
            f"`copies` must be 1 or auto on {name}, got {options.copies}: only IBM's chips have "
            "room for copies of a circuit side by side"
        )
    try:
        if kind == "ibm":
            from qcaan.samplers.ibm import IBM

            return IBM(device, options.ibm_mode, options.job_timeout, options.copies)
        if kind == "aqt":
            from qcaan.samplers.aqt import AQT

            return AQT(device, options.job_timeout)
        from qcaan.samplers.ionq import IonQ

        return IonQ(device, options.job_timeout)
    except ImportError as error:
        extra = "qcaan" if kind == "ibm" else f"qcaan[{kind}]"
        raise ValueError(
            f'`sampler` {name!r} needs: pip install "{extra}" ({error.name} is missing)'
        ) from None
