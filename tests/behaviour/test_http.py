"""The examples `fetch` and `proxy` against a real server: what goes out, and what comes back.

`test_http_calls`, `_streaming` and `_errors` have every function, every way to read and every way to fail.
"""

from __future__ import annotations

import json
import re

import pytest

from guesthouse import OutboundConfig, OutboundPolicy
from probes import on_loop
from support import FORMS, ROOT, host_with
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


def test_the_page_about_this_interface_shows_guests_that_are_built():
    """Its code is theirs."""
    sources = "".join(path.read_text() for path in sorted(ROOT.glob("guests/examples/*/src/lib.rs")))
    blocks = re.findall(r"```rust\n(.*?)```", (ROOT / "docs/interfaces/http.md").read_text(), re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        assert block in sources
