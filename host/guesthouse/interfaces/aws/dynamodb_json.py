"""DynamoDB's typed JSON, between what guests write and what the service wants: the same but for base64.

Promises: nothing is changed but the padding of `B` and `BS`, numbers stay the texts that they are; what is no JSON
object is refused.  Must not know requests.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

import orjson

from guesthouse.limits import KiB, MiB
from guesthouse.net.aws_failures import MALFORMED, AwsFailure

MOST_BYTES = 2 * MiB
"""Of one item's JSON: the service takes items of 400 KiB, which base64, names and types make longer."""

LARGE = 32 * KiB
"""JSON over this many bytes can take milliseconds to go through."""

Item = dict[str, Any]
Result = TypeVar("Result")


def parse(text: bytes | str, what: str) -> Item:
    """An item from the guest's JSON, with its binaries padded; raises `AwsFailure`."""
    if len(text) > MOST_BYTES:
        raise AwsFailure(MALFORMED, f"{what} is over {MOST_BYTES} bytes")
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise AwsFailure(MALFORMED, f"{what} is not JSON: {error}") from None
    if not isinstance(found, dict):
        raise AwsFailure(MALFORMED, f"{what} is not a JSON object")
    change_binaries(found, padded)
    return found


async def without_holding_up(work: Callable[..., Result], text: bytes | str, *args: Any) -> Result:
    """`work(text, …)`, in a thread where the text is so large that everybody else would wait for it."""
    return work(text, *args) if len(text) <= LARGE else await asyncio.to_thread(work, text, *args)


def dump(value: Any) -> bytes:
    """The JSON of a request or an item; raises `AwsFailure`."""
    try:
        return orjson.dumps(value)
    except TypeError as error:
        raise AwsFailure(MALFORMED, f"this cannot be written as JSON: {error}") from None


def padded(text: str) -> str:
    """Base64 as the service wants it, whatever padding it had."""
    bare = text.rstrip("=")
    return bare + "=" * (-len(bare) % 4)


def unpadded(text: str) -> str:
    """Base64 as the guests' crates read it: they refuse padding."""
    return text.rstrip("=")


def change_binaries(item: Item, change: Callable[[str], str]) -> None:
    """Rewrites every `B` and `BS` of an item in place, however deep it lies."""
    values = list(item.values())
    while values:
        value = values.pop()
        if not isinstance(value, dict):
            continue
        for kind, content in value.items():
            if kind == "B" and isinstance(content, str):
                value[kind] = change(content)
            elif kind == "BS" and isinstance(content, list):
                value[kind] = [change(one) if isinstance(one, str) else one for one in content]
            elif kind == "L" and isinstance(content, list):
                values.extend(content)
            elif kind == "M" and isinstance(content, dict):
                values.extend(content.values())
