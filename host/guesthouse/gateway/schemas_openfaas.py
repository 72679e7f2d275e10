"""What OpenFaaS's tools send and get, as JSON Schemas for `/openapi.json`."""

from __future__ import annotations

from typing import Final

from guesthouse.gateway import openfaas_documents as shapes
from guesthouse.gateway.schemas_invocations import COUNT, TEXT, Schema

_WORDS: Final[Schema] = {"type": "object", "additionalProperties": TEXT}
_NAMES: Final[Schema] = {"type": "array", "items": TEXT}
_VERSION: Final[Schema] = {
    "type": "object",
    "required": ["release", "sha"],
    "properties": {"release": TEXT, "sha": TEXT, "commit_message": TEXT},
}
NAMESPACE: Final[Schema] = {"schema": TEXT, "description": "None, or openfaas-fn: the host's own"}

FUNCTION: Final[Schema] = {
    "type": "object",
    "required": ["name", "image", "namespace", "replicas", "availableReplicas", "invocationCount", "createdAt"],
    "properties": {
        "name": TEXT,
        "image": TEXT,
        "namespace": TEXT,
        "envProcess": TEXT,
        "envVars": {**_WORDS, "description": "Only for tokens that may manage the function"},
        "labels": _WORDS,
        "annotations": _WORDS,
        "secrets": _NAMES,
        "limits": {"type": "object", "properties": {"memory": TEXT}},
        "replicas": COUNT,
        "availableReplicas": COUNT,
        "invocationCount": COUNT,
        "createdAt": {**TEXT, "format": "date-time"},
    },
    "additionalProperties": False,
}
SECRET: Final[Schema] = {
    "type": "object",
    "required": ["name", "namespace"],
    "properties": {"name": TEXT, "namespace": TEXT},
    "additionalProperties": False,
}
DEPLOYMENT: Final[Schema] = shapes.DeploymentDocument.model_json_schema(
    ref_template="#/components/schemas/OpenFaasDeployment/$defs/{model}"
)
COMPONENTS: Final[dict[str, Schema]] = {
    "OpenFaasFunction": FUNCTION,
    "OpenFaasDeployment": DEPLOYMENT,
    "OpenFaasSecret": shapes.SecretDocument.model_json_schema(),
    "OpenFaasNamespace": shapes.NamespaceDocument.model_json_schema(),
    "OpenFaasRemoval": shapes.RemovalDocument.model_json_schema(),
    "OpenFaasScale": shapes.ScaleDocument.model_json_schema(),
}


def _body(name: str) -> Schema:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{name}"}}}


BODIES: Final[dict[str, Schema]] = {
    **dict.fromkeys(("system-deploy", "system-update"), _body("OpenFaasDeployment")),
    **dict.fromkeys((f"system-secret-{word}" for word in ("create", "update", "delete")), _body("OpenFaasSecret")),
    **dict.fromkeys(("system-namespace-create", "system-namespace-update"), _body("OpenFaasNamespace")),
    "system-remove": _body("OpenFaasRemoval"),
    "system-scale": _body("OpenFaasScale"),
}
QUERY: Final[dict[str, dict[str, Schema]]] = {
    **{f"system-{word}": {"namespace": NAMESPACE} for word in ("functions", "function", "scale", "secrets", "remove")},
    "system-logs": {
        "name": {"schema": TEXT, "description": "The function", "required": True, "example": "echo"},
        "namespace": NAMESPACE,
        "tail": {"schema": {"type": "integer"}, "description": "How many of the newest records; below 1: all"},
        "follow": {"schema": {"enum": ["true", "false"]}, "description": "true: also each new record, as it comes"},
        "since": {"schema": TEXT, "description": "Only from this time on (RFC 3339)"},
        "instance": {"schema": TEXT, "description": "Only of the invocation with this id"},
    },
}
ANSWERS: Final[dict[str, Schema]] = {
    "system-functions": {"type": "array", "items": {"$ref": "#/components/schemas/OpenFaasFunction"}},
    "system-function": {"$ref": "#/components/schemas/OpenFaasFunction"},
    "system-secrets": {"type": "array", "items": SECRET},
    "system-namespaces": _NAMES,
    "system-namespace": {
        "type": "object",
        "required": ["name", "labels", "annotations"],
        "properties": {"name": TEXT, "labels": _WORDS, "annotations": _WORDS},
    },
    "system-info": {
        "type": "object",
        "required": ["provider", "version", "arch"],
        "properties": {
            "provider": {
                "type": "object",
                "required": ["provider", "orchestration", "version"],
                "properties": {"provider": TEXT, "orchestration": TEXT, "version": _VERSION},
            },
            "version": _VERSION,
            "arch": TEXT,
        },
    },
}
