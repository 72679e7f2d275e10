"""Where log records go: `LogDestination`, a topic as one, and `Routes`, the destinations of one invocation.

Promises: sending never waits and never fails.  Must not know who reads, nor how a guest names a destination.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias

from guesthouse.telemetry.records import SEVERITY, LogRecord, rfc3339

if TYPE_CHECKING:
    from collections.abc import Iterable

Publish: TypeAlias = "Callable[[str, str, str], object]"
"""`publish(namespace, topic, line)`."""


class LogDestination(Protocol):
    """Something that takes lines."""

    def send(self, time_ns: int, line: str) -> None:
        """One line of this time (nanoseconds since 1970-01-01 UTC); it is dropped and counted where there is no room."""


class TopicDestination:
    """A topic of the function's namespace; lines over `most` bytes are cut."""

    __slots__ = ("_most", "_namespace", "_publish", "_topic")

    def __init__(self, publish: Publish, namespace: str, topic: str, most: int) -> None:
        self._most = most
        self._publish = publish
        self._namespace = namespace
        self._topic = topic

    def send(self, time_ns: int, line: str) -> None:
        """Publishes the line."""
        self._publish(self._namespace, self._topic, cut(line, self._most))


class Route(NamedTuple):
    """A destination, and the severities from which on it gets the guest's and the host's records."""

    destination: LogDestination
    guest: int
    system: int


class Routes:
    """The destinations of one invocation: the `tee` of its log."""

    __slots__ = ("_invocation_id", "all", "configured")

    def __init__(self, invocation_id: str) -> None:
        self._invocation_id = invocation_id
        self.all: list[Route] = []
        self.configured = False
        """True once the guest has said, even if only that there are none."""

    def __call__(self, record: LogRecord, text: str) -> None:
        """Sends a record on: the guest's as it was written, any other in the form of the guests' crates."""
        self._send(self.all, record, text)

    def add(self, routes: Iterable[Route], earlier: Iterable[LogRecord]) -> None:
        """Adds routes; the first time, the records of the host from before go to these."""
        added = list(routes)
        if not self.configured:
            for record in earlier:
                if record.source != "guest":
                    self._send(added, record, record.text)
        self.configured = True
        self.all += added

    def _send(self, routes: list[Route], record: LogRecord, text: str) -> None:
        severity, guest = SEVERITY[record.level], record.source == "guest"
        line = None
        for route in routes:
            if severity < (route.guest if guest else route.system):
                continue
            if line is None:
                line = text if guest else self._line(record)
            route.destination.send(record.time_ns, line)

    def _line(self, record: LogRecord) -> str:
        time = rfc3339(record.time_ns)
        return f"{record.level.upper()} {time} {record.source} {self._invocation_id} {record.text}"


def cut(text: str, most: int) -> str:
    """`text` with at most `most` bytes, cut between characters."""
    if len(text) <= most // 4:
        return text
    encoded = text.encode()
    return text if len(encoded) <= most else encoded[:most].decode("utf-8", "ignore")
