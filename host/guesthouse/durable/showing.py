"""Plain values as text for people: short, in one line, and the same for the same value."""

from __future__ import annotations

from typing import Any, Final

HIDDEN: Final = "secret"
"""What stands for a secret is an object with this name alone."""

MOST_SHOWN: Final = 400
"""Characters of what is shown of one value: some lines."""
MOST_TEXT: Final = 64
MOST_ITEMS: Final = 8


def show(plain: Any) -> str:
    """A plain value as a short text for people: the same for the same value, without anything that could break a line."""
    text = _show(plain, 0)
    return text if len(text) <= MOST_SHOWN else text[: MOST_SHOWN - 1] + "…"


def _show(plain: Any, depth: int) -> str:
    if plain is None:
        return "none"
    if isinstance(plain, bool):
        return "true" if plain else "false"
    if isinstance(plain, str):
        return _quoted(plain, len(plain), "characters")
    if isinstance(plain, bytes | bytearray | memoryview):
        return _show_bytes(bytes(plain))
    if isinstance(plain, dict):
        if list(plain) == [HIDDEN]:
            return "a secret"
        items = [
            f"{_show(name, depth + 1)}: {_show(value, depth + 1)}" for name, value in list(plain.items())[:MOST_ITEMS]
        ]
        return f"{{{_listed(items, len(plain))}}}"
    if isinstance(plain, list | tuple):
        if depth > 4:
            return "…"
        return f"[{_listed([_show(each, depth + 1) for each in plain[:MOST_ITEMS]], len(plain))}]"
    return repr(plain)[:MOST_TEXT] if isinstance(plain, int | float) else type(plain).__name__


def _listed(items: list[str], count: int) -> str:
    more = [f"… {count - len(items)} more"] if count > len(items) else []
    return ", ".join(items + more)


def _show_bytes(data: bytes) -> str:
    try:
        return _quoted(data[:MOST_TEXT].decode(), len(data), "bytes")
    except UnicodeDecodeError:
        return f"{len(data)} bytes {data[:8].hex()}{'…' if len(data) > 8 else ''}"


def _quoted(text: str, size: int, what: str) -> str:
    cut = text[:MOST_TEXT]
    quoted = "".join(map(_escaped, cut))
    return f'"{quoted}"' if len(cut) >= size else f'"{quoted}…" ({size} {what})'


def _escaped(each: str) -> str:
    if each in '"\\':
        return f"\\{each}"
    return each if each.isprintable() else ascii(each)[1:-1]
