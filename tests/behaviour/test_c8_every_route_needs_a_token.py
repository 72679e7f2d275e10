"""C8: once there is a token, nothing but liveness is answered without one; while there is none, only this machine is."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection

import pytest

from gateway_server import TIMEOUT, Server, serving
from guesthouse.errors import BadRequest
from guesthouse.gateway.routes import ANY_TOKEN, CAPABILITY, INVOKE, OPEN, OWNED, PUBLIC, ROUTES, Route
from guesthouse.registry import principal
from guesthouse.registry.permissions import EVERYTHING, Permission, Permissions
from guesthouse.registry.principal import ITEM_SCOPES

SCOPES = sorted(principal.SCOPES)
EVERY_RIGHT = Permissions(
    tuple(Permission(role, None, EVERYTHING) for role in ("FunctionInvoke", "CacheReadWrite", "TopicReadWrite"))
)

BODIES = {
    "deploy": b"\0asm\1\0\0\0",
    "current": b'{"version": "latest"}',
    "system-deploy": b'{"service": "%(name)b", "namespace": "%(namespace)b", "image": "sha256:%(digest)b"}',
    "system-update": b'{"service": "%(name)b", "namespace": "%(namespace)b", "image": "sha256:%(digest)b"}',
    "system-remove": b'{"functionName": "%(name)b", "namespace": "%(namespace)b"}',
    "system-scale": b'{"replicas": 1, "namespace": "%(namespace)b"}',
    "system-namespace-create": b'{"name": "fresh"}',
    "system-namespace-update": b'{"name": "%(namespace)b"}',
    **dict.fromkeys(
        ("system-secret-create", "system-secret-update", "system-secret-delete"),
        b'{"name": "s", "value": "v", "namespace": "%(namespace)b"}',
    ),
}
"""What routes take, by their names."""
QUERIES = {
    "cache-get": "?key=k",
    "cache-put": "?key=k&ttl_seconds=60",
    "cache-delete": "?key=k",
    "system-function": "?namespace={namespace}",
    "system-secrets": "?namespace={namespace}",
    "system-logs": "?name={name}&namespace={namespace}",
}
"""What routes have to be told, by their names."""
OWNERS = {
    "invocation": ("succeeded", {"read"}),
    "invocation-output": ("succeeded", {"read", "invoke"}),
    "invocation-attach": ("succeeded", {"read", "invoke"}),
    "invocation-request": ("dead", {"read", "invoke"}),
    "invocation-drop": ("dead", {"manage"}),
    "invocation-redrive": ("dead", {"manage"}),
    "invocation-journal": ("recorded", {"read"}),
    "invocation-export": ("recorded", {"manage"}),
    "invocation-cancel": ("queued", {"invoke", "manage"}),
    "invocation-kill": ("queued", {"invoke", "manage"}),
    "async-function-cancel": ("queued", {"invoke", "manage"}),
}
"""Routes about one invocation: the state in which they find something to do, and the scopes that each are enough."""


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    server = Server()
    for scope in SCOPES:
        server.tokens.add(f"only-{scope}", scope)
    server.tokens.add("all", *SCOPES)
    server.tokens.add("narrow", *SCOPES, functions="default/echo")
    server.tokens.add("namespace", *SCOPES, functions="default/*")
    with server:
        yield server


def prepare(server: Server, route: str, namespace: str) -> None:
    """Makes what a route has to find, and takes away what it must not find."""

    def ask(method: str, path: str, body: bytes = b"") -> None:
        server.request(method, path, body, {"authorization": "all"})

    server.registry.add("echo")
    if route == "cache-get":
        ask("PUT", f"/cache/{namespace}?key=k&ttl_seconds=60", b"x")
    elif route == "system-deploy":
        server.registry.add("other")  # has the same bytes
        server.registry.deployments.pop((namespace, "echo"), None)
    elif route.startswith("system-secret-"):
        secret = b'{"name": "s", "value": "v", "namespace": "%b"}' % namespace.encode()
        ask("DELETE" if route == "system-secret-create" else "POST", "/system/secrets", secret)
    elif route == "system-namespace-create":
        ask("DELETE", "/system/namespace/fresh")
    elif route == "system-namespace-delete":
        ask("POST", "/system/namespace/", b'{"name": "fresh"}')


def call(server: Server, route: Route, token: str | None, name: str = "echo", namespace: str = "default") -> int:
    """The status of a well-formed request to a route."""
    if route.name == "system-namespace-delete":
        namespace = "fresh"
    named = {"namespace": namespace, "name": name, "rest": "a/b", "version": 1, "digest": "ab" * 32}
    named["function"] = f"{name}.{namespace}"
    if route.scope == OWNED:
        named["id"] = named["function"] = server.invocation(OWNERS[route.name][0], namespace=namespace, name=name)
    path = (route.path + QUERIES.get(route.name, "")).format_map(defaultdict(lambda: "thing", named))
    body = BODIES.get(route.name)
    if body is not None and route.elsewhere:
        body %= {key.encode(): str(value).encode() for key, value in named.items()}
    headers = {"content-type": "application/wasm"} if route.method == "PUT" else {}
    if token is not None:
        headers["authorization"] = token
    method = "POST" if route.method == "*" else route.method
    prepare(server, route.name, namespace)
    with closing(HTTPConnection("127.0.0.1", server.port, timeout=TIMEOUT)) as connection:
        connection.request(method, path, body, headers)
        return connection.getresponse().status  # the body of some has no end


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
def test_every_route_without_a_token_is_401(server: Server, route: Route) -> None:
    """All but those in the table that are public; and those whose path is all that it takes, which nobody can guess."""
    assert call(server, route, None) == {PUBLIC: 200, CAPABILITY: 404}.get(route.scope, 401)


def test_only_liveness_and_readiness_are_public() -> None:
    """They say nothing about anybody's functions."""
    assert {route.name for route in ROUTES if route.scope == PUBLIC} == {"healthz", "readyz"}


