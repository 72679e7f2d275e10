"""What clients send: bodies bounded while they arrive; JSON bounded in depth and parts before it is parsed (C11)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, TypeVar

import orjson
from pydantic import BaseModel, ConfigDict, Field, StrictInt, StrictStr, ValidationError

from guesthouse.errors import BadRequest, BodyTooLarge
from guesthouse.registry.policy import read_durable

if TYPE_CHECKING:
    from starlette.requests import Request

MOST_DEPTH: Final = 64
MOST_PARTS: Final = 65_536
"""Brackets and quotes of one document, so that looking at each of them stays short."""
_PARTS: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{}]', re.DOTALL)

Document = TypeVar("Document", bound=BaseModel)


class Literal(BaseModel):
    """A variable's value as the published RPC interface writes it."""

    model_config = ConfigDict(extra="forbid")
    literal: StrictStr


class ManifestDocument(BaseModel):
    """What a person says about a function when deploying it, in a request or in a file."""

    model_config = ConfigDict(extra="forbid")
    description: StrictStr = ""
    environment: dict[StrictStr, StrictStr | Literal] = Field(default_factory=dict)
    limits: dict[StrictStr, StrictInt] = Field(default_factory=dict)
    grants: list[StrictStr] | None = None
    topics: list[StrictStr] = Field(default_factory=list)
    retry: dict[StrictStr, Any] = Field(default_factory=dict)
    flow: dict[StrictStr, Any] = Field(default_factory=dict)
    schedule: list[dict[StrictStr, Any]] = Field(default_factory=list)
    labels: dict[StrictStr, StrictStr] = Field(default_factory=dict)
    annotations: dict[StrictStr, StrictStr] = Field(default_factory=dict)
    arguments: list[StrictStr] = Field(default_factory=list)
    secrets: list[StrictStr] = Field(default_factory=list)
    durable: Any = False  # what it may be is said better by who reads it than by a union

    def options(self) -> dict[str, Any]:
        """The same as arguments of a deploy; raises `BadRequest` where `durable` is nothing that it can be."""
        read_durable(self.durable)
        environment = {
            name: value.literal if isinstance(value, Literal) else value for name, value in self.environment.items()
        }
        return {
            "description": self.description,
            "environment": environment,
            "limits": self.limits,
            "grants": self.grants,
            "topics": self.topics,
            "retry": self.retry,
            "flow": self.flow,
            "schedule": self.schedule,
            "labels": self.labels,
            "annotations": self.annotations,
            "arguments": self.arguments,
            "secrets": self.secrets,
            "durable": self.durable,
        }


async def receive(request: Request, most: int, what: str = "a body here") -> bytes:
    """The body; raises `BodyTooLarge` over `most` bytes, before any is received where the client has said how many."""
    too_large = BodyTooLarge(f"{what} has at most {max(most, 0)} bytes")
    if int(request.headers.get("content-length", "0")) > most:
        raise too_large
    pieces, size = [], 0
    async for piece in request.stream():
        size += len(piece)
        if size > most:
            raise too_large
        pieces.append(piece)
    return b"".join(pieces)


def parse(body: bytes, shape: type[Document]) -> Document:
    """`body` as an object of `shape`; raises `BadRequest`.

    Line breaks inside of strings are forgiven, for shell tools put them into base64.
    """
    check_depth(body)
    return validate(_loads(body), shape)


def validate(document: Any, shape: type[Document]) -> Document:
    """What was parsed, as an object of `shape`; raises `BadRequest` that names the place."""
    try:
        return shape.model_validate(document)
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
