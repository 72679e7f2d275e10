"""Clearing away what is past its time or over its bytes, some at a time.

Promises: the oldest go first, and journals before records where there are too many bytes; a record whose callback is still to
be delivered stays, with its answer, while there is anything else that can go.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from guesthouse.queue.ending import bury
from guesthouse.queue.journals import forget_journals
from guesthouse.queue.rows import Code
from guesthouse.queue.unit import Found, Move, Unit

AT_ONCE: Final = 500
"""Invocations that one call removes: some milliseconds in which nobody else can write."""
LOOKED_AT: Final = 4_000
"""The oldest ones, among which those are looked for that no callback needs."""


class Kept(NamedTuple):
    """What stays."""

    ended_ms: int
    """Records of what ended later."""
    ended_excess: int
    """Bytes by which records and answers are over their bound."""
    dead_ms: int
    """Requests of dead letters of later."""
    dead_excess: int
    """Bytes by which dead letters are over theirs."""


def sweep(unit: Unit, kept: Kept) -> int:
    """Removes some of what does not stay; how many rows."""
    count, freed = _sweep_journals(unit, kept)
    kept = kept._replace(ended_excess=kept.ended_excess - freed)
    return count + _sweep_dead(unit, kept) + _sweep_ended(unit, kept) + _sweep_keys(unit)


def _sweep_journals(unit: Unit, kept: Kept) -> tuple[int, int]:
    """Where there are too many bytes, journals go before records do; how many, and their bytes."""
    if kept.ended_excess <= 0:
        return 0, 0
    old = list(_first(unit.rows(_JOURNALS, (AT_ONCE,)), 0, kept.ended_excess))
    seqs = [row[0] for row in old]
    forget_journals(unit, seqs)
    unit.delete("requests", seqs)
    unit.moves += [Move(("", ""), Code(code), None, 0, bytes_) for _, _, _, bytes_, code in old]
    return len(old), sum(row[3] for row in old)


def _sweep_dead(unit: Unit, kept: Kept) -> int:
    dead = [
        Found(seq, Code.DEAD, (namespace, name), None, size, bytes_, bool(durable), segments=segments)
        for seq, _, size, bytes_, namespace, name, durable, segments in _first(
            unit.rows(_DEAD, (AT_ONCE,)), kept.dead_ms, kept.dead_excess
        )
    ]
    if dead:
        bury(unit, dead)
    return len(dead)


def _sweep_ended(unit: Unit, kept: Kept) -> int:
    ended = list(_first(unit.rows(_UNNEEDED, (LOOKED_AT, AT_ONCE)), kept.ended_ms, kept.ended_excess))
    if not ended and kept.ended_excess > 0:
        ended = list(_first(unit.rows(_ENDED, (AT_ONCE,)), kept.ended_ms, kept.ended_excess))
    seqs = [row[0] for row in ended]
    for table in ("invocations", "requests", "outputs", "callbacks", "journals"):
        unit.delete(table, seqs)
    unit.moves += [Move(("", ""), Code(code), None, 0, bytes_) for _, _, _, bytes_, code in ended]
    return len(ended)


def _sweep_keys(unit: Unit) -> int:
    query = "DELETE FROM idempotency WHERE key IN (SELECT key FROM idempotency WHERE expires_ms <= ? LIMIT ?)"
    unit.execute(query, (unit.now_ms, AT_ONCE))
    return unit.connection.changes()


_DEAD: Final = (
    "SELECT seq, ended_ms, size, kept, namespace, name, durable, segments FROM invocations INDEXED BY invocations_dead"
    " WHERE state = 5 ORDER BY ended_ms LIMIT ?"
)
_JOURNALS: Final = (
    "SELECT seq, ended_ms, 0, journal, state FROM invocations INDEXED BY invocations_journals"
    " WHERE journal > 0 AND state > 5 ORDER BY ended_ms LIMIT ?"
)
_ENDED: Final = (
    "SELECT seq, ended_ms, 0, kept, state FROM invocations INDEXED BY invocations_ended WHERE state > 5"
    " ORDER BY ended_ms LIMIT ?"
)
_UNNEEDED: Final = (
    f"SELECT * FROM ({_ENDED}) AS old WHERE NOT EXISTS (SELECT 1 FROM callbacks WHERE seq = old.seq) LIMIT ?"
)


def _first(found: list[tuple[Any, ...]], until_ms: int, excess: int) -> Iterator[tuple[Any, ...]]:
    """Of rows in the order of their ends those that are too old, or whose bytes are too many."""
    for row in found:
        if row[1] > until_ms and excess <= 0:
            return
        excess -= row[2] + row[3]
        yield row
