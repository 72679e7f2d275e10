"""Topics over HTTP: publishing with any client, and watching as server-sent events."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from command_line import built
from gateway_server import Answer
from guesthouse.async_host import AsyncHost
from guesthouse.clock import SystemClock
from guesthouse.gateway import streams
from guesthouse.interfaces.topic import TopicLimits
from guesthouse.registry.permissions import EVERYTHING, Permission, Permissions
from harness import until
from hosted import Event, Hosted, Watcher

TEXT = {"content-type": "text/plain"}


@pytest.fixture(scope="module")
def server() -> Iterator[Hosted]:
    with Hosted("topic-calls", "topic-trigger") as server:
        yield server


def publish(server: Hosted, topic: str, body: bytes, content_type: str | None = None, **headers: str) -> Answer:
    """A message from a client."""
    sent = headers if content_type is None else {"content-type": content_type, **headers}
    return server.request("POST", f"/topics/default/{quote(topic, safe='')}", body, sent)


def watching(server: Hosted, topic: str = "news", **options: Any) -> Watcher:
    """A client that watches a topic: with the headers of the answer, it does."""
    watcher = Watcher(server, f"/topics/default/{quote(topic, safe='')}", **options)
    assert watcher.response.status == 200
    return watcher


# -- both ways


@pytest.mark.parametrize(
    ("content_type", "is_text"),
    [
        ("text/plain", True),
        ("TEXT/HTML; charset=UTF-8", True),
        ('application/json; charset="utf-8"', True),
        ("application/json;charset=us-ascii", True),
        ("application/json", False),
        ("application/octet-stream", False),
        ("textual/plain", False),
        (None, False),
    ],
)
def test_the_content_type_decides_between_text_and_bytes(
    server: Hosted, content_type: str | None, is_text: bool
) -> None:
    """A text type or a charset is text; a watcher is told which it was, bytes in base64."""
    with watching(server) as watcher:
        answer = publish(server, "news", "héllo".encode(), content_type)
        assert (answer.status, answer.body) == (204, b"")
        expected = ("text", "héllo") if is_text else ("bytes", base64.b64encode("héllo".encode()).decode())
        assert watcher.message() == Event(*expected, answer.headers["x-sequence"])


@pytest.mark.parametrize(
    ("content_type", "body"),
    [("text/plain", b"a\xff"), ("application/json; charset=utf-8", b"\xff"), ("text/plain; charset=latin-1", b"a")],
)
def test_text_that_is_no_utf_8_is_refused(server: Hosted, content_type: str, body: bytes) -> None:
    """Nobody hears it."""
    before = server.host.topics.published
    assert publish(server, "news", body, content_type).problem == "bad-request"
    assert server.host.topics.published == before


def test_messages_of_clients_and_of_guests_arrive_in_one_order(server: Hosted) -> None:
    """Every watcher hears the same; ids rise; empty messages and line breaks arrive too."""
    with watching(server) as one, watching(server) as other:
        publish(server, "news", b"from a client", "text/plain")
        sent = [{"topic": "news", "text": "a\n\nevent: b\n"}, {"topic": "news", "bytes": [0, 255]}]
        server.request("POST", "/functions/default/topic-calls", json.dumps(sent).encode())
        publish(server, "news", b"", "text/plain")
        heard = [one.message() for _ in range(4)]
        assert [(event.name, event.data) for event in heard if event] == [
            ("text", "from a client"),
            ("text", "a\n\nevent: b\n"),
            ("bytes", "AP8="),
            ("text", ""),
        ]
        assert [other.message() for _ in range(4)] == heard
        ids = [int(event.id) for event in heard if event]
        assert ids == sorted(set(ids))


@pytest.mark.parametrize("topic", ["a b", "a/b", "é", "a?b#c", "%", "..", "x" * 1024])
def test_any_name_can_be_written_in_a_path(server: Hosted, topic: str) -> None:
    """Percent-encoded, it is the name that guests use."""
    with watching(server, topic) as watcher:
        message = json.dumps([{"topic": topic, "text": "x"}]).encode()
        server.request("POST", "/functions/default/topic-calls", message)
        publish(server, topic, b"y", "text/plain")
        assert [event.data for event in (watcher.message(), watcher.message()) if event] == ["x", "y"]


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("/topics/default/", "not-found"),
        ("/topics/default", "not-found"),
        ("/topics/default/a/b", "not-found"),
        ("/topics/No_Namespace/news", "not-found"),
        ("/topics/manage/news", "not-found"),
        ("/topics/default/%ff", "bad-request"),
        (f"/topics/default/{'x' * 1025}", "bad-request"),
    ],
)
def test_what_can_be_no_topic_is_a_problem(server: Hosted, path: str, problem: str) -> None:
    """For publishers and for watchers."""
    assert server.request("POST", path, b"x").problem == problem
    assert server.request("GET", path).problem == problem


def test_a_message_over_the_limit_is_413(server: Hosted) -> None:
    """With and without a length; the largest that fits is published."""
    assert publish(server, "news", b"x" * 4096).status == 204
    assert publish(server, "news", b"x" * 4097).problem == "body-too-large"
    chunked = server.request("POST", "/topics/default/news", (b"x" * 1024 for _ in range(5)))  # type: ignore[arg-type]
    assert chunked.problem == "body-too-large"


def test_a_message_from_a_client_starts_functions(server: Hosted) -> None:
    """As a root of its own; deployed over HTTP, where the topics are shown again."""
    wasm = base64.b64encode(built("topic-trigger").read_bytes()).decode()
    document = json.dumps({"inline_wasm": wasm, "topics": ["orders", "refunds"]}).encode()
    path = "/functions/manage/default/started"
    assert server.request("PUT", path, document, {"content-type": "application/json"}).status == 204
    assert server.request("GET", path).json["topics"] == ["orders", "refunds"]
    query = "?topics=a&topics=b%20c"
    headers = {"content-type": "application/wasm"}
    assert server.request("PUT", path + query, built("topic-trigger").read_bytes(), headers).status == 204
    assert server.request("GET", path).json["topics"] == ["a", "b c"]
    with watching(server, "heard") as watcher:
        publish(server, "b c", b"x")
        event = watcher.message()
    assert event is not None
    assert (event.name, event.data) == ("bytes", "eA==")


def test_only_a_spawn_function_can_wait_for_topics(server: Hosted) -> None:
    """Others have nobody to whom they could answer."""
    wasm = built("topic-calls").read_bytes()
    answer = server.request("PUT", "/functions/manage/default/f?topics=a", wasm, {"content-type": "application/wasm"})
    assert answer.problem == "bad-request"


# -- watching


def test_a_stream_of_events_is_what_browsers_expect(server: Hosted) -> None:
    """Type, no caching, and nothing but headers for HEAD, which takes no place."""
    with watching(server) as watcher:
        assert watcher.response.getheader("content-type", "").startswith("text/event-stream")
        assert watcher.response.getheader("cache-control") == "no-store"
    head = server.request("HEAD", "/topics/default/news")
    assert (head.status, head.body) == (200, b"")
    assert head.headers["content-type"].startswith("text/event-stream")


def test_a_watcher_that_leaves_is_forgotten(server: Hosted) -> None:
    """However it leaves."""
    with watching(server), watching(server):
        pass
    until(lambda: server.host.topics.subscriptions == 0, "a subscription is left")
    assert server.host.topics.topics == 0


def test_a_quiet_stream_has_a_heartbeat(server: Hosted, monkeypatch: pytest.MonkeyPatch) -> None:
    """A comment, which is no event."""
    monkeypatch.setattr(streams, "HEARTBEAT_SECONDS", 0.01)
    with watching(server) as watcher:
        assert [watcher.next() for _ in range(3)] == [Event()] * 3


def test_a_slow_watcher_is_told_how_many_it_missed_and_slows_nobody() -> None:
    """What waited for it arrives, then the number, then what is new; nothing is counted twice or lost."""
    with Hosted(topic_limits=TopicLimits(backlog=10)) as server:
        broker = server.host.topics

        async def flood(host: AsyncHost) -> int:
            """Until the slow watcher's connection and backlog are full."""
            while broker.missed < 100:
                broker.publish_and_start("default", "news", b"x" * 3000)
                await asyncio.sleep(0)  # the gateway may write what it can
            return broker.published

        with watching(server, buffer=4096) as slow:
            sent = server.run(flood)
            heard = missed = 0
            while not missed:
                event = slow.message()
                assert event is not None
                if event.name == "dropped":
                    missed = int(event.data)
                else:
                    heard += 1
                    assert int(event.id) == heard
            assert (heard + missed, missed) == (sent, broker.missed)
            publish(server, "news", b"new", "text/plain")
            assert slow.message() == Event("text", "new", str(sent + 1))
        gauges = {family.name: family.samples[0].value for family in server.host.metrics.collect() if family.samples}
        assert (gauges["guesthouse_topic_missed_messages"], gauges["guesthouse_topic_messages"]) == (missed, sent + 1)


