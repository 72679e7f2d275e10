"""What AWS does with a signature: computes it again from the request as it came over the wire, and compares.

Promises: written from AWS's description of Signature Version 4, and shares nothing with what signs.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from urllib.parse import quote, unquote_to_bytes

from upstream import Received

AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<key>[^/]+)/(?P<day>\d{8})/(?P<region>[^/]+)/(?P<service>[^/]+)/aws4_request, "
    r"SignedHeaders=(?P<signed>[a-z0-9;!#$%&'*+.^_`|~-]+), Signature=(?P<signature>[0-9a-f]{64})\Z"
)


def encode(text: str, safe: str = "") -> str:
    """What AWS calls UriEncode, of what the text stands for."""
    return quote(unquote_to_bytes(text), safe=f"-_.~{safe}")


def canonical_path(path: str, service: str) -> str:
    """Once encoded for S3; for the others normalised, and what was sent encoded once more."""
    if service.startswith("s3"):
        return encode(path, "/")
    segments: list[str] = []
    for segment in path.split("/"):
        if segment == "..":
            segments[-1:] = []
        elif segment not in ("", "."):
            segments.append(segment)
    trailing = "/" if path.endswith("/") and segments else ""
    return quote("/" + "/".join(segments) + trailing, safe="/-_.~")


def canonical_query(query: str) -> str:
    """Names and values encoded, in the order of the encoded names, then values."""
    pairs = (pair.partition("=") for pair in query.split("&")) if query else ()
    return "&".join(
        f"{name}={value}" for name, value in sorted((encode(name), encode(value)) for name, _, value in pairs)
    )


def verified(request: Received, secret: str) -> dict[str, str]:
    """What the signature says of itself; fails where it is not the signature of this request."""
    (authorization,) = request.values("authorization")
    match = AUTHORIZATION.match(authorization)
    assert match is not None, authorization
    said = match.groupdict()
    signed = said["signed"].split(";")
    assert signed == sorted(signed)
    assert "host" in signed
    assert {name.lower() for name, _ in request.headers if name.lower().startswith("x-amz-")} <= set(signed)
    method, target, _ = request.line.split(" ")
    path, _, query = target.partition("?")
    (moment,) = request.values("x-amz-date")
    assert moment[:8] == said["day"]
    hashed = hashlib.sha256(request.body).hexdigest()
    assert request.values("x-amz-content-sha256") in ([], [hashed])
    lines = [method, canonical_path(path, said["service"]), canonical_query(query)]
    for name in signed:
        lines.append(f"{name}:" + ",".join(re.sub(" +", " ", value.strip()) for value in request.values(name)))
    canonical = "\n".join([*lines, "", said["signed"], hashed])
    scope = f"{said['day']}/{said['region']}/{said['service']}/aws4_request"
    text = f"AWS4-HMAC-SHA256\n{moment}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    key = f"AWS4{secret}".encode()
    for part in scope.split("/"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    assert hmac.new(key, text.encode(), hashlib.sha256).hexdigest() == said["signature"], canonical
    return said
