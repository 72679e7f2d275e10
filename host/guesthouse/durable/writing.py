"""`Writing`: the end of a journal that grows: records that wait, what is appended, how much there may be, what a retry keeps.

Promises: what was appended is not appended again; a journal that is stored is complete, or the run ends; a recorder's leaves out
what there is no room for.  Must not know what was told before, nor why records are made.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final, TypeVar

from guesthouse.durable.errors import JournalError, JournalFull
from guesthouse.durable.records import (
    LONGEST_COMPRESSED,
    NEVER,
    Body,
    Name,
    Record,
    Unit,
    cut_segment,
)
from guesthouse.durable.sink import Sink
from guesthouse.errors import GuesthouseError

T = TypeVar("T")

FLUSHED: Final = 64 << 10
"""Bytes of records that wait for the next effect; with more, they are appended for themselves."""
MOST_ENTRY: Final = 80 << 20
"""Bytes of one record: the largest answer that the limits allow by default, with room around it."""


class Writing:
    """What one run adds to a journal, of which `size` bytes are stored and `most` may be."""

    def __init__(self, sink: Sink | None, size: int, most: int) -> None:
        self.sink = sink
        self.durable = sink is not None
        """Whether what it records is stored; else it is the flight recorder's, and nothing has to wait for it."""
        self.entry = 0
        """Number of the next entry."""
        self.broken: GuesthouseError | None = None
        """Why it cannot be gone on with: raised again by whatever is asked of it, for who it was raised to may hide it."""
        self.full = False
        """Whether a recorder without a sink had no room for all: what comes then is not recorded."""
        self.open = False
        """Whether an effect was announced of which nobody knows yet what came of it."""
        self._most = most
        self._size = size
        self._body = Body()
        self._numbers: dict[str, int] = {}
        self._kept = 0
        """The entry behind the last effect that succeeded."""
        self._kept_pending = False
        """Whether that is not appended yet."""

    @property
    def size(self) -> int:
        """Bytes of all records so far, before compression."""
        return self._size + len(self._body)

    # -- what cannot be gone on with

    def breaks(self, error: GuesthouseError) -> GuesthouseError:
        """Notes why it cannot be gone on with: the same error."""
        self.broken = error
        return error

    def check(self) -> None:
        """Raises why it cannot be gone on with, if it cannot."""
        if self.broken is not None:
            raise self.broken

    def stop(self) -> None:
        """Something cannot be recorded: of a recorder, the rest is left out; a journal that is stored cannot do without."""
        if self.durable:
            raise self.breaks(JournalError("the function called something that cannot be recorded"))
        self.full = True

    # -- recording

    def begin_live(self, names: Sequence[str]) -> None:
        """What was stored is read, and has given these names their numbers: what comes now is new."""
        self._numbers = {name: number for number, name in enumerate(names)}
        self._body.first = self.entry

    def add_entry(self, record: Record) -> bool:
        """Records the beginning of an entry; whether so much waits by now that it should be flushed."""
        self.add_record(record)
        self.entry += 1
        return self.durable and len(self._body) > FLUSHED

    def add_record(self, record: Record) -> None:
        """Records something."""
        if self.full:
            return
        body = self._body
        before = len(body)
        body.add(record)
        size = self._size + len(body)
        if size > self._most or len(body) - before > MOST_ENTRY:
            self._overflow(size)

    def number_of(self, name: str) -> int:
        """The number by which records call a name."""
        number = self._numbers.get(name)
        if number is None:
            number = self._numbers[name] = len(self._numbers)
            self.add_record(Name(name))
        return number

    def keep(self, *, pending: bool = True) -> None:
        """An effect has succeeded: what was told so far is not done again by a retry."""
        self._kept, self._kept_pending = self.entry, pending

    def _overflow(self, size: int) -> None:
        if self.sink is None:
            self.full = True
            return
        raise self.breaks(JournalFull(f"the journal would have {size} bytes, and {self._most} are the most"))

    # -- storing

    def pending(self) -> bytes:
        """The records that are not appended yet, for whoever stores them together with something else; may be empty."""
        return self._body.sealed()

    async def flush(self) -> None:
        """Appends what was recorded; on return it survives a crash."""
        self.check()
        if self.sink is not None and self._body.count:
            await uninterrupted(self._append(self.sink))

    async def together(self, units: Sequence[Any], work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Does an effect on the host's own database; each unit of its work is committed with its entry, or not at all.

        The first units have the results of `units`, which an earlier run has had committed.
        """
        assert self.sink is not None
        with self.sink.together(lambda result: self._body.sealed(Unit(result)), units, self._appended):
            return await uninterrupted(work())

    def cut(self) -> bytes:
        """The last segment of a run that failed and is tried again: what was read or failed after the last effect that
        succeeded is void, and done again.  Empty where there is nothing to store.

        A run that ended in the middle of an effect leaves it as a crash does: it was perhaps done, or in part.
        """
        if self.broken is not None:
            return b""
        if self.open:
            return self._body.sealed()
        if self._kept_pending:
            return self._body.sealed(cut=self._kept if self.entry > self._kept else NEVER)
        return cut_segment(self._kept) if self._body.first > self._kept else b""

    async def _append(self, sink: Sink) -> None:
        body = self._body
        try:
            if len(body) > LONGEST_COMPRESSED:
                segment = await asyncio.to_thread(body.sealed)
            else:
                segment = body.sealed()
            await sink.append(segment)
        except GuesthouseError as error:
            self.broken = error
            raise
        self._appended(None)

    def _appended(self, result: object) -> None:
        self._size += len(self._body)
        self._body.start(self.entry)
        self._kept_pending = False


async def uninterrupted(work: Coroutine[Any, Any, T]) -> T:
    """Awaits work that must not be left in the middle: whoever is cancelled meanwhile is so when it is done."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait((task,))
        if not task.cancelled():
            task.exception()  # it was asked for: nobody is told any more
        raise
