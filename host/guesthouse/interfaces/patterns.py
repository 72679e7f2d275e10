"""Grants that name things: `INTERFACE:NAME`, or `INTERFACE:PREFIX*` for every name that begins so."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from guesthouse.errors import BadRequest

if TYPE_CHECKING:
    from guesthouse.interfaces.invocation import Invocation


def check_pattern(interface: str, pattern: str, how: str = "NAME, or PREFIX*") -> None:
    """Raises `BadRequest`, which says `how` to write one, for what is neither a name nor the beginning of names."""
    if not pattern or "*" in pattern[:-1]:
        raise BadRequest(f"the grant {interface}:{pattern[:64]}: write {interface}:{how}, a * only at its end")


def is_granted(invocation: Invocation, interface: str, name: str) -> bool:
    """Whether the invocation's function may use `interface` for what is called `name`."""
    manifest = invocation.deployment.manifest
    return manifest.grants is None or covers(manifest.granted(interface), name)


def covers(patterns: Iterable[str] | None, name: str) -> bool:
    """Whether one of the patterns covers a name; `None` covers every one."""
    return patterns is None or any(
        name.startswith(pattern[:-1]) if pattern.endswith("*") else name == pattern for pattern in patterns
    )
