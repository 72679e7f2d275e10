"""What the queue holds and what is written down of invocations: values, without any behaviour."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

Pairs = Sequence[tuple[str, str]]
State = Literal["queued", "running", "suspended", "succeeded", "failed", "dead", "cancelled", "lost"]
Mode = Literal["web", "spawn", "async", "call", "durable"]
LIVE: Final = frozenset({"queued", "running", "suspended"})
"""States of an invocation that has not ended."""


@dataclass(frozen=True, slots=True)
class Idempotency:
    """Makes a call the same call for whoever repeats it: the digest of its key, and that of everything it asks for."""

    key: bytes
    """SHA-256 over namespace, name, whose token it is, and the key: nobody attaches to somebody else's call."""
    request: bytes
    """SHA-256 over method, path, query and body: another request with the same key is a mistake."""


@dataclass(slots=True, kw_only=True)  # never changed; frozen ones take three times as long to make
class QueuedCall:
    """One call of a function that was accepted for later: all that is needed to run it, also by another process."""

    id: str
    """Id of the invocation."""
    namespace: str
    name: str
    method: str = "POST"
    path: str | None = None
    query: Pairs = ()
    headers: Pairs = ()
    token_id: str | None = None
    body: bytes = b""
    callback: str | None = None
    """Where the result is sent; checked when it was accepted, and again when it is sent."""
    call_id: str = ""
    """What the caller wants it to be known by in callbacks; empty: its `id`."""
    key: str | None = None
    """Calls with the same key share a bound on how many run at once (`FlowPolicy.key_inflight`)."""
    attempts: int | None = None
    """Runs in all; `None`: what the deployment's policy says."""
    queued_ms: int
    """When it was accepted: milliseconds since 1970-01-01 UTC."""
    due_ms: int = 0
    """Not to be run before; 0: at once."""
    parent: str | None = None
    root: str = ""
    """Id of the invocation that began the chain; empty: its own."""
    depth: int = 0
    durable: bool = False
    """It has a journal: what it was told is told it again by its next run, and it may be suspended."""
    exclusive: bool = False
    """From its first run to its end no other exclusive call with its key runs, also while it is suspended."""
    promise: int = 0
    """Number of the future of `parent` that its end completes; 0: nobody waits for it."""
    idempotency: Idempotency | None = None


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to run one call, until it is settled or somebody else took it over."""

    call: QueuedCall
    attempt: int
    """Which run this is, from 1."""
    fence: int
    """Rises with every lease of the call: what settles it with an older one is refused."""
    strikes: int
    """How many processes died while they ran it; of a durable one, since it last added to its journal."""
    seq: int = 0
    """Number of its row."""
    segments: int = 0
    """How many segments its journal has."""
    version: int | None = None
    """Of the function, where it has begun on one that it has to end on."""


@dataclass(slots=True, kw_only=True)  # never changed; frozen ones take three times as long to make
class Record:
    """What is known of one invocation."""

    id: str
    namespace: str
    name: str
    mode: Mode
    state: State
    version: int = 0
    """Of the function; 0 while it has not started."""
    digest: str = ""
    queued_ms: int | None = None
    started_ms: int | None = None
    """Of its last attempt; all times are milliseconds since 1970-01-01 UTC."""
    answered_ms: int | None = None
    ended_ms: int | None = None
    attempts: int = 0
    result: str = ""
    """The word of `Outcome.result`."""
    reason: str = ""
    """Why it did not succeed, in the host's words (never a guest's)."""
    note: str = ""
    """What a spawn function said of its end."""
    status: int = 0
    """HTTP status that the function answered; 0: none."""
    fuel: int | None = None
    peak_memory: int = 0
    duration_ns: int = 0
    """Until the answer, of the last attempt."""
    detached_ns: int = 0
    """What the last attempt worked after its answer."""
    host_calls: Mapping[str, int] = field(default_factory=dict)
    """Calls of host interfaces by the interfaces' words."""
    parent: str | None = None
    root: str = ""
    depth: int = 0
    call_id: str = ""
    due_ms: int = 0
    """When it runs next, while it is queued; when it goes on by itself, while it is suspended."""
    journal_entries: int = 0
    """Of a durable one: how many there were when its last run ended."""
    journal_bytes: int = 0
    """Of those, before compression."""


@dataclass(frozen=True, slots=True)
class Output:
    """The answer that an invocation ended with."""

    status: int
    headers: Pairs
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Callback:
    """A result that has to be delivered somewhere; it is stored with the end of its call, so neither is lost alone."""

    id: str
    """Of the invocation whose result it is."""
    namespace: str
    name: str
    url: str
    headers: Pairs
    """With those of the host: X-Call-Id and the like."""
    attempts: int = 0
    due_ms: int = 0

    @property
    def destination(self) -> str:
        """Scheme, host and port of `url`, which is in its canonical form: callbacks to one share a bound."""
        return "/".join(self.url.split("/", 3)[:3])


class Completion(NamedTuple):
    """How something ended that a durable invocation may wait for."""

    outcome: Literal["ok", "failed", "cancelled"]
    """`failed` is final: what could be tried again was."""
    value: bytes
    """What it came to; of a failure, the text that says why."""
    code: int = 0
    """HTTP status that a called function gave; 0: none."""


CANCELLATION: Final = 0
"""Number of the future that completes when an invocation is cancelled; those that guests make begin with 1."""


class Wait(NamedTuple):
    """What an invocation that is suspended waits for: the first of these."""

    numbers: Sequence[tuple[int, int]] = ()
    """Futures that had not completed when somebody looked, as ranges of numbers: first and last.

    With `CANCELLATION`, where the invocation does not know of its own yet: that one is enough, and counts for nothing below.
    Without any of the counts, one completion is enough."""
    oks: int | None = None
    """That many of them succeed."""
    failures: int | None = None
    """That many of them fail or are cancelled."""
    ends: int | None = None
    """That many of them complete, however."""
    until_ms: int | None = None
    """A time, in milliseconds since 1970-01-01 UTC."""


class End(NamedTuple):
    """How a call that was leased has ended, and what is to be stored with that."""

    lease: Lease
    record: Record
    output: Output | None = None
    follows: Callback | QueuedCall | None = None
    completion: Completion | None = None
    """What its parent is told, where that waits for it."""
    segment: bytes = b""
    """The last records of its journal."""
