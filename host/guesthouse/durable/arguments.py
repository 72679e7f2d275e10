"""What a journal keeps of a call's arguments, and calls as text."""

from __future__ import annotations

import hashlib
from typing import Final

import msgspec

from guesthouse.durable.records import Arguments, Shown
from guesthouse.durable.showing import show

WHOLE: Final = 256
"""Bytes of arguments that are kept as they are; of longer ones a digest is, and what people are shown."""


def kept(arguments: bytes) -> Arguments:
    """What a journal keeps of arguments, which are MessagePack."""
    return arguments if len(arguments) <= WHOLE else Shown(_digest(arguments), _shown(arguments))


def same(recorded: Arguments, arguments: bytes) -> bool:
    """Whether these are the arguments that were kept."""
    if isinstance(recorded, Shown):
        return len(arguments) > WHOLE and recorded.digest == _digest(arguments)
    return recorded == arguments


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
