"""Topics: everybody who listens hears everything in one order, and nobody who does not listen costs anything."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guesthouse.engine.values import Err, Ok
from guesthouse.errors import BadRequest, BodyTooLarge
from guesthouse.interfaces.bytes import Buffer, StreamFailed
from guesthouse.interfaces.topic import (
    Message,
    Missed,
    Subscription,
    TooManySubscriptions,
    TopicBroker,
    TopicInterface,
    TopicLimits,
)
from guesthouse.registry.deployment import Manifest
from unit.interface_fakes import calls, chunks, deployment, invocation, now

RUN = invocation()


async def waiting(subscription: Subscription) -> list[str | bytes]:
    """What a subscription has to read right now; the number in place of messages that it missed."""
    subscription.close()
    return [str(it.messages) if isinstance(it, Missed) else it.value async for it in subscription]


def test_subscribers_hear_text_and_bytes_in_order_and_apart() -> None:
    """Both generations publish; text stays text, bytes stay bytes."""

    async def scenario() -> None:
        broker = TopicBroker()
        topic = TopicInterface(broker)
        first, second = broker.subscribe("default", "news"), broker.subscribe("default", "news")
        assert topic.publish(RUN, "news", "héllo") == Ok()
        assert topic.publish_bytes(RUN, "news", b"\xff") == Ok()
        assert topic.publish_bytes(RUN, "news", ("value", b"text?")) == Ok()
        streamed = topic.publish_bytes(RUN, "news", ("buffer", Buffer(source=chunks(b"a", b"b"))))
        assert await streamed == Ok()  # type: ignore[misc]
        heard = await waiting(first)
        assert heard == ["héllo", b"\xff", b"text?", b"ab"]
        assert await waiting(second) == heard

    asyncio.run(scenario())


def test_publishing_without_subscribers_succeeds_and_keeps_nothing() -> None:
    """A topic that nobody listens to costs no memory."""
    broker = TopicBroker()
    for number in range(1000):
        assert TopicInterface(broker).publish(RUN, f"t{number}", "x") == Ok()
    assert broker.topics == 0


def test_a_topic_belongs_to_its_namespace() -> None:
    """The same name elsewhere is another topic."""

    async def scenario() -> None:
        broker = TopicBroker()
        here, there = broker.subscribe("default", "t"), broker.subscribe("other", "t")
        TopicInterface(broker).publish(invocation(of=deployment(namespace="other")), "t", "x")
        assert await waiting(here) == []
        assert await waiting(there) == ["x"]

    asyncio.run(scenario())


def test_a_subscriber_hears_from_its_subscription_on() -> None:
    """Nothing is kept for later comers; sequence numbers rise."""

    async def scenario() -> None:
        broker = TopicBroker()
        broker.publish("n", "t", "before")
        with broker.subscribe("n", "t") as subscription:
            broker.publish("n", "t", "after")
            assert await anext(subscription) == Message(2, "t", "after")
        broker.publish("n", "t", "closed")
        with pytest.raises(StopAsyncIteration):
            await anext(subscription)
        assert broker.topics == 0

    asyncio.run(scenario())


def test_a_waiting_subscriber_is_woken_by_a_message_and_by_closing() -> None:
    """Reading waits for what is not there yet."""

    async def scenario() -> None:
        broker = TopicBroker()
        subscription = broker.subscribe("n", "t")
        reader = asyncio.ensure_future(anext(subscription))
        await asyncio.sleep(0)
        broker.publish("n", "t", "x")
        assert await reader == Message(1, "t", "x")
        reader = asyncio.ensure_future(anext(subscription))
        await asyncio.sleep(0)
        subscription.close()
        with pytest.raises(StopAsyncIteration):
            await reader

    asyncio.run(scenario())


def test_a_slow_subscriber_misses_messages_is_told_how_many_and_goes_on() -> None:
    """Its backlog can still be read, then comes the number, then what is new; the publisher and the others go on."""

    async def scenario() -> None:
        broker = TopicBroker()
        slow, fast = broker.subscribe("n", "t", backlog=2), broker.subscribe("n", "t")
        for number in range(5):
            broker.publish("n", "t", str(number))
        assert broker.missed == 3
        assert slow.waiting == 3
        assert slow.take(9) == [Message(1, "t", "0"), Message(2, "t", "1"), Missed(3)]
        broker.publish("n", "t", "new")
        assert await waiting(slow) == ["new"]
        assert await waiting(fast) == ["0", "1", "2", "3", "4", "new"]

    asyncio.run(scenario())


def test_what_comes_before_the_gap_was_read_is_missed_as_well() -> None:
    """A message never overtakes the word that others are missing before it."""

    async def scenario() -> None:
        broker = TopicBroker()
        slow = broker.subscribe("n", "t", backlog=1)
        for number in range(3):
            broker.publish("n", "t", str(number))
        assert slow.take(1) == [Message(1, "t", "0")]
        broker.publish("n", "t", "3")
        assert await waiting(slow) == ["3"]
        assert broker.missed == 3

    asyncio.run(scenario())


def test_a_backlog_is_bounded_in_bytes_and_takes_at_least_one_message() -> None:
    """However few messages; a single one that is larger than the bound still arrives."""

    async def scenario() -> None:
        broker = TopicBroker(TopicLimits(backlog_bytes=10))
        subscription = broker.subscribe("n", "t")
        for size in (6, 4, 1):
            broker.publish("n", "t", "x" * size)
        assert subscription.take(9) == [Message(1, "t", "x" * 6), Message(2, "t", "x" * 4), Missed(1)]
        broker.publish("n", "t", "x" * 11)
        broker.publish("n", "t", "x")
        assert await waiting(subscription) == ["x" * 11, "1"]

    asyncio.run(scenario())


def test_subscriptions_are_bounded_for_a_topic_and_in_all() -> None:
    """What is closed makes room again."""
    broker = TopicBroker(TopicLimits(subscriptions=3, subscriptions_per_topic=2))
    first = broker.subscribe("n", "t")
    broker.subscribe("n", "t")
    with pytest.raises(TooManySubscriptions, match="of this topic"):
        broker.subscribe("n", "t")
    broker.subscribe("n", "other")
    with pytest.raises(TooManySubscriptions, match="on this host"):
        broker.subscribe("n", "another")
    first.close()
    first.close()
    assert broker.subscriptions == 2
    broker.subscribe("n", "t")


def test_a_publisher_hears_of_what_it_starts_and_a_log_line_starts_nothing() -> None:
    """`publish` is for the host's own lines: a function whose log starts it would never end."""
    broker = TopicBroker()
    started: list[object] = []
    broker.starts = lambda *told: started.append(told)
    broker.publish("default", "t", "a log line")
    TopicInterface(broker).publish(RUN, "t", "x")
    broker.publish_and_start("default", "t", b"y")
    assert started == [("default", "t", "x", RUN), ("default", "t", b"y", None)]


