"""A server's replies as the WIT variant `value`, and `ResponseStream`, which hands out an array element by element.

Promises: every kind of reply has a case of its own; what a stream has handed out it does not keep.  Must not know where
replies come from.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

from guesthouse.interfaces.bytes import Buffer
from guesthouse.net.resp import ErrorReply, Reply, SimpleString

BUFFERED_FROM = 64 * 1024
"""From this size on a string is answered as a buffer: a guest that only passes it on never copies it."""

Value: TypeAlias = "tuple[str, object]"


class ResponseStream:
    """`resource response-stream` of the newer generation: the elements of an array, or the replies to a pipe."""

    def __init__(self, replies: Iterable[Reply]) -> None:
        self._replies = deque(replies)

    def next(self) -> Value | None:
        """The next element; `None` after the last."""
        return self.value(self._replies.popleft()) if self._replies else None

    def close(self) -> None:
        """Forgets what nobody has asked for."""
        self._replies.clear()

    def packed(self) -> list[Any]:
        """As a journal can hold it."""
        return [_packed(reply) for reply in self._replies]

    @classmethod
    def unpacked(cls, plain: Sequence[Any]) -> ResponseStream:
        """The stream that was packed."""
        return cls(_unpacked(reply) for reply in plain)

    @classmethod
    def value(cls, reply: Reply) -> Value:
        """`variant value`."""
        if reply is None:
            return "nil", None
        if isinstance(reply, bytes):
            return "data", cls._data(reply)
        if isinstance(reply, int):
            return "int", reply
        if isinstance(reply, list):
            return "bulk", cls(reply)
        return cls._status(reply)

    @classmethod
    def _status(cls, reply: SimpleString | ErrorReply) -> Value:
        text = reply.text.decode("utf-8", "replace")
        if isinstance(reply, ErrorReply):
            return "simple-error", text
        return (cls._ok, None) if text == "OK" else ("simple-string", text)

    _ok = "ok"

    @staticmethod
    def _data(text: bytes) -> object:
        return ("buffer", Buffer(text)) if len(text) >= BUFFERED_FROM else ("value", text)


class OldResponseStream(ResponseStream):
    """The same of the older generation, which has plain bytes and another word for `+OK`."""

    _ok = "okay"

    @staticmethod
    def _data(text: bytes) -> object:
        return text


def _packed(reply: Reply) -> Any:
    if isinstance(reply, list):
        return [_packed(each) for each in reply]
    if isinstance(reply, SimpleString | ErrorReply):
        return {"error" if isinstance(reply, ErrorReply) else "simple": reply.text}
    return reply


def _unpacked(plain: Any) -> Reply:
    if isinstance(plain, list):
        return [_unpacked(each) for each in plain]
    if isinstance(plain, dict):
        ((kind, text),) = plain.items()
        if not isinstance(text, bytes):
            raise TypeError("a reply's text is bytes")
        return ErrorReply(text) if kind == "error" else SimpleString(text)
    if plain is None or type(plain) in (int, bytes):
        reply: Reply = plain
        return reply
    raise TypeError(f"no reply is a {type(plain).__name__}")
