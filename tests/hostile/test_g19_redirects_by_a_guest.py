"""G19: redirects to everything inside: a guest gets each as an answer, and is refused where it leads."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from guesthouse import Host
from http_guests import FORMS, NAME, http_host, resolving, send, steps, upstream_of
from probes import redeploy
from ssrf_vectors import VECTORS, Everything, of_form
from upstream import Received, response

LOCATIONS = [url for url in VECTORS if url.isprintable() and url == url.strip()]
STATUSES = ("301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent")
BATCH = 100


@pytest.fixture(scope="module", params=FORMS)
def form(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture(scope="module")
def host(form: str) -> Iterator[Host]:
    with http_host(form, "http-calls") as host:
        redeploy(host, "http-calls", http_requests=1 << 20)
        yield host


def redirect(request: Received) -> bytes:
    """To one of the places inside, which need not be valid to be written."""
    number = int(request.line.split(" ")[1][1:])
    head = f"HTTP/1.1 {STATUSES[number % 5]}\r\nlocation: {LOCATIONS[number]}\r\nrefresh: 0\r\n"
    return head.encode() + b"content-length: 0\r\n\r\n"


@pytest.mark.parametrize("verb", ["GET", "POST"])
def test_no_redirect_leads_inside(host: Host, form: str, verb: str) -> None:
    """Neither by itself, nor when the guest goes after it."""
    with upstream_of(host) as inside, upstream_of(host, redirect) as upstream, resolving(host, Everything()):
        wanted = of_form(form, range(len(LOCATIONS)))
        for start in range(0, len(wanted), BATCH):
            numbers = wanted[start : start + BATCH]
            answers = steps(host, *(send(upstream.url(f"/{number}", NAME), verb) for number in numbers))
            for number, answer in zip(numbers, answers, strict=True):
                assert answer["status"] == int(STATUSES[number % 5][:3])
                assert dict(answer["headers"])["location"] == LOCATIONS[number]
            for answer in steps(host, *(send(LOCATIONS[number], verb) for number in numbers)):
                assert answer["error"][0] in ("request-error", "invalid-url")
        assert len(upstream.requests) == len(wanted)
        assert inside.connections == 0


def test_a_redirect_to_a_real_server_is_not_followed(host: Host) -> None:
    """One that listens."""
    with upstream_of(host) as inside:
        answer = response(b"", "302 Found", f"location: {inside.url('/secret')}", f"refresh: 0; url={inside.url()}")
        with upstream_of(host, lambda _: answer) as upstream:
            found = steps(host, *[send(upstream.url("/", NAME))] * 3)
        assert [step["status"] for step in found] == [302] * 3
        assert inside.connections == 0
