"""Every error that guesthouse raises, in one tree, with the one table to HTTP problem types.

    GuesthouseError
    ├── InputError            the caller's mistake, found before any work is done
    │   ├── BadRequest            malformed argument, header, JSON, limit                400
    │   ├── Unauthorized          no token, or one that is not valid (any more)          401
    │   ├── Forbidden             a valid token without the scope                        403
    │   ├── NotFound              no such function, version, log, route                  404
    │   ├── BodyTooLarge          a body over the deployment's limit                     413
    │   └── InvalidModule         not WebAssembly, or not one that can run here          422
    │       └── LinkError             an import or export that does not fit              422
    │           └── NotGranted            an import that the deploy does not grant           422
    ├── Trap                  the guest's fault: it ended without an answer              502
    │   ├── CommandFailed         a command ended with an exit status other than 0         500
    │   ├── BadAnswer             it answered, but nonsense (status 99, a CR in a header)  502
    │   ├── DeadlineExceeded      its time ran out                                       504
    │   └── FuelExhausted         its fuel ran out                                       504
    ├── Unavailable           the world's fault, or a passing state of this host         503
    │   ├── AdmissionFull         no room for one more invocation; retry later           429
    │   ├── Draining              the host is shutting down                              503
    │   └── Cancelled             the caller went away, or cancelled                     499
    └── HostError             our fault: a bug, or a broken installation                 500

`problem_type` is the stable last part of the RFC 9457 `type` of the HTTP answer.  The text of an error may name what the
*caller* sent; a text that comes from a guest goes to that function's log, never into an HTTP answer (see `public`).
"""

from __future__ import annotations

from typing import ClassVar


class GuesthouseError(Exception):
    """The root of every error that guesthouse raises on purpose."""

    status: ClassVar[int] = 500
    problem_type: ClassVar[str] = "host-error"
    title: ClassVar[str] = "The host failed"
    traced: ClassVar[bool] = False
    """Whether people want to know where the guest was when its host call raised this: then that is its `backtrace`."""
    backtrace = ""

    @property
    def public(self) -> str:
        """The text that a client may read: the message, unless it could carry a guest's words."""
        return str(self)


class InputError(GuesthouseError, ValueError):
    """The caller's mistake, found before any work was done."""

    status = 400
    problem_type = "bad-request"
    title = "The request is not valid"


class BadRequest(InputError):
    """A malformed argument, header, name, JSON text or limit."""


class Unauthorized(InputError):
    """No token where one is needed, or one that is unknown, expired or revoked."""

    status = 401
    problem_type = "unauthorized"
    title = "A valid token is required"


class Forbidden(InputError):
    """A valid token that lacks the scope for this."""

    status = 403
    problem_type = "forbidden"
    title = "The token does not allow this"


class NotFound(InputError):
    """No such function, version or route."""

    status = 404
    problem_type = "not-found"
    title = "There is no such function"


class BodyTooLarge(InputError):
    """A request body over the limit of the deployment or of the host."""

    status = 413
    problem_type = "body-too-large"
    title = "The body is too large"


class InvalidModule(InputError):
    """Bytes that are not WebAssembly, or a module that cannot run here; the text says why."""

    status = 422
    problem_type = "invalid-module"
    title = "The module cannot run here"


class LinkError(InvalidModule):
    """An import or export that does not fit: names the interface, the function, what was expected and what was found."""

    problem_type = "link-error"
    title = "The module's imports or exports do not fit"


class NotGranted(LinkError):
    """An import that the deploy does not grant; the text lists all of them, so that one more try is enough."""

    problem_type = "not-granted"
    title = "The module uses what it was not granted"


class Trap(GuesthouseError):
    """The guest ended without an answer: `reason` is a short stable word, the message the whole story (for its log)."""

    status = 502
    problem_type = "guest-trapped"
    title = "The function failed"

    def __init__(self, message: str, reason: str = "trap") -> None:
        super().__init__(message)
        self.reason = reason

    @property
    def public(self) -> str:
        return "The function ended without an answer; its log says why."


class CommandFailed(Trap):
    """A command said by its exit status (`code`, not 0) that it failed."""

    status = 500
    problem_type = "command-failed"
    title = "The command failed"

    def __init__(self, code: int) -> None:
        super().__init__(f"the command ended with exit status {code}", "exit")
        self.code = code

    @property
    def public(self) -> str:
        return f"The command ended with exit status {self.code}; its log says why."


class BadAnswer(Trap):
    """The guest answered something that cannot be passed on."""

    problem_type = "bad-answer"
    title = "The function answered nonsense"

    def __init__(self, message: str, reason: str = "bad-answer") -> None:
        super().__init__(message, reason)

    @property
    def public(self) -> str:
        return "The function's answer is not valid HTTP; its log says why."


class DeadlineExceeded(Trap):
    """The invocation's time ran out."""

    status = 504
    problem_type = "deadline-exceeded"
    title = "The function took too long"

    def __init__(self, message: str = "the deadline passed", reason: str = "deadline") -> None:
        super().__init__(message, reason)

    @property
    def public(self) -> str:
        return "The function did not finish within its deadline."


class FuelExhausted(Trap):
    """The invocation's fuel ran out."""

    status = 504
    problem_type = "fuel-exhausted"
    title = "The function used up its fuel"

    def __init__(self, message: str = "all fuel was used", reason: str = "fuel") -> None:
        super().__init__(message, reason)

    @property
    def public(self) -> str:
        return "The function used up the fuel it was given."


class Unavailable(GuesthouseError):
    """The world outside, or a passing state of this host, stands in the way."""

    status = 503
    problem_type = "unavailable"
    title = "Not available right now"


class AdmissionFull(Unavailable):
    """No room for one more invocation; `retry_after` is in seconds."""

    status = 429
    problem_type = "admission-full"
    title = "Too many invocations at once"

    def __init__(self, message: str = "too many invocations are running", retry_after: int = 1) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Draining(Unavailable):
    """The host is shutting down and takes no new work."""

    problem_type = "draining"
    title = "The host is shutting down"

    def __init__(self, message: str = "the host is shutting down") -> None:
        super().__init__(message)


class Cancelled(Unavailable):
    """The invocation was cancelled, for example because its caller went away."""

    status = 499
    problem_type = "cancelled"
    title = "The invocation was cancelled"

    def __init__(self, message: str = "the invocation was cancelled") -> None:
        super().__init__(message)


class HostError(GuesthouseError):
    """A bug of ours, or an installation that does not fit together."""

    @property
    def public(self) -> str:
        return "The host failed; its log says why."
