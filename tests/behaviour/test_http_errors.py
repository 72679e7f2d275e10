"""Every way in which a request of a guest can fail, provoked by a real server, and the word that each generation has for it."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import trustme

from guesthouse import Host
from http_guests import (
    AWS_NAME,
    FORMS,
    NAME,
    http_host,
    once,
    once_1_0,
    once_old,
    run,
    send,
    steps,
    upstream_of,
)
from probes import redeploy
from upstream import Received, response

SOON_MS = 500


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module", params=FORMS)
def host(request: pytest.FixtureRequest, authority: trustme.CA, tmp_path_factory: Any) -> Iterator[Host]:
    ca_file: Path = tmp_path_factory.mktemp("ca") / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    with http_host(request.param, ca_file=str(ca_file)) as host:
        yield host


def said(text: str) -> dict[str, Any]:
    """What the older generation answers: its crates show the error's debugging text."""
    return {"error": text}


def fails(host: Host, url: str, case: str, text: str, verb: str = "GET", **order: Any) -> None:
    """One request, in each generation: the case of 1.1.0, and `request-error` with the same text where it has none."""
    assert once(host, url, verb, **order) == {"error": [case, text]}
    assert once_1_0(host, url, verb, **order) == {"error": ["request-error", text]}
    if verb in ("GET", "PUT", "POST", "DELETE"):
        assert once_old(host, url, verb, **order) == said(f'Error::RequestError("{text}")')


# -- the network


def test_timeout(host: Host) -> None:
    """The server has the request, and is silent: within the guest's timeout, or the deployment's limit."""
    with upstream_of(host, lambda _: None) as upstream:
        url = upstream.url("/", NAME)
        assert once(host, url, timeout_ms=SOON_MS) == {"error": ["timeout", "the answer took too long"]}
        for name in ("http-calls", "http-1-0", "old-http-calls"):
            redeploy(host, name, f"hurried-{name}", http_timeout_ms=SOON_MS)
        assert steps(host, send(url), name="hurried-http-calls") == [{"error": ["timeout", "the answer took too long"]}]
        assert run(host, {"verb": "GET", "url": url}, "hurried-http-1-0") == {
            "error": ["request-error", "the answer took too long"]
        }
        assert "the answer took too long" in run(host, {"do": "get", "url": url}, "hurried-old-http-calls")["error"]
        assert len(upstream.requests) == 4


def test_a_timeout_of_nothing_is_one(host: Host) -> None:
    """No request can be made in no time; the longest that there is, is no mistake."""
    with upstream_of(host) as upstream:
        url = upstream.url("/", NAME)
        assert once(host, url, timeout_ms=0)["error"][0] in ("timeout", "connect-timeout")
        assert once(host, url, timeout_ms=2**64 - 1)["status"] == 200


@pytest.fixture
def hurried(host: Host, monkeypatch: pytest.MonkeyPatch) -> Host:
    """The host, with little patience for connections."""
    config = replace(host.inner.outbound.config, connect_timeout_ms=300)
    monkeypatch.setattr(host.inner.outbound, "config", config)
    return host


def test_connect_timeout(hurried: Host) -> None:
    """A server that accepts, and never begins TLS: the request has not left."""
    with upstream_of(hurried) as upstream:
        url = f"https://{NAME}:{upstream.port}/"
        fails(hurried, url, "connect-timeout", "connecting took too long")
        assert upstream.requests == []


def test_connect_timeout_of_a_server_that_does_not_accept(hurried: Host) -> None:
    """Its queue is full, so that nothing answers."""
    with ExitStack() as open_sockets:
        server = open_sockets.enter_context(socket.socket())
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        for _ in range(4):
            waiting = open_sockets.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(server.getsockname())
        fails(hurried, f"http://{NAME}:{server.getsockname()[1]}/", "connect-timeout", "connecting took too long")


