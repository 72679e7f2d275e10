"""`AwakeableIds`: names for promises that anybody may complete who knows them.

An id is `sign_1` and base64url of: a MAC of 128 bits, the number of the promise, and the invocation that it is of.

Promises: nobody guesses an id, or makes one of another (C6); an id that was not made here is refused before anything is
looked up, in a time that says nothing; no other text is the same id.  Nothing is stored for one.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from pathlib import Path
from typing import Final, NamedTuple

from guesthouse.clock import Clock
from guesthouse.interfaces.durable import NoSuchAwakeable
from guesthouse.interfaces.durable.values import AWAKEABLE
from guesthouse.registry.artefacts import KEY_BYTES, Rejected, ignore, load_host_key

KEY_FILE: Final = "awakeables.key"
"""Of the data directory: whoever loses it loses the awakeables that are not completed yet."""
MAC_BYTES: Final = 16
NUMBER_BYTES: Final = 7
_FIXED_BYTES: Final = MAC_BYTES + NUMBER_BYTES
MOST_LENGTH: Final = 512
"""Characters of an id: more than any invocation's own id could need."""
DOMAIN: Final = b"guesthouse awakeable 1"
"""Goes into every MAC: the key never says the same for two purposes."""
_TEXT: Final = b"\0"
_PACKED: Final = b"\1"
"""How the invocation's own id is written: as it is, or as the bytes of which it is the hexadecimal form."""
_HEX: Final = re.compile(r"(?:[0-9a-f]{2})+\Z")


class Awakeable(NamedTuple):
    """What an id stands for."""

    owner: str
    """Id of the invocation."""
    number: int
    """Of its promise."""


class AwakeableIds:
    """Makes and reads ids under one secret."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def make(self, owner: str, number: int) -> str:
        """The id of a promise."""
        plain = _PACKED + bytes.fromhex(owner) if _HEX.match(owner) else _TEXT + owner.encode()
        body = number.to_bytes(NUMBER_BYTES, "big") + plain
        mac = hmac.digest(self._key, DOMAIN + body, hashlib.sha256)[:MAC_BYTES]
        return AWAKEABLE + base64.urlsafe_b64encode(mac + body).rstrip(b"=").decode()

    def read(self, id: str) -> Awakeable:
        """The promise of an id.  Raises `NoSuchAwakeable` for one that was not made with this secret."""
        found = _parse(id)
        if found is None or not hmac.compare_digest(self.make(*found).encode(), id.encode()):
            raise no_such_awakeable()
        return found


def awakeable_ids(directory: Path | None, clock: Clock, *, rejected: Rejected = ignore) -> AwakeableIds:
    """Those of a data directory; without one they are good for as long as the object lives."""
    if directory is None:
        return AwakeableIds(clock.random_bytes(KEY_BYTES))
    return AwakeableIds(load_host_key(directory, KEY_FILE, rejected=rejected))


def no_such_awakeable() -> NoSuchAwakeable:
    """What everybody is told, whyever there is none."""
    return NoSuchAwakeable("there is no such awakeable, or what waited for it has ended")


def _parse(id: str) -> Awakeable | None:
    """What an id says of itself, whoever made it."""
    if len(id) > MOST_LENGTH or not id.isascii() or not id.startswith(AWAKEABLE):
        return None
    text = id[len(AWAKEABLE) :]
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True)
        number, plain = data[MAC_BYTES:_FIXED_BYTES], data[_FIXED_BYTES:]
        owner = plain[1:].hex() if plain[:1] == _PACKED else plain[1:].decode()
    except (binascii.Error, ValueError):
        return None
    return Awakeable(owner, int.from_bytes(number, "big"))
