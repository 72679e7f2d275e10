"""Every function of the HTTP client, of both generations, from a guest in every form: what goes out and what comes back."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from guesthouse import Host
from guesthouse.net.aws_roles import Credentials
from guesthouse.net.signing import Signer
from http_guests import AWS_NAME, FORMS, NAME, http_host, once, once_1_0, once_old, send, steps, upstream_of
from sigv4 import verified
from upstream import END, EVENT_STREAM, Upstream, chunk, response

BYTES = "".join(map(chr, range(256)))
KEYS = ["AKIDEXAMPLE", "a secret", "eu-west-1", "sqs"]
ROLE = ["arn:aws:iam::123456789012:role/sender", "sqs"]


@pytest.fixture(scope="module", params=FORMS)
def host(request: pytest.FixtureRequest) -> Iterator[Host]:
    with http_host(request.param) as host:
        yield host


@pytest.fixture
def upstream(host: Host) -> Iterator[Upstream]:
    with upstream_of(
        host, lambda request: response(request.body[::-1], "203 Changed", "X-One: 1", "x-one: 2")
    ) as server:
        yield server


ANSWER = [["x-one", "1"], ["x-one", "2"]]


@pytest.mark.parametrize("timeout_ms", [None, 20_000])
@pytest.mark.parametrize("verb", ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND"])
def test_invoke_and_invoke_with_timeout(host: Host, upstream: Upstream, verb: str, timeout_ms: int | None) -> None:
    """Any verb, with any bytes as its body, within a timeout or without one."""
    order = {"headers": [["x-a", "b"]], "body": BYTES, "timeout_ms": timeout_ms}
    answer = once(host, upstream.url("/p?q", NAME), verb, **order)
    assert (answer["status"], answer["headers"][:2], answer["body"]) == (203, ANSWER, BYTES[::-1])
    (request,) = upstream.requests
    assert (request.line, request.body) == (f"{verb} /p?q HTTP/1.1", bytes(range(256)))
    assert request.values("x-a") == ["b"]


@pytest.mark.parametrize("verb", ["GET", "POST", "BREW"])
def test_invoke_of_1_0(host: Host, upstream: Upstream, verb: str) -> None:
    """The package that guests of 2025 were built with."""
    answer = once_1_0(host, upstream.url("/p?q", NAME), verb, headers=[["x-a", "b"]], body=BYTES)
    assert (answer["status"], answer["headers"][:2], answer["body"]) == (203, ANSWER, BYTES[::-1])
    assert upstream.requests[0].line == f"{verb} /p?q HTTP/1.1"


@pytest.mark.parametrize(("verb", "body"), [("GET", ""), ("PUT", BYTES), ("POST", BYTES), ("DELETE", "")])
def test_get_put_post_and_delete(host: Host, upstream: Upstream, verb: str, body: str) -> None:
    """The older generation has a function for each, and plain bytes both ways."""
    answer = once_old(host, upstream.url("/p?q", NAME), verb, headers=[["x-a", "b"]], body=body)
    assert (answer["status"], answer["headers"][:2], answer["body"]) == (203, ANSWER, body[::-1])
    (request,) = upstream.requests
    assert (request.line, request.body) == (f"{verb} /p?q HTTP/1.1", body.encode("latin-1"))


@pytest.mark.parametrize("status", [200, 204, 304, 401, 404, 429, 500, 503])
def test_every_status_is_a_response_in_every_generation(host: Host, upstream: Upstream, status: int) -> None:
    """None of them is an error of the request."""
    upstream.answer = lambda _: response(b"", f"{status} X")
    url = upstream.url("/", NAME)
    assert {answer(host, url)["status"] for answer in (once, once_1_0, once_old)} == {status}


@pytest.mark.parametrize("status", ["301 M", "302 F", "303 S", "307 T", "308 P"])
def test_redirects_are_responses_in_every_generation(host: Host, upstream: Upstream, status: str) -> None:
    """Also one that leads to itself: `too-many-redirects` has nothing to tell."""
    location = upstream.url("/", NAME)
    upstream.answer = lambda _: response(b"", status, f"location: {location}")
    for answer in (once, once_1_0, once_old):
        found = answer(host, location)
        assert (found["status"], found["headers"][0]) == (int(status[:3]), ["location", location])
    assert len(upstream.requests) == 3


def test_a_compressed_body_stays_compressed_in_every_generation(host: Host, upstream: Upstream) -> None:
    """With the header that says so."""
    upstream.answer = lambda _: response(b"\x1f\x8b\x08packed", "200 OK", "content-encoding: gzip")
    for answer in (once, once_1_0, once_old):
        found = answer(host, upstream.url("/", NAME))
        assert found["body"] == "\x1f\x8b\x08packed"
        assert ["content-encoding", "gzip"] in found["headers"]


def test_a_body_in_pieces_is_put_together_in_every_generation(host: Host, upstream: Upstream) -> None:
    """The older generation has no other way to get it; the newer reads it to its end."""
    upstream.answer = lambda _: EVENT_STREAM + b"".join(chunk(b"%d," % n) for n in range(100)) + END
    body = "".join(f"{n}," for n in range(100))
    assert {answer(host, upstream.url("/", NAME))["body"] for answer in (once, once_1_0, once_old)} == {body}


def test_several_answers_may_be_open_at_once(host: Host, upstream: Upstream) -> None:
    """And are read in any order."""
    upstream.answer = lambda request: response(request.line.split(" ")[1].encode())
    found = steps(
        host,
        *(send(upstream.url(f"/{name}", NAME)) for name in "abc"),
        {"all": 1}, {"read": [2, 1]}, {"all": 0}, {"all": 2},
    )  # fmt: skip
    assert found[3:] == ["/b", "/", "/a", "c"]


# -- authorization


@pytest.mark.parametrize("answer", [once, once_1_0, once_old])
@pytest.mark.parametrize(("verb", "body"), [("GET", ""), ("PUT", BYTES), ("POST", BYTES), ("DELETE", "")])
def test_a_request_is_signed_with_the_guests_keys(host: Host, upstream: Upstream, answer, verb: str, body: str) -> None:
    """Every function of both generations takes them."""
    url = upstream.url("/ä/b?y=2&x=1", NAME)
    found = answer(host, url, verb, body=body, secret=KEYS, headers=[["x-a", "1"], ["authorization", "mine"]])
    assert found["status"] == 203, found
    said = verified(upstream.requests[0], "a secret")
    assert (said["key"], said["region"], said["service"]) == ("AKIDEXAMPLE", "eu-west-1", "sqs")
    assert "x-a" in said["signed"]


def test_a_request_with_a_timeout_is_signed(host: Host, upstream: Upstream) -> None:
    """Like any other."""
    assert once(host, upstream.url("/", NAME), secret=KEYS, timeout_ms=20_000)["status"] == 203
    verified(upstream.requests[0], "a secret")


@pytest.mark.parametrize("answer", [once, once_1_0, once_old])
@pytest.mark.parametrize(("verb", "body"), [("GET", ""), ("PUT", "x"), ("POST", "x"), ("DELETE", "")])
def test_a_request_is_signed_as_a_role(
    host: Host, upstream: Upstream, monkeypatch: pytest.MonkeyPatch, answer, verb: str, body: str
) -> None:
    """With the credentials that the role has just now, for the region in the URL."""

    async def assume_role(role_arn: str, region: str) -> Credentials:
        assert (role_arn, region) == (ROLE[0], "us-west-2")
        return Credentials("ASIAEXAMPLE", "the role's secret", "the role's token")

    monkeypatch.setattr(host.inner.outbound, "_signer", Signer(assume_role))
    assert answer(host, upstream.url("/", AWS_NAME), verb, body=body, role=ROLE)["status"] == 203
    (request,) = upstream.requests
    said = verified(request, "the role's secret")
    assert (said["key"], said["region"], said["service"]) == ("ASIAEXAMPLE", "us-west-2", "sqs")
    assert request.values("x-amz-security-token") == ["the role's token"]


@pytest.mark.parametrize("answer", [once, once_1_0, once_old])
def test_a_host_without_credentials_of_its_own_assumes_no_role(host: Host, upstream: Upstream, answer) -> None:
    """The guest learns why; nothing is sent."""
    found = answer(host, upstream.url("/", AWS_NAME), role=ROLE)
    assert "this host has no AWS credentials to assume roles with" in str(found["error"])
    assert upstream.connections == 0
