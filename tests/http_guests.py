"""What the tests of the guests' HTTP client share: its guests in all their forms, and orders for them.

Bytes are text of which each character is one byte, as in the guests.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from guesthouse import Host, OutboundConfig, OutboundPolicy
from guesthouse.net.resolver import Lookups
from probes import on_loop
from support import host_with
from upstream import Upstream

T = TypeVar("T")
FORMS = ("wasip2", "wasip1", "unknown-unknown")
"""Forms of the guests that need no WASI."""
GUESTS = ("http-calls", "http-1-0", "old-http-calls")
PATIENCE = 30
NAME = "up.example"
AWS_NAME = "queue.us-west-2.amazonaws.com"
LOCAL = dict.fromkeys((NAME, AWS_NAME, "other.example"), "127.0.0.1")
POLICY = OutboundPolicy.of(schemes=("http", "https"), overrides=LOCAL)

Json = dict[str, Any]


@contextmanager
def http_host(form: str, *guests: str, policy: OutboundPolicy = POLICY, **config: Any) -> Iterator[Host]:
    """A host with the guests that call out, deployed under their names."""
    with host_with(*(guests or GUESTS), form=form, outbound=OutboundConfig(policy, **config)) as host:
        yield host


@contextmanager
def upstream_of(host: Host, *args: Any, **options: Any) -> Iterator[Upstream]:
    """A server on the host's loop."""
    upstream = on_loop(host, Upstream(*args, **options).__aenter__())
    try:
        yield upstream
    finally:
        on_loop(host, upstream.__aexit__())


def soon(host: Host, work: Coroutine[Any, Any, T]) -> T:
    """What happens on the host's loop before long."""
    return on_loop(host, asyncio.wait_for(work, PATIENCE))


@contextmanager
def resolving(host: Host, resolver: Any) -> Iterator[None]:
    """Has the host ask `resolver` for addresses."""
    outbound = host.inner.outbound
    before, outbound._lookups = outbound._lookups, Lookups(resolver)
    pool, outbound._session = outbound._session, None
    try:
        yield
    finally:
        session, outbound._session, outbound._lookups = outbound._session, pool, before
        if session is not None:
            on_loop(host, session.close())


def run(host: Host, order: Any, name: str) -> Any:
    """What a guest answers to an order."""
    outcome = host.invoke(name, json.dumps(order).encode()).unwrap()
    assert outcome.status == 200, outcome.text
    return json.loads(outcome.body)


def steps(host: Host, *order: Json, name: str = "http-calls") -> list[Any]:
    """What each step gave."""
    found: list[Any] = run(host, list(order), name)
    return found


def send(url: str, verb: str = "GET", **fields: Any) -> Json:
    """The step that sends a request."""
    return {"send": {"verb": verb, "url": url, **fields}}


def once(host: Host, url: str, verb: str = "GET", **fields: Any) -> Json:
    """The answer to one request of momento:http@1.1.0, its body read to the end."""
    first, body = steps(host, send(url, verb, **fields), {"all": 0})
    return first if "error" in first else {**first, "body": body}


def once_1_0(host: Host, url: str, verb: str = "GET", **fields: Any) -> Json:
    """The same of momento:http@1.0.0."""
    found: Json = run(host, {"verb": verb, "url": url, **fields}, "http-1-0")
    return found


def once_old(host: Host, url: str, verb: str = "GET", **fields: Any) -> Json:
    """The same of momento:host/http, which has a function for each of four verbs."""
    found: Json = run(host, {"do": verb.lower(), "url": url, **fields}, "old-http-calls")
    return found