def test_only_awakeables_are_completed_by_their_ids_alone() -> None:
    """What somebody outside is given has to be enough."""
    assert {route.name for route in ROUTES if route.scope == CAPABILITY} == {"awakeable-resolve", "awakeable-reject"}


@pytest.mark.parametrize("route", [route for route in ROUTES if route.scope not in OPEN], ids=lambda route: route.name)
def test_every_route_with_a_wrong_token_is_401(server: Server, route: Route) -> None:
    """A token that nobody made, an empty one, and one of another scheme."""
    for token in (
        "nobody",
        "",
        "Bearer",
        "Bearer nobody",
        "Basic YWxsOm5vYm9keQ==",
        "Basic YWxs",
        "Basic ###",
        "Basic",
    ):
        assert call(server, route, token) == 401


@pytest.mark.parametrize("route", [route for route in ROUTES if route.scope not in OPEN], ids=lambda route: route.name)
@pytest.mark.parametrize("scope", SCOPES)
def test_a_token_without_the_scope_is_403(server: Server, route: Route, scope: str) -> None:
    """Each scope opens its own routes."""
    enough = OWNERS[route.name][1] if route.scope == OWNED else {route.scope}
    status = call(server, route, f"only-{scope}")
    if enough & {scope, ANY_TOKEN}:
        assert status < 300
    else:
        assert status == (404 if route.scope == OWNED and scope != "read" else 403)


@pytest.mark.parametrize(
    "route",
    [
        route
        for route in ROUTES
        if "{name}" in route.path or "{function}" in route.path or route.scope in ("metrics", OWNED)
    ],
    ids=lambda route: route.name,
)
def test_a_token_for_one_function_is_403_for_others(server: Server, route: Route) -> None:
    """Functions that it is not for, in its namespace and in another one, and the host as a whole.

    Their invocations do not even exist for it.
    """
    server.registry.add("other")
    server.registry.add("echo", namespace="elsewhere")
    if route.name != "metrics":
        assert call(server, route, "narrow") < 300
    refused = 404 if route.scope == OWNED else 403
    assert call(server, route, "narrow", name="other") == refused
    assert call(server, route, "narrow", namespace="elsewhere") == refused


@pytest.mark.parametrize(
    "route", [route for route in ROUTES if route.scope in ITEM_SCOPES], ids=lambda route: route.name
)
def test_items_and_topics_need_a_token_for_their_whole_namespace(server: Server, route: Route) -> None:
    """A token for one function is 403 there, one for another namespace as well."""
    assert call(server, route, "namespace") < 300
    assert call(server, route, "namespace", namespace="elsewhere") == 403
    assert call(server, route, "narrow") == 403


