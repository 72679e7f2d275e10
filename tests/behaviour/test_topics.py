"""Topics in the hands of guests of both generations, in every form, and functions that messages start."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from guesthouse import AsyncHost, Host
from guesthouse.dispatch import spawner, triggers
from guesthouse.errors import BadRequest
from guesthouse.interfaces.topic import Message, TopicLimits
from probes import PATIENCE, SPAWNED, Gate, on_loop, redeploy, spawn_counts
from support import FORMS, guest, host_with, wat

EVERY_FORM = (*FORMS, "unknown-unknown")
NAMES = ("topic-calls", "old-topic-calls", "topic-trigger", "old-topic-trigger")
BOTH = ("topic-calls", "old-topic-calls")
TRIGGERS = ("topic-trigger", "old-topic-trigger")
TOO_LARGE = "a message has at most 4096 bytes"
NO_NAME = "a topic's name has 1 to 1024 bytes"


def errors(name: str, case: str, text: str) -> str:
    """How the SDK of a guest words an error."""
    words = {
        "LimitExceeded": "limit exceeded",
        "InvalidArgument": "invalid argument",
        "PermissionDenied": "permission denied",
    }
    return f"{words[case]}: {text}" if name == "topic-calls" else f'Error::{case}("{text}")'


@pytest.fixture(scope="module", params=EVERY_FORM)
def host(request):
    with host_with(*NAMES, form=request.param) as host:
        yield host


async def _settle(host: AsyncHost) -> None:
    """Waits until everything that messages started has ended, and what that started."""
    async with asyncio.timeout(PATIENCE):
        while tasks := {*host._triggers._starting, *host.dispatcher.spawner._tasks}:
            await asyncio.wait(tasks)


def settle(host: Host) -> tuple[dict[str, int], dict[str, int]]:
    """How starts and runs ended by outcome, once all have, since the last time."""
    on_loop(host, _settle(host.inner))
    starts, runs = dict(host.inner.metrics._counters["triggers"]), spawn_counts(host.inner)
    host.inner.metrics._counters["triggers"].clear()
    host.inner.metrics._counters["spawns"].clear()
    return starts, runs


async def _subscribe(host: Host, topic: str, namespace: str) -> Any:
    return host.inner.topics.subscribe(namespace, topic)


@pytest.fixture
def listen(host):
    """Subscribes; what is left is forgotten after the test."""
    opened: list[Any] = []

    def subscribe(topic: str, namespace: str = "default") -> Any:
        opened.append(on_loop(host, _subscribe(host, topic, namespace)))
        return opened[-1]

    yield subscribe
    for subscription in opened:
        subscription.close()


def values(subscription: Any) -> list[Any]:
    """What a subscription has received."""
    return [message.value for message in subscription.take(1000)]


def call(host: Host, name: str, *messages: dict[str, Any]) -> list[str]:
    """What a guest is answered for the messages that it publishes."""
    outcome = host.invoke(name, json.dumps(messages).encode())
    assert (outcome.status, outcome.result) == (200, "ok")
    return json.loads(outcome.body)


async def _publish(host: AsyncHost, topic: str, value: str | bytes) -> None:
    host.topics.publish_and_start("default", topic, value)


def publish(host: Host, topic: str, value: str | bytes = b"x") -> None:
    """A message from outside."""
    on_loop(host, _publish(host.inner, topic, value))


# -- publishing


@pytest.mark.parametrize("name", BOTH)
def test_text_and_bytes_arrive_as_what_they_are_in_one_order(host, listen, name):
    """All subscribers hear the same, numbered upwards."""
    one, other = listen("news"), listen("news")
    sent = [{"text": "héllo\n"}, {"bytes": [0, 255]}, {"text": ""}, {"bytes": []}, {"bytes": [104, 105]}]
    assert call(host, name, *({"topic": "news", **message} for message in sent)) == ["ok"] * 5
    messages = one.take(9)
    assert [message.value for message in messages] == ["héllo\n", b"\0\xff", "", b"", b"hi"]
    assert other.take(9) == messages
    assert sorted(message.sequence for message in messages) == [message.sequence for message in messages]


def test_json_of_the_older_generation_is_text(host, listen):
    """The crate writes it."""
    subscription = listen("news")
    assert call(host, "old-topic-calls", {"topic": "news", "json": {"a": [1]}}) == ["ok"]
    assert values(subscription) == ['{"a":[1]}']


def test_the_requests_buffer_can_be_published_unread(host, listen):
    """As bytes, up to the limit."""
    subscription = listen("a/b c")
    body = b"\xff" * 4096
    assert json.loads(host.invoke("topic-calls", body, path="a/b c").body) == "ok"
    assert values(subscription) == [body]
    refused = host.invoke("topic-calls", body + b"x", path="a/b c")
    assert json.loads(refused.body) == errors("topic-calls", "LimitExceeded", TOO_LARGE)


@pytest.mark.parametrize("name", BOTH)
def test_publishing_to_nobody_succeeds_and_keeps_nothing(host, listen, name):
    """Who subscribes later hears nothing of it."""
    assert call(host, name, {"topic": "unheard", "text": "x"}, {"topic": "unheard", "bytes": [1]}) == ["ok", "ok"]
    assert values(listen("unheard")) == []


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize(
    ("message", "case", "text"),
    [
        ({"topic": "t", "text": "x" * 4097}, "LimitExceeded", TOO_LARGE),
        ({"topic": "t", "text": "é" * 2049}, "LimitExceeded", TOO_LARGE),
        ({"topic": "t", "bytes": [0] * 4097}, "LimitExceeded", TOO_LARGE),
        ({"topic": "", "text": "x"}, "InvalidArgument", NO_NAME),
        ({"topic": "", "bytes": [1]}, "InvalidArgument", NO_NAME),
        ({"topic": "é" * 513, "text": "x"}, "InvalidArgument", NO_NAME),
    ],
)
def test_what_cannot_be_published_is_an_error_value(host, listen, name, message, case, text):
    """Bytes count, not characters; the largest that fits is published."""
    subscription = listen("t")
    fits = {"topic": "t", "text": "é" * 2048}
    assert call(host, name, message, fits) == [errors(name, case, text), "ok"]
    assert values(subscription) == ["é" * 2048]


@pytest.mark.parametrize("name", BOTH)
def test_a_topic_that_was_not_granted_is_denied(host, listen, name):
    """A grant names a topic, or the beginning of one; the guest goes on."""
    wasm = host.inner.registry.wasm(host.inner.deployment(name).digest)
    host.deploy("granted", wasm, grants=["topic:news", "topic:log-*", "spawn", "cache", "http", "log"])
    topics = ("news", "log-a", "newsletter", "log")
    heard = [listen(topic) for topic in topics]
    denied = [errors(name, "PermissionDenied", f"the function was not granted the topic '{topic}'") for topic in topics]
    for kind in ({"text": "x"}, {"bytes": [120]}):
        answers = call(host, "granted", *({"topic": topic, **kind} for topic in topics))
        assert answers == ["ok", "ok", *denied[2:]]
    assert [len(values(subscription)) for subscription in heard] == [2, 2, 0, 0]


def test_a_pattern_that_says_nothing_is_refused_at_deploy(host):
    """With what stands in the way."""
    with pytest.raises(BadRequest, match="topic:a\\*b"):
        host.deploy("granted", guest("topic-calls"), grants=["topic:a*b"])


def test_the_limit_of_a_message_can_be_set():
    """For the whole host."""
    with host_with("topic-calls", topic_limits=TopicLimits(message_bytes=3)) as host:
        answers = call(host, "topic-calls", {"topic": "t", "text": "123"}, {"topic": "t", "text": "1234"})
    assert answers == ["ok", errors("topic-calls", "LimitExceeded", "a message has at most 3 bytes")]


# -- functions that messages start


@pytest.fixture
def deploy(host):
    """Deploys what a guest is with the topics that start it; gone after the test."""
    deployed: list[str] = []

    def redeploy(guest_name: str, *topics: str, name: str = "started", **options: Any) -> None:
        wasm = host.inner.registry.wasm(host.inner.deployment(guest_name).digest)
        host.deploy(name, wasm, topics=topics, **options)
        deployed.append(name)

    yield redeploy
    for name in deployed:
        host.delete(name)
    settle(host)


@pytest.mark.parametrize("name", TRIGGERS)
def test_a_message_starts_the_functions_that_wait_for_its_topic(host, listen, deploy, name):
    """Each once, with the message's bytes as the payload, whether it was text or bytes, from a guest or from outside."""
    deploy(name, "orders", "refunds")
    heard = listen("heard")
    publish(host, "orders", "é")
    publish(host, "refunds", b"\xff")
    publish(host, "others")
    call(host, "topic-calls", {"topic": "orders", "text": "by a guest"})
    assert settle(host) == ({"accepted": 3}, {"ok": 3})
    assert sorted(values(heard)) == sorted(["é".encode(), b"\xff", b"by a guest"])


