"""Takes this node's secrets out of bytes that leave the machine, however they are written down. Pure.

The log is cleaned as it is written (``daemon/observability.py``); this is the second look, by somebody who knows the
secrets themselves: the values of the home's key files, the password, what is private in an RPC URL.
"""

from __future__ import annotations

import base64
import contextlib
import json
import re
from collections.abc import Iterable
from urllib.parse import urlsplit

import base58

HIDDEN = b"[hidden]"
KEY_CHARACTERS_MIN = 16  # as the log's filter
SECRET_BYTES_MIN = 6  # shorter ones would blank out ordinary words
_URL = re.compile(rb"""\b(?:https?|wss?)://[^\s"'<>\\,;)\]}]+""")


class Scrubber:
    """Knows secrets, and hides them. Give it all of them before anything is cleaned."""

    def __init__(self, secrets: Iterable[bytes] = ()) -> None:
        self._forms: list[bytes] = []
        for secret in secrets:
            self.add(secret)

    def add(self, secret: bytes) -> None:
        """Hide ``secret`` in all notations; very short ones are ignored."""
        if len(secret) >= SECRET_BYTES_MIN:
            self._forms += [form for form in notations(secret) if form not in self._forms]
            self._forms.sort(key=len, reverse=True)  # a form that contains another goes first

    def clean(self, data: bytes) -> bytes:
        """``data`` without secrets, and URLs without more than their host."""
        data = _URL.sub(lambda match: shorten_url(match[0]), data)
        for form in self._forms:
            data = data.replace(form, HIDDEN)
        return data


def shorten_url(url: bytes) -> bytes:
    """``https://host:port/…``: user, password, path and query may hold a key."""
    text = url.decode("utf-8", "replace")
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return HIDDEN
    where = f"[{host}]" if ":" in host else host
    short = f"{parts.scheme}://{where}{'' if port is None else f':{port}'}"
    is_more = parts.path not in ("", "/") or parts.query or parts.fragment or parts.username or parts.password
    return f"{short}/…".encode() if is_more else short.encode()


def find_urls(data: bytes) -> list[str]:
    """All http and websocket URLs in there."""
    return [match[0].decode("utf-8", "replace") for match in _URL.finditer(data)]


def private_parts(url: str) -> list[str]:
    """What in an endpoint's URL may be its owner's alone: password, query, and path parts as long as a key."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return [url]
    keys = [part for part in parts.path.split("/") if len(part) >= KEY_CHARACTERS_MIN]
    return [part for part in (parts.password, parts.query, *keys) if part]


def notations(secret: bytes) -> list[bytes]:
    """How a secret might stand in a file: raw, hex, base64 at each alignment, base58, decimal, escaped, as a list."""
    texts = {
        secret.hex(),
        secret.hex().upper(),
        repr(secret)[2:-1],
        base58.b58encode(secret).decode(),
        str(int.from_bytes(secret, "big")),
        ", ".join(map(str, secret)),
        ",".join(map(str, secret)),
        secret.decode("latin-1"),
    }
    with contextlib.suppress(UnicodeDecodeError):
        texts.add(secret.decode())
    for shift in range(3):  # base64 of something longer that contains it
        whole = base64.b64encode(bytes(shift) + secret)
        inner = whole[-(-shift * 8 // 6) : len(whole) - 4].decode()
        texts |= {inner, inner.translate(str.maketrans("+/", "-_"))}
    forms = {secret}
    for text in texts:
        # As it is, and as JSON writes it, with and without escapes beyond ASCII.
        forms |= {text.encode(), json.dumps(text)[1:-1].encode(), json.dumps(text, ensure_ascii=False)[1:-1].encode()}
    return [form for form in forms if len(form) >= SECRET_BYTES_MIN]
