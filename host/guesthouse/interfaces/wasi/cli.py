"""`wasi:cli`: arguments, environment, exit and the standard streams of a program that has no terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from guesthouse.engine.values import Err
from guesthouse.interfaces.base import Effect, host_call
from guesthouse.interfaces.wasi.io import InputStream, OutputStream
from guesthouse.interfaces.wasi.state import Exited, Part, arguments, environment

if TYPE_CHECKING:
    from guesthouse.engine.values import Ok
    from guesthouse.interfaces.invocation import Invocation

ENVIRONMENT = "wasi:cli/environment@0.2.12"
EXIT = "wasi:cli/exit@0.2.12"
STDIN = "wasi:cli/stdin@0.2.12"
STDOUT = "wasi:cli/stdout@0.2.12"
STDERR = "wasi:cli/stderr@0.2.12"
TERMINAL_INPUT = "wasi:cli/terminal-input@0.2.12"
TERMINAL_OUTPUT = "wasi:cli/terminal-output@0.2.12"


class TerminalInput:
    """Never made: there is no terminal."""


class TerminalOutput:
    """Never made: there is no terminal."""


class Cli(Part):
    """The `wasi:cli` imports."""

    @host_call(ENVIRONMENT, "get-environment", Effect.READ)
    def get_environment(self, invocation: Invocation) -> list[tuple[str, str]]:
        return environment(invocation)

    @host_call(ENVIRONMENT, "get-arguments")
    def get_arguments(self, invocation: Invocation) -> list[str]:
        return arguments(invocation)

    @host_call(ENVIRONMENT, "initial-cwd")
    def initial_cwd(self, invocation: Invocation) -> None:
        """There is no directory to be in."""

    @host_call(EXIT, "exit")
    def exit(self, invocation: Invocation, status: Ok[Any] | Err[Any]) -> NoReturn:
        failed = isinstance(status, Err)
        raise Exited(int(failed), "failure" if failed else "success")

    @host_call(EXIT, "exit-with-code")
    def exit_with_code(self, invocation: Invocation, status: int) -> NoReturn:
        raise Exited(status)

    @host_call(STDIN, "get-stdin")
    def get_stdin(self, invocation: Invocation) -> InputStream:
        return InputStream(self._stdin(invocation))

    @host_call(STDOUT, "get-stdout")
    def get_stdout(self, invocation: Invocation) -> OutputStream:
        return OutputStream(self._stdio(invocation).writer("stdout"))

    @host_call(STDERR, "get-stderr")
    def get_stderr(self, invocation: Invocation) -> OutputStream:
        return OutputStream(self._stdio(invocation).writer("stderr"))

    @host_call("wasi:cli/terminal-stdin@0.2.12", "get-terminal-stdin")
    @host_call("wasi:cli/terminal-stdout@0.2.12", "get-terminal-stdout")
    @host_call("wasi:cli/terminal-stderr@0.2.12", "get-terminal-stderr")
    def get_terminal(self, invocation: Invocation) -> None:
        """Nothing here is a terminal."""
