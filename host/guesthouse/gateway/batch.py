"""`WriteBatch`: answers that are ready in the same turn of the loop leave together.

A write to a socket wakes its reader up, which on a busy server costs more than all the rest of the write; readers that
are awake already cost nothing to tell.  With 32 connections this is worth half as many requests again
(`python -m benchmarks http`).  A server with one request at a time is not kept waiting: its answers leave at once.

Promises: answers of one connection leave in order; one waits for others no longer than `HOLD_NS` and the request that is
at hand.  Must not know what it sends.
"""

from __future__ import annotations

import asyncio
from typing import Final

from guesthouse.clock import SYSTEM_CLOCK

HOLD_NS: Final = 500_000
"""How long an answer may wait for others: a slice of a guest, which it may have to wait for anyway."""
MOST: Final = 32
"""Answers that are held at most, and so, times `exchange.ONE_WRITE`, the memory they can take."""
ALONE: Final = 16
"""Answers that leave at once after a turn that had but one: holding one back costs a turn of the loop."""


CLOSE, END = b"close", b"end"
"""What may stand in the place of an answer, told apart by identity: closing the connection, and only our side of it."""


class WriteBatch:
    """The held answers of all connections of one loop."""

    __slots__ = ("_alone", "_flushing", "_held", "_since", "_turn")

    def __init__(self) -> None:
        self._held: list[tuple[asyncio.Transport, bytes]] = []
        self._since = 0
        self._turn = 0
        self._alone = 0
        self._flushing = False

    def hold(self, loop: asyncio.AbstractEventLoop, transport: asyncio.Transport, data: bytes) -> None:
        """Sends `data` before the loop's next turn."""
        if not self._held:
            if self._alone and not self._flushing:
                self._alone -= 1
                transport.write(data)
                return
            loop.call_soon(self._end_turn)
            self._since = SYSTEM_CLOCK.monotonic_ns()
            self._held.append((transport, data))
            return
        self._held.append((transport, data))
        if len(self._held) >= MOST or SYSTEM_CLOCK.monotonic_ns() - self._since > HOLD_NS:
            self.flush()

    def send(self, transport: asyncio.Transport, data: bytes) -> None:
        """Sends `data`, or does what `CLOSE` and `END` say, now, behind what is held."""
        self._held.append((transport, data))
        self.flush()

    def flush(self) -> None:
        """Sends everything that is held."""
        if self._flushing:  # a write made room, and so the next request was answered: its turn comes below
            return
        self._flushing = True
        try:
            while self._held:
                held, self._held = self._held, []
                self._turn += len(held)
                for transport, data in held:
                    _do(transport, data)
        finally:
            self._flushing = False

    def _end_turn(self) -> None:
        self.flush()
        if self._turn == 1:
            self._alone = ALONE
        self._turn = 0


def _do(transport: asyncio.Transport, data: bytes) -> None:
    if transport.is_closing():
        return  # of which nobody has been told yet
    if data is CLOSE:
        transport.close()
    elif data is not END:
        transport.write(data)
    elif transport.can_write_eof():
        transport.write_eof()
