"""Exchanges with OpenFaaS's tools, as `docs/openfaas.md` has them, and a client that sends such requests byte by byte."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPResponse
from typing import Any

from gateway_server import Answer, Headers
from served import Served
from support import ROOT

DOCUMENT = ROOT / "docs" / "openfaas.md"
BLOCK = re.compile(r"```text\n(>.*?)```", re.DOTALL)
VARIES = "…"


@dataclass
class Exchange:
    """A request, and what its answer has to be; `…` stands for anything."""

    title: str
    request: list[str]
    """Request line and headers."""
    body: str
    status: str
    headers: list[tuple[str, str]]
    answer: str

    def bytes(self, address: str, password: str) -> bytes:
        """The request as it goes over the wire."""
        shown = base64.b64encode(f"admin:{password}".encode()).decode()
        lines = [
            line.replace("127.0.0.1:8080", address).replace(f"Basic {VARIES}", f"Basic {shown}")
            for line in self.request
        ]
        return "\r\n".join([*lines, "", self.body]).encode()

    def check(self, answer: Answer) -> None:
        """Compares the answer with what it has to be."""
        assert f"HTTP/1.1 {answer.status}" == self.status[: len("HTTP/1.1 200")], (self.title, answer)
        for name, value in self.headers:
            found = answer.headers[name]
            assert found == value if value != VARIES else found, (self.title, name)
        if self.answer.startswith(("{", "[")):
            alike(json.loads(self.answer), answer.json, self.title)
        elif self.answer:
            assert answer.body.decode().rstrip("\n") == self.answer, self.title


def alike(expected: Any, found: Any, place: str) -> None:
    """Compares JSON, where `…` stands for any value that says something."""
    if expected == VARIES:
        assert found or found == 0, place
    elif isinstance(expected, dict):
        assert isinstance(found, dict), place
        assert expected.keys() == found.keys(), place
        for name, value in expected.items():
            alike(value, found[name], f"{place}.{name}")
    elif isinstance(expected, list):
        assert len(expected) == len(found), (place, found)
        for one, other in zip(expected, found, strict=True):
            alike(one, other, place)
    else:
        assert expected == found, place


def exchanges() -> Iterator[Exchange]:
    """All exchanges of the document, in order."""
    text = DOCUMENT.read_text()
    for block in BLOCK.finditer(text):
        title = text[: block.start()].rpartition("### ")[2].partition("\n")[0]
        lines = block[1].splitlines()
        request = [line[2:] for line in lines if line.startswith(">")]
        answer = [line[2:] for line in lines if line.startswith("<")]
        end, over = request.index(""), answer.index("")
        headers = [(name, value) for name, _, value in (line.partition(": ") for line in answer[1:over])]
        body, wanted = "\n".join(request[end + 1 :]), "\n".join(answer[over + 1 :])
        yield Exchange(title, request[:end], body, answer[0], headers, wanted)


def send(server: Served, data: bytes, method: str = "") -> Answer:
    """One request, as it is, on a connection of its own."""
    with server.connect() as sock:
        sock.sendall(data)
        response = HTTPResponse(sock, method=method or data.split(b" ", 1)[0].decode())
        response.begin()
        return Answer(response.status, Headers(response), response.read())
