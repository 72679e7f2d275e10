"""`TopicInterface`: publishing to the topics of the function's own namespace, in both generations.

Promises: text and bytes stay distinguishable; every argument that cannot be used is an error and never a trap.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING, TypeAlias

from guesthouse.engine.values import Err, Ok
from guesthouse.errors import BodyTooLarge, GuesthouseError
from guesthouse.interfaces.base import Effect, Interface, host_call
from guesthouse.interfaces.bytes import Data, StreamFailed, collect, peek

if TYPE_CHECKING:
    from guesthouse.interfaces.invocation import Invocation
    from guesthouse.interfaces.topic.broker import TopicBroker

TOPIC = "momento:topic/topic@1.0.0"
TOPIC_V1 = "momento:functions/topic@1.0.0"
MOST_MESSAGE_BYTES = 4096
MOST_NAME_BYTES = 1024

Published: TypeAlias = "Ok[None] | Err[tuple[str, str | None]]"


class TopicInterface(Interface):
    """`topic`: publish text or bytes; messages over `most_message_bytes` answer `limit-exceeded`."""

    name = "topic"

    def __init__(self, broker: TopicBroker, *, most_message_bytes: int = MOST_MESSAGE_BYTES) -> None:
        self._broker = broker
        self._most = most_message_bytes

    @host_call(TOPIC, "publish", Effect.WRITE)
    @host_call(TOPIC_V1, "publish", Effect.WRITE)
    def publish(self, invocation: Invocation, topic: str, value: str) -> Published:
        """Publishes text."""
        return self._publish(invocation, topic, value, len(value.encode()))

    @host_call(TOPIC, "publish-bytes", Effect.WRITE)
    @host_call(TOPIC_V1, "publish-bytes", Effect.WRITE)
    def publish_bytes(self, invocation: Invocation, topic: str, value: Data) -> Published | Awaitable[Published]:
        """Publishes bytes: at once where they are there, else as an awaitable."""
        found = peek(value)
        if found is None:
            return self._publish_collected(invocation, topic, value)
        return self._publish(invocation, topic, found, len(found))

    async def _publish_collected(self, invocation: Invocation, topic: str, value: Data) -> Published:
        try:
            found = await collect(value, self._most)
        except BodyTooLarge:
            return self._too_large()
        except GuesthouseError as error:
            timed_out = isinstance(error, StreamFailed) and error.timed_out
            return Err(("timeout" if timed_out else "request-cancelled", None))
        return self._publish(invocation, topic, found, len(found))

    def _publish(self, invocation: Invocation, topic: str, value: str | bytes, size: int) -> Published:
        if not topic or len(topic.encode()) > MOST_NAME_BYTES:
            return Err(("invalid-argument", f"a topic's name has 1 to {MOST_NAME_BYTES} bytes"))
        if size > self._most:
            return self._too_large()
        self._broker.publish(invocation.deployment.namespace, topic, value)
        return Ok()

    def _too_large(self) -> Published:
        return Err(("limit-exceeded", f"a message has at most {self._most} bytes"))
