"""How a call of an AWS service can fail: `AwsFailure`, and what each error code of AWS means.

Promises: every failure has one of six kinds and a text that a guest may read, without keys, tokens or signatures, of
bounded length.  Must not know of botocore: the extra may be missing.
"""

from __future__ import annotations

from collections.abc import Iterable

from guesthouse.errors import Unavailable

UNAUTHORIZED = "unauthorized"
MALFORMED = "malformed"
NOT_FOUND = "not-found"
THROTTLED = "throttled"
TIMEOUT = "timeout"
OTHER = "other"

MOST_TEXT = 1_000
"""Characters of a text: the service's first sentences."""

_UNAUTHORIZED = frozenset(
    {
        "AccessDenied",
        "AccessDeniedException",
        "AccountProblem",
        "AllAccessDisabled",
        "AuthFailure",
        "AuthorizationHeaderMalformed",
        "ExpiredToken",
        "ExpiredTokenException",
        "IncompleteSignature",
        "IncompleteSignatureException",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "InvalidSecurity",
        "InvalidSignatureException",
        "InvalidToken",
        "KMSAccessDeniedException",
        "MissingAuthenticationToken",
        "MissingAuthenticationTokenException",
        "NotAuthorized",
        "NotSignedUp",
        "OptInRequired",
        "RegionDisabledException",
        "RequestExpired",
        "RequestTimeTooSkewed",
        "SignatureDoesNotMatch",
        "TokenRefreshRequired",
        "UnauthorizedAccess",
        "UnauthorizedException",
        "UnauthorizedOperation",
        "UnrecognizedClientException",
    }
)
_SIGNATURE = frozenset({"SignatureDoesNotMatch", "InvalidSignatureException"})
"""Their texts quote the request as it should have been signed, session token and all."""
_THROTTLED = frozenset(
    {
        "BandwidthLimitExceeded",
        "EC2ThrottledException",
        "LimitExceededException",
        "PriorRequestNotComplete",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "ThrottledException",
        "TooManyRequestsException",
        "TransactionInProgressException",
    }
)
_NOT_FOUND = frozenset({"404", "NoSuchKey", "ResourceNotFoundException"})
_MALFORMED = frozenset(
    {
        "BadDigest",
        "BadRequest",
        "EntityTooLarge",
        "EntityTooSmall",
        "KeyTooLongError",
        "MetadataTooLarge",
        "MissingParameter",
        "RequestEntityTooLargeException",
        "RequestHeaderSectionTooLarge",
        "RequestTooLargeException",
        "SerializationException",
        "UnsupportedMediaTypeException",
    }
)
_MALFORMED_PREFIXES = ("Invalid", "Malformed", "Validation")
_NO_FAULT_OF_THE_REQUEST = frozenset({"InvalidObjectState"})
"""An archived object: nothing is wrong with the question."""


class AwsFailure(Unavailable):
    """A call that AWS, the way to it or this host did not answer; `kind` is one of the words of this module."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind


def of_service(code: str, message: str, status: int, secrets: Iterable[str] = ()) -> AwsFailure:
    """The failure that an error answer of a service stands for; `secrets` are taken out of its text."""
    if code in _SIGNATURE:
        message = "the signature does not match: the secret access key is not the one of this access key id"
    return AwsFailure(_kind(code, status), clean(f"{code}: {message}" if message else code, secrets))


def clean(text: str, secrets: Iterable[str] = ()) -> str:
    """`text` on one line, not too long, without the secrets."""
    for secret in secrets:
        if secret:
            text = text.replace(secret, "***")
    text = " ".join("".join(character if character.isprintable() else " " for character in text).split())
    return text if len(text) <= MOST_TEXT else text[:MOST_TEXT] + "…"


def _kind(code: str, status: int) -> str:
    if code in _UNAUTHORIZED:
        return UNAUTHORIZED
    if code in _THROTTLED or status == 429:
        return THROTTLED
    if code in _NOT_FOUND:
        return NOT_FOUND
    if code in _NO_FAULT_OF_THE_REQUEST:
        return OTHER
    if code in _MALFORMED or code.startswith(_MALFORMED_PREFIXES):
        return MALFORMED
    return UNAUTHORIZED if status in (401, 403) else OTHER
