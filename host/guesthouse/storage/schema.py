"""The tables, as a list of migrations, and `migrate`, which brings a file to the newest of them or refuses it.

A migration is never edited once released: a change is one more entry at the end.
"""

from __future__ import annotations

from typing import TypeAlias

import apsw

from guesthouse.storage.errors import StorageError

Connection: TypeAlias = apsw.Connection
"""What a unit of work gets: the one name by which repositories know the library that talks to SQLite."""

APPLICATION_ID = 0x67756573
"""Marks the file as ours (the letters `gues`), so that somebody else's database is never written to."""

MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE functions (
        namespace TEXT    NOT NULL,
        name      TEXT    NOT NULL,
        latest    INTEGER NOT NULL,  -- the highest number ever given; kept after a delete, so none is given twice
        pinned    INTEGER,           -- NULL: the current version follows the latest
        current   INTEGER,           -- NULL: the function is deleted
        PRIMARY KEY (namespace, name)
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE versions (
        namespace  TEXT    NOT NULL,
        name       TEXT    NOT NULL,
        version    INTEGER NOT NULL,
        digest     TEXT    NOT NULL,  -- SHA-256 in hexadecimal, the name of the blob
        kind       TEXT    NOT NULL,
        size       INTEGER NOT NULL,
        created_ms INTEGER NOT NULL,
        manifest   TEXT    NOT NULL,  -- JSON
        imports    TEXT    NOT NULL,  -- JSON
        PRIMARY KEY (namespace, name, version)
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE tokens (
        digest     BLOB    NOT NULL PRIMARY KEY,  -- SHA-256 of the token, which itself is stored nowhere
        id         TEXT    NOT NULL UNIQUE,
        name       TEXT    NOT NULL,
        scopes     TEXT    NOT NULL,  -- JSON
        functions  TEXT    NOT NULL,  -- a pattern
        created_ms INTEGER NOT NULL,
        expires_ms INTEGER,           -- NULL: never
        token_id   TEXT
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE token_changes (revision INTEGER NOT NULL) STRICT;  -- one row; every change of tokens counts it up
    INSERT INTO token_changes VALUES (0);

    CREATE TABLE spawns (
        id         TEXT    NOT NULL PRIMARY KEY,
        namespace  TEXT    NOT NULL,
        name       TEXT    NOT NULL,
        version    INTEGER NOT NULL,
        root       TEXT    NOT NULL,
        depth      INTEGER NOT NULL,
        started_ms INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    """,
    "CREATE INDEX versions_by_digest ON versions (digest);",
    """
    CREATE TABLE cache_items (
        id         INTEGER PRIMARY KEY AUTOINCREMENT,  -- none is given twice: a list's elements may outlive it for a while
        namespace  TEXT    NOT NULL,
        key        BLOB    NOT NULL,
        expires_ns INTEGER NOT NULL,
        size       INTEGER NOT NULL,  -- what it is taken to cost
        length     INTEGER,           -- elements; NULL: a value, not a list
        digest     BLOB,              -- SHA-256 of the value
        value      BLOB,
        UNIQUE (namespace, key)
    ) STRICT;
    CREATE INDEX cache_items_by_expiry ON cache_items (expires_ns);

    CREATE TABLE cache_elements (
        item     INTEGER NOT NULL,
        position INTEGER NOT NULL,  -- ascending, with gaps, from below zero
        value    BLOB    NOT NULL,
        PRIMARY KEY (item, position)
    ) STRICT;

    CREATE TABLE cache_orphans (item INTEGER PRIMARY KEY) STRICT;  -- lists that are gone, whose elements are not yet

    CREATE TABLE cache_order (  -- what is evicted first comes first
        place INTEGER PRIMARY KEY AUTOINCREMENT,
        item  INTEGER NOT NULL UNIQUE
    ) STRICT;

    CREATE TABLE cache_totals (entries INTEGER NOT NULL, size INTEGER NOT NULL) STRICT;  -- one row
    INSERT INTO cache_totals VALUES (0, 0);
    """,
)


def migrate(connection: Connection, *, upgrade: bool = True) -> None:
    """Brings the file to the newest schema in one transaction; raises `StorageError` for one that is newer or not ours.

    `upgrade=False` refuses an older file too: another process may be running on it.
    """
    if check(connection) == len(MIGRATIONS):
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        found = check(connection)
        if found and found < len(MIGRATIONS) and not upgrade:
            raise StorageError(f"the database has schema {found}, not {len(MIGRATIONS)}: the server has to upgrade it")
        for script in MIGRATIONS[found:]:
            connection.execute(script)
        connection.pragma("application_id", APPLICATION_ID)
        connection.pragma("user_version", len(MIGRATIONS))
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def check(connection: Connection) -> int:
    """The number of migrations that the file has seen; raises `StorageError` where it is not for this program."""
    found = int(connection.pragma("user_version"))
    owner = int(connection.pragma("application_id"))
    empty = not connection.execute("SELECT count(*) FROM sqlite_schema").fetchall()[0][0]
    if owner != APPLICATION_ID and not (empty and owner == 0 and found == 0):
        raise StorageError("the file is a database of another program")
    if found > len(MIGRATIONS):
        raise StorageError(f"the database has schema {found}, newer than {len(MIGRATIONS)}: use a newer guesthouse")
    return found
