"""What guests hold and are told: promises, and how something did not succeed.

Promises: what is written of a promise is all that there is to it, so that another run can be given it; texts of failures are
bounded, whoever wrote them.  Knows nothing of how anything ends.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

import orjson

from guesthouse.queue.call import Completion

FAILED: Final = "failed"
CANCELLED: Final = "cancelled"
TIMED_OUT: Final = "timed-out"
AWAKEABLE: Final = "sign_1"
"""How ids of awakeables begin, and no invocation's."""
METADATA_PREFIX: Final = "guesthouse-error-"
"""Response headers that begin so are the metadata of a function's failure, under the rest of their names."""
MOST_MESSAGE_BYTES: Final = 16 * 1024
"""Of a failure's text: a few pages, and not a document that travels up a tree of calls."""
MOST_METADATA: Final = 32
MOST_METADATA_BYTES: Final = 8 * 1024
"""Of all names and values together: as much as servers take of headers."""


class Failure(NamedTuple):
    """WIT `failure`."""

    kind: str
    message: str
    code: int = 0
    """HTTP status with which a called function failed; 0: none."""
    metadata: Sequence[tuple[str, str]] = ()


class Promise:
    """WIT resource `promise`: the number under which something ends once, or the time when it does."""

    __slots__ = ("due_ms", "id", "number")

    def __init__(self, number: int, id: str = "", due_ms: int | None = None) -> None:
        self.number = number
        """Of its invocation's promises."""
        self.id = id
        """Of a call, the invocation's; of an awakeable, what completes it."""
        self.due_ms = due_ms
        """Of a timer: milliseconds since 1970-01-01 UTC."""

    @property
    def is_call(self) -> bool:
        """Whether it is of a call, which can be cancelled."""
        return bool(self.id) and not self.id.startswith(AWAKEABLE)

    def packed(self) -> list[Any]:
        """As a journal can hold it."""
        return [self.number, self.id, self.due_ms]

    @classmethod
    def unpacked(cls, plain: Sequence[Any]) -> Promise:
        """The promise that was packed."""
        return cls(*plain)

    def __repr__(self) -> str:
        return f"Promise({self.number}, {self.id!r}, {self.due_ms})"


def failed(message: str, code: int = 0, metadata: Sequence[tuple[str, str]] = ()) -> Failure:
    """Something that failed for good."""
    return Failure(FAILED, message, code, metadata)


def bounded(text: str) -> str:
    """A text of `MOST_MESSAGE_BYTES` at most, which ends with … where it was longer."""
    data = text.encode("utf-8", "replace")
    if len(data) <= MOST_MESSAGE_BYTES:
        return data.decode()
    return data[: MOST_MESSAGE_BYTES - 3].decode("utf-8", "ignore") + "…"


def bounded_pairs(pairs: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """The first of the pairs, as many as the bounds of metadata allow."""
    kept: list[tuple[str, str]] = []
    left = MOST_METADATA_BYTES
    for name, value in pairs:
        left -= len(name.encode("utf-8", "replace")) + len(value.encode("utf-8", "replace"))
        if left < 0 or len(kept) == MOST_METADATA:
            break
        kept.append((name, value))
    return kept


def completion_of_failure(failure: Failure) -> Completion:
    """As it is kept for whoever waits."""
    value = {"message": bounded(failure.message), "metadata": bounded_pairs(failure.metadata)}
    return Completion("cancelled" if failure.kind == CANCELLED else "failed", orjson.dumps(value), failure.code)


def failure_of(completion: Completion) -> Failure:
    """How something did not succeed, as it was kept; a value that is none says so and no more."""
    kind = CANCELLED if completion.outcome == "cancelled" else FAILED
    try:
        found = orjson.loads(completion.value)
        message = found["message"]
        metadata = [(name, value) for name, value in found["metadata"]]
        texts = [message, *(text for pair in metadata for text in pair)]
    except (ValueError, TypeError, KeyError):
        return Failure(kind, completion.value[:MOST_MESSAGE_BYTES].decode("utf-8", "ignore"), completion.code)
    if not all(isinstance(text, str) for text in texts):
        return Failure(kind, "it failed", completion.code)
    return Failure(kind, message, completion.code, metadata)
