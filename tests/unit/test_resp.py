"""RESP: what each reply is read as, in whatever pieces it comes, and what no server may make a reader do."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guesthouse.net.failures import Malformed, OutboundError, TooLarge
from guesthouse.net.resp import (
    BUSY,
    ELEMENT_BYTES,
    MORE,
    MOST_DEPTH,
    MOST_LINE_BYTES,
    Budget,
    ErrorReply,
    ReplyReader,
    SimpleString,
    encode,
)

MANY = 1 << 30


def read(data: bytes, budget: int = 1 << 20, piece: int = 1 << 30):
    """The first reply in `data`, fed in pieces, and the reader."""
    reader = ReplyReader()
    reader.allow(Budget(budget))
    for start in range(0, len(data), piece):
        reader.feed(data[start : start + piece])
        value = reader.parse(MANY)
        if value is not MORE:
            return value, reader
    return MORE, reader


def written(reply) -> bytes:
    """A reply as a server sends it."""
    if reply is None:
        return b"$-1\r\n"
    if isinstance(reply, list):
        return b"*%d\r\n" % len(reply) + b"".join(map(written, reply))
    if isinstance(reply, int):
        return b":%d\r\n" % reply
    if isinstance(reply, bytes):
        return b"$%d\r\n%b\r\n" % (len(reply), reply)
    return (b"+" if isinstance(reply, SimpleString) else b"-") + reply.text + b"\r\n"


@pytest.mark.parametrize(
    ("data", "reply"),
    [
        (b"+OK\r\n", SimpleString(b"OK")),
        (b"$2\r\nOK\r\n", b"OK"),
        (b"-ERR no\r\n", ErrorReply(b"ERR no")),
        (b":-12\r\n", -12),
        (b":+12\r\n", 12),
        (b":9223372036854775807\r\n", 2**63 - 1),
        (b"$0\r\n\r\n", b""),
        (b"$-1\r\n", None),
        (b"*-1\r\n", None),
        (b"*0\r\n", []),
        (b"$6\r\n\r\n+x\r\n\r\n", b"\r\n+x\r\n"),
        (b"*2\r\n*1\r\n*0\r\n+\r\n", [[[]], SimpleString(b"")]),
    ],
)
def test_each_kind_of_reply_is_a_kind_of_value(data: bytes, reply: object) -> None:
    """Whole, and byte by byte; a status and a string of the same letters differ."""
    for piece in (len(data), 1, 2):
        found, reader = read(data, piece=piece)
        assert (type(found), found) == (type(reply), reply)
        assert reader.buffered == 0


line = st.binary(max_size=20).map(lambda text: text.replace(b"\r", b"").replace(b"\n", b""))
replies = st.recursive(
    st.none()
    | st.integers(-(2**63), 2**63 - 1)
    | st.binary(max_size=40)
    | line.map(SimpleString)
    | line.map(ErrorReply),
    lambda inner: st.lists(inner, max_size=6),
    max_leaves=30,
)


@given(st.lists(replies, min_size=1, max_size=4), st.integers(1, 50), st.integers(1, 9))
def test_replies_come_out_as_they_were_sent(sent: list[object], piece: int, steps: int) -> None:
    """One after the other, however the network cuts them and however seldom the reader may work."""
    reader = ReplyReader()
    reader.allow(Budget(1 << 20))
    data = b"".join(map(written, sent))
    found = []
    for start in range(0, len(data), piece):
        reader.feed(data[start : start + piece])
        while (value := reader.parse(steps)) is not MORE:
            if value is not BUSY:
                found.append(value)
    assert found == sent
    assert list(map(type, found)) == list(map(type, sent))


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 400 Bad Request\r\n",
        b"220 mail.example ESMTP\r\n",
        b"\r\n",
        b"$\r\n",
        b"$-2\r\n",
        b"$+1\r\n",
        b"$1_0\r\n",
        b"$ 1\r\n",
        b"$99999999999999999999999\r\n",
        b"*-2\r\n",
        b"*x\r\n",
        b":\r\n",
        b":1.5\r\n",
        b":9223372036854775808\r\n",
        b": 1\r\n",
        b":1_0\r\n",
        b"$1\r\nab\r\n",
        b"$1\r\na\n\r\n",
        b"%1\r\n+a\r\n+b\r\n",
        b"_\r\n",
        b">1\r\n+a\r\n",
        b"+" + b"x" * (MOST_LINE_BYTES + 10),
        b"*1\r\n" * (MOST_DEPTH + 1),
    ],
)
def test_what_is_no_reply_is_malformed(data: bytes) -> None:
    """Also the kinds of the newer protocol, which nobody asked for."""
    with pytest.raises(Malformed):
        read(data)


def test_arrays_may_be_nested_to_the_bound() -> None:
    """And no deeper."""
    found, _ = read(b"*1\r\n" * MOST_DEPTH + b":1\r\n")
    for _ in range(MOST_DEPTH):
        (found,) = found
    assert found == 1


@pytest.mark.parametrize("data", [b"$1000000000000\r\n", b"*1000000000000\r\n", b"*200\r\n", b"$10001\r\n"])
def test_a_reply_over_its_budget_is_refused_as_soon_as_it_is_announced(data: bytes) -> None:
    """Before anything is allocated for it."""
    with pytest.raises(TooLarge):
        read(data, 10_000)


@pytest.mark.parametrize("bomb", [b"*2\r\n" + b"*2\r\n" * 30, b"*100\r\n" * 10, b"*140\r\n" + b"*0\r\n" * 140])
def test_each_element_costs_its_overhead(bomb: bytes) -> None:
    """A few bytes on the wire cannot become many in memory."""
    read(bomb, 1 << 20)
    with pytest.raises(TooLarge):
        read(bomb, 60 * ELEMENT_BYTES)


def test_replies_share_a_budget_and_a_refused_one_costs_nothing() -> None:
    """What is over is refused, what fits comes through."""
    budget = Budget(3 * ELEMENT_BYTES)
    for data, left in ((b":1\r\n", 2 * ELEMENT_BYTES - 1), (b"$40\r\n" + b"x" * 40 + b"\r\n", ELEMENT_BYTES - 41)):
        reader = ReplyReader()
        reader.allow(budget)
        reader.feed(data)
        reader.parse(MANY)
        assert budget.left == left
    with pytest.raises(TooLarge):
        budget.spend(left + 1)
    assert budget.left == left


@given(st.binary(max_size=200), st.integers(1, 20))
def test_no_bytes_make_a_reader_do_anything_else(data: bytes, piece: int) -> None:
    """It waits, answers, or raises what is promised."""
    try:
        read(data, 10_000, piece)
    except OutboundError as error:
        assert isinstance(error, Malformed | TooLarge)


@given(st.lists(st.lists(st.binary(max_size=30), min_size=1, max_size=5), max_size=5))
def test_commands_are_arrays_of_strings(commands: list[list[bytes]]) -> None:
    """No byte of an argument means anything: read back, they are what they were."""
    reader = ReplyReader()
    reader.allow(Budget(1 << 20))
    reader.feed(encode(commands))
    assert [reader.parse(MANY) for _ in commands] == commands
    assert reader.buffered == 0
