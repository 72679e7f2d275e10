"""`TopicInterface`: publishing to the topics of the function's own namespace, in both generations.

Promises: text and bytes stay distinguishable; every argument that cannot be used, and every topic that was not granted,
is an error and never a trap.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING, TypeAlias

from guesthouse.engine.values import Err, Ok
from guesthouse.errors import BadRequest, BodyTooLarge, GuesthouseError
from guesthouse.interfaces.base import Effect, Interface, host_call
from guesthouse.interfaces.bytes import Data, StreamFailed, collect, discard, peek
from guesthouse.interfaces.patterns import check_pattern, is_granted

if TYPE_CHECKING:
    from guesthouse.interfaces.invocation import Invocation
    from guesthouse.interfaces.topic.broker import TopicBroker

TOPIC = "momento:topic/topic@1.0.0"
TOPIC_V1 = "momento:functions/topic@1.0.0"

Published: TypeAlias = "Ok[None] | Err[tuple[str, str | None]]"


class TopicInterface(Interface):
    """`topic`: publish text or bytes.  A grant may name topics: `topic:news` or `topic:news*`."""

    name = "topic"

    def __init__(self, broker: TopicBroker) -> None:
        self._broker = broker

    def check_grant(self, pattern: str) -> None:
        """A topic's name, or the beginning of one and a star."""
        check_pattern(self.name, pattern)

    @host_call(TOPIC, "publish", Effect.WRITE)
    @host_call(TOPIC_V1, "publish", Effect.WRITE)
    def publish(self, invocation: Invocation, topic: str, value: str) -> Published:
        """Publishes text."""
        return self._publish(invocation, topic, value)

    @host_call(TOPIC, "publish-bytes", Effect.WRITE)
    @host_call(TOPIC_V1, "publish-bytes", Effect.WRITE)
    def publish_bytes(self, invocation: Invocation, topic: str, value: Data) -> Published | Awaitable[Published]:
        """Publishes bytes: at once where they are there, else as an awaitable."""
        found = peek(value)
        if found is None:
            return self._publish_collected(invocation, topic, value)
        return self._publish(invocation, topic, found)

    async def _publish_collected(self, invocation: Invocation, topic: str, value: Data) -> Published:
        if not is_granted(invocation, self.name, topic):
            discard(value)
            return _denied(topic)
        try:
            found = await collect(value, self._broker.limits.message_bytes)
        except BodyTooLarge:
            return Err(("limit-exceeded", f"a message has at most {self._broker.limits.message_bytes} bytes"))
        except GuesthouseError as error:
            timed_out = isinstance(error, StreamFailed) and error.timed_out
            return Err(("timeout" if timed_out else "request-cancelled", None))
        return self._publish(invocation, topic, found)

    def _publish(self, invocation: Invocation, topic: str, value: str | bytes) -> Published:
        if not is_granted(invocation, self.name, topic):
            return _denied(topic)
        try:
            message_id = "" if invocation.journal is None else invocation.journal.message_id()
            self._broker.publish_and_start(invocation.deployment.namespace, topic, value, invocation, message_id)
        except BadRequest as error:
            return Err(("invalid-argument", str(error)))
        except BodyTooLarge as error:
            return Err(("limit-exceeded", str(error)))
        return Ok()


def _denied(topic: str) -> Published:
    return Err(("permission-denied", f"the function was not granted the topic {topic[:64]!r}"))
