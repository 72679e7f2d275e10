"""Taking calls, and taking them back, as parts of a unit of work.

Promises: calls are taken in the order in which they became due, one holder at a time.  A call whose key is busy is parked
behind the first one of its key, so that thousands of them cost those of other keys nothing; whenever one with a key leaves
the queue, the first that is parked behind it becomes ready.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from guesthouse.queue.call import Lease
from guesthouse.queue.queue import FunctionKey
from guesthouse.queue.rows import ROW_BYTES, Code, packed, read_call
from guesthouse.queue.unit import Move, Unit, Value, listed
from guesthouse.storage.errors import StorageError

LEASE_BYTES: Final = 8 << 20
"""Of the requests that one unit of work reads, on the thread on which all others write."""
SMALL_BYTES: Final = 32 << 10
"""Bodies up to this are read together with others: see `Unit.gathered`."""
LOOKED_AT: Final = 1_024
"""Calls that one unit of work looks at beyond those that it may take, and parks: some milliseconds without other writes."""


class Wanted(NamedTuple):
    """Calls that somebody wants to run."""

    function: FunctionKey
    most: int
    busy_keys: Collection[str] = ()
    key_inflight: int = 0
    """How many of one key; 0: any number."""
    struck: bool = False
    promotes: bool = True
    """Whether there are calls that wait for their time."""
    taken: Mapping[str, int] = MappingProxyType({})
    """How many of each key were taken before, for the same who wants them."""


class Taken(NamedTuple):
    """Calls that were taken."""

    leases: Sequence[Lease]
    more: bool
    """Whether there may be more that could be taken."""


def lease(unit: Unit, wanted: Wanted, holder: str) -> Taken:
    """Takes calls that are due, in their order; one that cannot be read is put away as lost."""
    code = Code.STRUCK if wanted.struck else Code.READY
    keyed = bool(wanted.busy_keys or wanted.key_inflight)
    room = wanted.most + (LOOKED_AT if keyed else 0)
    more = wanted.promotes and not wanted.struck and _promote(unit, wanted.function, room)
    found = _next(unit, wanted.function, code, room)
    if keyed:
        chosen, window = _choose(unit, wanted, code, found)
        more = more or (window and len(found) == room)
    else:
        chosen = found
    rows = _requests(unit, _affordable(chosen))
    cut = len(rows) < len(chosen)
    leases = _take(unit, wanted.function, code, rows, holder)
    keys = {row[2] for row in rows} - {None}
    if keys and code is Code.READY:
        freed = unpark(unit, wanted.function, sorted(keys), wanted.key_inflight or wanted.most)
        more = more or (freed > 0 and wanted.key_inflight != 1)
    return Taken(leases, more or cut or len(leases) < len(rows))


def _promote(unit: Unit, function: FunctionKey, most: int) -> bool:
    """Makes calls ready whose time has come, at the place of their time; whether there may be more of them."""
    unit.execute(
        f"UPDATE invocations SET state = {Code.READY:d} WHERE seq IN (SELECT seq FROM invocations"
        f" INDEXED BY invocations_waiting WHERE state < 4 AND namespace = ? AND name = ? AND state = {Code.DELAYED:d}"
        " AND due_ms <= ? ORDER BY due_ms, seq LIMIT ?)",
        (*function, unit.now_ms, most),
    )
    count = unit.connection.changes()
    unit.moves += [Move(function, Code.DELAYED, Code.READY)] * count
    return count == most


class Next(NamedTuple):
    """A call that is among the next of its function."""

    seq: int
    key: str | None
    size: int


def _next(unit: Unit, function: FunctionKey, code: Code, most: int) -> list[Next]:
    """Calls in the order in which they are to be taken."""
    query = (
        "SELECT json_group_array(json_array(seq, key, size)) FROM (SELECT seq, key, size FROM invocations"
        " INDEXED BY invocations_waiting WHERE state < 4 AND namespace = ? AND name = ? AND state = ?"
        " ORDER BY due_ms, seq LIMIT ?)"
    )
    return [Next(*row) for row in unit.gathered(query, (*function, int(code), most))]


def _choose(unit: Unit, wanted: Wanted, code: Code, found: Sequence[Next]) -> tuple[list[Next], bool]:
    """Those to take, and whether there is room for more; those that their keys hold up are parked."""
    busy = set(wanted.busy_keys)
    chosen: list[Next] = []
    parked: list[int] = []
    taken = Counter(wanted.taken)
    heads: set[str | None] = set()
    for next_ in found:
        key = next_.key
        if key is None or (key not in busy and taken[key] < (wanted.key_inflight or wanted.most)):
            if len(chosen) < wanted.most:
                chosen.append(next_)
                taken.update([key] if key else [])
        elif key in heads:
            parked.append(next_.seq)
        heads.add(key)
    if code is Code.READY:
        unit.move(parked, Code.PARKED)
        unit.moves += [Move(wanted.function, Code.READY, Code.PARKED)] * len(parked)
    return chosen, len(chosen) < wanted.most


def _affordable(chosen: Sequence[Next]) -> list[Next]:
    """As many of them as are read at once."""
    total = 0
    for count, next_ in enumerate(chosen, 1):
        total += next_.size
        if total > LEASE_BYTES:
            return list(chosen[:count])
    return list(chosen)


def unpark(unit: Unit, function: FunctionKey, keys: Sequence[str], most: int) -> int:
    """Makes the first calls ready that are parked behind each of some keys, up to `most` of one; how many."""
    query = (
        "SELECT value FROM json_each(?) WHERE EXISTS (SELECT 1 FROM invocations INDEXED BY invocations_parked"
        " WHERE state = 3 AND namespace = ? AND name = ? AND key = value)"
    )
    count = 0
    for (key,) in unit.rows(query, (listed(keys), *function)):
        unit.execute(
            f"UPDATE invocations SET state = {Code.READY:d} WHERE seq IN (SELECT seq FROM invocations"
            " INDEXED BY invocations_parked WHERE state = 3 AND namespace = ? AND name = ? AND key = ?"
            " ORDER BY due_ms, seq LIMIT ?)",
            (*function, key, most),
        )
        count += unit.connection.changes()
    unit.moves += [Move(function, Code.PARKED, Code.READY)] * count
    return count


def _requests(unit: Unit, chosen: Sequence[Next]) -> list[tuple[Any, ...]]:
    """Rows with their requests, in the order of `chosen`."""
    query = (
        "SELECT json_group_array(json_array(i.seq, i.id, i.key, i.created_ms, i.size, i.attempts, i.fence, i.strikes,"
        " hex(r.about), CASE WHEN length(r.body) <= ? THEN hex(r.body) END)) FROM json_each(?) AS chosen"
        " CROSS JOIN invocations AS i ON i.seq = chosen.value LEFT JOIN requests AS r ON r.seq = i.seq"
    )
    if not chosen:
        return []
    found = unit.gathered(query, (SMALL_BYTES, listed([next_.seq for next_ in chosen])))
    query = "SELECT seq, body FROM requests WHERE seq IN (SELECT value FROM json_each(?))"
    large = [row[0] for row in found if row[-1] is None]
    bodies = dict(unit.rows(query, (listed(large),))) if large else {}
    return [
        (*row[:-2], bytes.fromhex(row[-2]), bodies.get(row[0]) if row[-1] is None else bytes.fromhex(row[-1]))
        for row in found
    ]


def _take(unit: Unit, function: FunctionKey, code: Code, rows: Sequence[tuple[Any, ...]], holder: str) -> list[Lease]:
    leases, seqs = [], []
    for seq, call_id, key, queued_ms, size, attempts, fence, strikes, about, body in rows:
        try:
            call = read_call(call_id, function, key, queued_ms, about, body)
        except StorageError:
            _put_away(unit, seq, function, code, size)
            continue
        leases.append(Lease(call, attempts + 1, fence + 1, strikes))
        seqs.append(seq)
        unit.moves.append(Move(function, code, Code.RUNNING, size))
    if seqs:
        unit.execute(
            f"UPDATE invocations SET state = {Code.RUNNING:d}, holder = ?, started_ms = ?, fence = fence + 1,"
            " attempts = attempts + 1 WHERE seq IN (SELECT value FROM json_each(?))",
            (holder, unit.now_ms, listed(seqs)),
        )
    return leases


def _put_away(unit: Unit, seq: int, function: FunctionKey, code: Code, size: int) -> None:
    """Ends a call whose request something else than this program has changed: it must not hold up the others."""
    about = packed({"result": "lost", "reason": "its stored request cannot be read"})
    kept = ROW_BYTES + len(about)
    unit.execute(
        f"UPDATE invocations SET state = {Code.BURIED:d}, ended_ms = ?, about = ?, kept = ? WHERE seq = ?",
        (unit.now_ms, about, kept, seq),
    )
    unit.delete("requests", [seq])
    unit.moves.append(Move(function, code, Code.BURIED, size, kept))


def hold(unit: Unit, holder: str, lease_ms: int) -> None:
    """The leases of a holder last until `lease_ms` from now."""
    unit.execute(
        "INSERT OR REPLACE INTO lease_holders (holder, expires_ms) VALUES (?, ?)", (holder, unit.now_ms + lease_ms)
    )


def take_back(unit: Unit, holders: str, values: Sequence[Value]) -> list[str]:
    """Takes calls from the holders that a condition names, and makes them ready, with one strike more; their ids."""
    found = unit.rows(
        f"UPDATE invocations INDEXED BY invocations_running SET state = {Code.STRUCK:d}, holder = NULL,"
        f" strikes = strikes + 1 WHERE state = 4 AND holder {holders} RETURNING id, namespace, name, size",
        values,
    )
    unit.execute(f"DELETE FROM lease_holders WHERE holder {holders}", values)
    unit.moves += [Move((namespace, name), Code.RUNNING, Code.STRUCK, size) for _, namespace, name, size in found]
    return [call_id for call_id, *_ in found]
