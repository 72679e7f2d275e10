"""G20: each character that could end a line or a name, in each place where a guest can put text into a request."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from guesthouse import Host
from http_guests import FORMS, NAME, http_host, send, steps, upstream_of
from probes import redeploy
from ssrf_vectors import of_form
from upstream import Upstream

CONTROLS = [chr(code) for code in (*range(0x09), *range(0x0A, 0x20), *range(0x7F, 0xA0))]
NO_TOKEN = [*CONTROLS, "\t", *' "(),/:;<=>?@[\\]{}', "ä", "\u200b", "\u2028", "\uff1a", "\u010a"]
INJECTIONS = [
    "\r\nX-Injected: 1",
    "\nX-Injected: 1",
    "\rX-Injected: 1",
    "\r\n\r\nGET /second HTTP/1.1\r\nhost: x\r\n\r\n",
]
ENCODED = ["%0d%0aX-Injected: 1", "%0D%0AX-Injected:%201", "%E5%98%8D%E5%98%8AX-Injected:1", "\u560d\u560aX-Injected:1"]
KEYS = ("AKID", "secret", "us-east-1", "sqs")


def replaced(index: int, text: str) -> list[str]:
    return [*KEYS[:index], KEYS[index] + text, *KEYS[index + 1 :]]


HEADERS = [
    *({"headers": [["x", f"a{character}b"]]} for character in CONTROLS),
    *({"headers": [["x", f"a{text}"]]} for text in INJECTIONS),
    *({"headers": [[f"x{character}y", "a"]]} for character in NO_TOKEN),
    *({"headers": [[f"x{text}", "a"]]} for text in INJECTIONS),
    {"headers": [["", "a"]]},
    {"headers": [["x" * 257, "a"]]},
    {"headers": [["x", "a"]] * 10_000},
    {"headers": [["x", "a" * 100_000]]},
]
VERBS = [
    {"verb": verb} for verb in (*(f"GET{text}" for text in (*CONTROLS, *INJECTIONS, " /x HTTP/1.1")), "", "CONNECT")
]
PATHS = [{"path": f"/{text}"} for text in (*CONTROLS, *INJECTIONS, " ", " HTTP/1.1", "\u2028")]
SECRETS = [{"secret": replaced(index, text)} for index in (0, 2, 3) for text in (*CONTROLS, *INJECTIONS, " ", "é")]
REFUSED: list[dict[str, Any]] = [*HEADERS, *VERBS, *PATHS, *SECRETS]

HARMLESS: list[dict[str, Any]] = [
    *({"path": f"/{text.replace(' ', '')}"} for text in ENCODED),
    *({"path": f"/?{text.replace(' ', '')}"} for text in ENCODED),
    *({"headers": [["x", text]]} for text in ENCODED),
    *({"headers": [[name, "forged"]]} for name in ("Host", "Content-Length", "Transfer-Encoding", "Connection", "TE")),
    *(
        {"headers": [[name, "forged"]]}
        for name in ("Trailer", "Upgrade", "Keep-Alive", "Proxy-Authorization", "Expect")
    ),
    *({"secret": replaced(1, text)} for text in (*CONTROLS, *INJECTIONS)),  # it is hashed, and never sent
]


def test_there_are_enough_vectors() -> None:
    """All that is known to end a line somewhere."""
    assert len(REFUSED) + len(HARMLESS) >= 500


@pytest.fixture(scope="module", params=FORMS)
def form(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture(scope="module")
def host(form: str) -> Iterator[Host]:
    with http_host(form, "http-calls") as host:
        redeploy(host, "http-calls", http_requests=1 << 20)
        yield host


def ask(host: Host, upstream: Upstream, changes: list[dict[str, Any]]) -> list[Any]:
    """What a guest is told about each request."""
    fields = [{"headers": [["x-mine", "1"]], "path": "/", **change} for change in changes]
    return steps(host, *(send(upstream.url(field.pop("path"), NAME), **field) for field in fields))


def test_what_could_add_a_line_is_not_sent(host: Host, form: str) -> None:
    """Header names and values, verbs, paths, and the parts of a signature: an error each, and nothing on the wire."""
    tried = of_form(form, REFUSED)
    with upstream_of(host) as upstream:
        answers = ask(host, upstream, tried)
        assert not [change for change, answer in zip(tried, answers, strict=True) if "error" not in answer]
        assert not upstream.wire


def test_what_only_looks_like_it_adds_nothing(host: Host, form: str) -> None:
    """What is sent has the lines that every request has, and the guest's own header."""
    tried = of_form(form, HARMLESS)
    with upstream_of(host) as upstream:
        answers = ask(host, upstream, tried)
    assert [answer.get("status") for answer in answers] == [200] * len(tried)
    assert len(upstream.requests) == len(tried)
    for request in upstream.requests:
        assert request.line.count(" ") == 2
        names = [name.lower() for name, _ in request.headers]
        assert "x-injected" not in names
        assert len(names) == len(set(names))
        assert set(names) <= {"host", "accept", "accept-encoding", "x", "x-mine", "authorization", "x-amz-date"}
        assert request.values("host") == [f"{NAME}:{upstream.port}"]
    lines = sum(len(request.headers) + 2 for request in upstream.requests)
    assert upstream.wire.count(b"\n") == upstream.wire.count(b"\r") == lines
