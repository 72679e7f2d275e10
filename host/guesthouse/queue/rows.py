"""How calls, records, outputs and callbacks are written into rows and read back.

Promises: what is read back equals what was written; a row that this program cannot have written raises `StorageError`.
Knows no SQL.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from enum import IntEnum
from typing import Any, Final, NamedTuple

import orjson

from guesthouse.errors import BadRequest
from guesthouse.queue.call import Callback, Completion, Idempotency, Output, Pairs, QueuedCall, Record, State
from guesthouse.storage.errors import StorageError

LATEST_MS: Final = 1 << 53
"""No time of day is later: what other programs read as a float is still exact."""
ROW_BYTES: Final = 256
"""What a row is taken to cost besides its texts and bodies: keys, entries of indexes, space that pages leave."""


class Code(IntEnum):
    """The state of an invocation as a row has it.

    Those from `READY` to before `RUNNING` are queued, those up to `RUNNING` live, those from `SUCCEEDED` on are over.
    """

    SUSPENDED = -1
    """Waits for completions, or for its time, without anybody who runs it."""
    READY = 0
    STRUCK = 1
    """Ready, but a process died while it ran."""
    DELAYED = 2
    PARKED = 3
    """Behind another call with its key."""
    RUNNING = 4
    DEAD = 5
    """A dead letter, which has its request."""
    SUCCEEDED = 6
    FAILED = 7
    BURIED = 8
    """Was a dead letter, whose request was dropped."""
    CANCELLED = 9
    LOST = 10


WORDS: Final[Mapping[int, State]] = {
    Code.SUSPENDED: "suspended",
    Code.READY: "queued",
    Code.STRUCK: "queued",
    Code.DELAYED: "queued",
    Code.PARKED: "queued",
    Code.RUNNING: "running",
    Code.DEAD: "dead",
    Code.SUCCEEDED: "succeeded",
    Code.FAILED: "failed",
    Code.BURIED: "dead",
    Code.CANCELLED: "cancelled",
    Code.LOST: "lost",
}
"""What each code is called outside."""
ENDED: Final[Mapping[str, Code]] = {
    "succeeded": Code.SUCCEEDED,
    "failed": Code.FAILED,
    "dead": Code.BURIED,
    "cancelled": Code.CANCELLED,
    "lost": Code.LOST,
}
"""The codes of invocations that have ended and keep no request."""
TIMED: Final = frozenset({Code.DELAYED, Code.SUSPENDED})
"""The states in which a row's due time is one that it waits for."""
OUTCOMES: Final = ("ok", "failed", "cancelled")
"""Of completions, as rows number them."""
MODES: Final = frozenset({"web", "spawn", "async", "call", "durable"})


class NewCall(NamedTuple):
    """A call as it is inserted."""

    call: QueuedCall
    about: bytes
    """JSON: what its record says of it from the beginning."""
    request: bytes
    """JSON: its request, without the body."""
    size: int

    @property
    def function(self) -> tuple[str, str]:
        return self.call.namespace, self.call.name

    @property
    def idempotency(self) -> Idempotency | None:
        return self.call.idempotency


class Ending(NamedTuple):
    """A record and an output as they are written."""

    code: Code
    about: bytes
    kept: int
    output: tuple[int, bytes, bytes] | None


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    default: Any


def _optional(kind: type[QueuedCall | Record], *columns: str) -> tuple[_Field, ...]:
    """The fields of a class that stand in JSON: all but those that are columns."""
    return tuple(
        _Field(field.name, field.default_factory() if field.default_factory is not MISSING else field.default)
        for field in fields(kind)
        if field.name not in columns
    )


_REQUEST: Final = _optional(QueuedCall, "id", "namespace", "name", "body", "key", "queued_ms", "idempotency")
_ABOUT: Final = _optional(
    Record, "id", "namespace", "name", "mode", "state", "started_ms", "ended_ms", "attempts", "due_ms"
)


def new_call(call: QueuedCall) -> NewCall:
    """A call as it is inserted; raises `BadRequest` for one that cannot be stored."""
    for what, moment in (("queued_ms", call.queued_ms), ("due_ms", call.due_ms)):
        if not 0 <= moment < LATEST_MS:
            raise BadRequest(f"{what} is no time of day: {moment}")
    try:
        request = orjson.dumps({f.name: value for f in _REQUEST if (value := getattr(call, f.name)) != f.default})
        about = orjson.dumps(
            {
                "queued_ms": call.queued_ms,
                **{name: value for name in ("parent", "root", "depth", "call_id") if (value := getattr(call, name))},
            }
        )
        "".join((call.id, call.namespace, call.name, call.key or "")).encode()
    except (orjson.JSONEncodeError, UnicodeEncodeError) as error:
        raise BadRequest(f"the call cannot be stored: {error}") from None
    return NewCall(call, about, request, ROW_BYTES + len(request) + len(call.body))


def read_call(
    id: str, function: tuple[str, str], key: str | None, queued_ms: int, request: Any, body: Any
) -> QueuedCall:
    """The call of a row."""
    try:
        found = {name: _OF_REQUEST[name](value) for name, value in orjson.loads(request).items()}
        namespace, name = function
        call = QueuedCall(
            id=id, namespace=namespace, name=name, key=key, queued_ms=queued_ms, body=bytes(body), **found
        )
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise StorageError(f"the stored request of {id} cannot be read: {error}") from error
    return call


