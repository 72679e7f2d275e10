"""`Recordings`: the journals of invocations for whoever looks at them from outside: listed, exported, gone on with.

Promises: looking changes nothing; a dead letter goes on only where the version that it is to run on does again what was
kept of its journal.  Knows nothing of HTTP.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from guesthouse.dispatch.asked import take_apart
from guesthouse.dispatch.exports import Export, Kind, write_export
from guesthouse.dispatch.invocations import Invocations, NotDead
from guesthouse.durable.listing import entries_of, summary_of, version_of
from guesthouse.durable.records import cut_segment, decided_segment
from guesthouse.errors import BadRequest, NotFound
from guesthouse.queue.call import QueuedCall, Record
from guesthouse.queue.queue import Queue, UnknownInvocation

if TYPE_CHECKING:
    from guesthouse.registry.deployment import Deployment
    from guesthouse.registry.registry import Registry

AMBIGUOUS: Final = "ambiguous"
"""The result of what was put away because a request was perhaps sent."""
LISTED: Final = 10_000
"""Entries of a list, where nothing else is said."""


class NoJournal(NotFound):
    """An invocation of which nothing was recorded, or whose recording is not kept any more."""

    problem_type = "no-journal"
    title = "Nothing was recorded of this invocation"


class Kept(NamedTuple):
    """What is stored of one invocation."""

    record: Record
    request: QueuedCall
    segments: Sequence[bytes]
    kind: Kind
    stream: int = 0
    """Where the body is (see `Export`)."""


class Recordings:
    """Those of one host; to be used on its loop."""

    def __init__(
        self,
        queue: Queue,
        invocations: Invocations,
        registry: Registry,
        fits: Callable[[Export, Deployment, int | None], Any],
    ) -> None:
        self._queue = queue
        self._invocations = invocations
        self._registry = registry
        self._fits = fits
        """Replays a journal on another version, up to an entry; raises `Differs` (see `replay.Replays.fits`)."""

    async def journal(self, id: str, most: int = LISTED) -> Mapping[str, Any]:
        """The entries of an invocation's journal, without what was said in them, as JSON.

        Raises `UnknownInvocation` and `NoJournal`, and `JournalError` for one that cannot be read.
        """
        kept = await self._kept(id)
        found, end = await asyncio.to_thread(entries_of, kept.segments)
        return {
            "id": id,
            "kind": kept.kind,
            "segments": len(kept.segments),
            "bytes": sum(map(len, kept.segments)),
            "count": len(found),
            "not_shown": max(0, len(found) - most),
            "ended": end is not None,
            "entries": [
                {
                    "number": entry.number,
                    "what": entry.what,
                    "interface": entry.name.rpartition("#")[0],
                    "function": entry.name.rpartition("#")[2],
                    "bytes": entry.bytes,
                }
                for entry in found[:most]
            ],
        }

    async def export(self, id: str, *, module: bool = True) -> bytes:
        """An invocation as one file, with its module unless that is not wanted.

        Raises `UnknownInvocation`, `NoJournal`, and `NotFound` where its version is gone.
        """
        found = await self.load(id, module=module)
        return await asyncio.to_thread(write_export, found)

    async def load(self, id: str, *, module: bool = True) -> Export:
        """An invocation with all that is needed to run it once more."""
        kept = await self._kept(id)
        record = kept.record
        deployment = await self._version(record, record.version or version_of(kept.segments))
        wasm = await asyncio.to_thread(self._registry.wasm, deployment.digest) if module else None
        return Export(
            record=record,
            deployment=deployment,
            request=kept.request,
            segments=kept.segments,
            stream=kept.stream,
            kind=kept.kind,
            wasm=wasm,
        )

    async def redrive(
        self, id: str, *, from_entry: int | None = None, version: int | None = None, fail: bool = False
    ) -> None:
        """Queues a dead letter once more, with all its attempts; a durable one goes on where it was.

        `from_entry` voids what is recorded from that entry on; `version` is the one that it goes on on, from now on; `fail`
        lets it see the request as failed that a crash cut off.  Raises `UnknownInvocation`, `NotDead`, `NotFound` for a
        version that is not there, `Differs` for one that does not do again what was kept, and `BadRequest`.
        """
        record = await self._invocations.find(id)
        if record.state != "dead":
            raise NotDead(f"the invocation {id} is {record.state}: only a dead letter can be redriven")
        asked = from_entry is not None or version is not None or fail
        if record.mode != "durable":
            if asked:
                raise BadRequest(f"{id} is no call of a durable function: it begins anew, on the current version")
            await self._invocations.redrive(id)
            return
        if fail and (record.result != AMBIGUOUS or from_entry is not None):
            raise BadRequest(f"{id} is not put away for a request that was perhaps sent: there is nothing to fail")
        segment = await self._cut(record, from_entry, version)
        if record.result == AMBIGUOUS and not segment:
            segment = decided_segment("fail" if fail else "repeat")
        await self._queue.redrive(id, segment=segment, version=version)
        self._invocations.wake(record)

    async def _cut(self, record: Record, from_entry: int | None, version: int | None) -> bytes:
        """What makes the rest of a journal void; empty where all of it is kept."""
        try:
            found = await self.load(record.id, module=False)
        except NoJournal:
            if from_entry:
                raise
            if version is not None:
                await self._version(record, version)
            return b""
        summary = await asyncio.to_thread(summary_of, found.segments)
        if from_entry is not None and from_entry > summary.entries:
            raise BadRequest(f"there is no call {from_entry} in the journal of {record.id}: it has {summary.entries}")
        first = summary.kept if from_entry is None and summary.end is not None else from_entry
        if version is not None:
            await self._fits(found, await self._version(record, version), first)
        return b"" if first is None else cut_segment(first)

    # -- underneath

    async def _kept(self, id: str) -> Kept:
        record = await self._invocations.find(id)
        asked, segments = take_apart(id, await self._queue.journal(id))
        if not segments:
            raise NoJournal(f"nothing was recorded of the invocation {id}, or it is not kept any more")
        if asked is not None:
            return Kept(record, asked.call, segments, "flight", asked.stream)
        try:
            return Kept(record, await self._queue.request(id), segments, "durable")
        except UnknownInvocation:
            raise NoJournal(f"what the invocation {id} was asked is not kept any more") from None

    async def _version(self, record: Record, version: int) -> Deployment:
        found = await asyncio.to_thread(self._registry.version, record.namespace, record.name, version)
        if found is None:
            raise NotFound(f"version {version} of {record.namespace}/{record.name} is not kept any more")
        return found
