"""Log records of guests: `InvocationLog` collects those of one invocation, `FunctionLogs` the newest of each function.

Promises (G15): one record is one line whatever a guest writes, bounds in bytes and records that no flood can pass, a
writer that never waits for a reader.  Writers may be in any thread, each reader is on one loop.
"""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from guesthouse.clock import SYSTEM_CLOCK, Clock

if TYPE_CHECKING:
    from guesthouse.limits import Limits

RECORDS_PER_FUNCTION: Final = 1_000
BYTES_IN_ALL: Final = 64 << 20
"""What the records of all functions may hold together; the function that was quiet for longest loses its first."""
RECORDS_PER_FOLLOWER: Final = 1_000
"""How far a reader may lag behind before it loses records."""
SYSTEM_RECORDS: Final = 64
"""Records of the host that one invocation has room for on top of its limits: a flood does not hide how it ended."""
SYSTEM_BYTES: Final = 16 << 10
SEVERITY: Final = {"off": 0, "debug": 1, "info": 2, "warn": 3, "error": 4}
"""The levels in their order; as a threshold, `off` is above all of them."""
NOTHING: Final = 5
"""A severity that no record reaches."""

_ESCAPED: Final = (
    *range(0x20),
    *range(0x7F, 0xA0),
    0x61C,
    0x200E,
    0x200F,
    0x2028,
    0x2029,
    *range(0x202A, 0x202F),
    *range(0x2066, 0x206A),
    0xFEFF,
)
"""Control characters (line breaks, terminal escapes) and those that reorder the text around them."""
_ESCAPES: Final = {
    code: {0x0A: "\\n", 0x0D: "\\r"}.get(code) or (f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}")
    for code in _ESCAPED
    if code != 0x09
}


class LogRecord(NamedTuple):
    """One line: when (nanoseconds since 1970-01-01 UTC), how bad, from where, and what."""

    time_ns: int
    level: str
    """debug, info, warn or error."""
    source: str
    """guest, stdout, stderr or system."""
    text: str


class Entry(NamedTuple):
    """A record in a function's log, with the invocation that it belongs to."""

    invocation_id: str
    record: LogRecord


class Selection(NamedTuple):
    """Which entries a reader wants."""

    severity: int = 0
    """The lowest, as in `SEVERITY`."""
    since_ns: int = 0
    """Not older than this (nanoseconds since 1970-01-01 UTC)."""
    invocation: str = ""
    """Only of invocations whose id ends like this: ids of one process begin alike."""

    def takes(self, entry: Entry) -> bool:
        """True for an entry that is wanted."""
        record = entry.record
        return (
            record.time_ns >= self.since_ns
            and SEVERITY[record.level] >= self.severity
            and entry.invocation_id.endswith(self.invocation)
        )


EVERYTHING: Final = Selection()
Tee: TypeAlias = "Callable[[LogRecord, str], None]"
"""Gets each record that is kept, and its text as it was written."""