def test_subscribers_and_several_functions_get_the_same_message(host, listen, deploy):
    """None takes it from the others."""
    deploy("topic-trigger", "orders", name="one")
    deploy("old-topic-trigger", "orders", name="two")
    orders, heard = listen("orders"), listen("heard")
    publish(host, "orders", b"x")
    assert settle(host) == ({"accepted": 2}, {"ok": 2})
    assert (values(orders), values(heard)) == ([b"x"], [b"x", b"x"])


def test_a_topic_of_another_namespace_starts_nothing(host, deploy):
    """A name means a topic of the function's own namespace."""
    deploy("topic-trigger", "orders")

    async def elsewhere() -> None:
        host.inner.topics.publish_and_start("other", "orders", b"x")

    on_loop(host, elsewhere())
    assert settle(host) == ({}, {})


def test_a_log_line_starts_nothing(host, listen, deploy):
    """A function that is started by the topic of its own log would never end."""
    deploy("topic-trigger", "audit")
    subscription = listen("audit")

    async def log() -> None:
        host.inner.topics.publish("default", "audit", "a line")

    on_loop(host, log())
    assert settle(host) == ({}, {})
    assert values(subscription) == ["a line"]


@pytest.mark.parametrize("name", TRIGGERS)
def test_a_function_that_publishes_to_its_own_topic_ends_at_the_depth_of_spawns(host, listen, deploy, name):
    """A message from outside is the root; each run is one deeper; the last one's log says why nothing followed."""
    deploy(name, "heard", limits={"spawn_depth": 3})
    subscription = listen("heard")
    publish(host, "heard", b"round and round")
    assert settle(host) == ({"accepted": 4, "refused": 1}, {"ok": 4})
    assert values(subscription) == [b"round and round"] * 5
    lines = [entry.record.text for entry in host.inner.logs.tail("default/started", 9)]
    assert any(
        "default/started was not started: depth: functions spawned functions 3 times in a row" in line for line in lines
    )


