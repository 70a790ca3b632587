"""Requests to a vendor: bounded in time, repeated after outages, with clean errors."""

from __future__ import annotations

import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TypeVar

import stamina

from qcaan.samplers.credentials import scrub

_TRANSIENT_NAMES = {
    "ConnectionError",
    "ChunkedEncodingError",
    "Timeout",
    "TransportError",
    "AQTRequestError",
}
# seconds: one answer, an outage that is waited out, and the same while a device is opened
LONGEST_ANSWER, LONGEST_OUTAGE = 300.0, 1800.0
LONGEST_OPENING, OPENING_OUTAGE = 120.0, 10.0
# characters of an error's text; some texts hold a whole web page
_LONGEST_TEXT = 500

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
        arrived: whether the vendor may have done what was asked all the same.
    """

    def __init__(
        self,
        message: str,
        job_id: str | None = None,
        *,
        wait: float | None = None,
        arrived: bool = True,
    ) -> None:
        super().__init__(message, job_id)
        self.wait, self.arrived = wait, arrived


def opened(name: str, connect: Callable[[], Answer], seconds: float) -> Answer:
    """Return what `connect` does, which opens a device and submits nothing.

    Args:
        name: name of the device, for messages.
        connect: sends the requests.
        seconds: maximum duration, if it is less than `LONGEST_OPENING`.

    Raises:
        ValueError: the device is not available. The message holds no credentials.
    """
    limit = min(seconds, LONGEST_OPENING)
    try:
        return request(name, connect, seconds=limit, outage=OPENING_OUTAGE)
    except JobError as error:
        raise ValueError(f"{name} is not available: {error}") from None


def request(
    name: str,
    send: Callable[[], Answer],
    *,
    seconds: float,
    job_id: str | None = None,
    outage: float | None = None,
) -> Answer:
    """Return the answer of `send`, which is called again after outages.

    Args:
        name: name of the device, for messages.
        send: one attempt of the request, which must do no harm if it is repeated. It runs in a
            thread that is abandoned if no answer comes in time.
        seconds: maximum duration of all attempts together.
        job_id: id of the job that the request is about, for messages.
        outage: seconds of an outage that is waited out; default `LONGEST_OUTAGE`.

    Raises:
        JobError: the request was refused, or the outage lasted. Its message holds no credentials.
    """
    return repeated(
        lambda left: within(left, name, send, job_id=job_id), seconds=seconds, outage=outage
    )


def repeated(
    attempt: Callable[[float], Answer], *, seconds: float, outage: float | None = None
) -> Answer:
    """Return what `attempt` returns, called again after each `TransientError`.

    Args:
        attempt: one attempt, given the seconds that are left for it.
        seconds: maximum duration of all attempts together.
        outage: seconds of an outage that is waited out; default `LONGEST_OUTAGE`.
    """
    deadline = time.monotonic() + seconds

    def should_retry(error: Exception) -> bool | float:
        left = deadline - time.monotonic()
        if not isinstance(error, TransientError) or left <= 0:
            return False
        return True if error.wait is None else min(error.wait, left)

    attempts = stamina.retry_context(
        on=should_retry,
        attempts=None,
        timeout=min(seconds, LONGEST_OUTAGE if outage is None else outage),
        wait_initial=0.2,
        wait_max=30,
    )
    for context in attempts:
        with context:
            return attempt(max(deadline - time.monotonic(), 0.01))
    raise AssertionError("stamina ends with an answer or an exception")


def within(
    seconds: float, name: str, send: Callable[[], Answer], *, job_id: str | None = None
) -> Answer:
    """Return the answer of `send`, or raise its error cleaned, or give it up after some seconds.

    Args:
        seconds: maximum duration, if it is less than `LONGEST_ANSWER`.
        name, send, job_id: see `request`.
    """
    seconds = min(seconds, LONGEST_ANSWER)
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
    if errors:
        raise errors[0]
    if not answers:
        raise TransientError(f"{name} gave no answer within {seconds:.3g} s", job_id)
    return answers[0]


@contextmanager
def _clean_errors(name: str, job_id: str | None) -> Iterator[None]:
    """Turn whatever a vendor's client raises into a `JobError` without credentials."""
    try:
        yield
    except JobError:
        raise
    except Exception as error:
        about = "" if job_id is None else f" about job {job_id}"
        message = f"{name} refused a request{about} ({_described(error)})"
        if is_transient(error):
            arrived = _status(error) != 429
            raise TransientError(
                message, job_id, wait=_retry_after(error), arrived=arrived
            ) from None
        raise JobError(message, job_id) from None


def is_transient(error: BaseException) -> bool:
    """Return whether a request may succeed later: after a rate limit or an outage."""
    status = _status(error)
    if status is not None:
        retriable = type(error).__name__ == "IonQRetriableError"
        return retriable or status in (408, 425, 429) or status >= 500
    return any(
        isinstance(one, ConnectionError | TimeoutError)
        or any(kind.__name__ in _TRANSIENT_NAMES for kind in type(one).__mro__)
        for one in _chain(error)
    )


def _status(error: BaseException) -> int | None:
    """Return the HTTP status that an error, or one of its causes, tells."""
    for one in _chain(error):
        for holder in (one, getattr(one, "response", None), getattr(one, "http_response", None)):
            status = getattr(holder, "status_code", None)
            if isinstance(status, int) and status >= 100:  # IBM's client has -1 for none
                return status
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and the errors that caused it, the outermost first."""
    seen: list[BaseException] = []
    while error is not None and error not in seen:
        seen.append(error)
        yield error
        # IonQ's client keeps the cause in an attribute of its own
        error = getattr(error, "_cause", None) or error.__cause__ or error.__context__


def _described(error: BaseException) -> str:
    """Return the class and the message of an error, and those of its first cause, in one line."""
    first, *others = list(_chain(error))
    # an error of IonQ's client says "Unknown error" instead of its cause
    told = [one for one in (first, *others[-1:]) if "Unknown error" not in str(one)] or [first]
    # scrubbed before it is cut, so that no half of a credential is left
    texts = (scrub(" ".join(f"{type(one).__name__}: {one}".split()).rstrip(":")) for one in told)
    return "; ".join(textwrap.shorten(text, _LONGEST_TEXT, placeholder=" ...") for text in texts)


def _retry_after(error: BaseException) -> float | None:
    """Return the seconds that a response asks to wait, which it gives as a number or as a date."""
    for one in _chain(error):
        for holder in (one, getattr(one, "response", None), getattr(one, "http_response", None)):
            value = (getattr(holder, "headers", None) or {}).get("Retry-After")
            if value is not None:
                return _seconds(str(value).strip())
    return None


def _seconds(value: str) -> float | None:
    """Return the seconds of a value of `Retry-After`, or None if it is neither number nor date."""
    if value.replace(".", "", 1).isdecimal():
        return float(value)
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, TypeError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())


def log_retries(log: Callable[[str], None]) -> None:
    """Report every repeated request of this process in one line, in place of stamina's own report.

    This is a setting of the whole process, for programs to make, not for imports.
    """

    def report(details: stamina.instrumentation.RetryDetails) -> None:
        log(f"{details.caused_by}; attempt {details.retry_num + 1} in {details.wait_for:.1f} s")

    stamina.instrumentation.set_on_retry_hooks([report])
