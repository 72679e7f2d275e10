"""Records of a journal, and segments: how they lie on disk.

A journal is a sequence of segments, a segment a sequence of records.  A segment is

| bytes | what |
|---|---|
| 1 | format: `FORMAT` |
| 1 | flags: 1 for a body that is compressed (zlib) |
| 4 | CRC-32 of everything behind it |
| 4 | number of records |
| 4 | length of the body before compression |
| 4 | number of the first entry that begins in it |
| 4 | CUT: entries from this one on, here and in the segments before, are void and are done again; `NEVER` for none |
| … | the body: MessagePack of each record, one behind the other |

numbers with the lowest byte first.  A record is an array that begins with its kind's number.  An entry is what a guest was
told at one point: it begins with one of the records in `ENTRIES`, and the others belong to the one before them.  Promises:
what was written is read back the same; anything else raises a `JournalError`, and never takes more memory than the segment
says, which is bounded.  Knows nothing of what the values mean.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from guesthouse.durable.errors import JournalDamaged, JournalTooNew

FORMAT: Final = 1
COMPRESSED: Final = 1
HEAD: Final = struct.Struct("<BBI")
SIZES: Final = struct.Struct("<IIII")
WHOLE_HEAD: Final = struct.Struct("<BBIIIII")
NEVER: Final = 0xFFFF_FFFF
SHORTEST_COMPRESSED: Final = 512
"""Bytes of a body from which on compression is tried: below, there is little to win."""
LONGEST_COMPRESSED: Final = 128 << 10
"""And up to which it is done: it takes about two milliseconds, and a replay unpacks one after the other on the loop, where a
long body of zeros would hold up everybody."""
SAMPLE: Final = 4096
"""Of a body that long or longer this much is tried first: what is compressed already is found out cheaply."""
MOST_BODY: Final = 1 << 30
"""Bytes of a segment's body: the most that a policy can allow a whole journal."""


class Record(msgspec.Struct, array_like=True, gc=False, forbid_unknown_fields=True):
    """The base of all records."""


class Shown(msgspec.Struct, array_like=True, gc=False, forbid_unknown_fields=True):
    """Arguments that are too long to be kept: what tells them from others, and what people are shown."""

    digest: bytes
    text: str


Arguments = bytes | Shown
"""MessagePack of a call's arguments, or what stands for them."""


class Header(Record, tag=0):
    """The first record of a journal: whose it is."""

    id: str
    """Of the invocation."""
    version: int
    """Of the function."""
    digest: str
    """SHA-256 of its module, in hexadecimal."""
    host: str
    """Version of the host that began it."""


class Name(Record, tag=1):
    """Gives a name the next number, from 0."""

    text: str


class Call(Record, tag=2):
    """A host call and its result, recorded together."""

    name: int
    arguments: Arguments
    result: Any


class Intent(Record, tag=3):
    """A host call that may change the world is about to be made."""

    name: int
    arguments: Arguments


class Unit(Record, tag=4):
    """A unit of work of the call that was announced last, which was committed with this record; and its result."""

    result: Any


class Result(Record, tag=5):
    """The result of the call that was announced last; whether it did not succeed."""

    result: Any
    failed: bool


class Raised(Record, tag=6):
    """The call that was announced last has ended its guest by a trap."""

    reason: str
    """The stable word of the trap."""
    text: str


WAITED: Final = "what came of waiting"
"""What `Observed` calls the end of a wait, which no retry does again."""


class Observed(Record, tag=7):
    """What a host function read of the world, inside of a call that is not recorded."""

    name: int
    value: Any


class Step(Record, tag=8):
    """A named step began: what is called inside of it is not recorded."""

    name: int


class Tried(Record, tag=9):
    """The step is to be run again: how many runs are over, and when the next may be (milliseconds since 1970, UTC)."""

    runs: int
    due_ms: int


class Done(Record, tag=10):
    """The step has ended for good, with this; whether it failed."""

    outcome: Any
    failed: bool


class Decided(Record, tag=11):
    """What becomes of the call that was announced last and that a crash cut off: `repeat` or `fail`; empty: that was tried."""

    word: str


class Piece(Record, tag=12):
    """The next bytes of a body that was still arriving, as the guest read them; `None` is its end."""

    stream: int
    data: bytes | None
    failure: tuple[bool, str] | None = None
    """Why it broke off: whether it took too long, and the text."""


class End(Record, tag=13):
    """How the invocation ended."""

    result: str
    """The word of its outcome."""
    status: int
    """HTTP status; 0: none."""
    digest: bytes
    """SHA-256 of the answer's body; of a trap empty."""
    reason: str = ""
    """Of a trap its kind."""


class Lines(Record, tag=14):
    """So many lines of its log had the guest written when the run was suspended: they are not written again."""

    count: int


AnyRecord = (
    Header
    | Name
    | Call
    | Intent
    | Unit
    | Result
    | Raised
    | Observed
    | Step
    | Tried
    | Done
    | Decided
    | Piece
    | End
    | Lines
)
ENTRIES: Final = (Call, Intent, Observed, Step)
_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(list[AnyRecord])


class Head(NamedTuple):
    """What stands before the body of a segment."""

    flags: int
    records: int
    size: int
    """Bytes of the body before compression."""
    first: int
    """Number of the first entry that begins here."""
    cut: int
    """Entries from this one on are void; `NEVER`: none."""


