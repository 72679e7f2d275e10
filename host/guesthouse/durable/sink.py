"""`Sink`: where the journal of one invocation is kept; whoever runs the invocation provides it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol


class Sink(Protocol):
    """The end of one stored journal, for its one writer."""

    async def append(self, segment: bytes) -> None:
        """Adds records; on return they survive a crash.  Raises `Fenced` where somebody else runs the invocation now."""

    def together(
        self, segment_of: Callable[[Any], bytes], done: Sequence[Any], committed: Callable[[Any], None]
    ) -> AbstractContextManager[None]:
        """What is written to the host's own database inside of this, is written in one transaction with the journal.

        Each unit of work is followed, in its transaction, by the segment that `segment_of` makes of its result, on the
        writer's thread; `committed` is told of the result, on the loop, once that is durable and before whoever asked for the
        unit is.  The first units are not run but answered from `done`, as far as that goes: the results of units that an
        earlier run has had committed, before it could record what they came to; nothing is stored for them again.
        A writer that was superseded has its unit rolled back, and leaving the context then raises `Fenced`, whatever became
        of the error in between; so does any other error of storing the segment.
        """
