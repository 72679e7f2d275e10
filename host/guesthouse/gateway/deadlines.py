"""`Deadlines`: what one connection may take its time for, checked on the watch's ticks (C1).

Promises: headers, bodies, idle connections, slow readers and refused clients that go on sending all end by a deadline;
no deadline counts time in which the host itself is the slow one.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from uvicorn.protocols.http.flow_control import FlowControl

from guesthouse.errors import GuesthouseError
from guesthouse.gateway.problems import RequestTimeout
from guesthouse.gateway.watch import Pace, Watch

if TYPE_CHECKING:
    from guesthouse.gateway.exchange import Exchange


class Deadlines:
    """The timed half of a protocol; times are on `watch.now`, and 0 where none runs."""

    transport: asyncio.Transport
    flow: FlowControl
    watch: Watch
    head_since = 0.0
    """Since when headers are waited for."""
    idle_since = 0.0
    """Since when nothing is waited for."""
    linger_since = 0.0
    """Since when what the client sends is thrown away."""
    receiving: Exchange | None = None
    """The request whose body arrives."""
    _body_pace: Pace | None = None
    _body_of: Exchange | None = None
    _body_seen = 0
    _write_pace: Pace | None = None
    _write_left = 0

    def refuse(self, error: GuesthouseError) -> None:
        """Answers nothing more on this connection but `error`."""
        raise NotImplementedError

    def close(self) -> None:
        """Closes the connection once everything is sent."""
        raise NotImplementedError

    def check(self, now: float, elapsed: float) -> None:
        """Called by the watch on each tick: ends what takes too long."""
        limits = self.watch.settings
        if self.linger_since:
            if now - self.linger_since > limits.linger_seconds:
                self.transport.abort()
        elif self.idle_since and now - self.idle_since > limits.keep_alive_seconds:
            self.close()
        elif self.head_since and now - self.head_since > limits.header_seconds:
            self.refuse(RequestTimeout("the headers did not arrive in time"))
        elif self.receiving is not None:
            self._check_body(self.receiving, elapsed)
        self._check_writing(elapsed)

    def _check_body(self, exchange: Exchange, elapsed: float) -> None:
        if self.flow.read_paused:
            return  # the function takes its time, not the client
        if self._body_pace is None or self._body_of is not exchange:
            limits = self.watch.settings
            self._body_pace = Pace(limits.body_bytes_per_second, limits.body_grace_seconds)
            self._body_of, self._body_seen = exchange, exchange.arrived
            return
        progress, self._body_seen = exchange.arrived - self._body_seen, exchange.arrived
        if not self._body_pace.keeps_up(progress, elapsed):
            self.refuse(RequestTimeout("the body arrives too slowly"))

    def _check_writing(self, elapsed: float) -> None:
        left = self.transport.get_write_buffer_size()
        if not left:
            self._write_pace = None
            return
        if self._write_pace is None:
            limits = self.watch.settings
            self._write_pace = Pace(limits.body_bytes_per_second, limits.write_stall_seconds)
            self._write_left = left
            return
        progress, self._write_left = self._write_left - left, left
        if not self._write_pace.keeps_up(max(0, progress), elapsed):
            self.transport.abort()
