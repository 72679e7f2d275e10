"""`Invocation`: one call of one function, as everything above the engine sees it while it runs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from guesthouse.interfaces.base import Interface
    from guesthouse.limits import Limits
    from guesthouse.registry.deployment import Deployment

Headers = Sequence[tuple[str, str]]


class WebRequest(NamedTuple):
    """What a web function may learn of its HTTP request: decoded, bounded and checked by whoever built it."""

    method: str = "POST"
    path: str | None = None
    """The rest of the URL path after the function's name, without its leading slash; `None` where there is none."""
    query: Sequence[tuple[str, str]] = ()
    """Percent-decoded, in order, duplicates kept."""
    headers: Headers = ()
    """Names in lower case, in order, duplicates kept."""
    token_id: str | None = None
    """The id baked into the caller's token."""


class ResponseSink(Protocol):
    """Where a guest that streams its answer sends it; both raise `Cancelled` once the client is gone."""

    async def start(self, status: int, headers: Headers) -> None:
        """Sends the status line and headers; called at most once, before any `send`."""

    async def send(self, data: bytes) -> None:
        """Sends bytes of the body and waits while the client reads too slowly."""


class LogSink(Protocol):
    """Where the lines of one invocation go; never blocks, never fails, drops and counts what is over its bounds."""

    def write(self, level: str, text: str, source: str) -> None:
        """One record: level is debug, info, warn or error; source is guest, stdout, stderr or system."""


@dataclass(slots=True)
class Invocation:
    """One call of one function: who, with what, how far its family reaches, and what it has opened so far."""

    id: str
    deployment: Deployment
    mode: str
    """How it was started: web, spawn or call."""
    limits: Limits
    deadline_ns: int
    """When it has to have ended, on `Clock.monotonic_ns`."""
    log: LogSink
    request: WebRequest | None = None
    """`None` in a spawned run: request metadata is answered empty there."""
    response: ResponseSink | None = None
    """Where a streamed answer goes; `None` where nobody can receive one."""
    root: str = ""
    """Id of the invocation that began the chain of spawns."""
    depth: int = 0
    """How many spawns lie between the root and this one."""
    states: dict[Interface, Any] = field(default_factory=dict)
    closers: list[Callable[[], Awaitable[None] | None]] = field(default_factory=list)
    """Run once when the invocation has ended, however it ended, last added first."""

    def state(self, interface: Interface) -> Any:
        """What `interface.open` returned for this invocation: opened at its first host call."""
        try:
            return self.states[interface]
        except KeyError:
            opened = self.states[interface] = interface.open(self)
            return opened
