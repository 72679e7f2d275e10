"""C9: a tenant that queues far more than its share takes nothing from the others.

Told by the order of starts, not by time: every run is held until the test lets it go.
"""

from __future__ import annotations

import pytest

from guesthouse.queue.config import QueueConfig
from guesthouse.queue.queue import QueueFull
from stage import Scene, perform

LOUD = 200


async def flood(scene: Scene, names: tuple[str, ...] = ("actor",)) -> None:
    """A tenant with twenty times as many calls as may run, all of them held."""
    scene.stage.holding = True
    for name in names:
        await scene.deploy(name, namespace="loud")
        for number in range(LOUD // len(names)):
            await scene.enqueue(b"loud %d" % number, name, namespace="loud")


def test_a_quiet_tenant_has_its_turn_with_every_second_start() -> None:
    """Two hundred calls wait before its ten: all ten start within the next twenty starts and a few more."""

    async def work(scene: Scene) -> None:
        await flood(scene, ("a", "b"))
        await scene.stage.when(lambda: len(scene.stage.ran) == 6)
        await scene.deploy(namespace="quiet")
        ids = [await scene.enqueue(b"quiet", namespace="quiet") for _ in range(10)]
        ran = scene.stage.ran
        await scene.stage.when(lambda: len(ran) == 8)
        while ran.count(b"quiet") < 10:
            before = len(ran)
            scene.stage.let_go()
            await scene.stage.when(lambda before=before: len(ran) > before)
        assert len(ran) <= 6 + 20 + 2
        scene.stage.let_go(LOUD)
        for call in ids:
            assert (await scene.ended(call)).state == "succeeded"

    perform(work, inflight=8)


def test_a_tenant_never_has_all_places_and_a_function_never_those_of_its_tenant() -> None:
    """Half for a function, three quarters for a tenant: who comes next starts although nothing has ended."""

    async def work(scene: Scene) -> None:
        await flood(scene)
        await scene.stage.when(lambda: len(scene.stage.ran) == 4)
        await scene.deploy("sibling", namespace="loud")
        for number in range(LOUD):
            await scene.enqueue(b"sibling %d" % number, "sibling", namespace="loud")
        await scene.stage.when(lambda: len(scene.stage.ran) == 6)
        await scene.deploy(namespace="quiet")
        await scene.enqueue(b"quiet", namespace="quiet")
        await scene.stage.when(lambda: b"quiet" in scene.stage.ran)
        assert scene.stage.acting == {"actor": 5, "sibling": 2}
        scene.stage.let_go(2 * LOUD + 1)

    perform(work, inflight=8)


def test_a_tenant_that_has_filled_its_part_of_the_queue_is_refused_and_others_are_not() -> None:
    """Three quarters of the calls and bytes for a namespace, half for a function; then 429 with a Retry-After."""

    async def work(scene: Scene) -> None:
        scene.stage.holding = True
        for namespace in ("loud", "quiet"):
            for name in ("a", "b"):
                await scene.deploy(name, namespace=namespace)
        for _ in range(10):
            await scene.enqueue(b"", "a", namespace="loud")
        with pytest.raises(QueueFull, match="loud/a"):
            await scene.enqueue(b"", "a", namespace="loud")
        for _ in range(5):
            await scene.enqueue(b"", "b", namespace="loud")
        with pytest.raises(QueueFull, match="loud") as refused:
            await scene.enqueue(b"", "b", namespace="loud")
        assert (refused.value.status, refused.value.retry_after) == (429, 1)
        for _ in range(5):
            await scene.enqueue(b"", "a", namespace="quiet")
        with pytest.raises(QueueFull):
            await scene.enqueue(b"", "a", namespace="quiet")
        scene.stage.let_go(100)

    perform(work, queue=QueueConfig(inflight=1, max_calls=20))
