"""Taking calls, and taking them back, as parts of a unit of work.

Promises: calls are taken in the order in which they became due, one holder at a time.  A call whose key is busy is parked
behind the first one of its key, so that thousands of them cost those of other keys nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from guesthouse.queue.call import Completion, Lease, QueuedCall
from guesthouse.queue.closing import Closed, close
from guesthouse.queue.completing import forget_waits
from guesthouse.queue.journals import forget_journals
from guesthouse.queue.parking import holders, lock, unpark
from guesthouse.queue.queue import FunctionKey
from guesthouse.queue.rows import ROW_BYTES, Code, packed, read_call
from guesthouse.queue.unit import FOUND_COLUMNS, Move, Unit, Value, found_in, listed
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
    resumes: bool = True
    """Whether there are suspended ones."""
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
    more = not wanted.struck and _promote(unit, wanted, room)
    found = _next(unit, wanted.function, code, room)
    locks: dict[str, int] = {}
    if any(next_.exclusive for next_ in found):
        if not keyed:
            keyed, room = True, wanted.most + LOOKED_AT
            found = _next(unit, wanted.function, code, room)
        locks = holders(unit, wanted.function, [of.key for of in found if of.exclusive and of.key is not None])
    if keyed:
        chosen, window = _choose(unit, wanted, code, found, locks)
        more = more or (window and len(found) == room)
    else:
        chosen = found
    rows = _requests(unit, _affordable(chosen))
    cut = len(rows) < len(chosen)
    leases = _take(unit, wanted.function, code, rows, holder)
    alone = {next_.seq for next_ in chosen if next_.exclusive}
    keys = {row.key for row in rows if row.key is not None and row.seq not in alone}
    if keys and code is Code.READY:
        freed = unpark(unit, wanted.function, sorted(keys), wanted.key_inflight or wanted.most)
        more = more or (freed > 0 and wanted.key_inflight != 1)
    return Taken(leases, more or cut or len(leases) < len(rows))


def _promote(unit: Unit, wanted: Wanted, most: int) -> bool:
    """Makes calls ready whose time has come, at the place of their time; whether there may be more of them."""
    count = resumed = 0
    if wanted.promotes:
        unit.execute(
            f"UPDATE invocations SET state = {Code.READY:d} WHERE seq IN (SELECT seq FROM invocations"
            f" INDEXED BY invocations_waiting WHERE state < 4 AND namespace = ? AND name = ? AND state = {Code.DELAYED:d}"
            " AND due_ms <= ? ORDER BY due_ms, seq LIMIT ?)",
            (*wanted.function, unit.now_ms, most),
        )
        count = unit.connection.changes()
        unit.moves += [Move(wanted.function, Code.DELAYED, Code.READY)] * count
    if wanted.resumes:
        seqs: list[Any] = unit.gathered(
            "SELECT json_group_array(seq) FROM (SELECT seq FROM invocations INDEXED BY invocations_waiting"
            f" WHERE state < 4 AND namespace = ? AND name = ? AND state = {Code.SUSPENDED:d} AND due_ms <= ?"
            " ORDER BY due_ms, seq LIMIT ?)",
            (*wanted.function, unit.now_ms, most),
        )
        resumed = len(seqs)
        unit.move(seqs, Code.READY)
        forget_waits(unit, seqs)
        unit.moves += [Move(wanted.function, Code.SUSPENDED, Code.READY)] * resumed
    return most in (count, resumed)


class Next(NamedTuple):
    """A call that is among the next of its function."""

    seq: int
    key: str | None
    size: int
    exclusive: int


def _next(unit: Unit, function: FunctionKey, code: Code, most: int) -> list[Next]:
    """Calls in the order in which they are to be taken."""
    query = (
        "SELECT json_group_array(json_array(seq, key, size, exclusive)) FROM (SELECT seq, key, size, exclusive FROM invocations"
        " INDEXED BY invocations_waiting WHERE state < 4 AND namespace = ? AND name = ? AND state = ?"
        " ORDER BY due_ms, seq LIMIT ?)"
    )
    return [Next(*row) for row in unit.gathered(query, (*function, int(code), most))]


def _choose(
    unit: Unit, wanted: Wanted, code: Code, found: Sequence[Next], locks: dict[str, int]
) -> tuple[list[Next], bool]:
    """Those to take, and whether there is room for more; those that their keys hold up are parked."""
    busy = set(wanted.busy_keys)
    chosen: list[Next] = []
    parked: list[int] = []
    taken = Counter(wanted.taken)
    heads: set[str | None] = set()
    for next_ in found:
        key = next_.key
        if key is not None and next_.exclusive and locks.get(key, next_.seq) != next_.seq:
            parked.append(next_.seq)
            continue
        if key is None or (key not in busy and taken[key] < (wanted.key_inflight or wanted.most)):
            if len(chosen) < wanted.most:
                chosen.append(next_)
                taken.update([key] if key else [])
                if key is not None and next_.exclusive:
                    locks[key] = next_.seq
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


class Row(NamedTuple):
    """A call that is taken, as it is stored."""

    seq: int
    id: str
    key: str | None
    queued_ms: int
    size: int
    attempts: int
    fence: int
    strikes: int
    segments: int
    version: int | None
    exclusive: int
    about: bytes
    body: bytes | None


def _requests(unit: Unit, chosen: Sequence[Next]) -> list[Row]:
    """Rows with their requests, in the order of `chosen`."""
    query = (
        "SELECT json_group_array(json_array(i.seq, i.id, i.key, i.created_ms, i.size, i.attempts, i.fence, i.strikes,"
        " i.segments, i.version, i.exclusive, hex(r.about), CASE WHEN length(r.body) <= ? THEN hex(r.body) END))"
        " FROM json_each(?) AS chosen"
        " CROSS JOIN invocations AS i ON i.seq = chosen.value LEFT JOIN requests AS r ON r.seq = i.seq"
    )
    if not chosen:
        return []
    found = unit.gathered(query, (SMALL_BYTES, listed([next_.seq for next_ in chosen])))
    query = "SELECT seq, body FROM requests WHERE seq IN (SELECT value FROM json_each(?))"
    large = [row[0] for row in found if row[-1] is None]
    bodies = dict(unit.rows(query, (listed(large),))) if large else {}
    return [
        Row._make([*row, bytes.fromhex(about), bodies.get(row[0]) if body is None else bytes.fromhex(body)])
        for *row, about, body in found
    ]


def _take(unit: Unit, function: FunctionKey, code: Code, rows: Sequence[Row], holder: str) -> list[Lease]:
    leases, seqs, alone = [], [], []
    for row in rows:
        try:
            call = _call(row, function)
        except StorageError:
            _put_away(unit, row.seq, code)
            continue
        leases.append(Lease(call, row.attempts + 1, row.fence + 1, row.strikes, row.seq, row.segments, row.version))
        seqs.append(row.seq)
        unit.moves.append(Move(function, code, Code.RUNNING, row.size))
        if row.exclusive and row.key is not None:
            alone.append((row.key, row.seq))
    if seqs:
        unit.execute(
            f"UPDATE invocations SET state = {Code.RUNNING:d}, holder = ?, started_ms = ?, fence = fence + 1,"
            " attempts = attempts + 1 WHERE seq IN (SELECT value FROM json_each(?))",
            (holder, unit.now_ms, listed(seqs)),
        )
    lock(unit, function, alone)
    return leases


def _call(row: Row, function: FunctionKey) -> QueuedCall:
    return read_call(row.id, function, row.key, row.queued_ms, row.about, row.body)


_UNREADABLE: Final = "its stored request cannot be read"


def _put_away(unit: Unit, seq: int, code: Code) -> None:
    """Ends a call whose request something else than this program has changed: it must not hold up the others."""
    found = found_in(unit.rows(f"SELECT {FOUND_COLUMNS} FROM invocations WHERE seq = ?", (seq,))[0])
    about = packed({"result": "lost", "reason": _UNREADABLE})
    kept = ROW_BYTES + len(about)
    unit.execute(
        f"UPDATE invocations SET state = {Code.BURIED:d}, ended_ms = ?, about = ?, kept = ? WHERE seq = ?",
        (unit.now_ms, about, kept, seq),
    )
    unit.delete("requests", [seq])
    if found.segments:  # they are worth nothing without what was asked
        forget_journals(unit, [seq])
        unit.execute("UPDATE invocations SET kept = ? WHERE seq = ?", (kept, seq))
    unit.moves.append(Move(found.function, code, Code.BURIED, found.size, kept))
    close(unit, [Closed(found, Completion("failed", packed({"message": _UNREADABLE, "metadata": []})))])


def hold(unit: Unit, holder: str, lease_ms: int) -> None:
    """The leases of a holder last until `lease_ms` from now."""
    unit.execute(
        "INSERT OR REPLACE INTO lease_holders (holder, expires_ms) VALUES (?, ?)", (holder, unit.now_ms + lease_ms)
    )


def take_back(unit: Unit, holders: str, values: Sequence[Value]) -> list[str]:
    """Takes calls from the holders that a condition names, and makes them ready, with one strike more; their ids.

    The next run of a durable one goes on with the same attempt.
    """
    found = unit.gathered(
        "SELECT json_group_array(json_array(seq, id, namespace, name, size, journal - counted)) FROM invocations"
        f" INDEXED BY invocations_running WHERE state = 4 AND holder {holders}",
        values,
    )
    unit.execute(
        f"UPDATE invocations SET state = {Code.STRUCK:d}, holder = NULL, strikes = strikes + 1,"
        " attempts = attempts - durable, size = size + journal - counted, counted = journal"
        " WHERE seq IN (SELECT value FROM json_each(?))",
        (listed([row[0] for row in found]),),
    )
    unit.execute(f"DELETE FROM lease_holders WHERE holder {holders}", values)
    for _, _, namespace, name, size, grown in found:
        if grown:
            unit.moves.append(Move((namespace, name), Code.RUNNING, Code.RUNNING, grown=grown))
        unit.moves.append(Move((namespace, name), Code.RUNNING, Code.STRUCK, size))
    return [row[1] for row in found]
