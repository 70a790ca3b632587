"""The journal of a run's jobs, by which nothing is paid twice."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_type_hints

from qiskit.primitives.containers.sampler_pub import SamplerPub

from qcaan.files import append_record, read_records


@dataclass
class Entry:
    """One job in the journal. Its price in US dollars is 0 if it was free or not known."""

    tag: str
    epoch: int | None
    index: int
    fingerprint: str
    circuits: int
    shots: int
    usd: float = 0.0
    job_id: str | None = None
    failed: bool = False


class Journal:
    """The file `jobs.jsonl` of a run.

    It gets a line with a job's tag before the job is submitted, one with the job's id right after,
    and one if the job fails. The jobs of an epoch are numbered. A resumed run repeats its epoch
    from the start and asks for the same jobs in the same order. So a job that was submitted before
    is found here by its number and its fingerprint, and is fetched instead of paid again.

    Args:
        path: path of the file; None keeps the journal in memory.
        replay: whether earlier jobs are found, and count as spent. False for draws that must be
            new; they are recorded all the same.

    Raises:
        ValueError: the file is damaged, or is not a journal.
    """

    def __init__(self, path: Path | None = None, *, replay: bool = True) -> None:
        self._path = path
        self._replay = replay
        self._entries: dict[str, Entry] = {}
        self._epoch: int | None = None
        self._index = 0
        # the job that a line cut short announced was never submitted
        if path is not None and path.is_file():
            for record in read_records(path):
                _check(record, path)
                if "fingerprint" in record:
                    self._entries[record["tag"]] = Entry(**record)
                elif record["tag"] in self._entries:
                    vars(self._entries[record["tag"]]).update(record)
        self._uncounted = set() if replay else set(self._entries)

    @property
    def spent(self) -> tuple[int, int]:
        """Numbers of jobs and shots so far, of this run and the parts that it resumes."""
        return len(self._counted), sum(entry.shots for entry in self._counted)

    @property
    def usd(self) -> float:
        """Cost of the jobs in `spent` by list prices, in US dollars."""
        return sum(entry.usd for entry in self._counted)

    @property
    def _counted(self) -> list[Entry]:
        return [entry for tag, entry in self._entries.items() if tag not in self._uncounted]

    def begin(self, epoch: int) -> None:
        """Number the jobs from zero: the next ones are of the epoch after `epoch` finished ones."""
        self._epoch, self._index = epoch, 0

    def find(self, fingerprint: str) -> Entry | None:
        """Return the earlier job at this place if it asked the same and did not fail."""
        if self._replay:
            for entry in self._entries.values():
                place = (entry.epoch, entry.index, entry.fingerprint)
                if place == (self._epoch, self._index, fingerprint) and not entry.failed:
                    self._index += 1
                    return entry
        return None

    def announce(self, fingerprint: str, circuits: int, shots: int, usd: float = 0.0) -> Entry:
        """Record a new job, with a new tag, before it is submitted."""
        tag = f"qcaan-{uuid.uuid4()}"
        entry = Entry(tag, self._epoch, self._index, fingerprint, circuits, shots, usd)
        self._index += 1
        self._entries[entry.tag] = entry
        self._write(vars(entry))
        return entry

    def note(self, entry: Entry, **news: Any) -> None:
        """Record the `job_id` of a job, or that it `failed`."""
        vars(entry).update(news)
        self._write({"tag": entry.tag, **news})

    def _write(self, record: dict[str, Any]) -> None:
        if self._path is not None:
            append_record(self._path, record)


def _check(record: dict[str, Any], path: Path) -> None:
    """Check that a line announces a job, or tells news of one.

    Raises:
        ValueError: it does something else.
    """
    types = get_type_hints(Entry)
    # journals of earlier versions hold no prices
    needed = types.keys() - {"usd"} if "fingerprint" in record else ("tag",)
    wrong = [name for name in needed if name not in record]
    wrong += [name for name in record if not isinstance(record[name], types.get(name, ()))]
    if wrong:
        raise ValueError(f"{path} is not the journal of a run: a line has a wrong `{wrong[0]}`")


def fingerprint(pubs: Sequence[SamplerPub]) -> str:
    """Return a hash of what a job asks: circuits gate by gate, values of the angles, and shots."""
    digest = hashlib.sha256()
    for pub in pubs:
        for step in pub.circuit.data:
            qubits = [pub.circuit.find_bit(qubit).index for qubit in step.qubits]
            angles = [str(angle) for angle in step.operation.params]
            digest.update(repr((step.operation.name, qubits, angles)).encode())
        digest.update(pub.parameter_values.as_array(list(pub.circuit.parameters)).tobytes())
        digest.update(str(pub.shots).encode())
    return digest.hexdigest()