def test_watchers_are_bounded_for_a_topic_and_in_all() -> None:
    """429, until one leaves; publishing goes on."""
    with (
        Hosted(topic_limits=TopicLimits(subscriptions=2, subscriptions_per_topic=1)) as server,
        watching(server, "one"),
    ):
        assert server.request("GET", "/topics/default/one").problem == "too-many-subscriptions"
        with watching(server, "two"):
            refused = server.request("GET", "/topics/default/three")
            assert (refused.status, refused.problem) == (429, "too-many-subscriptions")
            assert publish(server, "one", b"x").status == 204
        until(lambda: server.host.topics.subscriptions == 1, "the second watcher is still there")
        watching(server, "three").__exit__()


def test_a_server_that_stops_says_so_and_takes_no_more_messages() -> None:
    """The stream ends regularly, with an event for it."""
    with Hosted() as server:
        with watching(server) as watcher:
            publish(server, "news", b"x", "text/plain")
            server.stop()
            assert [event.name for event in (watcher.message(), watcher.message()) if event] == ["text", "stop"]
            assert watcher.message() is None
        server.join()


# -- who may


@pytest.fixture(scope="module")
def closed() -> Iterator[tuple[Hosted, dict[str, str]]]:
    """A server with tokens, by what they are good for."""
    with Hosted() as server:

        async def create(host: AsyncHost) -> dict[str, str]:
            return {
                "publish": await host.tokens.create("p", scopes=["topic-publish"], functions="default/*"),
                "subscribe": await host.tokens.create("s", scopes=["topic-subscribe"]),
                "invoke": await host.tokens.create("i", scopes=["invoke", "manage", "read", "metrics"]),
            }

        tokens = server.run(create)
        server.on_loop(server.gateway._app.gate.refresh)
        yield server, tokens


