"""`Tokens`: who may use this host, by opaque tokens of 256 random bits that are stored nowhere, only their SHA-256.

A token is looked up by its hash, in memory: what an attacker can vary is not what is compared.  A token that another
process made or revoked in the same data directory is seen at its first use, or within a second.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import threading
from collections.abc import Iterable
from typing import Any, TypeAlias

from guesthouse.clock import SYSTEM_CLOCK, Clock
from guesthouse.errors import BadRequest
from guesthouse.registry.principal import SCOPES, FunctionPattern, Principal
from guesthouse.storage.database import Connection, Database, rows

PREFIX = "gh_"
TOKEN_LENGTH = len(PREFIX) + 48
"""256 random bits and a CRC-32, in base64url: no bit of it is without meaning."""
NOTICE_NS = 1_000_000_000
"""How long a token that another process revoked may still be believed."""
COLUMNS = "digest, id, name, scopes, functions, created_ms, expires_ms, token_id"
MAX_NAME_BYTES = 200
MAX_TOKEN_ID_BYTES = 512


Rows: TypeAlias = list[tuple[Any, ...]]


def is_well_formed(plain: bytes) -> bool:
    """Whether this could be one of our tokens: tells a typing error from a revoked token, without any secret."""
    if len(plain) != TOKEN_LENGTH or not plain.startswith(PREFIX.encode()):
        return False
    body = plain[len(PREFIX) :]
    if not body.translate(None, b"-_").isalnum():  # base64 would skip what it does not know
        return False
    decoded = base64.urlsafe_b64decode(body)
    return binascii.crc32(decoded[:-4]).to_bytes(4, "big") == decoded[-4:]


class Tokens:
    """The tokens of one database.  All methods may be called from any thread."""

    def __init__(self, database: Database, clock: Clock = SYSTEM_CLOCK) -> None:
        self._database = database
        self._clock = clock
        self._lock = threading.Lock()
        self._by_digest: dict[bytes, Principal] = {}
        self._check_at = 0
        self._seen_version: int | None = None
        self._seen_revision = -1
        self._refresh(force=True)

    def verify(self, plain: str | bytes) -> Principal | None:
        """Whose token this is; `None` for one that is unknown, revoked, expired or no token at all."""
        try:
            token = plain.encode("ascii") if isinstance(plain, str) else plain
        except UnicodeEncodeError:
            return None
        if len(token) != TOKEN_LENGTH:
            return None
        if self._clock.monotonic_ns() >= self._check_at:
            self._refresh()
        digest = hashlib.sha256(token).digest()
        principal = self._by_digest.get(digest)
        if principal is None:
            principal = self._second_look(token, digest)
        if principal is None or (
            principal.expires_ms is not None and self._clock.wall_ns() >= principal.expires_ms * 1_000_000
        ):
            return None
        return principal

    def any(self) -> bool:
        """Whether there are tokens, also expired ones: without any, nobody needs one.  Cheap; up to a second old."""
        if self._clock.monotonic_ns() >= self._check_at:
            self._refresh()
        return bool(self._by_digest)

    def list(self) -> tuple[Principal, ...]:
        """All tokens' public sides, oldest first."""
        self._refresh()
        return tuple(sorted(self._by_digest.values(), key=lambda principal: (principal.created_ms, principal.id)))

    async def create(
        self,
        name: str,
        *,
        scopes: Iterable[str],
        functions: str = "*",
        expires_ms: int | None = None,
        token_id: str | None = None,
    ) -> str:
        """A new token, which is told this once; raises `BadRequest`."""
        principal = self._draft(name, scopes, functions, expires_ms, token_id)
        plain, row = self._mint(principal)
        await self._database.write(lambda connection: _insert(connection, row), committed=self._mark_stale)
        return plain

    def create_sync(
        self,
        name: str,
        *,
        scopes: Iterable[str],
        functions: str = "*",
        expires_ms: int | None = None,
        token_id: str | None = None,
    ) -> str:
        """As `create`, for a thread that may block."""
        principal = self._draft(name, scopes, functions, expires_ms, token_id)
        plain, row = self._mint(principal)
        self._database.write_sync(lambda connection: _insert(connection, row), committed=self._mark_stale)
        return plain

    async def revoke(self, id: str) -> bool:
        """Makes a token worthless from now on; whether there was one with this public id."""
        existed: bool = await self._database.write(lambda c: _delete(c, id), committed=self._mark_stale)
        return existed

    def revoke_sync(self, id: str) -> bool:
        """As `revoke`, for a thread that may block."""
        existed: bool = self._database.write_sync(lambda c: _delete(c, id), committed=self._mark_stale)
        return existed

    def _draft(
        self, name: str, scopes: Iterable[str], functions: str, expires_ms: int | None, token_id: str | None
    ) -> Principal:
        """The checked public side of a new token."""
        wanted = frozenset(scopes)
        if not wanted or wanted - SCOPES:
            raise BadRequest(f"a token needs one or more of the scopes {', '.join(sorted(SCOPES))}")
        now_ms = self._clock.wall_ns() // 1_000_000
        if expires_ms is not None and not now_ms < expires_ms < 1 << 53:
            raise BadRequest("a token cannot be expired already")
        return Principal(
            id=self._clock.random_bytes(8).hex(),
            name=_text("name", name, MAX_NAME_BYTES),
            scopes=wanted,
            functions=FunctionPattern.parse(functions),
            expires_ms=expires_ms,
            token_id=None if token_id is None else _text("token id", token_id, MAX_TOKEN_ID_BYTES),
            created_ms=now_ms,
        )

    def _mint(self, principal: Principal) -> tuple[str, tuple[str | bytes | int | None, ...]]:
        """The secret, and the row that stands for it."""
        secret = self._clock.random_bytes(32)
        body = secret + binascii.crc32(secret).to_bytes(4, "big")
        plain = PREFIX + base64.urlsafe_b64encode(body).decode("ascii")
        return plain, (
            hashlib.sha256(plain.encode("ascii")).digest(),
            principal.id,
            principal.name,
            json.dumps(sorted(principal.scopes)),
            str(principal.functions),
            principal.created_ms,
            principal.expires_ms,
            principal.token_id,
        )

    def _second_look(self, token: bytes, digest: bytes) -> Principal | None:
        """Another process may just have made this token; one that it cannot have made is not worth the look."""
        if not is_well_formed(token):
            return None
        self._refresh()
        return self._by_digest.get(digest)

    def _mark_stale(self, _: Any) -> None:
        """After a commit of ours: the next look refreshes."""
        self._check_at = 0

    def _refresh(self, *, force: bool = False) -> None:
        """Reads the tokens again if any were changed: one cheap question where nothing was committed, else two."""
        with self._lock:
            self._check_at = self._clock.monotonic_ns() + NOTICE_NS  # before reading: a commit from now on sets it back
            version = self._database.data_version()
            if version == self._seen_version and not force:
                return
            revision, found = self._database.read_sync(self._read)
            if found is not None:
                self._by_digest = {row[0]: _principal(row) for row in found}
            self._seen_version, self._seen_revision = version, revision

    def _read(self, connection: Connection) -> tuple[int, Rows | None]:
        """The tokens' revision, and all rows if it is another one than was seen last."""
        ((revision,),) = rows(connection, "SELECT revision FROM token_changes")
        if revision == self._seen_revision:
            return revision, None
        return revision, rows(connection, f"SELECT {COLUMNS} FROM tokens")


def _insert(connection: Connection, row: tuple[str | bytes | int | None, ...]) -> None:
    connection.execute(f"INSERT INTO tokens ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
    connection.execute("UPDATE token_changes SET revision = revision + 1")


def _delete(connection: Connection, id: str) -> bool:
    if not id.isascii():
        return False
    connection.execute("DELETE FROM tokens WHERE id = ?", (id,))
    existed: bool = connection.changes() > 0
    connection.execute("UPDATE token_changes SET revision = revision + 1")
    return existed


def _principal(row: tuple[Any, ...]) -> Principal:
    _, id_, name, scopes, functions, created_ms, expires_ms, token_id = row
    return Principal(
        id=id_,
        name=name,
        scopes=frozenset(json.loads(scopes)),
        functions=FunctionPattern.parse(functions),
        expires_ms=expires_ms,
        token_id=token_id,
        created_ms=created_ms,
    )


def _text(what: str, text: str, limit: int) -> str:
    """`text` if people and logs can take it."""
    if not text.isprintable() or not 0 < len(text.encode("utf-8", "surrogatepass")) <= limit:
        raise BadRequest(f"the {what} of a token is 1 to {limit} bytes of printable text")
    return text
