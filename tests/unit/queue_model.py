"""A plain model of a queue: what `QueueMachine` compares every backend with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TypeVar

from hypothesis import strategies as st

from guesthouse.queue.call import CANCELLATION, Callback, Output, QueuedCall, Record, Wait
from guesthouse.queue.queue import AnotherRequest, FunctionKey
from set_clock import SetClock

T = TypeVar("T")
SECOND, HOUR = 1_000, 3_600_000
DAY = 24 * HOUR
KEEP_DAYS, DEAD_DAYS, KEY_HOURS, LEASE_SECONDS = 7, 30, 24, 30
DURABLE: FunctionKey = ("default", "durable")
FUNCTIONS: tuple[FunctionKey, ...] = (("default", "plain"), ("default", "keyed"), ("other", "plain"), DURABLE)
ONE_OF = st.sampled_from([*FUNCTIONS, FUNCTIONS[1], FUNCTIONS[1], FUNCTIONS[1], DURABLE, DURABLE])
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
    journal: list[bytes] = field(default_factory=list)
    version: int | None = None
    completions: dict[int, tuple[str, bytes]] = field(default_factory=dict)
    wait: Wait | None = None
    """What is still missing for it to go on, while it is suspended."""

    @property
    def durable(self) -> bool:
        return self.call is not None and self.call.durable

    @property
    def live(self) -> bool:
        return self.state not in ENDED

    @property
    def goes_on(self) -> bool:
        """Whether it may: a dead letter can be redriven."""
        return self.live or (self.state == "dead" and self.has_request)

    def bury(self) -> None:
        """A dead letter loses all that it could go on with."""
        self.has_request = False
        self.journal, self.completions = [], {}

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

    clock: SetClock = field(default_factory=SetClock)
    turn: int = 0
    loose: bool = False
    """Whether the order of delayed calls among others is not known any more: a clock was put back, and a process died."""
    entries: dict[str, Entry] = field(default_factory=dict)
    keys: dict[bytes, tuple[bytes, str, int]] = field(default_factory=dict)
    locks: dict[str, str] = field(default_factory=dict)
    """Which exclusive call has a key."""
    told: list[tuple[str, int]] = field(default_factory=list)
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
            mode="durable" if call.durable else "async",
            state="queued",
            queued_ms=call.queued_ms,
            call_id=call.call_id,
            parent=call.parent,
        )
        later = call.due_ms > now
        due = call.due_ms if later else self.turn
        self.entries[call.id] = Entry(call, record, "queued", next(self.places), due, not later)
        return call.id

    def find(self, *states: str) -> list[Entry]:
        return [entry for entry in self.entries.values() if entry.state in states]

    def of(self, function: FunctionKey, *states: str) -> list[Entry]:
        return [e for e in self.find(*states) if (e.record.namespace, e.record.name) == function]

    def end(self, entry: Entry, record: Record, output: Output | None, told: tuple[str, bytes] | None = None) -> None:
        entry.record, entry.state, entry.output, entry.wait = record, record.state, output, None
        entry.has_request = record.state == "dead"
        if not entry.has_request:
            entry.completions.clear()
        self.locks = {key: name for key, name in self.locks.items() if name != record.id}
        call = entry.call
        parent = self.entries.get(call.parent or "") if call is not None and call.promise else None
        if call is not None and parent is not None:
            words = {"succeeded": "ok", "cancelled": "cancelled"}
            body = b"" if output is None else output.body
            self.complete(parent, call.promise, *(told or (words.get(record.state, "failed"), body)))

    def complete(self, entry: Entry, number: int, outcome: str, value: bytes) -> bool | None:
        """Whether it was the first one; `None`: nobody is told."""
        if not (entry.durable and entry.goes_on):
            return None
        if number in entry.completions:
            return False
        entry.completions[number] = (outcome, value)
        self.told.append((entry.record.id, number))
        if entry.state == "suspended":
            entry.wait = None if entry.wait is None else less(entry.wait, number, outcome)
            if entry.wait is None or number == CANCELLATION:
                self.wake(entry)
        elif number == CANCELLATION and entry.state == "queued" and not entry.ripe:
            self.loose = self.loose or entry.came
            self.wake(entry)
        return True

    def wake(self, entry: Entry) -> None:
        self.turn = max(self.turn, self.clock.wall_ms)
        entry.state, entry.due, entry.ripe, entry.wait = "queued", self.turn, True, None

    def family(self, entry: Entry) -> list[Entry]:
        """An invocation and all below it that have not ended."""
        found = [entry]
        for each in found:
            found += [
                e
                for e in self.entries.values()
                if e.live and e.call is not None and e.call.promise and e.call.parent == each.record.id
            ]
        return [each for each in found if each.live]

    def kill(self, entry: Entry, record: Record) -> list[str]:
        family = self.family(entry) if entry.live else []
        for each in family:
            each.attempts += each.state == "suspended"
            each.state = "cancelled"
        for each in family:
            known = record if each is entry else each.record
            ended = replace(
                known, state="cancelled", result=record.result, reason=record.reason, ended_ms=record.ended_ms
            )
            self.end(each, ended, None)
        return [each.record.id for each in family]

    def sweep(self, now: int) -> None:
        self.keys = {key: known for key, known in self.keys.items() if known[2] > now}
        for entry in list(self.find(*ENDED)):
            ended = entry.record.ended_ms
            assert ended is not None
            if entry.has_request and ended <= now - DEAD_DAYS * DAY:
                entry.bury()
            if not entry.has_request and ended <= now - KEEP_DAYS * DAY and entry.callback is None:
                del self.entries[entry.record.id]

    def take_back(self) -> list[str]:
        running = self.find("running")
        for entry in running:
            entry.state = "queued"
            entry.strikes += 1
            entry.attempts -= entry.durable
        return [entry.record.id for entry in running]

    def begin_anew(self) -> None:
        self.loose = self.loose or any(e.came and not e.ripe for e in self.find("queued"))
        ready = [e.due for e in self.find("queued") if e.ripe and not e.strikes]
        self.turn = max(ready, default=0)


def less(wait: Wait, number: int, outcome: str) -> Wait | None:
    """What is missing after a completion; `None`: nothing."""
    if not any(first <= number <= last for first, last in wait.numbers):
        return wait
    oks, failures, ends = wait.oks, wait.failures, wait.ends
    if oks == failures == ends is None:
        ends = 1
    left = wait._replace(
        oks=None if oks is None else oks - (outcome == "ok"),
        failures=None if failures is None else failures - (outcome != "ok"),
        ends=None if ends is None else ends - 1,
    )
    return None if any(count is not None and count <= 0 for count in left[1:4]) else left
