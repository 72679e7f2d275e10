"""Settling calls to which more belongs than their rows: a journal, somebody who waits for them, a key of their own.

Promises: one that is suspended is so only if what it waits for has not come yet.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from guesthouse.queue.call import Wait
from guesthouse.queue.closing import Closed, close, is_tied
from guesthouse.queue.completing import Missing, remember_waits, still_missing
from guesthouse.queue.journals import bytes_of, insert_segments
from guesthouse.queue.rows import LATEST_MS, Code
from guesthouse.queue.settlement import Settlement
from guesthouse.queue.unit import Found, Move, Unit, Value, parts

_COLUMNS: Final = 12


class Tied(NamedTuple):
    """A settlement by whoever has the lease, and its row as it was."""

    settlement: Settlement
    found: Found
    code: Code
    strikes: int

    @property
    def journal(self) -> int:
        """Bytes of its journal, with the last segment, and with the request where that is kept."""
        segment = self.settlement.segment
        return self.found.journal + (bytes_of(segment) if segment else 0) + self.keeps_request * self.found.request

    @property
    def keeps_request(self) -> bool:
        """A journal that has come to its end is worth nothing without what was asked."""
        journal = self.found.segments or self.settlement.segment
        return self.code > Code.DEAD and self.found.durable and bool(journal)

    @property
    def kept(self) -> int:
        """Bytes that stay: a dead letter's journal is in its size."""
        ending = self.settlement.ending
        return 0 if ending is None else ending.kept + (0 if self.code is Code.DEAD else self.journal)


def update(unit: Unit, settled: Sequence[Tied]) -> list[Tied]:
    """Settles calls; what became of each."""
    if any(of.settlement.wait is not None for of in settled):
        settled = _suspended(unit, settled)
    for of in settled:
        found, grown = of.found, of.journal - of.found.counted
        if of.code <= Code.DEAD and grown:
            unit.moves.append(Move(found.function, Code.RUNNING, Code.RUNNING, grown=grown))
            unit.moves.append(Move(found.function, Code.RUNNING, of.code, found.size + grown, of.kept))
        else:
            unit.moves.append(Move(found.function, Code.RUNNING, of.code, found.size, of.kept))
    insert_segments(
        unit, [(of.found.seq, of.found.segments, of.settlement.segment) for of in settled if of.settlement.segment]
    )
    for values, marks in parts([_row(of) for of in settled], _COLUMNS):
        unit.execute(
            "UPDATE invocations SET holder = NULL, state = column2, due_ms = coalesce(column3, due_ms),"
            " started_ms = coalesce(column4, started_ms), ended_ms = column5, about = coalesce(column6, about),"
            " kept = column7, attempts = attempts - column8, strikes = column9, size = size + column10 - counted,"
            " segments = segments + column11, journal = column10, counted = column10, version = coalesce(version, column12)"
            f" FROM (VALUES {marks}) WHERE seq = column1",
            values,
        )
    return list(settled)


def close_all(unit: Unit, settled: Sequence[Tied]) -> None:
    """Does what belongs to those that have ended."""
    ended = [of for of in settled if of.code >= Code.DEAD and is_tied(of.found)]
    close(unit, [Closed(of.found, of.settlement.completion, of.code is Code.DEAD) for of in ended])


def _suspended(unit: Unit, settled: Sequence[Tied]) -> list[Tied]:
    """Decides of those that are to be suspended which have nothing to wait for, and writes down what the others do."""
    waits: Mapping[int, Wait] = {of.found.seq: of.settlement.wait for of in settled if of.settlement.wait is not None}
    missing: Mapping[int, Missing] = still_missing(unit, waits)
    remember_waits(unit, {seq: (waits[seq], left) for seq, left in missing.items()})
    decided = []
    for of in settled:
        wait = of.settlement.wait
        if wait is None:
            decided.append(of)
            continue
        due_ms = min(LATEST_MS, LATEST_MS if wait.until_ms is None else wait.until_ms)
        suspended = of.found.seq in missing
        settlement = of.settlement._replace(due_ms=due_ms if suspended else unit.turn_ms)
        decided.append(of._replace(settlement=settlement, code=Code.SUSPENDED if suspended else Code.READY))
    return decided


def _row(of: Tied) -> tuple[Value, ...]:
    settlement, ending = of.settlement, of.settlement.ending
    return (
        of.found.seq,
        int(of.code),
        settlement.due_ms,
        settlement.started_ms,
        settlement.ended_ms,
        settlement.about if ending is None else ending.about,
        of.kept,
        int(settlement.gives_back or settlement.wait is not None),  # neither is a run of its own
        of.strikes,
        of.journal,
        int(bool(settlement.segment)),
        settlement.version,
    )
