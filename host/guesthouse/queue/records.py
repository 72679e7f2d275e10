"""Reading what is known of invocations: one, or a page of a list; and clearing away what is past its time.

Promises: a page that follows another repeats nothing of it and leaves nothing out, whatever is written meanwhile.
"""

from __future__ import annotations

import base64
import binascii
import struct
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

import orjson

from guesthouse.errors import BadRequest
from guesthouse.queue.call import Output, QueuedCall, Record
from guesthouse.queue.counts import Counts
from guesthouse.queue.inserting import another_request
from guesthouse.queue.queue import FunctionKey, Page, UnknownInvocation, Waiting
from guesthouse.queue.rows import LATEST_MS, RECORD_COLUMNS, WORDS, Code, read_call, read_output, read_record
from guesthouse.storage.database import Connection, rows
from guesthouse.storage.errors import StorageError

MOST_OF_A_PAGE: Final = 1_000
_PLACE: Final = struct.Struct(">qq")
_INDEXES: Final = {
    "running": "invocations_running",
    "queued": "invocations_waiting",
    "suspended": "invocations_waiting",
}
"""Of the states in which few invocations are, or as many as the queue may hold; they are put in order afterwards."""

_OF_INDEX: Final = {"invocations_waiting": ("state < 4",), "invocations_by_state": ("state IN (5, 7, 8, 9, 10)",)}
"""What SQLite has to be told for it to see that an index holds all rows that are asked for."""


def find(connection: Connection, id: str) -> Record:
    """What is known of an invocation."""
    found = rows(connection, f"SELECT {RECORD_COLUMNS} FROM invocations WHERE id = ?", (id,))
    if not found:
        raise UnknownInvocation(f"there is no invocation {id}")
    return read_record(found[0])


def begun(connection: Connection, function: FunctionKey) -> int:
    """How many durable invocations of a function have begun on a version of it and go on."""
    query = (
        "SELECT (SELECT count(*) FROM invocations INDEXED BY invocations_pinned"
        " WHERE version IS NOT NULL AND state < 6 AND state < 5 AND namespace = ?1 AND name = ?2)"
        " + (SELECT count(*) FROM invocations INDEXED BY invocations_running"
        " WHERE state = 4 AND namespace = ?1 AND name = ?2 AND durable AND version IS NULL)"
    )
    return int(rows(connection, query, function)[0][0])


def several(connection: Connection, ids: Sequence[str]) -> list[Record]:
    """What is known of some invocations, as far as anything is that can be read."""
    query = f"SELECT {RECORD_COLUMNS} FROM invocations WHERE id IN (SELECT value FROM json_each(?))"
    found: list[Record] = []
    for row in rows(connection, query, (orjson.dumps(list(ids)).decode(),)):
        with suppress(StorageError):
            found.append(read_record(row))
    return found


def pinned(connection: Connection, function: FunctionKey, dead: bool) -> frozenset[int]:
    """The versions of a function that invocations have to end on which go on, or may: dead letters."""
    where = "version IS NOT NULL AND state < 6 AND namespace = ?1 AND name = ?2"
    index = "FROM invocations INDEXED BY invocations_pinned"
    query = (  # from each version to the next one, however many invocations have it
        f"WITH RECURSIVE found (v) AS (SELECT min(version) {index} WHERE {where} UNION ALL"
        f" SELECT (SELECT min(version) {index} WHERE {where} AND version > v) FROM found WHERE v IS NOT NULL)"
        f" SELECT v, (SELECT min(state) {index} WHERE {where} AND version = v) FROM found WHERE v IS NOT NULL"
    )
    found = rows(connection, query, function)
    return frozenset(version for version, least in found if dead or least < Code.DEAD)


def output(connection: Connection, id: str) -> Output | None:
    """The answer of an invocation, if it was kept."""
    query = "SELECT o.status, o.headers, o.body FROM invocations AS i LEFT JOIN outputs AS o USING (seq) WHERE i.id = ?"
    found = rows(connection, query, (id,))
    if not found:
        raise UnknownInvocation(f"there is no invocation {id}")
    return None if found[0][0] is None else read_output(found[0])


def request(connection: Connection, id: str) -> QueuedCall:
    """The request of a call that has one."""
    query = (
        "SELECT i.namespace, i.name, i.key, i.created_ms, r.about, r.body FROM invocations AS i JOIN requests AS r"
        " USING (seq) WHERE i.id = ?"
    )
    found = rows(connection, query, (id,))
    if not found:
        raise UnknownInvocation(f"there is no request of {id}")
    namespace, name, key, queued_ms, about, body = found[0]
    return read_call(id, (namespace, name), key, queued_ms, about, body)


def keyed(connection: Connection, key: bytes, digest: bytes, now_ms: int) -> str | None:
    """The id of the call with an idempotency key; raises `AnotherRequest`."""
    found = rows(connection, "SELECT request, id FROM idempotency WHERE key = ? AND expires_ms > ?", (key, now_ms))
    if not found:
        return None
    stored, call_id = found[0]
    if stored != digest:
        raise another_request(str(call_id))
    return str(call_id)


