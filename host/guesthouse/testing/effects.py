"""`Effects`: everything that a scenario has left in the world, in a form in which two runs of it can be compared.

What differs between two runs that are the same is left out: ids, times, how often something was tried, and what a guest was
told twice.  Knows the tables, for nothing else lists what is in a cache or in the state of keys.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from guesthouse.queue.call import Record
from guesthouse.storage.database import Connection, rows
from guesthouse.testing.life import LivingHost

MOST_RECORDS: Final = 1_000
"""Invocations of one page."""
CACHE: Final = (
    "SELECT namespace, key, length, value FROM cache_items WHERE expires_ns > ? ORDER BY namespace, key",
    "SELECT namespace, key, position, cache_elements.value FROM cache_elements JOIN cache_items ON id = item"
    " WHERE expires_ns > ? ORDER BY namespace, key, position",
)
STATE: Final = "SELECT namespace, name, key, item, value FROM keyed_state ORDER BY namespace, name, key, item"


@dataclass(frozen=True, slots=True)
class Effects:
    """What can be compared."""

    answer: Any
    """What the scenario returned."""
    invocations: Mapping[tuple[Any, ...], int]
    """How many there were: function, how they ended, and what they answered."""
    requests: Mapping[tuple[Any, ...], int]
    """Over HTTP, that change something; those with one Idempotency-Key once."""
    cache: tuple[tuple[Any, ...], ...]
    state: tuple[tuple[Any, ...], ...]
    """Of keys."""
    published: frozenset[tuple[Any, ...]]
    """Messages; at least once, so each once."""
    duplicates: int = field(default=0, compare=False)
    """Requests that were sent again with their key."""

    def differences(self, other: Effects, ignored: Collection[str] = ()) -> list[str]:
        """What is different in `other`, one line each; not in the fields that are `ignored`."""
        found = {
            "answer": _changed("the scenario's answer", self.answer, other.answer),
            "invocations": _counted("invocation", self.invocations, other.invocations),
            "requests": _counted("request", self.requests, other.requests),
            "cache": _counted("cache item", Counter(self.cache), Counter(other.cache)),
            "state": _counted("state of a key", Counter(self.state), Counter(other.state)),
            "published": _counted("message", Counter(self.published), Counter(other.published)),
        }
        unknown = set(ignored) - set(found)
        if unknown:
            raise ValueError(f"nothing that is compared is called {', '.join(sorted(unknown))}: {', '.join(found)}")
        return [line for name, lines in found.items() if name not in ignored for line in lines]


async def effects_of(host: LivingHost, answer: Any) -> Effects:
    """Those of the world that a host lives in; `answer` is what the scenario returned."""
    world = host.life.world
    ended: list[tuple[Any, ...]] = []
    ids = []
    async for record in _records(host):
        output = await host.output(record.id) if record.state == "succeeded" or record.status else None
        ended.append(_told(record, b"" if output is None else output.body))
        ids.append(record.id)
    plain = _Plain(ids)
    now_ns = world.clock.wall_ns()
    sent = world.http.effects
    cached = await host.database.read(lambda connection: _cached(connection, now_ns))
    state = await host.database.read(lambda connection: rows(connection, STATE))
    return Effects(
        plain(answer),
        Counter(map(plain, ended)),
        Counter(plain((request.method, request.url, request.body)) for request in sent),
        plain(cached),
        plain(tuple(state)),
        frozenset(map(plain, world.published)),
        sum(request.idempotency_key is not None for request in world.http.requests) - len(sent),
    )


AWAKEABLE: Final = re.compile("sign_1[A-Za-z0-9_-]{16,}")


class _Plain:
    """Takes out of values what is another one in each run: ids."""

    def __init__(self, ids: Sequence[str]) -> None:
        self._id = re.compile("|".join(map(re.escape, ids)) or r"(?!)")

    def __call__(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._id.sub("(an invocation)", AWAKEABLE.sub("(an awakeable)", value))
        if isinstance(value, bytes):
            return self(value.decode("latin-1")).encode("latin-1")
        if isinstance(value, tuple | list):
            return type(value)(map(self, value))
        if isinstance(value, dict):
            return {self(key): self(item) for key, item in value.items()}
        return value


async def _records(host: LivingHost) -> Any:
    after = None
    while True:
        page, after = await host.invocations(most=MOST_RECORDS, after=after)
        for record in page:
            yield record
        if after is None:
            return


def _told(record: Record, body: bytes) -> tuple[Any, ...]:
    return (record.namespace, record.name, record.depth, record.state, record.result, record.status, body)


def _cached(connection: Connection, now_ns: int) -> tuple[tuple[Any, ...], ...]:
    items, elements = (rows(connection, query, (now_ns,)) for query in CACHE)
    numbered: Counter[tuple[Any, Any]] = Counter()
    found: list[tuple[Any, ...]] = list(items)
    for namespace, key, _, value in elements:  # positions have gaps: which, depends on what was there before
        found.append((namespace, key, numbered[namespace, key], value))
        numbered[namespace, key] += 1
    return tuple(found)


def _changed(what: str, expected: Any, found: Any) -> Iterator[str]:
    if expected != found:
        yield f"{what} was {found!r}, not {expected!r}"


def _counted(what: str, expected: Mapping[tuple[Any, ...], int], found: Mapping[tuple[Any, ...], int]) -> Iterator[str]:
    for one in sorted({*expected, *found}, key=repr):
        wanted, got = expected.get(one, 0), found.get(one, 0)
        if wanted != got:
            yield f"{what} {_shown(one)}: {got} times, not {wanted}"


def _shown(one: tuple[Any, ...]) -> str:
    return ", ".join(f"{part!r:.120}" for part in one)
