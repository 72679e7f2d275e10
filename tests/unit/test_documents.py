"""Bodies of requests, which are bounded while they arrive."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from starlette.requests import Request

from guesthouse.errors import BodyTooLarge
from guesthouse.gateway import documents


def received(pieces: Sequence[bytes], most: int, announced: int | None = None) -> tuple[bytes | str, int]:
    """The body or why there is none, and how many pieces of it were asked for."""
    asked = 0

    async def receive() -> dict[str, Any]:
        nonlocal asked
        asked += 1
        return {"type": "http.request", "body": pieces[asked - 1], "more_body": asked < len(pieces)}

    headers = [] if announced is None else [(b"content-length", b"%d" % announced)]
    request = Request({"type": "http", "headers": headers}, receive)
    try:
        return asyncio.run(documents.receive(request, most, "a letter")), asked
    except BodyTooLarge as error:
        return str(error), asked


def test_a_body_is_all_of_its_pieces() -> None:
    """Up to the last byte that it may have."""
    assert received([b"ab", b"", b"c"], 3) == (b"abc", 3)
    assert received([b""], 0, 0) == (b"", 1)


@pytest.mark.parametrize("announced", [4, 1 << 40])
def test_a_body_that_is_said_to_be_too_large_is_not_received(announced: int) -> None:
    """Its client is told before it has sent any of it."""
    assert received([b"abcd"], 3, announced) == ("a letter has at most 3 bytes", 0)


def test_a_body_that_becomes_too_large_is_not_received_further() -> None:
    """Whatever it had said."""
    assert received([b"ab", b"cd", b"ef"], 3) == ("a letter has at most 3 bytes", 2)


def test_there_may_be_room_for_nothing() -> None:
    """A value in the cache whose key alone is as large as an item may be."""
    assert received([b"a"], -5) == ("a letter has at most 0 bytes", 0)