def test_a_web_function_is_the_root_of_what_its_messages_start(host, deploy):
    """As if it had spawned: the bounds are counted from it."""
    deploy("topic-trigger", "heard", limits={"spawn_depth": 3})
    redeploy(host, "topic-calls", "publisher", spawn_fanout=2)
    call(host, "publisher", {"topic": "heard", "text": "x"})
    assert settle(host) == ({"accepted": 3, "refused": 1}, {"ok": 3})
    host.delete("started")
    deploy("topic-trigger", "orders")
    call(host, "publisher", *[{"topic": "orders", "text": "x"}] * 5)
    assert settle(host) == ({"accepted": 2, "refused": 3}, {"ok": 2})


def test_functions_that_start_each_other_end_at_the_fan_out(host, deploy):
    """Two that both publish to what starts both would double with each round."""
    for name in ("one", "two"):
        deploy("topic-trigger", "heard", name=name, limits={"spawn_fanout": 30, "spawn_depth": 1000})
    publish(host, "heard")
    starts, runs = settle(host)
    assert starts["accepted"] == runs["ok"] == 2 + 2 * 30
    assert starts["refused"] > 0
    assert host.inner.dispatcher.spawner._families == {}


def test_a_message_over_the_functions_own_limit_is_refused(host, deploy):
    """The bound is that of who would get it; the publisher hears nothing of it."""
    deploy("topic-trigger", "orders", limits={"request_bytes": 3})
    assert call(host, "topic-calls", {"topic": "orders", "text": "1234"}, {"topic": "orders", "text": "123"}) == [
        "ok",
        "ok",
    ]
    assert settle(host) == ({"accepted": 1, "refused": 1}, {"ok": 1})


