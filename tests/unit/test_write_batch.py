"""`WriteBatch`: what leaves together leaves in order, also while what leaves makes room for more."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from guesthouse.gateway.batch import ALONE, CLOSE, END, MOST, WriteBatch


class Loop:
    """Keeps what has to be called at the end of a turn."""

    def __init__(self) -> None:
        self._soon: list[Callable[[], None]] = []

    def call_soon(self, callback: Callable[[], None]) -> None:
        self._soon.append(callback)

    def end_turn(self) -> None:
        soon, self._soon = self._soon, []
        for callback in soon:
            callback()


class Transport:
    """Notes what it is told; `on_write` is called within each write, as uvloop calls `resume_writing`."""

    def __init__(self) -> None:
        self.told: list[bytes] = []
        self.closing = False
        self.on_write: Callable[[], None] = lambda: None

    def is_closing(self) -> bool:
        return self.closing

    def write(self, data: bytes) -> None:
        self.told.append(data)
        self.on_write()

    def close(self) -> None:
        self.closing = True

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.told.append(b"<end>")


@pytest.fixture
def batch() -> WriteBatch:
    return WriteBatch()


loop: Any = Loop()


def test_answers_of_one_turn_leave_at_its_end(batch: WriteBatch) -> None:
    """Those of all connections."""
    one: Any = Transport()
    other: Any = Transport()
    batch.hold(loop, one, b"1")
    batch.hold(loop, other, b"2")
    assert (one.told, other.told) == ([], [])
    loop.end_turn()
    assert (one.told, other.told) == ([b"1"], [b"2"])


def test_after_a_turn_with_one_answer_the_next_ones_leave_at_once(batch: WriteBatch) -> None:
    """And then it is tried again."""
    transport: Any = Transport()
    batch.hold(loop, transport, b"first")
    loop.end_turn()
    for number in range(ALONE):
        batch.hold(loop, transport, b"%d" % number)
        assert len(transport.told) == number + 2
    batch.hold(loop, transport, b"held")
    assert transport.told[-1] != b"held"


def test_no_more_than_so_many_are_held(batch: WriteBatch) -> None:
    """The memory for them is bounded."""
    transport: Any = Transport()
    for _ in range(MOST):
        batch.hold(loop, transport, b"x")
    assert len(transport.told) == MOST


@pytest.mark.parametrize(("last", "told"), [(b"last", [b"1", b"last"]), (END, [b"1", b"<end>"]), (CLOSE, [b"1"])])
def test_what_is_sent_now_stays_behind_what_is_held(batch: WriteBatch, last: bytes, told: list[bytes]) -> None:
    """An answer that is held is not lost when its connection is closed behind it."""
    transport: Any = Transport()
    batch.hold(loop, transport, b"1")
    batch.send(transport, last)
    assert transport.told == told
    assert transport.closing == (last is CLOSE)


def test_an_answer_made_within_a_write_keeps_its_place(batch: WriteBatch) -> None:
    """A write that makes room lets the next pipelined request be answered before it returns."""
    transport: Any = Transport()
    following = iter([b"4", b"5", CLOSE])

    def answer_the_next() -> None:
        data = next(following, None)
        if data is not None:
            batch.send(transport, data)

    transport.on_write = answer_the_next
    for data in (b"1", b"2", b"3"):
        batch.hold(loop, transport, data)
    loop.end_turn()
    assert transport.told == [b"1", b"2", b"3", b"4", b"5"]
    assert transport.closing


def test_what_is_held_for_a_connection_that_broke_is_dropped(batch: WriteBatch) -> None:
    """Its transport would raise."""
    transport: Any = Transport()
    batch.hold(loop, transport, b"1")
    transport.closing = True
    loop.end_turn()
    assert transport.told == []
