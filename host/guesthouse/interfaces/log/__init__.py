"""Logging: where a guest's records, and the host's records about it, go besides the function's log."""

from guesthouse.interfaces.log.destinations import LogDestination, Publish
from guesthouse.interfaces.log.interface import CloudWatch, LogInterface

__all__ = ["CloudWatch", "LogDestination", "LogInterface", "Publish"]
