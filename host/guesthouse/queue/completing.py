"""Completions: what durable invocations are told, and how those wake that are suspended.

Promises: the first completion of a future counts; each costs the same, however many others are waited for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from guesthouse.errors import GuesthouseError
from guesthouse.queue.call import CANCELLATION, Completion, Wait
from guesthouse.queue.queue import FunctionKey, TooMuch, UnknownInvocation
from guesthouse.queue.rows import LATEST_MS, OUTCOMES, ROW_BYTES, Code
from guesthouse.queue.unit import Move, Told, Unit, Value, Woken, listed, parts
from guesthouse.storage.database import Connection, rows
from guesthouse.storage.errors import StorageError

_OK: Final = OUTCOMES.index("ok")
MOST_TOLD: Final = 64 << 20
"""Bytes of an invocation's completions beyond which it takes none from outside: nobody fills the disk by what one waits for."""


class Telling(NamedTuple):
    """A completion, and whom it is for."""

    owner: int
    """Number of its row."""
    number: int
    completion: Completion


class Missing(NamedTuple):
    """How many completions a suspended invocation still waits for; `None`: not for that."""

    oks: int | None
    failures: int | None
    ends: int | None

    def less(self, outcome: int, count: int) -> Missing:
        """What is missing after some more of one outcome."""
        failures = 0 if outcome == _OK else count
        return Missing(
            None if self.oks is None else self.oks - count + failures,
            None if self.failures is None else self.failures - failures,
            None if self.ends is None else self.ends - count,
        )

    @property
    def none(self) -> bool:
        """Whether it need not wait any more."""
        return any(count is not None and count <= 0 for count in self)


class _Owner:
    """A row that something is told of."""

    def __init__(self, id: str, function: FunctionKey, code: int, missing: Missing) -> None:
        self.id = id
        self.function = function
        self.code = Code(code)
        self.missing = missing
        self.changed = False
        self.woken = False
        self.grown = 0


def tell(unit: Unit, tellings: Sequence[Telling]) -> list[bool | None]:
    """Completes futures; of each whether it was the first one, or `None` where its invocation is over."""
    wanted: dict[tuple[int, int], Telling] = {}
    for telling in tellings:
        wanted.setdefault(telling[:2], telling)
    owners: dict[int, _Owner] = {}
    fresh: dict[tuple[int, int], Telling] = {}
    for seq, number, call_id, namespace, name, code, known, waited, *missing in _looked_up(unit, list(wanted)):
        owner = owners.get(seq)
        if owner is None:
            owner = owners[seq] = _Owner(call_id, (namespace, name), code, Missing(*missing))
        if not known:
            fresh[seq, number] = wanted[seq, number]
            _count(owner, fresh[seq, number], bool(waited))
    _insert(unit, list(fresh.values()))
    _change(unit, owners)
    unit.news += [Told(owners[telling.owner].id, telling.number) for telling in fresh.values()]
    return [fresh.pop(t[:2], None) is t if t.owner in owners else None for t in tellings]


def size_of(completion: Completion) -> int:
    """Bytes that a completion is taken to cost."""
    return ROW_BYTES + len(completion.value)


def _looked_up(unit: Unit, keys: Sequence[tuple[Value, ...]]) -> list[list[Any]]:
    found: list[list[Any]] = []
    for values, marks in parts(keys, 2):
        found += unit.gathered(
            "SELECT json_group_array(json_array(column1, column2, i.id, i.namespace, i.name, i.state,"
            " EXISTS (SELECT 1 FROM completions AS c WHERE c.seq = column1 AND c.number = column2),"
            " (SELECT last >= column2 FROM waited AS d WHERE d.seq = column1 AND d.first <= column2"
            " ORDER BY d.first DESC LIMIT 1), w.oks, w.failures, w.ends))"
            f" FROM (VALUES {marks}) CROSS JOIN invocations AS i ON i.seq = column1"
            " LEFT JOIN waits AS w ON w.seq = column1 WHERE i.state < 6 AND i.durable",
            values,
        )
    return found


