"""The one table of routes: what there is, the scope that a token needs for it, what `/openapi.json` says of it (C8)."""

from __future__ import annotations

from typing import Final, NamedTuple

PUBLIC: Final = "public"
"""No token needed: liveness and readiness, which say nothing about anybody's functions."""
CAPABILITY: Final = "capability"
"""No token needed but the id in the path, which nobody can guess."""
OPEN: Final = frozenset({PUBLIC, CAPABILITY})
"""Scopes that no token has to have."""
ANY_TOKEN: Final = "any"
"""Any valid token; what the answer holds is cut to what the token allows."""
OWNED: Final = "owned"
"""Any valid token; what it may do is decided by whose function the invocation is of, and what it may not see is 404."""
INVOKE: Final = "invoke"
MANAGE: Final = "manage"
READ: Final = "read"
METRICS: Final = "metrics"
CACHE_READ: Final = "cache-read"
CACHE_WRITE: Final = "cache-write"
TOPIC_PUBLISH: Final = "topic-publish"
TOPIC_SUBSCRIBE: Final = "topic-subscribe"


class Route(NamedTuple):
    """One thing that clients can ask for."""

    method: str
    """`*`: any."""
    path: str
    scope: str
    name: str
    summary: str
    status: int
    """Of the answer when all goes well; 0: the function decides."""
    answer: str
    """Media type of that answer."""
    elsewhere: bool = False
    """True: what it is about stands not in the path but in the query or the body; the endpoint asks for the scope."""


def _system(method: str, path: str, scope: str, name: str, summary: str, status: int, answer: str = "") -> Route:
    """A route of OpenFaaS's provider interface."""
    return Route(method, f"/system{path}", scope, f"system-{name}", summary, status, answer, scope != ANY_TOKEN)


_NAMESPACE = "/functions/manage/{namespace}"
_FUNCTION = _NAMESPACE + "/{name}"
_TOPIC = "/topics/{namespace}/{topic}"
_CACHE = "/cache/{namespace}"
_INVOCATION = "/invocations/{id}"
_JSON = "application/json"
_NDJSON = "application/x-ndjson"
_EXPORT = "application/vnd.guesthouse.invocation"
_SPACE = "/namespace/{namespace}"
_AWAKEABLE = "/restate/awakeables/{awakeable}"

