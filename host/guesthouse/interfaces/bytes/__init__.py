"""Byte buffers that the host owns and guests read: `Buffer`, helpers for `data` values, and `momento:bytes`."""

from guesthouse.interfaces.bytes.buffer import Buffer, Data, StreamFailed, buffer_of, collect, discard, peek, stream
from guesthouse.interfaces.bytes.interface import BYTES, BytesInterface, stream_error

__all__ = [
    "BYTES",
    "Buffer",
    "BytesInterface",
    "Data",
    "StreamFailed",
    "buffer_of",
    "collect",
    "discard",
    "peek",
    "stream",
    "stream_error",
]
