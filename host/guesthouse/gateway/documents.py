"""JSON from clients: bounded in depth and parts before it is parsed, and then of exactly the shape asked for (C11)."""

from __future__ import annotations

import re
from typing import Any, Final, TypeVar

import orjson
from pydantic import BaseModel, ValidationError

from guesthouse.errors import BadRequest

MOST_DEPTH: Final = 64
MOST_PARTS: Final = 65_536
"""Brackets and quotes of one document, so that looking at each of them stays short."""
_PARTS: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{}]', re.DOTALL)

Document = TypeVar("Document", bound=BaseModel)


def parse(body: bytes, shape: type[Document]) -> Document:
    """`body` as an object of `shape`; raises `BadRequest`.

    Line breaks inside of strings are forgiven, for shell tools put them into base64.
    """
    check_depth(body)
    try:
        return shape.model_validate(_loads(body))
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False, include_context=False)[0]
        place = ".".join(str(part) for part in found["loc"]) or "the document"
        raise BadRequest(f"{place}: {found['msg']}") from None


def check_depth(body: bytes) -> None:
    """Raises `BadRequest` for a document nested too deeply, without parsing it."""
    opening = body.count(b"[") + body.count(b"{")
    if opening <= MOST_DEPTH:
        return
    if opening + body.count(b'"') > MOST_PARTS:
        if body.lstrip()[:1] in (b"[", b"{"):
            raise BadRequest("the JSON document has too many parts")
        raise BadRequest("this is not JSON")
    depth = 0
    for part in _PARTS.finditer(body):
        first = body[part.start()]
        if first in b"[{":
            depth += 1
            if depth > MOST_DEPTH:
                raise BadRequest(f"the JSON document is nested deeper than {MOST_DEPTH}")
        elif first in b"]}":
            depth -= 1


def _loads(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        try:
            return orjson.loads(body.translate(None, b"\r\n"))
        except orjson.JSONDecodeError as error:
            raise BadRequest(f"this is not JSON: {error.msg} at byte {error.pos}") from None
