"""Crash sweep over guests that know nothing of durability, deployed as durable functions: each effect once."""

from __future__ import annotations

import json
from typing import Any

import pytest

from guesthouse.testing import SimulatedHost
from sweeping import swept

URL = "https://api.example.com/things"


def invoked(host: SimulatedHost, name: str, body: Any = b"", **options: Any) -> tuple[str, str]:
    """How a call ended, and what it answered."""
    result = host.run(name, body, **options)
    return result.record.state, result.text


def test_a_request_over_http_is_made_once() -> None:
    """What another server has changed is changed once, by its Idempotency-Key."""

    def scenario(host: SimulatedHost) -> Any:
        host.http.on("POST", URL).idempotent().answer(201, {"made": True})
        return invoked(host, "fetch", {"verb": "POST", "url": URL, "body": "one"})

    sweep = swept(scenario, fetch={})
    assert sweep.duplicates, "no crash came between a request and its record"


def test_answers_that_fail_are_remembered_as_they_were() -> None:
    """A connection that broke off is an answer like any other: what a guest has seen it sees again."""

    def scenario(host: SimulatedHost) -> Any:
        host.http.on("POST", URL).answer(503, "later", after=2.5)
        return invoked(host, "fetch", {"verb": "POST", "url": URL})

    swept(scenario, fetch={})


def test_items_of_the_cache_are_written_once() -> None:
    """On the host's own database an effect and its record are one transaction."""

    def scenario(host: SimulatedHost) -> Any:
        told = []
        for operation, value in (("set", "blue"), ("get", None), ({"set-if": {"equal": "blue"}}, "red"), ("get", None)):
            order = {"operation": operation, "key": "color", "ttl_ms": 3_600_000}
            told.append(invoked(host, "cache-conditions", order if value is None else {**order, "value": value}))
        return told

    swept(scenario, cache_conditions={})


def test_a_spawn_function_that_fetches_and_stores_does_so_once() -> None:
    """HTTP, a body that is passed on, and the cache, in a function that nobody hears of."""

    def scenario(host: SimulatedHost) -> Any:
        host.http.on("GET", URL).answer(200, b"x" * 100_000)
        return invoked(host, "fill", {"key": "a", "url": URL})

    swept(scenario, fill={})


def test_a_function_that_starts_another_one_starts_it_once() -> None:
    """The one that is started is queued in the transaction that records it."""

    def scenario(host: SimulatedHost) -> Any:
        host.http.on("GET", URL).answer(200, "found")
        first = invoked(host, "read-through", method="GET", path="k", query=[("url", URL)])
        return first, invoked(host, "read-through", method="GET", path="k", query=[("url", URL)])

    swept(scenario, read_through={}, fill={})


@pytest.mark.parametrize("kind", ["text/plain", "application/octet-stream"])
def test_messages_of_topics_are_published_at_least_once(kind: str) -> None:
    """A message is not lost, and nothing else is published."""

    def scenario(host: SimulatedHost) -> Any:
        told = invoked(host, "publisher", "hello", path="news", headers=[("content-type", kind)])
        assert {topic for _, topic, _ in host.published} == {"news"}
        return told

    swept(scenario, publisher={})


def test_time_and_chance_are_what_they_were() -> None:
    """What a guest was told of the clock and of chance, and has told others, it is told again."""
    told = {"http": {"url": URL, "verb": "POST", "body": "$last"}}

    def scenario(host: SimulatedHost) -> Any:
        host.http.on("POST", URL).answer(201)
        script = ["clock", told, "random", told, {"sleep": 60_000}, {"wait": {"of": 0}}, "random", told]
        found = host.run("durable-probe", script).json()
        sent = {request.idempotency_key: json.loads(request.body) for request in host.http.requests}
        assert list(sent.values()) == [found[0], found[2], found[6]]
        assert set(sent.items()) == {
            (request.idempotency_key, json.loads(request.body)) for request in host.http.requests
        }
        return found[0]

    swept(scenario, "invocations", "requests", durable_probe={})


def test_a_guest_that_sleeps_by_itself_sleeps_once() -> None:
    """A sleep of WASI that a crash cuts off is not begun anew: it ends when it would have ended."""

    def scenario(host: SimulatedHost) -> Any:
        start = host.now
        told = host.run("clock", method="GET", query=[("sleep_ms", "5000")]).json()
        return told["unix_ms"], told["slept_ns"] // 1_000_000_000, (host.now - start).seconds

    swept(scenario, "invocations", clock={})


def test_a_command_runs_to_its_end() -> None:
    """A program with standard input and output is a function like any other."""

    def scenario(host: SimulatedHost) -> Any:
        return invoked(host, "sha512sum", "abc")

    swept(scenario, sha512sum={})


def test_a_guest_that_traps_does_so_once_more() -> None:
    """A trap is an outcome: it is retried as the policy says, and comes to the same end."""

    def scenario(host: SimulatedHost) -> Any:
        host.http.on("POST", URL).answer(201)
        script = [{"http": {"url": URL, "verb": "POST"}}, "trap"]
        result = host.run("durable-probe", script)
        return result.record.state, result.record.result

    swept(scenario, durable_probe={"retry": {"attempts": 2, "min_wait_ms": 1_000}})
