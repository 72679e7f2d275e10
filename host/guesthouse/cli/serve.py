"""`guesthouse serve`: a host, and the gateway in front of it, from the configuration."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import guesthouse
from guesthouse.cli.options import Limit, config_options
from guesthouse.cli.output import Failure, Output, with_output
from guesthouse.cli.settings import settings
from guesthouse.errors import Unavailable

if TYPE_CHECKING:
    from guesthouse.async_host import AsyncHost
    from guesthouse.config import Aws, Callbacks, Config, Outbound
    from guesthouse.dispatch.deliveries import CallbackConfig
    from guesthouse.gateway import Gateway, Services
    from guesthouse.interfaces.cache import CacheConfig
    from guesthouse.net.aws import AwsConfig
    from guesthouse.net.client import OutboundConfig
    from guesthouse.registry.deployment import Deployment
    from guesthouse.registry.registry import FunctionState


@click.command(
    epilog="""\
\b
Examples:
  guesthouse serve
  guesthouse serve --port 9000 --data-dir ./data
  guesthouse serve --config guesthouse.toml --log-format json
  GUESTHOUSE_LISTEN__HOST=0.0.0.0 guesthouse serve     # needs a token first
"""
)
@click.option("--host", metavar="ADDRESS", help="Where to listen.  [default: 127.0.0.1]")
@click.option("--port", type=click.IntRange(0, 65535), help="The port; 0 takes a free one.  [default: 8080]")
@config_options
@click.option("--limit", type=Limit(), multiple=True, help="A default limit of functions, like deadline_ms=5000.")
@click.option("--log-format", type=click.Choice(["text", "json"]), help="How the server's own log looks.")
@click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]), help="From where on it logs.")
@with_output
def serve(
    output: Output,
    host: str | None,
    port: int | None,
    data_dir: Path | None,
    config: Path | None,
    limit: tuple[tuple[str, int], ...],
    log_format: str | None,
    log_level: str | None,
) -> None:
    """Runs the server.

    SIGTERM and Ctrl-C let running calls end; a second one does not. Flags go before GUESTHOUSE_… variables,
    and these before the configuration file.
    """
    flags = {
        "listen": {"host": host, "port": port},
        "data_dir": data_dir,
        "limits": dict(limit),
        "log_format": log_format,
        "log_level": log_level,
    }
    chosen = settings(flags, config)

    def started(gateway: Gateway) -> None:
        url = url_of(*gateway.addresses[0])
        folder = str(chosen.data_dir.expanduser().absolute())
        document = {"url": url, "data_dir": folder, "version": guesthouse.__version__}
        output.done(document, f"guesthouse {guesthouse.__version__} is at {url} and keeps its data in {folder}")

    try:
        run_server(chosen, started)
    except Unavailable as error:
        message = f"{error}: choose another with --port"
        raise Failure(message, {"type": error.problem_type, "detail": message}) from None


Beside = Callable[["AsyncHost"], Coroutine[Any, Any, None]]
"""What goes on beside a server while it listens: when it ends, so does the server, and the other way round."""


def run_server(config: Config, started: Callable[[Gateway], None], beside: Beside | None = None) -> None:
    """Serves in this thread until a signal ends it, or what goes on beside it."""
    import asyncio
    import gc

    import uvloop

    from guesthouse.telemetry import configure_logging

    configure_logging(config.log_format == "json", config.log_level)
    sys.setswitchinterval(config.switch_interval_seconds)
    gc.disable()  # until it listens: nearly everything that is made before stays
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(config, started, beside))
    finally:
        gc.enable()


async def _serve(config: Config, started: Callable[[Gateway], None], beside: Beside | None) -> None:
    import asyncio
    import gc

    from guesthouse.async_host import AsyncHost
    from guesthouse.gateway import Gateway
    from guesthouse.interfaces.topic import TopicLimits
    from guesthouse.queue.config import InvocationsConfig, QueueConfig

    outbound = outbound_of(config.outbound)
    async with AsyncHost(
        config.data_dir,
        outbound=outbound,
        limits=config.default_limits,
        grants=config.default_grants,
        keep_versions=config.keep_versions,
        disposable_seconds=config.tokens.longest_seconds,
        topic_limits=TopicLimits(**config.topics.model_dump()),
        valkey=config.valkey.clusters,
        aws=aws_of(config.aws),
        cache=cache_of(config),
        queue=QueueConfig(**config.queue.model_dump()),
        invocations=InvocationsConfig(**config.invocations.model_dump()),
        callbacks=callbacks_of(config.callbacks),
        public_urls=config.public_urls or local_urls(config.listen.port),
    ) as host:
        host.database.on_failure(_leave)
        host.callbacks.namespace = config.namespace
        if config.workers is not None:
            host.dispatcher.workers.count = config.workers
        gateway = Gateway(services_of(host, config))
        companions: list[asyncio.Task[None]] = []

        def listening() -> None:
            own = frozenset((ip_address(address.partition("%")[0]), port) for address, port in gateway.addresses)
            host.outbound.policy = replace(host.outbound.policy, listeners=own)  # a guest cannot manage its host
            host.disposable.endpoint = config.public_endpoint or endpoint_of(*gateway.addresses[0])
            host.callbacks.reached_at(config.public_urls or local_urls(gateway.addresses[0][1]))
            gc.freeze()  # looking through all of that again and again would stop the loop for 50 to 100 ms each time
            gc.enable()
            started(gateway)
            if beside is not None:
                companions.append(asyncio.create_task(beside(host)))
                companions[0].add_done_callback(lambda _: gateway.stop())

        try:
            await gateway.serve(started=listening)
            for companion in companions:
                companion.cancel()
                with suppress(asyncio.CancelledError):
                    await companion
        finally:
            await host.close(0)  # the gateway has let everything end, or was told not to


STORAGE_FAILED = 70
"""The exit status after the storage has failed (EX_SOFTWARE of sysexits.h): a supervisor starts the server again."""


def _leave(error: BaseException) -> None:
    """Ends the process: after a failed write nothing can be promised any more, and a restart recovers (F3)."""
    from guesthouse.telemetry import logger

    logger("serve").error("the storage failed; leaving, to be started again", error=str(error))
    os._exit(STORAGE_FAILED)


class Deployments:
    """The host's deploying and deleting, with a line in the server's log for each."""

    def __init__(self, host: AsyncHost) -> None:
        from guesthouse.telemetry import logger

        self._host = host
        self._log = logger("serve")

    async def deploy(self, name: str, wasm: bytes, *, namespace: str, **options: Any) -> Deployment:
        """A new version of a function."""
        deployment = await self._host.deploy(name, wasm, namespace=namespace, **options)
        self._log.info("deployed", function=deployment.path, version=deployment.version, digest=deployment.digest)
        return deployment

    async def delete(self, name: str, *, namespace: str) -> bool:
        """Deletes a function; whether there was one."""
        deleted = await self._host.delete(name, namespace=namespace)
        if deleted:
            self._log.info("deleted", function=f"{namespace}/{name}")
        return deleted

    async def pin(self, name: str, version: int | None, *, namespace: str) -> FunctionState:
        """Another version becomes current."""
        if version is None:
            state = await self._host.unpin(name, namespace=namespace)
        else:
            state = await self._host.pin(name, version, namespace=namespace)
        return self._switched(state)

    async def rollback(self, name: str, *, namespace: str) -> FunctionState:
        """The version before becomes current."""
        return self._switched(await self._host.rollback(name, namespace=namespace))

    def _switched(self, state: FunctionState) -> FunctionState:
        current = state.current
        self._log.info("switched", function=current.path, version=current.version, pinned=state.pinned is not None)
        return state


def services_of(host: AsyncHost, config: Config) -> Services:
    """What the gateway works with, over a host."""
    from guesthouse.gateway import Services

    return Services(
        registry=host.registry,
        tokens=host.tokens,
        disposable=host.disposable,
        dispatcher=host.dispatcher,
        invocations=host.calls,
        recordings=host.recordings,
        awakeables=host.workflows,
        deploy=Deployments(host),
        metrics=host.metrics,
        logs=host.logs,
        cache=host.cache,
        topics=host.topics,
        secrets=host.secrets,
        namespaces=host.namespaces,
        config=config,
        version=guesthouse.__version__,
    )


def outbound_of(settings: Outbound) -> OutboundConfig:
    """How guests may reach the world, from its section of the configuration."""
    from guesthouse.net.client import OutboundConfig
    from guesthouse.net.policy import OutboundPolicy

    policy = OutboundPolicy.of(
        schemes=settings.schemes,
        hosts=settings.hosts,
        allow_addresses=settings.allow_addresses,
        overrides=settings.overrides,
    )
    ca_file = None if settings.extra_ca is None else str(settings.extra_ca)
    return OutboundConfig(
        policy,
        ca_file,
        connections=settings.connections,
        connections_per_server=settings.connections_per_server,
    )


def callbacks_of(settings: Callbacks) -> CallbackConfig:
    """How results of queued calls are delivered, from its section of the configuration."""
    from guesthouse.dispatch.deliveries import CallbackConfig

    return CallbackConfig(
        settings.secret,
        settings.attempts,
        settings.at_once,
        settings.at_once_per_destination,
        int(settings.timeout_seconds * 1000),
        int(settings.min_wait_seconds * 1000),
        int(settings.max_wait_seconds * 1000),
    )


def cache_of(config: Config) -> CacheConfig:
    """Where the cache is kept, from its section of the configuration."""
    from guesthouse.interfaces.cache import CacheConfig
    from guesthouse.limits import CacheLimits

    limits = config.cache.model_dump(exclude={"url", "persist", "max_bytes"})
    ca_file = None if config.outbound.extra_ca is None else str(config.outbound.extra_ca)
    settings = config.cache
    return CacheConfig(settings.url, settings.persist, settings.max_bytes, CacheLimits(**limits), ca_file)


def aws_of(settings: Aws) -> AwsConfig:
    """Where AWS is for the host, from its section of the configuration."""
    from guesthouse.net.aws import AwsConfig

    return AwsConfig.of(
        access_key_id=settings.access_key_id,
        secret_access_key=settings.secret_access_key,
        session_token=settings.session_token,
        environment=os.environ if settings.credentials_from_environment else None,
        endpoint_url=settings.endpoint_url,
        endpoints=settings.endpoints,
        log_region=settings.log_region,
        connect_timeout_ms=int(settings.connect_timeout_seconds * 1000),
        attempts=settings.attempts,
    )


def url_of(host: str, port: int) -> str:
    """The URL of an address that a server listens on."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def local_urls(port: int) -> tuple[str, ...]:
    """Where clients of this machine reach a server; none for a port that is not known yet."""
    return tuple(f"http://{host}:{port}" for host in ("127.0.0.1", "localhost")) if port else ()


def endpoint_of(host: str, port: int) -> str:
    """Host and port where clients on this machine reach an address that a server listens on."""
    return url_of("localhost" if ip_address(host.partition("%")[0]).is_unspecified else host, port).partition("://")[2]
