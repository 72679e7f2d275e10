"""What a guest may put on the wire as status and headers of its answer.

Promises: nothing that passes here can end a header, add one, or contradict the framing that the host chooses.  Used for
streamed answers, and by whoever passes on a returned one.  Must not know where the headers go.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from guesthouse.errors import BadAnswer
from guesthouse.net.headers import MAX_HEADER_BYTES, check_header, is_hop_by_hop

HOST_ONLY = frozenset({"content-length", "host"})
"""The host's besides the hop-by-hop fields; left out, not refused, because guests copy the headers of upstreams."""
BODILESS = frozenset({204, 205, 304})
"""Statuses whose answers have no body (RFC 9110, sections 15.3.5, 15.3.6 and 15.4.5)."""
SHORT = 64


def check_status(status: int) -> int:
    """`status` if it can end an exchange (200 to 599), else `BadAnswer`."""
    if not 200 <= status <= 599:
        raise BadAnswer(f"status {status} is not between 200 and 599")
    return status


def check_headers(headers: Iterable[tuple[str, str]], most: int) -> list[tuple[str, str]]:
    """`headers` in order without the host's own; `BadAnswer` for over `most` of them or one that is not valid."""
    checked: list[tuple[str, str]] = []
    size = 0
    for name, value in headers:
        length = len(name) + len(value)
        passed = _short_passed(name, value) if length <= SHORT else _passed(name, value)
        size += length
        if passed is not None:
            checked.append(passed)
    if len(checked) > most:
        raise BadAnswer(f"over {most} headers")
    if size > MAX_HEADER_BYTES:
        raise BadAnswer(f"over {MAX_HEADER_BYTES} bytes of headers")
    return checked


def _require(name: str, value: str) -> None:
    fault = check_header(name, value)
    if fault is not None:
        raise BadAnswer(f"header {name[:SHORT]!r}: {fault}")


def _passed(name: str, value: str) -> tuple[str, str] | None:
    """The field, if it is passed on; raises `BadAnswer` for what is none."""
    passes = _short_name_passes(name) if len(name) <= SHORT else _name_passes(name)
    if not (value.isascii() and value.isprintable()):  # the quick way to know that the rules have nothing to find
        _require(name, value)
    return (name, value) if passes else None


def _name_passes(name: str) -> bool:
    """Whether a field is passed on; raises `BadAnswer` for what is no name."""
    _require(name, "")
    lower = name.lower()
    return lower not in HOST_ONLY and not is_hop_by_hop(lower)


_short_name_passes = lru_cache(maxsize=1024)(_name_passes)
_short_passed = lru_cache(maxsize=1024)(_passed)
