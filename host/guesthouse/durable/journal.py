"""`Journal`: what one invocation was told, in order: replayed from its beginning to its end, and then recorded."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class Journal:
    """The journal of one run of an invocation."""

    def observe(self, what: str, read: Callable[[], T]) -> T:
        """What `read` returns, recorded; or what was recorded."""
        return read()
