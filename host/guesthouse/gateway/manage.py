"""The management routes: deploy, delete, list and show functions."""

from __future__ import annotations

import asyncio
import binascii
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import orjson
from pydantic import BaseModel, ConfigDict, Field, StrictInt, StrictStr
from starlette.requests import Request
from starlette.responses import Response

from guesthouse.errors import BadRequest, BodyTooLarge, InvalidModule, NotFound
from guesthouse.gateway import documents
from guesthouse.gateway.auth import PARAMETER
from guesthouse.gateway.routes import MANAGE, READ
from guesthouse.gateway.services import Principal
from guesthouse.limits import MiB
from guesthouse.registry.deployment import Deployment, check_name

if TYPE_CHECKING:
    from guesthouse.gateway.app import App

WASM_TYPE: Final = "application/wasm"
_SPACE: Final = dict.fromkeys(b"\r\n\t ")
_PARAMETERS: Final = frozenset({"description", "environment", "limits", "grants", PARAMETER})


class Literal(BaseModel):
    """A variable's value as the published RPC interface writes it."""

    model_config = ConfigDict(extra="forbid")
    literal: StrictStr


class DeployDocument(BaseModel):
    """What `PUT` takes as JSON."""

    model_config = ConfigDict(extra="forbid")
    inline_wasm: StrictStr
    description: StrictStr = ""
    environment: dict[StrictStr, StrictStr | Literal] = Field(default_factory=dict)
    limits: dict[StrictStr, StrictInt] = Field(default_factory=dict)
    grants: list[StrictStr] | None = None


class Manage:
    """Endpoints, named as in the table of routes."""

    def __init__(self, app: App) -> None:
        self._services = app.services

    async def deploy(self, request: Request, principal: Principal) -> Response:
        """Makes a new version of a function."""
        namespace, name = _names(request)
        most = self._services.config.module_bytes
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() == WASM_TYPE:
            wasm, options = await _read(request, most), _from_query(request)
        else:
            if request.query_params.keys() - {PARAMETER}:
                raise BadRequest("with JSON the options belong into the document, not into the query")
            body = await _read(request, most * 4 // 3 + most // 32 + MiB)
            wasm, options = await asyncio.to_thread(_from_json, body)
        if len(wasm) > most:
            raise BodyTooLarge(f"the module is over {most} bytes")
        if not wasm.startswith(b"\0asm"):
            raise InvalidModule("this is not WebAssembly: it does not begin with '\\0asm'")
        deployment = await self._services.deploy.deploy(name, wasm, namespace=namespace, **options)
        return Response(status_code=204, headers=_version_headers(deployment))

    async def delete(self, request: Request, principal: Principal) -> Response:
        """Deletes a function with all its versions."""
        namespace, name = _names(request)
        if not await self._services.deploy.delete(name, namespace=namespace):
            raise NotFound("there is no such function")
        return Response(status_code=204)

    async def show(self, request: Request, principal: Principal) -> Response:
        """One function."""
        deployment = self._services.registry.get(*_names(request))
        if deployment is None:
            raise NotFound("there is no such function")
        return _json(_describe(deployment, principal), _version_headers(deployment))

    async def versions(self, request: Request, principal: Principal) -> Response:
        """All versions of one function."""
        versions = await asyncio.to_thread(self._services.registry.versions, *_names(request))
        if not versions:
            raise NotFound("there is no such function")
        return _json({"versions": [_describe(version, principal) for version in versions]})

    async def list(self, request: Request, principal: Principal) -> Response:
        """All functions that the token may read."""
        return self._list(None, principal)

    async def list_namespace(self, request: Request, principal: Principal) -> Response:
        """All functions of a namespace that the token may read."""
        return self._list(check_name("namespace", request.path_params["namespace"]), principal)

    def _list(self, namespace: str | None, principal: Principal) -> Response:
        found = [d for d in self._services.registry.list(namespace) if principal.allows(READ, d.namespace, d.name)]
        return _json({"functions": [_describe(deployment, principal) for deployment in found]})


def _names(request: Request) -> tuple[str, str]:
    """Namespace and name, if there can be such (C5)."""
    path = request.path_params
    return check_name("namespace", path["namespace"]), check_name("function", path["name"])


async def _read(request: Request, most: int) -> bytes:
    """The body; raises `BodyTooLarge` before it is received, where that can be known."""
    too_large = BodyTooLarge(f"the body is over {most} bytes")
    if int(request.headers.get("content-length", "0")) > most:
        raise too_large
    pieces, size = [], 0
    async for piece in request.stream():
        pieces.append(piece)
        size += len(piece)
        if size > most:
            raise too_large
    return b"".join(pieces)


def _from_json(body: bytes) -> tuple[bytes, dict[str, Any]]:
    document = documents.parse(body, DeployDocument)
    environment = {
        name: value.literal if isinstance(value, Literal) else value for name, value in document.environment.items()
    }
    options = document.model_dump(exclude={"inline_wasm", "environment"})
    try:
        wasm = binascii.a2b_base64(document.inline_wasm.translate(_SPACE), strict_mode=True)
    except (binascii.Error, ValueError):
        raise BadRequest("inline_wasm: this is not base64") from None
    return wasm, {**options, "environment": environment}


def _from_query(request: Request) -> dict[str, Any]:
    """The options of a raw upload: `description=…`, `environment=NAME=VALUE`, `limits=NAME=NUMBER`, `grants=a,b`."""
    query = request.query_params
    for name in query:
        if name not in _PARAMETERS:
            raise BadRequest(f"unknown parameter {name[:64]!r}")
    grants = [grant for text in query.getlist("grants") for grant in text.split(",") if grant]
    return {
        "description": query.get("description", ""),
        "environment": dict(_pair("environment", text) for text in query.getlist("environment")),
        "limits": {name: _number(value) for name, value in (_pair("limits", text) for text in query.getlist("limits"))},
        "grants": grants if "grants" in query else None,
    }


def _pair(parameter: str, text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise BadRequest(f"{parameter}: write NAME=VALUE")
    return name, value


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise BadRequest("limits: write NAME=NUMBER")
    return int(text)


def _describe(deployment: Deployment, principal: Principal) -> dict[str, Any]:
    manifest = deployment.manifest
    values_too = principal.allows(MANAGE, deployment.namespace, deployment.name)
    return {
        "namespace": deployment.namespace,
        "name": deployment.name,
        "version": deployment.version,
        "kind": deployment.kind,
        "digest": f"sha256:{deployment.digest}",
        "size": deployment.size,
        "created_at": datetime.fromtimestamp(deployment.created_ms / 1000, UTC).isoformat(timespec="milliseconds"),
        "description": manifest.description,
        "environment": {name: value if values_too else None for name, value in manifest.environment.items()},
        "limits": manifest.limits.changes(),
        "grants": None if manifest.grants is None else sorted(manifest.grants),
        "imports": sorted(deployment.imports),
    }


def _version_headers(deployment: Deployment) -> dict[str, str]:
    return {"x-function-version": str(deployment.version), "etag": f'"{deployment.digest}"'}


def _json(document: Any, headers: dict[str, str] | None = None) -> Response:
    return Response(orjson.dumps(document), headers=headers, media_type="application/json")
