"""`wasi_snapshot_preview1`: what a `wasm32-wasip1` core module may name, but for files (see `preview1_files`).

Promises: the exact core signatures; a program that uses no socket links.  Layouts are those of the preview 1 witx files.
What a call reads of the world is observed by itself, without the addresses that it is written to: after a step that is not
run again the guest's memory is laid out differently.
"""

from __future__ import annotations

import struct
from collections.abc import Awaitable
from typing import TYPE_CHECKING, NoReturn

from guesthouse.interfaces.base import host_call
from guesthouse.interfaces.wasi.preview1_files import (
    EINVAL,
    FDSTAT,
    FILESTAT,
    MOST_VECTORS,
    POSITION,
    PREVIEW1,
    SIZES,
    SUCCESS,
    VECTOR,
    Guest,
    Preview1Files,
    fd_stat,
    file_stat,
    fill,
    numbered,
    sought,
)
from guesthouse.interfaces.wasi.state import Exited, arguments, observed_environment
from guesthouse.interfaces.wasi.time import STEP_NS

if TYPE_CHECKING:
    from guesthouse.interfaces.invocation import Invocation
    from guesthouse.interfaces.wasi.time import GuestTime

EBADF, ENOSYS, ENOTSUP, ESPIPE = 8, 52, 58, 70
REALTIME, MONOTONIC = 0, 1
STREAMS = {1: "stdout", 2: "stderr"}
STDIO = frozenset({0, 1, 2})
MOST_SUBSCRIPTIONS = 1024
MOST_WRITE = 64 * 1024
"""What one call takes of what it is given; the rest is for the next, as with any stream."""
RIGHTS = {0: 1 << 1 | 1 << 27, 1: 1 << 6 | 1 << 27, 2: 1 << 6 | 1 << 27}
"""fd_read or fd_write, and poll_fd_readwrite; no seek."""

TIMESTAMP = struct.Struct("<Q")
SUBSCRIPTION = struct.Struct("<QB7xI4xQQH6x")
EVENT = struct.Struct("<QHB5xQH6x")
CLOCK_EVENT, READ_EVENT, WRITE_EVENT = 0, 1, 2
ABSOLUTE, HANGUP = 1, 1
CURRENT = 1


