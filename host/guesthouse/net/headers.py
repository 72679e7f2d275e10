"""What a header must look like to go on the wire, in either direction, so that no value can add a line to a message.

The rules are those of RFC 9110 section 5, and stricter where receivers are known to differ: names are tokens; values
have no control characters (C0 but tab, DEL, C1) and no lone surrogates.  Other text outside ASCII is allowed, and goes
out as UTF-8.  Nothing here knows of sockets: whoever answers with a guest's headers uses the same rules.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from guesthouse.net.failures import InvalidHeaderName, InvalidHeaderValue

Headers = Sequence[tuple[str, str]]

HOP_BY_HOP = frozenset(
    {
        "connection",
        "http2-settings",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authentication-info",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
"""Headers (in lower case) that belong to one connection and are never passed on, with all that begin with `proxy-`."""

SET_BY_HOST = HOP_BY_HOP | {"content-length", "expect", "host"}
"""Headers of a request that are ours to set, from the URL and the body; a guest's are dropped without a word."""

MAX_HEADERS = 256
"""Most header fields in one message: more than any server in use accepts."""
MAX_HEADER_BYTES = 64 * 1024
"""Most bytes that all names and values of one message may have together."""

_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,256}\Z")
_C1 = re.compile(r"[\x80-\x9f]")
_FORBIDDEN = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\ud800-\udfff]")


def check_header(name: str, value: str) -> str | None:
    """Why this header cannot go on the wire, or `None` if it can."""
    if not _NAME.match(name):
        return "the name of a header must be 1 to 256 letters, digits or !#$%&'*+-.^_`|~"
    if _FORBIDDEN.search(value):
        return "the value of a header must not hold control characters"
    return None


def is_hop_by_hop(name: str) -> bool:
    """True for a header (its name in lower case) that belongs to one connection and is never passed on."""
    return name in HOP_BY_HOP or name.startswith("proxy-")


def outgoing(headers: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """A guest's request headers as they may go out, in order, duplicates kept, ours dropped.

    Raises `InvalidHeaderName` or `InvalidHeaderValue`.  Different spellings of one name become the first of them.
    """
    kept: list[tuple[str, str]] = []
    spelling: dict[str, str] = {}
    size = 0
    for count, (name, value) in enumerate(headers, 1):
        size += len(name) + len(value.encode("utf-8", "replace"))
        if count > MAX_HEADERS or size > MAX_HEADER_BYTES:
            raise InvalidHeaderValue("", f"more than {MAX_HEADERS} headers, or {MAX_HEADER_BYTES} bytes of them")
        if not _NAME.match(name):
            raise InvalidHeaderName(name, "a name must be 1 to 256 letters, digits or !#$%&'*+-.^_`|~")
        if _FORBIDDEN.search(value):
            raise InvalidHeaderValue(value, "a value must not hold control characters")
        lower = name.lower()
        if lower not in SET_BY_HOST and not lower.startswith("proxy-"):
            kept.append((spelling.setdefault(lower, name), value))
    return kept


def incoming(raw: Iterable[tuple[bytes, bytes]]) -> list[tuple[str, str]] | None:
    """Headers of a response as text: names in lower case, in order, duplicates kept; `None` if one is malformed.

    Values are UTF-8 where they are valid UTF-8, and Latin-1 otherwise.
    """
    headers = []
    for name, value in raw:
        try:
            text = value.decode("utf-8")
        except UnicodeDecodeError:
            text = value.decode("latin-1")
        header = name.decode("latin-1").lower(), _C1.sub("\ufffd", text)
        if check_header(*header) is not None:
            return None
        headers.append(header)
    return headers