def _count(owner: _Owner, telling: Telling, waited: bool) -> None:
    """Counts a completion that is the first of its future."""
    owner.grown += size_of(telling.completion)
    if telling.number == CANCELLATION:  # whatever it waits for; also the time of its next attempt
        owner.woken = owner.woken or owner.code in (Code.SUSPENDED, Code.DELAYED)
    elif waited and owner.code is Code.SUSPENDED:
        owner.missing = owner.missing.less(OUTCOMES.index(telling.completion.outcome), 1)
        owner.changed = True
        owner.woken = owner.woken or owner.missing.none


def _insert(unit: Unit, tellings: Sequence[Telling]) -> None:
    written: list[tuple[Value, ...]] = [
        (owner, number, OUTCOMES.index(told.outcome), told.code, bytes(told.value)) for owner, number, told in tellings
    ]
    for values, marks in parts(written, 5):
        unit.execute(
            "INSERT INTO completions (seq, number, outcome, code, value)"
            f" SELECT * FROM (VALUES {marks}) WHERE column1 IS NOT NULL",
            values,
        )


def _change(unit: Unit, owners: Mapping[int, _Owner]) -> None:
    """Writes what became of those that were told: their bytes, what is still missing, and whether they go on."""
    grown: list[tuple[Value, ...]] = [
        (seq, of.grown, int(Code.READY if of.woken else of.code), unit.turn_ms if of.woken else None)
        for seq, of in owners.items()
        if of.grown
    ]
    for values, marks in parts(grown, 4):
        unit.execute(
            "UPDATE invocations SET size = size + column2, told = told + column2, state = column3,"
            f" due_ms = coalesce(column4, due_ms) FROM (VALUES {marks}) WHERE seq = column1",
            values,
        )
    missing: list[tuple[Value, ...]] = [(seq, *of.missing) for seq, of in owners.items() if of.changed and not of.woken]
    for values, marks in parts(missing, 4):
        unit.execute(
            f"UPDATE waits SET oks = column2, failures = column3, ends = column4 FROM (VALUES {marks}) WHERE seq = column1",
            values,
        )
    woken = [seq for seq, of in owners.items() if of.woken]
    forget_waits(unit, woken)
    for of in owners.values():
        if of.grown:
            unit.moves.append(Move(of.function, of.code, of.code, grown=of.grown))
        if of.woken:
            unit.moves.append(Move(of.function, of.code, Code.READY))
    unit.news += [Woken(function) for function in {owners[seq].function for seq in woken}]


# -- what is waited for


def forget_waits(unit: Unit, seqs: Sequence[int]) -> None:
    """Deletes what invocations waited for that go on, or have ended."""
    unit.delete("waits", seqs)
    unit.delete("waited", seqs)


def ranges(wait: Wait) -> list[tuple[int, int]]:
    """The futures that count for a wait, in ranges that do not overlap; without that of the cancellation."""
    found: list[tuple[int, int]] = []
    for first, last in sorted(wait.numbers):
        first = max(first, CANCELLATION + 1, found[-1][1] + 1 if found else 0)
        if first > last:
            continue
        if found and found[-1][1] + 1 == first:
            found[-1] = (found[-1][0], last)
        else:
            found.append((first, last))
    return found


def still_missing(unit: Unit, waits: Mapping[int, Wait]) -> dict[int, Missing]:
    """Of those that are to be suspended, by row, what they have to wait for; the others are missing nothing any more."""
    waiting: dict[int, Missing] = {}
    looked: list[tuple[Value, ...]] = []
    for seq, wait in waits.items():
        timed = wait.until_ms is not None and wait.until_ms < LATEST_MS
        if not (wait.numbers or timed) or (wait.until_ms is not None and wait.until_ms <= unit.now_ms):
            continue
        counted = (wait.oks, wait.failures, wait.ends)
        some = bool(wait.numbers) and counted == (None, None, None)
        waiting[seq] = Missing(None, None, 1) if some else Missing(*counted)
        looked += [(seq, first, last) for first, last in ranges(wait)]
        if any(first <= CANCELLATION <= last for first, last in wait.numbers):
            looked.append((seq, CANCELLATION, CANCELLATION))
    for values, marks in parts(looked, 3):
        for seq, cancelled, outcome, count in unit.gathered(
            "SELECT json_group_array(json_array(seq, cancelled, outcome, n)) FROM (SELECT column1 AS seq,"
            f" c.number = {CANCELLATION} AS cancelled, c.outcome AS outcome, count(*) AS n FROM (VALUES {marks})"
            " CROSS JOIN completions AS c ON c.seq = column1 AND c.number BETWEEN column2 AND column3 GROUP BY 1, 2, 3)",
            values,
        ):
            if seq in waiting:
                left = Missing(0, 0, 0) if cancelled else waiting[seq].less(outcome, count)
                waiting[seq] = left
    return {seq: missing for seq, missing in waiting.items() if not missing.none}


