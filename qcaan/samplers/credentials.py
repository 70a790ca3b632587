"""Credentials: read without white space, and kept out of every text."""

from __future__ import annotations

import base64
import html
import logging
import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

# names of variables that hold a credential of a vendor, such as IONQ_API_KEY
_NAME = re.compile(r"(IBM|AQT|IONQ).*(TOKEN|KEY|SECRET|PASSWORD)")
# what is hidden whatever its value: user and password in an address, and signed access tokens
_ALWAYS = (
    (re.compile(r"(?<=://)[^/\s@'\"<>]+@"), "<credentials>@"),
    (re.compile(r"eyJ[\w-]{8,}\.[\w-]+\.[\w-]*"), "<access token>"),
)
# credentials that came from files, and the names that are shown in their place
_kept: dict[str, str] = {}


def secret(name: str) -> str | None:
    """Return a credential from the environment, without the white space of a mounted file."""
    return (os.environ.get(name) or "").strip() or None


def keep_secret(value: str | None, name: str) -> str | None:
    """Return a credential from a file without white space around it, and hide it from now on.

    Args:
        value: the credential, or None.
        name: name that `scrub` shows in its place.
    """
    value = (value or "").strip() or None
    if value:
        _kept[value] = name
    return value


def scrub(text: str) -> str:
    """Return a text without credentials, however they are encoded in it.

    Hidden are those of the environment and of `keep_secret`, user and password in addresses, and
    access tokens.
    """
    values = dict(_kept)
    for name in os.environ:
        if _NAME.search(name) and (value := secret(name)):
            values[value] = name
    for value in sorted(values, key=len, reverse=True):
        text = _forms(value).sub(f"<{values[value]}>", text)
    for pattern, shown in _ALWAYS:
        text = pattern.sub(shown, text)
    return text


def shown(value: object) -> str:
    """Return a value that a vendor gave for a message: scrubbed, and cut after that."""
    text = scrub(repr(value))
    return text if len(text) <= 60 else f"{text[:60]} ..."


class ScrubbingFormatter(logging.Formatter):
    """Formats records of a log without credentials."""

    def format(self, record: logging.LogRecord) -> str:
        return scrub(super().format(record))


@contextmanager
def scrubbed_warnings() -> Iterator[None]:
    """Print warnings without credentials. This is for programs: it holds for the whole process."""
    before = warnings.formatwarning

    def format_warning(*arguments: Any, **options: Any) -> str:
        return scrub(before(*arguments, **options))

    warnings.formatwarning = format_warning
    try:
        yield
    finally:
        warnings.formatwarning = before


@cache
def _forms(value: str) -> re.Pattern[str]:
    """Return a pattern of a credential as it is, or escaped, percent-encoded, in base64 or hex."""
    hexadecimal = f"(?i:{value.encode().hex()})"
    plain = "".join(map(_forms_of_character, value))
    return re.compile("|".join((plain, hexadecimal, *_base64_forms(value.encode()))))


def _forms_of_character(character: str) -> str:
    code, encoded = ord(character), [f"{byte:02x}" for byte in character.encode()]
    percent, escaped = (
        "".join(start + byte for byte in encoded) for start in ("%(?:25)*", r"\\+x")
    )
    forms = [
        rf"\\*{re.escape(character)}",
        f"(?i:{percent}|{escaped})",
        rf"\\+(?i:x{code:02x}|u{code:04x}|U{code:08x})",
        rf"&#(?i:x0*{code:x}|0*{code});",
    ]
    if html.escape(character) != character:
        forms.append(html.escape(character))
    if character == " ":
        forms.append(r"\+")
    return f"(?:{'|'.join(forms)})"


def _base64_forms(value: bytes) -> list[str]:
    """Return patterns of bytes inside a longer text in base64, one for each place modulo 3."""
    patterns = []
    for before in range(3):
        whole = base64.b64encode(bytes(before) + value).decode().rstrip("=")
        # characters that bytes before and after have a part in
        first, last = (0, 2, 3)[before], (before + len(value)) * 8 // 6
        core = re.escape(whole[first:last])
        patterns.append(core.replace(r"\+", "[+-]").replace("/", "[/_]"))
    return [pattern for pattern in patterns if pattern]
