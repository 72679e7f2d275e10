"""What a request may look like, where the parser is more lenient than a host on the open network should be (C3).

llhttp refuses most of what smuggles: both Content-Length and Transfer-Encoding, repeated or malformed lengths, folded
lines, bare line feeds, space before a colon, malformed chunks and extensions.  The rest is refused here.  What stays
lenient, and why that is safe: more than one space in the request line, and blank lines before it, for which there is no
second reading of the same bytes.
"""

from __future__ import annotations

from typing import Final

import httptools

from guesthouse.errors import BadRequest

NOT_HTTP: Final = frozenset(
    {"CONNECT", "PRI", "SOURCE", "DESCRIBE", "ANNOUNCE", "SETUP", "PLAY", "PAUSE", "TEARDOWN", "RECORD", "FLUSH"}
    | {"GET_PARAMETER", "SET_PARAMETER", "REDIRECT"}
)
"""Methods of tunnels and of other protocols, all of which the parser knows."""
FRAMING: Final = frozenset({"host", "content-length", "transfer-encoding", "expect", "upgrade"})
"""Headers that decide where a request ends or who it is for."""
ASKING: Final = frozenset({"prefer", "idempotency-key"})
"""Headers that change how a function is called."""
NOTED: Final = FRAMING | ASKING
_HOST: Final = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~!$&'()*+;=%:[]"
_MOST_NAMES: Final = 4_096

_names: dict[bytes, str] = {}


def lower_name(name: bytes) -> str:
    """A header's name in lower case; common ones are kept, because they come with every request."""
    found = _names.get(name)
    if found is None:
        found = name.decode("latin-1").lower()
        if len(_names) < _MOST_NAMES and len(name) <= 64:
            _names[name] = found
    return found


def check_host(host: bytes) -> bytes:
    """A Host header's value, if it can be one."""
    if host.translate(None, _HOST):
        raise BadRequest("the Host header is not valid")
    return host


def check_transfer_encoding(value: bytes) -> None:
    """Only plain `chunked` is understood."""
    if value.lower() != b"chunked":
        raise BadRequest("the Transfer-Encoding is not understood")


def check_target(target: bytes, host: bytes) -> tuple[bytes, bytes]:
    """Path with query, and host, of a request target in any of its forms."""
    if b"#" in target:
        raise BadRequest("the path holds a fragment")
    if target[:1] == b"/":
        return target, host
    if target == b"*":
        return target, host
    url = httptools.parse_url(target)
    if url.schema is None or url.schema.lower() not in (b"http", b"https") or not url.host or url.userinfo:
        raise BadRequest("the path is neither a path nor a URL")
    path = url.path or b"/"
    authority = url.host if url.port is None else b"%b:%d" % (url.host, url.port)
    return (path if url.query is None else b"%b?%b" % (path, url.query)), authority
