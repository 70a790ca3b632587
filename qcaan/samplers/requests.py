"""Requests to a vendor: bounded in time, repeated after outages, without credentials in errors."""

from __future__ import annotations

import base64
import os
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
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
# seconds: one answer, and an outage that is waited out
LONGEST_ANSWER = 300.0
LONGEST_OUTAGE = 1800.0

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
    """A request failed, and the same request may succeed later.

    Attributes:
        wait: seconds that the vendor asks to wait, if it does.
    """

    def __init__(self, message: str, job_id: str | None = None, wait: float | None = None) -> None:
        super().__init__(message, job_id)
        self.wait = wait


def request(
    name: str,
    send: Callable[[int], Answer],
    *,
    seconds: float,
    job_id: str | None = None,
) -> Answer:
    """Return the answer of `send(attempt)`, which is called again after outages.

    Args:
        name: name of the device, for messages.
        send: one attempt of the request, given its number from 1. It runs in a thread that is
            abandoned if no answer comes in time.
        seconds: maximum duration of all attempts together.
        job_id: id of the job that the request is about, for messages.

    Raises:
        JobError: the request was refused, or the outage lasted. Its message holds no credentials.
    """
    deadline = time.monotonic() + seconds

    def should_retry(error: Exception) -> bool | float:
        if not isinstance(error, TransientError) or time.monotonic() >= deadline:
            return False
        return True if error.wait is None else min(error.wait, deadline - time.monotonic())

    attempts = stamina.retry_context(
        on=should_retry,
        attempts=None,
        timeout=min(seconds, LONGEST_OUTAGE),
        wait_initial=0.2,
        wait_max=30,
    )
    for attempt in attempts:
        with attempt:
            left = max(deadline - time.monotonic(), 0.01)
            return _within(min(left, LONGEST_ANSWER), name, job_id, partial(send, attempt.num))
    raise AssertionError("stamina ends with an answer or an exception")


def _within(seconds: float, name: str, job_id: str | None, send: Callable[[], Answer]) -> Answer:
    """Return the answer of `send`, or raise its error cleaned, or give it up after some seconds."""
    answers: list[Answer] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            with _clean_errors(name, job_id):
                answers.append(send())
        except BaseException as error:  # raised again in the thread that waits
            errors.append(error)

    thread = threading.Thread(target=work, daemon=True, name=f"request to {name}")
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        raise TransientError(f"{name} gave no answer within {seconds:.3g} s", job_id)
    if errors:
        raise errors[0]
    return answers[0]


@contextmanager
def _clean_errors(name: str, job_id: str | None) -> Iterator[None]:
    """Turn whatever a vendor's client raises into a `JobError` without credentials."""
    try:
        yield
    except JobError:
        raise
    except Exception as error:
        message = f"{name} refused a request ({_described(error)})"
        if is_transient(error):
            raise TransientError(message, job_id, _retry_after(error)) from None
        raise JobError(message, job_id) from None


def is_transient(error: BaseException) -> bool:
    """Return whether a request may succeed later: after a rate limit or an outage."""
    status = getattr(error, "status_code", None)
    if status is None:
        status = getattr(getattr(error, "response", None), "status_code", None)
    if status is not None:
        return status in (408, 425, 429) or status >= 500
    if isinstance(error, ConnectionError | TimeoutError):
        return True
    return any(kind.__name__ in _TRANSIENT_NAMES for kind in type(error).__mro__)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and the errors that caused it, the outermost first."""
    seen: list[BaseException] = []
    while error is not None and error not in seen:
        seen.append(error)
        yield error
        # IonQ's client keeps the cause in an attribute of its own
        error = getattr(error, "_cause", None) or error.__cause__ or error.__context__


def _described(error: BaseException) -> str:
    """Return the class and the message of an error, and those of its first cause."""
    first, *others = list(_chain(error))
    text = f"{type(first).__name__}: {first}"
    return f"{text}; {type(others[-1]).__name__}: {others[-1]}" if others else text


def _retry_after(error: BaseException) -> float | None:
    """Return the seconds that a response asks to wait, which it gives as a number or as a date."""
    for one in _chain(error):
        headers = getattr(one, "headers", None)
        if headers is None:
            headers = getattr(getattr(one, "response", None), "headers", None)
        value = (headers or {}).get("Retry-After")
        if value is None:
            continue
        try:
            if str(value).strip().isdigit():
                return float(value)
            moment = parsedate_to_datetime(str(value))
        except ValueError:
            return None
        return max(0.0, (moment - datetime.now(UTC)).total_seconds())
    return None


def secret(name: str) -> str | None:
    """Return a credential from the environment, without the white space of a mounted file."""
    return (os.environ.get(name) or "").strip() or None


def scrub(text: str) -> str:
    """Return a text without the credentials that the environment holds, in any usual encoding."""
    for name in _SECRETS:
        raw = os.environ.get(name)
        if not raw or not raw.strip():
            continue
        forms = set()
        for value in (raw, raw.strip()):
            forms |= {
                value,
                repr(value)[1:-1],
                urllib.parse.quote(value),
                urllib.parse.quote_plus(value),
            }
            forms.add(base64.b64encode(value.encode()).decode())
        for form in sorted(forms, key=len, reverse=True):
            text = text.replace(form, f"<{name}>")
    return text


def log_retries(log: Callable[[str], None]) -> None:
    """Report every repeated request of this process in one line, in place of stamina's own report.

    This is a setting of the whole process, for programs to make, not for imports.
    """

    def report(details: stamina.instrumentation.RetryDetails) -> None:
        log(f"{details.caused_by}; attempt {details.retry_num + 1} in {details.wait_for:.1f} s")

    stamina.instrumentation.set_on_retry_hooks([report])
