"""`RunningCommand`: one run of a command, whose exit status and standard output become the answer to a request.

Status 0: the answer has HTTP status 200 and what was written to standard output as its body.  Any other: it failed, and
what it wrote goes to its log.
"""

from __future__ import annotations

import codecs
from typing import TYPE_CHECKING, Final

from guesthouse.dispatch.outcome import Outcome
from guesthouse.dispatch.prepared import Entry, Prepared
from guesthouse.dispatch.running import Running
from guesthouse.engine.values import Err
from guesthouse.errors import CommandFailed
from guesthouse.interfaces.invocation import ResponseSink, WebRequest
from guesthouse.interfaces.wasi import Exited, Program
from guesthouse.interfaces.wasi.stdio import LineWriter

if TYPE_CHECKING:
    from guesthouse.dispatch.dispatcher import Dispatcher

CONTENT_TYPE: Final = "content-type"
TYPE_VARIABLE: Final = "content_type"
"""The variable of a deployment that sets the type of all its answers."""
MOST_LOOKED_AT: Final = 64 * 1024
"""Bytes of an answer that are looked at for its type."""
UTF_8: Final = codecs.getincrementaldecoder("utf-8")
MAX_TYPE: Final = 256
"""Characters of a request's type that are repeated."""


class RunningCommand(Running):
    """A command that has a slot in the pool.  Raises `AdmissionFull` where there is none."""

    program: Program

    def __init__(
        self,
        dispatcher: Dispatcher,
        prepared: Prepared,
        entry: Entry,
        mode: str,
        id: str,
        request: WebRequest,
        response: ResponseSink | None,
        body: bytes,
    ) -> None:
        super().__init__(dispatcher, prepared, entry, mode, id, request, response)
        self.program = Program(self.deployment.name, self.deployment.manifest, request, body)

    def _complete_now(self) -> bool:
        return True

    async def _complete(self) -> None:
        """There is nothing to wait for."""

    def _finish(self) -> Outcome:
        code = self._exit_code()
        if code is not None:
            self._instance.error = None if code == 0 else CommandFailed(code)
        output = self.program.output.take()
        if code == 0:
            self._status, self._body = 200, output
            self._headers = [(CONTENT_TYPE, self._content_type(output))]
        elif output:
            self._tell(output)
        self._value = None
        return super()._finish()

    def _exit_code(self) -> int | None:
        """How it ended, if it came to its end."""
        error = self._instance.error
        if error is not None:
            return error.code if isinstance(error, Exited) else None
        return int(isinstance(self._value, Err))

    def _content_type(self, output: bytes) -> str:
        """What the deployment says, else that of the request, as the classic watchdog does it, else told from the bytes."""
        told = self.deployment.manifest.environment.get(TYPE_VARIABLE)
        for name, value in self.request.headers if told is None and self.request is not None else ():
            if name == CONTENT_TYPE:
                told = value
                break
        if told and len(told) <= MAX_TYPE and told.isascii() and told.isprintable():
            return told
        try:
            UTF_8().decode(output[:MOST_LOOKED_AT], final=len(output) <= MOST_LOOKED_AT)
        except UnicodeDecodeError:
            return "application/octet-stream"
        return "text/plain; charset=utf-8"

    def _tell(self, output: bytes) -> None:
        """Logs what a command has written that failed."""
        writer = LineWriter(self.log, "stdout", self.limits.log_lines)
        writer.write(output[: self.limits.log_bytes])
        writer.close()