def ending(record: Record, output: Output | None, *, dead: bool = False) -> Ending:
    """A record and its output as they are written; raises `StorageError` for one of an invocation that has not ended."""
    code = Code.DEAD if dead else ENDED.get(record.state)
    if code is None:
        raise StorageError(f"{record.state} is no state that an invocation ends in")
    about = about_of(record)
    written = None if output is None else (output.status, packed(output.headers), bytes(output.body))
    kept = ROW_BYTES + len(about) + (0 if written is None else ROW_BYTES + len(written[1]) + len(written[2]))
    return Ending(code, about, kept, written)


def completion_of(record: Record, output: Output | None) -> Completion:
    """What the parent of a call is told of its end, where nobody says it better."""
    if record.state == "succeeded":
        return Completion("ok", b"" if output is None else bytes(output.body), record.status)
    value = packed({"message": record.reason or record.result, "metadata": []})
    return Completion("cancelled" if record.state == "cancelled" else "failed", value, record.status)


def about_of(record: Record) -> bytes:
    """What stands of a record in JSON."""
    found: dict[str, Any] = {f.name: value for f in _ABOUT if (value := getattr(record, f.name)) != f.default}
    if "host_calls" in found:
        found["host_calls"] = dict(found["host_calls"])
    return packed(found)


def packed(value: Any) -> bytes:
    """JSON; what is no Unicode in a text is replaced, so that no call is kept from ending by its note."""
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError:
        return orjson.dumps(_cleaned(value))


RECORD_COLUMNS: Final = (
    "seq, id, namespace, name, mode, state, created_ms, due_ms, started_ms, ended_ms, earlier + attempts + (state = -1),"
    " about"
)
"""A run that was suspended counts as one, though its next one is not a further attempt."""


def read_record(row: Sequence[Any]) -> Record:
    """The record of a row of `RECORD_COLUMNS`."""
    _, call_id, namespace, name, mode, code, _, due_ms, started_ms, ended_ms, attempts, about = row
    try:
        found = orjson.loads(about)
        if mode not in MODES or code not in WORDS:
            raise ValueError(f"mode {mode!r}, state {code}")
        return Record(
            id=call_id,
            namespace=namespace,
            name=name,
            mode=mode,
            state=WORDS[code],
            started_ms=started_ms,
            ended_ms=ended_ms,
            attempts=attempts,
            due_ms=due_ms if code in TIMED and due_ms < LATEST_MS else 0,
            **{f.name: _like(found.get(f.name, f.default), f) for f in _ABOUT},
        )
    except (ValueError, TypeError, AttributeError) as error:
        raise StorageError(f"the stored record of {call_id} cannot be read: {error}") from error


def read_output(row: Sequence[Any]) -> Output:
    """The output of a row of status, headers and body."""
    try:
        return Output(row[0], _pairs(orjson.loads(row[1])), row[2])
    except (ValueError, TypeError) as error:
        raise StorageError(f"a stored answer cannot be read: {error}") from error


def read_callback(row: Sequence[Any]) -> Callback:
    """The callback of a row of id, namespace, name, URL, headers, attempts and due time."""
    call_id, namespace, name, url, headers, attempts, due_ms = row
    try:
        return Callback(
            id=call_id,
            namespace=namespace,
            name=name,
            url=url,
            headers=_pairs(orjson.loads(headers)),
            attempts=attempts,
            due_ms=due_ms,
        )
    except (ValueError, TypeError) as error:
        raise StorageError(f"the stored callback of {call_id} cannot be read: {error}") from error


def _pairs(value: Any) -> Pairs:
    pairs = []
    for name, content in value:
        if type(name) is not str or type(content) is not str:
            raise ValueError("a pair of something else than texts")
        pairs.append((name, content))
    return pairs


def _text(value: Any) -> str:
    if type(value) is not str:
        raise ValueError("something else than a text")
    return value


def _whole(value: Any) -> int:
    if type(value) is not int:
        raise ValueError("something else than a whole number")
    return value


def _truth(value: Any) -> bool:
    if type(value) is not bool:
        raise ValueError("something else than true or false")
    return value


_OF_REQUEST: Final[Mapping[str, Callable[[Any], Any]]] = {
    **dict.fromkeys(("method", "path", "token_id", "callback", "call_id", "parent", "root"), _text),
    **dict.fromkeys(("attempts", "due_ms", "depth", "promise"), _whole),
    **dict.fromkeys(("durable", "exclusive"), _truth),
    **dict.fromkeys(("query", "headers"), _pairs),
}
"""How each field of `_REQUEST` is read, where it is not what it is by default."""


def _like(value: Any, field: _Field) -> Any:
    """`value`, if it is of the kind that a field of `Record` has."""
    if field.name == "host_calls":
        if not isinstance(value, Mapping) or not all(type(count) is int for count in value.values()):
            raise ValueError("host_calls are no counts")
        return value
    if value is None and field.default is None:
        return None
    return _text(value) if isinstance(field.default, str) or field.name == "parent" else _whole(value)


def _cleaned(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, Mapping):
        return {_cleaned(name): _cleaned(content) for name, content in value.items()}
    if isinstance(value, list | tuple):
        return [_cleaned(content) for content in value]
    return value
