"""OpenFaaS's provider interface: its tools deploy, list, describe, scale and remove functions here.

Promises: statuses and documents are those that these tools act on, and what they send is bounded and checked as anything
else.  A namespace that is not given, and `openfaas-fn`, stand for the host's own.
"""

from __future__ import annotations

import asyncio
import platform
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import orjson
from starlette.requests import Request
from starlette.responses import Response

from guesthouse.dispatch.places import OPENFAAS_NAMESPACE
from guesthouse.errors import InputError, InvalidModule, NotFound
from guesthouse.gateway import documents
from guesthouse.gateway import openfaas_documents as shapes
from guesthouse.gateway.auth import permit, permit_secrets
from guesthouse.gateway.openfaas_images import Images, Sees
from guesthouse.gateway.routes import MANAGE, READ
from guesthouse.gateway.services import Principal
from guesthouse.limits import MiB
from guesthouse.registry.deployment import Deployment, check_name

if TYPE_CHECKING:
    from guesthouse.gateway.app import App

MOST_DOCUMENT: Final = MiB
"""Bytes of a document about one function: its variables, labels and annotations have at most 128 KiB."""


class Exists(InputError):
    """Something that was to be made is there already."""

    status = 409
    problem_type = "exists"
    title = "It exists already"


class OpenFaas:
    """Endpoints, named as in the table of routes."""

    def __init__(self, app: App) -> None:
        self._services = services = app.services
        self._figures = app.figures
        config = services.config
        self._images = Images(config.images, config.openfaas.images_dir, services.registry, config.module_bytes)
        self._info = shapes.info(services.version, platform.machine())

    async def system_functions(self, request: Request, principal: Principal) -> Response:
        """The functions of one namespace that the token may read."""
        namespace = self.namespace(request.query_params.get("namespace"))
        return await asyncio.to_thread(self._list, namespace, principal)

    def _list(self, namespace: str, principal: Principal) -> Response:
        counts = self._figures.invocations()
        found = self._services.registry.list(namespace)
        return answer([_status(d, principal, counts) for d in found if principal.allows(READ, d.namespace, d.name)])

    async def system_deploy(self, request: Request, principal: Principal) -> Response:
        """Deploys a function that is not there yet."""
        document, namespace = await self._deployment(request, principal)
        if self._services.registry.get(namespace, document.service) is not None:
            raise Exists(f"the function {document.service} exists already: update it, or remove it first")
        await self._deploy(document, namespace, principal)
        return Response(status_code=202)

    async def system_update(self, request: Request, principal: Principal) -> Response:
        """Deploys a new version of a function that is there."""
        document, namespace = await self._deployment(request, principal)
        self._known(namespace, document.service)
        await self._deploy(document, namespace, principal)
        return Response(status_code=200)

    async def _deployment(self, request: Request, principal: Principal) -> tuple[shapes.DeploymentDocument, str]:
        document = documents.parse(await documents.receive(request, MOST_DOCUMENT), shapes.DeploymentDocument)
        namespace = self.namespace(document.namespace)
        permit(principal, MANAGE, namespace, check_name("function", document.service))
        return document, namespace

    async def _deploy(self, document: shapes.DeploymentDocument, namespace: str, principal: Principal) -> None:
        options = document.options()
        deployed = self._services.registry.get(namespace, document.service)
        permit_secrets(principal, namespace, document.secrets, deployed)
        wasm = await asyncio.to_thread(self._images.read, document.image, _seen_by(principal))
        if not wasm.startswith(b"\0asm"):
            raise InvalidModule("this is not WebAssembly: it does not begin with '\\0asm'")
        await self._services.deploy.deploy(document.service, wasm, namespace=namespace, **options)

    async def system_remove(self, request: Request, principal: Principal) -> Response:
        """Deletes a function with all its versions."""
        document = documents.parse(await documents.receive(request, MOST_DOCUMENT), shapes.RemovalDocument)
        namespace = self.namespace(document.namespace or request.query_params.get("namespace"))
        permit(principal, MANAGE, namespace, check_name("function", document.function_name))
        self._known(namespace, document.function_name)
        await self._services.deploy.delete(document.function_name, namespace=namespace)
        return Response(status_code=202)

    async def system_function(self, request: Request, principal: Principal) -> Response:
        """One function."""
        found = self._named(request, principal, READ, request.query_params.get("namespace"))
        return answer(_status(found, principal, self._figures.invocations()))

    async def system_scale(self, request: Request, principal: Principal) -> Response:
        """Takes note of a wish: each call has an instance of its own, so there is nothing to have more or fewer of."""
        body = await documents.receive(request, MOST_DOCUMENT)
        document = documents.parse(body, shapes.ScaleDocument)
        self._named(request, principal, MANAGE, document.namespace or request.query_params.get("namespace"))
        return Response(status_code=202)

    async def system_info(self, request: Request, principal: Principal) -> Response:
        """What this host is."""
        return answer(self._info)

    # -- for all endpoints of this interface

    def namespace(self, name: str | None) -> str:
        """The namespace that a tool means; raises `NotFound` for a name that cannot be one."""
        own = self._services.config.namespace
        return own if not name or name == OPENFAAS_NAMESPACE else check_name("namespace", name)

    def _named(self, request: Request, principal: Principal, scope: str, namespace: str | None) -> Deployment:
        """The function that the path names, or `NAME.NAMESPACE` there."""
        name, dot, suffix = request.path_params["name"].partition(".")
        where = self.namespace(suffix if dot else namespace)
        permit(principal, scope, where, check_name("function", name))
        return self._known(where, name)

    def _known(self, namespace: str, name: str) -> Deployment:
        found = self._services.registry.get(namespace, name)
        if found is None:
            raise NotFound(f"there is no function {name} in the namespace {namespace}")
        return found


def _seen_by(principal: Principal) -> Sees:
    """Whose bytes a client may name by their digest: it could ask for them, or has brought them."""
    return lambda *function: any(principal.allows(scope, *function) for scope in (READ, MANAGE))


def _status(deployment: Deployment, principal: Principal, counts: Mapping[str, int]) -> dict[str, Any]:
    return shapes.status_of(
        deployment,
        invocations=counts.get(deployment.path, 0),
        values_too=principal.allows(MANAGE, deployment.namespace, deployment.name),
    )


def answer(document: Any) -> Response:
    """A document as OpenFaaS's tools read it."""
    return Response(orjson.dumps(document), media_type="application/json")
