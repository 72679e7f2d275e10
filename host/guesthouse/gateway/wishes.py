"""What the headers of a request say to the host about how to call a function; the function is not shown them.

Every one that is malformed is refused with what was expected: a delay or a key that was silently left out would be found
out too late.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, NamedTuple

from guesthouse.dispatch.invocations import CALL_ID, MOST_CALL_ID, MOST_IDEMPOTENCY_KEY, MOST_KEY_BYTES, START_TIME
from guesthouse.errors import BadRequest
from guesthouse.limits import LONGEST_MS

CALLBACK: Final = "x-callback-url"
DELAY: Final = "guesthouse-delay"
KEY: Final = "guesthouse-key"
IDEMPOTENCY_KEY: Final = "idempotency-key"
PREFER: Final = "prefer"
NAMES: Final = {
    CALLBACK: "X-Callback-Url",
    CALL_ID: "X-Call-Id",
    START_TIME: "X-Start-Time",
    DELAY: "Guesthouse-Delay",
    KEY: "Guesthouse-Key",
    IDEMPOTENCY_KEY: "Idempotency-Key",
    PREFER: "Prefer",
}
"""Headers for the host, as people write them."""
MOST_WAIT_SECONDS: Final = 600
"""Of `Prefer: wait`, and of `/attach`: proxies on the way give up long before; a longer wait is shortened to it."""
_UNITS: Final = {"": 1, "s": 1, "m": 60, "h": 3_600, "d": 86_400}
_DELAY: Final = re.compile(r"([0-9]{1,8})([smhd]?)")
_START: Final = re.compile(r"[0-9]{1,20}")
_WAIT: Final = re.compile(r"[0-9]{1,9}")
_ASYNC: Final = re.compile(rb"(?:^|,)[ \t]*+respond-async[ \t]*+(?:[,;=]|$)", re.IGNORECASE)
_PREFERENCE: Final = re.compile(
    r"""[ \t,]*+([!#$%&'*+.^_`|~0-9A-Za-z-]++)  # its name
        [ \t]*+(?:=[ \t]*+("(?:[^"\\]|\\.)*+"|[^\s",;]*+))?+  # its value
        [ \t]*+(?:;(?:"(?:[^"\\]|\\.)*+"|[^",])*+)?+  # its parameters
        (?:,|$)""",
    re.VERBOSE,
)
"""Each part keeps what it has taken: one that gave spaces back to the next would need a minute for 30 KB of them."""


class Wishes(NamedTuple):
    """How a request wants its call to be made."""

    headers: list[tuple[str, str]]
    """Those that the function is shown."""
    callback: str | None = None
    call_id: str = ""
    start_ns: str = ""
    key: str | None = None
    delay_ms: int = 0
    idempotency_key: str | None = None
    respond_async: bool = False
    wait_s: int | None = None
    """How long the answer may be waited for."""

    @property
    def applied(self) -> str:
        """The value of `Preference-Applied`, empty where nothing was preferred."""
        wait = "" if self.wait_s is None else f"wait={self.wait_s}"
        return ", ".join(part for part in ("respond-async" if self.respond_async else "", wait) if part)


def read_wishes(headers: Iterable[tuple[str, str]]) -> Wishes:
    """What the headers of a request say; raises `BadRequest`."""
    found: dict[str, str] = {}
    shown = []
    for field in headers:
        name, value = field
        if name not in NAMES:
            shown.append(field)
        elif name not in found:
            found[name] = value
        elif name == PREFER:
            found[name] += f", {value}"
        elif name != START_TIME:
            raise BadRequest(f"there is more than one {NAMES[name]} header")
    if not found:
        return Wishes(shown)
    respond_async, wait_s = _preferences(found.get(PREFER, ""))
    start = found.get(START_TIME, "")
    return Wishes(
        shown,
        _text(found, CALLBACK, 8_192),
        _ascii(found, CALL_ID, MOST_CALL_ID) or "",
        start if _START.fullmatch(start) else "",
        _text(found, KEY, MOST_KEY_BYTES),
        _delay(found.get(DELAY)),
        _text(found, IDEMPOTENCY_KEY, MOST_IDEMPOTENCY_KEY),
        respond_async,
        wait_s,
    )


def prefers_async(headers: Iterable[tuple[str, bytes]]) -> bool:
    """Whether a request, before its headers are read, prefers an answer that does not wait, or has an Idempotency-Key."""
    return any(name == IDEMPOTENCY_KEY or (name == PREFER and _ASYNC.search(value)) for name, value in headers)


def _preferences(text: str) -> tuple[bool, int | None]:
    """`respond-async` and `wait` of RFC 7240; others are not for us, and of each the first counts."""
    found: dict[str, str] = {}
    text, at = text.strip(" \t,"), 0
    while at < len(text):
        preference = _PREFERENCE.match(text, at)
        if preference is None:
            raise BadRequest("Prefer: write preferences with commas between, like: respond-async, wait=10")
        found.setdefault(preference[1].lower(), (preference[2] or "").strip('"'))
        at = preference.end()
    wait = found.get("wait")
    if wait is not None and not _WAIT.fullmatch(wait):
        raise BadRequest("Prefer: wait has a number of seconds, like: respond-async, wait=10")
    return "respond-async" in found, None if wait is None else min(int(wait), MOST_WAIT_SECONDS)


def _delay(text: str | None) -> int:
    """Milliseconds."""
    if text is None:
        return 0
    found = _DELAY.fullmatch(text)
    delay_ms = 0 if found is None else int(found[1]) * _UNITS[found[2]] * 1_000
    if found is None or delay_ms > LONGEST_MS:
        raise BadRequest("Guesthouse-Delay has a number of seconds, or one like 90s, 15m, 2h or 1d; at most a year")
    return delay_ms


def _ascii(found: dict[str, str], name: str, most: int) -> str | None:
    """For what goes out again as a header."""
    text = _text(found, name, most)
    if text is not None and not text.isascii():
        raise BadRequest(f"{NAMES[name]} has 1 to {most} bytes of printable text")
    return text


def _text(found: dict[str, str], name: str, most: int) -> str | None:
    text = found.get(name)
    if text is not None and (not text or len(text.encode()) > most or not text.isprintable()):
        raise BadRequest(f"{NAMES[name]} has 1 to {most} bytes of printable text")
    return text
