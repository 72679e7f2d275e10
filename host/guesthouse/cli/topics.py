"""`guesthouse topic publish` and `watch`: the topics of a running server."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple
from urllib.parse import quote

import click

from guesthouse.cli.client import Client, failure_of
from guesthouse.cli.options import Body, namespace_option, url_option
from guesthouse.cli.output import Failure, Output, shown, until_interrupted, with_output
from guesthouse.errors import BadRequest
from guesthouse.registry.topics import check_topic

TEXT = "text/plain; charset=utf-8"
BYTES = "application/octet-stream"
MOST_EVENT_BYTES = 8 << 20
"""The largest message that a server can be told to take, written as text of nothing but line breaks."""


class Topic(click.ParamType[str]):
    """The name of a topic."""

    name = "name"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """As the server's rule for it says."""
        try:
            return check_topic(str(value))
        except BadRequest as error:
            self.fail(str(error), param, ctx)


class Event(NamedTuple):
    """A server-sent event."""

    name: str
    id: str
    data: str


@click.group()
def topic() -> None:
    """Publishes to topics, and watches them."""


@topic.command(
    epilog="""\
\b
Examples:
  guesthouse topic publish news -d 'it happened'
  guesthouse topic publish images -d @image.png --bytes
  tail -n 1 report.txt | guesthouse topic publish news -d -
"""
)
@click.argument("name", type=Topic())
@namespace_option
@click.option("-d", "--data", type=Body(), required=True, help="The message.")
@click.option("--bytes", "as_bytes", is_flag=True, help="It is bytes, even where it could be text.")
@url_option
@with_output
def publish(output: Output, name: str, namespace: str, data: bytes, as_bytes: bool, url: str) -> None:
    """Publishes a message to the topic NAME.

    It is text where it is valid UTF-8, and otherwise bytes. Whoever listens right now gets it, and functions
    that were deployed with --topic NAME are started.
    """
    kind = BYTES if as_bytes or not _is_text(data) else TEXT
    with Client(url) as client:
        response = client.ask("POST", _path(namespace, name), content=data, headers={"content-type": kind})
    sequence = int(response.headers.get("x-sequence", "0"))
    output.done({"namespace": namespace, "topic": name, "sequence": sequence}, f"published to {namespace}/{name}")


@topic.command(
    epilog="""\
\b
Examples:
  guesthouse topic watch news
  guesthouse topic watch news --json | jq -r .text
  guesthouse topic watch news -n 1
"""
)
@click.argument("name", type=Topic())
@namespace_option
@click.option("-n", "--count", type=click.IntRange(1), help="Ends after so many messages.")
@url_option
@with_output
def watch(output: Output, name: str, namespace: str, count: int | None, url: str) -> None:
    """Prints the messages of the topic NAME as they come.

    Bytes are shown as Python writes them; with --json they are in base64.
    """
    headers = {"accept": "text/event-stream"}
    with (
        until_interrupted(),
        Client(url) as client,
        client.stream("GET", _path(namespace, name), headers=headers) as response,
    ):
        if not response.is_success:
            response.read()
            raise failure_of(response)
        output.say(f"watching {namespace}/{name}")
        seen = 0
        try:
            for event in events(response.iter_bytes()):
                seen += _tell(output, event)
                if seen == count:
                    return
        except ValueError:
            raise Failure(f"{client.url} sends what is no stream of a topic") from None


def events(pieces: Iterable[bytes]) -> Iterator[Event]:
    """The events in the bytes of a stream, without those that have no data; raises `ValueError` for an endless one.

    Lines end at line feeds: the `iter_lines` of clients ends them at whatever Unicode calls a line break.
    """
    rest = b""
    for piece in pieces:
        *whole, rest = (rest + piece).split(b"\n\n")
        if len(rest) > MOST_EVENT_BYTES:
            raise ValueError("an event without an end")
        for block in whole:
            event = _event(block.decode())
            if event is not None:
                yield event


def _event(block: str) -> Event | None:
    fields: dict[str, list[str]] = {}
    for line in block.split("\n"):
        name, _, value = line.partition(":")
        fields.setdefault(name, []).append(value.removeprefix(" "))
    if "data" not in fields:
        return None
    return Event(fields.get("event", [""])[-1], fields.get("id", [""])[-1], "\n".join(fields["data"]))


def _tell(output: Output, event: Event) -> bool:
    """Prints what an event says; whether it was a message."""
    if event.name == "dropped":
        output.say(f"missed {event.data} messages: they came faster than they were read")
    elif event.name == "stop":
        output.say(event.data or "the server stops")
    elif event.name == "text":
        output.result({"sequence": int(event.id), "text": event.data}, shown(event.data))
    elif event.name == "bytes":
        output.result({"sequence": int(event.id), "base64": event.data}, repr(b64decode(event.data, validate=True)))
    return event.name in ("text", "bytes")


def _is_text(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _path(namespace: str, name: str) -> str:
    return f"/topics/{quote(namespace, safe='')}/{quote(name.encode('utf-8', 'surrogateescape'), safe='')}"
