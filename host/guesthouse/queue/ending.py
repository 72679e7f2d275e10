"""What becomes of calls that were leased, and what people do to single ones, as parts of a unit of work.

Promises: whoever settles a call with an older fence changes nothing; what belongs to an end is written with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple

from guesthouse.errors import GuesthouseError
from guesthouse.queue.call import Callback, Lease
from guesthouse.queue.inserting import insert_calls, insert_outputs
from guesthouse.queue.leasing import unpark
from guesthouse.queue.queue import Fenced, UnknownInvocation
from guesthouse.queue.rows import Code, Ending, NewCall, packed
from guesthouse.queue.unit import Found, Move, Unit, Value, parts

_COLUMNS: Final = 8


class Settlement(NamedTuple):
    """What becomes of a call that is leased."""

    lease: Lease
    code: Code
    about: bytes | None = None
    due_ms: int | None = None
    started_ms: int | None = None
    ended_ms: int | None = None
    ending: Ending | None = None
    follows: Callback | NewCall | None = None
    gives_back: bool = False
    """It did not begin."""

    @property
    def id(self) -> str:
        return self.lease.call.id


def settle(unit: Unit, settlements: Sequence[Settlement], turn: Callable[[Unit], int]) -> list[GuesthouseError | None]:
    """Settles calls that are leased; `Fenced` for those whose lease is not the last one.

    `turn` gives calls that follow others their place.
    """
    wanted: dict[str, Settlement] = {}
    for settlement in settlements:
        wanted.setdefault(settlement.id, settlement)
    passed = _update(unit, list(wanted.values()))
    ended, outputs, callbacks, calls = [], [], [], []
    for settlement, seq in passed:
        if settlement.code > Code.DEAD:
            ended.append(seq)
        if settlement.ending is not None and settlement.ending.output is not None:
            outputs.append((seq, *settlement.ending.output))
        if isinstance(settlement.follows, Callback):
            callbacks.append((seq, settlement.follows))
        elif settlement.follows is not None:
            calls.append(settlement.follows)
    unit.delete("requests", ended)
    insert_outputs(unit, outputs)
    _insert_callbacks(unit, callbacks)
    if calls:
        insert_calls(unit, calls, turn(unit), 0)
    done = {id(settlement) for settlement, _ in passed}
    return [None if id(settlement) in done else _fenced(settlement) for settlement in settlements]


def _fenced(settlement: Settlement) -> Fenced:
    return Fenced(f"{settlement.id} is not leased with the fence {settlement.lease.fence} any more")


def _update(unit: Unit, settlements: Sequence[Settlement]) -> list[tuple[Settlement, int]]:
    """Those whose fence is the last one, with the numbers of their rows."""
    by_id = {settlement.id: settlement for settlement in settlements}
    passed = []
    written = []
    for call_id, seq, namespace, name, strikes, size in _leased(unit, settlements):
        settlement = by_id[call_id]
        code = Code.STRUCK if settlement.gives_back and strikes else settlement.code
        kept = 0 if settlement.ending is None else settlement.ending.kept
        unit.moves.append(Move((namespace, name), Code.RUNNING, code, size, kept))
        passed.append((settlement, seq))
        written.append(_row(settlement, seq, code, kept))
    for values, marks in parts(written, _COLUMNS):
        unit.execute(
            "UPDATE invocations SET holder = NULL, state = column2, due_ms = coalesce(column3, due_ms),"
            " started_ms = coalesce(column4, started_ms), ended_ms = column5, about = coalesce(column6, about),"
            " kept = column7, attempts = attempts - column8, strikes = CASE WHEN column8 THEN strikes ELSE 0 END"
            f" FROM (VALUES {marks}) WHERE seq = column1",
            values,
        )
    return passed


def _leased(unit: Unit, settlements: Sequence[Settlement]) -> Iterator[list[Any]]:
    """The rows of those whose fence is the last one."""
    for values, marks in parts([(settlement.id, settlement.lease.fence) for settlement in settlements], 2):
        yield from unit.gathered(
            f"SELECT json_group_array(json_array(id, seq, namespace, name, strikes, size)) FROM (VALUES {marks})"
            f" CROSS JOIN invocations ON id = column1 WHERE fence = column2 AND state = {Code.RUNNING:d}",
            values,
        )


def _row(settlement: Settlement, seq: int, code: Code, kept: int) -> tuple[Value, ...]:
    ending = settlement.ending
    return (
        seq,
        int(code),
        settlement.due_ms,
        settlement.started_ms,
        settlement.ended_ms,
        settlement.about if ending is None else ending.about,
        kept,
        int(settlement.gives_back),
    )


def _insert_callbacks(unit: Unit, callbacks: Sequence[tuple[int, Callback]]) -> None:
    written: list[tuple[Value, ...]] = [
        (seq, c.id, c.namespace, c.name, c.url, c.destination, packed(c.headers), c.attempts, c.due_ms)
        for seq, c in callbacks
    ]
    for values, marks in parts(written, 9):
        unit.execute(
            "INSERT OR REPLACE INTO callbacks (seq, id, namespace, name, url, destination, headers, attempts, due_ms)"
            f" SELECT * FROM (VALUES {marks}) WHERE column1 IS NOT NULL",
            values,
        )


# -- single ones


def cancel(unit: Unit, wanted: tuple[str, Ending, int | None]) -> bool:
    """Ends a call that is queued; false where it is not any more."""
    call_id, ending, ended_ms = wanted
    found = unit.find(call_id)
    if found.code >= Code.RUNNING:
        return False
    unit.execute(
        "UPDATE invocations SET state = ?, ended_ms = ?, about = ?, kept = ? WHERE seq = ?",
        (int(ending.code), ended_ms or unit.now_ms, ending.about, ending.kept, found.seq),
    )
    unit.delete("requests", [found.seq])
    unit.moves.append(Move(found.function, found.code, ending.code, found.size, ending.kept))
    if found.key is not None:
        unpark(unit, found.function, [found.key], 1)
    return True


def redrive(unit: Unit, wanted: tuple[str, int]) -> None:
    """Queues a dead letter once more, with all its attempts, at a place; what came of it the last time is forgotten."""
    call_id, turn_ms = wanted
    found = _dead(unit, call_id)
    unit.execute(
        f"UPDATE invocations SET state = {Code.READY:d}, due_ms = ?, ended_ms = NULL, kept = 0, strikes = 0,"
        " earlier = earlier + attempts, attempts = 0 WHERE seq = ?",
        (turn_ms, found.seq),
    )
    unit.delete("outputs", [found.seq])
    unit.delete("callbacks", [found.seq])
    unit.moves.append(Move(found.function, Code.DEAD, Code.READY, found.size, found.kept))


def drop(unit: Unit, id: str) -> None:
    """Forgets the request of a dead letter."""
    bury(unit, [_dead(unit, id)])


def bury(unit: Unit, dead: Sequence[Found]) -> None:
    """Takes the requests of dead letters away; their records stay."""
    seqs = [found.seq for found in dead]
    unit.move(seqs, Code.BURIED)
    unit.delete("requests", seqs)
    unit.moves += [Move(found.function, Code.DEAD, Code.BURIED, found.size, found.kept) for found in dead]


def _dead(unit: Unit, id: str) -> Found:
    found = unit.find(id)
    if found.code != Code.DEAD:
        raise UnknownInvocation(f"{id} is no dead letter")
    return found


def each(unit: Unit, change: Callable[[Unit, Any], Any], values: Sequence[Any]) -> list[Any]:
    """What `change` comes to for each of `values`: a result, or the error that it raises before it changes anything."""
    results = []
    for value in values:
        try:
            results.append(change(unit, value))
        except GuesthouseError as error:
            results.append(error)
    return results
