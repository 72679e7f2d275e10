"""New calls, and records of invocations that were never queued, as parts of a unit of work.

Promises: one that cannot be stored harms no other; an idempotency key stands for one call.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from guesthouse.errors import GuesthouseError
from guesthouse.queue.attaching import attach
from guesthouse.queue.call import Record
from guesthouse.queue.queue import AnotherRequest
from guesthouse.queue.rows import Code, Ending, NewCall
from guesthouse.queue.unit import Move, Unit, Value, listed, parts
from guesthouse.storage.errors import StorageError

_CALL_COLUMNS: Final = 13
_RECORD_COLUMNS: Final = 11

Known = dict[bytes, tuple[bytes, str]]
"""Digest of the request, and the id of the call, by idempotency key."""


def insert_calls(unit: Unit, calls: Sequence[NewCall], keep_keys_ms: int) -> list[str | GuesthouseError]:
    """Stores calls; the id of each, or of the earlier one with its idempotency key, or why it cannot be.

    Those that are not delayed get the unit's turn as their place: it does not fall when the clock does.
    """
    known = _known_keys(unit, calls)
    fresh: dict[str, NewCall] = {}
    results: list[str | GuesthouseError] = []
    for new in calls:
        result = _earlier(known, new)
        if result is None and new.call.id in fresh:
            result = _exists(new.call.id)
        if result is None:
            result = new.call.id
            fresh[result] = new
            if new.idempotency is not None:
                known[new.idempotency.key] = (new.idempotency.request, result)
        results.append(result)
    turn_ms, parents = unit.turn_ms, _parents(unit, calls)
    taken = _insert_invocations(unit, list(fresh.values()), turn_ms, parents)
    stored = [new for new in fresh.values() if new.call.id not in taken]
    _insert_requests(unit, stored)
    _insert_keys(unit, stored, keep_keys_ms)
    for new, result in zip(calls, results, strict=True):
        owner = parents.get(new.call.parent or "") if new.call.promise else None
        if owner is not None and isinstance(result, str) and result != new.call.id:
            attach(unit, result, owner, new.call.promise)
    return [_exists(result) if isinstance(result, str) and result in taken else result for result in results]


def another_request(id: str) -> AnotherRequest:
    """What is told of a key that was used for another request."""
    return AnotherRequest(f"the Idempotency-Key belongs to the call {id}, which was another request")


def _exists(id: str) -> GuesthouseError:
    return StorageError(f"there is an invocation {id} already")


def _earlier(known: Known, new: NewCall) -> str | GuesthouseError | None:
    """What a repeated idempotency key comes to."""
    if new.idempotency is None or new.idempotency.key not in known:
        return None
    request, call_id = known[new.idempotency.key]
    return call_id if request == new.idempotency.request else another_request(call_id)


def _known_keys(unit: Unit, calls: Sequence[NewCall]) -> Known:
    keys: list[tuple[Value, ...]] = [(new.idempotency.key,) for new in calls if new.idempotency is not None]
    known = {}
    for values, marks in parts(keys, 1):
        query = f"SELECT key, request, id FROM idempotency WHERE key IN (VALUES {marks}) AND expires_ms > ?"
        for key, request, call_id in unit.rows(query, [*values, unit.now_ms]):
            known[key] = (request, call_id)
    return known


def _parents(unit: Unit, calls: Sequence[NewCall]) -> dict[str, int]:
    """The rows of those durable invocations, going on, of whose futures calls complete one."""
    ids = {new.call.parent for new in calls if new.call.promise and new.call.parent}
    if not ids:
        return {}
    query = "SELECT id, seq FROM invocations WHERE id IN (SELECT value FROM json_each(?)) AND durable AND state < 6"
    return dict(unit.rows(query, (listed(list(ids)),)))


def _insert_invocations(unit: Unit, calls: Sequence[NewCall], turn_ms: int, parents: Mapping[str, int]) -> set[str]:
    """Inserts calls; the ids that existed before."""
    written: list[tuple[Value, ...]] = []
    moves = {}
    for new in calls:
        call = new.call
        delayed = call.due_ms > unit.now_ms
        code = Code.DELAYED if delayed else Code.READY
        place = (
            call.id,
            call.namespace,
            call.name,
            int(code),
            call.queued_ms,
            call.due_ms if delayed else unit.turn_ms,
        )
        tie = (parents.get(call.parent or ""), call.promise) if call.promise else (None, 0)
        exclusive = call.exclusive and call.key is not None
        written.append((*place, call.key, new.size, new.about, int(call.durable), int(exclusive), *tie))
        moves[call.id] = Move(new.function, None, code, new.size)
    taken: set[str] = set()
    for values, marks in parts(written, _CALL_COLUMNS):
        unit.execute(
            "INSERT INTO invocations (id, namespace, name, mode, state, created_ms, due_ms, key, attempts, earlier,"
            " strikes, fence, size, kept, about, durable, exclusive, parent, promise) SELECT column1, column2, column3,"
            " CASE WHEN column10 THEN 'durable' ELSE 'async' END, column4, column5, column6, column7, 0, 0, 0, 0, column8, 0,"
            f" column9, column10, column11, column12, column13 FROM (VALUES {marks}) WHERE column1 IS NOT NULL"
            " ON CONFLICT (id) DO NOTHING",
            values,
        )
        ids = [found for found in values[::_CALL_COLUMNS] if found is not None]
        stored = unit.connection.changes()
        if stored != len(ids):
            taken |= _older(unit, ids, unit.connection.last_insert_rowid() - stored)
    unit.moves += [move for call_id, move in moves.items() if call_id not in taken]
    return taken


def _older(unit: Unit, ids: Iterable[Value], last: int) -> set[str]:
    """Those of `ids` that the statement before did not insert: rows get ascending numbers."""
    query = "SELECT id FROM invocations WHERE id IN (SELECT value FROM json_each(?)) AND seq <= ?"
    return {found for (found,) in unit.rows(query, (listed(list(ids)), last))}


def _insert_requests(unit: Unit, calls: Sequence[NewCall]) -> None:
    for values, marks in parts([(new.call.id, new.request, new.call.body) for new in calls], 3):
        unit.execute(
            f"INSERT INTO requests (seq, about, body) SELECT i.seq, column2, column3 FROM (VALUES {marks})"
            " CROSS JOIN invocations AS i ON i.id = column1",
            values,
        )


def _insert_keys(unit: Unit, calls: Sequence[NewCall], keep_ms: int) -> None:
    written: list[tuple[Value, ...]] = [
        (new.idempotency.key, new.idempotency.request, new.call.id, unit.now_ms + keep_ms)
        for new in calls
        if new.idempotency is not None
    ]
    for values, marks in parts(written, 4):
        unit.execute(
            "INSERT OR REPLACE INTO idempotency (key, request, id, expires_ms) SELECT column1, column2, column3, column4"
            f" FROM (VALUES {marks}) WHERE column1 IS NOT NULL",
            values,
        )


# -- records


def insert_records(unit: Unit, ended: Sequence[tuple[Record, Ending]]) -> None:
    """Inserts records and their answers; one of an id that there is already changes nothing."""
    waiting: dict[str, tuple[Record, Ending]] = {}
    for record, end in ended:
        waiting.setdefault(record.id, (record, end))
    for values, marks in parts([_record_row(unit, *of) for of in waiting.values()], _RECORD_COLUMNS):
        found = unit.rows(
            "INSERT INTO invocations (id, namespace, name, mode, state, created_ms, due_ms, started_ms, ended_ms, attempts,"
            " earlier, strikes, fence, size, kept, about) SELECT column1, column2, column3, column4, column5, column6, 0,"
            f" column7, column8, column9, 0, 0, 0, 0, column10, column11 FROM (VALUES {marks})"
            " WHERE column1 IS NOT NULL ON CONFLICT (id) DO NOTHING RETURNING seq, id",
            values,
        )
        outputs: list[tuple[Value, ...]] = []
        for seq, call_id in found:
            record, end = waiting[call_id]
            unit.moves.append(Move((record.namespace, record.name), None, end.code, 0, end.kept))
            if end.output is not None:
                outputs.append((seq, *end.output))
        insert_outputs(unit, outputs)


def _record_row(unit: Unit, record: Record, end: Ending) -> tuple[Value, ...]:
    began = record.started_ms if record.queued_ms is None else record.queued_ms
    times = (unit.now_ms if began is None else began, record.started_ms, record.ended_ms or unit.now_ms)
    named = (record.id, record.namespace, record.name, record.mode, int(end.code))
    return (*named, *times, record.attempts, end.kept, end.about)


def insert_outputs(unit: Unit, outputs: Sequence[tuple[Value, ...]]) -> None:
    """Stores answers: row number, status, headers and body of each."""
    for values, marks in parts(outputs, 4):
        unit.execute(
            "INSERT OR REPLACE INTO outputs (seq, status, headers, body) SELECT column1, column2, column3, column4"
            f" FROM (VALUES {marks}) WHERE column1 IS NOT NULL",
            values,
        )
