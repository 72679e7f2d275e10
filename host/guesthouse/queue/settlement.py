"""`Settlement`: what becomes of a call that is leased."""

from __future__ import annotations

from typing import Final, NamedTuple

from guesthouse.queue.call import Callback, Completion, Lease, Wait
from guesthouse.queue.rows import Code, Ending, NewCall, packed

_LOST: Final = Completion("failed", packed({"message": "it has ended", "metadata": []}))


class Settlement(NamedTuple):
    """What becomes of a call that is leased."""

    lease: Lease
    code: Code
    about: bytes | None = None
    due_ms: int | None = None
    started_ms: int | None = None
    ended_ms: int | None = None
    ending: Ending | None = None
    follows: Callback | NewCall | None = None
    gives_back: bool = False
    """It did not begin."""
    completion: Completion = _LOST
    """What those are told who wait for its end."""
    segment: bytes = b""
    """The last of its journal; empty: none is added."""
    wait: Wait | None = None
    """What it waits for, where it is suspended."""
    version: int | None = None
    """Of the function, to be remembered if the segment is the first one."""

    @property
    def id(self) -> str:
        return self.lease.call.id