def test_what_cannot_be_published_starts_nothing() -> None:
    """Neither a name nor a message over its bound."""
    broker = TopicBroker(TopicLimits(message_bytes=3))
    broker.starts = lambda *told: pytest.fail("nothing was published")
    for name in ("", "x" * 1025, "\u00e9" * 513):
        with pytest.raises(BadRequest):
            broker.publish_and_start("n", name, "x")
        with pytest.raises(BadRequest):
            broker.subscribe("n", name)
    for value in ("xxxx", "\u00e9\u00e9", b"xxxx"):
        with pytest.raises(BodyTooLarge):
            broker.publish_and_start("n", "t", value)
    assert broker.published == 0


@pytest.mark.parametrize(
    ("grants", "topic", "allowed"),
    [
        (None, "news", True),
        ({"topic"}, "news", True),
        ({"topic", "topic:olds"}, "news", True),
        ({"topic:news"}, "news", True),
        ({"topic:news"}, "news2", False),
        ({"topic:news*"}, "news", True),
        ({"topic:news*"}, "news/sport", True),
        ({"topic:news*"}, "new", False),
        ({"topic:a", "topic:b*"}, "bcd", True),
        ({"topic:*"}, "anything", True),
        ({"topic:a:b"}, "a:b", True),
        ({"topic:news"}, "", False),
        ({"cache"}, "news", False),
    ],
)
def test_a_grant_may_name_topics(grants: set[str] | None, topic: str, allowed: bool) -> None:
    """A name, or the beginning of one; what was not granted is an error value, for text, bytes and streams."""
    broker = TopicBroker()
    manifest = Manifest(grants=None if grants is None else frozenset(grants))
    run = invocation(of=deployment(manifest=manifest))
    closed: list[int] = []
    streamed = ("buffer", Buffer(source=chunks(b"x"), on_close=lambda: closed.append(1)))
    interface = TopicInterface(broker)
    answers = [
        interface.publish(run, topic, "x"),
        now(interface.publish_bytes(run, topic, b"x")),
        now(interface.publish_bytes(run, topic, streamed)),
    ]
    denied = Err(("permission-denied", f"the function was not granted the topic {topic!r}"))
    assert answers == [Ok() if allowed else denied] * 3
    assert closed == [1]
    assert broker.published == (3 if allowed else 0)


