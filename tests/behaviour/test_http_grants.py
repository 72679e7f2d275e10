"""What a deployment was granted of the HTTP client: hosts, ports, methods, and the roles that sign its requests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from guesthouse import Host, OutboundPolicy
from guesthouse.errors import BadRequest, LinkError
from http_guests import AWS_NAME, FORMS, LOCAL, NAME, http_host, run, send, steps, upstream_of
from support import guest


@pytest.fixture(scope="module", params=FORMS)
def host(request: pytest.FixtureRequest) -> Iterator[Host]:
    with http_host(request.param) as host:
        yield host


def granting(host: Host, name: str, *grants: str) -> str:
    """The name of a function that is `name` with these grants."""
    host.deploy("granted", host.inner.registry.wasm(host.inner.deployment(name).digest), grants=grants)
    return "granted"


Ask = Callable[[Host, str, str, str], Any]


def ask_new(host: Host, name: str, verb: str, url: str) -> Any:
    return steps(host, send(url, verb), name=name)[0]


def ask_1_0(host: Host, name: str, verb: str, url: str) -> Any:
    return run(host, {"verb": verb, "url": url}, name)


def ask_old(host: Host, name: str, verb: str, url: str) -> Any:
    return run(host, {"do": verb.lower(), "url": url}, name)


@pytest.mark.parametrize(("name", "ask"), [("http-calls", ask_new), ("http-1-0", ask_1_0), ("old-http-calls", ask_old)])
def test_a_grant_names_hosts_and_methods(host: Host, name: str, ask: Ask) -> None:
    """What it does not name is an error value, and nothing is sent."""
    with upstream_of(host) as upstream:
        port = upstream.port
        function = granting(host, name, f"http:GET,PUT http://{NAME}:{port}", f"http:POST *.amazonaws.com:{port}")
        for verb, server in (("GET", NAME), ("PUT", NAME), ("POST", AWS_NAME)):
            assert ask(host, function, verb, upstream.url("/", server))["status"] == 200
        arrived = len(upstream.requests)
        for verb, server in (("POST", NAME), ("DELETE", NAME), ("GET", AWS_NAME), ("GET", "other.example")):
            error = str(ask(host, function, verb, upstream.url("/", server))["error"])
            assert f"not granted: {verb} http://{server}:{port}" in error
        assert len(upstream.requests) == arrived


def test_a_grant_widens_nothing(host: Host) -> None:
    """What the host does not allow stays forbidden."""
    function = granting(host, "http-calls", "http:*:*", "http:http://127.0.0.1", "http:localhost")
    for url in ("http://127.0.0.1/", "http://localhost/", "http://10.0.0.1:8080/"):
        assert ask_new(host, function, "GET", url) == {"error": ["request-error", "destination prohibited"]}


def test_a_grant_cannot_be_had_for_a_hosts_own_policy(host: Host) -> None:
    """Both have to allow a destination: the host's rules, and those of the deployment."""
    with upstream_of(host) as upstream:
        host.inner.outbound.policy = OutboundPolicy.of(
            schemes=("http",), hosts=[f"GET http://{NAME}:*", f"other.example:{upstream.port}"], overrides=LOCAL
        )
        try:
            function = granting(host, "http-calls", f"http:{NAME}:*")
            assert ask_new(host, function, "GET", upstream.url("/", NAME))["status"] == 200
            refused = ["request-error", "destination prohibited"]
            assert ask_new(host, function, "POST", upstream.url("/", NAME))["error"] == refused
            assert "not granted" in str(ask_new(host, function, "GET", upstream.url("/", "other.example")))
        finally:
            host.inner.outbound.policy = host.inner.outbound.config.policy


def test_a_role_has_to_be_granted(host: Host) -> None:
    """By the word that it has for all interfaces; the guest's own keys have not."""
    role = ["arn:aws:iam::123456789012:role/other", "sqs"]
    with upstream_of(host) as upstream:
        order = send(upstream.url("/", AWS_NAME), role=role)
        for grants in (["http"], ["http", "aws-auth:arn:aws:iam::123456789012:role/mine*"]):
            (answer,) = steps(host, order, name=granting(host, "http-calls", *grants))
            assert answer == {"error": ["request-error", f"this function was not granted aws-auth:{role[0]}"]}
        for grants in (["http", "aws-auth"], ["http", "aws-auth:arn:aws:iam::123456789012:role/o*"]):
            (answer,) = steps(host, order, name=granting(host, "http-calls", *grants))
            assert "this host has no AWS credentials" in answer["error"][1]
        (answer,) = steps(
            host, {"send": {**order["send"], "role": None, "secret": ["k", "s", "r", "sqs"]}}, name="granted"
        )
        assert answer["status"] == 200


def test_a_grant_that_says_nothing_is_refused_at_deploy(host: Host) -> None:
    """And so is a guest that was not granted what it uses."""
    wasm = guest("http-calls")
    for grant in ("http:", "http:get a.example", "http:a.example/path", "http:127.1", "http:ftp://a.example"):
        with pytest.raises(BadRequest):
            host.deploy("refused", wasm, grants=[grant])
    with pytest.raises(LinkError, match="not granted: http"):
        host.deploy("refused", wasm, grants=["cache"])
