"""Starting functions through either interface, in every form: what the guest is answered, and what arrives."""

from __future__ import annotations

import json
from typing import Any

import pytest

from guesthouse import Host
from guesthouse.dispatch import spawner
from guesthouse.errors import BadRequest
from probes import on_loop, redeploy, settled
from support import FORMS, guest, host_with

NAMES = ("spawn-calls", "old-start", "topic-trigger", "old-topic-trigger", "echo")
GENERATIONS = (False, True)
"""Whether the guest calls the older interface."""
LIMITS = {False: "limit exceeded: {}", True: 'SpawnError::Limit("{}")'}
NOT_FOUND = {False: "function not found", True: "SpawnError::FunctionNotFound"}


@pytest.fixture(scope="module", params=(*FORMS, "unknown-unknown"))
def host(request):
    with host_with(*NAMES, form=request.param) as host:
        yield host


def start(host: Host, *asked: dict[str, Any], name: str = "spawn-calls") -> list[str]:
    """What the guest was answered."""
    outcome = host.invoke(name, json.dumps(asked).encode())
    assert outcome.status == 200
    return json.loads(outcome.body)


def heard(host: Host, work: Any) -> tuple[Any, list[bytes]]:
    """What `work` returns, and the payloads that the started functions then passed on to the topic `heard`."""

    async def listen() -> Any:
        return host.inner.topics.subscribe("default", "heard")

    subscription = on_loop(host, listen())
    result = work()
    settled(host)
    payloads = [message.value for message in subscription.take(100)]
    subscription.close()
    return result, sorted(payloads)


def test_either_interface_starts_functions_of_either_generation(host):
    """The payload arrives as it was, whichever way it went; one guest may use both."""
    asked = [
        {"name": name, "payload": f"{name} {old}", "old": old}
        for name in ("topic-trigger", "old-topic-trigger")
        for old in GENERATIONS
    ]
    answers, payloads = heard(host, lambda: start(host, *asked))
    assert answers == ["ok"] * 4
    assert payloads == sorted(entry["payload"].encode() for entry in asked)


def test_the_requests_buffer_can_be_the_payload_unread(host):
    """It never enters the guest's memory."""
    body = bytes(range(256)) * 10
    outcome, payloads = heard(host, lambda: host.invoke("spawn-calls", body, path="topic-trigger"))
    assert (json.loads(outcome.body), payloads) == ("ok", [body])


def test_a_guest_of_the_older_generation_starts_functions(host):
    """With `post!` around it."""
    outcome, payloads = heard(host, lambda: host.invoke("old-start", b"\0\xff", path="topic-trigger"))
    assert (outcome.status, payloads) == (202, [b"\0\xff"])


@pytest.mark.parametrize("old", GENERATIONS)
@pytest.mark.parametrize("name", ["nobody", "echo", "", "x" * 1000, "../echo"])
def test_what_is_no_spawn_function_is_not_found_at_once(host, old, name):
    """Neither does a web function count; the guest goes on."""
    (answer,) = start(host, {"name": name, "old": old})
    assert answer == NOT_FOUND[old]


@pytest.mark.parametrize("old", GENERATIONS)
def test_a_bound_is_a_limit_with_its_text(host, old, monkeypatch):
    """A payload over the target's limit, a full queue, and a chain that would be too long."""
    redeploy(host, "topic-trigger", "small", request_bytes=3)
    redeploy(host, "spawn-calls", "shallow", spawn_fanout=1)
    (answer,) = start(host, {"name": "small", "payload": "1234", "old": old})
    assert answer == LIMITS[old].format("the payload is over 3 bytes")
    (answer, other) = start(host, *[{"name": "small", "payload": "1", "old": old}] * 2, name="shallow")
    assert answer == "ok"
    assert other == LIMITS[old].format("fan-out: one invocation led to 1 spawned runs")
    settled(host)
    monkeypatch.setattr(spawner, "MOST_IN_FLIGHT", 0)
    (answer,) = start(host, {"name": "small", "payload": "1", "old": old})
    assert answer == LIMITS[old].format("the spawn queue is full")


def test_a_function_that_was_not_granted_is_not_found(host):
    """A grant names a function, or the beginning of names; through either interface."""
    wasm = host.inner.registry.wasm(host.inner.deployment("spawn-calls").digest)
    host.deploy("granted", wasm, grants=["spawn:topic-*"])
    asked = [{"name": name, "old": old} for old in GENERATIONS for name in ("topic-trigger", "old-topic-trigger")]
    assert start(host, *asked, name="granted") == ["ok", NOT_FOUND[False], "ok", NOT_FOUND[True]]
    settled(host)
    with pytest.raises(BadRequest, match="spawn:NAME"):
        host.deploy("granted", wasm, grants=["spawn:a*b"])


def test_a_namespace_is_closed_to_the_others(host):
    """A name means a function of the caller's own namespace."""
    host.deploy("elsewhere", guest("topic-trigger"), namespace="other")
    assert start(host, {"name": "elsewhere"}, {"name": "elsewhere", "old": True}) == list(NOT_FOUND.values())