@pytest.mark.parametrize("route", [route for route in ROUTES if route.scope not in OPEN], ids=lambda route: route.name)
def test_a_disposable_token_with_every_right_is_403_for_management(server: Server, route: Route) -> None:
    """It opens functions, items and topics; what any token may see holds nothing for it; the rest never."""
    token = server.disposable.generate(60, EVERY_RIGHT).token
    scopes = OWNERS[route.name][1] if route.scope == OWNED else {route.scope}
    status = call(server, route, token)
    if scopes & {INVOKE, ANY_TOKEN, *ITEM_SCOPES}:
        assert status < 300
    else:
        assert status == (404 if route.scope == OWNED else 403)


@pytest.mark.parametrize("route", [route for route in ROUTES if route.scope not in OPEN], ids=lambda route: route.name)
def test_a_disposable_token_without_rights_opens_nothing(server: Server, route: Route) -> None:
    """One that only says who its bearer is; and one with rights elsewhere."""
    for permissions in (Permissions(()), Permissions(EVERY_RIGHT.entries).within("elsewhere")):
        token = server.disposable.generate(60, permissions).token
        assert call(server, route, token) == {ANY_TOKEN: 200, OWNED: 404}.get(route.scope, 403)


def test_a_list_holds_what_the_token_may_read(server: Server) -> None:
    """Others' functions are not even named."""
    server.registry.add("other")
    for path in ("/functions/manage", "/functions/manage/default"):
        for token, expected in (("narrow", {"echo"}), ("only-invoke", set())):
            listed = server.request("GET", path, headers={"authorization": token}).json["functions"]
            assert {function["name"] for function in listed} == expected


def test_an_unknown_route_is_404_and_a_wrong_method_405(server: Server) -> None:
    """As problems, whoever asks."""
    assert server.request("GET", "/nothing").problem == "not-found"
    answer = server.request("POST", "/healthz")
    assert (answer.status, answer.problem, "GET" in answer.headers["allow"]) == (405, "method-not-allowed", True)


def test_an_address_that_others_can_reach_is_refused_without_a_token() -> None:
    """No configuration makes an open host."""
    for host in ("0.0.0.0", "::"):
        with pytest.raises(BadRequest, match="token"), Server({"listen": {"host": host, "port": 0}}):
            pass


def test_an_address_that_others_can_reach_is_served_with_a_token() -> None:
    """With a token, everybody has to have one."""
    server = Server({"listen": {"host": "0.0.0.0", "port": 0}})
    server.tokens.add("all", *SCOPES)
    with server:
        assert server.request("POST", "/functions/default/echo", b"x").status == 401
        assert server.request("POST", "/functions/default/echo", b"x", {"authorization": "all"}).status == 200


def test_the_first_token_closes_a_running_host_and_the_last_does_not_open_it() -> None:
    """It is noticed within a moment, whoever made it."""
    with serving({"http": {"linger_seconds": 0.1}}) as server:
        assert server.request("POST", "/functions/default/echo").status == 200
        server.tokens.add("all", *SCOPES)
        while server.request("POST", "/functions/default/echo").status != 401:
            pass
        server.tokens.principals.clear()
        server.on_loop(server.gateway._app.gate.refresh)
        assert server.request("POST", "/functions/default/echo").status == 401


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("localhost", True),
        ("LOCALHOST:8080", True),
        ("127.0.0.1:9", True),
        ("127.1.2.3", True),
        ("[::1]:8080", True),
        ("app.localhost", True),
        ("evil.example", False),
        ("evil.example:8080", False),
        ("127.0.0.1.evil.example", False),
        ("localhost.evil.example", False),
        ("127.0.0.1x", False),
        ("192.168.1.1", False),
    ],
)
def test_an_open_host_answers_to_names_of_this_machine_only(host: str, allowed: bool) -> None:
    """A web page whose name was pointed at 127.0.0.1 gets nothing."""
    with serving() as server:
        for method, path in (("POST", "/functions/default/echo"), ("GET", "/functions/manage")):
            assert server.request(method, path, headers={"host": host}).status == (200 if allowed else 403)
