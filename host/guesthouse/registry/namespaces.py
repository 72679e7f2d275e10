"""`Namespaces`: those that somebody made or described, with the words that were said about them.

A namespace needs no making: it is there as soon as it has a function.  What is kept here is what tools expect that make
one first, and labels on it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from guesthouse.errors import BadRequest
from guesthouse.registry.deployment import MAX_LABEL_BYTES, MOST_LABELS, check_name
from guesthouse.storage.database import Connection, Database, rows

MOST_NAMESPACES = 10_000
"""They stay in memory, and a listing shows all of them."""


@dataclass(frozen=True, slots=True)
class Namespace:
    """What was said about a namespace."""

    name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_name("namespace", self.name)
        pairs = (*self.labels.items(), *self.annotations.items())
        if len(pairs) > MOST_LABELS or sum(len(text.encode()) for pair in pairs for text in pair) > MAX_LABEL_BYTES:
            raise BadRequest(f"labels and annotations are {MOST_LABELS} and {MAX_LABEL_BYTES} bytes at most")


class Namespaces:
    """The namespaces of one database; nobody else changes them."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: dict[str, Namespace] = database.read_sync(_load)

    def get(self, name: str) -> Namespace | None:
        """What was said about a namespace, if anything was."""
        return self._known.get(name)

    def names(self) -> frozenset[str]:
        """Those that are kept here."""
        return frozenset(self._known)

    async def put(self, namespace: Namespace) -> None:
        """Keeps a namespace; durable on return.  Raises `BadRequest` over the bound."""
        await self._database.write(lambda connection: _put(connection, namespace), committed=self._apply)

    async def delete(self, name: str) -> bool:
        """Forgets what was said about a namespace; whether anything was."""
        if name not in self._known:
            return False
        await self._database.write(lambda connection: _delete(connection, name), committed=self._forget)
        return True

    def _apply(self, namespace: Namespace) -> None:
        self._known[namespace.name] = namespace

    def _forget(self, name: str) -> None:
        self._known.pop(name, None)


def _load(connection: Connection) -> dict[str, Namespace]:
    found = rows(connection, "SELECT name, labels, annotations FROM namespaces")
    return {name: Namespace(name, json.loads(labels), json.loads(words)) for name, labels, words in found}


def _put(connection: Connection, namespace: Namespace) -> Namespace:
    query = (
        "INSERT INTO namespaces VALUES (?, ?, ?) ON CONFLICT DO UPDATE"
        " SET labels = excluded.labels, annotations = excluded.annotations"
    )
    words = (json.dumps(dict(namespace.labels)), json.dumps(dict(namespace.annotations)))
    connection.execute(query, (namespace.name, *words))
    if rows(connection, "SELECT count(*) FROM namespaces")[0][0] > MOST_NAMESPACES:
        raise BadRequest(f"there are over {MOST_NAMESPACES} namespaces")
    return namespace


def _delete(connection: Connection, name: str) -> str:
    connection.execute("DELETE FROM namespaces WHERE name = ?", (name,))
    return name
