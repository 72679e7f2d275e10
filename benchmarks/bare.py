"""A bare echo on uvicorn's raw ASGI interface, the yardstick for our server: `python -m benchmarks.bare PORT`.

`python -m benchmarks.bare PORT accept` answers 202 with nothing instead: a queue that forgets everything.
"""

from __future__ import annotations

import sys
from typing import Any

import uvicorn


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Answers a request with its body."""
    body = await _body(receive)
    headers = [(b"content-type", b"application/octet-stream"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def accept(scope: Any, receive: Any, send: Any) -> None:
    """Reads a request and answers that it was taken."""
    await _body(receive)
    await send({"type": "http.response.start", "status": 202 if scope["method"] == "POST" else 200, "headers": _EMPTY})
    await send({"type": "http.response.body", "body": b""})


_EMPTY = [(b"content-length", b"0")]


async def _body(receive: Any) -> bytes:
    pieces, more = [], True
    while more:
        message = await receive()
        pieces.append(message.get("body", b""))
        more = message.get("more_body", False)
    return b"".join(pieces)


if __name__ == "__main__":
    uvicorn.run(
        accept if sys.argv[2:] == ["accept"] else echo,
        host="127.0.0.1",
        port=int(sys.argv[1]),
        loop="uvloop",
        http="httptools",
        lifespan="off",
        access_log=False,
        log_level="warning",
    )
