"""`Program`: what a command is given of its call (arguments, environment, standard input), and what it answers.

The names in the environment are those of OpenFaaS's classic watchdog.  Promises: one variable of each name, without NUL;
a client can choose none but `Http_…`, and none of those that the host sets itself; output is bounded as it is written.
Must not know how a guest asks for any of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from guesthouse.errors import BadAnswer
from guesthouse.interfaces.bytes import Buffer

if TYPE_CHECKING:
    from guesthouse.interfaces.invocation import WebRequest
    from guesthouse.registry.deployment import Manifest

NAME: Final = re.compile(r"[A-Za-z0-9-]{1,256}")
"""Headers that become variables: with an underscore nobody could tell them from those with a hyphen."""
PLAIN: Final = "!$'()*,;:@/?"
"""What stands for itself in a query besides letters, digits and `-._~`."""


class Output:
    """Standard output, kept until the command has ended: only its exit status says whether it is the answer."""

    __slots__ = ("_left", "_most", "_pieces")

    def __init__(self, most: int) -> None:
        self._most = self._left = most
        self._pieces: list[bytes] = []

    def write(self, data: bytes) -> None:
        """Takes bytes in; raises `BadAnswer` over the bound."""
        self._left -= len(data)
        if self._left < 0:
            raise BadAnswer(f"the standard output is over {self._most} bytes")
        self._pieces.append(data)

    def take(self) -> bytes:
        """Everything that was written."""
        pieces, self._pieces = self._pieces, []
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)


class Program:
    """One run of a command."""

    __slots__ = ("arguments", "environment", "output", "stdin")

    def __init__(self, name: str, manifest: Manifest, request: WebRequest, body: bytes) -> None:
        self.arguments = manifest.arguments or (name,)
        """The name it is called by, and what follows."""
        self.environment = request_environment(request, len(body))
        """What it is told of the request, as pairs without a name twice."""
        self.stdin = Buffer(body)
        self.output = Output(manifest.limits.response_bytes)


def request_environment(request: WebRequest, size: int) -> dict[str, str]:
    """The variables of a request with a body of `size` bytes; of headers that are repeated, the first."""
    found: dict[str, str] = {}
    for name, value in request.headers:
        if NAME.fullmatch(name):
            found.setdefault(f"Http_{_canonical(name)}", clean(value))
    found.pop("Http_Query", None)
    found.pop("Http_Transfer_Encoding", None)  # the body was received, and its length is known
    found["Http_Method"] = clean(request.method)
    found["Http_Path"] = clean(f"/{request.path or ''}")
    found["Http_ContentLength"] = found["Http_Content_Length"] = str(size)
    if request.query:
        found["Http_Query"] = "&".join(_queries(request))
    return found


def clean(text: str) -> str:
    """Text that can be a variable's: without NUL, which would end it, and without lone surrogates."""
    return text if text.isascii() and text.isprintable() else text.replace("\0", "").encode(errors="replace").decode()


def _queries(request: WebRequest) -> Iterator[str]:
    for name, value in request.query:
        yield f"{quote(name, safe=PLAIN, errors='replace')}={quote(value, safe=PLAIN + '=', errors='replace')}"


def _canonical(name: str) -> str:
    """`x-call-id` as `X_Call_Id`."""
    return "_".join(part.capitalize() for part in name.split("-"))
