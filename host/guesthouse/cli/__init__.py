"""The command line: one module for each family of commands, and the group that turns every error into one line.

Promises: data goes to standard output and talk to standard error; exit status 0 is success, 1 failure, 2 a command that
was written wrongly; nothing heavy is imported before a command runs, so that help and completion come at once.
"""

from __future__ import annotations

import os
from typing import Any

import click

import guesthouse
from guesthouse.cli import (
    awakeables,
    check,
    completion,
    deploy,
    dev,
    doctor,
    functions,
    inspection,
    invocations,
    invoke,
    journals,
    logs,
    new,
    queues,
    replay,
    run,
    secrets,
    serve,
    tokens,
    topics,
    versions,
)
from guesthouse.cli.output import Failure, says_json
from guesthouse.errors import GuesthouseError

EPILOG = """\
\b
Begin with:
  guesthouse new hello && cd hello && guesthouse dev
  guesthouse serve
  guesthouse deploy target/wasm32-wasip2/release/hello.wasm
  guesthouse invoke hello -d '{"name": "Ada"}'

\b
Environment:
  GUESTHOUSE_URL        the server to talk to (http://127.0.0.1:8080)
  GUESTHOUSE_TOKEN      the token to show it, made by `guesthouse token create`
  GUESTHOUSE_NAMESPACE  the namespace of functions named without one (default)
  GUESTHOUSE_CONFIG     the configuration file of serve (./guesthouse.toml)

\b
Completion (or zsh, fish):
  eval "$(guesthouse completion bash)"
"""


class Group(click.Group):
    """A group whose commands fail with one line that says what to do; help lists them in the order of their use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order in which they were added."""
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        """Runs the command; every error of the project's tree becomes its line and exit status 1."""
        try:
            return super().invoke(ctx)
        except GuesthouseError as error:
            document = {"type": error.problem_type, "title": error.title, "detail": str(error)}
            failure = Failure(str(error), document)
            failure.as_json = says_json(ctx)
            raise failure from error
        except Failure as failure:
            failure.as_json = says_json(ctx)
            raise


@click.group(
    cls=Group,
    epilog=EPILOG,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "max_content_width": 100,
        "color": False if os.environ.get("NO_COLOR") else None,
    },
)
@click.version_option(guesthouse.__version__, prog_name="guesthouse")
def cli() -> None:
    """Runs WebAssembly functions: each call in a fresh sandbox of its own."""


for command in (
    new.new,
    dev.dev,
    serve.serve,
    deploy.deploy,
    invoke.invoke,
    run.run,
    functions.ls,
    inspection.inspect,
    logs.logs,
    functions.rm,
    versions.versions,
    versions.rollback,
    invocations.invocations,
    awakeables.awakeable,
    queues.queues,
    replay.replay,
    check.check,
    tokens.token,
    secrets.secret,
    topics.topic,
    doctor.doctor,
    completion.completion,
):
    cli.add_command(command)


for command in (journals.journal, journals.export, journals.redrive):
    invocations.invocations.add_command(command)


def main() -> None:
    """The command `guesthouse`."""
    cli(prog_name="guesthouse")
