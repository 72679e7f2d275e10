"""`Reading`: a stored journal, entry by entry, as far as it counts: what a cut made void is left out.

Promises: one segment at a time is in memory as records, or so many short ones as are read at once; what is missing, out of
order or changed raises a `JournalError`.  Must not know what entries mean, but for how most of them end.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any, Final

from guesthouse.durable.errors import JournalDamaged
from guesthouse.durable.records import (
    ENTRIES,
    NEVER,
    AnyRecord,
    End,
    Head,
    Header,
    Lines,
    Name,
    Piece,
    Result,
    Unit,
    head_of,
    records_of,
    records_together,
)

MOST_TOGETHER: Final = 64
"""Segments that are read at once: each effect on the host's own database has one of its own, of two or three records."""
BYTES_TOGETHER: Final = 32 << 10
"""And their bytes, but for those of the first."""


class Reading:
    """Where the replay of one journal stands."""

    __slots__ = (
        "_at",
        "_heads",
        "_limits",
        "_next",
        "_records",
        "_segments",
        "ahead",
        "end",
        "header",
        "lines",
        "names",
        "number",
        "pieces",
    )

    def __init__(self, segments: Sequence[bytes]) -> None:
        self._segments = segments
        self._heads = [head_of(data) for data in segments]
        self._limits = _limits([head.cut for head in self._heads])
        self._next = 0
        self._records: list[AnyRecord] = []
        self._at = 0
        self.number = 0
        """Of the next entry that is read from a segment: how many there were so far."""
        self.names: list[str] = []
        self.header: Header | None = None
        self.end: End | None = None
        """How the invocation ended, once that was read."""
        self.lines = 0
        """Of its log that were written when it was suspended the last time; 0 where a retry has begun since."""
        self.pieces: dict[int, list[Piece]] = {}
        """What arrived of streams, as far as was read."""
        self.ahead: AnyRecord | None = None
        """The next record; `None` at the end."""
        self.advance()

    @property
    def size(self) -> int:
        """Bytes of all records."""
        return sum(head.size for head in self._heads)

    def advance(self) -> None:
        """Goes on to the next record."""
        at = self._at
        while at >= len(self._records):
            if self._next >= len(self._segments):
                self.ahead = None
                self._records, self._at = [], 0
                self._segments, self._next = (), 0  # the rest of the run needs no memory for them
                return
            self._records, at = self._load(), 0
        self.ahead = self._records[at]
        self._at = at + 1

    def result(self) -> Result | None:
        """Goes on behind the call that is ahead, where its result, of at most one unit of work, is behind it: that result.

        `None` and nothing else where that is not so, or cannot be seen from what was read of the journal so far.
        """
        records, at = self._records, self._at
        try:
            record = records[at]
            if type(record) is Unit:
                at += 1
                record = records[at]
            if type(record) is not Result:
                return None
            self.ahead = records[at + 1]
        except IndexError:
            return None
        self._at = at + 2
        return record

    def piece(self, stream: int, index: int) -> Piece | None:
        """A piece of a stream, wherever it is noted; `None` where it is not."""
        while len(self.pieces.get(stream, ())) <= index:
            if self._next >= len(self._segments):
                return None
            rest = self._records[self._at :]
            self._records, self._at = rest + self._load(), 0
        return self.pieces[stream][index]

    def name(self, number: int) -> str:
        """What a record calls by a number."""
        try:
            return self.names[number] if number >= 0 else ""
        except IndexError:
            raise JournalDamaged(f"the journal uses name {number}, which it has not given") from None

    def _load(self) -> list[AnyRecord]:
        """The records of the next segments, without those that are void or for this class alone."""
        first, heads = self._next, self._heads
        last = self._next = self._last_together(first)
        if last - first == 1:
            read = iter(records_of(self._segments[first], heads[first]))
        else:
            read = iter(records_together(self._segments[first:last], heads[first:last]))
        kept: list[AnyRecord] = []
        for index in range(first, last):
            self._keep(islice(read, heads[index].records), heads[index], self._limits[index], kept)
        return kept

    def _last_together(self, first: int) -> int:
        """Behind the last segment that is read together with this one."""
        heads, size = self._heads, 0
        for index in range(first, min(first + MOST_TOGETHER, len(heads))):
            size += heads[index].size
            if heads[index].flags or size > BYTES_TOGETHER:
                return max(index, first + 1)
        return min(first + MOST_TOGETHER, len(heads))

    def _keep(self, read: Iterable[AnyRecord], head: Head, limit: int, kept: list[AnyRecord]) -> None:
        """Takes over those of one segment that count."""
        number, wanted = self.number, True
        for record in read:
            kind = type(record)
            if kind in _ENTRIES:
                if number == self.number and head.first != number:
                    raise JournalDamaged(f"the journal goes on with entry {head.first} where {number} was to come")
                wanted = number < limit
                number += 1
                if wanted:
                    kept.append(record)
            elif kind in _OWN:
                self._take(record, final=limit == NEVER)
            elif wanted and number <= limit:
                kept.append(record)
        self.number = number if number < head.cut else head.cut

    def _take(self, record: Any, *, final: bool) -> None:
        if type(record) is Name:
            self.names.append(record.text)
        elif type(record) is Piece:
            self.pieces.setdefault(record.stream, []).append(record)
        elif type(record) is Lines:
            self.lines = record.count if final else 0
        elif type(record) is End:
            self.end = record if final else None
        elif self.header is None:
            self.header = record
        else:
            raise JournalDamaged("the journal begins twice")


_ENTRIES = frozenset(ENTRIES)
_OWN = frozenset({Name, Piece, End, Header, Lines})


def _limits(cuts: list[int]) -> list[int]:
    """For each segment, from which entry on a cut in it or behind it made entries void."""
    found, lowest = [], NEVER
    for cut in reversed(cuts):
        lowest = min(lowest, cut)
        found.append(lowest)
    return found[::-1]
