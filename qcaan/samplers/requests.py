"""Requests to a vendor: repeated after short failures, and without credentials in errors."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import stamina

_SECRETS = (
    "QISKIT_IBM_TOKEN",
    "IONQ_API_KEY",
    "IONQ_API_TOKEN",
    "QISKIT_IONQ_API_TOKEN",
    "AQT_TOKEN",
)
_TRANSIENT_NAMES = {
    "IonQRetriableError",
    "ConnectionError",
    "Timeout",
    "TransportError",
    "AQTRequestError",
}

Answer = TypeVar("Answer")


class JobError(RuntimeError):
    """A job on a device failed, was cancelled or lost, or is not allowed.

    Attributes:
        job_id: the job's id, if it has one.
    """

    def __init__(self, message: str, job_id: str | None = None) -> None:
        super().__init__(scrub(message))
        self.job_id = job_id


class JobFailed(JobError):
    """The device reports that a job ended without a result: fetching it again is of no use."""


class Unsearchable(JobError):
    """The vendor does not tell which jobs carry a tag."""


class TransientError(JobError):
    """A request failed, and the same request may succeed a moment later."""


def request(name: str, send: Callable[[int], Answer], *, job_id: str | None = None) -> Answer:
    """Return the answer of `send(attempt)`, which is called again after failures.

    Args:
        name: name of the device, for messages.
        send: one attempt of the request, given its number from 1.
        job_id: id of the job that the request is about, for messages.

    Raises:
        JobError: the request was refused, or the outage lasted. Its message holds no credentials.
    """
    attempts = stamina.retry_context(
        on=TransientError, attempts=8, timeout=180, wait_initial=0.2, wait_max=30
    )
    for attempt in attempts:
        with attempt, _clean_errors(name, job_id):
            return send(attempt.num)
    raise AssertionError("stamina ends with an answer or an exception")


@contextmanager
def _clean_errors(name: str, job_id: str | None) -> Iterator[None]:
    """Turn whatever a vendor's client raises into a `JobError` without credentials."""
    try:
        yield
    except JobError:
        raise
    except Exception as error:
        kind = TransientError if is_transient(error) else JobError
        message = f"{name} refused a request ({type(error).__name__}: {error})"
        raise kind(message, job_id) from None


def is_transient(error: BaseException) -> bool:
    """Return whether a request may succeed later: after a rate limit or an outage."""
    response = getattr(error, "response", None)
    status = getattr(error, "status_code", None) or getattr(response, "status_code", None)
    if status is not None:
        return status in (408, 429) or status >= 500
    if isinstance(error, ConnectionError | TimeoutError):
        return True
    return any(kind.__name__ in _TRANSIENT_NAMES for kind in type(error).__mro__)


def scrub(text: str) -> str:
    """Return a text without the credentials that the environment holds."""
    for name in _SECRETS:
        if secret := os.environ.get(name):
            text = text.replace(secret, f"<{name}>")
    return text


def log_retries(log: Callable[[str], None]) -> None:
    """Report every repeated request of this process in one line, in place of stamina's own report.

    This is a setting of the whole process, for programs to make, not for imports.
    """

    def report(details: stamina.instrumentation.RetryDetails) -> None:
        log(f"{details.caused_by}; attempt {details.retry_num + 1} in {details.wait_for:.1f} s")

    stamina.instrumentation.set_on_retry_hooks([report])
