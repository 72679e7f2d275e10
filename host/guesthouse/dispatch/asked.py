"""What an invocation was asked, as a part of its recording: calls that nobody queued have no request on disk otherwise."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec

from guesthouse.durable.errors import JournalDamaged
from guesthouse.queue.call import QueuedCall

MAGIC: Final = b"\xffask\1"
"""No segment of a journal begins with it: their first byte is a format, from 1."""
MOST_BODY: Final = 64 << 20


class Asked(NamedTuple):
    """A request as it came."""

    call: QueuedCall
    stream: int = 0
    """Number of the journal's stream that has its body, as far as the guest has read it; 0: the call has it."""


class _Asked(msgspec.Struct, array_like=True):
    namespace: str
    name: str
    method: str
    path: str | None
    query: list[tuple[str, str]]
    headers: list[tuple[str, str]]
    token_id: str | None
    call_id: str
    queued_ms: int
    root: str
    depth: int
    body: bytes
    stream: int = 0


def write_asked(asked: Asked) -> bytes:
    """The segment that stands before those of the journal."""
    values = {name: getattr(asked.call, name) for name in _CALL}
    return MAGIC + zlib.compress(msgspec.msgpack.encode(_Asked(**values, stream=asked.stream)), 1)


def take_apart(id: str, segments: Sequence[bytes]) -> tuple[Asked | None, Sequence[bytes]]:
    """What was asked, where that was recorded, and the segments of the journal.  Raises `JournalDamaged`."""
    if not segments or not segments[0].startswith(MAGIC):
        return None, segments
    try:
        unpacker = zlib.decompressobj()
        data = unpacker.decompress(segments[0][len(MAGIC) :], MOST_BODY)
        found = msgspec.msgpack.decode(data, type=_Asked)
    except (zlib.error, msgspec.MsgspecError, RecursionError, ValueError) as error:
        raise JournalDamaged(f"what the invocation was asked cannot be read: {error}") from None
    values = {name: getattr(found, name) for name in _CALL}
    return Asked(QueuedCall(id=id, **values), found.stream), segments[1:]


_CALL: Final = tuple(name for name in _Asked.__struct_fields__ if name != "stream")
