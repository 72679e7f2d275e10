"""`Changes`: what can be changed of a queue, and the unit of work that does many changes in one transaction.

Promises: what ends work comes first, what begins it next, and who runs it last; a change that has to be undone is undone alone.
Belongs to the writer's thread.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum, auto
from functools import partial
from typing import Any, Final

from guesthouse.clock import Clock
from guesthouse.errors import GuesthouseError
from guesthouse.queue import keyed, outbox
from guesthouse.queue.batches import Change, Done
from guesthouse.queue.completing import complete
from guesthouse.queue.config import QueueConfig
from guesthouse.queue.ending import cancel, drop, redrive, settle
from guesthouse.queue.inserting import insert_calls, insert_records
from guesthouse.queue.journals import append, record
from guesthouse.queue.leasing import lease
from guesthouse.queue.rows import NewCall
from guesthouse.queue.trees import kill
from guesthouse.queue.unit import Unit
from guesthouse.storage.database import Connection

HOUR_MS: Final = 3_600_000


class Kind(Enum):
    """What can be changed, in the order in which one unit of work does it."""

    APPEND = auto()
    COMPLETE = auto()
    CANCEL = auto()
    KILL = auto()
    SETTLE = auto()
    REDRIVE = auto()
    DROP = auto()
    DELIVERED = auto()
    POSTPONE = auto()
    STATE = auto()
    FORGET_STATE = auto()
    ENQUEUE = auto()
    ENQUEUE_ALL = auto()
    WRITE = auto()
    JOURNAL = auto()
    LEASE = auto()


class Changes:
    """Those of one queue, for `holder`.  `turn_ms` is the last place that a call which is due at once was given."""

    def __init__(self, config: QueueConfig, clock: Clock, holder: str, turn_ms: int) -> None:
        self._clock = clock
        self._holder = holder
        self._turn_ms = turn_ms
        self._keep_keys_ms = config.idempotency_hours * HOUR_MS
        self._bounds = keyed.Bounds(config.state_key_bytes, config.state_bytes)

    def unit(self, connection: Connection) -> Unit:
        """A unit of work of this moment."""
        return Unit(connection, self._clock.wall_ns() // 1_000_000, self._turn)

    def _turn(self, now_ms: int) -> int:
        """The place of a call that is due at once: behind all that came before it, also where the clock was put back."""
        self._turn_ms = max(self._turn_ms, now_ms)
        return self._turn_ms

    def work(self, connection: Connection, changes: Sequence[Change[Kind]]) -> Done:
        """Does changes."""
        unit = self.unit(connection)
        places: dict[Kind, list[int]] = {}
        single: dict[Kind, list[int]] = {}
        for place, change in enumerate(changes):
            places.setdefault(change.kind, []).append(place)
            if change.joined is not None:
                single.setdefault(change.kind, []).append(place)
        results: list[Any] = [None] * len(changes)
        for kind in Kind:
            found = places.get(kind)
            if not found:
                continue
            if kind in single:
                found = [place for place in found if changes[place].joined is None]
            if found:
                values = [changes[place].values for place in found]
                for place, result in zip(found, self._do(unit, kind, values), strict=True):
                    results[place] = result
            for place in single.get(kind, ()):
                results[place] = self._do_joined(unit, changes[place])
        return Done(results, unit.moves, unit.news)

    def _do_joined(self, unit: Unit, change: Change[Kind]) -> Any:
        """Does a change with what is stored with it, or neither."""

        def both() -> Any:
            (result,) = self._do(unit, change.kind, [change.values])
            if isinstance(result, BaseException):
                raise result
            if change.joined is not None:
                change.joined.store(unit.connection, result)
            return result

        return unit.alone(both)

    def _do(self, unit: Unit, kind: Kind, values: Sequence[Any]) -> Sequence[Any]:
        """Does all changes of one kind; what each comes to."""
        match kind:
            case Kind.APPEND:
                return append(unit, values)
            case Kind.COMPLETE:
                return complete(unit, values)
            case Kind.CANCEL:
                return each(unit, cancel, values)
            case Kind.KILL:
                return [unit.alone(partial(kill, unit, value)) for value in values]
            case Kind.SETTLE:
                return settle(unit, values)
            case Kind.REDRIVE:
                return each(unit, redrive, values)
            case Kind.DROP:
                return each(unit, drop, values)
            case Kind.DELIVERED:
                outbox.forget(unit.connection, values)
            case Kind.POSTPONE:
                outbox.postpone(unit.connection, values)
            case Kind.STATE:
                return each(unit, lambda unit, value: keyed.change(unit, value, self._bounds), values)
            case Kind.FORGET_STATE:
                return each(unit, keyed.forget, values)
            case Kind.ENQUEUE:
                return insert_calls(unit, values, self._keep_keys_ms)
            case Kind.ENQUEUE_ALL:
                return [unit.alone(partial(self._insert_all, unit, value)) for value in values]
            case Kind.WRITE:
                insert_records(unit, [end for ended in values for end in ended])
            case Kind.JOURNAL:
                return each(unit, record, values)
            case Kind.LEASE:
                return [lease(unit, wanted, self._holder) for wanted in values]
        return [None] * len(values)

    def _insert_all(self, unit: Unit, calls: Sequence[NewCall]) -> list[tuple[str, int]]:
        """Stores all of some calls: the id and the promise of each; raises what keeps one of them from it."""
        stored: list[tuple[str, int]] = []
        for new, result in zip(calls, insert_calls(unit, calls, self._keep_keys_ms), strict=True):
            if isinstance(result, BaseException):
                raise result
            stored.append((result, new.call.promise))
        return stored


def each(unit: Unit, change: Callable[[Unit, Any], Any], values: Sequence[Any]) -> list[Any]:
    """What `change` comes to for each of `values`: a result, or the error that it raises before it changes anything."""
    results = []
    for value in values:
        try:
            results.append(change(unit, value))
        except GuesthouseError as error:
            results.append(error)
    return results
