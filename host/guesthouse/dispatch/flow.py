"""How many queued calls run at once, and whose turn it is: token bucket, adaptive limit, fair turns.

Pure bookkeeping: time is an argument (nanoseconds of `Clock.monotonic_ns`), nothing here waits, stores or runs anything.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterator

from guesthouse.queue.queue import FunctionKey
from guesthouse.registry.policy import FlowPolicy

SECOND_NS = 1_000_000_000
WINDOW_NS = SECOND_NS
"""In which an adaptive limit shrinks once at most: one burst of refusals is one piece of news."""
LONGEST_PAUSE_NS = 60 * SECOND_NS
"""How long one answer can hold up the other calls of its function, whatever its Retry-After says."""


class TokenBucket:
    """Starts that a rate allows: `rate` a second on average, `burst` at once after a pause."""

    __slots__ = ("_burst", "_filled_ns", "_level", "rate")

    def __init__(self, rate: int, burst: int, now_ns: int) -> None:
        self.rate = rate
        self._burst = burst * SECOND_NS
        self._level = self._burst  # in billionths of a token: a nanosecond adds `rate` of them
        self._filled_ns = now_ns

    def tokens(self, now_ns: int) -> int:
        """How many may start now; below 0 after more were taken than there were."""
        self._fill(now_ns)
        return self._level // SECOND_NS

    def take(self, count: int, now_ns: int) -> None:
        """`count` have started; what is over what there was is owed."""
        self._fill(now_ns)
        self._level -= count * SECOND_NS

    def ready_ns(self, now_ns: int) -> int:
        """When one may start."""
        self._fill(now_ns)
        return now_ns + max(0, -((self._level - SECOND_NS) // self.rate))

    def fits(self, rate: int, burst: int) -> bool:
        """Whether this is the bucket of these settings."""
        return self.rate == rate and self._burst == burst * SECOND_NS

    def _fill(self, now_ns: int) -> None:
        passed = max(0, now_ns - self._filled_ns)
        self._level = min(self._burst, self._level + passed * self.rate)
        self._filled_ns = max(now_ns, self._filled_ns)


class AdaptiveLimit:
    """How many calls of a function may run at once: halved by overload, one more for each limit's worth of successes."""

    __slots__ = ("_limit", "_shrunk_ns", "paused_until_ns")

    def __init__(self) -> None:
        self._limit: float | None = None
        self._shrunk_ns: int | None = None
        self.paused_until_ns = 0

    def now(self, most: int) -> int:
        """The limit, where `most` is that of the host."""
        return most if self._limit is None else max(1, min(most, int(self._limit)))

    def succeeded(self, most: int) -> None:
        """A call was answered, and not with overload."""
        if self._limit is not None:
            self._limit += 1 / self._limit
            if self._limit >= most:
                self._limit = None

    def overloaded(self, most: int, now_ns: int, retry_after_ms: int | None = None) -> None:
        """A call was refused or took too long; with a Retry-After nothing starts before it."""
        if self._shrunk_ns is None or now_ns - self._shrunk_ns >= WINDOW_NS:
            self._limit = max(1.0, (most if self._limit is None else min(most, self._limit)) / 2)
            self._shrunk_ns = now_ns
        if retry_after_ms is not None:
            pause = min(retry_after_ms * 1_000_000, LONGEST_PAUSE_NS)
            self.paused_until_ns = max(self.paused_until_ns, now_ns + pause)

    def idle(self, now_ns: int) -> bool:
        """Whether nothing would be lost if this was forgotten."""
        return self._limit is None and now_ns >= self.paused_until_ns


