"""`InstancePool`: how many guests may be alive at once, and the native handles they use, one after another."""

from __future__ import annotations

import threading

from guesthouse._native.handle import GuestHandle
from guesthouse.errors import AdmissionFull

KEPT_HANDLES = 256
"""Handles that are kept for the next guest; each is about a kilobyte."""


class InstancePool:
    """Bounded admission to the engine's slots; safe from several threads."""

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self.refused = 0
        self._lock = threading.Lock()
        self._in_use = 0
        self._free: list[GuestHandle] = []

    @property
    def in_use(self) -> int:
        """Slots that are taken."""
        return self._in_use

    def acquire(self) -> GuestHandle:
        """A slot for one guest.  Raises `AdmissionFull` where none is free."""
        with self._lock:
            if self._in_use >= self.slots:
                self.refused += 1
                raise AdmissionFull(f"all {self.slots} instances are in use")
            self._in_use += 1
            if self._free:
                return self._free.pop()
        return GuestHandle()

    def release(self, handle: GuestHandle) -> None:
        """Gives the slot of a guest back whose store is deleted."""
        with self._lock:
            self._in_use -= 1
            if len(self._free) < KEPT_HANDLES:
                self._free.append(handle)
