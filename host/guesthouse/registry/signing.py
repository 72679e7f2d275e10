"""`SigningKeys`: the secrets that this host signs with: the newest signs, the ones before it verify for a while.

Promises: the keys are in one private file of the data directory that is whole at any time, whoever dies while writing
it; a rotation by another process is noticed within a second.  Without a directory the keys live as long as the object.
Must not know what is signed.
"""

from __future__ import annotations

import fcntl
import os
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import orjson

from guesthouse.clock import SYSTEM_CLOCK, Clock
from guesthouse.errors import BadRequest
from guesthouse.storage.errors import StorageError
from guesthouse.storage.files import Steps, Untrustworthy, no_steps, read_private, write_durably

FILE: Final = "token-keys.json"
KEY_BYTES: Final = 32
"""As long as what SHA-256 answers: RFC 2104 wants no less."""
ID_BYTES: Final = 8
NOTICE_NS: Final = 1_000_000_000
"""How long a key that another process took away may still be believed."""
MOST_KEYS: Final = 32
"""Keys in the file: far more rotations than anybody needs while one token lives."""
MOST_FILE_BYTES: Final = 64 * 1024
_TEMPORARY: Final = re.compile(rf"\.{re.escape(FILE)}\.[0-9a-f]{{16}}\.tmp\Z")

Rejected = Callable[[str, str], None]
"""Told the name of a file and why it is not believed: worth an alarm."""


class SigningKey(NamedTuple):
    """One secret and its public name."""

    id: bytes
    secret: bytes
    until_ms: int | None = None
    """Verifies until this time (milliseconds since 1970); `None`: the one that signs."""


def no_alarm(name: str, reason: str) -> None:
    """The `Rejected` of those who do not tell."""


class SigningKeys:
    """The keys of one data directory, newest first; all methods may be called from any thread.

    `keep_ms` says how long a key verifies once a newer one signs: as long as the longest signature is worth something.
    `owner=False` refuses to replace a key file that cannot be believed: only the process that owns the directory does.
    """

    def __init__(
        self,
        directory: Path | None,
        clock: Clock = SYSTEM_CLOCK,
        *,
        keep_ms: int,
        owner: bool = True,
        rejected: Rejected = no_alarm,
        steps: Steps = no_steps,
    ) -> None:
        self._path = None if directory is None else directory / FILE
        self._clock = clock
        self._keep_ms = keep_ms
        self._owner = owner
        self._rejected = rejected
        self._steps = steps
        self._lock = threading.Lock()
        self._keys: tuple[SigningKey, ...] = ()
        self._by_id: dict[bytes, SigningKey] = {}
        self._seen: object = None
        self._check_at = 0
        self.revision = 0
        """Rises with each change of the keys."""
        with self._lock:
            self._load()

    def current(self) -> SigningKey:
        """The key to sign with."""
        self.refresh()
        return self._keys[0]

    def find(self, id: bytes) -> SigningKey | None:
        """The key of this name, while it is good for verifying."""
        self.refresh()
        key = self._by_id.get(id)
        if key is None or (key.until_ms is not None and self._now_ms() >= key.until_ms):
            return None
        return key

    def refresh(self) -> None:
        """Notices what another process did; looks at most once a second."""
        if self._path is None or self._clock.monotonic_ns() < self._check_at:
            return
        with self._lock:
            self._check_at = self._clock.monotonic_ns() + NOTICE_NS
            if _state_of(self._path) != self._seen:
                self._load()

    def rotate(self, *, revoke: bool = False) -> SigningKey:
        """A new key that signs from now on; with `revoke`, all before it are forgotten at once."""
        with self._lock, self._alone():
            self._read()
            now = self._now_ms()
            kept = [] if revoke else [_retired(key, now + self._keep_ms) for key in self._keys]
            kept = [key for key in kept if key.until_ms is not None and key.until_ms > now]
            if len(kept) >= MOST_KEYS:
                raise BadRequest(f"there are {MOST_KEYS} keys already: wait, or revoke what they signed")
            self._store([self._make(), *kept])
            return self._keys[0]

    def _load(self) -> None:
        """Reads the keys, or makes the first; waits for another process only where there are none that can be read."""
        if self._read():
            return
        with self._alone():
            if not self._read():
                self._store([self._make()])

    def _read(self) -> bool:
        """Takes the keys in the file; false where there is none, or one that the owner does not believe."""
        if self._path is None:
            return False
        state = _state_of(self._path)  # before reading: what changes meanwhile is read the next time
        try:
            self._take(_parse(read_private(self._path, limit=MOST_FILE_BYTES)[1]))
        except FileNotFoundError:
            return False
        except Untrustworthy as error:
            if not self._owner:
                raise StorageError(f"{self._path} cannot be used: {error}") from error
            self._rejected(FILE, str(error))
            return False
        self._seen = state  # only now: what could not be read is tried again
        return True

    def _store(self, keys: list[SigningKey]) -> None:
        if self._path is not None:
            write_durably(self._path, [_written(keys)], steps=self._steps)
            self._seen = _state_of(self._path)
        self._take(keys)

    def _take(self, keys: list[SigningKey]) -> None:
        if tuple(keys) != self._keys:
            self._keys = tuple(keys)
            self._by_id = {key.id: key for key in keys}
            self.revision += 1

    def _make(self) -> SigningKey:
        return SigningKey(self._clock.random_bytes(ID_BYTES), self._clock.random_bytes(KEY_BYTES))

    def _now_ms(self) -> int:
        return self._clock.wall_ns() // 1_000_000

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keeps other processes from changing the file; the kernel ends that with whoever dies."""
        if self._path is None:
            yield
            return
        descriptor = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            _sweep(self._path.parent)
            yield
        finally:
            os.close(descriptor)


def _sweep(directory: Path) -> None:
    """Removes what a process left behind that died while it wrote: it holds a secret."""
    for name in os.listdir(directory):
        if _TEMPORARY.match(name):
            (directory / name).unlink(missing_ok=True)


def _state_of(path: Path) -> object:
    """Differs whenever the file is another one."""
    try:
        status = os.stat(path, follow_symlinks=False)
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_ctime_ns, status.st_size


def _retired(key: SigningKey, until_ms: int) -> SigningKey:
    return key._replace(until_ms=until_ms) if key.until_ms is None else key


def _written(keys: list[SigningKey]) -> bytes:
    entries = [{"id": key.id.hex(), "secret": key.secret.hex(), "until_ms": key.until_ms} for key in keys]
    return orjson.dumps({"keys": entries}, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def _parse(text: bytes) -> list[SigningKey]:
    """The keys that `_written` wrote; raises `Untrustworthy` for anything else."""
    try:
        keys = [_key(entry) for entry in orjson.loads(text)["keys"]]
    except (ValueError, TypeError, KeyError, AttributeError):
        raise Untrustworthy("it is not a file of keys") from None
    if not keys or keys[0].until_ms is not None or any(key.until_ms is None for key in keys[1:]):
        raise Untrustworthy("it has no key to sign with, or several")
    return keys


def _key(entry: dict[str, Any]) -> SigningKey:
    key = SigningKey(bytes.fromhex(entry["id"]), bytes.fromhex(entry["secret"]), entry["until_ms"])
    if len(key.id) != ID_BYTES or len(key.secret) != KEY_BYTES or not isinstance(key.until_ms, int | None):
        raise ValueError("a key of another form")
    return key