class Preview1(Preview1Files):
    """The functions of `wasi_snapshot_preview1` without its sockets; each answers an error number, 0 for success."""

    @host_call(PREVIEW1, "args_sizes_get", core="ii:i")
    def args_sizes_get(self, invocation: Invocation, guest: Guest, count: int, size: int) -> int:
        return _write_sizes(guest, count, size, _arguments(invocation))

    @host_call(PREVIEW1, "args_get", core="ii:i")
    def args_get(self, invocation: Invocation, guest: Guest, pointers: int, text: int) -> int:
        return _write_texts(guest, pointers, text, _arguments(invocation))

    @host_call(PREVIEW1, "environ_sizes_get", core="ii:i")
    def environ_sizes_get(self, invocation: Invocation, guest: Guest, count: int, size: int) -> int:
        return _write_sizes(guest, count, size, _environment(invocation))

    @host_call(PREVIEW1, "environ_get", core="ii:i")
    def environ_get(self, invocation: Invocation, guest: Guest, pointers: int, text: int) -> int:
        return _write_texts(guest, pointers, text, _environment(invocation))

    @host_call(PREVIEW1, "clock_res_get", core="ii:i")
    def clock_res_get(self, invocation: Invocation, guest: Guest, clock: int, result: int) -> int:
        if clock not in (REALTIME, MONOTONIC):
            return _no_clock(clock)
        guest.write(result, TIMESTAMP.pack(STEP_NS))
        return SUCCESS

    @host_call(PREVIEW1, "clock_time_get", core="iIi:i")
    def clock_time_get(self, invocation: Invocation, guest: Guest, clock: int, precision: int, result: int) -> int:
        if clock not in (REALTIME, MONOTONIC):
            return _no_clock(clock)
        time = self._time(invocation)
        guest.write(result, TIMESTAMP.pack(time.wall() if clock == REALTIME else time.monotonic()))
        return SUCCESS

    @host_call(PREVIEW1, "random_get", core="ii:i")
    def random_get(self, invocation: Invocation, guest: Guest, buffer: int, length: int) -> int:
        guest.write(buffer, self._observed_random(invocation, length))
        return SUCCESS

    @host_call(PREVIEW1, "fd_write", core="iiii:i")
    def fd_write(self, invocation: Invocation, guest: Guest, fd: int, vectors: int, count: int, written: int) -> int:
        source = STREAMS.get(fd)
        if source is None:
            return EBADF
        if count > MOST_VECTORS:
            return EINVAL
        pieces, room = [], MOST_WRITE
        for pointer, length in VECTOR.iter_unpack(guest.read(vectors, VECTOR.size * count)):
            pieces.append(guest.read(pointer, min(length, room)))
            room -= len(pieces[-1])
            if room == 0:
                break
        self._stdio(invocation).writer(source).write(b"".join(pieces))
        guest.write(written, SIZES.pack(MOST_WRITE - room))
        return SUCCESS

    @host_call(PREVIEW1, "fd_read", core="iiii:i")
    @numbered
    def fd_read(self, invocation: Invocation, guest: Guest, fd: int, vectors: int, count: int, read: int) -> int:
        if fd in STREAMS:
            return EBADF
        if fd != 0:
            return fill(guest, vectors, count, self._files(invocation).get(fd).read, read)
        stdin = self._stdin(invocation)
        return fill(guest, vectors, count, lambda most: stdin.read(most) or b"", read)

    @host_call(PREVIEW1, "fd_close", core="i:i")
    def fd_close(self, invocation: Invocation, guest: Guest, fd: int) -> int:
        closed = fd in STDIO or self._files(invocation).open.pop(fd, None) is not None
        return SUCCESS if closed else EBADF

    @host_call(PREVIEW1, "fd_fdstat_get", core="ii:i")
    @numbered
    def fd_fdstat_get(self, invocation: Invocation, guest: Guest, fd: int, result: int) -> int:
        if fd in STDIO:
            guest.write(result, FDSTAT.pack(0, 0, RIGHTS[fd], 0))
        else:
            guest.write(result, fd_stat(self._files(invocation).get(fd).descriptor))
        return SUCCESS

    @host_call(PREVIEW1, "fd_filestat_get", core="ii:i")
    @numbered
    def fd_filestat_get(self, invocation: Invocation, guest: Guest, fd: int, result: int) -> int:
        if fd in STDIO:
            guest.write(result, FILESTAT.pack(0, 0, 0, 1, 0, 0, 0, 0))
        else:
            guest.write(result, file_stat(self._files(invocation).get(fd).descriptor))
        return SUCCESS

    @host_call(PREVIEW1, "fd_seek", core="iIii:i")
    @numbered
    def fd_seek(self, invocation: Invocation, guest: Guest, fd: int, offset: int, whence: int, result: int) -> int:
        if fd in STDIO:
            return ESPIPE
        guest.write(result, POSITION.pack(sought(self._files(invocation).get(fd), offset, whence)))
        return SUCCESS

    @host_call(PREVIEW1, "fd_tell", core="ii:i")
    def fd_tell(self, invocation: Invocation, guest: Guest, fd: int, result: int) -> int:
        return self.fd_seek(invocation, guest, fd, 0, CURRENT, result)

    @host_call(PREVIEW1, "poll_oneoff", core="iiii:i")
    def poll_oneoff(
        self, invocation: Invocation, guest: Guest, subscriptions: int, events: int, count: int, happened: int
    ) -> int | Awaitable[int]:
        """What is ready: at once where anything is, else an awaitable that waits for the first timer."""
        if not 0 < count <= MOST_SUBSCRIPTIONS:
            return EINVAL
        time = self._time(invocation)
        wanted = list(SUBSCRIPTION.iter_unpack(guest.read(subscriptions, SUBSCRIPTION.size * count)))
        ready = [_descriptor_event(*one[:3]) for one in wanted if one[1] != CLOCK_EVENT]
        timers: list[tuple[int, int]] = []
        for userdata, kind, clock, timeout, _, flags in wanted:
            if kind != CLOCK_EVENT:
                continue
            if clock not in (REALTIME, MONOTONIC):
                ready.append(EVENT.pack(userdata, _no_clock(clock), CLOCK_EVENT, 0, 0))
            else:
                timers.append((_due(time, clock, timeout, flags), userdata))
        ready += _rung(time, timers)
        if ready:
            return _answer(guest, events, happened, ready)
        return self._ring_later(guest, events, happened, time, timers)

    async def _ring_later(
        self, guest: Guest, events: int, happened: int, time: GuestTime, timers: list[tuple[int, int]]
    ) -> int:
        await time.wait(min(timers)[0])
        return _answer(guest, events, happened, _rung(time, timers))

    @host_call(PREVIEW1, "proc_exit", core="i:")
    def proc_exit(self, invocation: Invocation, guest: Guest, status: int) -> NoReturn:
        raise Exited(status)

    @host_call(PREVIEW1, "proc_raise", core="i:i")
    def proc_raise(self, invocation: Invocation, guest: Guest, signal: int) -> int:
        return ENOSYS

    @host_call(PREVIEW1, "sched_yield", core=":i")
    def sched_yield(self, invocation: Invocation, guest: Guest) -> int:
        return SUCCESS


