"""The machine that compares a queue with its model: every backend has to pass it.

What the model leaves open, a backend may decide: a call that had to wait for its key may come later than its time says,
but never before another one of its key.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from guesthouse.queue.call import Callback, Idempotency, Lease, Output, QueuedCall, Record, Wait
from guesthouse.queue.queue import AnotherRequest, Fenced, FunctionKey, UnknownInvocation
from unit.queue_durable import DurableRules, record_of
from unit.queue_looks import PICK
from unit.queue_model import DAY, DURABLE, FUNCTIONS, HOUR, JUMPS, LEASE_SECONDS, ONE_OF, SECOND, Entry

T = TypeVar("T")


class QueueMachine(DurableRules):
    """A queue beside the model."""

    def make(self, function: FunctionKey, delay: int, **more: Any) -> QueuedCall:
        self.count += 1
        key = more.pop("key", None)
        key = key if function[1] in ("keyed", "durable") else None
        if function == DURABLE:
            more |= {"durable": True, "exclusive": key is not None}
        return QueuedCall(
            id=f"c{self.count:04}",
            namespace=function[0],
            name=function[1],
            path="/a/ü",
            query=[("q", "1"), ("q", "")],
            headers=[("x", "\0y")],
            body=bytes([self.count % 256]) * (self.count % 7),
            call_id="given" if self.count % 2 else "",
            queued_ms=self.now,
            due_ms=self.now + delay if delay else 0,
            key=key,
            **more,
        )

    # -- calls that come

    @rule(
        function=ONE_OF,
        delay=st.sampled_from([0, 0, SECOND, HOUR]),
        key=st.sampled_from([None, "a", "a", "b"]),
        count=st.integers(1, 5),
        parent=PICK,
    )
    def enqueue(self, function: FunctionKey, delay: int, key: str | None, count: int, parent: int) -> None:
        calls = [self.make(function, delay, key=key, **self.tie(parent, number)) for number in range(count)]
        expected = [self.model.enqueue(call, self.now) for call in calls]
        if parent % 2:
            assert self.wait(_all([self.queue.enqueue(call) for call in calls])) == expected
        else:
            found = self.wait(self.queue.enqueue_all(calls))
            assert found == [(id_, call.promise) for id_, call in zip(expected, calls, strict=True)]

    @rule(
        keys=st.lists(st.tuples(st.sampled_from([b"k", b"l"]), st.sampled_from([b"r", b"s"])), min_size=1, max_size=3)
    )
    def enqueue_with_idempotency_keys(self, keys: list[tuple[bytes, bytes]]) -> None:
        calls = [self.make(FUNCTIONS[0], 0, idempotency=Idempotency(*key)) for key in keys]
        expected = [self.model.enqueue(call, self.now) for call in calls]
        assert [_plain(found) for found in self.wait(_all([self.queue.enqueue(call) for call in calls]))] == expected
        for call in calls:
            assert call.idempotency is not None
            request, kept, _ = self.model.keys[call.idempotency.key]
            found = self.outcome(self.queue.find_idempotent(call.idempotency))
            assert found == (kept if request == call.idempotency.request else AnotherRequest)

    # -- leases

    @precondition(lambda self: self.model.find("queued"))
    @rule(pick=PICK, most=st.integers(1, 5), inflight=st.sampled_from([0, 1, 1, 2]))
    def lease(self, pick: int, most: int, inflight: int) -> None:
        self._lease(self._queued(pick), most, inflight, False)

    @precondition(lambda self: self.model.find("queued"))
    @rule(pick=PICK, most=st.integers(1, 5), inflight=st.sampled_from([0, 1, 1, 2]), struck=st.booleans())
    def lease_with_strikes_or_without(self, pick: int, most: int, inflight: int, struck: bool) -> None:
        self._lease(self._queued(pick, struck), most, inflight, struck)

    def _queued(self, pick: int, struck: bool = False) -> FunctionKey:
        """A function that has calls waiting."""
        found = self.model.find("queued")
        found = [entry for entry in found if entry.strikes or not struck] or found
        record = found[pick % len(found)].record
        return record.namespace, record.name

    def _lease(self, function: FunctionKey, most: int, inflight: int, struck: bool) -> None:
        if function == DURABLE:
            self._lease_durable(most, struck)
            return
        running = Counter(e.call.key for e in self.model.of(function, "running") if e.call is not None and e.call.key)
        busy = [key for key, count in running.items() if inflight and count >= inflight]
        leases = self.wait(self.queue.lease(function, most, busy, key_inflight=inflight, struck=struck))
        ids = [lease.call.id for lease in leases]
        assert len(set(ids)) == len(ids) <= most
        waiting = [e for e in self.model.of(function, "queued") if bool(e.strikes) is struck]
        certain = [e for e in waiting if e.ripe or e.due <= self.now or e.record.id in ids]
        assert all(e.record.id not in ids or e.ripe or e.came or e.due <= self.now for e in certain)
        for entry in waiting:
            entry.came = entry.came or entry.due <= self.now
        self._check_order(certain, ids, most, inflight, busy)
        for lease in leases:
            self._leased(lease)

    def _check_order(self, certain: list[Entry], ids: list[str], most: int, inflight: int, busy: list[str]) -> None:
        certain.sort(key=lambda entry: entry.order)
        keys = {e.record.id: e.call.key for e in certain if e.call is not None}
        if self.model.loose:
            return
        if not any(keys.values()):
            assert ids == [e.record.id for e in certain][:most]
            return
        for key in {None, *keys.values()}:
            mine = [found for found in ids if keys[found] == key]
            assert key not in busy or not mine
            assert not key or not inflight or len(mine) <= inflight
            if key is None or inflight == 1:
                assert mine == [e.record.id for e in certain if keys[e.record.id] == key][: len(mine)]
            left = sum(1 for found in keys.values() if found == key) - len(mine)
            if left and key not in busy and not (key and inflight and len(mine) >= inflight):
                assert len(ids) == most

    def _leased(self, lease: Lease) -> None:
        entry = self.model.entries[lease.call.id]
        entry.state = "running"
        entry.ripe = True
        entry.attempts += 1
        assert entry.call is not None
        assert lease.call == replace(entry.call, idempotency=None)
        assert (lease.attempt, lease.strikes) == (entry.attempts, entry.strikes)
        assert lease.fence > entry.fence
        assert (lease.segments, lease.version) == (len(entry.journal), entry.version)
        entry.fence = lease.fence
        entry.record = replace(entry.record, started_ms=self.now)
        self.leases.append(lease)

    @precondition(lambda self: self.leases)
    @rule(pick=PICK, kept=st.booleans(), dead=st.booleans(), follows=st.sampled_from(["nothing", "callback", "call"]))
    def end(self, pick: int, kept: bool, dead: bool, follows: str) -> None:
        lease, entry = self.take(pick)
        record = record_of(
            lease, "dead" if dead else "succeeded", self.now, status=200, host_calls={"log": 2}, note="ä"
        )
        output = Output(200, [("a", "b")], b"answer") if kept else None
        end = self.queue.bury if dead else self.queue.succeed
        following = self._following(lease, follows)
        segment = b"end" if entry.durable and pick % 2 else b""
        self.wait(end(lease, record, output, following, None, segment))
        entry.journal += [segment] if segment else []
        self.model.end(entry, record, output)
        if isinstance(following, Callback):
            entry.callback = following
        elif following is not None:
            self.model.enqueue(following, self.now)

    def _following(self, lease: Lease, follows: str) -> Callback | QueuedCall | None:
        call = lease.call
        if follows == "call":
            return self.make(FUNCTIONS[0], 0, parent=call.id)
        if follows == "callback":
            url = f"https://{'a' if self.count % 2 else 'b'}.example/x"
            return Callback(id=call.id, namespace=call.namespace, name=call.name, url=url, headers=[], due_ms=self.now)
        return None

    @precondition(lambda self: self.leases)
    @rule(pick=PICK, delay=st.sampled_from([None, 0, 0, SECOND, HOUR]))
    def put_back(self, pick: int, delay: int | None) -> None:
        lease, entry = self.take(pick)
        segment = b"back" if entry.durable and pick % 2 else b""
        entry.journal += [segment] if segment else []
        if delay is None:
            self.wait(self.queue.release(lease, segment))
            entry.state = "queued"
            entry.attempts -= 1
            return
        record = record_of(lease, "queued", self.now, reason="not yet")
        self.wait(self.queue.retry(lease, self.now + delay, record, segment))
        entry.record, entry.state, entry.due = record, "queued", self.now + delay
        entry.strikes, entry.ripe, entry.came = 0, delay == 0, False

    @precondition(lambda self: self.stale)
    @rule(pick=PICK, how=st.sampled_from(["succeed", "bury", "retry", "release", "suspend", "append"]))
    def settle_with_an_old_fence(self, pick: int, how: str) -> None:
        """Nothing changes: the next look finds everything as it was."""
        lease = self.stale[pick % len(self.stale)]
        ended = record_of(lease, "succeeded", self.now, reason="stale")
        queue = self.queue
        ways: dict[str, Callable[[], Coroutine[Any, Any, object]]] = {
            "succeed": lambda: queue.succeed(lease, ended, Output(500, [], b"stale"), self.make(FUNCTIONS[0], 0)),
            "bury": lambda: queue.bury(lease, replace(ended, state="dead"), None, None),
            "retry": lambda: queue.retry(lease, self.now, replace(ended, state="queued")),
            "release": lambda: queue.release(lease, b"stale"),
            "suspend": lambda: queue.suspend(lease, Wait([(1, 1)]), b"stale", ended),
            "append": lambda: queue.append(lease, lease.segments, b"stale"),
        }
        assert self.outcome(ways[how]()) is Fenced

    # -- what people do

    @precondition(lambda self: self.model.entries)
    @rule(pick=PICK, what=st.sampled_from(["cancel", "redrive", "redrive", "drop"]), dead=st.booleans())
    def change_one(self, pick: int, what: str, dead: bool) -> None:
        entry = self._any(pick, dead or what == "redrive")
        {"cancel": self._cancel, "redrive": self._redrive, "drop": self._drop}[what](entry)

    def _cancel(self, entry: Entry) -> None:
        record = replace(entry.record, state="cancelled", result="cancelled", ended_ms=self.now, attempts=0)
        changed = self.outcome(self.queue.cancel(record.id, record))
        assert changed is (entry.state == "queued" and not (entry.durable and entry.journal))
        if changed:
            self.model.end(entry, record, None)

    def _redrive(self, entry: Entry) -> None:
        cut = b"cut" if entry.durable and entry.earlier % 2 else b""
        found = self.outcome(self.queue.redrive(entry.record.id, segment=cut, version=entry.place if cut else None))
        self.model.turn = max(self.model.turn, self.now)
        if not (entry.state == "dead" and entry.has_request):
            assert found is UnknownInvocation
            return
        entry.state, entry.due, entry.ripe, entry.strikes = "queued", self.model.turn, True, 0
        entry.earlier, entry.attempts = entry.earlier + entry.attempts, 0
        entry.output = entry.callback = None
        entry.journal += [cut] if cut else []
        entry.version = entry.place if cut else entry.version

    def _drop(self, entry: Entry) -> None:
        found = self.outcome(self.queue.drop(entry.record.id))
        if entry.state == "dead" and entry.has_request:
            entry.bury()
        else:
            assert found is UnknownInvocation

    @rule(states=st.lists(st.sampled_from(["succeeded", "failed", "cancelled", "lost"]), min_size=1, max_size=3))
    def write_records(self, states: list[Any]) -> None:
        written: list[tuple[Record, Output | None]] = []
        for state in states:
            self.count += 1
            record = Record(
                id=f"w{self.count:04}",
                namespace="default",
                name="plain",
                mode="web",
                state=state,
                started_ms=self.now - 5,
                ended_ms=self.now,
                attempts=1,
                fuel=7,
                parent="p",
            )
            output = Output(404, [], b"no") if state == "failed" else None
            written.append((record, output))
            self.model.entries[record.id] = Entry(
                None, record, state, next(self.model.places), attempts=1, has_request=False, output=output
            )
        self.wait(self.queue.write(written))

    # -- time, and the end of processes

    @rule(what=st.sampled_from(["crash", "crash", "extend", "lapse", "sweep", "sweep later", "sweep later", *JUMPS]))
    def happen(self, what: str | int) -> None:
        """Something that nobody asked for; what a clock says that jumps ends nobody's lease."""
        if isinstance(what, int):
            self.at.clock.wall_ms += what
            return
        if what == "sweep later":
            self.at.clock.wall_ms += 8 * DAY
        ways = {"crash": self._crash, "extend": self._extend, "lapse": self._lapse}
        ways.get(what, self._sweep)()

    def _extend(self) -> None:
        self.pass_ms(20 * SECOND)
        self.wait(self.queue.extend())
        self.pass_ms(20 * SECOND)
        self.wait(self.queue.extend())
        assert self.wait(self.queue.expire()) == 0

    def _lapse(self) -> None:
        self.pass_ms((LEASE_SECONDS + 1) * SECOND)
        assert self.wait(self.queue.expire()) == len(self.model.take_back())
        self._lose_leases()

    def pass_ms(self, duration: int) -> None:
        self.at.clock.wall_ms += duration
        self.at.clock.monotonic += duration * 1_000_000

    def _crash(self) -> None:
        """Another process comes after this one, which settles nothing any more."""
        self.model.begin_anew()
        self.queue = self.at.open()
        self.listen()
        assert sorted(self.wait(self.queue.recover())) == sorted(self.model.take_back())
        self._lose_leases()

    def _lose_leases(self) -> None:
        self.stale += self.leases
        self.leases.clear()

    def _sweep(self) -> None:
        while self.wait(self.queue.sweep()):
            pass
        self.model.sweep(self.now)

    # -- callbacks

    @rule(busy=st.sampled_from([(), ("https://a.example",)]), settle=st.booleans(), under_way=st.booleans())
    def deliver(self, busy: tuple[str, ...], settle: bool, under_way: bool) -> None:
        due = sorted(
            (e for e in self.model.entries.values() if e.callback is not None and e.callback.due_ms <= self.now),
            key=lambda entry: entry.callback.due_ms if entry.callback is not None else 0,
        )
        first = [due[0].record.id] if under_way and due else []
        found = self.wait(self.queue.callbacks(100, first, busy))
        expected = {
            e.record.id: (e.callback, e.output)
            for e in due
            if e.callback is not None and e.callback.destination not in busy and e.record.id not in first
        }
        assert {callback.id: (callback, output) for callback, output in found} == expected
        assert [c.due_ms for c, _ in found] == sorted(c.due_ms for c, _ in found)
        for callback, _ in found[:1]:
            entry = self.model.entries[callback.id]
            if settle:
                self.wait(self.queue.delivered(callback))
                entry.callback = None
            else:
                self.wait(self.queue.postpone(callback, self.now + HOUR))
                entry.callback = replace(callback, due_ms=self.now + HOUR, attempts=callback.attempts + 1)


def _plain(found: Any) -> Any:
    return type(found) if isinstance(found, Exception) else found


async def _all(calls: Sequence[Coroutine[Any, Any, Any]]) -> list[Any]:
    """All at once; what is raised is among the results."""
    return list(await asyncio.gather(*calls, return_exceptions=True))
