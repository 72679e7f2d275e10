"""`Journal`: what one invocation was told, in order: replayed from its beginning to its end, and then recorded.

Promises: what a guest is told the second time is what it was told the first time, or `Diverged` is raised at the first call
that differs; nothing that a guest was told can leave the process before it is durable; an effect is announced before it
begins.  Belongs to one run of one invocation, which makes one host call at a time.  Must not know what calls do, nor where
segments are kept (see `Sink`).

Without a sink it records in memory, as far as it may, or replays what it is given and never goes on live.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, Protocol, TypeVar

from guesthouse.durable.arguments import describe, kept, same
from guesthouse.durable.errors import Diverged, JournalDamaged, JournalEnded
from guesthouse.durable.reading import Reading
from guesthouse.durable.records import (
    MOST_BODY,
    AnyRecord,
    Arguments,
    Call,
    Decided,
    End,
    Header,
    Intent,
    Lines,
    Observed,
    Raised,
    Result,
    Step,
    Unit,
)
from guesthouse.durable.showing import show
from guesthouse.durable.sink import Sink
from guesthouse.durable.steps import Steps
from guesthouse.durable.streams import Streams
from guesthouse.durable.writing import Writing
from guesthouse.errors import DeadlineExceeded, FuelExhausted, GuesthouseError, Trap

T = TypeVar("T")

MOST_TEXT: Final = 1_000
"""Characters of a trap's text that are kept."""
TRAPS: Final[Mapping[str, type[Trap]]] = {"deadline": DeadlineExceeded, "fuel": FuelExhausted}
LIVE: Final = object()
"""Answered for a call that nobody was told the result of: it is (still, or again) to be made."""


class Policy(Protocol):
    """What a deployment says about its journals (`DurablePolicy`)."""

    @property
    def journal_bytes(self) -> int: ...
    @property
    def ambiguous(self) -> Mapping[str, str]: ...


