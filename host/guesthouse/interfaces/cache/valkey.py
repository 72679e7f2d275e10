"""`ValkeyCache`: the cache on a Valkey or Redis server, which several hosts may share.

Promises: the same answers as the cache in memory; each call is one step on the server, whoever else uses it.  How much
is kept, and what is forgotten first, is the server's business (`maxmemory`), and so is the clock.  Must not know how
connections are made.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, cast

from guesthouse.errors import GuesthouseError, HostError
from guesthouse.interfaces.cache.backend import (
    ELEMENT_BYTES,
    Counts,
    OverLimit,
    Popped,
    Range,
    WrongKind,
    check_list,
    merged,
)
from guesthouse.interfaces.cache.conditions import CONDITIONS, Condition, Item, compared
from guesthouse.interfaces.cache.scripts import ERASE, EXTEND, FETCH, POP, REMOVE, RETAIN, SET_IF, Script
from guesthouse.limits import CacheLimits
from guesthouse.net.failures import TooLarge
from guesthouse.net.resp import ErrorReply
from guesthouse.net.valkey import ValkeyClient
from guesthouse.telemetry import logger

if TYPE_CHECKING:
    from guesthouse.net.resp import Reply

PREFIX: Final = "guesthouse:"
DIGEST_BYTES: Final = 32
MOST_VALUES: Final = 60_000
"""Values of one command: the client's own bound is a little higher."""
REPLY_ENVELOPE_BYTES: Final = 64 * 1024
log = logger("cache")


