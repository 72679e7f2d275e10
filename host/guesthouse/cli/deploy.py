"""`guesthouse deploy`: files become functions of a running server."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import click

from guesthouse.cli.client import Client, management_path
from guesthouse.cli.manifest import Manifest, manifest_options
from guesthouse.cli.options import name_of, namespace_option, url_option
from guesthouse.cli.output import Failure, Output, kind, size, with_output
from guesthouse.errors import NotFound
from guesthouse.registry.deployment import ANSWERING, check_name


@click.command(
    epilog="""\
\b
Examples:
  guesthouse deploy target/wasm32-wasip2/release/hello.wasm
  guesthouse deploy api.wasm --name api --env REGION=eu --limit deadline_ms=500
  guesthouse deploy api.wasm --grant cache --grant http:https://api.example.com
  guesthouse deploy api.wasm --manifest api.toml
  guesthouse deploy approve.wasm --durable
  guesthouse deploy audit.wasm --topic orders --topic refunds
  guesthouse deploy report.wasm --schedule "0 3 * * *" --timezone Europe/Berlin
  guesthouse deploy toolbox.wasm --name hash --arg sha512sum
  guesthouse deploy *.wasm --namespace shop
"""
)
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--name", metavar="NAME", help="The function's name; by default the file's.")
@namespace_option
@manifest_options
@click.option("--topic", multiple=True, metavar="NAME", help="A topic whose messages start it, a spawn function.")
@click.option("--schedule", multiple=True, metavar="CRON", help='A time at which it is called, like "0 3 * * *".')
@click.option("--timezone", default="UTC", show_default=True, metavar="NAME", help="The time zone of --schedule.")
@click.option("--secret", multiple=True, metavar="NAME", help="A secret of the namespace that it finds as a file.")
@click.option("--durable", is_flag=True, help="Makes its calls survive crashes; other terms go into a manifest file.")
@click.option("--description", metavar="TEXT", help="What it is for.")
@url_option
@with_output
def deploy(
    output: Output,
    files: tuple[Path, ...],
    name: str | None,
    namespace: str,
    manifest: Manifest,
    topic: tuple[str, ...],
    schedule: tuple[str, ...],
    timezone: str,
    secret: tuple[str, ...],
    durable: bool,
    description: str | None,
    url: str,
) -> None:
    """Deploys FILES as functions.

    Each is a component or a core module, and becomes the function's new version. The function is named like
    its file: hello_world.wasm is deployed as hello-world.
    """
    if name and len(files) > 1:
        raise click.UsageError("--name names one function: give one file")
    names = [_checked(name or name_of(file), file) for file in files]
    if description is not None:
        manifest["description"] = description
    manifest["topics"] += topic
    manifest["secrets"] += secret
    if durable and manifest["durable"] is False:
        manifest["durable"] = True
    if schedule:
        manifest["schedule"] = [
            *manifest.get("schedule", ()),
            *({"cron": cron, "timezone": timezone} for cron in schedule),
        ]
    elif timezone != "UTC":
        raise click.UsageError("--timezone goes with --schedule")
    with Client(url) as client:
        for file, function in zip(files, names, strict=True):
            with output.working(f"deploying {function}"):
                try:
                    deployed = _deploy(client, namespace, function, file, manifest)
                except Failure as failure:
                    raise Failure(f"{file}: {failure.message}", failure.document) from None
            output.done(deployed, _told(deployed))


def _checked(name: str, file: Path) -> str:
    try:
        return check_name("function", name)
    except NotFound as error:
        raise click.UsageError(f"{file} cannot be called {name!r} ({error}): choose a name with --name") from None


def _deploy(client: Client, namespace: str, name: str, file: Path, manifest: Manifest) -> dict[str, Any]:
    path = management_path(namespace, name)
    content = file.read_bytes()
    wasm = base64.b64encode(content).decode("ascii")
    response = client.ask("PUT", path, json={"inline_wasm": wasm, **manifest})
    deployed = {
        "namespace": namespace,
        "name": name,
        "version": int(response.headers.get("x-function-version", "0")),
        "size": len(content),
        "url": f"{client.url}/functions/{namespace}/{name}",
    }
    with client.stream("GET", path) as shown:  # a token that may deploy need not be one that may read
        if shown.status_code == 200:
            shown.read()
            found = shown.json()
            same = found["version"] == deployed["version"]
            keys = ("kind", "digest", "imports", "grants", "durable") if same else ()
            deployed |= {key: found[key] for key in (*keys, "pinned")}
    return deployed


def _told(deployed: dict[str, Any]) -> str:
    head = f"deployed {deployed['namespace']}/{deployed['name']} version {deployed['version']}"
    if deployed.get("pinned") not in (None, deployed["version"]):
        return f"{head}; calls go on to version {deployed['pinned']}, to which it is pinned"
    if "kind" not in deployed:
        return head
    where = f" at {deployed['url']}" if deployed["kind"] in ANSWERING else ""
    return f"{head} ({kind(deployed)}, {size(deployed['size'])}){where}"
