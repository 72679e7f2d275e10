"""G20: what a guest answers is checked like what it sends: no status or header of it adds a line to an answer."""

from __future__ import annotations

import asyncio
import json

import pytest

from guesthouse import AsyncHost
from support import FORMS, guest

STATUSES = ("0", "1", "99", "100", "101", "199", "600", "999", "1000", "65535")
FORGED = [
    [("x", "a\r\nSet-Cookie: b")],
    [("x", "a\nb")],
    [("x", "a\rb")],
    [("x", "a\0b")],
    [("x\r\ny", "a")],
    [("x: y", "a")],
    [("", "a")],
    [("a b", "c")],
    [("x", "a")] * 300,
]


@pytest.mark.parametrize("form", FORMS)
def test_a_status_that_is_none_is_no_answer(form: str) -> None:
    """What a web function answers is 200 to 599."""

    async def attack() -> None:
        async with AsyncHost(slots=16) as host:
            await host.deploy("bad-status", guest("bad-status", form))
            for status in STATUSES:
                outcome = await host.invoke("bad-status", status.encode())
                assert outcome.error is not None
                assert (outcome.status, outcome.error.status) == (0, 502)

    asyncio.run(attack())


@pytest.mark.parametrize("form", FORMS)
def test_an_answer_with_a_forged_header_is_no_answer(form: str) -> None:
    """502, and none of its headers is passed on."""

    async def attack() -> None:
        async with AsyncHost(slots=16) as host:
            await host.deploy("bad-header", guest("bad-header", form))
            for headers in FORGED:
                outcome = await host.invoke("bad-header", json.dumps(headers).encode())
                assert outcome.error is not None
                assert outcome.error.status == 502
                assert not outcome.headers

    asyncio.run(attack())