def remember_waits(unit: Unit, waits: Mapping[int, tuple[Wait, Missing]]) -> None:
    """Writes down what suspended invocations wait for."""
    missing: list[tuple[Value, ...]] = []
    waited: list[tuple[Value, ...]] = []
    for seq, (wait, left) in waits.items():
        found = ranges(wait)
        if found:
            missing.append((seq, *left))
            waited += [(seq, first, last) for first, last in found]
    for values, marks in parts(missing, 4):
        unit.execute(f"INSERT OR REPLACE INTO waits SELECT * FROM (VALUES {marks}) WHERE column1 IS NOT NULL", values)
    for values, marks in parts(waited, 3):
        unit.execute(f"INSERT OR REPLACE INTO waited SELECT * FROM (VALUES {marks}) WHERE column1 IS NOT NULL", values)


# -- looking


def complete(unit: Unit, wanted: Sequence[tuple[str, int, Completion]]) -> list[bool | GuesthouseError]:
    """Completes futures of invocations; of each whether it was the first completion of that."""
    query = "SELECT id, seq, told FROM invocations WHERE id IN (SELECT value FROM json_each(?))"
    rows_: dict[str, tuple[int, int]] = {
        call_id: (seq, told) for call_id, seq, told in unit.rows(query, (listed([of[0] for of in wanted]),))
    }
    results: list[bool | GuesthouseError] = []
    tellings: list[Telling] = []
    for call_id, number, completion in wanted:
        seq, told = rows_.get(call_id, (-1, 0))
        if number != CANCELLATION and told + size_of(completion) > MOST_TOLD:
            results.append(TooMuch(f"what awaits the invocation is over {MOST_TOLD} bytes already"))
            continue
        results.append(UnknownInvocation(f"there is no durable invocation {call_id} that goes on"))
        tellings.append(Telling(seq, number, completion))
    firsts = iter(tell(unit, tellings))
    for place, result in enumerate(results):
        if isinstance(result, UnknownInvocation) and (first := next(firsts)) is not None:
            results[place] = first
    return results


def completions(connection: Connection, id: str, numbers: Sequence[int], most_bytes: int) -> dict[int, Completion]:
    """What has completed of some futures; raises `TooMuch` where the values are over `most_bytes`."""
    query = (
        "SELECT c.number, c.outcome, c.value, c.code FROM invocations AS i CROSS JOIN json_each(?) AS wanted"
        " CROSS JOIN completions AS c ON c.seq = i.seq AND c.number = wanted.value WHERE i.id = ?"
    )
    found: dict[int, Completion] = {}
    total = 0
    cursor = connection.execute(query, (listed(list(numbers)), id))
    for number, outcome, value, code in cursor:
        total += len(value)
        if total > most_bytes:
            cursor.close()
            raise TooMuch(f"what has completed is over {most_bytes} bytes")
        found[number] = Completion(_word(outcome), value, code)
    return found


def outcomes(connection: Connection, id: str) -> dict[int, str]:
    """How each future that has completed did, without the values."""
    query = (
        "SELECT c.number, c.outcome FROM invocations AS i CROSS JOIN completions AS c ON c.seq = i.seq WHERE i.id = ?"
    )
    return {number: _word(outcome) for number, outcome in rows(connection, query, (id,))}


def _word(outcome: int) -> Any:
    if not 0 <= outcome < len(OUTCOMES):
        raise StorageError(f"a stored completion has the outcome {outcome}")
    return OUTCOMES[outcome]
