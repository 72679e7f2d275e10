"""`InstancePool`: how many guests may be alive at once, and the native handles they use, one after another."""

from __future__ import annotations

from collections.abc import Callable

from guesthouse._native.handle import GuestHandle
from guesthouse.errors import AdmissionFull


class InstancePool:
    """Bounded admission to the engine's slots; safe from several threads."""

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self.refused = 0
        """How often no slot was free."""
        # One place for each free slot, with the handle that was last used there, if any.  The last one is used again
        # first, while it is in the processor's caches.  A list's `pop` and `append` need no lock.
        self._free: list[GuestHandle | None] = [None] * slots
        self.release: Callable[[GuestHandle], None] = self._free.append
        """Gives the slot of a guest back whose store is deleted."""

    @property
    def in_use(self) -> int:
        """Slots that are taken."""
        return self.slots - len(self._free)

    def acquire(self) -> GuestHandle:
        """A slot for one guest.  Raises `AdmissionFull` where none is free."""
        try:
            return self._free.pop() or GuestHandle()
        except IndexError:
            self.refused += 1
            raise AdmissionFull(f"all {self.slots} instances are in use") from None


class FunctionPool:
    """The slots of one function that may not have all of them; as the pool itself for instances."""

    def __init__(self, pool: InstancePool, most: int) -> None:
        self._pool = pool
        self.most = most
        self._turns: list[None] = [None] * most

    @property
    def free(self) -> int:
        """How many more guests of the function may be alive."""
        return len(self._turns)

    def acquire(self) -> GuestHandle:
        """A slot for one guest.  Raises `AdmissionFull` where the function, or the pool, has none."""
        try:
            self._turns.pop()
        except IndexError:
            raise AdmissionFull(f"the function runs {self.most} times already, as often as it may") from None
        try:
            return self._pool.acquire()
        except AdmissionFull:
            self._turns.append(None)
            raise

    def release(self, handle: GuestHandle) -> None:
        """Gives the slot of a guest back whose store is deleted."""
        self._pool.release(handle)
        self._turns.append(None)
