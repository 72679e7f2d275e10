"""The guest's HTTP client against a real server: what goes out, what comes back, and how it fails."""

from __future__ import annotations

import json
import socket

import pytest

from guesthouse import OutboundConfig, OutboundPolicy
from probes import on_loop, redeploy
from support import FORMS, host_with
from upstream import Upstream, response

POLICY = OutboundPolicy.of(schemes=("http",), allow_addresses=("127.0.0.0/8",), overrides={"origin.test": "127.0.0.1"})


@pytest.fixture(scope="module", params=FORMS)
def host(request):
    with host_with("fetch", "proxy", form=request.param, outbound=OutboundConfig(POLICY)) as host:
        yield host


@pytest.fixture
def upstream(host):
    upstream = on_loop(host, Upstream().__aenter__())
    yield upstream
    on_loop(host, upstream.__aexit__())


def fetches(host, url, verb="GET", name="fetch", **order):
    """What the guest `fetch` answers to an order: the response, or the error."""
    outcome = host.invoke(name, json.dumps({"verb": verb, "url": url, **order}).encode()).unwrap()
    assert outcome.status == 200, outcome.text
    return json.loads(outcome.body)


# -- out and back


def test_a_request_goes_out_as_the_guest_wrote_it(host, upstream):
    """Verb, target, headers in order with their duplicates, and the body; `host` and length are the host's own."""
    headers = [["X-One", "1"], ["x-two", "2"], ["X-One", "é 3"], ["user-agent", "me"]]
    fetches(host, upstream.url("/a/b?c=d&c=%20"), "PROPFIND", headers=headers, body="hëllo")
    (request,) = upstream.requests
    assert request.line == "PROPFIND /a/b?c=d&c=%20 HTTP/1.1"
    assert request.body == "hëllo".encode()
    assert [field for field in request.headers if field[0].lower() in ("x-one", "x-two")] == [
        ("X-One", "1"),
        ("x-two", "2"),
        ("X-One", "é 3"),
    ]
    assert request.values("host") == [f"127.0.0.1:{upstream.port}"]
    assert request.values("content-length") == ["6"]
    assert request.values("user-agent") == ["me"]


def test_nothing_is_added_that_says_who_sends_it(host, upstream):
    """No agent, no content type, no cookie: only what HTTP needs, that anything is welcome, and nothing compressed."""
    fetches(host, upstream.url())
    names = sorted(name.lower() for name, _ in upstream.requests[0].headers)
    assert names == ["accept", "accept-encoding", "host"]
    assert upstream.requests[0].values("accept-encoding") == ["identity"]


@pytest.mark.parametrize("status", [200, 201, 204, 304, 404, 418, 500, 599])
def test_every_status_is_a_response(host, upstream, status):
    """A 500 of somebody else is no error of the request."""
    upstream.answer = lambda request: response(b"", f"{status} Whatever")
    assert fetches(host, upstream.url())["status"] == status


def test_a_response_comes_back_with_its_headers_in_order(host, upstream):
    """Names in lower case, duplicates kept, the body as it was sent."""
    upstream.answer = lambda request: response(
        b"\x1f\x8bnot really", "200 OK", "Set-Cookie: a", "X-B: 1", "Set-Cookie: c"
    )
    answer = fetches(host, upstream.url())
    assert [field for field in answer["headers"] if field[0] in ("set-cookie", "x-b")] == [
        ["set-cookie", "a"],
        ["x-b", "1"],
        ["set-cookie", "c"],
    ]
    assert answer["body"].endswith("not really")


def test_a_body_in_chunks_is_put_together(host, upstream):
    """The framing is the host's concern."""
    upstream.answer = lambda request: (
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    )
    assert fetches(host, upstream.url())["body"] == "abcde"


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "307 Temporary", "308 Permanent"])
def test_a_redirect_is_a_response_and_not_followed(host, upstream, status):
    """Where it leads is the guest's to read and to decide."""
    upstream.answer = lambda request: response(b"", status, f"location: {upstream.url('/elsewhere')}")
    answer = fetches(host, upstream.url())
    assert answer["status"] == int(status[:3])
    assert ["location", upstream.url("/elsewhere")] in answer["headers"]
    assert len(upstream.requests) == 1


def test_headers_of_one_connection_are_not_passed_on(host, upstream):
    """A guest that copies all headers of its caller is a usual thing: the host's own are left out without a word."""
    headers = ["host", "content-length", "connection", "keep-alive", "transfer-encoding", "te", "upgrade", "expect"]
    fetches(host, upstream.url(), headers=[[name, "5"] for name in headers] + [["proxy-secret", "x"], ["x-kept", "y"]])
    sent = {name.lower(): value for name, value in upstream.requests[0].headers}
    own = {"host": f"127.0.0.1:{upstream.port}", "accept": "*/*", "accept-encoding": "identity"}
    assert sent == {**own, "x-kept": "y"}


# -- failures, each an error value with its own word


def test_no_answer_within_the_guests_own_timeout(host, upstream):
    """`invoke-with-timeout`: the request has arrived, the answer has not."""
    upstream.answer = lambda request: None
    assert "Timeout" in fetches(host, upstream.url(), timeout_ms=40)["error"]
    assert len(upstream.requests) == 1