class FunctionFlow:
    """What is known of one function's queued calls: how many run, with which keys, and how many more may."""

    __slots__ = ("bucket", "keys", "limit", "policy", "running")

    def __init__(self, policy: FlowPolicy) -> None:
        self.policy = policy
        self.running = 0
        self.keys: Counter[str] = Counter()
        self.limit = AdaptiveLimit()
        self.bucket: TokenBucket | None = None

    def adopt(self, policy: FlowPolicy, now_ns: int) -> None:
        """Goes by the policy of the current deployment."""
        burst = policy.burst or policy.rate
        if not policy.rate:
            self.bucket = None
        elif self.bucket is None or not self.bucket.fits(policy.rate, burst):
            self.bucket = TokenBucket(policy.rate, burst, now_ns)
        if not policy.adaptive:
            self.limit = AdaptiveLimit()
        self.policy = policy

    def bound(self, most: int) -> int:
        """How many may run at once; `most` is the share of a function."""
        limit = self.limit.now(most)
        return min(limit, self.policy.max_inflight) if self.policy.max_inflight else limit

    def room(self, most: int, now_ns: int) -> int:
        """How many more may start now."""
        if now_ns < self.limit.paused_until_ns:
            return 0
        room = self.bound(most) - self.running
        return max(0, room if self.bucket is None else min(room, self.bucket.tokens(now_ns)))

    def opens_ns(self, most: int, now_ns: int) -> int | None:
        """When there is room without the end of any call; `None`: not by itself."""
        if self.running >= self.bound(most):
            return None
        ready = now_ns if self.bucket is None else self.bucket.ready_ns(now_ns)
        return max(ready, self.limit.paused_until_ns)

    def busy_keys(self) -> list[str]:
        """Keys of which no further call may start."""
        bound = self.policy.key_inflight
        return [key for key, count in self.keys.items() if count >= bound] if bound else []

    def admits(self, key: str | None) -> bool:
        """Whether a call with this key may start."""
        return key is None or not self.policy.key_inflight or self.keys[key] < self.policy.key_inflight

    def started(self, key: str | None, now_ns: int) -> None:
        """A call has started."""
        self.running += 1
        if key is not None:
            self.keys[key] += 1
        if self.bucket is not None:
            self.bucket.take(1, now_ns)

    def ended(self, key: str | None) -> None:
        """A call has ended."""
        self.running -= 1
        if key is not None:
            self.keys[key] -= 1
            if not self.keys[key]:
                del self.keys[key]

    def idle(self, now_ns: int) -> bool:
        """Whether nothing would be lost if this was forgotten."""
        return not self.running and self.bucket is None and self.limit.idle(now_ns)


class FairTurns:
    """Round robin over namespaces, and in each over its functions: who was served longest ago is served first.

    Every start costs the same, whatever it takes: for that there are the shares.
    """

    def __init__(self) -> None:
        self._namespaces: OrderedDict[str, OrderedDict[str, None]] = OrderedDict()

    def __contains__(self, key: FunctionKey) -> bool:
        return key[1] in self._namespaces.get(key[0], ())

    def __bool__(self) -> bool:
        return bool(self._namespaces)

    def __iter__(self) -> Iterator[FunctionKey]:
        return ((namespace, name) for namespace, names in self._namespaces.items() for name in names)

    def add(self, key: FunctionKey) -> None:
        """A function has something to do: it waits behind those that wait already."""
        self._namespaces.setdefault(key[0], OrderedDict()).setdefault(key[1])

    def discard(self, key: FunctionKey) -> None:
        """A function has nothing to do."""
        names = self._namespaces.get(key[0])
        if names is not None:
            names.pop(key[1], None)
            if not names:
                del self._namespaces[key[0]]

    def plan(
        self, free: int, room_of: Callable[[FunctionKey], int], share_of: Callable[[str], int]
    ) -> dict[FunctionKey, int]:
        """How many calls of which functions start now, `free` at most; asks once for each room and share."""
        planned: dict[FunctionKey, int] = {}
        namespaces = deque(self._namespaces)
        left = {namespace: share_of(namespace) for namespace in namespaces} if free > 0 else {}
        rooms: dict[str, deque[tuple[str, int]]] = {}
        while free > 0 and namespaces:
            namespace = namespaces.popleft()
            if namespace not in rooms:
                found = ((name, room_of((namespace, name))) for name in self._namespaces[namespace])
                rooms[namespace] = deque((name, room) for name, room in found if room > 0)
            if left[namespace] <= 0 or not rooms[namespace]:
                continue
            name, room = rooms[namespace].popleft()
            planned[namespace, name] = planned.get((namespace, name), 0) + 1
            self._served(namespace, name)
            if room > 1:
                rooms[namespace].append((name, room - 1))
            left[namespace] -= 1
            free -= 1
            namespaces.append(namespace)
        return planned

    def _served(self, namespace: str, name: str) -> None:
        self._namespaces[namespace].move_to_end(name)
        self._namespaces.move_to_end(namespace)
