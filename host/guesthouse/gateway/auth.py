"""`Gate`: whose request this is, and whether that token may do what is asked (C8).

Promises: a token in the store closes the gate for good; while there is none, everybody who reaches the server may do
everything, which is why it then listens on loopback only, and answers only to names of this machine: a web page whose
name was pointed at 127.0.0.1 cannot reach it.  Also there a request that shows a disposable token may do what that token
allows and no more, so that whoever makes such tokens sees what they do.  A token that was used here is not shown to the
guest.
"""

from __future__ import annotations

import binascii
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from guesthouse.errors import BadRequest, Forbidden, Unauthorized
from guesthouse.gateway.routes import ANY_TOKEN, MANAGE, OPEN, OWNED
from guesthouse.gateway.services import DisposableTokens, Principal, Tokens
from guesthouse.registry.deployment import Deployment
from guesthouse.registry.disposable import PREFIX as DISPOSABLE
from guesthouse.registry.principal import ANYBODY, LOCAL, CacheAction, TopicAction
from guesthouse.registry.tokens import PREFIX as KEPT

OWN_HEADER: Final = "x-momento-authorization"
"""Carries our token where `authorization` is meant for somebody behind the guest."""
PARAMETER: Final = "token"
WATCHED: Final = frozenset({"origin", "authorization", OWN_HEADER})
"""Headers that matter also where no token is needed."""
LOCAL_NAMES: Final = frozenset({b"", b"localhost", b"[::1]"})
_MOST_HOSTS: Final = 64


class Credential(NamedTuple):
    """A token and where it was found."""

    token: str
    header: str
    """Empty: in the query."""
    basic: bool = False
    """It is a password, which a browser may have shown by itself."""


class Gate:
    """Decides for every request; `refresh` has to be called now and then."""

    def __init__(self, tokens: Tokens, disposable: DisposableTokens | None = None) -> None:
        self._tokens = tokens
        self._disposable = disposable
        self._local_hosts: set[bytes] = set()
        self.closed = tokens.any()
        """True once there was a token."""

    def refresh(self) -> None:
        """Notices a first token, also one that another process made."""
        if not self.closed:
            self.closed = self._tokens.any()

    def check_local(
        self, host: bytes, fields: Iterable[tuple[str, bytes]], query: Sequence[tuple[str, str]] = ()
    ) -> bool:
        """While there is no token: `Forbidden` for what a page of another site made a browser on this machine send.

        Its Host, or the Origin that browsers add, is not this machine by one of its own names.  True where the request
        shows a disposable token: then that decides.
        """
        self._check_name(host)
        shown = False
        for name, value in fields:
            if name in WATCHED:
                if name == "origin":
                    self._check_name(value.partition(b"://")[2] or b"null")
                else:
                    shown |= _bare(value).startswith(DISPOSABLE)
        if query and not shown:
            shown = any(name == PARAMETER and value.startswith(DISPOSABLE) for name, value in query)
        return shown

    def _check_name(self, host: bytes) -> None:
        if host in self._local_hosts:
            return
        name = host.lower()
        if name.rpartition(b":")[2].isdigit():
            name = name.rpartition(b":")[0]
        if name not in LOCAL_NAMES and not name.endswith(b".localhost") and not _is_loopback(name):
            raise Forbidden("while there is no token, only requests to localhost are answered")
        if len(self._local_hosts) < _MOST_HOSTS:
            self._local_hosts.add(host)

    def identify(
        self, fields: Sequence[tuple[str, bytes]], query: Sequence[tuple[str, str]]
    ) -> tuple[Principal, Credential]:
        """Whose token the request has, where it needs one; raises `Unauthorized`, `Forbidden` or `BadRequest`."""
        credential = find_credential(fields, query)
        if credential is None:
            raise Unauthorized("a token is needed")
        principal = self._tokens.verify(credential.token) or self._verify_disposable(credential.token)
        if credential.basic:
            _check_site(fields)
        return principal, credential

    def _verify_disposable(self, token: str) -> Principal:
        if self._disposable is None or not token.startswith(DISPOSABLE):
            raise Unauthorized("the token is not valid, or not any more")
        return self._disposable.verify(token)

    def admit(
        self,
        scope: str,
        fields: Sequence[tuple[str, bytes]],
        query: Sequence[tuple[str, str]],
        host: bytes,
        namespace: str | None = None,
        name: str | None = None,
    ) -> Principal:
        """Whose request this is, if it may use a route of this scope; raises `Unauthorized` or `Forbidden`."""
        if scope in OPEN:
            return LOCAL
        if not self.closed and not self.check_local(host, fields, query):
            return LOCAL
        principal, _ = self.identify(fields, query)
        if scope not in (ANY_TOKEN, OWNED):
            permit(principal, scope, namespace, name)
        return principal