@pytest.mark.parametrize(
    ("token", "namespace", "publishes", "watches"),
    [
        (None, "default", 401, 401),
        ("publish", "default", 204, 403),
        ("publish", "other", 403, 403),
        ("subscribe", "default", 403, 200),
        ("subscribe", "other", 403, 200),
        ("invoke", "default", 403, 403),
    ],
)
def test_publishing_and_watching_are_scopes_of_their_own(
    closed: tuple[Hosted, dict[str, str]], token: str | None, namespace: str, publishes: int, watches: int
) -> None:
    """For the namespaces of the token's pattern."""
    server, tokens = closed
    headers = {} if token is None else {"authorization": tokens[token]}
    path = f"/topics/{namespace}/news"
    assert server.request("POST", path, b"x", headers).status == publishes
    assert server.request("HEAD", path, headers=headers).status == watches
    if watches == 200:
        with Watcher(server, path, headers) as watcher:
            assert watcher.response.status == 200


class LaterClock(SystemClock):
    """The system's clock, until a test sets it forward."""

    ahead_ns = 0

    def wall_ns(self) -> int:
        return super().wall_ns() + self.ahead_ns


@pytest.mark.parametrize("how", ["revoked", "expired", "disposable expired", "disposable revoked"])
def test_a_watch_ends_with_its_token(how: str) -> None:
    """With an event that says so, and for those alone whose token it was."""
    clock = LaterClock()
    with Hosted(clock=clock) as server:

        async def create(host: AsyncHost) -> list[str]:
            hour_ms = clock.wall_ns() // 1_000_000 + 3_600_000
            subscribe = Permissions((Permission("TopicReadOnly", "default", EVERYTHING),))
            return [
                await host.tokens.create("stays", scopes=["topic-subscribe"]),
                await host.tokens.create("revoked", scopes=["topic-subscribe"]),
                await host.tokens.create("expired", scopes=["topic-subscribe"], expires_ms=hour_ms),
                host.disposable.generate(3_600, subscribe).token,
            ]

        stays, revoked, expired, disposable = server.run(create)

        async def end(host: AsyncHost) -> None:
            if how == "revoked":
                (found,) = (principal for principal in host.tokens.list() if principal.name == "revoked")
                await host.tokens.revoke(found.id)
            elif how == "disposable revoked":
                host.disposable.keys.rotate(revoke=True)
            else:
                clock.ahead_ns = 3_601 * 1_000_000_000

        token = {"revoked": revoked, "expired": expired}.get(how, disposable)
        path = "/topics/default/news"
        with (
            Watcher(server, path, {"authorization": token}) as ending,
            Watcher(server, f"{path}?token={stays}") as going_on,
        ):
            assert (ending.response.status, going_on.response.status) == (200, 200)
            server.run(end)
            assert ending.message() == Event("stop", "the token is not valid any more")
            assert ending.message() is None
            server.on_loop(lambda: server.host.topics.publish("default", "news", "still"))
            assert going_on.message() == Event("text", "still", "1")
        until(lambda: server.host.topics.subscriptions == 0, "a subscription is left")


def test_a_watch_from_before_the_first_token_ends_with_it() -> None:
    """From then on nobody is admitted without one."""
    with Hosted() as server, watching(server) as watcher:

        async def create(host: AsyncHost) -> None:
            await host.tokens.create("first", scopes=["manage"])

        server.run(create)
        assert watcher.message() == Event("stop", "the token is not valid any more")
