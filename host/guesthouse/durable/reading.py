"""`Reading`: a stored journal, entry by entry, as far as it counts: what a cut made void is left out.

Promises: one segment at a time is in memory as records; what is missing, out of order or changed raises a `JournalError`.
Must not know what entries mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from guesthouse.durable.errors import JournalDamaged
from guesthouse.durable.records import (
    ENTRIES,
    NEVER,
    AnyRecord,
    End,
    Header,
    Lines,
    Name,
    Piece,
    head_of,
    records_of,
)


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
        """The records of the next segment, without those that are void or for this class alone."""
        index = self._next
        self._next += 1
        head, limit = self._heads[index], self._limits[index]
        kept: list[AnyRecord] = []
        number, wanted = self.number, True
        for record in records_of(self._segments[index], head):
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
        self.number = min(number, head.cut)
        return kept

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
