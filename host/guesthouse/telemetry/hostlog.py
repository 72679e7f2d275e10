"""The host's own log: structured records through structlog, one line each, on standard error.

Lines of guests do not come here (see `records`): a guest cannot flood or forge it.  structlog is imported when the
first line is written or the log is configured, so that importing the library stays cheap.
"""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from structlog.typing import EventDict, WrappedLogger

NAME = "guesthouse"


class HostLogger:
    """Writes events with named values: `log.info("deployed", function=path)`; `bind` adds values to all of them."""

    __slots__ = ("_name", "_values")

    def __init__(self, name: str, values: dict[str, Any] | None = None) -> None:
        self._name = name
        self._values = values or {}

    def bind(self, **values: Any) -> HostLogger:
        """A logger that adds `values` to every event: `invocation_id` for all that is about one invocation."""
        return HostLogger(self._name, {**self._values, **values})

    def debug(self, event: str, **values: Any) -> None:
        """An event that only a developer wants to see."""
        self._write(logging.DEBUG, event, values)

    def info(self, event: str, **values: Any) -> None:
        """An event of normal work."""
        self._write(logging.INFO, event, values)

    def warning(self, event: str, **values: Any) -> None:
        """Something that somebody may have to look at."""
        self._write(logging.WARNING, event, values)

    def error(self, event: str, **values: Any) -> None:
        """Something failed; `exc_info=error` adds its traceback."""
        self._write(logging.ERROR, event, values)

    def _write(self, level: int, event: str, values: dict[str, Any]) -> None:
        log = logging.getLogger(self._name)
        if log.isEnabledFor(level):
            import structlog

            bound = structlog.wrap_logger(log, wrapper_class=structlog.stdlib.BoundLogger, processors=_processors())
            bound.log(level, event, **self._values, **values)


def logger(name: str) -> HostLogger:
    """The logger of one part of the host, named `guesthouse.<name>` in the standard library's tree."""
    return HostLogger(name if name.startswith(NAME) else f"{NAME}.{name}")


def configure_logging(json: bool = False, level: str = "info", stream: TextIO | None = None) -> None:
    """Sends the host's events, and warnings of its libraries, to `stream` (standard error), as JSON or for people."""
    import structlog

    renderer: Any = (
        structlog.processors.JSONRenderer(serializer=_dumps)
        if json
        else structlog.dev.ConsoleRenderer(
            colors=(stream or sys.stderr).isatty(),
            exception_formatter=structlog.dev.plain_traceback,  # the others print local variables: bodies and tokens
        )
    )
    last: list[Any] = [structlog.stdlib.ProcessorFormatter.remove_processors_meta]
    last += [_format_exception, renderer] if json else [renderer]
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=_shared_processors(), processors=last))
    root = logging.getLogger()
    for old in [handler for handler in root.handlers if getattr(handler, "guesthouse", False)]:
        root.removeHandler(old)
    handler.guesthouse = True  # type: ignore[attr-defined]  # so that configuring twice does not write twice
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    logging.getLogger(NAME).setLevel(level.upper())


def _shared_processors() -> list[Any]:
    import structlog

    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]


def _processors() -> list[Any]:
    import structlog

    return [*_shared_processors(), structlog.stdlib.ProcessorFormatter.wrap_for_formatter]


def _format_exception(log: WrappedLogger, method: str, event: EventDict) -> EventDict:
    import structlog

    return structlog.processors.format_exc_info(log, method, event)


def _dumps(value: Any, **_: Any) -> str:
    import orjson

    return orjson.dumps(value, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