class Body:
    """Records that are being gathered for a segment."""

    __slots__ = ("count", "data", "first")

    def __init__(self, first: int = 0) -> None:
        self.data = bytearray()
        self.count = 0
        self.first = first
        """Number of the next entry when this began."""

    def __len__(self) -> int:
        return len(self.data)

    def add(self, record: Record) -> None:
        """Takes a record in."""
        _ENCODER.encode_into(record, self.data, -1)
        self.count += 1

    def sealed(self, *more: Record, cut: int = NEVER) -> bytes:
        """The segment of these records and of `more`, which are not taken in; nothing where there is nothing to say."""
        data = bytearray(self.data)
        for record in more:
            _ENCODER.encode_into(record, data, -1)
        count = self.count + len(more)
        return seal(bytes(data), count, self.first, cut) if count or cut != NEVER else b""

    def start(self, first: int) -> None:
        """Forgets them: the next record comes after entry `first` began."""
        self.data.clear()
        self.count = 0
        self.first = first


def seal(body: bytes, count: int, first: int = 0, cut: int = NEVER) -> bytes:
    """A segment of `count` records whose MessagePack is `body`."""
    packed, flags = body, 0
    if SHORTEST_COMPRESSED <= len(body) <= LONGEST_COMPRESSED and _pays(body):
        shorter = zlib.compress(body, 1)
        if len(shorter) < len(body) - len(body) // 8:
            packed, flags = shorter, COMPRESSED
    rest = SIZES.pack(count, len(body), first, cut) + packed
    return HEAD.pack(FORMAT, flags, zlib.crc32(rest)) + rest


def cut_segment(entry: int) -> bytes:
    """What is added to a journal so that entries from this one on are done again."""
    return seal(b"", 0, entry, entry)


def decided_segment(word: str) -> bytes:
    """What is added to a journal to decide about the call that a crash cut off: `repeat` or `fail`."""
    body = Body()
    body.add(Decided(word))
    return body.sealed()


def head_of(data: bytes) -> Head:
    """What stands before a segment's body.  Raises `JournalTooNew` and `JournalDamaged`."""
    if len(data) < HEAD.size + SIZES.size:
        raise JournalDamaged(f"a segment of the journal has only {len(data)} bytes")
    form, flags, crc, count, size, first, cut = WHOLE_HEAD.unpack_from(data)
    if form > FORMAT:
        raise JournalTooNew(f"the journal has format {form}, and this host knows {FORMAT}: a newer one has written it")
    if form == 0 or flags > COMPRESSED or zlib.crc32(memoryview(data)[HEAD.size :]) != crc:
        raise JournalDamaged("a segment of the journal is damaged: its checksum does not fit")
    if size > (LONGEST_COMPRESSED if flags & COMPRESSED else MOST_BODY) or count > size:
        raise JournalDamaged(f"a segment of the journal claims {count} records of {size} bytes")
    return Head(flags, count, size, first, cut)


def records_of(data: bytes, head: Head | None = None) -> list[AnyRecord]:
    """The records of a segment.  Raises `JournalTooNew` and `JournalDamaged`."""
    head = head or head_of(data)
    body: bytes = data[HEAD.size + SIZES.size :]
    if head.flags & COMPRESSED:
        body = _inflated(body, head.size)
    if len(body) != head.size:
        raise JournalDamaged(f"a segment of the journal has {len(body)} bytes in place of {head.size}")
    try:
        return _DECODER.decode(b"\xdd" + head.records.to_bytes(4, "big") + body)
    except (msgspec.MsgspecError, RecursionError, ValueError) as error:
        raise JournalDamaged(f"a record of the journal cannot be read: {error}") from None


def records_together(segments: Sequence[bytes], heads: Sequence[Head]) -> list[AnyRecord]:
    """The records of several segments that are not compressed, which were checked.  Raises as `records_of` does."""
    behind = HEAD.size + SIZES.size
    bodies = [data[behind:] for data in segments]
    count = 0
    for body, head in zip(bodies, heads, strict=True):
        count += head.records
        if len(body) != head.size:
            break
    else:
        try:
            return _DECODER.decode(b"".join((b"\xdd", count.to_bytes(4, "big"), *bodies)))
        except (msgspec.MsgspecError, RecursionError, ValueError):
            pass
    return list(all_records(segments))  # one by one: which says what is wrong


def all_records(segments: Iterable[bytes]) -> Iterator[AnyRecord]:
    """All records of a journal, also those that are void."""
    for data in segments:
        yield from records_of(data)


def _pays(body: bytes) -> bool:
    """Whether compression is worth trying: a long body's beginning has to become shorter."""
    if len(body) <= 2 * SAMPLE:
        return True
    return len(zlib.compress(body[:SAMPLE], 1)) < SAMPLE - SAMPLE // 8


def _inflated(packed: bytes, size: int) -> bytes:
    unpacker = zlib.decompressobj()
    try:
        body = unpacker.decompress(packed, size or 1)
        rest = unpacker.decompress(unpacker.unconsumed_tail, 1) if unpacker.unconsumed_tail or not unpacker.eof else b""
    except zlib.error as error:
        raise JournalDamaged(f"a segment of the journal cannot be unpacked: {error}") from None
    if rest or not unpacker.eof or unpacker.unused_data:
        raise JournalDamaged("a segment of the journal is longer than it says")
    return body
