"""What goes over a simulated network: requests as they arrived, and what they are answered with."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

Headers: TypeAlias = "Mapping[str, str] | Sequence[tuple[str, str]]"
Body: TypeAlias = "bytes | str | Mapping[str, Any] | Sequence[Any] | None"
"""Bytes as they are, text as UTF-8, anything else as JSON."""
SAFE = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
"""Methods of requests that change nothing (RFC 9110, 9.2.1)."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request that arrived."""

    method: str
    url: str
    headers: tuple[tuple[str, str], ...] = ()
    """In their order, names in lower case."""
    body: bytes = b""

    def value(self, name: str) -> str | None:
        """The first value of a header; `None`: there is none."""
        return next((value for key, value in self.headers if key == name.lower()), None)

    @property
    def idempotency_key(self) -> str | None:
        """Its Idempotency-Key: requests with the same one are one request, which was sent again."""
        return self.value("idempotency-key")

    @property
    def text(self) -> str:
        """Its body as text."""
        return self.body.decode("utf-8", "replace")

    def json(self) -> Any:
        """Its body, which is JSON; raises `ValueError` where it is not."""
        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a request is answered with."""

    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    after: float = 0.0
    """Seconds, of simulated time, until it begins."""
    fault: Literal["", "reset", "hang", "cut"] = ""
    """`reset`: the connection ends instead; `hang`: nothing comes; `cut`: it ends in the middle of the body."""


def answer(status: int = 200, body: Body = None, headers: Headers = (), *, after: float = 0.0) -> Answer:
    """An answer; JSON and text have their content type."""
    given = list(headers.items() if isinstance(headers, Mapping) else headers)
    kind = ""
    if body is None:
        data = b""
    elif isinstance(body, bytes):
        data = body
    elif isinstance(body, str):
        data, kind = body.encode(), "text/plain; charset=utf-8"
    else:
        data, kind = json.dumps(body).encode(), "application/json"
    if kind and not any(name.lower() == "content-type" for name, _ in given):
        given.append(("content-type", kind))
    return Answer(status, tuple(given), data, after)
