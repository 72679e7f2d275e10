"""`Place`: which function the path of a call names, and in which form it is called.

There are three ways to write a call: ours, and the two of OpenFaaS, in which the namespace follows the name behind a
dot, or is the host's own.  Knows nothing of what exists.
"""

from __future__ import annotations

from typing import Final, NamedTuple
from urllib.parse import unquote_to_bytes

from guesthouse.errors import BadRequest

FUNCTIONS: Final = b"/functions/"
"""`/functions/NAMESPACE/NAME[/REST]`: a call whose answer is the function's."""
FUNCTION: Final = b"/function/"
"""`/function/NAME[.NAMESPACE][/REST]`: the same as OpenFaaS writes it."""
ASYNC_FUNCTION: Final = b"/async-function/"
"""`/async-function/NAME[.NAMESPACE][/REST]`: a call that is queued."""

OPENFAAS_NAMESPACE: Final = "openfaas-fn"
"""How OpenFaaS's tools write the namespace that is meant where none is given."""


class Place(NamedTuple):
    """What the path of a call names; not necessarily something that exists."""

    namespace: str
    name: str
    rest: str | None
    form: bytes = FUNCTIONS
    """The path's first segment: `FUNCTIONS`, `FUNCTION` or `ASYNC_FUNCTION`."""


def parse_place(path: bytes, namespace: str) -> Place | None:
    """The function that a raw path names, `None` for another route's; raises `BadRequest` for a malformed rest.

    A name that is given without a namespace is one of `namespace`.
    """
    if path.startswith(FUNCTIONS):
        parts = path[len(FUNCTIONS) :].split(b"/", 2)
        if len(parts) < 2 or parts[0] == b"manage":
            return None
        return Place(parts[0].decode("ascii"), parts[1].decode("ascii"), _rest(parts[2:]), FUNCTIONS)
    for form in (FUNCTION, ASYNC_FUNCTION):
        if path.startswith(form):
            parts = path[len(form) :].split(b"/", 1)
            name, dot, suffix = parts[0].decode("ascii").rpartition(".")
            if dot and suffix == OPENFAAS_NAMESPACE:
                suffix = namespace
            return Place(suffix if dot else namespace, name if dot else suffix, _rest(parts[1:]), form)
    return None


def _rest(parts: list[bytes]) -> str | None:
    """What the function is told as its path."""
    rest = parts[0] if parts else b""
    try:
        return (unquote_to_bytes(rest) if b"%" in rest else rest).decode() or None
    except UnicodeDecodeError:
        raise BadRequest("the path is not valid UTF-8") from None