class ValkeyCache:
    """Items under keys `guesthouse:NAMESPACE:KEY` of the server that `client` leads to; all calls wait for it."""

    transactional = False
    lasting = True

    def __init__(self, client: ValkeyClient, limits: CacheLimits | None = None) -> None:
        self._client = client
        self.limits = limits or CacheLimits()
        self._complaint = ""
        self.counts = Counts(entries=None, size=None)

    @classmethod
    def at(cls, url: str, limits: CacheLimits | None = None, ca_file: str | None = None) -> ValkeyCache:
        """The cache on the server at `url`, which is connected to when it is needed; raises `InvalidUrl`."""
        limits = limits or CacheLimits()
        largest = max(limits.item_bytes, limits.list_bytes + limits.list_elements * ELEMENT_BYTES)
        return cls(ValkeyClient(url, reply_bytes=largest + REPLY_ENVELOPE_BYTES, ca_file=ca_file), limits)

    async def get(self, namespace: str, key: bytes) -> Item | None:
        found = cast("bytes | None", await self._command(b"GET", self._name(namespace, key)))
        self.counts.seen(found is not None)
        return None if found is None else Item(found[DIGEST_BYTES:], found[:DIGEST_BYTES])

    async def set(
        self, namespace: str, key: bytes, item: Item, ttl_ms: int, condition: Condition | None = None
    ) -> bool:
        name, stored = self._name(namespace, key), await item.hashed() + item.value
        if condition is None:
            await self._command(b"SET", name, stored, b"PX", _number(ttl_ms))
            return True
        cases = b"".join(b"1" if stores else b"0" for stores in CONDITIONS[condition[0]])
        operand = await compared(condition)
        if condition[1] is not None and len(operand) != DIGEST_BYTES:
            operand = b"no hash"  # the script takes nothing for no operand, and this for one that nothing equals
        return bool(await self._run(SET_IF, name, stored, _number(ttl_ms), cases, operand))

    async def delete(self, namespace: str, key: bytes) -> None:
        await self._command(b"UNLINK", self._name(namespace, key))

    async def extend(
        self, namespace: str, key: bytes, values: Sequence[bytes], ttl_ms: int, refresh: bool, keep: int, *, front: bool
    ) -> int:
        if keep and len(values) > keep:
            values = values[:keep] if front else values[-keep:]
        check_list(len(values), sum(map(len, values)), self.limits)
        if len(values) > MOST_VALUES:
            raise OverLimit(f"one call adds at most {MOST_VALUES} elements")
        options = (_number(ttl_ms), b"1" if refresh else b"0", _number(keep), _number(self.limits.list_elements))
        push, ordered = (b"LPUSH", reversed(values)) if front else (b"RPUSH", iter(values))
        return cast(int, await self._run(EXTEND, self._name(namespace, key), push, *options, *ordered))

    async def pop(self, namespace: str, key: bytes, *, front: bool) -> Popped | None:
        reply = await self._run(POP, self._name(namespace, key), b"LPOP" if front else b"RPOP")
        self.counts.seen(reply is not None)
        return None if reply is None else Popped(*cast("tuple[bytes, int]", reply))

    async def erase(self, namespace: str, key: bytes, ranges: Sequence[Range] | None) -> int | None:
        name = self._name(namespace, key)
        if ranges is None:
            return cast("int | None", await self._run(ERASE, name))
        indexes = [_number(index) for erased in merged(ranges) or [(0, 0)] for index in erased]
        return cast("int | None", await self._run(ERASE, name, *indexes))

    async def remove(self, namespace: str, key: bytes, value: bytes) -> int | None:
        return cast("int | None", await self._run(REMOVE, self._name(namespace, key), value))

    async def fetch(self, namespace: str, key: bytes, start: int | None, end: int | None) -> list[bytes] | None:
        try:
            reply = await self._run(FETCH, self._name(namespace, key), _index(start), _index(end))
        except TooLarge:
            raise OverLimit(f"a call answers at most {self.limits.list_bytes} bytes of elements") from None
        self.counts.seen(reply is not None)
        return cast("list[bytes] | None", reply)

    async def length(self, namespace: str, key: bytes) -> int | None:
        length = cast(int, await self._command(b"LLEN", self._name(namespace, key)))
        self.counts.seen(length > 0)
        return length or None

    async def retain(
        self, namespace: str, key: bytes, start: int | None, end: int | None, ttl_ms: int, refresh: bool
    ) -> int | None:
        options = (_index(start), _index(end), _number(ttl_ms), b"1" if refresh else b"0")
        return cast("int | None", await self._run(RETAIN, self._name(namespace, key), *options))

    async def close(self) -> None:
        await self._client.close()

    def _name(self, namespace: str, key: bytes) -> bytes:
        return f"{PREFIX}{namespace}:".encode() + key

    async def _run(self, script: Script, name: bytes, *arguments: bytes) -> Reply:
        """Runs a script, which the server is taught where it does not know it yet."""
        call = (b"1", name, *arguments)
        reply = await self._ask(b"EVALSHA", script.sha, *call)
        if isinstance(reply, ErrorReply) and reply.text.startswith(b"NOSCRIPT"):
            reply = await self._ask(b"EVAL", script.text, *call)
        return self._checked(reply)

    async def _command(self, *command: bytes) -> Reply:
        return self._checked(await self._ask(*command))

    async def _ask(self, *command: bytes) -> Reply:
        """The reply to a command; whoever runs the host is told why there is none, guests only that there is none."""
        try:
            reply = await self._client.command(*command)
        except GuesthouseError as error:
            self._complain(str(error))
            raise
        if not isinstance(reply, ErrorReply):
            self._complaint = ""
        return reply

    def _complain(self, text: str) -> None:
        """Once for each reason, until it works again."""
        if text != self._complaint:
            self._complaint = text
            log.warning("the cache's server does not do its work", reason=text)

    def _checked(self, reply: Reply) -> Reply:
        """The reply, unless it is an error."""
        if not isinstance(reply, ErrorReply):
            return reply
        text = reply.text.removeprefix(b"ERR ")
        if text.startswith((b"KIND", b"WRONGTYPE")):
            raise WrongKind("the key holds a value where a list is asked for, or the other way round")
        if text.startswith(b"LENGTH"):
            raise OverLimit(f"a list has at most {self.limits.list_elements} elements")
        self._complain(str(reply))
        raise HostError("the cache's server answered an error")


def _number(value: int) -> bytes:
    return b"%d" % value


def _index(value: int | None) -> bytes:
    return b"" if value is None else b"%d" % value
