"""The management routes: deploy, delete, list and show functions."""

from __future__ import annotations

import asyncio
import binascii
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal
from urllib.parse import parse_qsl

import orjson
from pydantic import BaseModel, ConfigDict, Field, StrictInt, StrictStr
from starlette.requests import Request
from starlette.responses import Response

from guesthouse.errors import BadRequest, BodyTooLarge, InvalidModule, NotFound
from guesthouse.gateway import documents
from guesthouse.gateway.auth import PARAMETER, permit_secrets
from guesthouse.gateway.routes import MANAGE, READ
from guesthouse.gateway.services import Principal
from guesthouse.limits import MiB
from guesthouse.registry.deployment import Deployment, check_name
from guesthouse.registry.records import write_manifest
from guesthouse.registry.registry import FunctionState

if TYPE_CHECKING:
    from guesthouse.gateway.app import App

WASM_TYPE: Final = "application/wasm"
_SPACE: Final = dict.fromkeys(b"\r\n\t ")
_MOST_BYTES: Final = 4_096
"""Of a document that only says a version."""
_PARAMETERS: Final = frozenset(
    {"description", "environment", "limits", "grants", "topics", "arguments", "secrets", "durable", PARAMETER}
)


class DeployDocument(documents.ManifestDocument):
    """What `PUT` takes as JSON."""

    inline_wasm: StrictStr


class CurrentDocument(BaseModel):
    """Which version is to run: a number holds the function there, `latest` lets it follow the latest again."""

    model_config = ConfigDict(extra="forbid")
    version: Annotated[StrictInt, Field(ge=1, lt=1 << 63)] | Literal["latest", "previous"]


