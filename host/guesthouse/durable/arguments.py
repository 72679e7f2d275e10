"""What a journal keeps of a call's arguments, and calls as text."""

from __future__ import annotations

import hashlib
from typing import Final

import msgspec

from guesthouse.durable.records import Arguments, Shown
from guesthouse.durable.showing import show

WHOLE: Final = 256
"""Bytes of arguments that are kept as they are; of longer ones a digest is, and what people are shown."""
LARGE: Final = 512 << 10
"""From this size on the digest is made beside the loop: it takes about a millisecond."""


def kept(arguments: Arguments) -> Arguments:
    """What a journal keeps of arguments, which are MessagePack, or kept already."""
    if isinstance(arguments, Shown) or len(arguments) <= WHOLE:
        return arguments
    return Shown(_digest(arguments), _shown(arguments))


def same(recorded: Arguments, arguments: Arguments) -> bool:
    """Whether these are the arguments that were kept."""
    if not isinstance(recorded, Shown):
        return recorded == arguments
    if isinstance(arguments, Shown):
        return recorded.digest == arguments.digest
    return len(arguments) > WHOLE and recorded.digest == _digest(arguments)


def describe(name: str, arguments: Arguments) -> str:
    """A call as text: `cache-scalar#get("a")`, without anything unstable."""
    return f"{name}({arguments.text if isinstance(arguments, Shown) else _shown(arguments)})"


def _digest(arguments: bytes) -> bytes:
    return hashlib.sha256(arguments).digest()[:16]


def _shown(arguments: bytes) -> str:
    try:
        plain = msgspec.msgpack.decode(arguments)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return "something unreadable"
    return show(plain)[1:-1] if isinstance(plain, list) else show(plain)
