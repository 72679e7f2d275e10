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
    """
    CREATE TABLE secrets (
        namespace TEXT NOT NULL,
        name      TEXT NOT NULL,
        value     BLOB NOT NULL,
        PRIMARY KEY (namespace, name)
    ) STRICT;

    CREATE TABLE namespaces (  -- those that somebody made or described; others come with their first function
        name        TEXT NOT NULL PRIMARY KEY,
        labels      TEXT NOT NULL,  -- JSON
        annotations TEXT NOT NULL   -- JSON
    ) STRICT, WITHOUT ROWID;
    """,
    """
    CREATE TABLE invocations (  -- queued, running and ended ones
        seq        INTEGER PRIMARY KEY,
        id         TEXT    NOT NULL UNIQUE,
        namespace  TEXT    NOT NULL,
        name       TEXT    NOT NULL,
        mode       TEXT    NOT NULL,
        state      INTEGER NOT NULL,  -- 0 ready, 1 ready with strikes, 2 delayed, 3 parked behind its key, 4 running,
                                      -- 5 dead with its request, 6 succeeded, 7 failed, 8 dead, 9 cancelled, 10 lost
        created_ms INTEGER NOT NULL,  -- its place in lists
        due_ms     INTEGER NOT NULL,  -- its place in the queue
        started_ms INTEGER,
        ended_ms   INTEGER,
        key        TEXT,
        attempts   INTEGER NOT NULL,  -- since it was queued or redriven
        earlier    INTEGER NOT NULL,  -- attempts before it was redriven
        strikes    INTEGER NOT NULL,
        fence      INTEGER NOT NULL,  -- rises with each lease
        holder     TEXT,              -- who runs it
        size       INTEGER NOT NULL,  -- bytes that its request is taken to cost
        kept       INTEGER NOT NULL,  -- bytes that its record and output are taken to cost
        about      BLOB    NOT NULL   -- JSON: what else is known of it
    ) STRICT;
    CREATE INDEX invocations_by_time ON invocations (created_ms);
    CREATE INDEX invocations_by_function ON invocations (namespace, name, created_ms);
    CREATE INDEX invocations_by_state ON invocations (state, created_ms) WHERE state IN (5, 7, 8, 9, 10);
    CREATE INDEX invocations_waiting ON invocations (namespace, name, state, due_ms, seq, size) WHERE state < 4;
    CREATE INDEX invocations_parked ON invocations (namespace, name, key, due_ms) WHERE state = 3;
    CREATE INDEX invocations_running ON invocations (holder, namespace, name, key, size) WHERE state = 4;
    CREATE INDEX invocations_dead ON invocations (ended_ms, namespace, name, size, kept) WHERE state = 5;
    CREATE INDEX invocations_ended ON invocations (ended_ms, kept) WHERE state > 5;

    CREATE TABLE requests (  -- of calls that are queued, running, or dead and not dropped
        seq   INTEGER PRIMARY KEY,
        about BLOB    NOT NULL,  -- JSON
        body  BLOB    NOT NULL
    ) STRICT;

    CREATE TABLE outputs (
        seq     INTEGER PRIMARY KEY,
        status  INTEGER NOT NULL,
        headers BLOB    NOT NULL,  -- JSON
        body    BLOB    NOT NULL
    ) STRICT;

    CREATE TABLE callbacks (
        seq         INTEGER PRIMARY KEY,  -- of the invocation whose result it is
        id          TEXT    NOT NULL UNIQUE,
        namespace   TEXT    NOT NULL,
        name        TEXT    NOT NULL,
        url         TEXT    NOT NULL,
        destination TEXT    NOT NULL,  -- scheme, host and port of the URL
        headers     BLOB    NOT NULL,  -- JSON
        attempts    INTEGER NOT NULL,
        due_ms      INTEGER NOT NULL
    ) STRICT;
    CREATE INDEX callbacks_by_due ON callbacks (due_ms, destination, id);

    CREATE TABLE lease_holders (
        holder     TEXT    NOT NULL PRIMARY KEY,
        expires_ms INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE idempotency (
        key        BLOB    NOT NULL PRIMARY KEY,  -- SHA-256
        request    BLOB    NOT NULL,              -- SHA-256
        id         TEXT    NOT NULL,              -- of the invocation
        expires_ms INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX idempotency_by_expiry ON idempotency (expires_ms);
    """,
    """
    ALTER TABLE invocations ADD COLUMN durable   INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE invocations ADD COLUMN exclusive INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE invocations ADD COLUMN version   INTEGER;
    ALTER TABLE invocations ADD COLUMN parent    INTEGER;
    ALTER TABLE invocations ADD COLUMN promise   INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE invocations ADD COLUMN attached  INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE invocations ADD COLUMN segments  INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE invocations ADD COLUMN journal   INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE invocations ADD COLUMN counted   INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE invocations ADD COLUMN told      INTEGER NOT NULL DEFAULT 0;
    -- durable: 1 has a journal and can be suspended; exclusive: 1 runs alone with its key; version: what it has to end on;
    -- parent, promise: the row, and the number of its future, that the end completes; attached: how many others wait for
    -- that end; segments, journal: of its journal, how many and how many bytes (at the end, with its request); counted: those
    -- that are in size already; told: the bytes of its completions, which are in size too.  The state -1 is suspended; due_ms is
    -- 1 << 53 then where no time was set.
    CREATE INDEX invocations_children ON invocations (parent) WHERE parent IS NOT NULL AND state < 5;
    CREATE INDEX invocations_pinned ON invocations (namespace, name, version, state)
        WHERE version IS NOT NULL AND state < 6;
    CREATE INDEX invocations_journals ON invocations (ended_ms) WHERE journal > 0 AND state > 5;

    CREATE TABLE journals (
        seq     INTEGER NOT NULL,  -- of the invocation
        number  INTEGER NOT NULL,  -- from 0
        segment BLOB    NOT NULL,
        PRIMARY KEY (seq, number)
    ) STRICT;

    CREATE TABLE completions (  -- what a live durable invocation is told
        seq     INTEGER NOT NULL,  -- of the invocation
        number  INTEGER NOT NULL,  -- of its future; 0: it was cancelled
        outcome INTEGER NOT NULL,  -- 0 ok, 1 failed, 2 cancelled
        code    INTEGER NOT NULL,
        value   BLOB    NOT NULL,
        PRIMARY KEY (seq, number)
    ) STRICT;

    CREATE TABLE waits (  -- what is still missing for a suspended invocation to go on; NULL: that is not waited for
        seq      INTEGER PRIMARY KEY,
        oks      INTEGER,
        failures INTEGER,
        ends     INTEGER
    ) STRICT;

    CREATE TABLE waited (  -- the futures that count for that, as ranges that do not overlap
        seq   INTEGER NOT NULL,
        first INTEGER NOT NULL,
        last  INTEGER NOT NULL,
        PRIMARY KEY (seq, first)
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE attached (  -- futures, beside its parent's, that the end of an invocation completes
        seq    INTEGER NOT NULL,  -- of the invocation
        owner  INTEGER NOT NULL,
        number INTEGER NOT NULL,
        PRIMARY KEY (seq, owner, number)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX attached_by_owner ON attached (owner);

    CREATE TABLE key_locks (
        namespace TEXT    NOT NULL,
        name      TEXT    NOT NULL,
        key       TEXT    NOT NULL,
        seq       INTEGER NOT NULL UNIQUE,  -- of the exclusive invocation that has begun and has not ended
        PRIMARY KEY (namespace, name, key)
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE keyed_state (
        namespace TEXT    NOT NULL,
        name      TEXT    NOT NULL,
        key       TEXT    NOT NULL,
        item      TEXT    NOT NULL,
        value     BLOB    NOT NULL,
        PRIMARY KEY (namespace, name, key, item)
    ) STRICT;

    CREATE TABLE keyed_totals (
        namespace TEXT    NOT NULL,
        name      TEXT    NOT NULL,
        size      INTEGER NOT NULL,  -- bytes that the state of its keys is taken to cost
        PRIMARY KEY (namespace, name)
    ) STRICT, WITHOUT ROWID;
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
