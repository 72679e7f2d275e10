"""Segments of journals: added by whoever holds the lease, read by whoever goes on.

Promises: a segment is stored once, at its place; whoever was superseded stores nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from guesthouse.errors import GuesthouseError
from guesthouse.queue.call import Lease
from guesthouse.queue.queue import Fenced, UnknownInvocation
from guesthouse.queue.rows import Code
from guesthouse.queue.unit import Move, Unit, Value, parts
from guesthouse.storage.database import Connection, rows
from guesthouse.storage.errors import StorageError

SEGMENT_BYTES: Final = 32
"""What a segment is taken to cost besides its bytes."""


class Append(NamedTuple):
    """A segment of a journal, by whoever runs the invocation."""

    lease: Lease
    number: int | None
    """Its place: how many there were before; `None`: the next, whichever that is."""
    segment: bytes
    version: int | None = None
    """Of the function, to be remembered if it is the first one."""


def append(unit: Unit, appends: Sequence[Append]) -> list[GuesthouseError | None]:
    """Adds segments; `Fenced` for those whose lease is not the last one.  Strikes are forgotten: there was progress."""
    counts = _leased(unit, appends)
    results: list[GuesthouseError | None] = []
    stored: list[Append] = []
    for wanted in appends:
        place = wanted.lease.seq, wanted.lease.fence
        count = counts.get(place)
        if count is None:
            results.append(fenced(wanted.lease))
        elif wanted.number is not None and wanted.number != count:
            results.append(_misplaced(wanted, count))
        else:
            counts[place] = count + 1
            stored.append(wanted._replace(number=count))
            results.append(None)
    insert_segments(unit, [(wanted.lease.seq, wanted.number, wanted.segment) for wanted in stored])
    _count(unit, stored)
    return results


def append_now(connection: Connection, wanted: Append) -> None:
    """As `append`, in somebody else's transaction, which what is raised has to undo.

    In two statements: each effect on the host's own database pays for them.
    """
    lease = wanted.lease
    found = rows(
        connection,
        "UPDATE invocations SET segments = segments + 1, journal = journal + ?, strikes = 0,"
        " version = coalesce(version, ?)"
        f" WHERE seq = ? AND fence = ? AND id = ? AND state = {Code.RUNNING:d} RETURNING segments",
        (bytes_of(wanted.segment), wanted.version, lease.seq, lease.fence, lease.call.id),
    )
    if not found:
        raise fenced(lease)
    count = found[0][0] - 1
    if wanted.number is not None and wanted.number != count:
        raise _misplaced(wanted, count)
    connection.execute(
        "INSERT INTO journals (seq, number, segment) VALUES (?, ?, ?)", (lease.seq, count, wanted.segment)
    )


def _misplaced(wanted: Append, count: int) -> StorageError:
    return StorageError(f"segment {wanted.number} of {wanted.lease.call.id} cannot be stored: it has {count}")


def fenced(lease: Lease) -> Fenced:
    """What is told whoever was superseded."""
    return Fenced(f"{lease.call.id} is not leased with the fence {lease.fence} any more")


def check_fence(unit: Unit, lease: Lease) -> None:
    """Raises `Fenced` where the lease is not the last one."""
    if not _leased(unit, [Append(lease, 0, b"")]):
        raise fenced(lease)


def insert_segments(unit: Unit, segments: Sequence[tuple[Value, ...]]) -> None:
    """Inserts rows of segments: number of the invocation's row, their own, bytes."""
    for values, marks in parts(segments, 3):
        unit.execute(
            "INSERT INTO journals (seq, number, segment)"
            f" SELECT column1, column2, column3 FROM (VALUES {marks}) WHERE column1 IS NOT NULL",
            values,
        )


def bytes_of(segment: bytes) -> int:
    """What a segment is taken to cost."""
    return SEGMENT_BYTES + len(segment)


def _leased(unit: Unit, appends: Sequence[Append]) -> dict[tuple[int, int], int]:
    """How many segments those have whose fence is the last one, by row and fence."""
    keys: list[tuple[Value, ...]] = [(of.lease.seq, of.lease.fence, of.lease.call.id) for of in appends]
    found: dict[tuple[int, int], int] = {}
    for values, marks in parts(keys, 3):
        for seq, fence, segments in unit.gathered(
            f"SELECT json_group_array(json_array(seq, fence, segments)) FROM (VALUES {marks})"
            " CROSS JOIN invocations ON seq = column1"
            f" WHERE fence = column2 AND id = column3 AND state = {Code.RUNNING:d}",
            values,
        ):
            found[seq, fence] = segments
    return found


def _count(unit: Unit, stored: Sequence[Append]) -> None:
    sums: dict[int, list[int]] = {}
    for wanted in stored:
        of = sums.setdefault(wanted.lease.seq, [0, 0])
        of[0] += 1
        of[1] += bytes_of(wanted.segment)
    versions = {wanted.lease.seq: wanted.version for wanted in stored}
    written: list[tuple[Value, ...]] = [(seq, *of, versions[seq]) for seq, of in sums.items()]
    for values, marks in parts(written, 4):
        unit.execute(
            "UPDATE invocations SET segments = segments + column2, journal = journal + column3, strikes = 0,"
            f" version = coalesce(version, column4) FROM (VALUES {marks}) WHERE seq = column1",
            values,
        )


# -- whole journals


def journal(connection: Connection, id: str) -> list[bytes]:
    """The segments of an invocation's journal, in order."""
    query = "SELECT j.segment FROM invocations AS i CROSS JOIN journals AS j ON j.seq = i.seq WHERE i.id = ? ORDER BY j.number"
    found = [segment for (segment,) in rows(connection, query, (id,))]
    if not found and not rows(connection, "SELECT 1 FROM invocations WHERE id = ?", (id,)):
        raise UnknownInvocation(f"there is no invocation {id}")
    return found


def record(unit: Unit, wanted: tuple[str, Sequence[bytes]]) -> None:
    """Stores the journal of an invocation that has ended and has none; it is kept as long as its record."""
    call_id, segments = wanted
    found = unit.find(call_id)
    if found.code < Code.DEAD or found.segments:
        raise StorageError(f"{call_id} has not ended, or has a journal: none is recorded")
    insert_segments(unit, [(found.seq, number, segment) for number, segment in enumerate(segments)])
    size = sum(map(bytes_of, segments))
    dead = found.code is Code.DEAD
    column = "size = size" if dead else "kept = kept"
    unit.execute(
        f"UPDATE invocations SET segments = ?, journal = ?, counted = ?, {column} + ? WHERE seq = ?",
        (len(segments), size, size, size, found.seq),
    )
    if dead:
        unit.moves.append(Move(found.function, Code.DEAD, Code.DEAD, grown=size))
    else:
        unit.moves.append(Move(found.function, None, found.code, 0, size))


def forget_journals(unit: Unit, seqs: Sequence[int]) -> None:
    """Deletes the journals of invocations that have ended for good, whose records stay."""
    if seqs:
        unit.delete("journals", seqs)
        query = (
            "UPDATE invocations SET kept = CASE WHEN state = 5 THEN kept ELSE kept - journal END, segments = 0,"
            " journal = 0, counted = 0 WHERE seq IN (SELECT value FROM json_each(?))"
        )
        unit.execute(query, (f"[{','.join(map(str, seqs))}]",))
