"""F15: a guest that does not ask again what it asked before is found out at the first difference, put away, and loses nothing.

A call has run on one module, and goes on with a changed one.  The changes are those that people make to functions that are
at work, at every place of a script, and those that a guest could make by itself if it saw the world past its journal.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guesthouse import AsyncHost
from guesthouse.dispatch.prepared import Prepared
from guesthouse.interfaces.cache import CacheConfig
from guesthouse.queue.call import Record
from guesthouse.registry.deployment import Deployment
from scripted import Op, Outside, Script, mutants

PATIENCE = 30
ONCE = {"attempts": 1}
DURABLE = {"grace_ms": 0}
LAST: Op = ("store", "the last", 9)
"""Scripts end with an effect: what comes behind the last one is not kept when a run has failed."""
EVERYTHING: tuple[Op, ...] = (
    ("look", "a"),
    ("store", "b", 2),
    ("clock",),
    ("set", "key", "value"),
    ("get", "key"),
    ("random",),
    ("push", "list", "one"),
    ("sleep", 1),
)
FUNCTIONS = {"look": "look", "store": "store", "get": "get", "set": "set", "push": "list-push-back", "clock": "now",
             "random": "get-random-u64", "sleep": "sleep"}  # fmt: skip


class Scene:
    """A host, and calls on it that have done all of a script and then trapped."""

    def __init__(self, host: AsyncHost, outside: Outside) -> None:
        self.host = host
        self.outside = outside

    async def failed(self, script: Script) -> str:
        """A dead letter whose journal has everything that the script asks for."""
        await self.host.deploy("guest", script.ending(traps=True).wasm, durable=DURABLE, retry=ONCE)
        call = await self.host.enqueue("guest", b"what was asked")
        assert (await self.ended(call)).result == "trapped"
        return call

    async def ended(self, call: str) -> Record:
        """What became of a call."""
        return await self.host.attach(call, PATIENCE)

    async def continued(self, call: str, script: Script, **said: object) -> Record:
        """What becomes of the call when it goes on with another module in the place of its own."""
        deployment = await self.host.deploy("guest", script.wasm, durable=DURABLE, **{"retry": ONCE, **said})
        self._replace(deployment)
        await self.host.redrive(call)
        return await self.ended(call)

    def _replace(self, deployment: Deployment) -> None:
        """Whoever asks for an older version gets this one: as if its file had been changed."""
        versions = self.host.consumer._durable.versions

        async def load(*_: object) -> Prepared:
            return await self.host.dispatcher.load(deployment)

        versions.loaded, versions.load = lambda *_: None, load  # type: ignore[method-assign]


@asynccontextmanager
async def staged(folder: Path, outside: Outside) -> AsyncIterator[Scene]:
    async with AsyncHost(folder, interfaces=[outside], cache=CacheConfig(persist=True), keep_versions=1_000) as host:
        yield Scene(host, outside)


def perform(folder: Path, work: Callable[[Scene], Awaitable[None]], outside: Outside | None = None) -> None:
    """Does the work on a host of its own."""

    async def on_loop() -> None:
        async with staged(folder, outside or Outside()) as scene:
            await work(scene)

    asyncio.run(on_loop())


def difference(before: Script, after: Script) -> tuple[str, str]:
    """The functions at the first difference of two scripts: what was asked, and what is asked now."""
    pairs = zip(before.ops, after.ops, strict=False)
    found = next(((old, new) for old, new in pairs if old != new), None)
    assert found is not None, "the scripts do not differ before their ends"
    return FUNCTIONS[str(found[0][0])], FUNCTIONS[str(found[1][0])]


async def put_away(scene: Scene, call: str, before: Script, after: Script, what: str) -> None:
    """The call goes on with the changed script, is put away for that, and both calls are shown."""
    stored, looked = dict(scene.outside.stores), list(scene.outside.looks)
    record = await scene.continued(call, after)
    assert (record.state, record.result) == ("dead", "diverged"), f"{what}: {record}"
    for function in difference(before, after):
        assert function in record.reason, f"{what}: {record.reason}"
    assert (dict(scene.outside.stores), scene.outside.looks) == (stored, looked), what


def test_every_change_of_every_call_is_found_out_and_nothing_is_lost(tmp_path):
    """Another order, a call more, a call less, another argument, another function, at each place; then it goes on unchanged."""

    async def work(scene: Scene) -> None:
        script = Script((*EVERYTHING, LAST))
        call = await scene.failed(script)
        changed = [(what, found) for what, found in mutants(Script(EVERYTHING))]
        assert len(changed) > 35
        for what, mutant in changed:
            await put_away(scene, call, script, Script((*mutant.ops, LAST)), what)
        assert (await scene.host.request(call)).body == b"what was asked"
        assert (await scene.continued(call, script)).state == "succeeded"
        assert dict(scene.outside.stores) == {(b"b", 2): 1, (b"the last", 9): 1}
        assert scene.outside.looks == [b"a"]

    perform(tmp_path, work)


def test_a_guest_that_ends_before_its_journal_does_is_found_out(tmp_path):
    """What it did not ask for is named; so is one that asks for nothing at all."""

    async def work(scene: Scene) -> None:
        call = await scene.failed(Script((("look", "a"), LAST)))
        for ops, left in (((("look", "a"),), "store"), ((), "look")):
            record = await scene.continued(call, Script(ops))
            assert (record.state, record.result) == ("dead", "diverged")
            assert left in record.reason
        assert (await scene.continued(call, Script((("look", "a"), LAST)))).state == "succeeded"

    perform(tmp_path, work)


def test_another_sleep_and_another_step_are_found_out(tmp_path):
    """A step under another name, one more, one less, in another place; a sleep that is longer, or gone."""
    first, second, sleep = ("step", "first"), ("step", "second"), ("sleep", 1)

    async def work(scene: Scene) -> None:
        script = Script((first, sleep, second, LAST))
        call = await scene.failed(script)
        for ops in (
            (("step", "another"), sleep, second),
            (first, second, sleep, second),
            (sleep, second),
            (second, sleep, first),
            (first, ("sleep", 2), second),
            (first, second),
        ):
            record = await scene.continued(call, Script((*ops, LAST)))
            assert (record.state, record.result) == ("dead", "diverged"), ops
        assert (await scene.continued(call, script)).state == "succeeded"
        assert dict(scene.outside.stores) == {(b"the last", 9): 1}

    perform(tmp_path, work)


@pytest.mark.parametrize("way", [(("look", "odd"),), (("store", "odd", 1),), (("look", "even"), ("look", "odd")), ()])
def test_a_branch_on_what_is_not_recorded_is_found_out(tmp_path, way):
    """The same module, in a world that is different by then, and a host function that tells it so past the journal."""

    async def work(scene: Scene) -> None:
        script = Script((("peek",), ("branch", way, (("look", "even"),)), LAST))
        call = await scene.failed(script)
        scene.outside.seed = 1
        record = await scene.continued(call, script.ending(traps=True))
        assert (record.state, record.result) == ("dead", "diverged")
        assert "look" in record.reason
        scene.outside.seed = 0
        assert (await scene.continued(call, script)).state == "succeeded"
        assert scene.outside.stores[b"the last", 9] == 1

    perform(tmp_path, work)


def test_what_is_recorded_may_be_branched_on(tmp_path):
    """The clock, a random number and a reading are told again as they were: both ways come out as before."""

    async def work(scene: Scene) -> None:
        for word in (("clock",), ("random",), ("look", "a"), ("get", "key")):
            branch = ("branch", (("store", "odd", 1), ("look", "b")), (("look", "c"), ("store", "even", 2)))
            script = Script((word, branch, LAST))
            call = await scene.failed(script)
            assert (await scene.continued(call, script)).state == "succeeded"

    perform(tmp_path, work)


def test_it_is_not_tried_again(tmp_path):
    """A module that does not fit will not fit in a minute: whatever attempts are left, the call waits for a person."""

    async def work(scene: Scene) -> None:
        script = Script((("look", "a"), LAST))
        call = await scene.failed(script)
        mutant = Script((("look", "b"), LAST))
        record = await scene.continued(call, mutant, retry={"attempts": 5})
        assert (record.state, record.result, record.attempts) == ("dead", "diverged", 2)

    perform(tmp_path, work)


OPS = st.one_of(
    st.tuples(st.just("look"), st.sampled_from("ab")),
    st.tuples(st.just("store"), st.sampled_from("ab"), st.integers(0, 2)),
    st.tuples(st.just("get"), st.sampled_from("ab")),
    st.tuples(st.just("set"), st.sampled_from("ab"), st.sampled_from("xy")),
    st.tuples(st.just("push"), st.sampled_from("ab"), st.sampled_from("xy")),
    st.sampled_from([("clock",), ("random",)]),
)


@settings(max_examples=12, deadline=None)
@given(st.lists(OPS, min_size=1, max_size=8), st.data())
def test_a_changed_script_of_any_kind_is_found_out(ops, data):
    """Scripts and changes made by chance."""
    changed = list(mutants(Script(tuple(ops))))
    some = data.draw(st.lists(st.sampled_from(changed), min_size=1, max_size=4, unique=True))

    async def work(scene: Scene) -> None:
        script = Script((*ops, LAST))
        call = await scene.failed(script)
        for what, mutant in some:
            await put_away(scene, call, script, Script((*mutant.ops, LAST)), what)
        assert (await scene.continued(call, script)).state == "succeeded"

    with TemporaryDirectory() as folder:
        perform(Path(folder), work)
