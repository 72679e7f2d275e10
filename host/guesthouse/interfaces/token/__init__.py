"""`TokenInterface`: a guest makes disposable tokens for its clients, in both generations.

Promises: a token gives rights in the namespace of the function that made it and nowhere else; everything that stands
in the way is a value for the guest, never a trap.  Must not know how tokens are signed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from guesthouse.engine.values import Err, Ok
from guesthouse.errors import BadRequest, Forbidden
from guesthouse.interfaces.base import Effect, Interface, host_call
from guesthouse.registry.permissions import Permissions, TooMuch

if TYPE_CHECKING:
    from guesthouse.interfaces.invocation import Invocation
    from guesthouse.registry.disposable import DisposableTokens

TOKEN = "momento:token/token@1.0.0"
TOKEN_V1 = "momento:functions/token@1.0.0"

Response: TypeAlias = "tuple[str, str, int]"
"""api-key, endpoint, valid-until."""
Answer: TypeAlias = "Ok[Response] | Err[tuple[str, str | None]]"


class TokenInterface(Interface):
    """`token` of both generations."""

    name = "token"

    def __init__(self, tokens: DisposableTokens) -> None:
        self._tokens = tokens

    @host_call(TOKEN, "generate-disposable-token", Effect.READ)
    @host_call(TOKEN_V1, "generate-disposable-token", Effect.READ)
    def generate_disposable_token(
        self, invocation: Invocation, expires: tuple[int], permissions: str, token_id: str | None
    ) -> Answer:
        """A token with `permissions` (JSON), valid from now on for as many seconds as `expires` says.

        It is stored nowhere: making one reads the clock and the host's key, and changes nothing.
        """
        try:
            wanted = Permissions.parse(permissions).within(invocation.deployment.namespace)
            token, valid_until = self._tokens.generate(*expires, wanted, token_id)
        except TooMuch as error:
            return Err(("limit-exceeded", str(error)))
        except BadRequest as error:
            return Err(("invalid-argument", str(error)))
        except Forbidden as error:
            return Err(("permission-denied", str(error)))
        return Ok((token, self._tokens.endpoint, valid_until))
