"""`TopicBroker`: messages from publishers to whoever listens right now, in the memory of one process.

Promises: all subscribers of a topic see its messages in one order; publishing never waits and never fails for lack of
listeners; a subscriber that reads too slowly misses messages, is told how many, and costs nobody else time; nothing is
kept for a topic without subscribers.  Must not know guests, nor what functions a message starts.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from guesthouse.errors import BodyTooLarge, Unavailable
from guesthouse.registry.topics import check_topic

if TYPE_CHECKING:
    from guesthouse.interfaces.invocation import Invocation

MOST_MESSAGE_BYTES = 4096
"""Of a message: the service's own limit."""

Starts: TypeAlias = "Callable[[str, str, str | bytes, Invocation | None], object]"
"""`starts(namespace, topic, value, parent)`: what a message starts; must not wait, must not raise."""


class TooManySubscriptions(Unavailable):
    """A bound on subscriptions was reached."""

    status = 429
    problem_type = "too-many-subscriptions"
    title = "Too many listen already"


class Message(NamedTuple):
    """What was published: text is `str`, binary is `bytes`; `sequence` rises with every message of the broker."""

    sequence: int
    topic: str
    value: str | bytes
    id: str = ""
    """The same where a durable function had to publish a message again, because a crash hid whether it had; else empty."""


class Missed(NamedTuple):
    """In the place of messages that did not fit into a subscriber's backlog: how many they were."""

    messages: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicLimits:
    """The bounds of topics on one host."""

    message_bytes: int = MOST_MESSAGE_BYTES
    """Largest message, text counted in UTF-8."""
    backlog: int = 1_000
    """Messages that wait for one subscriber: a second's worth for a busy topic."""
    backlog_bytes: int = 256 << 10
    """Bytes of messages that wait for one subscriber: with `subscriptions` it bounds the memory of slow ones."""
    subscriptions: int = 1_000
    """Subscriptions on this host: each keeps a connection and a backlog."""
    subscriptions_per_topic: int = 500
    """Subscriptions of one topic: a message is handed to each of them while its publisher waits."""


DEFAULT_LIMITS = TopicLimits()


class Subscription:
    """One subscriber's view of a topic: an asynchronous iterator of messages, to be closed, or used in `with`."""

    def __init__(self, broker: TopicBroker, key: tuple[str, str], backlog: int, backlog_bytes: int) -> None:
        self._broker = broker
        self._key = key
        self._backlog = backlog
        self._bytes_left = backlog_bytes
        self._queue: deque[tuple[Message, int]] = deque()
        self._missed = 0
        self._wakeup = asyncio.Event()
        self._open = True

    def __enter__(self) -> Subscription:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __aiter__(self) -> Subscription:
        return self

    async def __anext__(self) -> Message | Missed:
        """The next message, or how many were missed before the next one."""
        if not await self.wait():
            raise StopAsyncIteration
        return self.take(1)[0]

    async def wait(self) -> bool:
        """Waits until something can be taken; `False` once it is closed and all was taken."""
        while not self.waiting:
            if not self._open:
                return False
            self._wakeup.clear()
            await self._wakeup.wait()
        return True

    @property
    def waiting(self) -> int:
        """How many things can be taken without waiting."""
        return len(self._queue) + bool(self._missed)

    def take(self, most: int) -> list[Message | Missed]:
        """Up to `most` of what can be read without waiting, oldest first."""
        taken: list[Message | Missed] = []
        while self._queue and len(taken) < most:
            message, size = self._queue.popleft()
            self._bytes_left += size
            taken.append(message)
        if self._missed and len(taken) < most:  # what was missed came after all that waited
            taken.append(Missed(self._missed))
            self._missed = 0
        return taken

    def close(self) -> None:
        """Ends the subscription; what was received can still be read."""
        self._open = False
        self._broker.forget(self._key, self)
        self._wakeup.set()

    def offer(self, message: Message, size: int) -> bool:
        """Takes a message in; `False` where there is no room, or where it would come after others that were missed."""
        queue = self._queue
        if self._missed or (queue and (len(queue) >= self._backlog or size > self._bytes_left)):
            self._missed += 1
        else:
            queue.append((message, size))
            self._bytes_left -= size
        self._wakeup.set()
        return not self._missed


class TopicBroker:
    """The topics of all namespaces.  All methods belong to one event loop's thread."""

    def __init__(self, limits: TopicLimits = DEFAULT_LIMITS) -> None:
        self.limits = limits
        self.starts: Starts | None = None
        """Told of every message that may start functions."""
        self._subscriptions: dict[tuple[str, str], list[Subscription]] = {}
        self.published = 0
        """Messages, ever; the sequence number of the last one."""
        self.subscriptions = 0
        """How many there are."""
        self.missed = 0
        """Messages that subscribers missed for reading too slowly, ever."""

    def publish(self, namespace: str, topic: str, value: str | bytes, id: str = "") -> int:
        """Hands `value` to the subscribers of now and starts no function; returns the message's sequence number."""
        self.published += 1
        subscriptions = self._subscriptions.get((namespace, topic))
        if subscriptions:
            message = Message(self.published, topic, value, id)
            size = size_of(value)
            for subscription in subscriptions:
                if not subscription.offer(message, size):
                    self.missed += 1
        return self.published

    def publish_and_start(
        self, namespace: str, topic: str, value: str | bytes, parent: Invocation | None = None, id: str = ""
    ) -> int:
        """`publish`, and starts the functions that wait for messages of this topic; `parent` is who published it.

        Raises `BadRequest` for what cannot name a topic, `BodyTooLarge` for a message over the limit.
        """
        check_topic(topic)
        if len(value) > self.limits.message_bytes or size_of(value) > self.limits.message_bytes:
            raise BodyTooLarge(f"a message has at most {self.limits.message_bytes} bytes")
        sequence = self.publish(namespace, topic, value, id)
        if self.starts is not None:
            self.starts(namespace, topic, value, parent)
        return sequence

    def subscribe(self, namespace: str, topic: str, backlog: int | None = None) -> Subscription:
        """A subscription from now on; raises `BadRequest` for what cannot name a topic, and `TooManySubscriptions`."""
        check_topic(topic)
        limits, key = self.limits, (namespace, topic)
        if self.subscriptions >= limits.subscriptions:
            raise TooManySubscriptions(f"{limits.subscriptions} subscriptions are open on this host")
        if len(self._subscriptions.get(key, ())) >= limits.subscriptions_per_topic:
            raise TooManySubscriptions(f"{limits.subscriptions_per_topic} subscriptions of this topic are open")
        subscription = Subscription(self, key, backlog or limits.backlog, limits.backlog_bytes)
        self._subscriptions.setdefault(key, []).append(subscription)
        self.subscriptions += 1
        return subscription

    def forget(self, key: tuple[str, str], subscription: Subscription) -> None:
        """Takes a closed subscription out; unknown ones are fine."""
        subscriptions = self._subscriptions.get(key, [])
        if subscription in subscriptions:
            subscriptions.remove(subscription)
            self.subscriptions -= 1
            if not subscriptions:
                del self._subscriptions[key]

    @property
    def topics(self) -> int:
        """How many topics have subscribers."""
        return len(self._subscriptions)


def size_of(value: str | bytes) -> int:
    """Bytes of a message; text counts in UTF-8."""
    return len(value) if isinstance(value, bytes) or value.isascii() else len(value.encode())
