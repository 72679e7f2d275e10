"""Topics over HTTP: publishing a message, and watching a topic as server-sent events.

Promises: text and bytes stay apart on both ways; a watcher that reads too slowly is told how many messages it missed and
goes on with what comes next; it is told why the watching ends.
"""

from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote_to_bytes

from starlette.requests import Request
from starlette.responses import Response

from guesthouse.errors import BadRequest, Draining
from guesthouse.gateway import documents
from guesthouse.gateway.auth import permit_topic
from guesthouse.gateway.services import Principal
from guesthouse.interfaces.topic import Message, Missed
from guesthouse.interfaces.web.stream import format_event
from guesthouse.registry.deployment import check_name
from guesthouse.registry.topics import check_topic

if TYPE_CHECKING:
    from guesthouse.gateway.app import App

UTF_8: Final = frozenset({"utf-8", "utf8", "us-ascii"})
REASONS: Final = {"stop": b"", "token": b"the token is not valid any more"}
"""What the last event says of why it is the last."""


class Topics:
    """The endpoints, named as in the table of routes."""

    def __init__(self, app: App) -> None:
        self._topics = app.services.topics
        self._streams = app.streams

    async def topic_publish(self, request: Request, principal: Principal) -> Response:
        """Publishes the body: as text where its content type says so, otherwise as bytes."""
        namespace, topic = _names(request)
        permit_topic(principal, "publish", namespace, topic)
        if self._streams.stopping.is_set():
            raise Draining
        is_text = _is_text(request.headers.get("content-type", ""))
        body = await documents.receive(request, self._topics.limits.message_bytes, "a message")
        try:
            value = body.decode() if is_text else body
        except UnicodeDecodeError as error:
            raise BadRequest(f"text has to be UTF-8; it is not at byte {error.start}") from None
        sequence = self._topics.publish_and_start(namespace, topic, value)
        return Response(status_code=204, headers={"x-sequence": str(sequence)})

    async def topic_watch(self, request: Request, principal: Principal) -> Response:
        """Each message from now on, as an event `text`, or as an event `bytes` in base64.

        One of a durable function has a field `message-id`: a crash may bring it twice, with the same one.
        """
        namespace, topic = _names(request)
        permit_topic(principal, "subscribe", namespace, topic)
        return self._streams.answer(request, lambda: self._topics.subscribe(namespace, topic), event_of, last=_last)


def event_of(taken: Message | Missed) -> bytes:
    """What a watcher is sent of a message; its id, where it has one, is a field that others ignore."""
    if isinstance(taken, Missed):
        return format_event("dropped", None, str(taken.messages).encode())
    kind, data = ("text", taken.value.encode()) if isinstance(taken.value, str) else ("bytes", b64encode(taken.value))
    event = format_event(kind, str(taken.sequence), data)
    return b"message-id: %b\n%b" % (taken.id.encode(), event) if taken.id else event


def _last(reason: str) -> bytes:
    return format_event("stop", None, REASONS[reason])


def _names(request: Request) -> tuple[str, str]:
    """Namespace and topic of a path, in which a topic is percent-encoded."""
    path = request.path_params
    try:
        topic = unquote_to_bytes(path["topic"]).decode()
    except UnicodeDecodeError:
        raise BadRequest("the topic's name is not valid UTF-8") from None
    return check_name("namespace", path["namespace"]), check_topic(topic)


def _is_text(content_type: str) -> bool:
    """Whether a body of this type is text; raises `BadRequest` for text that says it is not in UTF-8."""
    media_type, *parameters = (part.strip().lower() for part in content_type.split(";"))
    pairs = [parameter.partition("=") for parameter in parameters]
    charsets = [value.strip('"') for name, _, value in pairs if name == "charset"]
    if any(charset not in UTF_8 for charset in charsets):
        raise BadRequest("text has to be UTF-8: say charset=utf-8")
    return media_type.startswith("text/") or bool(charsets)
