"""A plain model of a queue: what `QueueMachine` compares every backend with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeVar

from hypothesis import strategies as st

from guesthouse.queue.call import Callback, Output, QueuedCall, Record
from guesthouse.queue.queue import AnotherRequest, FunctionKey

T = TypeVar("T")
SECOND, HOUR = 1_000, 3_600_000
DAY = 24 * HOUR
KEEP_DAYS, DEAD_DAYS, KEY_HOURS, LEASE_SECONDS = 7, 30, 24, 30
FUNCTIONS: tuple[FunctionKey, ...] = (("default", "plain"), ("default", "keyed"), ("other", "plain"))
ONE_OF = st.sampled_from([*FUNCTIONS, FUNCTIONS[1], FUNCTIONS[1], FUNCTIONS[1]])
JUMPS = (SECOND, SECOND, HOUR, 2 * HOUR, -HOUR, -8 * DAY, 8 * DAY, 31 * DAY)
ENDED = ("succeeded", "failed", "dead", "cancelled", "lost")


@dataclass
class Entry:
    """An invocation as the model has it."""

    call: QueuedCall | None
    record: Record
    state: str
    place: int
    """Its place among all."""
    due: int = 0
    ripe: bool = True
    """Whether it is there to be taken, whatever the clock says from now on."""
    came: bool = False
    """Whether its time had come when somebody looked: then a clock that is put back may or may not delay it."""
    attempts: int = 0
    earlier: int = 0
    strikes: int = 0
    fence: int = 0
    has_request: bool = True
    output: Output | None = None
    callback: Callback | None = None

    @property
    def order(self) -> tuple[int, int]:
        return self.due, self.place

    @property
    def time(self) -> int:
        began = self.record.started_ms if self.record.queued_ms is None else self.record.queued_ms
        assert began is not None
        return began


@dataclass
class Model:
    """What a queue is, in the plainest words."""

    turn: int = 0
    loose: bool = False
    """Whether the order of delayed calls among others is not known any more: a clock was put back, and a process died."""
    entries: dict[str, Entry] = field(default_factory=dict)
    keys: dict[bytes, tuple[bytes, str, int]] = field(default_factory=dict)
    places: Iterator[int] = field(default_factory=lambda: iter(range(1 << 30)))

    def enqueue(self, call: QueuedCall, now: int) -> str | type[Exception]:
        self.turn = max(self.turn, now)
        if call.idempotency is not None:
            known = self.keys.get(call.idempotency.key)
            if known is not None and known[2] > now:
                return known[1] if known[0] == call.idempotency.request else AnotherRequest
            self.keys[call.idempotency.key] = (call.idempotency.request, call.id, now + KEY_HOURS * HOUR)
        record = Record(
            id=call.id,
            namespace=call.namespace,
            name=call.name,
            mode="async",
            state="queued",
            queued_ms=call.queued_ms,
            call_id=call.call_id,
        )
        later = call.due_ms > now
        due = call.due_ms if later else self.turn
        self.entries[call.id] = Entry(call, record, "queued", next(self.places), due, not later)
        return call.id

    def find(self, *states: str) -> list[Entry]:
        return [entry for entry in self.entries.values() if entry.state in states]

    def of(self, function: FunctionKey, *states: str) -> list[Entry]:
        return [e for e in self.find(*states) if (e.record.namespace, e.record.name) == function]

    def end(self, entry: Entry, record: Record, output: Output | None) -> None:
        entry.record, entry.state, entry.output = record, record.state, output
        entry.has_request = record.state == "dead"

    def sweep(self, now: int) -> None:
        self.keys = {key: known for key, known in self.keys.items() if known[2] > now}
        for entry in list(self.find(*ENDED)):
            ended = entry.record.ended_ms
            assert ended is not None
            if entry.has_request and ended <= now - DEAD_DAYS * DAY:
                entry.has_request = False
            if not entry.has_request and ended <= now - KEEP_DAYS * DAY and entry.callback is None:
                del self.entries[entry.record.id]

    def take_back(self) -> list[str]:
        running = self.find("running")
        for entry in running:
            entry.state = "queued"
            entry.strikes += 1
        return [entry.record.id for entry in running]

    def begin_anew(self) -> None:
        self.loose = self.loose or any(e.came and not e.ripe for e in self.find("queued"))
        ready = [e.due for e in self.find("queued") if e.ripe and not e.strikes]
        self.turn = max(ready, default=0)
