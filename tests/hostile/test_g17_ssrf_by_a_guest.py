"""G17: a real guest reaches nothing inside, whatever URL it asks for and whatever generation of the interface it uses.

One form of the guest is tried with every vector, the others with some of each part of the list.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from guesthouse import Host, OutboundPolicy
from guesthouse.net.policy import PUBLIC
from http_guests import FORMS, GUESTS, NAME, POLICY, http_host, resolving, run, send, steps, upstream_of
from probes import redeploy
from ssrf_vectors import HOSTS, INSIDE, VECTORS, Everything, of_form
from support import guest

BATCH = 100
EACH = 320
"""Vectors for the guests that take one order at a time."""
PROHIBITED = ["request-error", "destination prohibited"]


class ByName:
    """A resolver to whom each name is an address of its own."""

    def __init__(self, addresses: Sequence[str]) -> None:
        self.addresses = {f"a{number}.nip.example": address for number, address in enumerate(addresses)}

    async def resolve(self, host: str) -> list[str]:
        return [self.addresses[host]]


@pytest.fixture(scope="module", params=FORMS)
def form(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture(scope="module")
def host(form: str) -> Iterator[Host]:
    with http_host(form, policy=PUBLIC) as host:
        for name in GUESTS:
            redeploy(host, name, http_requests=1 << 20, host_calls=1 << 20)
        yield host


@contextmanager
def allowing(host: Host, policy: OutboundPolicy) -> Iterator[None]:
    """Has the host follow another policy."""
    before, host.inner.outbound.policy = host.inner.outbound.policy, policy
    try:
        yield
    finally:
        host.inner.outbound.policy = before


def ask(host: Host, name: str, urls: Sequence[str]) -> list[Any]:
    """What a guest is told about each URL."""
    if name != "http-calls":
        return [run(host, {"verb": "GET", "do": "get", "url": url}, name) for url in urls]
    return [answer for at in range(0, len(urls), BATCH) for answer in steps(host, *map(send, urls[at : at + BATCH]))]


def is_refusal(answer: Any) -> bool:
    """Whether the guest was told that it may not, or that this is no URL, and nothing else."""
    if answer.keys() != {"error"}:
        return False
    error = answer["error"]
    if isinstance(error, str):  # the older generation
        return error == 'Error::RequestError("destination prohibited")' or error.startswith("Error::InvalidUrl(")
    return error == PROHIBITED or error[0] == "invalid-url"


def refused(host: Host, name: str, urls: Sequence[str], resolver: Any) -> None:
    """Has a guest ask for each of `urls`, of which none may pass."""
    with upstream_of(host) as inside, resolving(host, resolver):
        urls = [url.replace("PORT", str(inside.port)) for url in urls]
        answers = ask(host, name, urls)
        assert not [pair for pair in zip(urls, answers, strict=True) if not is_refusal(pair[1])]
        assert inside.connections == 0
        # The same guest on the same host does reach that server where it may: the refusals above mean something.
        with allowing(host, POLICY):
            (answer,) = ask(host, name, [inside.url("/", NAME)])
        assert answer["status"] == 200


ALL = [*VECTORS, *(f"http://{host}:PORT/" for host in HOSTS)]


def test_there_are_enough_vectors() -> None:
    """The promise is 300 or more."""
    assert len(set(ALL)) >= 900


@pytest.mark.parametrize("name", GUESTS)
def test_no_url_of_a_guest_leads_inside(host: Host, form: str, name: str) -> None:
    """Each is an error that the guest gets as a value, in words that say nothing of what is there; no socket is opened.

    Every name leads to a server that listens on this machine.
    """
    refused(host, name, of_form(form, ALL, None if name == "http-calls" else EACH), Everything())


def test_no_url_of_a_guest_leads_inside_where_everything_is_named(host: Host, form: str) -> None:
    """Nor under rules that allow every host by its name and port, or a deployment's grant of everything."""
    wasm = host.inner.registry.wasm(host.inner.deployment("http-calls").digest)
    limits = {"http_requests": 1 << 20, "host_calls": 1 << 20}
    host.deploy("granted", wasm, grants=["http:*:*", "http:127.0.0.1:*", "http:localhost:*"], limits=limits)
    with allowing(host, OutboundPolicy.of(schemes=("http", "https"), hosts=["*:*"])):
        refused(host, "http-calls", of_form(form, ALL), Everything())
        with upstream_of(host) as inside, resolving(host, Everything()):
            urls = [url.replace("PORT", str(inside.port)) for url in of_form(form, ALL)]
            for at in range(0, len(urls), BATCH):
                assert all(map(is_refusal, steps(host, *map(send, urls[at : at + BATCH]), name="granted")))
            assert inside.connections == 0


def test_no_public_name_leads_inside(host: Host, form: str) -> None:
    """Such as 169.254.169.254.nip.io, for every range: the name is fine, its address is not."""
    names = ByName(of_form(form, INSIDE))
    urls = [
        f"{scheme}://{name}{port}/" for name in names.addresses for scheme, port in (("http", ":PORT"), ("https", ""))
    ]
    refused(host, "http-calls", urls, names)


def test_this_host_is_not_reached_by_its_guests(host: Host) -> None:
    """Where it listens itself is never reached, though its address is allowed."""
    with upstream_of(host) as gateway, upstream_of(host) as other:
        policy = OutboundPolicy.of(
            schemes=("http",),
            allow_addresses=["127.0.0.0/8", "::1/128", "::ffff:0:0/96"],
            overrides={NAME: "127.0.0.1"},
            listeners=[("0.0.0.0", gateway.port)],
        )
        names = ("127.0.0.1", "127.0.0.2", NAME, "localhost", "0.0.0.0", "[::1]", "[::ffff:127.0.0.1]")
        with allowing(host, policy):
            for answer in ask(host, "http-calls", [gateway.url("/", name) for name in names]):
                assert is_refusal(answer) or answer["error"][0] == "connection-failed", answer
            assert gateway.connections == 0
            (answer,) = ask(host, "http-calls", [other.url("/")])
        assert answer["status"] == 200


def test_nothing_is_reached_without_the_grant(host: Host) -> None:
    """A function that was not granted `http` cannot even be deployed with it."""
    with pytest.raises(ValueError, match="http"):
        host.deploy("refused", guest("http-calls"), grants=["cache"])
