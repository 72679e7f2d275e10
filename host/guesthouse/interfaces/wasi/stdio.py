"""`LineWriter`: what a guest writes to its standard output and error, as records of its log, one for each line.

Promises: memory for an unfinished line is bounded, bytes that are not UTF-8 are replaced, the last line is not lost.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from guesthouse.interfaces.invocation import Invocation, LogSink
    from guesthouse.interfaces.wasi.program import Output

MOST_LINE_BYTES = 8192
"""A longer line becomes several records."""
LEVELS = {"stdout": "info", "stderr": "error"}


class LineWriter:
    """One stream; `source` is `stdout` or `stderr`.

    After `lines` lines each write makes at most one more record: the log counts it as dropped, and a guest that writes
    nothing but line ends cannot keep the host busy.
    """

    __slots__ = ("_left", "_level", "_line", "_log", "_source")

    def __init__(self, log: LogSink, source: str, lines: int) -> None:
        self._log = log
        self._source = source
        self._level = LEVELS[source]
        self._line = bytearray()
        self._left = lines

    def write(self, data: bytes) -> None:
        """Takes bytes in and logs the lines that they complete."""
        pending = self._line
        pending += data
        if b"\n" not in data and len(pending) < MOST_LINE_BYTES:
            return
        if self._left <= 0:
            self.close()
            return
        *lines, rest = bytes(pending).split(b"\n", self._left)
        for line in lines:
            self._emit(line)
        if len(rest) >= MOST_LINE_BYTES or b"\n" in rest:
            self._emit(rest)
            rest = b""
        self._line = bytearray(rest)

    def close(self) -> None:
        """Logs what is there as the last line, though it has no end."""
        if self._line:
            self._emit(bytes(self._line))
            self._line.clear()

    def _emit(self, line: bytes) -> None:
        for start in range(0, len(line) or 1, MOST_LINE_BYTES):
            text = line[start : start + MOST_LINE_BYTES].removesuffix(b"\r").decode("utf-8", "replace")
            self._log.write(self._level, text, self._source)
            self._left -= 1
            if self._left < 0:
                return


class Stdio:
    """Standard output and error of one invocation, made when first asked for; a command's output is its answer."""

    __slots__ = ("_invocation", "_writers")

    def __init__(self, invocation: Invocation) -> None:
        self._invocation = invocation
        self._writers: dict[str, LineWriter] = {}

    def writer(self, source: str) -> LineWriter | Output:
        """The one writer of `stdout` or `stderr`; its last line is logged when the invocation ends."""
        if source == "stdout" and self._invocation.program is not None:
            return self._invocation.program.output
        writer = self._writers.get(source)
        if writer is None:
            log = self._invocation.log
            writer = self._writers[source] = LineWriter(log, source, self._invocation.limits.log_lines)
            self._invocation.closers.append(writer.close)
        return writer
