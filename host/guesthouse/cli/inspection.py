"""`guesthouse inspect`: what a file is and what it asks of its host, without a server."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from guesthouse.cli.output import Failure, Output, duration, shown, size, with_output
from guesthouse.errors import InvalidModule
from guesthouse.limits import PAGE, Limits

if TYPE_CHECKING:
    from guesthouse.dispatch.deployer import Inspection

FORMS = {"component": "a component", "core": "a core module"}
KINDS = {
    "web": "a web function, called over HTTP",
    "spawn": "a spawn function, started by other functions",
    "command": "a command, run by a call over HTTP",
    "library": "a library, called from Python",
    "unknown": "nothing that this host can run",
}


@click.command(
    epilog="""\
\b
Examples:
  guesthouse inspect target/wasm32-wasip2/release/hello.wasm
  guesthouse inspect hello.wasm --json | jq -r .grant_options
"""
)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@with_output
def inspect(output: Output, file: Path) -> None:
    """Shows what FILE needs.

    That is what it imports, what this host has of it, what has to be granted, and what it exports. The exit
    status is 1 for a file that cannot run here.
    """
    from guesthouse.host import Host

    with output.working(f"compiling {file}"), Host(slots=16) as host:
        try:
            found = host.inspect(file.read_bytes())
        except InvalidModule as error:
            raise Failure(f"{file}: {error}", {"type": error.problem_type, "detail": str(error)}) from None
    if output.as_json:
        output.result(_document(found), "")
    else:
        output.result(None, "\n".join(_lines(file, found)))
    raise click.exceptions.Exit(found.problem is not None)


def _document(found: Inspection) -> dict[str, Any]:
    limits = Limits()
    imports = [{"interface": i, "function": f, "known": known} for i, f, known in found.imports]
    return {
        "form": found.form,
        "kind": found.kind,
        "size": found.size,
        "core_size": found.core_size,
        "memory_bytes": found.memory_min * PAGE,
        "typed": found.typed,
        "exports": list(found.exports),
        "imports": imports,
        "grants": list(found.grants),
        "needs": {
            name: [{"interface": interface, "function": function} for interface, function in uses]
            for name, uses in found.needs.items()
        },
        "grant_options": _options(found),
        "left_out": list(found.dropped),
        "default_limits": asdict(limits),
        "problem": found.problem,
    }


def _lines(file: Path, found: Inspection) -> Iterator[str]:
    limits = Limits()
    yield click.style(f"{shown(str(file))}: {FORMS.get(found.form, found.form)}, {KINDS[found.kind]}", bold=True)
    core = f", {size(found.core_size)} of it its main module" if found.core_size != found.size else ""
    yield _line("size", size(found.size) + core)
    yield _line("memory", f"{size(found.memory_min * PAGE)} when it starts")
    yield _line(
        "limits",
        f"{duration(limits.deadline_ms * 1e6)}, {size(limits.memory_bytes)} of memory, {limits.fuel:,} fuel"
        " (by default; `deploy --limit` changes them)",
    )
    if not found.typed:
        yield _line("types", "it carries none: only its core signatures were compared")
    yield from _listed("exports", [name for name in found.exports if not name.startswith("cabi_")])
    yield from _listed("imports", list(_interfaces(found)))
    yield from _grants(found)
    if found.dropped:
        yield _line("left out", ", ".join(found.dropped))
    if found.problem:
        yield _line("problem", click.style(shown(found.problem), fg="red"))


def _grants(found: Inspection) -> Iterator[str]:
    """What has to be granted, and how to write it: for `deploy`, for a manifest in TOML, and for one in JSON."""
    yield _line("grants", ", ".join(found.grants) or "none needed")
    if found.grants:
        listed = json.dumps(list(found.grants))
        for text in (_options(found), f"grants = {listed}", f'"grants": {listed}'):
            yield _line("", text)


def _options(found: Inspection) -> str:
    return " ".join(f"--grant {shlex.quote(name)}" for name in found.grants)


def _interfaces(found: Inspection) -> Iterator[str]:
    """One line for each imported interface, with what this host does not answer of it; WASI in lines of its packages."""
    functions: dict[str, list[tuple[str, bool]]] = {}
    for interface, function, known in found.imports:
        package, _, rest = interface.partition("/")
        short = f"{package}@{rest.partition('@')[2]}" if known and package.startswith("wasi:") else interface
        functions.setdefault(short, []).append((function, known))
    for interface in sorted(functions):
        names = functions[interface]
        unknown = [name for name, known in names if not known]
        count = f"{len(names)} function{'s' if len(names) > 1 else ''}"
        told = f"not known here: {', '.join(unknown)}" if unknown else "known"
        yield f"{interface} ({count}, {told})"


def _listed(title: str, lines: list[str]) -> Iterator[str]:
    for number, line in enumerate(lines or ["none"]):
        yield _line("" if number else title, shown(line))


def _line(title: str, text: str) -> str:
    return f"  {title:<9} {text}"
