"""Log records of guests: `InvocationLog` collects those of one invocation, `FunctionLogs` the newest of each function.

Promises (G15): one record is one line whatever a guest writes, bounds in bytes and records that no flood can pass, a
writer that never waits for a reader.  Writers may be in any thread, readers are on a loop.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncGenerator, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from guesthouse.clock import SYSTEM_CLOCK, Clock

if TYPE_CHECKING:
    from guesthouse.limits import Limits

RECORDS_PER_FUNCTION: Final = 1_000
BYTES_IN_ALL: Final = 64 << 20
"""What the records of all functions may hold together; the function that was quiet for longest loses its first."""
RECORDS_PER_FOLLOWER: Final = 1_000
"""How far a reader may lag behind before it loses records."""

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


def escape(text: str) -> str:
    """`text` on one line, with nothing in it that a terminal would obey."""
    return text if text.isprintable() else text.translate(_ESCAPES)


class InvocationLog:
    """The records of one invocation (`interfaces.invocation.LogSink`), passed on to its function's log as they come."""

    __slots__ = ("_bytes", "_clock", "_dropped", "_id", "_limits", "_log", "_records")

    def __init__(
        self, limits: Limits, invocation_id: str = "", log: FunctionLog | None = None, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        self._limits = limits
        self._id = invocation_id
        self._log = log
        self._clock = clock
        self._records: list[LogRecord] | None = None
        self._bytes = 0
        self._dropped = 0

    def write(self, level: str, text: str, source: str) -> None:
        """One record; what is over the limits is dropped and counted."""
        limits, records = self._limits, self._records
        if self._dropped:
            self._dropped += 1
            return
        if records is None:
            records = self._records = []
        room = limits.log_bytes - self._bytes
        if room <= 0 or len(records) >= limits.log_lines:
            self._dropped = 1
            return
        line = escape(text[: room + 1].removesuffix("\n"))
        size = len(line) if line.isascii() else len(line.encode("utf-8", "replace"))
        if size > room:
            line, size = line.encode("utf-8", "replace")[:room].decode("utf-8", "ignore"), room
        self._bytes += size
        self._keep(LogRecord(self._clock.wall_ns(), level, source, line), size)

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
            self._keep(LogRecord(self._clock.wall_ns(), "warn", "system", text), len(text))
            self._dropped = 0
            self._bytes = self._limits.log_bytes  # nothing comes after the last line
        return dropped

    def _keep(self, record: LogRecord, size: int) -> None:
        if self._records is not None:
            self._records.append(record)
        if self._log is not None:
            self._log.append(self._id, record, size)


class FunctionLog:
    """The newest records of one function; get it once from `FunctionLogs.of` and keep it."""

    __slots__ = ("_followers", "_logs", "bytes", "entries", "function")

    def __init__(self, function: str, logs: FunctionLogs) -> None:
        self.function = function
        self.entries: deque[tuple[Entry, int]] = deque()
        self.bytes = 0
        self._logs = logs
        self._followers: list[_Follower] = []

    def append(self, invocation_id: str, record: LogRecord, size: int | None = None) -> None:
        """Adds a record, at the cost of the oldest ones where there is no room."""
        cost = (len(record.text) if size is None else size) + 200  # what the objects around the text weigh
        entry = Entry(invocation_id, record)
        self.entries.append((entry, cost))
        self.bytes += cost
        while len(self.entries) > self._logs.records_per_function:
            cost -= self._drop_oldest()
        self._logs.grew(self, cost)
        for follower in self._followers:
            follower.offer(entry)

    def tail(self, count: int) -> list[Entry]:
        """The newest `count` records, oldest first."""
        start = max(0, len(self.entries) - max(0, count))
        return [entry for index, (entry, _) in enumerate(self.entries) if index >= start]

    async def follow(self, tail: int = 0) -> AsyncGenerator[Entry, None]:
        """The newest `tail` records, then each new one; a reader that is too slow is told how many it missed."""
        follower = _Follower(self._logs.records_per_follower)
        self._followers.append(follower)
        try:
            for entry in self.tail(tail):
                yield entry
            while True:
                yield await follower.next()
        finally:
            self._followers.remove(follower)

    def clear(self) -> int:
        """Forgets all records; returns what they weighed."""
        freed, self.bytes = self.bytes, 0
        self.entries.clear()
        return freed

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

    def tail(self, function: str, count: int) -> list[Entry]:
        """The newest `count` records of `function`, oldest first."""
        log = self._logs.get(function)
        return [] if log is None else log.tail(count)

    def follow(self, function: str, tail: int = 0) -> AsyncGenerator[Entry, None]:
        """The newest `tail` records of `function` and then each new one."""
        return self.of(function).follow(tail)

    def forget(self, function: str) -> None:
        """Drops the records of a function that was deleted."""
        log = self._logs.pop(function, None)
        if log is not None:
            self._bytes_left += log.clear()

    def grew(self, log: FunctionLog, size: int) -> None:
        """`log` has `size` bytes more (or fewer) than before: makes room where there is none."""
        if self._logs.get(log.function) is not log:
            return  # forgotten while an invocation of it still runs
        self._bytes_left -= size
        self._logs.move_to_end(log.function)
        if self._bytes_left < 0:
            for quiet in list(self._logs.values()):
                self._bytes_left += quiet.clear()
                if self._bytes_left >= 0:
                    break


class _Follower:
    """A reader's bounded queue."""

    def __init__(self, most: int) -> None:
        self._waiting: deque[Entry] = deque()
        self._most = most
        self._missed = 0
        self._arrived = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def offer(self, entry: Entry) -> None:
        if len(self._waiting) >= self._most:
            self._missed += 1
        else:
            self._waiting.append(entry)
            self._loop.call_soon_threadsafe(self._arrived.set)

    async def next(self) -> Entry:
        while not self._waiting:
            if self._missed:
                missed, self._missed = self._missed, 0
                text = f"dropped {missed} log records because the reader is too slow"
                return Entry("", LogRecord(SYSTEM_CLOCK.wall_ns(), "warn", "system", text))
            self._arrived.clear()
            await self._arrived.wait()
        return self._waiting.popleft()
