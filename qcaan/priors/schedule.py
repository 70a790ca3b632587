"""The schedule of a quantum prior: which engine fits and which draws in each epoch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Generic, TypeVar

# an engine, or a machine on it
Machine = TypeVar("Machine")


@dataclass(frozen=True)
class Schedule(Generic[Machine]):
    """Which machine fits, and which draws the bank of shots, in each epoch.

    Attributes:
        early: machine of the epochs before the change.
        late: machine after it; the same object if nothing changes.
        switch_after_epochs: number of epochs before the bank is drawn by `late`.
        fits_switch: whether the fits change too, or stay on `early`.
    """

    early: Machine
    late: Machine
    switch_after_epochs: int = 0
    fits_switch: bool = False

    @property
    def fitters(self) -> tuple[Machine, ...]:
        """All machines that fit in some epoch."""
        return (self.early, self.late) if self.fits_switch else (self.early,)

    def fitter(self, epoch: int) -> Machine:
        """Return the machine of the fit that ends an epoch, which are numbered from 0."""
        return self.late if self.fits_switch and epoch >= self.switch_after_epochs else self.early

    def drawer(self, n_fits: int) -> Machine:
        """Return the machine that draws after a number of finished fits."""
        return self.late if n_fits >= self.switch_after_epochs else self.early

    def phases(self, epochs: int) -> Iterator[tuple[int, int]]:
        """Yield the first epoch and the number of epochs of each stretch on the same engines.

        An epoch is the fit that ends it and the bank that is drawn after the fit.
        """
        engines = [(self.fitter(epoch), self.drawer(epoch + 1)) for epoch in range(epochs)]
        first = 0
        for _, stretch in groupby(engines):
            n_epochs = len(list(stretch))
            yield first, n_epochs
            first += n_epochs
