"""`Invocation`: one call of one function, as everything above the engine sees it while it runs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias, TypeVar

if TYPE_CHECKING:
    from guesthouse.durable.journal import Journal
    from guesthouse.interfaces.base import Interface
    from guesthouse.interfaces.wasi.program import Program
    from guesthouse.limits import Limits
    from guesthouse.queue.call import Lease
    from guesthouse.registry.deployment import Deployment
    from guesthouse.telemetry.records import LogRecord, Tee

T = TypeVar("T")
Headers = Sequence[tuple[str, str]]
Closer: TypeAlias = "Callable[[], Awaitable[None] | None]"


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


new_request = tuple.__new__
"""`WebRequest` of all its fields, for those to whom its own constructor is too slow."""


class ResponseSink(Protocol):
    """Where a guest that streams its answer sends it; both raise `Cancelled` once the client is gone."""

    invocation_id: str
    """Set when the invocation is admitted."""

    async def start(self, status: int, headers: Headers) -> None:
        """Sends the status line and headers; called at most once, before any `send`."""

    async def send(self, data: bytes) -> None:
        """Sends bytes of the body and waits while the client reads too slowly."""

    async def left(self) -> None:
        """Waits until the whole answer has left, or nobody will see it any more; awaited only where a guest goes on."""


class LogSink(Protocol):
    """Where the lines of one invocation go; never blocks, never fails, drops and counts what is over its bounds."""

    tee: Tee | None
    """Gets every further record that is kept, as well."""

    def write(self, level: str, text: str, source: str) -> None:
        """One record: level is debug, info, warn or error; source is guest, stdout, stderr or system."""

    @property
    def records(self) -> Sequence[LogRecord]:
        """What was kept so far, oldest first."""


class Invocation:
    """One call of one function: who, with what, how far its family reaches, and what it has opened so far."""

    # What most invocations do not need is a default of the class: an invocation costs less than a microsecond.
    request: WebRequest | None = None
    """`None` in a spawned run: request metadata is answered empty there."""
    response: ResponseSink | None = None
    """Where a streamed answer goes; `None` where nobody can receive one (any more)."""
    depth = 0
    """How many spawns lie between the root and this one."""
    answered = False
    """True once its answer has left: what runs now is detached work."""
    program: Program | None = None
    """What a command is given and answers; `None` in a guest of any other kind."""
    interrupted = False
    """True once this run has ended and another one will go on with the invocation."""
    lease: Lease | None = None
    """Of the queued call that it runs; `None`: it was called directly."""
    journal: Journal | None = None
    """What it was told, where that is recorded or replayed; `None`: it is not."""
    _states: dict[Interface, Any] | None = None
    _closers: list[Closer] | None = None

    def __init__(
        self,
        id: str,
        deployment: Deployment,
        mode: str,
        limits: Limits,
        deadline_ns: int,
        log: LogSink,
        request: WebRequest | None = None,
    ) -> None:
        self.id = id
        self.deployment = deployment
        self.mode = mode
        """How it was started: web, spawn or call."""
        self.limits = limits
        self.deadline_ns = deadline_ns
        """When it has to have ended, on `Clock.monotonic_ns`."""
        self.log = log
        self.request = request
        self.root = id
        """Id of the invocation that began the chain of spawns."""

    @property
    def states(self) -> Mapping[Interface, Any]:
        """What the interfaces have opened for it."""
        return self._states or {}

    @property
    def closers(self) -> list[Closer]:
        """Run once when the invocation has ended, however it ended, last added first."""
        if self._closers is None:
            self._closers = []
        return self._closers

    def observe(self, what: str, read: Callable[[], T]) -> T:
        """What `read` returns (of JSON's kinds, or bytes), or returned in an earlier run: for what an interface reads of the
        world inside of a host call that is not recorded as a whole, because it returns a resource."""
        return read() if self.journal is None else self.journal.observe(what, read)

    async def observe_later(self, what: str, read: Callable[[], Awaitable[T]]) -> T:
        """As `observe`, for what has to be waited for."""
        return await read() if self.journal is None else await self.journal.observe_later(what, read)

    def go_on(self) -> None:
        """Asked before each effect of a run with a journal: raises `Suspended` where it is to go on later."""

    async def linger(self, done: asyncio.Future[Any]) -> bool:
        """Waits in memory until something is done, as long as it may: whether it is.  If not, raise `Suspended`."""
        await asyncio.wait((done,))
        return True

    def stay(self) -> bool:
        """Keeps the guest for detached work after its answer; false where it could not be called for that."""
        return False

    def state(self, interface: Interface) -> Any:
        """What `interface.open` returned for this invocation: opened at its first host call."""
        states = self._states
        if states is None:
            states = self._states = {}
        try:
            return states[interface]
        except KeyError:
            opened = states[interface] = interface.open(self)
            return opened
