"""`Registry`: which functions there are, which version of each is current, and the bytes that each version runs.

A deploy is atomic: after a crash at any point there is the old current version or the new one, with all of its bytes
(F12).  Version numbers count up for each name, never change what they mean, and are never given twice, not even after a
delete.  Of old versions a bounded number stays (`retention`).  Knows nothing of modules, engines and HTTP.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, TypeAlias, TypeVar

from guesthouse.clock import SYSTEM_CLOCK, Clock
from guesthouse.errors import InputError, NotFound
from guesthouse.registry.blobs import Blobs, FileBlobs, MemoryBlobs
from guesthouse.registry.deployment import Deployment, Manifest, check_name
from guesthouse.registry.records import COLUMNS, from_row, to_row
from guesthouse.registry.retention import NOTHING_PINNED, Pins, Removed, Retention, orphaned
from guesthouse.storage.database import Connection, Database, rows
from guesthouse.storage.files import FILE_STEPS, Steps, no_steps

T = TypeVar("T")
Key: TypeAlias = tuple[str, str]

STEPS = (*FILE_STEPS, "version inserted", "current flipped", "committed")
"""The steps of a deploy, in order: what a test may interrupt."""


class StillNeeded(InputError):
    """A function cannot be deleted while durable invocations have to end on versions of it."""

    status = 409
    problem_type = "still-needed"
    title = "Invocations stand on versions of the function"


@dataclass(frozen=True, slots=True)
class FunctionState:
    """One function: the version that runs now, the newest one, and the one that it is held at, if it is."""

    current: Deployment
    latest: int
    pinned: int | None


@dataclass(frozen=True, slots=True)
class _Change(Generic[T]):
    """What a transaction did: the function from now on, what the caller is told, and bytes that nobody needs any more."""

    key: Key
    state: FunctionState | None
    result: T
    orphans: frozenset[str] = frozenset()
    named: str | None = None
    """The digest of the version that was made."""


class Registry:
    """The functions of one data directory, or of one process where `directory` is `None`.

    Current versions are kept in memory: `get` is one look into a dict.  All methods may be called from any thread.
    `keep` bounds the versions of one function, none: all stay; the current one, a pinned one and those in use stay in
    any case.  `removed` is told of each digest whose bytes were removed because no version names them any more; `pins` says
    which versions stored work stands on.
    """

    def __init__(
        self,
        database: Database,
        directory: Path | None = None,
        clock: Clock = SYSTEM_CLOCK,
        *,
        keep: int | None = None,
        removed: Removed = lambda digest: None,
        pins: Pins = NOTHING_PINNED,
        steps: Steps = no_steps,
    ) -> None:
        self._database = database
        self._clock = clock
        self._steps = steps
        self._removed = removed
        self._blobs: Blobs = MemoryBlobs() if directory is None else FileBlobs(directory / "blobs")
        self._pins = pins
        self._retention = Retention(keep, self._remove, pins)
        self.revision = 0
        """Rises whenever the current version of a function may have changed."""
        self._states: dict[Key, FunctionState] = database.read_sync(_load)
        self._current = {key: state.current for key, state in self._states.items()}
        for deployment in self._current.values():
            self._retention.hold(deployment)
        self.swept = self._blobs.sweep(database.read_sync(_digests))
        """Files of unfinished deploys and deleted functions that were removed when this was opened."""

    def get(self, namespace: str, name: str) -> Deployment | None:
        """The current version of a function."""
        return self._current.get((namespace, name))

    def list(self, namespace: str | None = None) -> tuple[Deployment, ...]:
        """The current version of every function (of one namespace), by name."""
        current = tuple(self._current.values())
        return tuple(sorted((d for d in current if namespace in (None, d.namespace)), key=lambda d: d.path))

    def show(self, namespace: str, name: str) -> FunctionState | None:
        """A function with its newest and its pinned version; `None` if there is no such function."""
        return self._states.get((namespace, name))

    def versions(self, namespace: str, name: str) -> tuple[Deployment, ...]:
        """All versions of a function, oldest first; none if there is no such function."""
        if self.get(namespace, name) is None:
            return ()
        query = f"SELECT {COLUMNS} FROM versions WHERE namespace = ? AND name = ? ORDER BY version"
        found = self._database.read_sync(lambda connection: rows(connection, query, (namespace, name)))
        return tuple(from_row(row) for row in found)

    def version(self, namespace: str, name: str, version: int) -> Deployment | None:
        """One version of a function, current or not."""
        if self.get(namespace, name) is None:
            return None
        return self._database.read_sync(lambda connection: _version(connection, (namespace, name), version))

    def previous(self, namespace: str, name: str) -> Deployment:
        """The newest version before the current one that is still there.  Raises `NotFound`."""
        state = self._states.get(self._known(namespace, name))
        older = [d for d in self.versions(namespace, name) if state is not None and d.version < state.current.version]
        if not older:
            raise NotFound("there is no version before the current one")
        return older[-1]

    def digests(self) -> frozenset[str]:
        """The digests of all versions of all functions: what may still run."""
        return frozenset(self._database.read_sync(_digests))

    def users(self, digest: str) -> frozenset[Key]:
        """The functions of which a version has this digest.  Reads from disk."""
        query = "SELECT DISTINCT namespace, name FROM versions WHERE digest = ?"
        return frozenset(self._database.read_sync(lambda connection: rows(connection, query, (digest,))))

    def wasm(self, digest: str) -> bytes:
        """The deployed bytes, verified; raises `NotFound`, or `StorageError` if they are damaged.  Reads a file."""
        return self._blobs.get(digest)

    async def deploy(
        self,
        namespace: str,
        name: str,
        wasm: bytes,
        *,
        kind: str,
        imports: Iterable[str] = (),
        manifest: Manifest | None = None,
    ) -> Deployment:
        """Makes a new version of a function, current at once unless another one is pinned; it is durable on return.

        Raises `NotFound` for a name that cannot be, and what `Database.write` raises.
        """
        draft = self._draft(namespace, name, wasm, kind, imports, manifest)
        draft = await asyncio.to_thread(self._keep, draft, wasm)
        return (await self._database.write(lambda c: self._insert(c, draft), committed=self._apply)).result

    def deploy_sync(
        self,
        namespace: str,
        name: str,
        wasm: bytes,
        *,
        kind: str,
        imports: Iterable[str] = (),
        manifest: Manifest | None = None,
    ) -> Deployment:
        """As `deploy`, for a thread that may block."""
        draft = self._keep(self._draft(namespace, name, wasm, kind, imports, manifest), wasm)
        return self._database.write_sync(lambda c: self._insert(c, draft), committed=self._apply).result

    async def delete(self, namespace: str, name: str) -> bool:
        """Deletes a function with all its versions; whether there was one.  Raises `StillNeeded`."""
        if self.get(namespace, name) is None:
            return False
        return (await self._database.write(lambda c: self._delete(c, (namespace, name)), committed=self._apply)).result

    def delete_sync(self, namespace: str, name: str) -> bool:
        """As `delete`, for a thread that may block."""
        if self.get(namespace, name) is None:
            return False
        return self._database.write_sync(lambda c: self._delete(c, (namespace, name)), committed=self._apply).result

    async def pin(self, namespace: str, name: str, version: int | None) -> FunctionState:
        """Holds a function at one version while deploys go on, or lets it follow the latest again (`None`).

        Raises `NotFound`.
        """
        key = self._known(namespace, name)
        return (await self._database.write(lambda c: self._pin(c, key, version), committed=self._apply)).result

    def pin_sync(self, namespace: str, name: str, version: int | None) -> FunctionState:
        """As `pin`, for a thread that may block."""
        key = self._known(namespace, name)
        return self._database.write_sync(lambda c: self._pin(c, key, version), committed=self._apply).result

    def _known(self, namespace: str, name: str) -> Key:
        if self.get(namespace, name) is None:
            raise _unknown()
        return namespace, name

    def _draft(
        self, namespace: str, name: str, wasm: bytes, kind: str, imports: Iterable[str], manifest: Manifest | None
    ) -> Deployment:
        """The deployment before it has its digest, its number and its time."""
        return Deployment(
            namespace=check_name("namespace", namespace),
            name=check_name("function", name),
            version=0,
            digest="",
            kind=kind,
            size=len(wasm),
            created_ms=0,
            manifest=manifest or Manifest(),
            imports=frozenset(imports),
        )

    def _keep(self, draft: Deployment, wasm: bytes) -> Deployment:
        """Puts the bytes where they will be looked for, before anything names them."""
        draft = replace(draft, digest=hashlib.sha256(wasm).hexdigest())
        self._retention.hold(draft)  # from here to the commit: the last version with the same bytes may go meanwhile
        self._blobs.put(draft.digest, wasm, self._steps)
        return draft

    def _remove(self, digest: str) -> None:
        self._blobs.remove(digest)
        self._removed(digest)

    def _insert(self, connection: Connection, draft: Deployment) -> _Change[Deployment]:
        """The one transaction of a deploy."""
        key = (draft.namespace, draft.name)
        found = rows(connection, "SELECT latest, pinned FROM functions WHERE namespace = ? AND name = ?", key)
        latest, pinned = found[0] if found else (0, None)
        deployed = replace(draft, version=latest + 1, created_ms=self._clock.wall_ns() // 1_000_000)
        connection.execute(f"INSERT INTO versions ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", to_row(deployed))
        self._steps("version inserted")
        connection.execute(
            "INSERT INTO functions (namespace, name, latest, current) VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE"
            " SET latest = excluded.latest, current = coalesce(pinned, excluded.current)",
            (*key, deployed.version, deployed.version),
        )
        self._steps("current flipped")
        current = deployed if pinned is None else self._find(connection, key, pinned)
        assert current is not None, "the current version is never deleted"
        state = FunctionState(current, deployed.version, pinned)
        return _Change(key, state, deployed, self._retention.prune(connection, key), deployed.digest)

    def _pin(self, connection: Connection, key: Key, version: int | None) -> _Change[FunctionState]:
        """The one transaction of pinning, and of letting go."""
        query = "SELECT latest FROM functions WHERE namespace = ? AND name = ? AND current IS NOT NULL"
        found = rows(connection, query, key)
        current = self._find(connection, key, found[0][0] if version is None else version) if found else None
        if current is None:
            raise _unknown()
        query = "UPDATE functions SET pinned = ?, current = ? WHERE namespace = ? AND name = ?"
        connection.execute(query, (version, current.version, *key))
        state = FunctionState(current, found[0][0], version)
        return _Change(key, state, state)

    def _delete(self, connection: Connection, key: Key) -> _Change[bool]:
        """The one transaction of a delete."""
        live = self._pins.live(connection, key)
        if live:
            which = "1 invocation stands" if live == 1 else f"{live} invocations stand"
            raise StillNeeded(f"{which} on versions of {key[0]}/{key[1]}: let them end, or cancel them, first")
        return _delete(connection, key)

    def _find(self, connection: Connection, key: Key, version: int) -> Deployment | None:
        """One version: the same object as long as it is current, for what was linked for it is known by that."""
        known, found = self._current.get(key), _version(connection, key, version)
        return known if known == found else found

    def _apply(self, change: _Change[Any]) -> None:
        """Brings the view in memory up to a commit; called in the order of the commits."""
        self._steps("committed")
        if change.state is None:
            self._states.pop(change.key, None)
            self._current.pop(change.key, None)
        else:
            self._retention.hold(change.state.current)
            self._states[change.key] = change.state
            self._current[change.key] = change.state.current
        self.revision += 1
        self._retention.committed(change.orphans, change.named)


def _load(connection: Connection) -> dict[Key, FunctionState]:
    columns = ", ".join(f"versions.{column}" for column in COLUMNS.split(", "))
    query = (
        f"SELECT functions.latest, functions.pinned, {columns} FROM functions JOIN versions"
        " ON versions.namespace = functions.namespace AND versions.name = functions.name"
        " AND versions.version = functions.current"
    )
    states = (FunctionState(from_row(tuple(row)), latest, pinned) for latest, pinned, *row in rows(connection, query))
    return {(state.current.namespace, state.current.name): state for state in states}


def _digests(connection: Connection) -> set[str]:
    return {digest for (digest,) in rows(connection, "SELECT DISTINCT digest FROM versions")}


def _version(connection: Connection, key: Key, version: int) -> Deployment | None:
    if not 0 < version < 1 << 63:
        return None
    query = f"SELECT {COLUMNS} FROM versions WHERE namespace = ? AND name = ? AND version = ?"
    found = rows(connection, query, (*key, version))
    return from_row(found[0]) if found else None


def _delete(connection: Connection, key: Key) -> _Change[bool]:
    query = "UPDATE functions SET current = NULL, pinned = NULL WHERE namespace = ? AND name = ?"
    connection.execute(query + " AND current IS NOT NULL", key)
    existed = connection.changes() > 0
    mine = "FROM versions WHERE namespace = ? AND name = ?"
    digests = {digest for (digest,) in rows(connection, f"SELECT digest {mine}", key)}
    connection.execute(f"DELETE {mine}", key)
    return _Change(key, None, existed, orphaned(connection, digests))


def _unknown() -> NotFound:
    return NotFound("there is no function of this name with this version")
