"""The table of resource handles keeps its promises against any sequence of uses, right and wrong."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from guesthouse.engine.resources import GuestResource, ResourceTable
from guesthouse.engine.types import ResourceType
from guesthouse.errors import Trap

BUFFER = ResourceType("test:bytes/bytes", "buffer")
CLIENT = ResourceType("test:http/http", "client")
LIMIT = 5


class Closeable:
    """A host object that counts its closes."""

    def __init__(self, order: list[Closeable] | None = None, fails: bool = False) -> None:
        self.closed = 0
        self.order = order if order is not None else []
        self.fails = fails

    def close(self) -> None:
        self.closed += 1
        self.order.append(self)
        if self.fails:
            raise OSError("cannot close")


def refused(reason: str = "resource") -> Any:
    return pytest.raises(Trap, check=lambda trap: trap.reason == reason)


def test_a_handle_gives_back_its_object_once() -> None:
    """take_own moves the object out without closing it, and the handle is dead from then on."""
    table, obj = ResourceTable(LIMIT), Closeable()
    handle = table.insert(BUFFER, obj)
    assert table.borrow(BUFFER, handle) is obj
    table.end_host_call()
    assert table.take_own(BUFFER, handle) is obj
    assert obj.closed == 0
    with refused():
        table.take_own(BUFFER, handle)


@pytest.mark.parametrize("forged", [0, 2, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])
@pytest.mark.parametrize("use", ["take_own", "borrow", "drop", "rep"])
def test_a_forged_handle_traps(use: str, forged: int) -> None:
    """Numbers that were never handed out are no handles, whatever is done with them."""
    table = ResourceTable(LIMIT)
    table.insert(BUFFER, Closeable())
    with refused():
        getattr(table, use)(BUFFER, forged)


@pytest.mark.parametrize("use", ["take_own", "borrow", "drop"])
def test_a_handle_of_another_type_traps_and_its_object_stays_in_the_table(use: str) -> None:
    """After the trap the object is still closed with the table."""
    table, obj = ResourceTable(LIMIT), Closeable()
    handle = table.insert(BUFFER, obj)
    with refused():
        getattr(table, use)(CLIENT, handle)
    table.close_all()
    assert obj.closed == 1


def test_a_double_drop_traps() -> None:
    """The first drop closes the object, the second is a stale handle."""
    table, obj = ResourceTable(LIMIT), Closeable()
    handle = table.insert(BUFFER, obj)
    assert table.drop(BUFFER, handle) is None
    with refused():
        table.drop(BUFFER, handle)
    assert obj.closed == 1


def test_a_handle_is_never_used_again() -> None:
    """A stale handle cannot mean a newer object, however often a place in the table became free."""
    table, seen = ResourceTable(1), set()
    for _ in range(10_000):
        handle = table.insert(BUFFER, None)
        assert 0 < handle < 1 << 31
        assert handle not in seen
        seen.add(handle)
        table.drop(BUFFER, handle)


def test_over_the_limit_an_object_is_refused_and_closed() -> None:
    """The table takes what it is given, so what it cannot keep it closes."""
    table = ResourceTable(1)
    table.insert(BUFFER, Closeable())
    extra = Closeable()
    with refused("resource-limit"):
        table.insert(BUFFER, extra)
    assert extra.closed == 1


@pytest.mark.parametrize("use", ["take_own", "drop"])
def test_what_is_lent_to_a_running_host_call_cannot_be_moved_or_dropped(use: str) -> None:
    """Until the host call ends; then it can."""
    table = ResourceTable(LIMIT)
    handle = table.insert(BUFFER, Closeable())
    table.borrow(BUFFER, handle)
    with refused():
        getattr(table, use)(BUFFER, handle)
    table.end_host_call()
    getattr(table, use)(BUFFER, handle)


def test_a_guest_must_drop_what_was_lent_to_it_before_its_call_ends() -> None:
    """A borrowed handle can be used and dropped, not moved; dropping it does not close the object."""
    table, obj = ResourceTable(LIMIT), Closeable()
    handle = table.insert(BUFFER, obj, own=False)
    assert table.borrow(BUFFER, handle) is obj
    table.end_host_call()
    with refused():
        table.take_own(BUFFER, handle)
    with refused():
        table.end_call()
    table.drop(BUFFER, handle)
    table.end_call()
    table.close_all()
    assert obj.closed == 0


def test_a_borrowed_handle_of_another_type_cannot_be_dropped() -> None:
    """The type is checked for borrowed handles, too."""
    table = ResourceTable(LIMIT)
    handle = table.insert(BUFFER, Closeable(), own=False)
    with refused():
        table.drop(CLIENT, handle)


def test_close_all_closes_the_newest_first_and_all_of_them() -> None:
    """Even when one fails; that error comes out at the end, and the table is empty."""
    order: list[Closeable] = []
    objects = [Closeable(order), Closeable(order, fails=True), Closeable(order)]
    table = ResourceTable(LIMIT)
    for obj in objects:
        table.insert(BUFFER, obj)
    with pytest.raises(OSError, match="cannot close"):
        table.close_all()
    assert order == objects[::-1]
    assert len(table) == 0
    table.close_all()
    assert len(order) == 3


def test_a_guests_own_resource_is_a_number_that_only_it_understands() -> None:
    """new and rep are for its own code; drop hands it out so that its destructor can be called; lending gives the rep."""
    table = ResourceTable(LIMIT)
    handle = table.new(CLIENT, 77)
    assert table.rep(CLIENT, handle) == 77
    assert table.insert(CLIENT, GuestResource(CLIENT, 77), own=False) == 77
    assert table.drop(CLIENT, handle) == GuestResource(CLIENT, 77)
    host = table.insert(BUFFER, Closeable())
    with refused():
        table.rep(BUFFER, host)


class TableMachine(RuleBasedStateMachine):
    """The table against a naive model: a dict from handle to (type, object, owned), and what is lent."""

    handles = Bundle("handles")
    kinds = st.sampled_from([BUFFER, CLIENT])

    def __init__(self) -> None:
        super().__init__()
        self.table = ResourceTable(LIMIT)
        self.model: dict[int, tuple[ResourceType, Closeable, bool]] = {}
        self.lent: set[int] = set()
        self.issued: set[int] = set()
        self.open: list[Closeable] = []

    def fits(self, kind: ResourceType, handle: int) -> bool:
        return handle in self.model and self.model[handle][0] == kind

    @rule(target=handles, kind=kinds, own=st.booleans())
    def insert(self, kind: ResourceType, own: bool) -> int:
        obj = Closeable()
        if len(self.model) == LIMIT:
            with refused("resource-limit"):
                self.table.insert(kind, obj, own=own)
            assert obj.closed == own
            return 0
        handle = self.table.insert(kind, obj, own=own)
        assert handle not in self.issued
        self.issued.add(handle)
        self.model[handle] = (kind, obj, own)
        return handle

    @rule(kind=kinds, handle=handles | st.integers(0, 0xFFFFFFFF))
    def take(self, kind: ResourceType, handle: int) -> None:
        if self.fits(kind, handle) and self.model[handle][2] and handle not in self.lent:
            assert self.table.take_own(kind, handle) is self.model.pop(handle)[1]
        else:
            with refused():
                self.table.take_own(kind, handle)

    @rule(kind=kinds, handle=handles | st.integers(0, 0xFFFFFFFF))
    def borrow(self, kind: ResourceType, handle: int) -> None:
        if self.fits(kind, handle):
            assert self.table.borrow(kind, handle) is self.model[handle][1]
            self.lent.add(handle)
        else:
            with refused():
                self.table.borrow(kind, handle)

    @rule(kind=kinds, handle=handles | st.integers(0, 0xFFFFFFFF))
    def drop(self, kind: ResourceType, handle: int) -> None:
        if self.fits(kind, handle) and handle not in self.lent:
            self.table.drop(kind, handle)
            _, obj, own = self.model.pop(handle)
            assert obj.closed == own
        else:
            with refused():
                self.table.drop(kind, handle)

    @rule()
    def end_host_call(self) -> None:
        self.table.end_host_call()
        self.lent.clear()

    @rule()
    def end_call(self) -> None:
        if all(own for _, _, own in self.model.values()):
            self.table.end_call()
        else:
            with refused():
                self.table.end_call()

    @rule()
    def close_all(self) -> None:
        self.table.close_all()
        assert all(obj.closed == own for _, obj, own in self.model.values())
        self.model.clear()
        self.lent.clear()

    @invariant()
    def nothing_is_closed_while_it_is_in_the_table(self) -> None:
        assert len(self.table) == len(self.model)
        assert not any(obj.closed for _, obj, _ in self.model.values())


TestTable = TableMachine.TestCase
TestTable.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
