"""`Retention`: how many old versions stay, and when bytes that no version names any more are removed.

Promises: a version that is current (pinned or not) or in use is kept, however old it is; bytes go only after the commit that
took the last version that names them, and never while somebody who holds such a version could still read them.
Whoever runs a version holds its `Deployment`, so an object that is alive is a version in use; so is one that stored work
stands on (`Pins`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable
from typing import Final, NamedTuple
from weakref import WeakValueDictionary

from guesthouse.errors import BadRequest
from guesthouse.registry.deployment import Deployment
from guesthouse.storage.database import Connection, rows

KEEP_VERSIONS = 20
"""Versions of one function that are kept by default: enough to go back weeks, few enough for a disk."""

LEAST = 2
"""The version that runs, and one to go back to."""

Removed = Callable[[str], None]
"""Removes what is kept for a digest."""


class Pins(NamedTuple):
    """What stored work stands on: asked in the transaction that would take it away, for one function."""

    versions: Callable[[Connection, tuple[str, str]], Collection[int]]
    """Versions that some of it has to end on, or could go on with."""
    live: Callable[[Connection, tuple[str, str]], int]
    """How much of it there is that goes on."""


NOTHING_PINNED: Final = Pins(lambda connection, key: (), lambda connection, key: 0)


class Retention:
    """The bookkeeping of one registry; `remove` deletes the bytes of a digest.  Safe to use from several threads."""

    def __init__(self, keep: int | None, remove: Removed, pins: Pins = NOTHING_PINNED) -> None:
        if keep is not None and keep < LEAST:
            raise BadRequest(f"at least {LEAST} versions of a function have to be kept, not {keep}")
        self._keep = keep
        self._remove = remove
        self._pins = pins
        self._held: WeakValueDictionary[int, Deployment] = WeakValueDictionary()
        self._orphans: set[str] = set()
        self._lock = threading.Lock()

    def hold(self, deployment: Deployment) -> None:
        """Counts this version as in use for as long as the object is alive."""
        with self._lock:  # not while bytes are removed: they may be these
            self._held[id(deployment)] = deployment

    def prune(self, connection: Connection, key: tuple[str, str]) -> frozenset[str]:
        """Deletes the versions of a function that are too old; the digests that no version names any more."""
        if self._keep is None:
            return frozenset()
        query = (
            "SELECT version, digest FROM versions JOIN functions USING (namespace, name)"
            " WHERE namespace = ? AND name = ? AND version IS NOT current AND version < ("
            "SELECT min(version) FROM (SELECT version FROM versions WHERE namespace = ? AND name = ?"
            " ORDER BY version DESC LIMIT ?))"
        )
        old = rows(connection, query, (*key, *key, self._keep))
        used = {d.version for d in self._alive() if (d.namespace, d.name) == key} if old else set()
        used.update(self._pins.versions(connection, key) if old else ())
        doomed = [(version, digest) for version, digest in old if version not in used]
        for version, _ in doomed:
            connection.execute("DELETE FROM versions WHERE namespace = ? AND name = ? AND version = ?", (*key, version))
        return orphaned(connection, {digest for _, digest in doomed})

    def committed(self, orphans: Iterable[str], named: str | None) -> None:
        """After each commit, in their order: the bytes of `orphans` go, which no version names since; `named` is again.

        Those that somebody holds go at a later commit.
        """
        with self._lock:
            self._orphans.update(orphans)
            self._orphans.discard(named or "")
            if not self._orphans:
                return
            used = {deployment.digest for deployment in self._alive()}
            for digest in self._orphans - used:
                self._remove(digest)
            self._orphans &= used

    def _alive(self) -> list[Deployment]:
        return [found for reference in self._held.valuerefs() if (found := reference()) is not None]


def orphaned(connection: Connection, digests: Iterable[str]) -> frozenset[str]:
    """Those of `digests` that no version names."""
    query = "SELECT 1 FROM versions WHERE digest = ? LIMIT 1"
    return frozenset(digest for digest in digests if not rows(connection, query, (digest,)))