class Journal(Writing):
    """The journal of one run: `segments` are what earlier runs have stored.

    `header` begins it where there are none.  `on_ambiguous` is told what becomes of each call that a crash cut off: repeat, fail
    or ask.  Raises a `JournalError` for what cannot be read.
    """

    def __init__(
        self,
        sink: Sink | None,
        segments: Sequence[bytes] = (),
        *,
        header: Header,
        policy: Policy | None = None,
        on_ambiguous: Callable[[str], None] = lambda word: None,
    ) -> None:
        self.reading = Reading(segments)
        super().__init__(sink, self.reading.size, MOST_BODY if policy is None else policy.journal_bytes)
        self.id = header.id
        self.offline = sink is None and bool(segments)
        """Whether it only replays: at its end nothing is called live."""
        self.on_live: Callable[[], None] = _nothing
        """Called once, when the replay has come to the end of the journal."""
        self.on_ambiguous = on_ambiguous
        self.ambiguous: Mapping[str, str] = {} if policy is None else policy.ambiguous
        self.inside = False
        """Whether a recorded call is under way: what that reads of the world is part of its result."""
        self.steps = Steps(self)
        self.streams = Streams(self)
        self.units: list[Any] = []
        """Results of the units of work that an earlier run had committed for the call that it could not end."""
        self.decided = ""
        """What somebody has decided about the call that a crash cut off: repeat or fail."""
        self._effects = 0
        """How many effects (and steps) were begun."""
        if segments:
            self._check_header(header)
        else:
            self.add_record(header)
        self.replaying = self.reading.ahead is not None
        """Whether there is more that earlier runs were told."""
        if not self.replaying:
            self.begin_live(self.reading.names)

    # -- what interfaces ask

    def observe(self, what: str, read: Callable[[], T]) -> T:
        """What `read` returns, recorded; or what was recorded.  Inside of a recorded call it is simply read."""
        if self.inside or self.steps.name is not None:
            return read()
        if self.replaying:
            found: T = self._observed(what)
            return found
        self.check_live()
        value = read()
        self.add_entry(Observed(self.number_of(what), value))
        return value

    async def observe_later(self, what: str, read: Callable[[], Awaitable[T]]) -> T:
        """As `observe`, for what has to be waited for."""
        if self.inside or self.steps.name is not None:
            return await read()
        if self.replaying:
            found: T = self._observed(what)
            return found
        self.check_live()
        value = await read()
        if self.add_entry(Observed(self.number_of(what), value)):
            await self.flush()
        return value

    def idempotency_key(self) -> str:
        """Of the effect under way: the same in each run, and no other's.  Of a call inside a step, that of its place there."""
        place = f"{self.id}\n{self._effects}"
        if self.steps.name is not None:
            place = f"{place}\n{self.steps.calls}"
        return hashlib.sha256(place.encode()).hexdigest()

    def message_id(self) -> str:
        """What tells a message from others, and is the same where it has to be sent again; empty where that never is."""
        return self.idempotency_key() if self.durable else ""

    # -- what whoever runs the invocation asks

    @property
    def header(self) -> Header | None:
        """How the stored journal begins."""
        return self.reading.header

    def finish(self, result: str, status: int = 0, digest: bytes = b"", reason: str = "") -> bytes:
        """The last segment, with how it ended: the outcome's word, the HTTP status, SHA-256 of the body, a trap's kind.

        Raises `Diverged` where the guest ended before its journal did, and why the journal was broken.
        """
        self.check()
        if self.reading.ahead is not None:
            raise self.diverged(f"ended ({result}{f', {status}' if status else ''})")
        return self._body.sealed(End(result, status, digest, reason))

    def suspended(self, lines: int) -> bytes:
        """The last segment of a run that is suspended: what is not appended yet, and how many lines of its log were written."""
        return self._body.sealed() if lines == self.reading.lines else self._body.sealed(Lines(lines))

    def cut(self) -> bytes:
        """See `Writing`; a run that failed in its replay leaves the journal as it is."""
        return b"" if self.replaying else super().cut()

    # -- what the hook asks: replay

    def told(self, name: str, arguments: Arguments) -> Any:
        """The plain result that was recorded for the next call, or `LIVE`.  Raises `Diverged`, and traps that were recorded."""
        reading = self.reading
        record = reading.ahead
        if type(record) is Call and record.arguments == arguments and reading.name(record.name) == name:
            self.entry += 1
            reading.advance()
            if reading.ahead is None:
                self.end_replay()
            return record.result
        if type(record) is Intent and record.arguments == arguments and reading.name(record.name) == name:
            result = reading.result()
            if result is not None:
                self.entry += 1
                self._effects += 1
                if not result.failed:
                    self.keep(pending=False)
                return result.result
        return self._told(name, arguments)

    def _told(self, name: str, arguments: Arguments) -> Any:
        reading = self.reading
        record = reading.ahead
        if not isinstance(record, Call | Intent) or reading.name(record.name) != name:
            raise self.diverged(describe(name, arguments))
        if not same(record.arguments, arguments):
            raise self.diverged(describe(name, arguments))
        self._next()
        if isinstance(record, Call):
            return record.result
        self._effects += 1
        return self._told_end()

    def _told_end(self) -> Any:
        """How a call that was announced had ended; `LIVE` where that is not known."""
        self.units, self.decided = [], ""
        while (record := self.reading.ahead) is not None:
            self.reading.advance()
            if type(record) is Unit:
                self.units.append(record.result)
            elif type(record) is Decided:
                self.decided = record.word
            elif type(record) is Result:
                if not record.failed:
                    self.keep(pending=False)
                self._end_replay_here()
                return record.result
            elif type(record) is Raised:
                self._end_replay_here()
                raise TRAPS.get(record.reason, Trap)(record.text, record.reason)
            else:
                raise self.breaks(
                    JournalDamaged(f"entry {self.entry - 1} of the journal has no end, and others follow")
                )
        if self.offline:
            raise self.breaks(JournalEnded(f"the journal ends in entry {self.entry - 1}"))
        self.units = [tuples(result) for result in self.units]
        self._end_replay_here()
        self.open = True
        return LIVE

    def _observed(self, what: str) -> Any:
        record = self.reading.ahead
        if type(record) is not Observed or self.reading.name(record.name) != what:
            raise self.diverged(f"reading {what}")
        self._next()
        return record.value

    def _next(self) -> None:
        """The beginning of an entry was read."""
        self.entry += 1
        self.reading.advance()
        self._end_replay_here()

    def _end_replay_here(self) -> None:
        if self.reading.ahead is None and self.replaying:
            self.end_replay()

    def end_replay(self) -> None:
        """The last record was read: what comes now is live, if anything is."""
        self.replaying = False
        self.begin_live(self.reading.names)
        on_live, self.on_live = self.on_live, _nothing
        on_live()

    # -- what the hook asks: recording

    def check_live(self) -> None:
        """Raises where nothing can be called live."""
        if self.broken is not None:
            raise self.broken
        if self.offline:
            raise self.breaks(JournalEnded("the journal has ended"))

    def add(self, name: str, arguments: Arguments, result: Any) -> bool:
        """Records a call with its result; whether so much waits by now that it should be flushed."""
        return self.add_entry(Call(self.number_of(name), kept(arguments), result))

    def announce(self, name: str, arguments: Arguments) -> None:
        """Records that an effect is about to begin."""
        self.count_effect()
        self.units, self.decided, self.open = [], "", True
        self.add_entry(Intent(self.number_of(name), kept(arguments)))

    def add_result(self, result: Any, *, failed: bool) -> None:
        """Records what came of the effect that was announced last."""
        self.open = False
        self.add_record(Result(result, failed))
        if not failed:
            self.keep()

    def add_trap(self, trap: Trap) -> None:
        """Records that the call which was announced last ended the guest."""
        self.open = False
        self.add_record(Raised(trap.reason, str(trap)[:MOST_TEXT]))

    def count_effect(self) -> None:
        """Another effect begins, or a step, which is one, too."""
        self._effects += 1

    # -- inside

    def _check_header(self, header: Header) -> None:
        found = self.reading.header
        if found is None:
            raise JournalDamaged("the journal does not begin with its header")
        if found.id != header.id:
            raise JournalDamaged(f"this is the journal of {found.id}, not of {header.id}")

    def diverged(self, found: str) -> GuesthouseError:
        """The error for something else than what comes next: `found` says what the guest did instead."""
        recorded = self.describe(self.reading.ahead)
        if recorded is None:
            return self.breaks(JournalEnded(f"the journal ends before {found}"))
        return self.breaks(Diverged(self.entry, recorded, found))

    def describe(self, record: AnyRecord | None) -> str | None:
        """The beginning of an entry, as text."""
        if isinstance(record, Call | Intent):
            return describe(self.reading.name(record.name), record.arguments)
        if type(record) is Observed:
            return f"reading {self.reading.name(record.name)}"
        if type(record) is Step:
            return f"the step {show(self.reading.name(record.name))}"
        return None if record is None else "something else"


def _nothing() -> None:
    pass


def tuples(plain: Any) -> Any:
    """A unit's result as it was before it was stored: arrays were tuples."""
    if isinstance(plain, list):
        return tuple([tuples(each) for each in plain])
    return {name: tuples(value) for name, value in plain.items()} if isinstance(plain, dict) else plain
