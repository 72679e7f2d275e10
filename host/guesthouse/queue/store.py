"""`StoredQueue`: the queue in the host's database, in a file or in memory.

Promises those of `Queue`.  Times at which something is due are the wall's, and looked at anew each time; what was accepted for
at once runs in the order of its acceptance whatever the clock does.  Holds no row in memory but those it was just given.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import TypeAlias

from guesthouse.clock import SYSTEM_CLOCK, Clock
from guesthouse.errors import GuesthouseError
from guesthouse.queue import outbox, records
from guesthouse.queue.batches import Batches, Change, Done
from guesthouse.queue.call import Callback, Completion, End, Idempotency, Lease, Output, QueuedCall, Record
from guesthouse.queue.changes import HOUR_MS, Changes, Kind
from guesthouse.queue.config import InvocationsConfig, QueueConfig
from guesthouse.queue.counts import Counts
from guesthouse.queue.durable_store import StoredJournals
from guesthouse.queue.leasing import Taken, Wanted, hold, take_back
from guesthouse.queue.queue import ALL, FunctionKey, Page, QueueFull, Waiting
from guesthouse.queue.rows import Code, NewCall, about_of, completion_of, ending, new_call
from guesthouse.queue.settlement import Settlement
from guesthouse.queue.sweep import Kept, sweep
from guesthouse.queue.unit import Told, Unit, Value
from guesthouse.storage.database import Connection, Database, rows
from guesthouse.storage.errors import StorageFull
from guesthouse.storage.joined import done_before
from guesthouse.storage.space import FreeSpace

DAY_MS = 24 * HOUR_MS

Leases: TypeAlias = list[Lease]


class StoredQueue(StoredJournals):
    """Calls, leases, records, answers and callbacks of one database, whose other users are told apart by `holder`.

    `space` says whether the disk has room for new work.
    """

    def __init__(
        self,
        database: Database,
        config: QueueConfig | None = None,
        keep: InvocationsConfig | None = None,
        clock: Clock = SYSTEM_CLOCK,
        *,
        holder: str = "",
        space: FreeSpace | None = None,
    ) -> None:
        self._database = database
        self._config = config or QueueConfig()
        self._keep = keep or InvocationsConfig()
        self._clock = clock
        self._holder = holder or clock.random_bytes(8).hex()
        self._space = space or FreeSpace(database.directory, clock)
        self._lease_ms = self._config.lease_seconds * 1000
        self.counts = Counts(self._config)
        """What the queue of each function holds; for looking at, on the loop."""
        turn_ms = database.read_sync(self.counts.read)
        self._changes = Changes(self._config, clock, self._holder, turn_ms)
        self._batches: Batches[Kind] = Batches(database, self._changes.work, self._settled)
        self._others: int | None = None
        self._held_ns: int | None = None
        self._noted_bytes = 0

    def note_kept(self, size: int) -> None:
        """Counts bytes of records that somebody else wrote; for the writer's thread."""
        self._noted_bytes += size

    async def close(self) -> None:
        """Waits until everything that was asked for is durable."""
        await self._batches.idle()

    # -- calls

    @property
    def crowded(self) -> bool:
        return self._batches.crowded

    async def enqueue(self, call: QueuedCall) -> str:
        before = done_before()
        if before is not None:
            known: str = before[0]
            return known
        new = new_call(call)
        try:
            self._space.check()
            self.counts.reserve(new.function, new.size)
        except (QueueFull, StorageFull):  # what repeats an earlier call is no new work
            earlier = None if call.idempotency is None else await self.find_idempotent(call.idempotency)
            if earlier is None:
                raise
            return earlier
        kept: str = await self._batches.add(Kind.ENQUEUE, new, new.size, begins=True, joins=True)
        return kept

    async def lease(
        self,
        function: FunctionKey,
        most: int,
        busy_keys: Collection[str] = (),
        *,
        key_inflight: int = 0,
        struck: bool = False,
    ) -> Sequence[Lease]:
        if self._stale():
            await self._hold()
        leases: Leases = []
        timed = self.counts.delayed(function), self.counts.suspended(function)
        wanted = Wanted(function, most, busy_keys, key_inflight, struck, *timed)
        asked: asyncio.Future[Taken] | None = None
        try:
            more = True
            while more and len(leases) < most:
                asked = self._batches.add(Kind.LEASE, _rest_of(wanted, leases))
                taken = await asked
                leases += taken.leases
                more = taken.more
        except GuesthouseError:
            if not leases:
                raise
        except asyncio.CancelledError:
            if asked is not None and asked.done() and not asked.cancelled() and asked.exception() is None:
                leases += asked.result().leases  # it came in the moment in which the waiting was given up
            self._give_back(leases)
            raise
        return leases

    def _give_back(self, leases: Sequence[Lease]) -> None:
        for of in leases:
            given = self._batches.add(Kind.SETTLE, Settlement(of, Code.READY, gives_back=True))
            given.add_done_callback(lambda done: done.cancelled() or done.exception())  # expiry takes it back then

    async def extend(self) -> None:
        if self.counts.running:
            await self._hold()

    async def _hold(self) -> None:
        now_ns = self._clock.monotonic_ns()
        await self._database.write(
            lambda connection: hold(self._changes.unit(connection), self._holder, self._lease_ms)
        )
        self._held_ns = now_ns

    def _stale(self) -> bool:
        """Whether a third of the lease time is over, by the clock that does not jump."""
        return self._held_ns is None or 3 * (self._clock.monotonic_ns() - self._held_ns) > self._lease_ms * 1_000_000

    async def succeed(
        self,
        lease: Lease,
        record: Record,
        output: Output | None,
        callback: Callback | QueuedCall | None,
        completion: Completion | None = None,
        segment: bytes = b"",
    ) -> None:
        await self._end(End(lease, record, output, callback, completion, segment))

    async def succeed_all(self, ends: Sequence[End]) -> Sequence[GuesthouseError | None]:
        asked = [self._end(end) for end in ends]
        results: list[GuesthouseError | None] = []
        for done in asked:
            try:
                await done
            except GuesthouseError as error:
                results.append(error)
            else:
                results.append(None)
        return results

    async def bury(
        self,
        lease: Lease,
        record: Record,
        output: Output | None,
        callback: Callback | QueuedCall | None,
        completion: Completion | None = None,
        segment: bytes = b"",
    ) -> None:
        await self._end(End(lease, record, output, callback, completion, segment), dead=True)

    def _end(self, end: End, *, dead: bool = False) -> asyncio.Future[None]:
        lease, record, output, follows, completion, segment = end
        written = ending(record, output, dead=dead)
        next_ = new_call(follows) if isinstance(follows, QueuedCall) else follows
        size = written.kept + len(segment) + (next_.size if isinstance(next_, NewCall) else 0)
        settlement = Settlement(
            lease,
            written.code,
            ending=written,
            started_ms=record.started_ms,
            ended_ms=self._now_ms() if record.ended_ms is None else record.ended_ms,
            follows=next_,
            completion=completion or completion_of(record, output),
            segment=segment,
        )
        return self._batches.add(Kind.SETTLE, settlement, size)

    async def retry(self, lease: Lease, due_ms: int, record: Record, segment: bytes = b"") -> None:
        code = Code.DELAYED if due_ms > self._now_ms() else Code.READY
        settlement = Settlement(
            lease, code, about_of(record), due_ms, record.started_ms, segment=segment, version=record.version or None
        )
        await self._batches.add(Kind.SETTLE, settlement, len(segment))

    async def release(self, lease: Lease, segment: bytes = b"") -> None:
        settlement = Settlement(lease, Code.READY, gives_back=True, segment=segment)
        await self._batches.add(Kind.SETTLE, settlement, len(segment))

    async def cancel(self, id: str, record: Record) -> bool:
        wanted = (id, ending(record, None), record.ended_ms, completion_of(record, None))
        changed: bool = await self._batches.add(Kind.CANCEL, wanted, joins=True)
        return changed

    async def recover(self) -> Sequence[str]:
        return await self._take_back("IS NOT ?", (self._holder,))

    async def expire(self) -> int:
        lapsed = "IN (SELECT holder FROM lease_holders WHERE expires_ms <= ? AND holder IS NOT ?)"
        count = len(await self._take_back(lapsed, (self._now_ms(), self._holder)))
        if self._held_ns is not None and self._clock.monotonic_ns() - self._held_ns > self._lease_ms * 1_000_000:
            count += len(await self._take_back("= ?", (self._holder,)))  # by the clock that does not jump
        return count

    async def refresh(self) -> bool:
        def look(connection: Connection) -> Counts | None:
            version = rows(connection, "PRAGMA data_version")[0][0]  # of this connection: others have committed
            if version == self._others:
                return None
            self._others = version
            found = Counts(self._config)
            found.read(connection)
            return found

        found = await self._database.write(look)
        if found is None:
            return False
        new = [call for change in self._batches.pending for call in _calls_of(change)]
        self.counts.become(found, [(call.function, call.size) for call in new])
        return True

    async def _take_back(self, holders: str, values: tuple[Value, ...]) -> Sequence[str]:
        def work(connection: Connection) -> tuple[Sequence[str], Unit]:
            unit = self._changes.unit(connection)
            return take_back(unit, holders, values), unit

        ids, unit = await self._database.write(work)
        self.counts.moved(unit.moves)
        return ids

    async def waiting(self) -> Mapping[FunctionKey, Waiting]:
        functions = [function for function, of in self.counts if of.queued or of.suspended]
        now_ms = self._now_ms()
        times = await self._database.read(partial(records.waiting, functions=functions, now_ms=now_ms))
        return records.merged(self.counts, times)

    # -- records

    async def write(self, records: Sequence[tuple[Record, Output | None]]) -> None:
        self._space.check()
        ended = [(record, ending(record, output)) for record, output in records]
        await self._batches.add(Kind.WRITE, ended, sum(end.kept for _, end in ended), begins=True)

    async def find(self, id: str) -> Record:
        return await self._database.read(partial(records.find, id=id))

    async def output(self, id: str) -> Output | None:
        return await self._database.read(partial(records.output, id=id))

    async def request(self, id: str) -> QueuedCall:
        return await self._database.read(partial(records.request, id=id))

    async def list(self, wanted: Page = ALL) -> tuple[Sequence[Record], str | None]:
        return await self._database.read(partial(records.page, wanted=wanted))

    async def redrive(self, id: str, *, segment: bytes = b"", version: int | None = None) -> None:
        await self._batches.add(Kind.REDRIVE, (id, segment, version), len(segment))

    async def drop(self, id: str) -> None:
        await self._batches.add(Kind.DROP, id)

    async def sweep(self) -> int:
        now_ms = self._now_ms()
        kept = Kept(
            ended_ms=now_ms - self._keep.keep_days * DAY_MS,
            ended_excess=self.counts.kept_bytes + self._noted_bytes - self._keep.keep_bytes,
            dead_ms=now_ms - self._config.max_dead_days * DAY_MS,
            dead_excess=self.counts.dead_bytes - self._config.max_dead_bytes,
        )

        def work(connection: Connection) -> tuple[int, Unit]:
            unit = self._changes.unit(connection)
            return sweep(unit, kept), unit

        count, unit = await self._database.write(work)
        self.counts.moved(unit.moves)
        return count

    # -- callbacks

    async def callbacks(
        self, most: int, under_way: Collection[str] = (), busy: Collection[str] = (), crowded: Collection[str] = ()
    ) -> Sequence[tuple[Callback, Output | None]]:
        wanted = outbox.Due(self._now_ms(), most, under_way, busy, crowded)
        return await self._database.read(partial(outbox.due, wanted=wanted))

    async def delivered(self, callback: Callback) -> None:
        await self._batches.add(Kind.DELIVERED, callback)

    async def postpone(self, callback: Callback, due_ms: int) -> None:
        await self._batches.add(Kind.POSTPONE, (callback, due_ms))

    async def next_callback_ms(self) -> int | None:
        return await self._database.read(outbox.next_due_ms)

    async def find_idempotent(self, idempotency: Idempotency) -> str | None:
        now_ms = self._now_ms()
        return await self._database.read(
            partial(records.keyed, key=idempotency.key, digest=idempotency.request, now_ms=now_ms)
        )

    # -- underneath

    def _now_ms(self) -> int:
        return self._clock.wall_ns() // 1_000_000

    def _settled(self, changes: Sequence[Change[Kind]], done: Done) -> None:
        """Counts what was committed, on the loop; a lease that nobody waits for any more is given back."""
        for change, result in zip(changes, done.results, strict=True):
            if change.begins:
                self._free(_calls_of(change))
            elif isinstance(result, Taken) and change.future.done():
                self._give_back(result.leases)
        self.counts.moved(done.moves)
        for news in done.news:
            if isinstance(news, Told):
                self.on_completed(news.id, news.number)
            else:
                self.on_ready(news.function)


def _calls_of(change: Change[Kind]) -> Sequence[NewCall]:
    """Those that a change is about to write."""
    if change.kind is Kind.ENQUEUE:
        return (change.values,)
    return change.values if change.kind is Kind.ENQUEUE_ALL else ()


def _rest_of(wanted: Wanted, leases: Sequence[Lease]) -> Wanted:
    """What is still wanted of a lease that took some calls."""
    taken = Counter(of.call.key for of in leases if of.call.key is not None)
    return wanted._replace(most=wanted.most - len(leases), taken=taken) if leases else wanted