@pytest.mark.parametrize(("module", "bound"), [(spawner, "MOST_IN_FLIGHT"), (triggers, "MOST_STARTING")])
def test_where_there_is_no_room_a_start_is_dropped_and_counted(host, listen, deploy, monkeypatch, module, bound):
    """The publisher succeeds and subscribers hear it all the same; it is not tried again."""
    deploy("topic-trigger", "orders")
    subscription = listen("orders")
    monkeypatch.setattr(module, bound, 0)
    assert call(host, "topic-calls", *[{"topic": "orders", "text": "x"}] * 3) == ["ok"] * 3
    assert settle(host) == ({"dropped": 3}, {})
    monkeypatch.undo()
    publish(host, "orders")
    assert settle(host) == ({"accepted": 1}, {"ok": 1})
    assert len(values(subscription)) == 4


def test_a_deploy_decides_from_the_next_message_on(host, deploy):
    """What the current version waits for counts: a new one, a pinned one, and none after a delete."""
    deploy("topic-trigger", "orders", name="switching")
    deploy("topic-trigger", "refunds", name="switching")

    def starts() -> dict[str, int]:
        publish(host, "orders")
        once = settle(host)[0].get("accepted", 0)
        publish(host, "refunds")
        return {"orders": once, "refunds": settle(host)[0].get("accepted", 0)}

    assert starts() == {"orders": 0, "refunds": 1}
    on_loop(host, host.inner.pin("switching", 1))
    assert starts() == {"orders": 1, "refunds": 0}
    host.delete("switching")
    assert starts() == {"orders": 0, "refunds": 0}
    deploy("topic-trigger", name="switching")
    assert starts() == {"orders": 0, "refunds": 0}


@pytest.mark.parametrize(
    ("name", "topics", "match"),
    [
        ("topic-calls", ["news"], "topics start spawn functions only"),
        ("topic-trigger", [""], "a topic's name has 1 to 1024 bytes"),
        ("topic-trigger", ["x" * 1025], "a topic's name has 1 to 1024 bytes"),
        ("topic-trigger", [f"t{number}" for number in range(65)], "over 64 topics"),
    ],
)
def test_what_cannot_be_waited_for_is_refused_at_deploy(host, name, topics, match):
    """Before anything is stored."""
    with pytest.raises(BadRequest, match=match):
        host.deploy("refused", guest(name), topics=topics)
    assert host.inner.registry.get("default", "refused") is None


def test_a_publisher_does_not_wait_for_what_it_starts():
    """The message is published and the guest has answered while the started run still waits."""
    gate = Gate()
    with host_with("topic-calls", interfaces=[gate]) as host:
        host.deploy("spawned", wat(SPAWNED), topics=["orders"])
        assert call(host, "topic-calls", {"topic": "orders", "text": "wait"}) == ["ok"]
        on_loop(host, gate.arrivals())
        assert host.inner.metrics._counters["triggers"] == {"accepted": 1}
        on_loop(host, gate.open())
        assert settle(host) == ({"accepted": 1}, {"ok": 1})


def test_what_waits_for_a_topic_survives_a_restart(tmp_path):
    """It is part of the deployment."""
    with Host(tmp_path) as host:
        host.deploy("started", guest("topic-trigger"), topics=["orders", "refunds"])
    with Host(tmp_path) as host:
        assert host.inner.deployment("started").manifest.topics == {"orders", "refunds"}
        subscription = on_loop(host, _subscribe(host, "heard", "default"))
        publish(host, "orders", b"after the restart")
        assert settle(host) == ({"accepted": 1}, {"ok": 1})
        assert subscription.take(9) == [Message(2, "heard", b"after the restart")]


def test_what_a_closing_host_cannot_start_is_dropped():
    """Nothing begins once it drains; every start is decided before it is closed."""

    async def scenario() -> dict[str, int]:
        async with AsyncHost() as host:
            await host.deploy("started", guest("topic-trigger"), topics=["orders"])
            await host.dispatcher.drain(1)
            host.topics.publish_and_start("default", "orders", b"x")
        host.topics.publish_and_start("default", "orders", b"x")
        return dict(host.metrics._counters["triggers"])

    assert asyncio.run(scenario()) == {"dropped": 2}
