"""`Gate`: whose request this is, and whether that token may do what is asked (C8).

Promises: a token in the store closes the gate for good; while there is none, everybody who reaches the server may do
everything, which is why it then listens on loopback only, and answers only to names of this machine: a web page whose
name was pointed at 127.0.0.1 cannot reach it.  Also there a request that shows a disposable token may do what that token
allows and no more, so that whoever makes such tokens sees what they do.  A token that was used here is not shown to the
guest.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from guesthouse.errors import BadRequest, Forbidden, Unauthorized
from guesthouse.gateway.routes import ANY_TOKEN, PUBLIC
from guesthouse.gateway.services import DisposableTokens, Principal, Tokens
from guesthouse.registry.disposable import PREFIX as DISPOSABLE
from guesthouse.registry.principal import LOCAL, CacheAction, TopicAction

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
        self, fields: Iterable[tuple[str, bytes]], query: Sequence[tuple[str, str]]
    ) -> tuple[Principal, Credential]:
        """Whose token the request has, where it needs one; raises `Unauthorized` or `BadRequest`."""
        credential = find_credential(fields, query)
        if credential is None:
            raise Unauthorized("a token is needed")
        return self._tokens.verify(credential.token) or self._verify_disposable(credential.token), credential

    def _verify_disposable(self, token: str) -> Principal:
        if self._disposable is None or not token.startswith(DISPOSABLE):
            raise Unauthorized("the token is not valid, or not any more")
        return self._disposable.verify(token)

    def admit(
        self,
        scope: str,
        fields: Iterable[tuple[str, bytes]],
        query: Sequence[tuple[str, str]],
        host: bytes,
        namespace: str | None = None,
        name: str | None = None,
    ) -> Principal:
        """Whose request this is, if it may use a route of this scope; raises `Unauthorized` or `Forbidden`."""
        if scope == PUBLIC:
            return LOCAL
        if not self.closed and not self.check_local(host, fields, query):
            return LOCAL
        principal, _ = self.identify(fields, query)
        if scope != ANY_TOKEN:
            permit(principal, scope, namespace, name)
        return principal


def permit(principal: Principal, scope: str, namespace: str | None, name: str | None) -> None:
    """Raises `Forbidden` unless the token's scope covers this."""
    if not principal.allows(scope, namespace, name):
        raise Forbidden(f"the token does not have the scope {scope!r} here")


def permit_cache(principal: Principal, action: CacheAction, namespace: str, key: bytes) -> None:
    """Raises `Forbidden` unless the token covers this action on this very item; after the route's own scope."""
    if not principal.allows_cache(action, namespace, key):
        raise Forbidden(f"the token does not allow a {action} of this item")


def permit_topic(principal: Principal, action: TopicAction, namespace: str, topic: str) -> None:
    """Raises `Forbidden` unless the token covers this action on this very topic; after the route's own scope."""
    if not principal.allows_topic(action, namespace, topic):
        raise Forbidden(f"the token does not allow to {action} here")


def find_credential(fields: Iterable[tuple[str, bytes]], query: Sequence[tuple[str, str]]) -> Credential | None:
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
            return Credential(_bare(found[name]), name)
    return None


def _bare(value: bytes) -> str:
    """The token in `<token>` or `Bearer <token>`."""
    text = value.decode("latin-1").strip()
    scheme, space, rest = text.partition(" ")
    return rest.strip() if space and scheme.lower() == "bearer" else text


def _is_loopback(name: bytes) -> bool:
    parts = name.split(b".")
    return len(parts) == 4 and parts[0] == b"127" and all(part.isdigit() and len(part) < 4 for part in parts)
