"""`FakeHttp`: the world as guests reach it over HTTP, told by a test.

    host.http.on("POST", "https://api.example.com/charge").answer(503).answer(200, {"charged": True})

It is a network and not a client: names are resolved, and policy, grants, limits and time-outs judged by the host's own client,
whose connections end here.  Promises: what is asked for and was not foreseen is kept in `unexpected`.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from fnmatch import fnmatchcase
from functools import partial
from inspect import isawaitable
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from guesthouse.testing.fixtures import Recording
from guesthouse.testing.messages import SAFE, Answer, Body, Headers, Request, answer
from guesthouse.testing.wire import Wire

Answering: TypeAlias = "Callable[[Request], Answer | Body | Awaitable[Answer | Body]]"
"""Makes the answer to a request: an `Answer`, or the body of one with status 200."""
PORTS = {"http": 80, "https": 443}


class Route:
    """What requests of one kind are answered with: each with the next step, and from then on with the last one."""

    def __init__(self, method: str, url: str) -> None:
        found = urlsplit(url)
        if found.scheme not in PORTS or not found.hostname:
            raise ValueError(f"{url!r} is no URL with http or https")
        self.method = method.upper()
        self.host = found.hostname
        self.requests: list[Request] = []
        """Those that it has answered."""
        self._scheme = found.scheme
        self._port = found.port or PORTS[found.scheme]
        self._path = found.path or "/"
        self._query = found.query if "?" in url else None
        self._steps: list[Answer | Answering] = []
        self._done = 0
        self._limit: tuple[int, float] | None = None
        self._times: deque[float] = deque()
        self._kept: dict[str, Answer] | None = None

    # -- what it answers

    def answer(
        self, status: int = 200, body: Body = None, headers: Headers = (), *, after: float = 0.0, times: int = 1
    ) -> Route:
        """Next comes this answer, `after` so many seconds, for so many requests."""
        self._steps += [answer(status, body, headers, after=after)] * times
        return self

    def call(self, answering: Answering) -> Route:
        """Next comes what `answering` says; it may be asynchronous, and is called on the host's loop."""
        self._steps.append(answering)
        return self

    def reset(self, times: int = 1) -> Route:
        """Next the connection ends when the request is there."""
        self._steps += [Answer(fault="reset")] * times
        return self

    def hang(self, times: int = 1) -> Route:
        """Next nothing comes: the caller's time runs out."""
        self._steps += [Answer(fault="hang")] * times
        return self

    def cut(self, status: int = 200, body: Body = None, headers: Headers = ()) -> Route:
        """Next the connection ends after half of this body."""
        whole = answer(status, body, headers)
        self._steps.append(Answer(whole.status, whole.headers, whole.body, fault="cut"))
        return self

    def limit(self, count: int, seconds: float) -> Route:
        """Answers 429 with Retry-After to more than `count` requests in any so many seconds; they are no step."""
        self._limit = (count, seconds)
        return self

    def idempotent(self) -> Route:
        """As an API that knows Idempotency-Key: a request that succeeded is not done again, but answered the same."""
        self._kept = {}
        return self

    # -- the other end

    def fits(self, request: Request) -> bool:
        """Whether it is for this request."""
        found = urlsplit(request.url)
        return (
            self.method in ("*", request.method.upper())
            and (self._scheme, self.host) == (found.scheme, found.hostname)
            and self._port == (found.port or PORTS[found.scheme])
            and fnmatchcase(found.path or "/", self._path)
            and (self._query is None or self._query == found.query)
        )

    async def respond(self, request: Request, now: float) -> Answer:
        """The answer to one request; `now` in seconds."""
        self.requests.append(request)
        key = request.idempotency_key
        if self._kept is not None and key in self._kept:
            return self._kept[key]
        refused = self._over_limit(now)
        if refused is not None:
            return refused
        made = await self._next(request)
        if self._kept is not None and key is not None and made.status < 300 and made.fault != "reset":
            self._kept[key] = made
        return made

    def _over_limit(self, now: float) -> Answer | None:
        if self._limit is None:
            return None
        count, seconds = self._limit
        while self._times and self._times[0] <= now - seconds:
            self._times.popleft()
        if len(self._times) >= count:
            left = self._times[0] + seconds - now
            return answer(429, "too many requests", {"retry-after": str(max(1, -int(-left // 1)))})
        self._times.append(now)
        return None

    async def _next(self, request: Request) -> Answer:
        if not self._steps:
            return Answer()
        step = self._steps[min(self._done, len(self._steps) - 1)]
        self._done += 1
        if isinstance(step, Answer):
            return step
        made: Any = step(request)
        if isawaitable(made):
            made = await made
        return made if isinstance(made, Answer) else answer(200, made)


class FakeHttp:
    """All that can be reached, as the `Network` of a simulated host; it outlives that."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        """Everything that arrived, in its order."""
        self.unexpected: list[str] = []
        """What was asked for and was not foreseen: requests, and hosts that there are none of."""
        self.failures: list[Exception] = []
        """What the test's own answers have raised."""
        self._routes: list[Route] = []
        self._down: set[str] = set()
        self._addresses: dict[str, str] = {}

    def on(self, method: str, url: str) -> Route:
        """What requests with this method (`*`: any) to this URL are answered with, from now on.

        `*` in the path stands for anything; without a query it is for any.  Where several fit the newest one counts.
        """
        route = Route(method, url)
        self._routes.insert(0, route)
        return route

    def recorded(self, path: Path | str, url: str, *, again: bool = False, ca_file: str | None = None) -> Route:
        """Requests to this URL are answered from a file; where there is none yet, or `again`, they are really sent first.

        `ca_file` (PEM) is trusted in addition to the system's certificates.
        """
        return self.on("*", url).call(Recording(Path(path), again=again, ca_file=ca_file))

    def down(self, host: str) -> None:
        """Connections to this host are refused from now on."""
        self._down.add(host)

    def up(self, host: str) -> None:
        """And accepted again."""
        self._down.discard(host)

    def clear(self) -> None:
        """Forgets what has arrived so far; routes stay."""
        self.requests.clear()
        self.unexpected.clear()
        self.failures.clear()

    @property
    def effects(self) -> list[Request]:
        """What has changed the world: requests with a method that does, those with the same Idempotency-Key once."""
        found: dict[object, Request] = {}
        for request in self.requests:
            if request.method not in SAFE:
                key = request.idempotency_key
                found.setdefault(object() if key is None else (request.method, request.url, key), request)
        return list(found.values())

    # -- the network

    async def resolve(self, host: str) -> Sequence[str]:
        """As of a resolver: a public address of its own for each host that a route names."""
        if host not in {route.host for route in self._routes}:
            self.unexpected.append(f"the host {host}")
            raise socket.gaierror(socket.EAI_NONAME, "no such host in this test")
        number = len(self._addresses)
        return [self._addresses.setdefault(host, f"93.184.{number // 250}.{number % 250 + 1}")]

    async def connect(self, address: Any) -> None:
        """As of a `Network`."""
        ip = address[0]
        name = next((host for host, found in self._addresses.items() if found == ip), ip)
        if name in self._down or (name == ip and ip not in {route.host for route in self._routes}):
            raise ConnectionRefusedError(f"{name} refuses connections in this test")

    def open(
        self, alive: Callable[[], bool], protocol: asyncio.Protocol, address: Any, tls_name: str | None
    ) -> asyncio.Transport:
        """As of a `Network`; nothing arrives from a host that is not `alive`."""
        return Wire(protocol, "http" if tls_name is None else "https", address, partial(self._handle, alive), alive)

    async def _handle(self, alive: Callable[[], bool], request: Request) -> Answer:
        if not alive():
            return Answer(fault="hang")
        self.requests.append(request)
        route = next((route for route in self._routes if route.fits(request)), None)
        if route is None:
            self.unexpected.append(f"{request.method} {request.url}")
            return answer(501, "the test has no answer for this")
        try:
            return await route.respond(request, asyncio.get_running_loop().time())
        except Exception as error:
            self.failures.append(error)
            return Answer(fault="reset")
