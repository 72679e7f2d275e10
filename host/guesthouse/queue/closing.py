"""What an end leaves behind, whatever it was that ended an invocation.

Promises: who waits for it is told in the same transaction; its key is free; nothing stays that only a live one needs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from guesthouse.queue.call import Completion
from guesthouse.queue.completing import Telling, forget_waits, tell
from guesthouse.queue.parking import unlock
from guesthouse.queue.unit import Found, Unit, listed


class Closed(NamedTuple):
    """An invocation that has ended."""

    found: Found
    """Its row, before."""
    completion: Completion
    """What those are told who wait for it."""
    dead: bool = False
    """It is a dead letter, which may go on."""


def close(unit: Unit, closed: Sequence[Closed]) -> None:
    """Does what belongs to the ends of invocations, beyond their rows and requests."""
    if not closed:
        return
    rows = [of.found for of in closed]
    forget(unit, [of.found.seq for of in closed if of.found.durable and not of.dead])
    unlock(unit, [(row.seq, row.function, row.key) for row in rows if row.exclusive and row.key is not None])
    tellings = [
        Telling(of.found.parent, of.found.promise, of.completion)
        for of in closed
        if of.found.parent is not None and of.found.promise
    ]
    attached = {of.found.seq: of.completion for of in closed if of.found.attached}
    if attached:
        query = "SELECT seq, owner, number FROM attached WHERE seq IN (SELECT value FROM json_each(?))"
        found = unit.rows(query, (listed(list(attached)),))
        tellings += [Telling(owner, number, attached[seq]) for seq, owner, number in found]
        unit.delete("attached", list(attached))
    if tellings:
        tell(unit, tellings)


def forget(unit: Unit, seqs: Sequence[int]) -> None:
    """Deletes what only invocations need that may still go on."""
    if seqs:
        forget_waits(unit, seqs)
        unit.delete("completions", seqs)
        unit.execute("DELETE FROM attached WHERE owner IN (SELECT value FROM json_each(?))", (listed(seqs),))


def is_tied(found: Found) -> bool:
    """Whether an end concerns more than the row and its request."""
    return found.durable or found.exclusive or bool(found.promise) or bool(found.attached)
