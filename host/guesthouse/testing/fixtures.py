"""`Recording`: exchanges with the real world, written down once and answered from the file from then on.

Promises: nothing that identifies the caller is written (no request headers, no cookies); an answer is given for the request that
it was for, in the order in which they came; the file is text that people can read, change and keep beside their tests.
"""

from __future__ import annotations

import base64
import json
from collections import defaultdict, deque
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from guesthouse.net.client import OutboundClient, OutboundConfig, OutboundRequest
from guesthouse.net.policy import OutboundPolicy
from guesthouse.testing.loop import working_outside
from guesthouse.testing.messages import Answer, Request

NOT_SENT: Final = frozenset({"host", "content-length", "connection", "accept-encoding", "transfer-encoding"})
"""Headers that the client makes itself."""
NOT_KEPT: Final = frozenset({"set-cookie", "content-length", "connection", "transfer-encoding", "date"})
"""Headers that say something of the caller, or of the connection."""
Key = tuple[str, str, str]


class Recording:
    """A file of exchanges.  Without the file, or with `again`, requests are really sent, and the file is written."""

    def __init__(self, path: Path, *, again: bool = False, ca_file: str | None = None) -> None:
        self.path = path
        self.records = again or not path.exists()
        """Whether requests are really sent."""
        self._ca_file = ca_file
        self._exchanges: list[dict[str, Any]] = []
        self._answers: dict[Key, deque[Answer]] = defaultdict(deque)
        if not self.records:
            for exchange in json.loads(path.read_text(encoding="utf-8"))["exchanges"]:
                self._answers[_key_of(exchange)].append(_read(exchange["answer"]))

    async def __call__(self, request: Request) -> Answer:
        """The answer to a request, as it was once given; the last one again where there are no more."""
        if self.records:
            return await self._send(request)
        found = self._answers.get((request.method, request.url, _digest(request.body)))
        if not found:
            raise LookupError(f"{self.path.name} has no {request.method} {request.url} with this body: record it again")
        return found.popleft() if len(found) > 1 else found[0]

    async def _send(self, request: Request) -> Answer:
        headers = [(name, value) for name, value in request.headers if name not in NOT_SENT]
        client = OutboundClient(OutboundConfig(ANYWHERE, self._ca_file))
        try:
            with working_outside():
                got = await client.fetch(OutboundRequest(request.method, request.url, headers, request.body))
        finally:
            await client.close()
        answer = Answer(
            got.status, tuple((name, value) for name, value in got.headers if name not in NOT_KEPT), got.body
        )
        self._exchanges.append(
            {"method": request.method, "url": request.url, "body": _digest(request.body), "answer": _written(answer)}
        )
        self.path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps({"exchanges": self._exchanges}, indent=1, ensure_ascii=False)
        self.path.write_text(text + "\n", encoding="utf-8")
        return answer


ANYWHERE: Final = OutboundPolicy.of(
    schemes=("http", "https"),
    allow_addresses=("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "::1/128"),
)
"""Where recordings are made of: what the guest may ask for was judged before."""


def _key_of(exchange: Mapping[str, Any]) -> Key:
    return exchange["method"], exchange["url"], exchange["body"]


def _digest(body: bytes) -> str:
    """What tells a request's body from others."""
    return sha256(body).hexdigest() if body else ""


def _written(answer: Answer) -> dict[str, Any]:
    found: dict[str, Any] = {"status": answer.status, "headers": [list(pair) for pair in answer.headers]}
    try:
        found["text"] = answer.body.decode()
    except UnicodeDecodeError:
        found["base64"] = base64.b64encode(answer.body).decode()
    return found


def _read(written: Mapping[str, Any]) -> Answer:
    body = base64.b64decode(written["base64"]) if "base64" in written else written["text"].encode()
    return Answer(written["status"], tuple((name, value) for name, value in written["headers"]), body)
