"""`Collector`: a `ResponseSink` that keeps a streamed answer, for callers in the same process."""

from __future__ import annotations

from guesthouse.dispatch.outcome import Outcome
from guesthouse.interfaces.invocation import Headers


class Collector:
    """Keeps what a guest streams; the guest's own limit on its answer bounds it."""

    invocation_id = ""
    _pieces: list[bytes] | None = None

    async def start(self, status: int, headers: Headers) -> None:
        """Keeps status and headers."""
        self._status = status
        self._headers = headers
        self._pieces = []

    async def send(self, data: bytes) -> None:
        """Keeps bytes of the body."""
        assert self._pieces is not None, "the stream starts before it sends"
        self._pieces.append(data)

    async def left(self) -> None:
        """It has: this is where it was to go."""

    def complete(self, outcome: Outcome) -> Outcome:
        """The outcome, with what was streamed as its status, headers and body."""
        if self._pieces is not None:
            outcome.status, outcome.headers, outcome.body = self._status, self._headers, b"".join(self._pieces)
        return outcome
