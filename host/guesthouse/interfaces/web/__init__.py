"""Request metadata and streamed answers of web functions, and the rules for what may be in an answer's head."""

from guesthouse.interfaces.web.headers import BODILESS, check_headers, check_status
from guesthouse.interfaces.web.interface import WebInterface, finish_stream, stream_of
from guesthouse.interfaces.web.stream import ResponseStream

__all__ = ["BODILESS", "ResponseStream", "WebInterface", "check_headers", "check_status", "finish_stream", "stream_of"]
