"""RESP2, the protocol of Valkey and Redis: replies as values that keep their kind, commands as bytes, a bounded reader.

Promises: a simple string never looks like a bulk string (the readers of hiredis, redis-py and valkey-py answer the same
bytes for both, and guests are told them apart); nothing is allocated on the word of the server; a reply costs at most
its budget; no recursion.  Must not know of sockets.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeAlias

from guesthouse.net.failures import Malformed, TooLarge

ELEMENT_BYTES = 64
"""What each element of a reply costs beside its bytes: an object of the interpreter and its place in a list."""
MOST_DEPTH = 32
"""Arrays inside arrays: servers nest a handful, and what reads the reply later may be recursive."""
MOST_LINE_BYTES = 64 * 1024
"""Longest simple string, error or number: lines have to be searched for their end."""

_INT = re.compile(rb"[+-]?[0-9]{1,19}\Z")
_LENGTH = re.compile(rb"(?:-1|[0-9]{1,19})\Z")
_INT_MIN, _INT_MAX = -(1 << 63), (1 << 63) - 1
_END = b"\r\n"


class SimpleString(NamedTuple):
    """`+OK`: a status, never data."""

    text: bytes


class ErrorReply(NamedTuple):
    """`-WRONGTYPE Operation against …`: what the server says against one command."""

    text: bytes

    def __str__(self) -> str:
        return self.text.decode("utf-8", "replace")


Reply: TypeAlias = "bytes | int | SimpleString | ErrorReply | list[Reply] | None"
"""Bulk string, integer, status, error, array, and `None` for either null."""


class Budget:
    """What replies may cost: their bytes, and `ELEMENT_BYTES` for each of their elements; several may share one."""

    __slots__ = ("left",)

    def __init__(self, size: int) -> None:
        self.left = size

    def spend(self, size: int) -> None:
        """Raises `TooLarge`, and spends nothing, where that much is not left."""
        if size > self.left:
            raise TooLarge("limit exceeded: the server's reply is too large")
        self.left -= size


class Incomplete:
    """What `ReplyReader.parse` answers where no reply is complete."""


MORE = Incomplete()
"""Bytes are missing: feed some."""
BUSY = Incomplete()
"""The steps are used up: call again, after letting others have their turn."""


def encode(commands: Iterable[Sequence[bytes]]) -> bytes:
    """Commands as the server reads them: arrays of bulk strings, so no byte of an argument can mean anything else."""
    parts: list[bytes] = []
    for command in commands:
        parts.append(b"*%d\r\n" % len(command))
        for argument in command:
            parts += (b"$%d\r\n" % len(argument), argument, _END)
    return b"".join(parts)


class ReplyReader:
    """Takes bytes as they come and gives replies; after an error it is of no more use."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._at = 0
        self._bulk = -1
        """Length of the bulk string whose bytes are awaited; -1: a line is next."""
        self._open: list[tuple[list[Reply], int]] = []
        """The arrays around the next value, outermost first, and the length of each."""
        self._budget = Budget(0)

    @property
    def buffered(self) -> int:
        """Bytes that were fed and not used yet."""
        return len(self._buffer) - self._at

    def feed(self, data: bytes) -> None:
        """Adds bytes from the server."""
        self._buffer += data

    def allow(self, budget: Budget) -> None:
        """Sets what the replies that follow are charged to."""
        self._budget = budget

    def parse(self, steps: int) -> Reply | Incomplete:
        """The next reply, or `MORE` or `BUSY` after so many steps; raises `Malformed` or `TooLarge`."""
        for _ in range(steps):
            value = self._bulk_string() if self._bulk >= 0 else self._line()
            if isinstance(value, Incomplete):
                if value is MORE:
                    self._forget()
                    return MORE
                continue
            while self._open:
                items, length = self._open[-1]
                items.append(value)
                if len(items) < length:
                    break
                value = self._open.pop()[0]
            else:
                return value
        return BUSY

    def _line(self) -> Reply | Incomplete:
        """The value in the next line; `BUSY` where it only begins there."""
        end = self._buffer.find(_END, self._at)
        if end < 0:
            if self.buffered > MOST_LINE_BYTES:
                raise Malformed("the server's reply is not valid RESP: a line without an end")
            return MORE
        kind, line = self._buffer[self._at : self._at + 1], bytes(self._buffer[self._at + 1 : end])
        self._at = end + 2
        if not self._open:
            self._budget.spend(ELEMENT_BYTES)
        if kind == b"$":
            return self._begin_bulk(_length(line))
        if kind == b"*":
            return self._begin_array(_length(line))
        self._budget.spend(len(line))
        if kind == b":":
            return _integer(line)
        if kind == b"+":
            return SimpleString(line)
        if kind == b"-":
            return ErrorReply(line)
        raise Malformed("the server's reply is not valid RESP: no such kind of reply")

    def _begin_bulk(self, length: int) -> Reply | Incomplete:
        if length < 0:
            return None
        self._budget.spend(length)
        self._bulk = length
        return BUSY

    def _bulk_string(self) -> Reply | Incomplete:
        start, end = self._at, self._at + self._bulk
        if len(self._buffer) < end + 2:
            return MORE
        if self._buffer[end : end + 2] != _END:
            raise Malformed("the server's reply is not valid RESP: a string without an end")
        self._at, self._bulk = end + 2, -1
        with memoryview(self._buffer) as view:
            return bytes(view[start:end])

    def _begin_array(self, length: int) -> Reply | Incomplete:
        if length < 0:
            return None
        self._budget.spend(length * ELEMENT_BYTES)
        items: list[Reply] = []
        if not length:
            return items
        if len(self._open) >= MOST_DEPTH:
            raise Malformed(f"the server's reply holds arrays more than {MOST_DEPTH} deep")
        self._open.append((items, length))
        return BUSY

    def _forget(self) -> None:
        """Drops the bytes that were used."""
        del self._buffer[: self._at]
        self._at = 0


def _length(line: bytes) -> int:
    if not _LENGTH.match(line):
        raise Malformed("the server's reply is not valid RESP: not a length")
    return int(line)


def _integer(line: bytes) -> int:
    number = int(line) if _INT.match(line) else _INT_MAX + 1
    if not _INT_MIN <= number <= _INT_MAX:
        raise Malformed("the server's reply is not valid RESP: not a number of 64 bits")
    return number
