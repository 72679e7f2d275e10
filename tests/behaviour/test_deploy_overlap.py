"""Deploys, deletes and calls of one function at the same time: one version is kept ready, whatever the order."""

from __future__ import annotations

import asyncio

import pytest

from guesthouse import AsyncHost
from guesthouse.errors import NotFound
from support import FORMS, guest


async def calls(host: AsyncHost, over: asyncio.Event) -> set[bytes]:
    """What a function answers while it comes and goes."""
    answers = set()
    while not over.is_set():
        try:
            answers.add((await host.invoke("echo", b"x")).body)
        except NotFound:
            answers.add(b"not there")
        await asyncio.sleep(0)
    return answers


@pytest.mark.parametrize("form", FORMS)
def test_overlapping_deploys_leave_one_version_in_memory(form: str) -> None:
    """The last one; each of the others was a version for a moment."""

    async def run() -> None:
        async with AsyncHost() as host:
            made = await asyncio.gather(*(host.deploy("echo", guest("echo", form)) for _ in range(10)))
            assert {deployment.version for deployment in made} == set(range(1, 11))
            assert host.deployment("echo").version == 10
            assert len(host.dispatcher._prepared) == 1

    asyncio.run(run())


@pytest.mark.parametrize("form", FORMS)
def test_calls_of_a_function_that_is_deleted_leave_nothing_in_memory(form: str) -> None:
    """Each call was answered by the function, or not at all; nothing keeps what nobody can call."""

    async def run() -> None:
        async with AsyncHost() as host:
            over = asyncio.Event()
            callers = [asyncio.ensure_future(calls(host, over)) for _ in range(3)]
            for _ in range(10):
                await host.deploy("echo", guest("echo", form))
                assert await host.delete("echo")
            over.set()
            assert set().union(*await asyncio.gather(*callers)) <= {b"x", b"not there"}
            assert host.dispatcher._prepared == {}

    asyncio.run(run())