def page(connection: Connection, wanted: Page) -> tuple[list[Record], str | None]:
    """Records, newest first, and where the next page begins."""
    if not 1 <= wanted.most <= MOST_OF_A_PAGE:
        raise BadRequest(f"a page has 1 to {MOST_OF_A_PAGE} records, not {wanted.most}")
    codes = _codes(wanted.state)
    before = (LATEST_MS, LATEST_MS) if wanted.after is None else _place_of(wanted.after)
    found: list[tuple[Any, ...]] = []
    for part in codes:
        conditions, values = _conditions(wanted, part, before)
        query = (
            f"SELECT {RECORD_COLUMNS} FROM invocations INDEXED BY {_index(wanted, part)} WHERE {' AND '.join(conditions)}"
            " ORDER BY created_ms DESC, seq DESC LIMIT ?"
        )
        found += rows(connection, query, (*values, wanted.most + 1))
    found.sort(key=lambda row: (row[6], row[0]), reverse=True)
    records = [read_record(row) for row in found[: wanted.most]]
    last = found[wanted.most - 1] if len(found) > wanted.most else None
    return records, None if last is None else _written(last[6], last[0])


def waiting(connection: Connection, functions: Sequence[FunctionKey], now_ms: int) -> dict[FunctionKey, Any]:
    """When the oldest ready and the next delayed call of each function became, or becomes, due."""

    future = "AND i.due_ms > ?"

    def first(code: Code, later: str = "") -> str:
        return (
            "(SELECT due_ms FROM invocations AS i INDEXED BY invocations_waiting WHERE i.state < 4"
            f" AND i.namespace = f.value ->> 0 AND i.name = f.value ->> 1 AND i.state = {code:d} {later}"
            " ORDER BY due_ms LIMIT 1)"
        )

    query = (
        f"SELECT f.value ->> 0, f.value ->> 1, {first(Code.READY)}, {first(Code.STRUCK)},"
        f" {first(Code.DELAYED)}, {first(Code.SUSPENDED)}, {first(Code.DELAYED, future)}, {first(Code.SUSPENDED, future)}"
        " FROM json_each(?) AS f"
    )
    found = rows(connection, query, (now_ms, now_ms, orjson.dumps(functions).decode()))
    times = {}
    for namespace, name, ready, struck, *timed in found:
        due = [min(moment, now_ms) for moment in (ready, struck) if moment is not None]
        due += [moment for moment in timed[:2] if moment is not None and moment <= now_ms]
        next_ = [moment for moment in timed[2:] if moment is not None and moment < LATEST_MS]
        times[namespace, name] = (min(due, default=None), min(next_, default=None))
    return times


def merged(counts: Counts, times: dict[FunctionKey, tuple[int | None, int | None]]) -> dict[FunctionKey, Waiting]:
    """What waits, from the counts and the times."""
    return {
        function: Waiting(
            of.queued,
            of.running,
            *times.get(function, (None, None)),
            dead=of.dead,
            struck=of.codes[Code.STRUCK],
            suspended=of.suspended,
        )
        for function, of in counts
        if any(of.codes)
    }


def _codes(state: str | None) -> list[tuple[Code, ...]]:
    """The groups of states to look for, each in one index."""
    if state is None:
        return [()]
    found = tuple(code for code in Code if WORDS[code] == state)
    if not found:
        raise BadRequest(f"{state!r:.40} is none of {', '.join(dict.fromkeys(WORDS.values()))}")
    return [found] if found[0] < Code.RUNNING else [(code,) for code in found]


def _index(wanted: Page, codes: tuple[Code, ...]) -> str:
    if codes and codes[0] <= Code.RUNNING:
        return _INDEXES[WORDS[codes[0]]]
    if wanted.function is not None:
        return "invocations_by_function"
    return "invocations_by_state" if codes and codes[0] != Code.SUCCEEDED else "invocations_by_time"


def _conditions(wanted: Page, codes: tuple[Code, ...], before: tuple[int, int]) -> tuple[list[str], list[str | int]]:
    conditions = ["created_ms <= ?", "(created_ms, seq) < (?, ?)"]
    values: list[str | int] = [before[0], *before]
    if codes:
        which = ", ".join(str(int(code)) for code in codes)
        conditions.append(f"state = {which}" if len(codes) == 1 else f"state IN ({which})")
        conditions += _OF_INDEX.get(_index(wanted, codes), ())
    if wanted.function is not None:
        conditions.append("namespace = ? AND name = ?")
        values += wanted.function
    if wanted.namespace is not None:
        conditions.append("namespace = ?")
        values.append(wanted.namespace)
    if wanted.since_ms is not None:
        conditions.append("created_ms >= ?")
        values.append(max(0, min(wanted.since_ms, LATEST_MS)))
    return conditions, values


def _written(created_ms: int, seq: int) -> str:
    return base64.urlsafe_b64encode(_PLACE.pack(created_ms, seq)).decode().rstrip("=")


def _place_of(after: str) -> tuple[int, int]:
    try:
        created_ms, seq = _PLACE.unpack(base64.b64decode(after.encode("ascii") + b"==", b"-_", validate=True))
    except (ValueError, binascii.Error, struct.error):
        raise BadRequest("after is no place in a list: give what the page before said") from None
    if not (0 <= created_ms <= LATEST_MS and seq >= 0 and _written(created_ms, seq) == after):
        raise BadRequest("after is no place in a list: give what the page before said")
    return created_ms, seq
