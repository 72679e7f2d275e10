"""Interface ids (`wasi:io/poll@0.2.12`) and which versions of one may stand for another.

Knows nothing of WIT text or types.
"""

from __future__ import annotations

import re
from functools import lru_cache

_ID = re.compile(r"(?P<path>[^@]+)@(?P<major>[0-9]{1,9})\.(?P<minor>[0-9]{1,9})\.(?P<patch>[0-9]{1,9})(?:\+.*)?")


@lru_cache(maxsize=1024)
def track(interface_id: str) -> tuple[str, tuple[int, int, int]] | None:
    """What all compatible versions of an id share, and this one's place among them; `None` where only the same id fits.

    Versions are compatible with the same major number, below 1.0.0 with the same minor one, below 0.1.0 and as
    pre-releases with none.
    """
    match = _ID.fullmatch(interface_id)
    if match is None:
        return None
    path, major, minor, patch = match["path"], int(match["major"]), int(match["minor"]), int(match["patch"])
    if major == 0 and minor == 0:
        return None
    return f"{path}@{major}" if major else f"{path}@0.{minor}", (major, minor, patch)


def compatible(one: str, other: str) -> bool:
    """Whether the two ids name the same interface in versions that may stand for each other."""
    if one == other:
        return True
    first, second = track(one), track(other)
    return first is not None and second is not None and first[0] == second[0]