def permit(principal: Principal, scope: str, namespace: str | None, name: str | None) -> None:
    """Raises `Forbidden` unless the token's scope covers this."""
    if not principal.allows(scope, namespace, name):
        raise Forbidden(f"the token does not have the scope {scope!r} here")


def permit_secrets(principal: Principal, namespace: str, wanted: Iterable[str], deployed: Deployment | None) -> None:
    """Raises `Forbidden` where a token that is not for the whole namespace gives a function more secrets than it has.

    Whoever chooses what a function runs reads its secrets, and secrets are the whole namespace's.
    """
    more = set(wanted).difference(() if deployed is None else deployed.manifest.secrets)
    if more and not principal.allows(MANAGE, namespace):
        raise Forbidden(f"the secret {min(more)[:64]!r}: only a token for all of {namespace} can give it to a function")


def permit_cache(principal: Principal, action: CacheAction, namespace: str, key: bytes) -> None:
    """Raises `Forbidden` unless the token covers this action on this very item; after the route's own scope."""
    if not principal.allows_cache(action, namespace, key):
        raise Forbidden(f"the token does not allow a {action} of this item")


def permit_topic(principal: Principal, action: TopicAction, namespace: str, topic: str) -> None:
    """Raises `Forbidden` unless the token covers this action on this very topic; after the route's own scope."""
    if not principal.allows_topic(action, namespace, topic):
        raise Forbidden(f"the token does not allow to {action} here")


def find_credential(fields: Sequence[tuple[str, bytes]], query: Sequence[tuple[str, str]]) -> Credential | None:
    """The one token of a request; raises `BadRequest` where there is more than one."""
    found: dict[str, bytes] = {}
    for name, value in fields:
        if name in ("authorization", OWN_HEADER):
            if name in found:
                raise BadRequest(f"there is more than one {name} header")
            found[name] = value
    parameters = [value for name, value in query if name == PARAMETER] if query else []
    if len(parameters) + bool(found) > 1:
        raise BadRequest("give one token: in a header or as the parameter 'token'")
    if parameters:
        return Credential(parameters[0], "")
    for name in (OWN_HEADER, "authorization"):
        if name in found:
            return Credential(_bare(found[name]), name, found[name][:6].lower() == b"basic ")
    return None


def find_stranger(fields: Sequence[tuple[str, bytes]], query: Sequence[tuple[str, str]]) -> Principal | None:
    """Who calls a function that is open to the public; `None` for who shows what is, or was, a token of ours.

    That is nobody else's business.
    """
    credential = find_credential(fields, query)
    if credential is not None and credential.token.startswith((KEPT, DISPOSABLE)):
        return None
    return ANYBODY


def _bare(value: bytes) -> str:
    """The token in `<token>` or `Bearer <token>`, or the password of `Basic …`, whatever the user's name is."""
    text = value.decode("latin-1").strip()
    scheme, space, rest = text.partition(" ")
    if not space or scheme.lower() not in ("bearer", "basic"):
        return text
    rest = rest.strip()
    if scheme.lower() == "bearer":
        return rest
    try:
        return binascii.a2b_base64(rest, strict_mode=True).decode("latin-1").partition(":")[2]
    except (binascii.Error, ValueError):
        return text


def _check_site(fields: Iterable[tuple[str, bytes]]) -> None:
    """Raises `Forbidden` for what a page of another site made a browser send.

    A browser that was once told a password shows it with every request to that host, whoever causes it; other credentials
    are shown by those only who know them.
    """
    host = origin = site = b""
    for name, value in fields:
        if name == "host":
            host = value.lower()
        elif name == "origin":
            origin = value.lower().partition(b"://")[2] or b"null"
        elif name == "sec-fetch-site":
            site = value
    if site not in (b"", b"same-origin", b"none") or (origin and origin != host):
        raise Forbidden("a page of another site may not use a password that the browser keeps")


def _is_loopback(name: bytes) -> bool:
    parts = name.split(b".")
    return len(parts) == 4 and parts[0] == b"127" and all(part.isdigit() and len(part) < 4 for part in parts)
