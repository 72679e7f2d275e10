"""`guesthouse versions` and `rollback`: which version of a function runs, and which others there are."""

from __future__ import annotations

import json
import shlex
from dataclasses import asdict
from typing import Any

import click

from guesthouse.cli.client import Client, management_path
from guesthouse.cli.completion import function_names
from guesthouse.cli.options import namespace_option, url_option
from guesthouse.cli.output import Output, kind, moment, shown, size, with_output
from guesthouse.registry.policy import DurablePolicy, FlowPolicy, RetryPolicy


@click.group()
def versions() -> None:
    """Lists, shows and pins versions of functions.

    Every deploy makes a version, which never changes. Calls go to the latest one, or to the one that the
    function is pinned to. Calls that run end on theirs.
    """


@versions.command(
    name="ls",
    epilog="""\
\b
Examples:
  guesthouse versions ls hello
  guesthouse versions ls hello --json | jq -r '.[].digest'
""",
)
@click.argument("name", shell_complete=function_names)
@namespace_option
@url_option
@with_output
def list_versions(output: Output, name: str, namespace: str, url: str) -> None:
    """Lists the versions of NAME that are kept, oldest first."""
    with Client(url) as client:
        function = client.ask("GET", management_path(namespace, name)).json()
        found = client.ask("GET", management_path(namespace, name, "versions")).json()["versions"]
    if output.as_json:
        output.result([{**version, "current": version["version"] == function["version"]} for version in found], "")
        return
    columns = ("VERSION", "", "KIND", "SIZE", "DEPLOYED", "GRANTS", "DESCRIPTION")
    output.table(columns, [_row(version, function) for version in found])


def _row(version: dict[str, Any], function: dict[str, Any]) -> tuple[str, ...]:
    number = version["version"]
    return (
        str(number),
        "pinned" if number == function["pinned"] else "current" if number == function["version"] else "",
        kind(version),
        size(version["size"]),
        moment(version["created_at"]),
        _grants(version),
        version["description"],
    )


def _grants(version: dict[str, Any]) -> str:
    return "all" if version["grants"] is None else ", ".join(version["grants"]) or "none"


@versions.command(
    epilog="""\
\b
Examples:
  guesthouse versions show hello
  guesthouse versions show hello 3
"""
)
@click.argument("name", shell_complete=function_names)
@click.argument("version", type=click.IntRange(1), required=False)
@namespace_option
@url_option
@with_output
def show(output: Output, name: str, version: int | None, namespace: str, url: str) -> None:
    """Shows VERSION of NAME, or the one that runs."""
    path = management_path(namespace, name)
    with Client(url) as client:
        found = client.ask("GET", path if version is None else f"{path}/versions/{version}").json()
    output.result(found, "\n".join(_lines(found)))


def _lines(found: dict[str, Any]) -> list[str]:
    texts = {
        "version": str(found["version"]),
        "latest": str(found.get("latest", "")),
        "pinned": str(found.get("pinned") or ""),
        "kind": found["kind"],
        "size": size(found["size"]),
        "digest": found["digest"],
        "deployed": moment(found["created_at"]),
        "about": found["description"],
        "variables": ", ".join(f"{name}={value}" if value is not None else name for name, value in _env(found)),
        "limits": ", ".join(f"{name}={value}" for name, value in found["limits"].items()),
        "grants": _grants(found),
        "topics": ", ".join(found["topics"]),
        "schedule": ", ".join(f"{each['cron']} ({each['timezone']})" for each in found["schedules"]),
        "retry": _words(found["retry"], RetryPolicy()),
        "flow": _words(found["flow"], FlowPolicy()),
        "durable": _durable(found["durable"]),
        "arguments": shlex.join(found["arguments"]),
        "secrets": ", ".join(found["secrets"]),
        "image": found["image"],
        "uses": ", ".join(found["imports"]),
    }
    head = click.style(f"{found['namespace']}/{found['name']}", bold=True)
    return [head, *(f"  {title:<9} {shown(text)}" for title, text in texts.items() if text)]


def _durable(found: dict[str, Any] | None) -> str:
    return "" if found is None else _words(found, DurablePolicy()) or "yes"


def _words(found: dict[str, Any], default: RetryPolicy | FlowPolicy | DurablePolicy) -> str:
    """What was said of a policy: all that is not as it is by itself."""
    usual = json.loads(json.dumps(asdict(default)))
    said = {name: value for name, value in found.items() if value != usual.get(name)}
    return ", ".join(f"{name}={json.dumps(value)}" for name, value in said.items())


def _env(found: dict[str, Any]) -> list[tuple[str, str | None]]:
    values = found["environment"].items()
    return [(name, None if value is None else json.dumps(value, ensure_ascii=False)) for name, value in values]


@versions.command(
    epilog="""\
\b
Example:
  guesthouse versions pin hello 3
"""
)
@click.argument("name", shell_complete=function_names)
@click.argument("version", type=click.IntRange(1))
@namespace_option
@url_option
@with_output
def pin(output: Output, name: str, version: int, namespace: str, url: str) -> None:
    """Holds NAME at VERSION from the next call on, while deploys go on."""
    _switch(output, url, namespace, name, version)


@versions.command(
    epilog="""\
\b
Example:
  guesthouse versions unpin hello
"""
)
@click.argument("name", shell_complete=function_names)
@namespace_option
@url_option
@with_output
def unpin(output: Output, name: str, namespace: str, url: str) -> None:
    """Lets NAME follow its latest version again, from the next call on."""
    _switch(output, url, namespace, name, "latest")


@click.command(
    epilog="""\
\b
Examples:
  guesthouse rollback hello
  guesthouse versions unpin hello     # forward again
"""
)
@click.argument("name", shell_complete=function_names)
@namespace_option
@url_option
@with_output
def rollback(output: Output, name: str, namespace: str, url: str) -> None:
    """Goes back to the version of NAME before the one that runs.

    The function stays pinned to it until `guesthouse versions unpin`.
    """
    _switch(output, url, namespace, name, "previous")


def _switch(output: Output, url: str, namespace: str, name: str, version: int | str) -> None:
    with Client(url) as client:
        path = management_path(namespace, name, "current")
        found = client.ask("PUT", path, json={"version": version}).json()
    way = "is pinned to version" if found["pinned"] is not None else "follows its latest version,"
    output.done(found, f"{namespace}/{name} {way} {found['version']}")
