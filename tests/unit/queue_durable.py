"""What the machine that compares a queue with its model does with durable calls: journals, suspension, families, keys."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule

from guesthouse.queue.call import CANCELLATION, Completion, Lease, QueuedCall, Record, Wait
from guesthouse.queue.queue import FunctionKey, UnknownInvocation
from unit.queue_looks import PICK, Place, QueueLooks
from unit.queue_model import DURABLE, ENDED, HOUR, SECOND, Entry, less

NUMBERS = st.lists(st.integers(0, 4), max_size=4, unique=True)
TERMS = st.sampled_from(
    [{}, {"oks": 1}, {"oks": 2, "failures": 1}, {"failures": 1}, {"ends": 2}, {"ends": 3, "failures": 2}]
)


def record_of(lease: Lease, state: Any, now: int, **more: Any) -> Record:
    """The record of a run."""
    call = lease.call
    return Record(
        id=call.id,
        namespace=call.namespace,
        name=call.name,
        mode="durable" if call.durable else "async",
        state=state,
        queued_ms=call.queued_ms,
        started_ms=now,
        ended_ms=now if state in ENDED else None,
        attempts=lease.attempt,
        call_id=call.call_id,
        **more,
    )


class DurableRules(QueueLooks):
    """Durable calls in a queue, and in the model."""

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self.leases: list[Lease] = []
        self.stale: list[Lease] = []
        self.count = 0
        self.told: list[tuple[str, int]] = []
        self.model.clock = place.clock
        self.listen()

    def listen(self) -> None:
        """Hears what the queue tells."""
        self.queue.on_completed = lambda name, number: self.told.append((name, number))

    def take(self, pick: int) -> tuple[Lease, Entry]:
        """A lease that is given back."""
        lease = self.leases.pop(pick % len(self.leases))
        self.stale.append(lease)
        return lease, self.model.entries[lease.call.id]

    def tie(self, pick: int, number: int) -> dict[str, Any]:
        """A parent, for some calls, and the number of its future."""
        parents = [e for e in self.model.entries.values() if e.durable and e.goes_on]
        if not parents or pick % 2:
            return {}
        return {"parent": parents[pick % len(parents)].record.id, "promise": 1 + (pick + number) % 4}

    def _leased(self, lease: Lease) -> None:
        raise NotImplementedError

    def make(self, function: FunctionKey, delay: int, **more: Any) -> QueuedCall:
        """A call with an id of its own."""
        raise NotImplementedError

    # -- leases

    @rule(keys=st.lists(st.sampled_from([None, "a", "b", "c"]), min_size=1, max_size=4), parent=PICK)
    def begin(self, keys: list[str | None], parent: int) -> None:
        """Durable calls that run, as far as their keys let them: some of one parent."""
        tie = self.tie(parent, 0)
        calls = [
            self.make(DURABLE, 0, key=key, **tie | ({"promise": n} if tie else {})) for n, key in enumerate(keys, 1)
        ]
        expected = [self.model.enqueue(call, self.now) for call in calls]
        assert [name for name, _ in self.wait(self.queue.enqueue_all(calls))] == expected
        self._lease_durable(10, False)

    def _lease_durable(self, most: int, struck: bool) -> None:
        """All that are due are taken, in their order, but for those whose key somebody else has."""
        leases = self.wait(self.queue.lease(DURABLE, most, struck=struck))
        ids = [lease.call.id for lease in leases]
        for entry in self.model.of(DURABLE, "suspended"):
            if entry.due <= self.now and not struck:
                if self.wait(self.queue.find(entry.record.id)).state == "suspended":
                    assert len(ids) == most
                else:
                    entry.state, entry.ripe, entry.wait = "queued", True, None
        waiting = [e for e in self.model.of(DURABLE, "queued") if bool(e.strikes) is struck]
        certain = [e for e in waiting if e.ripe or e.due <= self.now or e.record.id in ids]
        assert all(e.record.id not in ids or e.ripe or e.came or e.due <= self.now for e in certain)
        for entry in waiting:
            entry.came = entry.came or entry.due <= self.now
        locks, expected = dict(self.model.locks), []
        for entry in sorted(certain, key=lambda e: e.order):
            key = None if entry.call is None else entry.call.key
            if key is None or locks.setdefault(key, entry.record.id) == entry.record.id:
                expected.append(entry.record.id)
        if not self.model.loose:
            assert ids == expected[:most]
        for lease in leases:
            if lease.call.key is not None:
                assert self.model.locks.setdefault(lease.call.key, lease.call.id) == lease.call.id
            self._leased(lease)

    # -- journals

    @precondition(lambda self: any(lease.call.durable for lease in self.leases))
    @rule(pick=PICK, count=st.integers(1, 3), version=st.none() | st.integers(1, 3))
    def append(self, pick: int, count: int, version: int | None) -> None:
        leases = [lease for lease in self.leases if lease.call.durable]
        lease = leases[pick % len(leases)]
        entry = self.model.entries[lease.call.id]
        for number in range(count):
            segment = b"%d of %d" % (number, pick)
            self.wait(self.queue.append(lease, len(entry.journal), segment, version=version))
            entry.journal.append(segment)
            entry.version = version if entry.version is None else entry.version
        entry.strikes = 0
        pinned = {e.version for e in self.model.entries.values() if e.version is not None and e.live}
        assert self.wait(self.queue.pinned(*DURABLE)) == pinned

    # -- waiting

    @precondition(lambda self: any(lease.call.durable for lease in self.leases))
    @rule(pick=PICK, numbers=NUMBERS, terms=TERMS, until=st.sampled_from([None, None, -SECOND, SECOND, HOUR]))
    def suspend(self, pick: int, numbers: list[int], terms: dict[str, int], until: int | None) -> None:
        leases = [lease for lease in self.leases if lease.call.durable]
        lease, entry = self.take(self.leases.index(leases[pick % len(leases)]))
        terms = terms if numbers else {}
        wait = Wait([(number, number) for number in numbers], until_ms=None if until is None else self.now + until)
        wait = wait._replace(**terms)
        record = record_of(lease, "suspended", self.now, reason="it waits")
        suspended = self.wait(self.queue.suspend(lease, wait, b"waits", record))
        left: Wait | None = wait if numbers or (until is not None and until > 0) else None
        left = None if until is not None and until <= 0 else left
        for number, (outcome, _) in entry.completions.items():
            left = None if left is None or (number == CANCELLATION and 0 in numbers) else less(left, number, outcome)
        assert suspended is (left is not None)
        entry.journal.append(b"waits")
        entry.attempts -= 1
        entry.strikes, entry.record, entry.came = 0, record, False
        if left is None:
            self.model.wake(entry)
        else:
            entry.state, entry.ripe, entry.wait = "suspended", False, left
            entry.due = 1 << 53 if wait.until_ms is None else wait.until_ms

    @precondition(lambda self: self.model.entries)
    @rule(pick=PICK, number=st.integers(0, 4), outcome=st.sampled_from(["ok", "ok", "failed", "cancelled"]))
    def complete(self, pick: int, number: int, outcome: Any) -> None:
        goes_on = [e for e in self.model.entries.values() if e.durable and e.goes_on]
        entry = goes_on[pick % len(goes_on)] if goes_on and pick % 7 else self._any(pick)
        value = b"%d" % pick
        found = self.outcome(self.queue.complete(entry.record.id, number, Completion(outcome, value)))
        first = self.model.complete(entry, number, outcome, value)
        assert found is (UnknownInvocation if first is None else first)

    @precondition(lambda self: self.model.find("suspended"))
    @rule(pick=PICK, count=st.integers(1, 4), outcome=st.sampled_from(["ok", "ok", "failed"]))
    def complete_what_is_waited_for(self, pick: int, count: int, outcome: Any) -> None:
        asleep = self.model.find("suspended")
        entry = asleep[pick % len(asleep)]
        numbers = [] if entry.wait is None else [first for first, _ in entry.wait.numbers][:count]
        for number in numbers:
            first = self.wait(self.queue.complete(entry.record.id, number, Completion(outcome, b"")))
            assert first is self.model.complete(entry, number, outcome, b"")

    # -- families

    @precondition(lambda self: self.model.entries)
    @rule(pick=PICK)
    def kill(self, pick: int) -> None:
        parents = [e for e in self.model.entries.values() if len(self.model.family(e)) > 1]
        entry = parents[pick % len(parents)] if parents and pick % 3 else self._any(pick)
        children = self.wait(self.queue.live_children(entry.record.id))
        family = self.model.family(entry)
        assert {name for name, _ in children} == {e.record.id for e in family} - {entry.record.id}
        assert [depth for _, depth in children] == sorted((depth for _, depth in children), reverse=True)
        if pick % 2:
            return
        ended = {"state": "cancelled", "result": "cancelled", "reason": "killed", "ended_ms": self.now}
        record = replace(entry.record, **ended, attempts=0)
        killed = self.wait(self.queue.kill(entry.record.id, record))
        assert sorted(found.id for found in killed) == sorted(self.model.kill(entry, record))
        for lease in [lease for lease in self.leases if not self.model.entries[lease.call.id].live]:
            self.leases.remove(lease)
            self.stale.append(lease)

    @invariant()
    def whoever_waits_is_told(self) -> None:
        assert sorted(self.told) == sorted(self.model.told)
