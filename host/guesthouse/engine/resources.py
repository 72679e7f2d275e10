"""`ResourceTable`: which host objects one guest holds handles to, and which it may use how.

A handle is a serial number, counted per table and never used twice: a stale or a dropped handle can never mean another
object, and no handle says anything about the host.  Forged handles, wrong types, double drops and drops of what is
lent trap.  The table dies with its store; it must not know what its objects are, except that some have a `close()`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from guesthouse._native.api import HandleTable
from guesthouse.engine.types import ResourceType
from guesthouse.errors import Trap

MAX_HANDLE = 0x7FFF_FFFF
"""Guest toolchains keep 0 and 0xffffffff for themselves, and some keep handles in signed integers."""


@dataclass(frozen=True, slots=True)
class GuestResource:
    """A resource that the guest itself defines: an opaque number to everybody but the guest."""

    resource: ResourceType
    rep: int


class ResourceTable(HandleTable):
    """The live handles of one guest instance, at most `limit` at once.

    The base class (`_native/table.c`) holds them, and has what nearly every call does: `insert_own(resource, object)`, which
    gives a new handle, and `take_own(resource, handle)`, which gives the object of a handle and uses it up.
    """

    __slots__ = ()

    def __len__(self) -> int:
        return len(self.owned) + len(self.borrowed or ())

    def insert(self, resource: ResourceType, obj: Any, *, own: bool = True) -> int:
        """A new handle to `obj`: the guest's own, or lent to it for one export call (`own=False`).

        Traps over the limit, and closes the object if it was to be the guest's.
        """
        return self.insert_own(resource, obj) if own else self.lend(resource, obj)

    def lend(self, resource: ResourceType, obj: Any) -> int:
        """A handle that is lent to the guest for one export call, to be dropped before `end_call`.  What the guest itself
        defines is not lent by handle: it gets its own number back."""
        if type(obj) is GuestResource:
            return obj.rep
        handle = self.last + 1
        if len(self) >= self.limit or handle > MAX_HANDLE:
            raise self._too_many()
        self.borrowed = self.borrowed or {}
        self.borrowed[handle] = (resource, obj)
        self.last = handle
        return handle

    def borrow(self, resource: ResourceType, handle: int) -> Any:
        """The object of a handle, which stays lent (neither moved nor dropped) until `end_host_call`."""
        entry = self.owned.get(handle) or (self.borrowed and self.borrowed.get(handle))
        if not entry or (entry[0] is not resource and entry[0] != resource):
            raise self._refusal("use", resource, handle, None)
        if self.lent is None:
            self.lent = set()
        self.lent.add(handle)
        return entry[1]

    def end_host_call(self) -> None:
        """Takes back everything that the guest lent to a host function."""
        self.lent = None

    def end_call(self) -> None:
        """Ends a call of one of the guest's exports; traps if the guest still holds what was lent to it."""
        if self.borrowed:
            raise Trap(f"the guest kept {len(self.borrowed)} borrowed handles past the end of the call", "resource")

    def drop(self, resource: ResourceType, handle: int) -> GuestResource | None:
        """Drops a handle and closes the object if it was owned.

        Returns what the guest itself defines: its destructor is the caller's to call.
        """
        entry = self.owned.pop(handle, None)
        lent = self.lent is not None and handle in self.lent
        held = self.borrowed.get(handle) if entry is None and self.borrowed and not lent else None
        if self.borrowed and held is not None and held[0] == resource:
            del self.borrowed[handle]
            return None
        if entry is None or lent or (entry[0] is not resource and entry[0] != resource):
            raise self._refusal("drop", resource, handle, entry)
        if type(entry[1]) is GuestResource:
            return entry[1]
        _close(entry[1])
        return None

    def new(self, resource: ResourceType, rep: int) -> int:
        """A handle to a resource that the guest itself defines (`[resource-new]`)."""
        return self.insert(resource, GuestResource(resource, rep))

    def rep(self, resource: ResourceType, handle: int) -> int:
        """The guest's own number of a resource that it defines (`[resource-rep]`)."""
        entry = self.owned.get(handle)
        if entry is None or type(entry[1]) is not GuestResource or entry[0] != resource:
            raise self._refusal("use", resource, handle, None)
        return entry[1].rep

    def close_all(self) -> None:
        """Closes every object that the table owns, the newest first; raises the first error once all are closed."""
        objects = [*(obj for _, obj in self.owned.values()), *(self.moving or ())]
        self.owned.clear()
        self.borrowed = self.moving = self.lent = None
        failed: BaseException | None = None
        for obj in reversed(objects):
            try:
                _close(obj)
            except BaseException as error:
                failed = failed or error
        if failed is not None:
            raise failed

    def _refusal(self, verb: str, resource: ResourceType, handle: int, entry: tuple[ResourceType, Any] | None) -> Trap:
        if entry is not None:
            self.owned[handle] = entry
        found = self.owned.get(handle) or (self.borrowed and self.borrowed.get(handle))
        if not found:
            problem = "no such handle"
        elif found[0] != resource:
            problem = f"it is a {found[0]}"
        else:
            problem = "it is lent to a running call" if self.lent and handle in self.lent else "it is only borrowed"
        return Trap(f"cannot {verb} handle {handle} as a {resource}: {problem}", "resource")

    def _not_moved(self, resource: ResourceType, handle: int) -> Any:
        """`take_own` refused."""
        raise self._refusal("move", resource, handle, None)

    def _full(self, obj: Any) -> int:
        """`insert_own` refused."""
        _close(obj)
        raise self._too_many()

    def _too_many(self) -> Trap:
        return Trap(f"the guest holds {len(self)} resource handles, its limit", "resource-limit")


def _close(obj: Any) -> None:
    close = getattr(obj, "close", None)
    if close is not None:
        close()
