"""`Streams`: bodies that were still arriving when a guest was told of them: what it read of them is noted piece by piece.

Only for journals without a sink: what is durable is collected before a guest is told.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from guesthouse.durable.errors import JournalEnded
from guesthouse.durable.records import Piece

if TYPE_CHECKING:
    from guesthouse.durable.journal import Journal


class Streams:
    """The streams of one journal."""

    __slots__ = ("_count", "_journal")

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._count = 0

    def begin(self) -> Tape:
        """Where the pieces of the next stream are noted."""
        self._count += 1
        return Tape(self._journal, self._count)

    def pieces(self, stream: int) -> AsyncIterator[Piece]:
        """What was noted of a stream, piece by piece; where the notes break off, `JournalEnded`."""
        return _Pieces(self._journal, stream)


class Tape:
    """Notes what arrives of one stream."""

    __slots__ = ("_journal", "stream")

    def __init__(self, journal: Journal, stream: int) -> None:
        self._journal = journal
        self.stream = stream

    def note(self, data: bytes | None, failure: tuple[bool, str] | None = None) -> None:
        """The next bytes; `None`: its end, and why it broke off."""
        if self._journal.broken is None and not self._journal.offline:
            self._journal.add_record(Piece(self.stream, data, failure))


class _Pieces(AsyncIterator[Any]):
    def __init__(self, journal: Journal, stream: int) -> None:
        self._journal = journal
        self._stream = stream
        self._at = 0

    async def __anext__(self) -> Piece:
        found = self._journal.reading.piece(self._stream, self._at)
        if found is None:
            raise self._journal.breaks(JournalEnded("the journal ends in the middle of a body"))
        self._at += 1
        return found