ROUTES: Final = (
    Route("*", "/functions/{namespace}/{name}", INVOKE, "invoke", "Call a function", 0, "*/*"),
    Route("*", "/functions/{namespace}/{name}/{rest}", INVOKE, "invoke-rest", "Call a function with a path", 0, "*/*"),
    Route("*", "/function/{function}", INVOKE, "function", "Call a function, as OpenFaaS does", 0, "*/*"),
    Route("*", "/function/{function}/{rest}", INVOKE, "function-rest", "Call it with a path", 0, "*/*"),
    Route("POST", "/async-function/{function}", INVOKE, "async-function", "Queue a call", 202, ""),
    Route("POST", "/async-function/{function}/{rest}", INVOKE, "async-function-rest", "Queue it with a path", 202, ""),
    Route("DELETE", "/async-function/{function}", OWNED, "async-function-cancel", "Cancel a call", 202, ""),
    Route("GET", "/invocations", ANY_TOKEN, "invocations", "List invocations", 200, _JSON),
    Route("GET", _INVOCATION, OWNED, "invocation", "Show an invocation", 200, _JSON),
    Route("GET", _INVOCATION + "/output", OWNED, "invocation-output", "What an invocation answered", 0, "*/*"),
    Route("GET", _INVOCATION + "/attach", OWNED, "invocation-attach", "Wait for what an invocation answers", 0, "*/*"),
    Route("GET", _INVOCATION + "/request", OWNED, "invocation-request", "What a queued call asks for", 200, _JSON),
    Route("DELETE", _INVOCATION + "/request", OWNED, "invocation-drop", "Forget a dead letter", 204, ""),
    Route("GET", _INVOCATION + "/journal", OWNED, "invocation-journal", "What an invocation has done", 200, _JSON),
    Route("GET", _INVOCATION + "/export", OWNED, "invocation-export", "All of an invocation in a file", 200, _EXPORT),
    Route("POST", _INVOCATION + "/cancel", OWNED, "invocation-cancel", "Cancel an invocation", 202, ""),
    Route("POST", _INVOCATION + "/redrive", OWNED, "invocation-redrive", "Queue a dead letter once more", 202, ""),
    Route("POST", _INVOCATION + "/kill", OWNED, "invocation-kill", "End an invocation and its calls at once", 202, ""),
    Route(
        "POST", _AWAKEABLE + "/resolve", CAPABILITY, "awakeable-resolve", "Complete what a function waits for", 202, ""
    ),
    Route("POST", _AWAKEABLE + "/reject", CAPABILITY, "awakeable-reject", "Complete it as failed", 202, ""),
    Route("GET", "/queues", ANY_TOKEN, "queues", "Queues of functions", 200, _JSON),
    Route("PUT", _FUNCTION, MANAGE, "deploy", "Deploy a new version of a function", 204, ""),
    Route("GET", _FUNCTION, READ, "show", "Show a function", 200, _JSON),
    Route("DELETE", _FUNCTION, MANAGE, "delete", "Delete a function", 204, ""),
    Route("GET", _FUNCTION + "/versions", READ, "versions", "List the versions of a function", 200, _JSON),
    Route("GET", _FUNCTION + "/versions/{version}", READ, "version", "Show a version of a function", 200, _JSON),
    Route("PUT", _FUNCTION + "/current", MANAGE, "current", "Choose the version that runs", 200, _JSON),
    Route("GET", _FUNCTION + "/logs", READ, "logs", "Read or follow a function's log", 200, _NDJSON),
    Route("GET", "/functions/manage", ANY_TOKEN, "list", "List functions", 200, _JSON),
    Route("GET", _NAMESPACE, ANY_TOKEN, "list-namespace", "List functions of one namespace", 200, _JSON),
    Route("GET", _CACHE, CACHE_READ, "cache-get", "Read a value of the cache", 200, "application/octet-stream"),
    Route("PUT", _CACHE, CACHE_WRITE, "cache-put", "Store a value in the cache", 204, ""),
    Route("DELETE", _CACHE, CACHE_WRITE, "cache-delete", "Forget a value or list of the cache", 204, ""),
    Route("POST", _TOPIC, TOPIC_PUBLISH, "topic-publish", "Publish a message to a topic", 204, ""),
    Route("GET", _TOPIC, TOPIC_SUBSCRIBE, "topic-watch", "Watch a topic", 200, "text/event-stream"),
    _system("GET", "/functions", ANY_TOKEN, "functions", "List functions, as OpenFaaS does", 200, _JSON),
    _system("POST", "/functions", MANAGE, "deploy", "Deploy a function from an image", 202),
    _system("PUT", "/functions", MANAGE, "update", "Deploy a new version from an image", 200),
    _system("DELETE", "/functions", MANAGE, "remove", "Remove a function", 202),
    _system("GET", "/function/{name}", READ, "function", "Show a function, as OpenFaaS does", 200, _JSON),
    _system("POST", "/scale-function/{name}", MANAGE, "scale", "Wish for replicas, which changes nothing", 202),
    _system("GET", "/info", ANY_TOKEN, "info", "What this host is", 200, _JSON),
    _system("GET", "/namespaces", ANY_TOKEN, "namespaces", "List namespaces", 200, _JSON),
    _system("POST", "/namespace/", MANAGE, "namespace-create", "Make a namespace", 201),
    _system("GET", _SPACE, READ, "namespace", "Show a namespace", 200, _JSON),
    _system("PUT", _SPACE, MANAGE, "namespace-update", "Describe a namespace", 202),
    _system("DELETE", _SPACE, MANAGE, "namespace-delete", "Forget an empty namespace", 202),
    _system("GET", "/secrets", MANAGE, "secrets", "List the names of secrets", 200, _JSON),
    _system("POST", "/secrets", MANAGE, "secret-create", "Make a secret", 202),
    _system("PUT", "/secrets", MANAGE, "secret-update", "Set a secret", 202),
    _system("DELETE", "/secrets", MANAGE, "secret-delete", "Forget a secret", 202),
    _system("GET", "/logs", READ, "logs", "Read or follow a function's log, as OpenFaaS does", 200, _NDJSON),
    Route("GET", "/healthz", PUBLIC, "healthz", "Whether the process works", 200, "text/plain"),
    Route("GET", "/readyz", PUBLIC, "readyz", "Whether it takes requests", 200, "text/plain"),
    Route("GET", "/metrics", METRICS, "metrics", "Metrics for Prometheus", 200, "text/plain"),
    Route("GET", "/openapi.json", ANY_TOKEN, "openapi", "This interface, as OpenAPI 3.1", 200, _JSON),
)
