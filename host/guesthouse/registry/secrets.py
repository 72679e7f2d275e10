"""`Secrets`: short confidential bytes with a name, for functions of one namespace that ask for them by it.

All of them are in memory, so that a function's start costs no read; a change is durable when it has been acknowledged.
Promises: nothing here shows a value but `get`, which is for whoever gives it to a function.  Must not know how functions
are given them.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

from guesthouse.errors import BadRequest, BodyTooLarge
from guesthouse.registry.deployment import SECRET, check_name
from guesthouse.storage.database import Connection, Database, rows

MAX_SECRET_BYTES = 1 << 20
"""Of one value: what the orchestrators take that functions move here from."""
MOST_SECRETS = 1_000
"""Secrets of one namespace: a listing shows all of them."""
MOST_SECRET_BYTES = 64 << 20
"""Of all values together: they stay in memory."""
Key: TypeAlias = tuple[str, str]


class _Change(NamedTuple):
    """What a transaction did: a secret's value from now on (`None`: it is gone), and whether there was one before."""

    key: Key
    value: bytes | None
    existed: bool


def check_secret(name: str) -> str:
    """`name` if it can name a secret, else `BadRequest`; a file of that name stays in its folder."""
    if not SECRET.match(name):
        raise BadRequest("the name of a secret has 1 to 253 of A-Z, a-z, 0-9, '.', '_' and '-'")
    return name


class Secrets:
    """The secrets of one database; nobody else changes them."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._values: dict[Key, bytes] = database.read_sync(_load)

    async def put(self, namespace: str, name: str, value: bytes) -> None:
        """Sets a secret, which is durable on return; raises `NotFound`, `BadRequest` or `BodyTooLarge`."""
        await self._put(namespace, name, value, None)

    async def create(self, namespace: str, name: str, value: bytes) -> bool:
        """As `put`, for one that must not be there yet; whether it was not."""
        return not (await self._put(namespace, name, value, False)).existed

    async def replace(self, namespace: str, name: str, value: bytes) -> bool:
        """As `put`, for one that must be there; whether it was."""
        return (await self._put(namespace, name, value, True)).existed

    async def delete(self, namespace: str, name: str) -> bool:
        """Forgets a secret; whether there was one."""
        key = (namespace, name)
        if key not in self._values:
            return False
        return (await self._database.write(lambda connection: _delete(connection, key), committed=self._apply)).existed

    def names(self, namespace: str) -> tuple[str, ...]:
        """The names of a namespace's secrets, in order."""
        return tuple(sorted(name for found, name in tuple(self._values) if found == namespace))

    def namespaces(self) -> frozenset[str]:
        """The namespaces that have secrets."""
        return frozenset(namespace for namespace, _ in tuple(self._values))

    def get(self, namespace: str, name: str) -> bytes | None:
        """The value of a secret, for the function that is given it; from memory."""
        return self._values.get((namespace, name))

    async def _put(self, namespace: str, name: str, value: bytes, there: bool | None) -> _Change:
        key = check_name("namespace", namespace), check_secret(name)
        if len(value) > MAX_SECRET_BYTES:
            raise BodyTooLarge(f"a secret has at most {MAX_SECRET_BYTES} bytes")
        return await self._database.write(lambda c: _set(c, key, value, there), committed=self._apply)

    def _apply(self, change: _Change) -> None:
        """Brings the view in memory up to a commit; called in the order of the commits."""
        if change.value is None:
            self._values.pop(change.key, None)
        else:
            self._values[change.key] = change.value


def _load(connection: Connection) -> dict[Key, bytes]:
    found = rows(connection, "SELECT namespace, name, value FROM secrets")
    return {(namespace, name): value for namespace, name, value in found}


def _set(connection: Connection, key: Key, value: bytes, there: bool | None) -> _Change:
    """Sets a secret if it is `there` as demanded (`None`: in any case), and all of them together are not too much."""
    found = rows(connection, "SELECT value FROM secrets WHERE namespace = ? AND name = ?", key)
    existed = bool(found)
    if there is not None and there is not existed:
        return _Change(key, found[0][0] if found else None, existed)
    query = "SELECT coalesce(sum(length(value)), 0), coalesce(sum(namespace = ?), 0) FROM secrets"
    ((size, count),) = rows(connection, query, key[:1])
    if count + (not existed) > MOST_SECRETS:
        raise BadRequest(f"there are over {MOST_SECRETS} secrets in this namespace")
    if size + len(value) - (len(found[0][0]) if found else 0) > MOST_SECRET_BYTES:
        raise BodyTooLarge(f"all secrets together have at most {MOST_SECRET_BYTES} bytes")
    query = "INSERT INTO secrets VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET value = excluded.value"
    connection.execute(query, (*key, value))
    return _Change(key, value, existed)


def _delete(connection: Connection, key: Key) -> _Change:
    connection.execute("DELETE FROM secrets WHERE namespace = ? AND name = ?", key)
    return _Change(key, None, connection.changes() > 0)
