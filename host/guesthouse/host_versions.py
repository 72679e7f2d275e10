"""What `AsyncHost` does with the versions of functions."""

from __future__ import annotations

from guesthouse.dispatch.deployer import Deployer
from guesthouse.dispatch.dispatcher import Dispatcher
from guesthouse.errors import NotFound
from guesthouse.registry.deployment import Deployment
from guesthouse.registry.registry import FunctionState, Registry


class AsyncVersions:
    """The part of `AsyncHost` that is about them."""

    registry: Registry
    deployer: Deployer
    dispatcher: Dispatcher

    def deployment(self, name: str, namespace: str = "default") -> Deployment:
        """The current version of a function.  Raises `NotFound`."""
        raise NotImplementedError  # the host's own

    def _check_open(self) -> None:
        raise NotImplementedError  # the host's own

    def versions(self, name: str, *, namespace: str = "default") -> tuple[Deployment, ...]:
        """The versions of a function that are kept, oldest first.  Raises `NotFound`."""
        self.deployment(name, namespace)
        return self.registry.versions(namespace, name)

    def state(self, name: str, *, namespace: str = "default") -> FunctionState:
        """A function's current version, the newest number, and the version that it is pinned to.  Raises `NotFound`."""
        self.deployment(name, namespace)
        found = self.registry.show(namespace, name)
        if found is None:
            raise NotFound(f"there is no function {namespace}/{name}")
        return found

    async def pin(self, name: str, version: int, *, namespace: str = "default") -> FunctionState:
        """Holds a function at one version from the next call on, while deploys go on; running calls end on theirs.

        Raises `NotFound`, and `InvalidModule` where that version cannot run here any more: then nothing changes.
        """
        self._check_open()
        return await self.deployer.pin(self.dispatcher, namespace, name, version)

    async def unpin(self, name: str, *, namespace: str = "default") -> FunctionState:
        """Lets a function follow the latest version again, from the next call on.  Raises `NotFound`."""
        self._check_open()
        return await self.deployer.pin(self.dispatcher, namespace, name, None)

    async def rollback(self, name: str, *, namespace: str = "default") -> FunctionState:
        """Pins a function to the newest version before its current one.  Raises `NotFound` where there is none."""
        self._check_open()
        return await self.pin(name, self.registry.previous(namespace, name).version, namespace=namespace)
