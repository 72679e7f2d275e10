"""`ArtefactStore`: compiled modules on disk, given back only if this host wrote just these bytes for just this use.

Loading a compiled module runs it as native code, so a file is worth nothing by itself: in front of it stands an
HMAC-SHA256 under the host's own key over the engine's fingerprint, the digest of the WebAssembly, and the bytes (F13).
Whatever does not fit is removed, to be compiled again.  Knows nothing of engines.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import re
from collections.abc import Callable, Collection
from pathlib import Path

from guesthouse.clock import SYSTEM_CLOCK
from guesthouse.errors import NotFound
from guesthouse.registry.blobs import DIGEST
from guesthouse.storage.errors import StorageError
from guesthouse.storage.files import TEMPORARY, Untrustworthy, private_directory, read_private, write_durably

KEY_BYTES = 32
MAC_BYTES = 32
MAX_ARTEFACT = 1 << 29
"""Bytes of the largest file that is read: some hundred times what a large function compiles to."""
DOMAIN = b"guesthouse artefact 1"
"""Goes into every MAC: the key never says the same for two purposes."""
NAME = re.compile(r"[0-9a-f]{64}\.[0-9a-f]{16}\Z")

Rejected = Callable[[str, str], None]
"""Told the name of a file and why it is not believed: worth an alarm."""


def ignore(name: str, reason: str) -> None:
    """The `Rejected` of those who only count."""


def load_host_key(directory: Path, name: str = "host.key", *, rejected: Rejected = ignore) -> bytes:
    """A secret of this data directory, in the file of this name, made at the first use.

    A key that somebody else may have read or planted is replaced; for compiled code that costs no more than compiling again.
    """
    path = directory / name
    try:
        key = read_private(path, limit=KEY_BYTES)[1]
        if len(key) == KEY_BYTES:
            return key
        rejected(path.name, f"it has {len(key)} bytes")
    except FileNotFoundError:
        pass
    except Untrustworthy as error:
        rejected(path.name, str(error))
    key = SYSTEM_CLOCK.random_bytes(KEY_BYTES)
    write_durably(path, [key])
    return key


class ArtefactStore:
    """Compiled modules by digest and engine, as files of `directory`, or in memory where that is `None`.

    Safe to use from several threads.  `rejections` counts what was found and not believed.
    """

    def __init__(self, directory: Path | None, key: bytes = b"", *, rejected: Rejected = ignore) -> None:
        if directory is not None and len(key) < KEY_BYTES:
            raise ValueError(f"the key has {len(key)} bytes, it needs {KEY_BYTES}")
        self.rejections = 0
        self._rejected = rejected
        self._key = key
        self._directory = None if directory is None else private_directory(directory)
        self._memory: dict[tuple[str, bytes], bytes] = {}

    def load(self, digest: str, fingerprint: bytes) -> bytes | None:
        """What was saved for this module and this engine, if it is still exactly that; reads and hashes a file."""
        if self._directory is None:
            return self._memory.get((digest, fingerprint))
        path = self._path(self._directory, digest, fingerprint)
        try:
            mac, artefact = read_private(path, MAC_BYTES, limit=MAX_ARTEFACT)
        except FileNotFoundError:
            return None
        except (Untrustworthy, OSError) as error:
            self._reject(path, str(error))
            return None
        if not hmac.compare_digest(mac, self._mac(digest, fingerprint, artefact)):
            self._reject(path, "it is not what this host wrote")
            return None
        return artefact

    def save(self, digest: str, fingerprint: bytes, artefact: bytes) -> bool:
        """Keeps an artefact for the next start; `False` where the disk refuses, which costs only time."""
        if self._directory is None:
            self._memory[(digest, fingerprint)] = artefact
            return True
        path = self._path(self._directory, digest, fingerprint)
        try:
            write_durably(path, [self._mac(digest, fingerprint, artefact), artefact])
        except (OSError, StorageError):
            return False
        return True

    def remove(self, digest: str, fingerprint: bytes) -> None:
        """Forgets what was compiled from a module that no version runs any more."""
        if self._directory is None:
            self._memory.pop((digest, fingerprint), None)
        else:
            _remove(self._path(self._directory, digest, fingerprint))

    def sweep(self, keep: Collection[str], fingerprint: bytes) -> int:
        """Removes what is for other modules than `keep`, for other engines, or unfinished; how many files that were."""
        if self._directory is None:
            return 0
        suffix = _suffix(fingerprint)
        swept = 0
        for path in list(self._directory.iterdir()):
            digest, _, engine = path.name.partition(".")
            stale = NAME.match(path.name) and (engine != suffix or digest not in keep)
            if stale or TEMPORARY.match(path.name):
                _remove(path)
                swept += 1
        return swept

    def _path(self, directory: Path, digest: str, fingerprint: bytes) -> Path:
        if not DIGEST.match(digest):
            raise NotFound("no artefact has this digest")
        return directory / f"{digest}.{_suffix(fingerprint)}"

    def _mac(self, digest: str, fingerprint: bytes, artefact: bytes) -> bytes:
        """Every part has its length in front of it: no two triples are the same bytes."""
        code = hmac.new(self._key, digestmod=hashlib.sha256)
        for part in (DOMAIN, fingerprint, digest.encode(), artefact):
            code.update(len(part).to_bytes(8, "little"))
            code.update(part)
        return code.digest()

    def _reject(self, path: Path, reason: str) -> None:
        self.rejections += 1
        _remove(path)
        self._rejected(path.name, reason)


def _suffix(fingerprint: bytes) -> str:
    """Keeps the artefacts of two engines apart, so that an upgrade is not taken for an attack."""
    return hashlib.sha256(fingerprint).hexdigest()[:16]


def _remove(path: Path) -> None:
    """Removes a file or a link, never what it points to; a planted directory stays and is never read."""
    with contextlib.suppress(OSError):
        os.unlink(path)
