"""The rest of OpenFaaS's provider interface: secrets, namespaces and logs.

A secret goes in and never out: its value is for functions only.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import orjson
from starlette.requests import Request
from starlette.responses import Response

from guesthouse.errors import BadRequest, InputError, NotFound
from guesthouse.gateway import documents
from guesthouse.gateway import openfaas_documents as shapes
from guesthouse.gateway.auth import permit
from guesthouse.gateway.logs import MOST_TAIL, Logs
from guesthouse.gateway.openfaas import MOST_DOCUMENT, Exists, OpenFaas, answer
from guesthouse.gateway.queries import since_ns, whole_number
from guesthouse.gateway.routes import MANAGE, READ
from guesthouse.gateway.services import Principal
from guesthouse.registry.deployment import check_name
from guesthouse.registry.namespaces import Namespace
from guesthouse.telemetry import Entry, Selection
from guesthouse.telemetry.records import rfc3339

if TYPE_CHECKING:
    from collections.abc import Callable

    from guesthouse.gateway.app import App

TRUE: Final = frozenset({"1", "t", "T", "true", "TRUE", "True"})
"""What Go takes for true; everything else is false there."""
MADE: Final = {"openfaas": "1"}
"""A label by which its tools know namespaces of theirs."""


class NotEmpty(InputError):
    """A namespace that still has something in it."""

    status = 409
    problem_type = "not-empty"
    title = "The namespace is not empty"


class System:
    """Endpoints, named as in the table of routes."""

    def __init__(self, app: App) -> None:
        self._services = app.services
        self._logs = Logs(app)
        self._namespace = OpenFaas(app).namespace

    # -- secrets

    async def system_secrets(self, request: Request, principal: Principal) -> Response:
        """The names of a namespace's secrets."""
        namespace = self._namespace(request.query_params.get("namespace"))
        permit(principal, MANAGE, namespace, None)
        return answer([{"name": name, "namespace": namespace} for name in self._services.secrets.names(namespace)])

    async def system_secret_create(self, request: Request, principal: Principal) -> Response:
        """Makes a secret that is not there yet."""
        document, namespace = await self._secret(request, principal)
        if not await self._services.secrets.create(namespace, document.name, document.content()):
            raise Exists(f"the secret {document.name} exists already")
        return Response(status_code=202)

    async def system_secret_update(self, request: Request, principal: Principal) -> Response:
        """Sets a secret that is there."""
        document, namespace = await self._secret(request, principal)
        if not await self._services.secrets.replace(namespace, document.name, document.content()):
            raise UnknownSecret(f"there is no secret {document.name[:64]!r}")
        return Response(status_code=202)

    async def system_secret_delete(self, request: Request, principal: Principal) -> Response:
        """Forgets a secret."""
        document, namespace = await self._secret(request, principal)
        if not await self._services.secrets.delete(namespace, document.name):
            raise UnknownSecret(f"there is no secret {document.name[:64]!r}")
        return Response(status_code=202)

    async def _secret(self, request: Request, principal: Principal) -> tuple[shapes.SecretDocument, str]:
        body = await documents.receive(request, shapes.MOST_SECRET_DOCUMENT)
        document = documents.parse(body, shapes.SecretDocument)
        namespace = self._namespace(document.namespace or request.query_params.get("namespace"))
        permit(principal, MANAGE, namespace, None)
        return document, namespace

    # -- namespaces

    async def system_namespaces(self, request: Request, principal: Principal) -> Response:
        """The names of the namespaces in which the token may read something."""
        return answer(await asyncio.to_thread(self._readable, principal))

    def _readable(self, principal: Principal) -> list[str]:
        """Looks at every function, so it runs beside the loop."""
        functions = self._services.registry.list()
        seen = {d.namespace for d in functions if principal.allows(READ, d.namespace, d.name)}
        return sorted(seen | {name for name in self._all() - seen if principal.allows(READ, name)})

    async def system_namespace(self, request: Request, principal: Principal) -> Response:
        """What was said about a namespace."""
        name = self._named(request, principal, READ)
        found = self._services.namespaces.get(name) or Namespace(name, MADE)
        return answer({"name": name, "labels": dict(found.labels), "annotations": dict(found.annotations)})

    async def system_namespace_create(self, request: Request, principal: Principal) -> Response:
        """Makes a namespace that is not there yet."""
        document = documents.parse(await documents.receive(request, MOST_DOCUMENT), shapes.NamespaceDocument)
        name = check_name("namespace", self._namespace(document.name))
        permit(principal, MANAGE, name, None)
        if name in self._all():
            raise Exists(f"the namespace {name} exists already")
        await self._services.namespaces.put(Namespace(name, document.labels, document.annotations))
        return Response(status_code=201)

    async def system_namespace_update(self, request: Request, principal: Principal) -> Response:
        """Says something else about a namespace."""
        document = documents.parse(await documents.receive(request, MOST_DOCUMENT), shapes.NamespaceDocument)
        name = self._named(request, principal, MANAGE)
        if self._namespace(document.name) != name:
            raise BadRequest("name: the path names another namespace")
        await self._services.namespaces.put(Namespace(name, document.labels, document.annotations))
        return Response(status_code=202)

    async def system_namespace_delete(self, request: Request, principal: Principal) -> Response:
        """Forgets a namespace that has nothing in it."""
        name = self._named(request, principal, MANAGE)
        services = self._services
        if services.registry.list(name) or services.secrets.names(name) or name == services.config.namespace:
            raise NotEmpty(f"the namespace {name} has functions or secrets, or is the host's own")
        await services.namespaces.delete(name)
        return Response(status_code=202)

    def _all(self) -> set[str]:
        """Those with functions or secrets, those that somebody made, and the host's own."""
        services = self._services
        used = {found.namespace for found in services.registry.list()} | services.secrets.namespaces()
        return {*used, *services.namespaces.names(), services.config.namespace}

    def _named(self, request: Request, principal: Principal, scope: str) -> str:
        name = self._namespace(request.path_params["namespace"])
        permit(principal, scope, name, None)
        if name not in self._all():
            raise UnknownNamespace(f"there is no namespace {name}")
        return name

    # -- logs

    async def system_logs(self, request: Request, principal: Principal) -> Response:
        """`?name=` the function, `?tail=` old records of it, `?follow=true` also the new ones."""
        query = request.query_params
        namespace = self._namespace(query.get("namespace"))
        name = check_name("function", query.get("name", ""))
        permit(principal, READ, namespace, name)
        if self._services.registry.get(namespace, name) is None:
            raise NotFound(f"there is no function {name} in the namespace {namespace}")
        since = since_ns(query["since"], self._services.clock.wall_ns()) if query.get("since") else 0
        selection = Selection(since_ns=since, invocation=query.get("instance", ""))
        tail, follow = _tail(query.get("tail")), query.get("follow") in TRUE
        return self._logs.answer(request, f"{namespace}/{name}", tail, selection, _line(namespace, name), follow=follow)


class UnknownSecret(NotFound):
    """No such secret."""

    title = "There is no such secret"


class UnknownNamespace(NotFound):
    """No such namespace."""

    title = "There is no such namespace"


def _line(namespace: str, name: str) -> Callable[[Entry], bytes]:
    """How an entry of a function's log is written."""

    def form(entry: Entry) -> bytes:
        document = {
            "name": name,
            "namespace": namespace,
            "instance": entry.invocation_id,
            "timestamp": rfc3339(entry.record.time_ns),
            "text": entry.record.text,
        }
        return orjson.dumps(document, option=orjson.OPT_APPEND_NEWLINE)

    return form


def _tail(text: str | None) -> int:
    """How many of the newest records; none given, or less than one, stands for all that are kept."""
    text = text or "0"
    number = whole_number("tail", text.removeprefix("-"), MOST_TAIL)
    return MOST_TAIL if text.startswith("-") else number or MOST_TAIL
