"""What the machine that compares a queue with its model can see of both: pages, single records, counts."""

from __future__ import annotations

from collections.abc import Coroutine
from dataclasses import replace
from typing import Any, Protocol, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from guesthouse.queue.call import Record
from guesthouse.queue.queue import AnotherRequest, Fenced, FunctionKey, Page, Queue, UnknownInvocation
from set_clock import SetClock
from unit.queue_model import ENDED, FUNCTIONS, HOUR, SECOND, Entry, Model

T = TypeVar("T")
PICK = st.integers(0, 1_000)


class Place(Protocol):
    """Where a queue is kept, as tests use it."""

    clock: SetClock

    def wait(self, call: Coroutine[Any, Any, T]) -> T:
        """What a call answers."""

    def open(self) -> Queue:
        """The queue, as another process finds it that has just begun: it has not recovered anything yet."""


class QueueLooks(RuleBasedStateMachine):
    """A queue beside the model, and looks at both."""

    def __init__(self, place: Place) -> None:
        super().__init__()
        self.at = place
        self.queue = place.open()
        self.model = Model()

    @property
    def now(self) -> int:
        return self.at.clock.wall_ms

    def wait(self, call: Coroutine[Any, Any, T]) -> T:
        return self.at.wait(call)

    def outcome(self, call: Coroutine[Any, Any, Any]) -> Any:
        """What a call answers, or the class of what it raises."""
        try:
            return self.wait(call)
        except (AnotherRequest, Fenced, UnknownInvocation) as error:
            return type(error)

    def _any(self, pick: int, dead: bool = False) -> Entry:
        entries = [e for e in self.model.entries.values() if e.state == "dead" or not dead]
        entries = entries or list(self.model.entries.values())
        return entries[pick % len(entries)]

    @rule(
        function=st.none() | st.sampled_from(FUNCTIONS),
        state=st.none() | st.sampled_from(["queued", "running", "suspended", *ENDED]),
        since=st.none() | st.integers(-2 * HOUR, SECOND),
        most=st.integers(1, 5),
        pick=PICK,
    )
    def look(self, function: FunctionKey | None, state: str | None, since: int | None, most: int, pick: int) -> None:
        since_ms = None if since is None else max(0, self.now + since)
        expected = [
            e
            for e in sorted(self.model.entries.values(), key=lambda e: (e.time, e.place), reverse=True)
            if function in (None, (e.record.namespace, e.record.name))
            and state in (None, e.state)
            and (since_ms is None or e.time >= since_ms)
        ]
        found: list[Record] = []
        after = None
        while True:
            page, after = self.wait(
                self.queue.list(Page(function=function, state=state, since_ms=since_ms, most=most, after=after))
            )
            assert len(page) <= most
            found += page
            if after is None:
                break
        assert [record.id for record in found] == [entry.record.id for entry in expected]
        for record, entry in zip(found, expected, strict=True):
            self._check_record(record, entry)

        if self.model.entries:
            self._look_at_one(pick)

    def _look_at_one(self, pick: int) -> None:
        entry = self._any(pick)
        name = entry.record.id
        self._check_record(self.wait(self.queue.find(name)), entry)
        assert self.wait(self.queue.output(name)) == entry.output
        request = self.outcome(self.queue.request(name))
        if entry.call is not None and (entry.has_request or entry.live or (entry.durable and entry.journal)):
            assert request == replace(entry.call, idempotency=None)
        else:
            assert request is UnknownInvocation
        assert self.wait(self.queue.journal(name)) == entry.journal
        found = self.wait(self.queue.completions(name, list(entry.completions)))
        assert {n: c.outcome for n, c in found.items()} == {n: o for n, (o, _) in entry.completions.items()}
        assert all(found[n].value == value for n, (o, value) in entry.completions.items() if o == "ok")
        assert self.wait(self.queue.outcomes(name)) == {n: o for n, (o, _) in entry.completions.items()}

    def _check_record(self, found: Record, entry: Entry) -> None:
        attempts = entry.attempts + entry.earlier + (entry.state == "suspended")
        if entry.state in ENDED:
            assert found == replace(entry.record, attempts=attempts)
            return
        assert (found.state, found.attempts) == (entry.state, attempts)
        names = ("id", "namespace", "name", "mode", "queued_ms", "started_ms", "call_id", "reason", "note")
        assert [getattr(found, name) for name in names] == [getattr(entry.record, name) for name in names]

    @invariant()
    def what_waits_is_counted(self) -> None:
        counted = {}
        for function in FUNCTIONS:
            queued, running = self.model.of(function, "queued"), self.model.of(function, "running")
            dead = [e for e in self.model.of(function, "dead") if e.has_request]
            asleep = self.model.of(function, "suspended")
            if queued or running or dead or asleep:
                struck = sum(1 for e in queued if e.strikes)
                counted[function] = (len(queued), len(running), len(dead), struck, len(asleep))
        found = self.wait(self.queue.waiting())
        assert {key: (w.queued, w.running, w.dead, w.struck, w.suspended) for key, w in found.items()} == counted
        for function, waiting in found.items():
            ready = [e for e in self.model.of(function, "queued") if e.due <= self.now]
            if ready and not any(e.call is not None and e.call.key for e in ready):
                assert waiting.oldest_ms is not None
                assert waiting.oldest_ms <= self.now

    @invariant()
    def the_next_callback_is_known(self) -> None:
        due = [e.callback.due_ms for e in self.model.entries.values() if e.callback is not None]
        assert self.wait(self.queue.next_callback_ms()) == min(due, default=None)