@pytest.mark.parametrize("pattern", ["news", "news*", "*", "a b:c"])
def test_a_pattern_of_topics_is_taken(pattern: str) -> None:
    """At deploy."""
    TopicInterface(TopicBroker()).check_grant(pattern)


@pytest.mark.parametrize("pattern", ["", "a*b", "**"])
def test_a_pattern_that_says_nothing_is_refused(pattern: str) -> None:
    """It would be believed to allow something."""
    with pytest.raises(BadRequest, match="topic"):
        TopicInterface(TopicBroker()).check_grant(pattern)


@pytest.mark.parametrize("size", [4096, 4097])
def test_a_message_has_at_most_four_kilobytes(size: int) -> None:
    """Bytes count, not characters; text, bytes and streams alike."""
    topic = TopicInterface(TopicBroker())
    text = "é" * 2048 + "x" * (size - 4096)
    answers = [
        topic.publish(RUN, "t", text),
        now(topic.publish_bytes(RUN, "t", text.encode())),
        now(topic.publish_bytes(RUN, "t", ("buffer", Buffer(source=chunks(text.encode()))))),
    ]
    for answer in answers:
        assert answer == (Ok() if size <= 4096 else Err(("limit-exceeded", "a message has at most 4096 bytes")))


@pytest.mark.parametrize("name", ["", "x" * 1025])
def test_a_topic_without_a_usable_name_is_an_invalid_argument(name: str) -> None:
    """An error, never a trap."""
    answer = TopicInterface(TopicBroker()).publish(RUN, name, "x")
    assert isinstance(answer, Err)
    assert answer.error[0] == "invalid-argument"


def test_a_message_that_breaks_off_is_not_published() -> None:
    """A source that fails is an error for the publisher."""
    topic = TopicInterface(TopicBroker())
    broken = ("buffer", Buffer(source=chunks(b"a", StreamFailed("gone"))))
    assert now(topic.publish_bytes(RUN, "t", broken)) == Err(("request-cancelled", None))


def test_both_generations_answer_both_functions() -> None:
    """Four functions in all."""
    assert len(calls(TopicInterface(TopicBroker()))) == 4


@given(st.lists(st.sampled_from(["publish", "subscribe", "close", "read"]), max_size=60))
def test_every_subscriber_hears_a_gapless_piece_of_one_order(actions: list[str]) -> None:
    """Whatever comes and goes: each one's sequence numbers rise by one from its first to its last, but where it is told."""

    async def scenario() -> None:
        broker = TopicBroker()
        live: list[tuple[Subscription, list[int]]] = []
        everyone: list[tuple[Subscription, list[int]]] = []
        for action in actions:
            if action == "publish":
                broker.publish("n", "t", "x")
            elif action == "subscribe":
                live.append((broker.subscribe("n", "t", backlog=3), []))
                everyone.append(live[-1])
            elif live and action == "close":
                live.pop(0)[0].close()
            elif live and action == "read" and live[0][0]._queue:
                message = await anext(live[0][0])
                live[0][1].append(message.sequence if isinstance(message, Message) else -message.messages)
        for subscription, heard in everyone:
            subscription.close()
            async for message in subscription:
                heard.append(message.sequence if isinstance(message, Message) else -message.messages)
            assert is_gapless(heard)
        assert broker.topics == 0

    asyncio.run(scenario())


def is_gapless(heard: list[int]) -> bool:
    """Whether sequence numbers rise by one, or by as many as a negative number between them says were missed."""
    expected = next((number for number in heard if number > 0), 0)
    for number in heard:
        if number > 0 and number != expected:
            return False
        expected += 1 if number > 0 else -number
    return True


def test_a_name_that_is_no_text_is_no_topic() -> None:
    """As Python makes of bytes that were not UTF-8: it could be stored for no deployment."""
    for name in ("a\udcff", "\ud800"):
        with pytest.raises(BadRequest, match="valid text"):
            TopicBroker().subscribe("default", name)
