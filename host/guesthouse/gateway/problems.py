"""Errors as RFC 9457 problems: one shape for every refusal, and never a word that came from a guest (C10)."""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus
from typing import NamedTuple

import orjson

from guesthouse.clock import SYSTEM_CLOCK, Clock
from guesthouse.errors import AdmissionFull, Draining, GuesthouseError, InputError, NotFound, Unauthorized, Unavailable

PROBLEM_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:guesthouse:problem:"
DRAIN_RETRY_SECONDS = 5
CHALLENGE = 'Bearer realm="guesthouse", Basic realm="guesthouse"'
"""How a token can be shown: as itself, or as a password."""


class RouteNotFound(NotFound):
    """A path that no route has."""

    title = "There is no such page"


class MethodNotAllowed(InputError):
    """A path that has routes, but none for this method."""

    status = 405
    problem_type = "method-not-allowed"
    title = "The method is not allowed here"

    def __init__(self, allowed: Iterable[str]) -> None:
        self.allowed = ", ".join(sorted(allowed))
        super().__init__(f"allowed here: {self.allowed}")


class RequestTimeout(InputError):
    """A request that did not arrive in time."""

    status = 408
    problem_type = "request-timeout"
    title = "The request took too long to arrive"


class UriTooLong(InputError):
    """A request target over the bound."""

    status = 414
    problem_type = "uri-too-long"
    title = "The path is too long"


class HeadersTooLarge(InputError):
    """Request headers over the bounds."""

    status = 431
    problem_type = "headers-too-large"
    title = "The headers are too large"


class TooManyConnections(Unavailable):
    """A connection over the bounds."""

    problem_type = "too-many-connections"
    title = "There are too many connections"


class StillRunning(Unavailable):
    """A call whose caller waited for as long as it is worth, and which goes on."""

    problem_type = "still-running"
    title = "The call has not ended yet"
    retry_after = 1


class Problem(NamedTuple):
    """An answer that says what went wrong."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes


def problem(error: GuesthouseError, invocation_id: str = "", clock: Clock = SYSTEM_CLOCK) -> Problem:
    """The answer for `error`, with the `invocation_id` where a guest has run, otherwise with a request id."""
    request_id = invocation_id or clock.random_bytes(8).hex()
    document = {
        "type": TYPE_PREFIX + error.problem_type,
        "title": error.title,
        "status": error.status,
        "detail": error.public,
        "invocation_id" if invocation_id else "request_id": request_id,
    }
    headers = [
        ("content-type", PROBLEM_TYPE),
        ("x-content-type-options", "nosniff"),
        ("cache-control", "no-store"),
    ]
    if isinstance(error, AdmissionFull | StillRunning):
        headers.append(("retry-after", str(error.retry_after)))
    elif isinstance(error, Draining):
        headers.append(("retry-after", str(DRAIN_RETRY_SECONDS)))
    elif isinstance(error, Unauthorized):
        headers.append(("www-authenticate", CHALLENGE))
    elif isinstance(error, MethodNotAllowed):
        headers.append(("allow", error.allowed))
    return Problem(error.status, headers, orjson.dumps(document))


def phrase(status: int) -> str:
    """The reason phrase of a status, empty for one that has none."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Client Closed Request" if status == 499 else ""
