"""What can name a topic: the one rule for guests that publish, clients that listen and deployments that wait."""

from __future__ import annotations

from guesthouse.errors import BadRequest

MOST_TOPIC_BYTES = 1024
"""Of a topic's name: ten times what people choose; the service says no number."""
MOST_TOPICS = 64
"""Topics that one deployment waits for."""


def check_topic(name: str) -> str:
    """`name` if it can name a topic, else `BadRequest`."""
    try:
        size = len(name) if len(name) > MOST_TOPIC_BYTES else len(name.encode())
    except UnicodeEncodeError:  # a file's name, say, that was not UTF-8
        raise BadRequest("a topic's name has to be valid text") from None
    if not 0 < size <= MOST_TOPIC_BYTES:
        raise BadRequest(f"a topic's name has 1 to {MOST_TOPIC_BYTES} bytes")
    return name


def check_topics(names: frozenset[str]) -> None:
    """Raises `BadRequest` for what a deployment cannot wait for."""
    if len(names) > MOST_TOPICS:
        raise BadRequest(f"there are over {MOST_TOPICS} topics")
    for name in names:
        check_topic(name)
