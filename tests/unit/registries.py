"""What the tests of the registry share."""

from __future__ import annotations

from guesthouse.errors import NotFound
from guesthouse.registry.registry import Registry

WASM = b"\0asm\1\0\0\0"


def is_kept(registry: Registry, digest: str) -> bool:
    try:
        registry.wasm(digest)
    except NotFound:
        return False
    return True