def _environment(invocation: Invocation) -> list[bytes]:
    return [f"{name}={value}\0".encode() for name, value in observed_environment(invocation)]


def _arguments(invocation: Invocation) -> list[bytes]:
    return [f"{argument}\0".encode() for argument in arguments(invocation)]


def _write_sizes(guest: Guest, count: int, size: int, texts: list[bytes]) -> int:
    guest.write(count, SIZES.pack(len(texts)))
    guest.write(size, SIZES.pack(sum(map(len, texts))))
    return SUCCESS


def _write_texts(guest: Guest, pointers: int, at: int, texts: list[bytes]) -> int:
    """Writes texts one behind the other to `at`, and the addresses of their beginnings to `pointers`."""
    addresses, begin = [], at
    for text in texts:
        addresses.append(begin)
        begin += len(text)
    guest.write(pointers, b"".join(SIZES.pack(address & 0xFFFFFFFF) for address in addresses))
    guest.write(at, b"".join(texts))
    return SUCCESS


def _no_clock(clock: int) -> int:
    """The error number for a clock that is not offered: the two of processor time exist, others do not."""
    return ENOTSUP if clock in (2, 3) else EINVAL


def _due(time: GuestTime, clock: int, timeout: int, flags: int) -> int:
    """The host's time at which a timer rings."""
    if not flags & ABSOLUTE:
        return time.after(timeout)
    return time.at(timeout) if clock == MONOTONIC else time.until_wall(timeout)


def _descriptor_event(userdata: int, kind: int, fd: int) -> bytes:
    """A stream is always ready: standard input at its end, the others for writing."""
    if kind == READ_EVENT and fd == 0:
        return EVENT.pack(userdata, SUCCESS, kind, 0, HANGUP)
    if kind == WRITE_EVENT and fd in STREAMS:
        return EVENT.pack(userdata, SUCCESS, kind, MOST_WRITE, 0)
    return EVENT.pack(userdata, EBADF if kind in (READ_EVENT, WRITE_EVENT) else EINVAL, kind, 0, 0)


def _rung(time: GuestTime, timers: list[tuple[int, int]]) -> list[bytes]:
    now = time.now() if timers else 0
    return [EVENT.pack(userdata, SUCCESS, CLOCK_EVENT, 0, 0) for when, userdata in timers if when <= now]


def _answer(guest: Guest, events: int, happened: int, ready: list[bytes]) -> int:
    guest.write(events, b"".join(ready))
    guest.write(happened, SIZES.pack(len(ready)))
    return SUCCESS
