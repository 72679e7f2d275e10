"""`TopicBroker`: messages from publishers to whoever listens right now, in the memory of one process.

Promises: all subscribers of a topic see its messages in one order; publishing never waits and never fails for lack of
listeners; a subscriber that reads too slowly loses its subscription, not the others' time; nothing is kept for a topic
without subscribers.  Must not know guests.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import NamedTuple

DEFAULT_BACKLOG = 1_000


class Message(NamedTuple):
    """What was published: text is `str`, binary is `bytes`; `sequence` rises with every message of the broker."""

    sequence: int
    topic: str
    value: str | bytes


class SlowSubscriber(Exception):
    """The subscription ended because its backlog was full: messages were missed from here on."""


class Subscription:
    """One subscriber's view of a topic: an asynchronous iterator of `Message`, to be closed, or used in `with`."""

    def __init__(self, broker: TopicBroker, key: tuple[str, str], backlog: int) -> None:
        self._broker = broker
        self._key = key
        self._backlog = backlog
        self._queue: deque[Message] = deque()
        self._wakeup = asyncio.Event()
        self._open = True
        self.slow = False
        """True once it was ended for reading too slowly."""

    def __enter__(self) -> Subscription:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __aiter__(self) -> Subscription:
        return self

    async def __anext__(self) -> Message:
        while not self._queue:
            if self.slow:
                raise SlowSubscriber(f"over {self._backlog} messages were waiting to be read")
            if not self._open:
                raise StopAsyncIteration
            self._wakeup.clear()
            await self._wakeup.wait()
        return self._queue.popleft()

    def close(self) -> None:
        """Ends the subscription; what was received can still be read."""
        self._open = False
        self._broker.forget(self._key, self)
        self._wakeup.set()

    def offer(self, message: Message) -> bool:
        """Takes a message in; `False` where the backlog is full, which ends the subscription."""
        if len(self._queue) >= self._backlog:
            self.slow = True
        else:
            self._queue.append(message)
        self._wakeup.set()
        return not self.slow


class TopicBroker:
    """The topics of all namespaces.  All methods belong to one event loop's thread."""

    def __init__(self) -> None:
        self._subscriptions: dict[tuple[str, str], list[Subscription]] = {}
        self._sequence = 0
        self.dropped = 0
        """Subscriptions that were ended for being slow, ever."""

    def publish(self, namespace: str, topic: str, value: str | bytes) -> int:
        """Hands `value` to the subscribers of now; returns the message's sequence number."""
        self._sequence += 1
        subscriptions = self._subscriptions.get((namespace, topic))
        if subscriptions:
            message = Message(self._sequence, topic, value)
            for subscription in tuple(subscriptions):
                if not subscription.offer(message):
                    self.dropped += 1
                    subscription.close()
        return self._sequence

    def subscribe(self, namespace: str, topic: str, backlog: int = DEFAULT_BACKLOG) -> Subscription:
        """A subscription from now on, with room for `backlog` unread messages."""
        key = (namespace, topic)
        subscription = Subscription(self, key, backlog)
        self._subscriptions.setdefault(key, []).append(subscription)
        return subscription

    def forget(self, key: tuple[str, str], subscription: Subscription) -> None:
        """Takes a closed subscription out; unknown ones are fine."""
        subscriptions = self._subscriptions.get(key, [])
        if subscription in subscriptions:
            subscriptions.remove(subscription)
            if not subscriptions:
                del self._subscriptions[key]

    @property
    def topics(self) -> int:
        """How many topics have subscribers."""
        return len(self._subscriptions)
