"""`host`: a host that the tests of a module share, and that each of them must leave as it found it.

A module may name the interfaces that its host has (`INTERFACES`, classes), its number of instances (`SLOTS`) and by how
many MiB a test may make the process grow (`MEMORY_MIB`).
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import harness
from guesthouse import Host
from support import guest


@pytest.fixture(scope="module")
def lasting_host(request: pytest.FixtureRequest) -> Iterator[Host]:
    """The host, made once for each module."""
    interfaces = [make() for make in getattr(request.module, "INTERFACES", ())]
    options = getattr(request.module, "OPTIONS", {})
    with Host(slots=getattr(request.module, "SLOTS", 128), interfaces=interfaces, **options) as host:
        host.deploy("echo", guest("echo"))
        yield host


@pytest.fixture
def host(request: pytest.FixtureRequest, lasting_host: Host) -> Iterator[Host]:
    """The host, which the test must not harm."""
    allowed = getattr(request.module, "MEMORY_MIB", harness.MEMORY_MIB)
    with harness.unharmed(lasting_host, allowed):
        yield lasting_host