def test_connection_failed(host: Host) -> None:
    """Nobody listens there."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        url = f"http://{NAME}:{reserved.getsockname()[1]}/"
        fails(host, url, "connection-failed", "the connection could not be made")


def test_connection_failed_for_a_name_without_an_address(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """As far as the resolver knows."""

    class Nowhere:
        async def resolve(self, host: str) -> list[str]:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(host.inner.outbound._lookups, "_resolver", Nowhere())
    fails(host, "http://nobody.invalid/", "connection-failed", "the host has no address")


@pytest.mark.parametrize("verb", ["GET", "PUT", "POST", "DELETE", "PATCH"])
@pytest.mark.parametrize(
    "answer",
    [b"", b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf", b"HTTP/1.1 200 OK\r\ncontent-le"],
    ids=["nothing", "half a body", "half a head"],
)
def test_connection_interrupted(host: Host, verb: str, answer: bytes) -> None:
    """The server ended the connection before its answer was complete."""
    with upstream_of(host, lambda _: answer, close_after=True) as upstream:
        text = "the connection ended before the answer was complete"
        fails(host, upstream.url("/", NAME), "connection-interrupted", text, verb)


def test_connection_interrupted_by_a_reset(host: Host) -> None:
    """Whatever the operating system calls it."""

    def reset(_: Received) -> None:
        for writer in upstream._writers:
            sock = writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            writer.transport.abort()

    with upstream_of(host, reset) as upstream:
        text = "the connection ended before the answer was complete"
        fails(host, upstream.url("/", NAME), "connection-interrupted", text, "POST")


def tls(authority: trustme.CA, *names: str, until: datetime | None = None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names, not_after=until).configure_cert(context)
    return context


def test_tls(host: Host, authority: trustme.CA) -> None:
    """A certificate of the extra authority is believed, for the name that it has."""
    with upstream_of(host, tls=tls(authority, NAME)) as upstream:
        for answer in (once, once_1_0, once_old):
            assert answer(host, upstream.url("/", NAME))["body"] == "hello"
        assert {request.values("host")[0] for request in upstream.requests} == {f"{NAME}:{upstream.port}"}


@pytest.mark.parametrize("wrong", ["authority", "name", "time"])
def test_tls_error(host: Host, authority: trustme.CA, wrong: str) -> None:
    """A stranger's certificate, one for another name, one that has expired: nothing of the request is sent."""
    until = datetime(2020, 1, 1, tzinfo=UTC) if wrong == "time" else None
    context = tls(
        trustme.CA() if wrong == "authority" else authority, AWS_NAME if wrong == "name" else NAME, until=until
    )
    with upstream_of(host, tls=context) as upstream:
        fails(host, upstream.url("/", NAME), "tls-error", "no trustworthy TLS connection could be made")
        assert upstream.requests == []


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello!",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nx: a\x00b\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + b"a" * 100_000 + b"\r\n\r\n",
    ],
    ids=[
        "another protocol",
        "a broken header",
        "two lengths",
        "a broken chunk",
        "NUL",
        "another protocol now",
        "endless",
    ],
)
def test_malformed_response(host: Host, answer: bytes) -> None:
    """What the server sent is not shown."""
    with upstream_of(host, lambda _: answer, close_after=True) as upstream:
        fails(host, upstream.url("/", NAME), "malformed-response", "the answer is not valid HTTP")


def test_too_many_redirects_is_never_said(host: Host) -> None:
    """No redirect is followed, so there are never too many: a circle of them is an answer, too."""
    with upstream_of(host) as upstream:
        url = upstream.url("/", NAME)
        upstream.answer = lambda _: response(b"", "302 Found", f"location: {url}")
        assert {answer(host, url)["status"] for answer in (once, once_1_0, once_old)} == {302}
        assert len(upstream.requests) == 3


