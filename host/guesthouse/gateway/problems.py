"""Errors as RFC 9457 problems: one shape for every refusal, and never a word that came from a guest (C10)."""

from __future__ import annotations

from http import HTTPStatus
from typing import NamedTuple

import orjson

from guesthouse.clock import SYSTEM_CLOCK, Clock
from guesthouse.errors import AdmissionFull, Draining, GuesthouseError, InputError, NotFound, Unauthorized, Unavailable

PROBLEM_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:guesthouse:problem:"
DRAIN_RETRY_SECONDS = 5


class RouteNotFound(NotFound):
    """A path that no route has."""

    title = "There is no such page"


class MethodNotAllowed(InputError):
    """A path that has routes, but none for this method."""

    status = 405
    problem_type = "method-not-allowed"
    title = "The method is not allowed here"


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
    if isinstance(error, AdmissionFull):
        headers.append(("retry-after", str(error.retry_after)))
    elif isinstance(error, Draining):
        headers.append(("retry-after", str(DRAIN_RETRY_SECONDS)))
    elif isinstance(error, Unauthorized):
        headers.append(("www-authenticate", 'Bearer realm="guesthouse"'))
    return Problem(error.status, headers, orjson.dumps(document))


def phrase(status: int) -> str:
    """The reason phrase of a status, empty for one that has none."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Client Closed Request" if status == 499 else ""
