"""`/openapi.json` against a real host: whatever it allows is answered as it says, and nothing makes the server fail."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from schemathesis import checks
from schemathesis.specs.openapi import checks as openapi_checks

from gateway_server import Server
from guesthouse import __version__
from guesthouse.async_host import AsyncHost
from guesthouse.cli.serve import services_of
from guesthouse.gateway import Gateway
from guesthouse.gateway.openapi import describe
from support import guest, wat

ECHO = guest("echo")
KEPT = "kept"
"""A function that no request deletes; `echo` is the description's example."""
KNOWN: list[str] = []
"""Invocations of it: one that has ended, one that waits until somebody cancels it."""
CHECKS = [
    checks.not_a_server_error,
    openapi_checks.status_code_conformance,
    openapi_checks.content_type_conformance,
    openapi_checks.response_headers_conformance,
    openapi_checks.response_schema_conformance,
]
UPLOADS = st.one_of(
    st.just(ECHO),
    st.just(wat("(module)")),
    st.binary(max_size=64).map(b"\0asm\1\0\0\0".__add__),
    st.integers(0, len(ECHO)).map(lambda size: ECHO[:size]),
    st.binary(max_size=64),
)
schemathesis.openapi.media_type("application/wasm", UPLOADS)


class Hosted(Server):
    """A gateway in this process, with a real host behind it."""

    async def _serve(self) -> None:
        async with AsyncHost() as host:
            for name in ("echo", KEPT):
                await host.deploy(name, ECHO)
            ended = await host.enqueue(KEPT, b"x")
            await host.attach(ended)
            KNOWN[:] = [ended, await host.enqueue(KEPT, b"x", delay_ms=86_400_000)]
            self.gateway = Gateway(services_of(host, self.config))
            await self.gateway.serve(signals=False, started=self._on_started)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Hosted() as server:
        yield server


schema = schemathesis.openapi.from_dict(describe("1")).exclude(operation_id="topic-watch")
"""Without what has no end."""


def test_the_server_hands_out_its_description(server: Server) -> None:
    """The one that the next test holds it to."""
    assert server.request("GET", "/openapi.json").json == json.loads(json.dumps(describe(__version__)))


def likely(case: schemathesis.Case) -> None:
    """Makes every second request one that finds something: random names, options and modules hardly ever would.

    What has no end, a followed log, is left out.
    """
    query, path = case.query or {}, case.path_parameters or {}
    query.pop("follow", None)
    if len(str(path)) % 2 and case.method != "DELETE":
        path |= {"namespace": "default", "name": KEPT} if "name" in path else {}
        path |= {"id": KNOWN[len(str(path)) // 2 % 2]} if "id" in path else {}
        path |= {"function": KEPT} if "function" in path else {}
    if case.path.endswith("/attach"):
        case.query = {"timeout": "0"}
    if isinstance(case.body, dict):
        query.clear()
        if len(str(case.body)) % 2:
            case.body |= {"inline_wasm": base64.b64encode(ECHO).decode(), "limits": {}, "environment": {}}
    elif case.media_type == "application/wasm" and len(str(query)) % 2:
        query.clear()


@schema.parametrize()
@settings(max_examples=20, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
def test_every_answer_is_as_described(case: schemathesis.Case, server: Server) -> None:
    """Status, media type, headers and body, whatever is asked."""
    likely(case)
    case.call_and_validate(base_url=f"http://127.0.0.1:{server.port}", checks=CHECKS, timeout=10)
