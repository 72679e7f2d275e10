"""`guesthouse completion`, and the completion of names that only the server knows.

Promises: completing a name takes no longer than `SECONDS`, whatever the server or its name do, and says nothing where it
fails: a shell is waiting for it.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import click
from click.shell_completion import CompletionItem, get_completion_class

from guesthouse.cli.output import Output, with_output

SECONDS = 1.0
MOST_BYTES = 1 << 20
"""Of an answer: thousands of functions."""
URL = "http://127.0.0.1:8080"
VARIABLE = "_GUESTHOUSE_COMPLETE"
INSTALL = {
    "bash": 'eval "$(guesthouse completion bash)"    in ~/.bashrc',
    "zsh": 'eval "$(guesthouse completion zsh)"    in ~/.zshrc, after compinit',
    "fish": "guesthouse completion fish > ~/.config/fish/completions/guesthouse.fish",
}


@click.command(
    epilog="""\
\b
Examples:
  eval "$(guesthouse completion bash)"      # in ~/.bashrc
  eval "$(guesthouse completion zsh)"       # in ~/.zshrc, after compinit
  guesthouse completion fish > ~/.config/fish/completions/guesthouse.fish
"""
)
@click.argument("shell", type=click.Choice(list(INSTALL)))
@with_output
def completion(output: Output, shell: str) -> None:
    """Prints a script that lets SHELL complete commands, options and the names of functions.

    Names of functions come from the server at GUESTHOUSE_URL.
    """
    script = script_of(shell)
    if not output.as_json and os.isatty(1):
        output.say(f"This goes to your shell, not to you: {INSTALL[shell]}")
    output.result({"shell": shell, "script": script, "install": INSTALL[shell]}, script)


def script_of(shell: str) -> str:
    """The script, which asks `guesthouse` itself for each completion."""
    found = get_completion_class(shell)
    assert found is not None, "click knows these shells"
    maker = found(click.Group(), {}, "guesthouse", VARIABLE)
    return found.source_template % maker.source_vars()  # not `source()`: for bash that starts one, to see its version


def function_names(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The functions of the command's namespace that begin like `incomplete`; none where the server does not say."""
    try:
        found = _in_time(_chosen(context, "url", "GUESTHOUSE_URL", URL))
        namespace = _chosen(context, "namespace", "GUESTHOUSE_NAMESPACE", "default")
        taken = context.params.get(parameter.name or "") or ()
        return [
            CompletionItem(function["name"], help=str(function.get("description", "")).partition("\n")[0])
            for function in found
            if function["namespace"] == namespace
            and function["name"].startswith(incomplete)
            and function["name"] not in taken
        ]
    except Exception:
        return []  # a traceback would end up on the command line


def _chosen(context: click.Context, option: str, variable: str, default: str) -> str:
    return context.params.get(option) or os.environ.get(variable) or default


def _in_time(url: str) -> list[dict[str, Any]]:
    """What `_ask` answers within `SECONDS`: looking up a name knows no such bound, nor does a server that drips."""
    import threading

    found: list[dict[str, Any]] = []

    def ask() -> None:
        with suppress(Exception):  # a traceback would end up on the command line
            found.extend(_ask(url))

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(SECONDS)
    return [] if asking.is_alive() else found


def _ask(url: str) -> list[dict[str, Any]]:
    """The server's functions; over the standard library, which is there at once."""
    import json
    from http.client import HTTPConnection, HTTPSConnection

    from guesthouse.cli.client import TOKEN_HEADER, management_path

    parts = urlsplit(url)
    kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=SECONDS)
    try:
        token = os.environ.get("GUESTHOUSE_TOKEN")
        connection.request("GET", management_path(""), headers={TOKEN_HEADER: token} if token else {})
        answer = connection.getresponse()
        if answer.status != 200:
            return []
        functions = json.loads(answer.read(MOST_BYTES))["functions"]
        return functions if isinstance(functions, list) else []
    finally:
        connection.close()
