"""How a `Deployment` is written into a row of the table `versions` and read back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from guesthouse.limits import Limits
from guesthouse.registry.deployment import Deployment, Manifest
from guesthouse.registry.policy import DurablePolicy, FlowPolicy, RetryPolicy, Schedule, read_policy, write_policy
from guesthouse.storage.errors import StorageError

COLUMNS = "namespace, name, version, digest, kind, size, created_ms, manifest, imports"


def write_manifest(manifest: Manifest) -> dict[str, Any]:
    """A manifest as JSON can hold it: as it is stored, and as clients are shown it."""
    return {
        "description": manifest.description,
        "environment": dict(manifest.environment),
        "limits": manifest.limits.changes(),
        "grants": None if manifest.grants is None else sorted(manifest.grants),
        "topics": sorted(manifest.topics),
        "retry": write_policy(manifest.retry),
        "flow": write_policy(manifest.flow),
        "schedules": [write_policy(schedule) for schedule in manifest.schedules],
        "labels": dict(manifest.labels),
        "annotations": dict(manifest.annotations),
        "arguments": list(manifest.arguments),
        "secrets": sorted(manifest.secrets),
        "durable": None if manifest.durable is None else write_policy(manifest.durable),
        "image": manifest.image,
    }


def read_manifest(written: Mapping[str, Any]) -> Manifest:
    """A manifest as `write_manifest` gave it; raises `ValueError`, `KeyError` or `TypeError` for what it did not give."""
    grants = written["grants"]
    durable = written.get("durable")
    return Manifest(
        description=written["description"],
        environment=written["environment"],
        limits=Limits().with_changes(written["limits"]),
        grants=None if grants is None else frozenset(grants),
        topics=frozenset(written.get("topics", ())),  # rows of version 0.1 have none of these
        retry=read_policy(RetryPolicy, written.get("retry", {}), "retry"),
        flow=read_policy(FlowPolicy, written.get("flow", {}), "flow"),
        schedules=tuple(read_policy(Schedule, found, "schedule") for found in written.get("schedules", ())),
        labels=written.get("labels", {}),
        annotations=written.get("annotations", {}),
        arguments=tuple(written.get("arguments", ())),
        secrets=frozenset(written.get("secrets", ())),
        durable=None if durable is None else read_policy(DurablePolicy, durable, "durable"),
        image=written.get("image", ""),
    )


def to_row(deployment: Deployment) -> tuple[str | int, ...]:
    """The values of `COLUMNS`."""
    return (
        deployment.namespace,
        deployment.name,
        deployment.version,
        deployment.digest,
        deployment.kind,
        deployment.size,
        deployment.created_ms,
        json.dumps(write_manifest(deployment.manifest), separators=(",", ":")),
        json.dumps(sorted(deployment.imports), separators=(",", ":")),
    )


def from_row(row: tuple[Any, ...]) -> Deployment:
    """The deployment of a row of `COLUMNS`; raises `StorageError` for one that this program cannot have written."""
    namespace, name, version, digest, kind, size, created_ms, manifest, imports = row
    try:
        return Deployment(
            namespace=namespace,
            name=name,
            version=version,
            digest=digest,
            kind=kind,
            size=size,
            created_ms=created_ms,
            manifest=read_manifest(json.loads(manifest)),
            imports=frozenset(json.loads(imports)),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise StorageError(f"the stored version {version} of {namespace}/{name} cannot be read: {error}") from error