class Manage:
    """Endpoints, named as in the table of routes."""

    def __init__(self, app: App) -> None:
        self._services = app.services

    async def deploy(self, request: Request, principal: Principal) -> Response:
        """Makes a new version of a function."""
        namespace, name = _names(request)
        most = self._services.config.module_bytes
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() == WASM_TYPE:
            wasm, options = await documents.receive(request, most), _from_query(request)
        else:
            if request.query_params.keys() - {PARAMETER}:
                raise BadRequest("with JSON the options belong into the document, not into the query")
            body = await documents.receive(request, most * 4 // 3 + most // 32 + MiB)
            wasm, options = await asyncio.to_thread(_from_json, body)
        if len(wasm) > most:
            raise BodyTooLarge(f"the module is over {most} bytes")
        if not wasm.startswith(b"\0asm"):
            raise InvalidModule("this is not WebAssembly: it does not begin with '\\0asm'")
        deployed = self._services.registry.get(namespace, name)
        permit_secrets(principal, namespace, options.get("secrets", ()), deployed)
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
        state = self._services.registry.show(*_names(request))
        if state is None:
            raise NotFound("there is no such function")
        return _json(_describe_function(state, principal), _version_headers(state.current))

    async def versions(self, request: Request, principal: Principal) -> Response:
        """All versions of one function."""
        return await asyncio.to_thread(self._versions, *_names(request), principal)

    def _versions(self, namespace: str, name: str, principal: Principal) -> Response:
        versions = self._services.registry.versions(namespace, name)
        if not versions:
            raise NotFound("there is no such function")
        return _json({"versions": [_describe(version, principal) for version in versions]})

    async def version(self, request: Request, principal: Principal) -> Response:
        """One version of one function."""
        number = request.path_params["version"]
        if not (number.isascii() and number.isdigit() and len(number) < 19):
            raise NotFound("there is no such version")
        found = await asyncio.to_thread(self._services.registry.version, *_names(request), int(number))
        if found is None:
            raise NotFound("there is no such version")
        return _json(_describe(found, principal), _version_headers(found))

    async def current(self, request: Request, principal: Principal) -> Response:
        """Chooses the version that runs from the next call on."""
        namespace, name = _names(request)
        wanted = documents.parse(await documents.receive(request, _MOST_BYTES), CurrentDocument).version
        if wanted == "previous":
            state = await self._services.deploy.rollback(name, namespace=namespace)
        else:
            number = None if wanted == "latest" else wanted
            state = await self._services.deploy.pin(name, number, namespace=namespace)
        return _json(_describe_function(state, principal), _version_headers(state.current))

    async def list(self, request: Request, principal: Principal) -> Response:
        """All functions that the token may read."""
        return await asyncio.to_thread(self._list, None, principal)

    async def list_namespace(self, request: Request, principal: Principal) -> Response:
        """All functions of a namespace that the token may read."""
        namespace = check_name("namespace", request.path_params["namespace"])
        return await asyncio.to_thread(self._list, namespace, principal)

    def _list(self, namespace: str | None, principal: Principal) -> Response:
        """Takes some ten microseconds for each function, so it runs beside the loop."""
        registry = self._services.registry
        found = [d for d in registry.list(namespace) if principal.allows(READ, d.namespace, d.name)]
        states = [state for d in found if (state := registry.show(d.namespace, d.name)) is not None]
        return _json({"functions": [_describe_function(state, principal) for state in states]})


def _names(request: Request) -> tuple[str, str]:
    """Namespace and name, if there can be such (C5)."""
    path = request.path_params
    return check_name("namespace", path["namespace"]), check_name("function", path["name"])


def _from_json(body: bytes) -> tuple[bytes, dict[str, Any]]:
    document = documents.parse(body, DeployDocument)
    try:
        wasm = binascii.a2b_base64(document.inline_wasm.translate(_SPACE), strict_mode=True)
    except (binascii.Error, ValueError):
        raise BadRequest("inline_wasm: this is not base64") from None
    return wasm, document.options()


def _from_query(request: Request) -> dict[str, Any]:
    """The options of a raw upload: `description=…`, `environment=N=V`, `limits=N=NUMBER`, `grants=a,b`, others one each."""
    found: dict[str, list[str]] = {name: [] for name in _PARAMETERS}
    for name, value in _query(request):
        if name not in found:
            raise BadRequest(f"unknown parameter {name[:64]!r}")
        found[name].append(value)
    for name in ("description", "durable"):
        if len(found[name]) > 1:
            raise BadRequest(f"{name} is given twice")
    return {
        "description": "".join(found["description"]),
        "environment": _pairs("environment", found["environment"]),
        "limits": {name: _number(value) for name, value in _pairs("limits", found["limits"]).items()},
        "grants": [grant for text in found["grants"] for grant in _grants(text)] if found["grants"] else None,
        "topics": found["topics"],
        "arguments": found["arguments"],
        "secrets": found["secrets"],
        "durable": _truth("durable", found["durable"]),
    }


def _query(request: Request) -> list[tuple[str, str]]:
    """The parameters, none of them silently changed."""
    try:
        return parse_qsl(request.scope["query_string"].decode("ascii"), keep_blank_values=True, errors="strict")
    except ValueError:
        raise BadRequest("the query is not valid UTF-8") from None


def _grants(text: str) -> list[str]:
    """Interfaces with commas between; one with a pattern, which may have commas of its own, stands alone."""
    return [text] if ":" in text else [grant for grant in text.split(",") if grant]


def _pairs(parameter: str, texts: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise BadRequest(f"{parameter}: write NAME=VALUE")
        if name in found:
            raise BadRequest(f"{parameter}: {name[:64]!r} is given twice")
        found[name] = value
    return found


def _truth(parameter: str, texts: Sequence[str]) -> bool:
    if any(text not in ("true", "false") for text in texts):
        raise BadRequest(f"{parameter} is true or false")
    return texts == ["true"]


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise BadRequest("limits: write NAME=NUMBER")
    return int(text)


def _describe_function(state: FunctionState, principal: Principal) -> dict[str, Any]:
    return {**_describe(state.current, principal), "latest": state.latest, "pinned": state.pinned}


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
        **write_manifest(manifest),
        "environment": {name: value if values_too else None for name, value in manifest.environment.items()},
        "imports": sorted(deployment.imports),
    }


def _version_headers(deployment: Deployment) -> dict[str, str]:
    return {"x-function-version": str(deployment.version), "etag": f'"{deployment.digest}"'}


def _json(document: Any, headers: dict[str, str] | None = None) -> Response:
    return Response(orjson.dumps(document), headers=headers, media_type="application/json")
