"""The one table of routes: what there is, the scope that a token needs for it, what `/openapi.json` says of it (C8)."""

from __future__ import annotations

from typing import Final, NamedTuple

PUBLIC: Final = "public"
"""No token needed: liveness and readiness, which say nothing about anybody's functions."""
ANY_TOKEN: Final = "any"
"""Any valid token; what the answer holds is cut to what the token allows."""
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


_NAMESPACE = "/functions/manage/{namespace}"
_FUNCTION = _NAMESPACE + "/{name}"
_TOPIC = "/topics/{namespace}/{topic}"
_CACHE = "/cache/{namespace}"
_JSON = "application/json"

ROUTES: Final = (
    Route("*", "/functions/{namespace}/{name}", INVOKE, "invoke", "Call a function", 0, "*/*"),
    Route("*", "/functions/{namespace}/{name}/{rest}", INVOKE, "invoke-rest", "Call a function with a path", 0, "*/*"),
    Route("PUT", _FUNCTION, MANAGE, "deploy", "Deploy a new version of a function", 204, ""),
    Route("GET", _FUNCTION, READ, "show", "Show a function", 200, _JSON),
    Route("DELETE", _FUNCTION, MANAGE, "delete", "Delete a function", 204, ""),
    Route("GET", _FUNCTION + "/versions", READ, "versions", "List the versions of a function", 200, _JSON),
    Route("GET", _FUNCTION + "/versions/{version}", READ, "version", "Show a version of a function", 200, _JSON),
    Route("PUT", _FUNCTION + "/current", MANAGE, "current", "Choose the version that runs", 200, _JSON),
    Route("GET", _FUNCTION + "/logs", READ, "logs", "Read or follow a function's log", 200, "application/x-ndjson"),
    Route("GET", "/functions/manage", ANY_TOKEN, "list", "List functions", 200, _JSON),
    Route("GET", _NAMESPACE, ANY_TOKEN, "list-namespace", "List functions of one namespace", 200, _JSON),
    Route("GET", _CACHE, CACHE_READ, "cache-get", "Read a value of the cache", 200, "application/octet-stream"),
    Route("PUT", _CACHE, CACHE_WRITE, "cache-put", "Store a value in the cache", 204, ""),
    Route("DELETE", _CACHE, CACHE_WRITE, "cache-delete", "Forget a value or list of the cache", 204, ""),
    Route("POST", _TOPIC, TOPIC_PUBLISH, "topic-publish", "Publish a message to a topic", 204, ""),
    Route("GET", _TOPIC, TOPIC_SUBSCRIBE, "topic-watch", "Watch a topic", 200, "text/event-stream"),
    Route("GET", "/healthz", PUBLIC, "healthz", "Whether the process works", 200, "text/plain"),
    Route("GET", "/readyz", PUBLIC, "readyz", "Whether it takes requests", 200, "text/plain"),
    Route("GET", "/metrics", METRICS, "metrics", "Metrics for Prometheus", 200, "text/plain"),
    Route("GET", "/openapi.json", ANY_TOKEN, "openapi", "This interface, as OpenAPI 3.1", 200, _JSON),
)
