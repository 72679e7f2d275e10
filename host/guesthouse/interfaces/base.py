"""`Interface`: what a host interface is, in three moments: configured at deploy, opened per invocation, called by the guest.

An interface is one folder.  Nothing else in the project names it: its WIT comes from `abi/` (or from `wit_text`, for
interfaces that users write), its functions are found by the `@host_call` marks on its methods.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from guesthouse.engine.hostcall import Effect, HostCall
from guesthouse.engine.values import Err
from guesthouse.errors import BadRequest, Trap

if TYPE_CHECKING:
    from guesthouse.interfaces.invocation import Invocation
    from guesthouse.registry.deployment import Deployment

__all__ = ["Effect", "HostCall", "Interface", "host_call"]

Method = TypeVar("Method", bound=Callable[..., Any])


def host_call(
    interface: str, function: str, effect: Effect = Effect.NONE, *, blocking: bool = False, core: str | None = None
) -> Callable[[Method], Method]:
    """Marks a method as the answer to a WIT function; may be stacked to answer several (both generations of an interface).

    The method is called as `method(invocation, *args)` with the values of `engine.values`, and returns the WIT result
    in the same form; see `HostCall` for `core`.  It may be plain or `async def` (or plain and return a coroutine where
    it has to wait), runs on the host's loop, and needs no locks.  `blocking=True` says that a plain method blocks: it
    gets a thread.  Whatever it raises becomes a trap of that one invocation.
    """

    def mark(method: Method) -> Method:
        marks = getattr(method, "__host_calls__", ())
        method.__host_calls__ = (*marks, (interface, function, effect, blocking, core))  # type: ignore[attr-defined]
        return method

    return mark


class Interface:
    """One capability of the host.  Subclass it, mark methods with `host_call`, and hand an object of it to the `Host`."""

    name: ClassVar[str]
    """The word for it in grants, metrics and the configuration: `cache`, `http`, `log`."""
    wit: ClassVar[str] = ""
    """WIT text of an interface that is not in `abi/`; users' own interfaces put theirs here."""
    resources: ClassVar[dict[tuple[str, str], type]] = {}
    """Python class of each resource it owns, by (interface id, resource name).  An object of it is what handles stand for;
    its `close()`, if it has one, is called when the guest drops the handle or the invocation ends."""
    ambient: ClassVar[bool] = False
    """True for what every guest may use without a grant (bytes, web support, WASI)."""

    local: ClassVar[bool] = False
    """True for what touches nothing but the invocation: a synchronous caller's thread then answers it itself."""

    transactional: bool = False
    """Whether what its WRITE calls change is in the host's own database: each by units of work with plain results, which a
    durable invocation has committed in one transaction with its journal."""

    def check_grant(self, pattern: str) -> None:
        """Called at deploy for each `INTERFACE:PATTERN` that names this one; raises `BadRequest` for one it cannot enforce."""
        raise BadRequest(f"the grant {self.name}:{pattern}: {self.name} can only be granted as a whole")

    def configure(self, deployment: Deployment) -> None:
        """Called when a guest that imports this is deployed or made ready: checks what it was granted, builds shared state.

        Raises an `InputError` to refuse the deploy.  Must not block.  Comes more than once for one deployment, first
        with version 0, before anything is stored; and for older versions too, which may run beside newer ones.
        """

    def check_durable(self, deployment: Deployment, imports: Collection[tuple[str, str]]) -> None:
        """Called at deploy where the function is to be durable, with what the guest imports of this (interface, function).

        Raises an `InputError` with the reason where that cannot be.
        """

    def failed(self, function: str, result: Any) -> bool:
        """Whether the result of a WRITE call says that nothing was done: a retry of a durable invocation does it again."""
        return type(result) is Err

    def place(self, invocation: Invocation, function: str, args: Sequence[Any]) -> str | None:
        """The host that a WRITE call goes to, where a deployment decides by host whether it is repeated when a crash has
        cut it off; `None`: it is repeated."""
        return None

    def cut_off(self, interface: str, function: str) -> Any:
        """The result that tells a guest of a call which a crash has cut off, and which is not to be repeated."""
        raise Trap(f"a crash cut off {interface} {function!r}, which was perhaps done", "cut-off")

    def open(self, invocation: Invocation) -> Any:
        """Called at the first host call of each invocation that makes one; what it returns is `invocation.state(self)`."""
        return None

    async def close(self) -> None:
        """Called once when the host stops."""

    def host_calls(self) -> Iterator[HostCall]:
        """Every function that this object answers."""
        for attribute in dir(type(self)):
            for mark in getattr(getattr(type(self), attribute), "__host_calls__", ()):
                interface, function, effect, blocking, core = mark
                method = getattr(self, attribute)
                yield HostCall(interface, function, effect, blocking, core, method, self.name, self.ambient, self.local)
