"""What clients ask a server for in a crash run: one `Call` each, with everything that was answered to it.

Promises: the n-th call of a seed is always the same; its serial number is in its payload and its X-Call-Id, so that no two
calls can be mistaken for each other.  Must not know how calls are sent or judged.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from urllib.parse import urlencode

from crash.world import World

ATTEMPTS = 4
"""Runs of a call by the policy of the deployed functions."""
POLICY = {"attempts": ATTEMPTS, "min_wait_ms": 20, "max_wait_ms": 100}
DELAY_S = 1
FAR_S = 3600
"""The delay of calls that are cancelled before it is over."""

KINDS = {
    "echo": 30,
    "run": 20,
    "flaky": 12,
    "poison": 2,
    "callback": 10,
    "chain": 6,
    "key": 8,
    "once": 5,
    "prefer": 5,
    "delay": 3,
    "cancel-far": 4,
    "cancel": 3,
    "spawn": 5,
}
"""How often what is asked for, in relation to each other."""


@dataclass
class Call:
    """One call, as its client sees it."""

    serial: int
    kind: str
    method_path: str
    body: bytes
    headers: dict[str, str]
    generation: int
    """Which server process was alive when it was first sent."""
    fails: int = 0
    """How many of its runs the world refuses."""
    callback: bool = False
    repeats: int = 1
    """How many times the client sends it; more than once only with an Idempotency-Key."""
    began_ms: int = 0
    """When it was first sent: milliseconds since 1970-01-01 UTC."""
    ids: list[str] = field(default_factory=list)
    """The id in each acknowledgement."""
    answers: list[bytes] = field(default_factory=list)
    """Results that came at once, of calls that were not queued for later."""
    refused: list[int] = field(default_factory=list)
    """Statuses of refusals."""
    sent: int = 0
    """How many times it was sent: more often than there are answers where the connection ended before."""
    cancelled: bool = False
    """Its cancelling was acknowledged."""
    cancelling: bool = False
    """Its cancelling was asked for."""

    @property
    def runs(self) -> bool:
        """Whether running it reaches the world."""
        return "url=" in self.method_path or self.kind == "spawn"


def call_id(seed: int, serial: int) -> str:
    """What a call is known by."""
    return f"crash-{seed}-{serial}"


class Maker:
    """Makes calls one after the other."""

    def __init__(self, seed: int, world: World, public_url: str) -> None:
        self.seed = seed
        self._random = Random()
        self._world = world
        self._public = public_url
        self.serial = 0

    def next(self, generation: int) -> Call:
        """The next call."""
        self.serial += 1
        random = self._random = Random(f"{self.seed}-call-{self.serial}")
        (kind,) = random.choices(list(KINDS), list(KINDS.values()))
        size = random.choice((40, 400, 4_000)) if random.random() < 0.75 else 60_000
        body = f"{self.seed}:{self.serial}:".encode() + random.randbytes(size)
        call = Call(self.serial, kind, "", body, {"X-Call-Id": call_id(self.seed, self.serial)}, generation)
        getattr(self, f"_{kind.replace('-', '_')}")(call)
        return call

    def _queued(self, call: Call, name: str, **query: str) -> None:
        tail = f"?{urlencode(query)}" if query else ""
        call.method_path = f"/async-function/{name}{tail}"

    def _echo(self, call: Call) -> None:
        self._queued(call, "echo")

    def _run(self, call: Call) -> None:
        ms = self._random.choice((0, 0, 5, 50, 200))
        self._queued(call, "proxy", url=self._world.url("run", call.serial, ms=ms, fail=call.fails))

    def _flaky(self, call: Call) -> None:
        call.fails = self._random.randint(1, ATTEMPTS - 2)
        self._run(call)

    def _poison(self, call: Call) -> None:
        call.fails = 1_000
        self._run(call)

    def _callback(self, call: Call) -> None:
        self._random.choice((self._echo, self._run, self._flaky, self._poison))(call)
        call.callback = True
        refuse = {"refuse": 1} if self._random.random() < 0.1 else {}
        call.headers["X-Callback-Url"] = self._world.url("callback", call.serial, **refuse)

    def _chain(self, call: Call) -> None:
        self._random.choice((self._echo, self._run))(call)
        url = urlencode({"url": self._world.url("chained", call.serial)})
        call.headers["X-Callback-Url"] = f"{self._public}/function/proxy?{url}"

    def _key(self, call: Call) -> None:
        self._random.choice((self._echo, self._run))(call)
        call.repeats = self._random.randint(1, 4)
        call.headers["Idempotency-Key"] = call_id(self.seed, call.serial)

    def _once(self, call: Call) -> None:
        """Synchronous with a key: one run at most, and whoever repeats it is told how that ended."""
        ms = self._random.choice((0, 5, 50))
        url = urlencode({"url": self._world.url("run", call.serial, ms=ms)})
        call.method_path = f"/functions/default/proxy?{url}"
        call.repeats = self._random.randint(1, 3)
        call.headers["Idempotency-Key"] = call_id(self.seed, call.serial)

    def _prefer(self, call: Call) -> None:
        call.method_path = "/functions/default/echo"
        call.headers["Prefer"] = "respond-async"

    def _delay(self, call: Call) -> None:
        self._run(call)
        call.headers["Guesthouse-Delay"] = str(DELAY_S)

    def _cancel(self, call: Call) -> None:
        self._run(call)
        call.cancelling = True

    def _cancel_far(self, call: Call) -> None:
        self._run(call)
        call.headers["Guesthouse-Delay"] = f"{FAR_S}s"
        call.cancelling = True

    def _spawn(self, call: Call) -> None:
        call.method_path = "/functions/default/start/fill"
        url = self._world.url("run", call.serial, ms=self._random.choice((0, 5, 50)))
        call.body = b'{"key": "%d", "url": "%s"}' % (call.serial % 64, url.encode())