def rfc3339(time_ns: int) -> str:
    """A time as people and programs read it: UTC, with nanoseconds."""
    seconds, fraction = divmod(time_ns, 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{fraction:09d}Z"


def escape(text: str) -> str:
    """`text` on one line, with nothing in it that a terminal would obey."""
    return text if text.isprintable() else text.translate(_ESCAPES)


class _Room:
    """What a log still takes of one kind of records: once something did not fit, nothing does."""

    __slots__ = ("bytes", "records")

    def __init__(self, records: int, bytes: int) -> None:
        self.records = records
        self.bytes = bytes

    def end(self) -> None:
        """Takes nothing any more."""
        self.records = 0


class InvocationLog:
    """The records of one invocation (`interfaces.invocation.LogSink`), passed on to its function's log as they come."""

    __slots__ = ("_clock", "_dropped", "_id", "_limits", "_log", "_records", "_room", "_system_room", "tee")

    def __init__(
        self, limits: Limits, invocation_id: str = "", log: FunctionLog | None = None, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        self._limits = limits
        self._id = invocation_id
        self._log = log
        self._clock = clock
        self._records: list[LogRecord] | None = None
        self._room = _Room(limits.log_lines, limits.log_bytes)
        self._system_room = _Room(SYSTEM_RECORDS, SYSTEM_BYTES)
        self._dropped = 0
        self.tee: Tee | None = None
        """Where else the records go from now on."""

    def write(self, level: str, text: str, source: str) -> None:
        """One record; what is over the limits is dropped and counted."""
        room = self._system_room if source == "system" else self._room
        if room.records <= 0 or room.bytes <= 0:
            room.end()
            self._dropped += 1
            return
        text = text[: room.bytes + 1].removesuffix("\n")
        line = escape(text)
        size = len(line) if line.isascii() else len(line.encode("utf-8", "replace"))
        if size > room.bytes:
            line, size = line.encode("utf-8", "replace")[: room.bytes].decode("utf-8", "ignore"), room.bytes
        room.records -= 1
        room.bytes -= size
        self._keep(LogRecord(self._clock.wall_ns(), level, source, line), size, text)

    @property
    def records(self) -> Sequence[LogRecord]:
        """What was kept so far, oldest first."""
        return self._records if self._records is not None else ()

    def close(self) -> int:
        """Ends the log, with one last line if any were dropped; returns how many were."""
        dropped, self._dropped = self._dropped, 0
        if dropped:
            limits = f"{self._limits.log_lines} records and {self._limits.log_bytes} bytes"
            text = f"dropped {dropped} log records over the limits of {limits}"
            self._keep(LogRecord(self._clock.wall_ns(), "warn", "system", text), len(text), text)
            self._room.end()
            self._system_room.end()  # nothing comes after the last line
        return dropped

    def _keep(self, record: LogRecord, size: int, text: str) -> None:
        if self._records is None:
            self._records = []
        self._records.append(record)
        if self._log is not None:
            self._log.append(self._id, record, size)
        if self.tee is not None:
            self.tee(record, text)


class FunctionLog:
    """The newest records of one function; get it once from `FunctionLogs.of` and keep it."""

    __slots__ = ("_followers", "_logs", "bytes", "entries", "function")

    def __init__(self, function: str, logs: FunctionLogs) -> None:
        self.function = function
        self.entries: deque[tuple[Entry, int]] = deque()
        self.bytes = 0
        self._logs = logs
        self._followers: tuple[Follower, ...] = ()  # never changed in place: writers in other threads go through it

    def append(self, invocation_id: str, record: LogRecord, size: int | None = None) -> None:
        """Adds a record, at the cost of the oldest ones where there is no room."""
        cost = (len(record.text) if size is None else size) + 200  # what the objects around the text weigh
        entry = Entry(invocation_id, record)
        with self._logs.lock:
            self.entries.append((entry, cost))
            self.bytes += cost
            while len(self.entries) > self._logs.records_per_function:
                cost -= self._drop_oldest()
            self._logs.grew(self, cost)
            followers = self._followers
        for follower in followers:
            follower.offer(entry)

    @property
    def followers(self) -> int:
        """How many read it as it grows."""
        return len(self._followers)

    def tail(self, count: int, selection: Selection = EVERYTHING) -> list[Entry]:
        """The newest `count` of the selected records, oldest first."""
        with self._logs.lock:
            return self._newest(count, selection)

    def follow(self, tail: int = 0, selection: Selection = EVERYTHING) -> Follower:
        """The newest `tail` records, then each new one."""
        with self._logs.lock:
            follower = Follower(self, self._newest(tail, selection), self._logs.records_per_follower, selection)
            self._followers = (*self._followers, follower)
            self._logs.followers += 1
        return follower

    def leave(self, follower: Follower) -> None:
        """Takes a closed follower out; one that is not there is fine."""
        with self._logs.lock:
            if follower in self._followers:
                self._logs.followers -= 1
                self._followers = tuple(other for other in self._followers if other is not follower)

    def clear(self) -> int:
        """Forgets all records; returns what they weighed."""
        freed, self.bytes = self.bytes, 0
        self.entries.clear()
        return freed

    def _newest(self, count: int, selection: Selection) -> list[Entry]:
        selected = (entry for entry, _ in reversed(self.entries) if selection.takes(entry))
        return list(islice(selected, max(0, count)))[::-1]

    def _drop_oldest(self) -> int:
        cost = self.entries.popleft()[1]
        self.bytes -= cost
        return cost


class FunctionLogs:
    """The newest records of every function, bounded for each and in all."""

    def __init__(
        self,
        *,
        records_per_function: int = RECORDS_PER_FUNCTION,
        bytes_in_all: int = BYTES_IN_ALL,
        records_per_follower: int = RECORDS_PER_FOLLOWER,
    ) -> None:
        self.records_per_function = records_per_function
        self.records_per_follower = records_per_follower
        self.followers = 0
        """How many readers follow any function."""
        self.lock = threading.Lock()
        """Held by whoever changes or copies what is kept: writers may be in any thread."""
        self._bytes_left = bytes_in_all
        self._logs: OrderedDict[str, FunctionLog] = OrderedDict()

    def of(self, function: str) -> FunctionLog:
        """The log of `function` (`namespace/name`), the same object for the same name until it is forgotten."""
        log = self._logs.get(function)
        if log is None:
            log = self._logs[function] = FunctionLog(function, self)
        return log

    def append(self, function: str, invocation_id: str, record: LogRecord) -> None:
        """Adds a record to the log of `function`."""
        self.of(function).append(invocation_id, record)

    def tail(self, function: str, count: int, selection: Selection = EVERYTHING) -> list[Entry]:
        """The newest `count` of the selected records of `function`, oldest first."""
        log = self._logs.get(function)
        return [] if log is None else log.tail(count, selection)

    def followed(self, function: str) -> int:
        """How many readers follow `function`."""
        log = self._logs.get(function)
        return 0 if log is None else log.followers

    def follow(self, function: str, tail: int = 0, selection: Selection = EVERYTHING) -> Follower:
        """The newest `tail` records of `function` and then each new one."""
        return self.of(function).follow(tail, selection)

    def forget(self, function: str) -> None:
        """Drops the records of a function that was deleted; who follows it sees those of the next one of its name."""
        with self.lock:
            log = self._logs.get(function)
            if log is not None:
                self._bytes_left += log.clear()
                if not log.followers:
                    del self._logs[function]

    def grew(self, log: FunctionLog, size: int) -> None:
        """`log` has `size` bytes more (or fewer) than before: makes room where there is none.  Under the lock."""
        if self._logs.get(log.function) is not log:
            return  # forgotten while an invocation of it still runs
        self._bytes_left -= size
        self._logs.move_to_end(log.function)
        if self._bytes_left < 0:
            for quiet in list(self._logs.values()):
                self._bytes_left += quiet.clear()
                if self._bytes_left >= 0:
                    break


class Follower:
    """A reader of one function's log: an asynchronous iterator of its entries, to be closed, or used in `with`."""

    def __init__(self, log: FunctionLog, earlier: Iterable[Entry], most: int, selection: Selection) -> None:
        self._log = log
        self._selection = selection
        self._waiting = deque(earlier)
        self._most = len(self._waiting) + most
        self._missed = 0
        self._open = True
        self._lock = threading.Lock()
        self._arrived = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def __enter__(self) -> Follower:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __aiter__(self) -> Follower:
        return self

    async def __anext__(self) -> Entry:
        if not await self.wait():
            raise StopAsyncIteration
        return self.take(1)[0]

    async def wait(self) -> bool:
        """Waits until something can be taken; `False` once it is closed and all was taken."""
        while True:
            with self._lock:
                if self._waiting or self._missed:
                    return True
                if not self._open:
                    return False
                self._arrived.clear()
            await self._arrived.wait()

    def take(self, most: int) -> list[Entry]:
        """Up to `most` of what can be read without waiting, oldest first; a line in the place of what was missed."""
        with self._lock:
            taken = [self._waiting.popleft() for _ in range(min(most, len(self._waiting)))]
            if self._missed and len(taken) < most:  # what was missed came after all that waited
                text = f"dropped {self._missed} log records because the reader is too slow"
                taken.append(Entry("", LogRecord(SYSTEM_CLOCK.wall_ns(), "warn", "system", text)))
                self._missed = 0
        return taken

    def close(self) -> None:
        """Follows no more; what was received can still be read."""
        self._log.leave(self)
        with self._lock:
            self._open = False
        self._arrived.set()

    def offer(self, entry: Entry) -> None:
        """Takes a new record in, or counts it as missed; from any thread."""
        if not self._selection.takes(entry):
            return
        with self._lock:
            if self._missed or len(self._waiting) >= self._most:
                self._missed += 1
                return
            self._waiting.append(entry)
        if not self._arrived.is_set():
            with suppress(RuntimeError):  # its loop has ended
                self._loop.call_soon_threadsafe(self._arrived.set)
