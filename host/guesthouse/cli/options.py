"""Options that several commands share, and how their values are read.  A value that cannot be read is a usage error."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])


class Pair(click.ParamType[Any]):
    """`NAME=VALUE`, as a tuple."""

    name = "name=value"

    def __init__(self, separator: str = "=", metavar: str = "NAME=VALUE") -> None:
        self._separator = separator
        self._metavar = metavar

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        """Splits at the first separator."""
        if isinstance(value, tuple):
            return value
        name, separator, rest = str(value).partition(self._separator)
        if not name.strip() or not separator:
            self.fail(f"{value!r} is not {self._metavar}", param, ctx)
        return name.strip(), rest.strip() if self._separator == ":" else rest

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        """What help says."""
        return self._metavar


class Limit(Pair):
    """`NAME=NUMBER`, as a tuple; knows the limits there are."""

    def __init__(self) -> None:
        super().__init__(metavar="NAME=NUMBER")

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Reads the number and checks both."""
        from guesthouse.errors import BadRequest
        from guesthouse.limits import Limits

        name, text = super().convert(value, param, ctx)
        try:
            Limits().with_changes({name: int(text)})
        except BadRequest as error:
            self.fail(str(error), param, ctx)
        except ValueError:
            self.fail(f"limit {name!r} must be a number, not {text!r}", param, ctx)
        return name, int(text)


class Body(click.ParamType[bytes]):
    """`TEXT`, `@FILE`, or `-` for standard input, as bytes."""

    name = "data"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> bytes:
        """Reads what is meant."""
        if isinstance(value, bytes):
            return value
        if value in ("-", "@-"):
            return sys.stdin.buffer.read()
        if not value.startswith("@"):
            return str(value).encode("utf-8", "surrogateescape")
        try:
            return Path(value[1:]).read_bytes()
        except OSError as error:
            self.fail(f"{value[1:]}: {error.strerror}", param, ctx)

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        """What help says."""
        return "TEXT|@FILE|-"


def _stack(command: Command, options: Iterable[Callable[[Any], Any]]) -> Command:
    for option in reversed(list(options)):
        command = option(command)
    return command


def url_option(command: Command) -> Command:
    """`--url`; the token comes from the environment alone, for a command line can be read by others."""
    return click.option(
        "--url",
        envvar="GUESTHOUSE_URL",
        default="http://127.0.0.1:8080",
        show_default=True,
        metavar="URL",
        help="The server to talk to.",
    )(command)


def config_options(command: Command) -> Command:
    """Where a server's state and configuration are: `--data-dir` and `--config`."""
    return _stack(
        command,
        [
            click.option(
                "--data-dir",
                type=click.Path(path_type=Path),
                metavar="DIR",
                help="Where the server's state is.  [default: in your home directory]",
            ),
            click.option(
                "--config",
                envvar="GUESTHOUSE_CONFIG",
                type=click.Path(path_type=Path),
                metavar="FILE",
                help="The configuration file.  [default: ./guesthouse.toml, if there]",
            ),
        ],
    )


def namespace_option(command: Command) -> Command:
    """`--namespace` of a function."""
    return click.option(
        "--namespace",
        envvar="GUESTHOUSE_NAMESPACE",
        default="default",
        show_default=True,
        metavar="NAME",
        help="The function's namespace.",
    )(command)


def request_options(command: Command) -> Command:
    """What a call sends: `--data`, `--method`, `--header`, `--query`."""
    return _stack(
        command,
        [
            click.option("-d", "--data", type=Body(), default=b"", show_default=False, help="The body."),
            click.option("-X", "--method", default="POST", show_default=True, metavar="METHOD", help="The method."),
            click.option("-H", "--header", type=Pair(":", "NAME:VALUE"), multiple=True, help="A header."),
            click.option("-q", "--query", type=Pair(), multiple=True, help="A query parameter."),
        ],
    )


def name_of(file: Path) -> str:
    """The function name that a file suggests: `target/release/hello_world.wasm` is `hello-world`."""
    return file.name.partition(".")[0].lower().replace("_", "-")
