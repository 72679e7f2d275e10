"""`web-function-support` of both generations, asked by guests in every form: twice each, and where nobody asked anything."""

from __future__ import annotations

import json
from typing import Any

import pytest

from guesthouse import AsyncHost, Host
from hosted import Hosted
from probes import on_loop, settled
from support import FORMS, host_with

NAMES = ("web-support", "old-web-support", "web-support-spawn", "old-web-support-spawn")
BOTH = ("web-support", "old-web-support")


@pytest.fixture(scope="module", params=(*FORMS, "unknown-unknown"))
def host(request):
    with host_with(*NAMES, form=request.param) as host:
        yield host


def asked(host: Host, name: str, **request: Any) -> tuple[str, list[dict[str, Any]]]:
    """The invocation's id, and what the guest was answered the first time and the second."""
    outcome = host.invoke(name, **request)
    assert outcome.status == 200
    return outcome.invocation_id, json.loads(outcome.body)


@pytest.mark.parametrize("name", BOTH)
def test_everything_of_a_request_is_told_and_what_is_taken_is_told_once(host, name):
    """Order and repetitions stay; method and id are told again, the rest is empty the second time."""
    headers = [("authorization", "secret"), ("x-b", "2"), ("x-a", "1"), ("x-a", "é")]
    query = [("q", "1"), ("q", "2"), ("é", ""), ("a b", "c&d")]
    own_id, (first, second) = asked(host, name, method="PATCH", path="a/b c", query=query, headers=headers)
    assert first == {
        "headers": [list(pair) for pair in headers],
        "query": [list(pair) for pair in query],
        "token": None,
        "id": own_id,
        "method": "PATCH",
        "path": "a/b c",
    }
    assert second == {"headers": [], "query": [], "token": None, "id": own_id, "method": "PATCH", "path": None}


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("path", [None, ""])
def test_an_empty_request_is_told_in_empty_forms(host, name, path):
    """An empty rest of the path counts as none."""
    own_id, (first, _) = asked(host, name, method="GET", path=path)
    assert first == {"headers": [], "query": [], "token": None, "id": own_id, "method": "GET", "path": None}


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_every_method_reaches_the_same_export(host, name, method):
    """In capitals."""
    assert asked(host, name, method=method)[1][0]["method"] == method


def test_a_real_request_is_decoded_and_free_of_the_hosts_token():
    """Names in lower case, values as they came; the token is told by its id alone, and only once."""
    with Hosted(*BOTH) as server:

        async def create(host: AsyncHost) -> str:
            return await host.tokens.create("me", scopes=["invoke"], token_id="ada")

        token = server.run(create)
        server.on_loop(server.gateway._app.gate.refresh)
        for name in BOTH:
            path = f"/functions/default/{name}/a%20b/%C3%A9?x=%C3%A9+1&x=2&y&token={token}"
            answer = server.request("DELETE", path, headers={"X-Upper": "V"})
            first, second = answer.json
            assert (first["path"], first["method"], first["token"]) == ("a b/é", "DELETE", "ada")
            assert first["query"] == [["x", "é 1"], ["x", "2"], ["y", ""]]
            assert ["x-upper", "V"] in first["headers"]
            assert first["id"] == answer.headers["x-invocation-id"]
            assert (second["token"], second["path"], second["query"]) == (None, None, [])
            shown = server.request("GET", f"/functions/default/{name}", headers={"authorization": token}).json[0]
            assert (shown["token"], shown["path"]) == ("ada", None)
            assert "authorization" not in dict(shown["headers"])


@pytest.mark.parametrize("name", ["web-support-spawn", "old-web-support-spawn"])
def test_a_spawned_run_is_answered_empty_forms_and_never_traps(host, name):
    """Both times; its id is its own. Streaming has nobody to stream to."""

    async def listen() -> Any:
        return host.inner.topics.subscribe("default", "web-support")

    host.inner.metrics._counters["spawns"].clear()
    subscription = on_loop(host, listen())
    own_id = host.spawn(name, b"payload")
    assert settled(host) == {"ok": 1}
    first, second, *streamed = json.loads(subscription.take(1)[0].value)
    assert first == second == {"headers": [], "query": [], "token": None, "id": own_id, "method": "", "path": None}
    if streamed:
        nobody = "this invocation has nobody to stream a response to"
        assert streamed == [[nobody, nobody, "send-response-start must be called before send-data"]]
    subscription.close()
