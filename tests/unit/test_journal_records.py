"""Segments of journals: what was written is read, what was changed is refused, and no byte makes the reader crash."""

from __future__ import annotations

import random
import zlib
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guesthouse.durable.errors import JournalDamaged, JournalError, JournalTooNew
from guesthouse.durable.reading import Reading
from guesthouse.durable.records import (
    FORMAT,
    HEAD,
    NEVER,
    SIZES,
    Body,
    Call,
    Decided,
    Done,
    End,
    Header,
    Intent,
    Name,
    Observed,
    Piece,
    Raised,
    Record,
    Result,
    Shown,
    Step,
    Tried,
    Unit,
    cut_segment,
    decided_segment,
    head_of,
    records_of,
    seal,
)

numbers = st.integers(0, 1 << 31)
values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 63), (1 << 64) - 1) | st.text(max_size=9) | st.binary(max_size=9),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=5,
)
arguments = st.binary(max_size=20) | st.builds(Shown, st.binary(min_size=16, max_size=16), st.text(max_size=9))
any_record: st.SearchStrategy[Record] = st.one_of(
    st.builds(Header, st.text(max_size=9), numbers, st.text(max_size=9), st.text(max_size=9)),
    st.builds(Name, st.text(max_size=9)),
    st.builds(Call, numbers, arguments, values),
    st.builds(Intent, numbers, arguments),
    st.builds(Unit, values),
    st.builds(Result, values, st.booleans()),
    st.builds(Raised, st.text(max_size=9), st.text(max_size=9)),
    st.builds(Observed, numbers, values),
    st.builds(Step, numbers),
    st.builds(Tried, numbers, numbers),
    st.builds(Done, values, st.booleans()),
    st.builds(Decided, st.text(max_size=9)),
    st.builds(Piece, numbers, st.none() | st.binary(max_size=9)),
    st.builds(End, st.text(max_size=9), numbers, st.binary(max_size=9), st.text(max_size=9)),
)


def body(*records: Record, first: int = 0) -> Body:
    found = Body(first)
    for record in records:
        found.add(record)
    return found


def rest(reading: Reading) -> list[Any]:
    """Everything that counts from where it stands."""
    found = []
    while reading.ahead is not None:
        found.append(reading.ahead)
        reading.advance()
    return found


@given(st.lists(any_record, min_size=1, max_size=20))
def test_records_read_what_was_written(records: list[Record]) -> None:
    """Of every kind, in order."""
    assert records_of(body(*records).sealed()) == records


def test_long_segments_are_compressed_where_that_pays() -> None:
    """Text becomes shorter; what cannot become shorter stays as it is."""
    text = body(*(Call(0, b"\x90", "the same words again") for _ in range(100))).sealed()
    assert len(text) < 1000
    assert len(records_of(text)) == 100
    noise = random.Random(7).randbytes(2000)
    assert len(body(Call(0, b"\x90", noise)).sealed()) > 2000


