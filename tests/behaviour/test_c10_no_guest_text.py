"""C10: what a guest says about its failure is for its own log, never for whoever called it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from gateway_server import Outcome, Server, serving
from guesthouse.errors import (
    BadAnswer,
    DeadlineExceeded,
    FuelExhausted,
    GuesthouseError,
    HostError,
    Trap,
)

SCRIPT = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving() as server:
        yield server


@pytest.mark.parametrize("kind", [Trap, BadAnswer, DeadlineExceeded, FuelExhausted, HostError])
def test_a_trap_message_is_not_in_the_answer(server: Server, kind: type[GuesthouseError]) -> None:
    """Neither in the body nor in a header, and no browser takes the body for a page."""
    server.add("fails", lambda request, body, sink: Outcome(error=kind(SCRIPT)))
    answer = server.request("POST", "/functions/default/fails")
    assert answer.status >= 500
    assert b"script" not in answer.body
    assert not any("script" in value for _, value in answer.headers.pairs)
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_problem_says_what_the_caller_did(server: Server) -> None:
    """The caller's own mistakes are named, as JSON."""
    answer = server.request("GET", "/functions/manage/default/echo/logs?tail=%3Cscript%3E")
    assert (answer.status, answer.headers["x-content-type-options"]) == (400, "nosniff")
    assert b"<script>" not in answer.body
