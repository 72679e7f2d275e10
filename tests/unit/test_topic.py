"""Topics: everybody who listens hears everything in one order, and nobody who does not listen costs anything."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guesthouse.engine.values import Err, Ok
from guesthouse.interfaces.bytes import Buffer, StreamFailed
from guesthouse.interfaces.topic import Message, SlowSubscriber, Subscription, TopicBroker, TopicInterface
from unit.interface_fakes import calls, chunks, deployment, invocation, now

RUN = invocation()


async def waiting(subscription: Subscription) -> list[str | bytes]:
    """What a subscription has to read right now."""
    subscription.close()
    return [message.value async for message in subscription]


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
        assert (await reader).value == "x"
        reader = asyncio.ensure_future(anext(subscription))
        await asyncio.sleep(0)
        subscription.close()
        with pytest.raises(StopAsyncIteration):
            await reader

    asyncio.run(scenario())


def test_a_slow_subscriber_is_dropped_and_counted_and_no_one_else_notices() -> None:
    """Its backlog can still be read, then it is told; the publisher and the others go on."""

    async def scenario() -> None:
        broker = TopicBroker()
        slow, fast = broker.subscribe("n", "t", backlog=2), broker.subscribe("n", "t")
        for number in range(5):
            broker.publish("n", "t", str(number))
        assert broker.dropped == 1
        assert [(await anext(slow)).value for _ in range(2)] == ["0", "1"]
        with pytest.raises(SlowSubscriber):
            await anext(slow)
        assert len(await waiting(fast)) == 5

    asyncio.run(scenario())


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
    """Whatever comes and goes: each one's sequence numbers rise by one from its first to its last."""

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
                live[0][1].append((await anext(live[0][0])).sequence)
        for subscription, heard in everyone:
            subscription.close()
            try:
                async for message in subscription:
                    heard.append(message.sequence)
            except SlowSubscriber:
                assert subscription.slow
            assert heard == list(range(heard[0], heard[0] + len(heard))) if heard else True
        assert broker.topics == 0

    asyncio.run(scenario())