@given(st.lists(any_record, min_size=1, max_size=5), st.data())
def test_a_changed_byte_is_found(records: list[Record], data: st.DataObject) -> None:
    """Wherever it is: the checksum, or what it stands for, says so."""
    segment = bytearray(body(*records).sealed())
    at = data.draw(st.integers(0, len(segment) - 1))
    segment[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(JournalError):
        records_of(bytes(segment))


@given(st.lists(any_record, min_size=1, max_size=5), st.data())
def test_a_segment_that_is_cut_off_is_found(records: list[Record], data: st.DataObject) -> None:
    """At whatever length."""
    segment = body(*records).sealed()
    with pytest.raises(JournalDamaged):
        records_of(segment[: data.draw(st.integers(0, len(segment) - 1))])


@given(st.binary(max_size=60), st.integers(0, 1), st.integers(0, 1 << 32 - 1), st.integers(0, 1 << 12))
def test_bytes_with_a_valid_checksum_are_read_or_refused(data: bytes, flags: int, count: int, size: int) -> None:
    """Whoever can write to the file can make a checksum, too: that ends in an error, and in bounded memory."""
    tail = SIZES.pack(count, size, 0, NEVER) + data
    segment = HEAD.pack(FORMAT, flags, zlib.crc32(tail)) + tail
    with suppress(JournalError):
        rest(Reading([segment]))


def test_a_bomb_is_refused_before_it_grows() -> None:
    """What unpacks to more than the segment says is no segment."""
    bomb = zlib.compress(bytes(50 << 20))
    tail = SIZES.pack(1, 100, 0, NEVER) + bomb
    with pytest.raises(JournalDamaged, match="longer than it says"):
        records_of(HEAD.pack(FORMAT, 1, zlib.crc32(tail)) + tail)


def test_a_newer_format_is_refused_by_name() -> None:
    """An older host must not guess what a newer one meant."""
    segment = bytearray(body(Name("a")).sealed())
    segment[0] = FORMAT + 1
    with pytest.raises(JournalTooNew, match="newer"):
        head_of(bytes(segment))


def test_records_of_an_unknown_kind_are_refused() -> None:
    """The format says which kinds there are."""
    with pytest.raises(JournalDamaged):
        records_of(seal(b"\x92\x63\x01", 1))


# -- what counts


CALLS = [Call(0, b"\x90", number) for number in range(9)]


def journal(*cuts: tuple[int, int]) -> Reading:
    """Calls 0 to 2, in one segment; then for each cut its entry, and as many new calls behind it."""
    segments = [body(Header("inv", 1, "", ""), Name("a"), *CALLS[:3]).sealed()]
    for cut, count in cuts:
        segments.append(cut_segment(cut))
        segments.append(body(*CALLS[5 : 5 + count], first=cut).sealed())
    return Reading([segment for segment in segments if segment])


def test_entries_behind_a_cut_do_not_count() -> None:
    """They are done again: what was written instead counts."""
    assert rest(journal()) == CALLS[:3]
    assert rest(journal((1, 0))) == CALLS[:1]
    assert rest(journal((1, 2))) == [CALLS[0], *CALLS[5:7]]
    assert rest(journal((1, 2), (2, 1))) == [CALLS[0], CALLS[5], CALLS[5]]
    assert rest(journal((2, 2), (0, 1))) == [CALLS[5]]


def test_what_belongs_to_an_entry_goes_with_it() -> None:
    """The result of a call is cut with the call, also where it is in a later segment."""
    intents = [Intent(0, b"\x90"), Unit(1), Result(2, False)]
    first = body(Header("inv", 1, "", ""), Name("a"), *intents, intents[0], first=0).sealed()
    second = body(*intents[1:], first=2).sealed()
    assert rest(Reading([first, second])) == [*intents, *intents]
    assert rest(Reading([first, second, cut_segment(1)])) == intents
    assert rest(Reading([first, second, cut_segment(2)])) == [*intents, *intents]


def test_a_cut_in_a_segment_leaves_its_own_records_before_it() -> None:
    """A run that fails appends what has to be kept together with the cut."""
    first = body(Header("inv", 1, "", ""), Name("a"), *CALLS[:3]).sealed(cut=2)
    reading = Reading([first, body(CALLS[7], first=2).sealed()])
    assert rest(reading) == [*CALLS[:2], CALLS[7]]


def test_a_missing_segment_is_found() -> None:
    """Entries are numbered through."""
    segments = [
        body(Header("inv", 1, "", ""), Name("a"), CALLS[0]).sealed(),
        body(CALLS[1], first=1).sealed(),
        body(CALLS[2], first=2).sealed(),
    ]
    assert len(rest(Reading(segments))) == 3
    with pytest.raises(JournalDamaged, match="goes on with entry 2 where 1"):
        rest(Reading([segments[0], segments[2]]))
    with pytest.raises(JournalDamaged):
        rest(Reading([segments[0], segments[0], segments[1]]))


def test_a_segment_that_cannot_be_read_is_found_among_others() -> None:
    """Short segments are read together; what is wrong with one of them is said as if it were alone."""
    segments = [body(Header("inv", 1, "", ""), Name("a"), CALLS[0]).sealed(), seal(b"\x92\x63\x01", 1, 1)]
    with pytest.raises(JournalDamaged, match="cannot be read"):
        Reading([*segments, body(CALLS[1], first=1).sealed()])
    with pytest.raises(JournalDamaged, match="cannot be read"):
        Reading([segments[0], seal(b"\x92\x02", 1, 1)])


def test_the_end_counts_until_something_comes_behind_it() -> None:
    """A dead letter that is tried again has not ended."""
    first = body(Header("inv", 1, "", ""), Name("a"), CALLS[0], End("trapped", 0, b"")).sealed()
    reading = Reading([first])
    rest(reading)
    assert reading.end is not None
    again = Reading([first, cut_segment(1)])
    rest(again)
    assert again.end is None


def test_a_decision_comes_behind_the_call_that_it_is_about() -> None:
    """Whoever decides appends it from outside of a run."""
    first = body(Header("inv", 1, "", ""), Name("a"), Intent(0, b"\x90")).sealed()
    assert rest(Reading([first, decided_segment("fail")])) == [Intent(0, b"\x90"), Decided("fail")]


def test_pieces_of_a_stream_are_found_wherever_they_are() -> None:
    """Also ahead of where the reading stands, without losing what lies between."""
    segments = [
        body(Header("inv", 1, "", ""), Name("a"), CALLS[0], Piece(1, b"a"), CALLS[1]).sealed(),
        body(CALLS[2], Piece(1, b"b"), Piece(2, b"x"), first=2).sealed(),
        body(Piece(1, None), first=3).sealed(),
    ]
    reading = Reading(segments)
    assert [reading.piece(1, index) for index in range(4)] == [Piece(1, b"a"), Piece(1, b"b"), Piece(1, None), None]
    assert rest(reading) == CALLS[:3]
