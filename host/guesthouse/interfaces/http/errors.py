"""What a guest is told about a request that failed: each failure of `net` as a case of the WIT `error` variants.

Promises: stable words that hold nothing but what the guest itself sent.  Must not know how requests are made.
"""

from __future__ import annotations

from typing import NamedTuple

from guesthouse.net.failures import (
    CircuitOpen,
    ConnectionFailed,
    ConnectTimeout,
    Interrupted,
    InvalidHeader,
    InvalidHeaderName,
    InvalidUrl,
    Malformed,
    OutboundError,
    Timeout,
    TlsError,
)

WitError = tuple[str, object]
"""A case of the variant `error` and its payload."""


class InvalidUrlRecord(NamedTuple):
    """`record invalid-url`"""

    url: str
    error: str


class InvalidHeaderNameRecord(NamedTuple):
    """`record invalid-header-name`"""

    header: str
    error: str


class InvalidHeaderValueRecord(NamedTuple):
    """`record invalid-header-value`"""

    value: str
    error: str


_PRECISE: dict[type[OutboundError], str] = {
    Timeout: "timeout",
    ConnectTimeout: "connect-timeout",
    CircuitOpen: "connect-timeout",
    ConnectionFailed: "connection-failed",
    Interrupted: "connection-interrupted",
    TlsError: "tls-error",
    Malformed: "malformed-response",
}
"""Cases that only 1.1.0 has; everything that is not here, and no wrong input, is `request-error` everywhere."""


def error_1_0(failure: OutboundError) -> WitError:
    """The case of `momento:http@1.0.0` and `momento:host@1.0.0`."""
    if isinstance(failure, InvalidUrl):
        return "invalid-url", InvalidUrlRecord(failure.url, str(failure))
    if isinstance(failure, InvalidHeaderName):
        return "invalid-header-name", InvalidHeaderNameRecord(failure.subject, str(failure))
    if isinstance(failure, InvalidHeader):
        return "invalid-header-value", InvalidHeaderValueRecord(failure.subject, str(failure))
    return "request-error", str(failure)


def error_1_1(failure: OutboundError) -> WitError:
    """The case of `momento:http@1.1.0`."""
    case = _PRECISE.get(type(failure))
    return error_1_0(failure) if case is None else (case, str(failure))
