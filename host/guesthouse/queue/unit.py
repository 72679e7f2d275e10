"""`Unit`: one unit of work on the queue's tables, and what its statements share.

A statement gives the interpreter away and waits to get it back, so what is done for many is few statements: with rows of
values, of which there are as many as a power of two so that the statement stays prepared, and lists of numbers as JSON.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any, Final, NamedTuple

import orjson

from guesthouse.queue.queue import FunctionKey, UnknownInvocation
from guesthouse.queue.rows import Code
from guesthouse.storage.database import Connection, rows
from guesthouse.storage.joined import alone

ROWS_AT_ONCE: Final = 256
"""Rows of one statement: a prepared one is kept for each power of two up to it."""

Value = str | bytes | int | None


class Move(NamedTuple):
    """An invocation that changed its state: `None` where there is no row."""

    function: FunctionKey
    old: Code | None
    new: Code | None
    size: int = 0
    kept: int = 0
    """Of `new` where it ended, of `old` where it had ended before."""
    grown: int = 0
    """Bytes that were added to its size first: of its journal, and of what it was told."""


class Told(NamedTuple):
    """A future of an invocation has completed."""

    id: str
    """Of the invocation."""
    number: int


class Woken(NamedTuple):
    """A call of a function is ready, because of something that happened to another one."""

    function: FunctionKey


News = Told | Woken


class Found(NamedTuple):
    """A row of an invocation, as far as a change of its state needs it."""

    seq: int
    code: Code
    function: FunctionKey
    key: str | None
    size: int
    kept: int
    durable: bool = False
    exclusive: bool = False
    parent: int | None = None
    promise: int = 0
    attached: int = 0
    segments: int = 0
    journal: int = 0
    told: int = 0
    counted: int = 0

    @property
    def request(self) -> int:
        """Bytes of its request."""
        return self.size - self.told - self.counted


class Unit:
    """A transaction's connection and moment, the moves that it makes, and the news that there are of it."""

    def __init__(self, connection: Connection, now_ms: int, turn: Callable[[int], int] = int) -> None:
        self.connection = connection
        self.execute = connection.execute
        self.now_ms = now_ms
        self._turn = turn
        self.moves: list[Move] = []
        self.news: list[News] = []

    @property
    def turn_ms(self) -> int:
        """The place of a call that is due at once."""
        return self._turn(self.now_ms)

    def alone(self, work: Callable[[], Any]) -> Any:
        """What a part of this unit comes to, or the error that has undone that part and nothing else."""
        moves, news = len(self.moves), len(self.news)
        result = alone(self.connection, work)
        if isinstance(result, BaseException):
            del self.moves[moves:]
            del self.news[news:]
        return result

    def rows(self, query: str, values: Sequence[Value] = ()) -> list[tuple[Any, ...]]:
        """All rows of a query."""
        return rows(self.connection, query, values)

    def gathered(self, query: str, values: Sequence[Value] = ()) -> list[list[Any]]:
        """The rows of a query that makes one JSON array of them: the interpreter is given away for each row otherwise."""
        found: list[list[Any]] = orjson.loads(self.rows(query, values)[0][0])
        return found

    def find(self, id: str) -> Found:
        """The row of an invocation; raises `UnknownInvocation`."""
        found = self.rows(f"SELECT {FOUND_COLUMNS} FROM invocations WHERE id = ?", (id,))
        if not found:
            raise UnknownInvocation(f"there is no invocation {id}")
        return found_in(found[0])

    def move(self, seqs: Sequence[int], code: Code) -> None:
        """Gives rows another state."""
        if seqs:
            query = "UPDATE invocations SET state = ? WHERE seq IN (SELECT value FROM json_each(?))"
            self.execute(query, (int(code), listed(seqs)))

    def delete(self, table: str, seqs: Sequence[int]) -> None:
        """Deletes rows."""
        if seqs:
            self.execute(f"DELETE FROM {table} WHERE seq IN (SELECT value FROM json_each(?))", (listed(seqs),))


FOUND_COLUMNS: Final = (
    "seq, state, namespace, name, key, size, kept, durable, exclusive, parent, promise, attached, segments, journal, told,"
    " counted"
)


def found_in(row: Sequence[Any]) -> Found:
    """A row of `FOUND_COLUMNS`."""
    seq, code, namespace, name, key, size, kept, durable, exclusive, *rest = row
    return Found(seq, Code(code), (namespace, name), key, size, kept, bool(durable), bool(exclusive), *rest)


def listed(values: Sequence[Any]) -> str:
    """Values as `json_each` takes them."""
    return orjson.dumps(values).decode()


def parts(table: Sequence[tuple[Value, ...]], columns: int) -> Iterator[tuple[list[Value], str]]:
    """Values for statements of up to `ROWS_AT_ONCE` rows, filled up with NULLs to a power of two, and their marks."""
    for start in range(0, len(table), ROWS_AT_ONCE):
        part = table[start : start + ROWS_AT_ONCE]
        size = 1 << (len(part) - 1).bit_length()
        values: list[Value] = [value for row in part for value in row]
        yield values + [None] * (columns * (size - len(part))), _marks(columns, size)


@cache
def _marks(columns: int, size: int) -> str:
    return ",".join(["(" + ",".join("?" * columns) + ")"] * size)
