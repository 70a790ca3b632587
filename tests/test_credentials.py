"""Credentials: stripped where they are read, and in no text, however they are encoded in it."""

from __future__ import annotations

import base64
import html
import json
import logging
import sys
import urllib.parse
import warnings

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from qcaan.commands import main as program
from qcaan.samplers.credentials import keep_secret, scrub, secret
from qcaan.samplers.requests import JobError

# keys of real vendors are long; white space around them is that of a mounted file
KEYS = st.text(st.characters(min_codepoint=33, max_codepoint=0x17F), min_size=12, max_size=40)
ENCODINGS = [
    str,
    repr,
    lambda key: repr(repr(key)),
    lambda key: repr(key.encode()),
    lambda key: repr({"Authorization": f"apiKey {key}\n"}),
    json.dumps,
    urllib.parse.quote,
    urllib.parse.quote_plus,
    lambda key: urllib.parse.quote(key, safe=""),
    lambda key: urllib.parse.quote(urllib.parse.quote(key, safe="")),
    lambda key: "".join(f"%{byte:02X}" for byte in key.encode()),
    html.escape,
    lambda key: key.encode().hex(),
    lambda key: key.encode("unicode_escape").decode(),
    lambda key: key.encode("ascii", "xmlcharrefreplace").decode(),
    lambda key: base64.b64encode(f"user:{key}".encode()).decode(),
    lambda key: base64.b64encode(f"apiKey {key}\n".encode()).decode(),
    lambda key: base64.urlsafe_b64encode(f"{key}".encode()).decode(),
    lambda key: base64.b64encode(f"Bearer {key}".encode()).decode(),
]


@given(key=KEYS, encode=st.sampled_from(ENCODINGS))
@example(key="open/sesame+1=%'\"\\&<>", encode=repr)
def test_a_credential_is_found_in_every_encoding(key, encode):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IONQ_API_KEY", f" {key}\r\n")
        assert secret("IONQ_API_KEY") == key
        left = scrub(f"before {encode(key)} after")
        assert "<IONQ_API_KEY>" in left
        # ends of the base64 of other text stay
        assert len(left) < len("before  after") + len("<IONQ_API_KEY>") + 40
        assert encode(key) not in left and key not in left
        assert key not in str(JobError(f"rejected {encode(key)}"))


@pytest.mark.parametrize("name", ["QISKIT_IBM_TOKEN", "AQT_CLIENT_SECRET", "IONQ_API_TOKEN"])
def test_variables_of_all_vendors_are_known_by_their_names(monkeypatch, name):
    monkeypatch.setenv(name, "open-sesame")
    assert scrub("Bearer open-sesame;") == f"Bearer <{name}>;"
    monkeypatch.setenv(name, " \n")
    assert secret(name) is None and scrub("fine ") == "fine "


def test_credentials_from_files_in_addresses_and_signed_tokens_are_hidden():
    assert keep_secret("from-a-mounted-file\n", "FILE") == "from-a-mounted-file"
    assert keep_secret(" \n", "FILE") is keep_secret(None, "FILE") is None
    assert scrub("'from-a-mounted-file\\n'") == "'<FILE>\\n'"
    assert scrub("no route to https://user:pass%40@host/v0.4") == (
        "no route to https://<credentials>@host/v0.4"
    )
    token = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJl-_x"
    assert scrub(f"Authorization: Bearer {token}.") == "Authorization: Bearer <access token>."


def test_nothing_that_a_command_prints_holds_a_credential(monkeypatch, capsys):
    monkeypatch.setenv("IONQ_API_KEY", "open-sesame\n")

    class Command:
        @staticmethod
        def main(kind: str = "traceback") -> None:
            """Fail.

            Args:
                kind: kind of the failure.
            """
            # what Python prints of a warning, which pytest would collect
            shown = warnings.formatwarning("sent apiKey open-sesame", UserWarning, "client.py", 7)
            print(shown, file=sys.stderr)
            logging.getLogger("vendor").warning("sent %r", "open-sesame\n")
            if kind == "traceback":
                raise KeyError("open-sesame\n")
            raise ValueError("bad header 'open-sesame\\n'")

    monkeypatch.setattr(program, "import_module", lambda name: Command)
    # as in a process of its own, where pytest has set up nothing
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    for kind, status in (("traceback", 1), ("sentence", 2)):
        with pytest.raises(SystemExit) as ended:
            program.main(["samplers", "--kind", kind])
        printed = capsys.readouterr()
        assert ended.value.code == status
        assert "sesame" not in printed.out + printed.err
        assert "sent apiKey <IONQ_API_KEY>" in printed.err and "sent '<IONQ_API_KEY>" in printed.out
