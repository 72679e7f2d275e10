"""What can be seen of the host from outside: metrics, the guests' own log lines, and the host's log.

The lowest layer: it knows nothing of what it is told about.  Nothing here blocks, fails its caller, or grows without
bound.
"""

from __future__ import annotations

from guesthouse.telemetry.durable import DurableCounts
from guesthouse.telemetry.hostlog import configure_logging, logger
from guesthouse.telemetry.metrics import Metrics, Recorder
from guesthouse.telemetry.records import Entry, FunctionLog, FunctionLogs, InvocationLog, LogRecord, Selection

__all__ = [
    "DurableCounts",
    "Entry",
    "FunctionLog",
    "FunctionLogs",
    "InvocationLog",
    "LogRecord",
    "Metrics",
    "Recorder",
    "Selection",
    "configure_logging",
    "logger",
]
