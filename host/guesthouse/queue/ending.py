"""What becomes of calls that were leased, and what people do to single ones, as parts of a unit of work.

Promises: whoever settles a call with an older fence changes nothing; what belongs to an end is written with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from guesthouse.errors import GuesthouseError
from guesthouse.queue.call import Callback, Completion
from guesthouse.queue.closing import Closed, close, forget, is_tied
from guesthouse.queue.inserting import insert_calls, insert_outputs
from guesthouse.queue.journals import bytes_of, fenced, forget_journals, insert_segments
from guesthouse.queue.parking import unpark
from guesthouse.queue.queue import FunctionKey, UnknownInvocation
from guesthouse.queue.rows import Code, Ending, packed
from guesthouse.queue.settlement import Settlement
from guesthouse.queue.tied import Tied, close_all, update
from guesthouse.queue.unit import Found, Move, Unit, Value, parts

_COLUMNS: Final = 8


class _Settled(NamedTuple):
    """A settlement by whoever has the lease, and the number of its row."""

    settlement: Settlement
    seq: int
    code: Code
    keeps_request: bool = False


def settle(unit: Unit, settlements: Sequence[Settlement]) -> list[GuesthouseError | bool]:
    """Settles calls that are leased; `Fenced` for those whose lease is not the last one.

    False for those that were to be suspended, but need not wait any more.
    """
    wanted: dict[str, Settlement] = {}
    for settlement in settlements:
        wanted.setdefault(settlement.id, settlement)
    settled, tied = _update(unit, wanted)
    ended, outputs, callbacks, calls = [], [], [], []
    for settlement, seq, code, keeps_request in settled:
        if code > Code.DEAD and not keeps_request:
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
    close_all(unit, tied)
    if calls:
        insert_calls(unit, calls, 0)
    done = {of.settlement.id: of.settlement.wait is None or of.code is Code.SUSPENDED for of in settled}
    return [done[of.id] if wanted[of.id] is of and of.id in done else fenced(of.lease) for of in settlements]


def _update(unit: Unit, wanted: Mapping[str, Settlement]) -> tuple[list[_Settled], list[Tied]]:
    """Those whose fence is the last one; and again, with their rows, those to which more belongs."""
    settled: list[_Settled] = []
    written: list[tuple[Value, ...]] = []
    tied: list[Tied] = []
    for call_id, seq, namespace, name, strikes, size, ties in _leased(unit, wanted.values()):
        settlement = wanted[call_id]
        code = Code.STRUCK if settlement.gives_back and strikes else settlement.code
        if ties is not None or settlement.segment or settlement.wait is not None:
            found = _found(seq, (namespace, name), size, ties)
            tied.append(Tied(settlement, found, code, strikes if settlement.gives_back else 0))
            continue
        kept = 0 if settlement.ending is None else settlement.ending.kept
        unit.moves.append(Move((namespace, name), Code.RUNNING, code, size, kept))
        settled.append(_Settled(settlement, seq, code))
        written.append(_row(settlement, seq, code, kept))
    for values, marks in parts(written, _COLUMNS):
        unit.execute(
            "UPDATE invocations SET holder = NULL, state = column2, due_ms = coalesce(column3, due_ms),"
            " started_ms = coalesce(column4, started_ms), ended_ms = column5, about = coalesce(column6, about),"
            " kept = column7, attempts = attempts - column8, strikes = CASE WHEN column8 THEN strikes ELSE 0 END"
            f" FROM (VALUES {marks}) WHERE seq = column1",
            values,
        )
    tied = update(unit, tied)
    settled += [_Settled(of.settlement, of.found.seq, of.code, of.keeps_request) for of in tied]
    return settled, tied


def _leased(unit: Unit, settlements: Iterable[Settlement]) -> Iterator[list[Any]]:
    """The rows of those whose fence is the last one."""
    for values, marks in parts([(settlement.id, settlement.lease.fence) for settlement in settlements], 2):
        yield from unit.gathered(
            "SELECT json_group_array(json_array(id, seq, namespace, name, strikes, size, CASE WHEN durable OR exclusive OR"
            " promise OR attached OR segments THEN json_array(key, durable, exclusive, parent, promise, attached, segments,"
            f" journal, told, counted) END)) FROM (VALUES {marks})"
            f" CROSS JOIN invocations ON id = column1 WHERE fence = column2 AND state = {Code.RUNNING:d}",
            values,
        )


def _found(seq: int, function: FunctionKey, size: int, ties: Sequence[Any] | None) -> Found:
    if ties is None:
        return Found(seq, Code.RUNNING, function, None, size, 0)
    key, durable, exclusive, *rest = ties
    return Found(seq, Code.RUNNING, function, key, size, 0, bool(durable), bool(exclusive), *rest)


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


def cancel(unit: Unit, wanted: tuple[str, Ending, int | None, Completion]) -> bool:
    """Ends a call that is queued and, where it is durable, has not begun; false where it is not any more."""
    call_id, ending, ended_ms, completion = wanted
    found = unit.find(call_id)
    if not Code.READY <= found.code < Code.RUNNING or (found.durable and found.segments):
        return False
    unit.execute(
        "UPDATE invocations SET state = ?, ended_ms = ?, about = ?, kept = ? WHERE seq = ?",
        (int(ending.code), ended_ms or unit.now_ms, ending.about, ending.kept, found.seq),
    )
    unit.delete("requests", [found.seq])
    unit.moves.append(Move(found.function, found.code, ending.code, found.size, ending.kept))
    if is_tied(found):
        close(unit, [Closed(found, completion)])
    if found.key is not None and not found.exclusive:
        unpark(unit, found.function, [found.key], 1)
    return True


def redrive(unit: Unit, wanted: tuple[str, bytes, int | None]) -> None:
    """Queues a dead letter once more, with all its attempts; what came of it the last time is forgotten.

    The journal of a durable one stays, with a further segment where there is one.
    """
    call_id, segment, version = wanted
    turn_ms, found = unit.turn_ms, _dead(unit, call_id)
    if not found.durable:
        forget_journals(unit, [found.seq] if found.segments else [])
        unit.execute("UPDATE invocations SET size = size - ? WHERE seq = ?", (found.journal, found.seq))
        unit.moves.append(Move(found.function, Code.DEAD, Code.DEAD, grown=-found.journal))
        found = found._replace(size=found.size - found.journal)
    elif segment:
        insert_segments(unit, [(found.seq, found.segments, segment)])
    size = bytes_of(segment) if found.durable and segment else 0
    unit.execute(
        f"UPDATE invocations SET state = {Code.READY:d}, due_ms = ?, ended_ms = NULL, kept = 0, strikes = 0,"
        " earlier = earlier + attempts, attempts = 0, version = coalesce(?, version), segments = segments + ?,"
        " journal = journal + ? WHERE seq = ?",
        (turn_ms, version, int(size > 0), size, found.seq),
    )
    unit.delete("outputs", [found.seq])
    unit.delete("callbacks", [found.seq])
    unit.moves.append(Move(found.function, Code.DEAD, Code.READY, found.size, found.kept))


def drop(unit: Unit, id: str) -> None:
    """Forgets the request of a dead letter."""
    bury(unit, [_dead(unit, id)])


def bury(unit: Unit, dead: Sequence[Found]) -> None:
    """Takes the requests of dead letters away, with their journals; their records stay."""
    seqs = [found.seq for found in dead]
    forget_journals(unit, [found.seq for found in dead if found.segments])
    forget(unit, [found.seq for found in dead if found.durable])
    unit.move(seqs, Code.BURIED)
    unit.delete("requests", seqs)
    unit.moves += [Move(found.function, Code.DEAD, Code.BURIED, found.size, found.kept) for found in dead]


def _dead(unit: Unit, id: str) -> Found:
    found = unit.find(id)
    if found.code != Code.DEAD:
        raise UnknownInvocation(f"{id} is no dead letter")
    return found
