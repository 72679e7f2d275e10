"""What OpenFaaS's tools send and get: documents with the names of its provider interface, in which unknown fields are ignored.

A field that is `null` counts as not given, as those tools write it.
"""

from __future__ import annotations

import binascii
import shlex
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictInt, StrictStr

from guesthouse.errors import BadRequest, BodyTooLarge
from guesthouse.gateway import openfaas_words as words
from guesthouse.registry.deployment import Deployment
from guesthouse.registry.secrets import MAX_SECRET_BYTES


def _or_empty(value: Any) -> Any:
    return {} if value is None else value


def _or_none(value: Any) -> Any:
    return [] if value is None else value


MOST_BASE64 = 4 * (MAX_SECRET_BYTES // 3 + 1)
"""Characters of the largest secret in base64."""
Texts = Annotated[dict[StrictStr, StrictStr], BeforeValidator(_or_empty)]
Names = Annotated[list[StrictStr], BeforeValidator(_or_none)]


class Document(BaseModel):
    """A document of OpenFaaS: what it has besides these fields changes nothing here."""

    model_config = ConfigDict(extra="ignore")


class Resources(Document):
    """Amounts for one function; there is nothing here that `cpu` could mean."""

    memory: StrictStr = ""
    cpu: StrictStr = ""


class DeploymentDocument(Document):
    """A function that is to be deployed."""

    service: StrictStr
    image: StrictStr
    namespace: StrictStr | None = None
    env_process: StrictStr | None = Field(default=None, alias="envProcess")
    env_vars: Texts = Field(default_factory=dict, alias="envVars")
    secrets: Names = Field(default_factory=list)
    labels: Texts = Field(default_factory=dict)
    annotations: Texts = Field(default_factory=dict)
    limits: Resources | None = None

    def options(self) -> dict[str, Any]:
        """The same as arguments of a deploy."""
        environment = dict(self.env_vars)
        process = environment.pop("fprocess", "") or self.env_process or ""
        memory = self.limits.memory if self.limits is not None else ""
        return {
            "environment": environment,
            "limits": {
                **words.deadline(environment),
                **({"memory_bytes": words.memory_bytes(memory)} if memory else {}),
            },
            "grants": words.grants(self.annotations),
            "retry": words.retry(self.annotations),
            "flow": words.flow(environment, self.labels),
            "schedule": words.schedules(self.annotations),
            "labels": self.labels,
            "annotations": self.annotations,
            "arguments": words.arguments(process),
            "secrets": self.secrets,
            "image": self.image,
        }


class RemovalDocument(Document):
    """A function that is to be deleted."""

    function_name: StrictStr = Field(alias="functionName")
    namespace: StrictStr | None = None


class ScaleDocument(Document):
    """How often a function is wanted."""

    replicas: StrictInt = 1
    namespace: StrictStr | None = None


class SecretDocument(Document):
    """A secret: its value as text, or as bytes in base64, which count where both are given."""

    name: StrictStr
    namespace: StrictStr | None = None
    value: StrictStr | None = None
    raw_value: StrictStr | None = Field(default=None, alias="rawValue")

    def content(self) -> bytes:
        """The value; raises `BadRequest` where there is none, and `BodyTooLarge`."""
        if self.raw_value:
            if len(self.raw_value) > MOST_BASE64:  # nothing is taken apart that is refused afterwards
                raise BodyTooLarge(f"a secret has at most {MAX_SECRET_BYTES} bytes")
            try:
                return binascii.a2b_base64(self.raw_value, strict_mode=True)
            except (binascii.Error, ValueError):
                raise BadRequest("rawValue: this is not base64") from None
        if not self.value:
            raise BadRequest("a secret needs a value")
        return self.value.encode()


class NamespaceDocument(Document):
    """A namespace and the words about it."""

    name: StrictStr
    labels: Texts = Field(default_factory=dict)
    annotations: Texts = Field(default_factory=dict)


MOST_SECRET_DOCUMENT = 8 * MAX_SECRET_BYTES
"""Of a secret as JSON: its value may be there twice, as text with escapes and in base64."""


def status_of(deployment: Deployment, *, invocations: int, values_too: bool) -> dict[str, Any]:
    """A function as OpenFaaS's tools show it; variables only for those who may manage it."""
    manifest = deployment.manifest
    limits = manifest.limits.changes()
    replicas = 0 if deployment.kind == "library" else 1
    found: dict[str, Any] = {
        "name": deployment.name,
        "image": manifest.image or f"sha256:{deployment.digest}",
        "namespace": deployment.namespace,
        "envProcess": shlex.join(manifest.arguments),
        "labels": dict(manifest.labels),
        "annotations": dict(manifest.annotations),
        "secrets": sorted(manifest.secrets),
        "replicas": replicas,
        "availableReplicas": replicas,
        "invocationCount": invocations,
        "createdAt": time_of(deployment.created_ms),
    }
    if values_too:
        found["envVars"] = dict(manifest.environment)
    if "memory_bytes" in limits:
        found["limits"] = {"memory": amount(limits["memory_bytes"])}
    return found


def time_of(milliseconds: int) -> str:
    """A time as Go's JSON reads it."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def amount(size: int) -> str:
    """An amount of memory as OpenFaaS writes it."""
    for unit, scale in (("Mi", 1 << 20), ("Ki", 1 << 10)):
        if size % scale == 0:
            return f"{size // scale}{unit}"
    return str(size)


def info(version: str, machine: str) -> dict[str, Any]:
    """What this host is, as OpenFaaS's command line prints it."""
    release: Mapping[str, str] = {"release": version, "sha": f"v{version}"}
    return {
        "provider": {"provider": "guesthouse", "orchestration": "webassembly", "version": {**release}},
        "version": {**release, "commit_message": f"guesthouse {version}"},
        "arch": machine,
    }