def test_internal_error(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mistake of the host's own: the guest goes on, and learns nothing of it."""

    async def broken(*_: object) -> None:
        raise KeyError("a secret of the host")

    monkeypatch.setattr(host.inner.outbound._lookups, "addresses", broken)
    assert once(host, "http://a.example/") == once_1_0(host, "http://a.example/") == {"error": ["internal-error"]}
    assert once_old(host, "http://a.example/") == said("Error::InternalError")


# -- what the guest asked for


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1/", "http://10.0.0.1/", "http://[::1]/", "http://localhost/", f"http://ok@{NAME}/",
        "ftp://example.com/", "http://2130706433/", "http://169.254.169.254/latest/meta-data/",
    ],
)  # fmt: skip
def test_a_destination_that_is_not_allowed(host: Host, url: str) -> None:
    """The same words for all of them."""
    fails(host, url, "request-error", "destination prohibited")


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("", "the URL is not of the form scheme://host/path"),
        ("/path", "the URL is not of the form scheme://host/path"),
        ("not a url", "the URL holds white space or control characters"),
        ("http://", "the URL has no host"),
        ("http://a..b/", "the host is not a valid name"),
        (f"http://{NAME}:99999/", "the port is not a number from 1 to 65535"),
        ("http://a.example/" + "x" * 9000, "the URL is longer than 8192 characters"),
    ],
)
def test_invalid_url(host: Host, url: str, text: str) -> None:
    """With the URL, as far as it is of any length, and the reason."""
    error = {"error": ["invalid-url", url[:8192], text]}
    assert once(host, url) == once_1_0(host, url) == error
    old = once_old(host, url)["error"]
    assert old.startswith("Error::InvalidUrl(InvalidUrl ")
    assert text in old


@pytest.mark.parametrize(
    ("header", "case", "text"),
    [
        (["bad name", "x"], "invalid-header-name", "a name must be 1 to 256 letters, digits or !#$%&'*+-.^_`|~"),
        (["", "x"], "invalid-header-name", "a name must be 1 to 256 letters, digits or !#$%&'*+-.^_`|~"),
        (["x", "a\r\nb: c"], "invalid-header-value", "a value must not hold control characters"),
        (["x", "a\0"], "invalid-header-value", "a value must not hold control characters"),
    ],
)
def test_invalid_header(host: Host, header: list[str], case: str, text: str) -> None:
    """With the name, or the value, and the reason; nothing is sent."""
    subject = header[0] if case == "invalid-header-name" else header[1]
    with upstream_of(host) as upstream:
        url = upstream.url("/", NAME)
        order = {"headers": [["fine", "1"], header]}
        assert once(host, url, **order) == once_1_0(host, url, **order) == {"error": [case, subject, text]}
        assert text in once_old(host, url, **order)["error"]
        assert upstream.connections == 0


@pytest.mark.parametrize("verb", ["CONNECT", "", "G ET", "GET\r\nX: y", "GÉT", "X" * 33])
def test_a_verb_that_is_none(host: Host, verb: str) -> None:
    """CONNECT would be a tunnel."""
    with upstream_of(host) as upstream:
        fails(host, upstream.url("/", NAME), "request-error", "the method is not valid", verb)
        assert upstream.connections == 0


def test_a_limit(host: Host) -> None:
    """Of requests, and of the bytes of one response."""
    with upstream_of(host) as upstream:
        url = upstream.url("/", NAME)
        redeploy(host, "http-calls", "few", http_requests=2)
        found = steps(host, *[send(url)] * 3, name="few")
        text = "limit exceeded: too many outgoing requests of this invocation"
        assert found[2] == {"error": ["request-error", text]}
        for name in ("http-calls", "http-1-0", "old-http-calls"):
            redeploy(host, name, f"small-{name}", http_response_bytes=4)
        text = "limit exceeded: the response body is too large"
        assert steps(host, send(url), name="small-http-calls") == [{"error": ["request-error", text]}]
        assert run(host, {"verb": "GET", "url": url}, "small-http-1-0") == {"error": ["request-error", text]}
        assert text in run(host, {"do": "get", "url": url}, "small-old-http-calls")["error"]


def test_a_failure_costs_the_guest_nothing_but_the_request(host: Host) -> None:
    """It goes on, and its next request is answered."""
    with upstream_of(host) as upstream:
        found = steps(host, send("http://10.0.0.1/"), send(upstream.url("/", NAME)), {"all": 0})
        assert found[0] == {"error": ["request-error", "destination prohibited"]}
        assert found[2] == "hello"
