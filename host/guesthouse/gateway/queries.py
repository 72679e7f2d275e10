"""What routes are told in their queries, read strictly: a typing error would be obeyed in silence."""

from __future__ import annotations

import re
from collections.abc import Container
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from guesthouse.errors import BadRequest
from guesthouse.gateway.auth import PARAMETER

if TYPE_CHECKING:
    from starlette.datastructures import QueryParams

UNITS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
AGO: Final = re.compile(r"([0-9]{1,9})([smhd])\Z")
MOST_DIGITS: Final = 20


def choose(query: QueryParams, known: Container[str]) -> dict[str, str]:
    """The parameters, each at most once; raises `BadRequest` for what is none of `known`."""
    chosen: dict[str, str] = {}
    for name, value in query.multi_items():
        if name not in known and name != PARAMETER:
            raise BadRequest(f"unknown parameter {name[:64]!r}")
        if name in chosen:
            raise BadRequest(f"{name} is given twice")
        chosen[name] = value
    return chosen


def whole_number(name: str, text: str, most: int) -> int:
    """A number from 0 on, `most` for one above; raises `BadRequest`."""
    if not (text.isascii() and text.isdigit() and len(text) <= MOST_DIGITS):
        raise BadRequest(f"{name} is a number")
    return min(int(text), most)


def since_ns(text: str, now_ns: int) -> int:
    """A time from which on something is wanted, in nanoseconds: `15m` ago, or RFC 3339; raises `BadRequest`."""
    ago = AGO.match(text)
    if ago is not None:
        return now_ns - int(ago[1]) * UNITS[ago[2]] * 1_000_000_000
    try:
        if len(text) > 40:
            raise ValueError
        time = datetime.fromisoformat(text[:11] + text[11:].replace(" ", "+"))  # a plus in a query is a space
        return int((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp() * 1_000_000) * 1_000
    except (ValueError, OverflowError):
        raise BadRequest("since is a time like 2026-01-02T03:04:05Z, or 90s, 15m, 2h, 1d for that long ago") from None