def test_no_answer_within_the_deployments_limit(host, upstream):
    """It bounds a guest that sets no timeout, and one that wants more."""
    redeploy(host, "fetch", "hurried", http_timeout_ms=40)
    upstream.answer = lambda request: None
    for order in ({}, {"timeout_ms": 60_000}):
        assert "Timeout" in fetches(host, upstream.url(), name="hurried", **order)["error"]


@pytest.mark.parametrize("chunked", [False, True])
def test_a_response_over_the_limit_is_an_error(host, upstream, chunked):
    """Whether its length is announced or not."""
    redeploy(host, "fetch", "frugal", http_response_bytes=1000)
    body = b"x" * 1001
    long = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3e9\r\n" + body + b"\r\n0\r\n\r\n"
    upstream.answer = lambda request: long if chunked else response(body)
    assert "the response body is too large" in fetches(host, upstream.url(), name="frugal")["error"]
    upstream.answer = lambda request: response(body[1:])
    assert len(fetches(host, upstream.url(), name="frugal")["body"]) == 1000


@pytest.mark.parametrize(
    ("answer", "word"),
    [
        (b"SSH-2.0-OpenSSH_9.6\r\n\r\n", "MalformedResponse"),
        (b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n", "MalformedResponse"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf", "ConnectionInterrupted"),
        (b"", "ConnectionInterrupted"),
    ],
    ids=["another protocol", "a broken header", "half a body", "nothing"],
)
def test_what_is_no_whole_response_is_an_error(host, answer, word):
    """What the server sent is not shown."""
    upstream = on_loop(host, Upstream(lambda request: answer, close_after=True).__aenter__())
    error = fetches(host, upstream.url(), "POST")["error"]
    on_loop(host, upstream.__aexit__())
    assert word in error
    assert "OpenSSH" not in error


def test_nobody_there_is_an_error(host):
    """Without the words of the operating system."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        assert "ConnectionFailed" in fetches(host, f"http://127.0.0.1:{reserved.getsockname()[1]}/")["error"]


@pytest.mark.parametrize(
    "url",
    [
        "http://10.0.0.1/",
        "http://[::1]/",
        "http://169.254.169.254/latest/meta-data/",
        "https://127.0.0.1/",
        "ftp://origin.test/",
    ],
)
def test_a_destination_that_is_not_allowed_is_an_error(host, url):
    """The same words for all of them: a guest learns nothing of the network inside."""
    assert fetches(host, url) == {"error": 'RequestError("destination prohibited")'}


@pytest.mark.parametrize("form", FORMS)
def test_without_a_policy_of_its_own_a_host_lets_guests_reach_public_addresses_only(form):
    """Nothing on this machine, by whatever name, and nothing without TLS."""
    with host_with("fetch", form=form) as host:
        upstream = on_loop(host, Upstream().__aenter__())
        for scheme in ("http", "https"):
            for name in (
                "127.0.0.1",
                "localhost",
                "2130706433",
                "0x7f.1",
                "[::ffff:127.0.0.1]",
                "printer",
                "a.internal",
            ):
                assert set(fetches(host, f"{scheme}://{name}:{upstream.port}/")) == {"error"}
        assert upstream.connections == 0
        on_loop(host, upstream.__aexit__())


@pytest.mark.parametrize(
    ("order", "word"),
    [
        ({"url": "not a url"}, "InvalidUrl"),
        ({"headers": [["bad name", "x"]]}, "InvalidHeaderName"),
        ({"headers": [["x", "a\r\nb: c"]]}, "InvalidHeaderValue"),
        ({"verb": "CONNECT"}, "the method is not valid"),
        ({"verb": "GET /x HTTP/1.1\r\n"}, "the method is not valid"),
    ],
)
def test_what_cannot_be_sent_is_an_error_and_nothing_is_sent(host, upstream, order, word):
    """The case says which part of the request is wrong."""
    assert word in fetches(host, **{"url": upstream.url(host="origin.test"), **order})["error"]
    assert upstream.connections == 0


# -- passing a request on


def test_a_proxy_passes_method_headers_and_bodies_on(host, upstream):
    """The credential stays; duplicates of the answer's headers arrive; its framing does not."""
    body = bytes(range(256)) * 4096
    upstream.answer = lambda request: response(
        request.body[::-1], "203 Changed", "set-cookie: a", "connection: x-hop", "keep-alive: 5", "Set-Cookie: b"
    )
    outcome = host.invoke(
        "proxy", body, method="PUT", query=[("url", upstream.url("/target"))],
        headers=[("authorization", "secret"), ("host", "me"), ("content-length", "1"), ("x-mine", "1")],
    )  # fmt: skip
    (request,) = upstream.requests
    assert (request.line, request.body) == ("PUT /target HTTP/1.1", body)
    assert request.values("authorization") == []
    assert request.values("x-mine") == ["1"]
    assert (outcome.status, outcome.body) == (203, body[::-1])
    assert list(outcome.headers) == [("set-cookie", "a"), ("set-cookie", "b")]


def test_a_name_given_an_address_by_the_operator_is_reached_there(host, upstream):
    """The request says the name, as for any other."""
    assert fetches(host, upstream.url(host="origin.test"))["status"] == 200
    assert upstream.requests[0].values("host") == [f"origin.test:{upstream.port}"]
