"""`entries_of`: a stored journal as a list of what was done, without what was said: for whoever looks at it from outside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec

from guesthouse.durable.reading import Reading
from guesthouse.durable.records import WAITED, Call, Done, End, Intent, Observed, Raised, Result, Step

_WORDS = {Call: "call", Intent: "intent", Observed: "observed", Step: "step"}
_ENDS = {Result: "call", Raised: "trap", Done: "step"}


@dataclass(slots=True)
class Entry:
    """One entry of a journal."""

    number: int
    what: str
    """call; intent (it was announced, and no result is recorded yet); observed (read inside of a call); step; trap."""
    name: str
    """`interface#function`; of a step and of what was observed its own."""
    bytes: int
    """Before compression."""


class Summary(NamedTuple):
    """How far a journal goes."""

    entries: int
    """How many of them count."""
    end: End | None
    """How the invocation ended, if it has."""
    kept: int
    """The entry behind the last effect that succeeded: what comes from there on, another attempt does again."""


def summary_of(segments: Sequence[bytes]) -> Summary:
    """How many entries a journal has, and its end.  Raises a `JournalError`."""
    reading = Reading(segments)
    entries = kept = 0
    while (record := reading.ahead) is not None:
        entries += type(record) in _WORDS
        if isinstance(record, Done) or (isinstance(record, Result) and not record.failed) or _waited(reading, record):
            kept = entries
        reading.advance()
    return Summary(entries, reading.end, kept)


def _waited(reading: Reading, record: object) -> bool:
    return isinstance(record, Observed) and reading.name(record.name) == WAITED


def version_of(segments: Sequence[bytes]) -> int:
    """The version of the function that a journal was begun on; 0 where it does not say."""
    header = Reading(segments[:1]).header
    return 0 if header is None else header.version


def entries_of(segments: Sequence[bytes]) -> tuple[Sequence[Entry], End | None]:
    """The entries of a journal that count, and how the invocation ended, if it has.  Raises a `JournalError`."""
    reading = Reading(segments)
    entries: list[Entry] = []
    while (record := reading.ahead) is not None:
        size = len(msgspec.msgpack.encode(record))
        word = _WORDS.get(type(record))
        if word is not None:
            named: Any = record
            entries.append(Entry(len(entries), word, reading.name(named.name), size))
        elif entries:
            entries[-1].bytes += size
            entries[-1].what = _ENDS.get(type(record), entries[-1].what)
        reading.advance()
    return entries, reading.end
