"""`Observer`: who is told of what instances do, for metrics and the host's log."""

from __future__ import annotations

from typing import Any

from guesthouse.engine.linker import Import


class Observer:
    """What is told of the host calls of an instance; this one ignores them."""

    def host_call(self, slot: Import, outcome: str, context: Any) -> None:
        """A host call was answered; outcome is ok or trap, the context is that of its instance."""

    def host_error(self, slot: Import, error: BaseException) -> None:
        """A host function raised what is no `GuesthouseError`: a bug of its author."""

    def close_error(self, error: BaseException) -> None:
        """The `close()` of a resource that the guest had left raised: a bug of its author."""
