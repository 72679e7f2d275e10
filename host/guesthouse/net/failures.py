"""How an outgoing request can fail, one class each, so that it can be told precisely and in stable words.

    OutboundError
    ├── InvalidUrl             not a URL that can be requested
    ├── InvalidHeader          a header that cannot go on the wire
    │   ├── InvalidHeaderName
    │   └── InvalidHeaderValue
    ├── InvalidMethod          not a method, or one that guests have no use for
    ├── Prohibited             the policy does not allow this destination
    ├── Ungranted              the deployment's own grants do not name it
    ├── Unsigned               the signature that was asked for could not be made
    ├── LimitReached           too many requests, of one invocation or of all
    ├── TooLarge               the response body is over its limit
    ├── ConnectTimeout         no connection in time
    │   └── CircuitOpen            the server did not answer lately: it was not asked
    ├── Timeout                connected, but no complete answer in time
    ├── ConnectionFailed       no such host, nobody there, refused
    ├── Interrupted            the connection ended before the answer did
    ├── TlsError               no trustworthy TLS connection
    └── Malformed              the answer is not HTTP

The texts go to guests.  They name what the guest itself sent and nothing else: no address, no errno, no Python object.
"""

from __future__ import annotations

from guesthouse.errors import BadRequest, GuesthouseError, Unavailable


class OutboundError(GuesthouseError):
    """The root of everything that an outgoing request can fail with."""

    text = "the request failed"

    def __init__(self, text: str = "") -> None:
        super().__init__(text or self.text)


class InvalidUrl(OutboundError, BadRequest):
    """Not a URL that can be requested; `url` is what was asked for."""

    def __init__(self, url: str, text: str) -> None:
        super().__init__(text)
        self.url = url


class InvalidHeader(OutboundError, BadRequest):
    """A header that cannot go on the wire; `subject` is its name or value, as it was given."""

    def __init__(self, subject: str, text: str) -> None:
        super().__init__(text)
        self.subject = subject


class InvalidHeaderName(InvalidHeader):
    """A header name that is not a token of RFC 9110."""


class InvalidHeaderValue(InvalidHeader):
    """A header value with characters that could end a line, or headers that are too many or too large together."""


class InvalidMethod(OutboundError, BadRequest):
    """Not a method of HTTP, or one (CONNECT) that would turn the request into a tunnel."""

    text = "the method is not valid"


class Prohibited(OutboundError, BadRequest):
    """The policy does not allow this destination; it never says why, since that would map the inside for a guest."""

    text = "destination prohibited"


class Ungranted(OutboundError, BadRequest):
    """The deployment's grants do not name this destination or method; says which, for it is no secret of the host's."""

    def __init__(self, method: str, origin: str) -> None:
        super().__init__(f"not granted: {method} {origin}")


class Unsigned(OutboundError, Unavailable):
    """The signature that was asked for could not be made, so nothing was sent."""

    text = "the request could not be signed"


class LimitReached(OutboundError, Unavailable):
    """Too many requests, of one invocation, one function, one namespace or the whole host."""

    text = "limit exceeded: too many outgoing requests at once"


class TooLarge(OutboundError, Unavailable):
    """The response body is over its limit."""

    text = "limit exceeded: the response body is too large"


class ConnectTimeout(OutboundError, Unavailable):
    """No connection (name, TCP, TLS) in time: the server has seen nothing of the request."""

    text = "connecting took too long"


class CircuitOpen(ConnectTimeout):
    """The server did not answer this function lately, and is not asked again yet: it has seen nothing of the request."""

    text = "the server did not answer lately, and is not asked again yet"


class Timeout(OutboundError, Unavailable):
    """Connected, but no complete answer in time: the server may have acted on the request."""

    text = "the answer took too long"


class ConnectionFailed(OutboundError, Unavailable):
    """No such host, nobody there, or refused: the server has seen nothing of the request."""

    text = "the connection could not be made"


class Interrupted(OutboundError, Unavailable):
    """The connection ended before the answer did: the server may have acted on the request."""

    text = "the connection ended before the answer was complete"


class TlsError(OutboundError, Unavailable):
    """No trustworthy TLS connection: certificate, host name or protocol."""

    text = "no trustworthy TLS connection could be made"


class Malformed(OutboundError, Unavailable):
    """The answer is not HTTP."""

    text = "the answer is not valid HTTP"
