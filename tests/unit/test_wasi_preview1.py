"""WASI preview 1: exact core signatures and memory layouts, standard streams in the log, and no files."""

import struct
from collections.abc import Iterable

import pytest

from guesthouse.errors import DeadlineExceeded, Trap
from unit.wasi_world import MS, P1, SECOND, Guest, World

WITX = dict(
    line.split()
    for line in """
    args_get ii
    args_sizes_get ii
    environ_get ii
    environ_sizes_get ii
    clock_res_get ii
    clock_time_get iIi
    fd_advise iIIi
    fd_allocate iII
    fd_close i
    fd_datasync i
    fd_fdstat_get ii
    fd_fdstat_set_flags ii
    fd_fdstat_set_rights iII
    fd_filestat_get ii
    fd_filestat_set_size iI
    fd_filestat_set_times iIIi
    fd_pread iiiIi
    fd_prestat_get ii
    fd_prestat_dir_name iii
    fd_pwrite iiiIi
    fd_read iiii
    fd_readdir iiiIi
    fd_renumber ii
    fd_seek iIii
    fd_sync i
    fd_tell ii
    fd_write iiii
    path_create_directory iii
    path_filestat_get iiiii
    path_filestat_set_times iiiiIIi
    path_link iiiiiii
    path_open iiiiiIIii
    path_readlink iiiiii
    path_remove_directory iii
    path_rename iiiiii
    path_symlink iiiii
    path_unlink_file iii
    poll_oneoff iiii
    proc_raise i
    random_get ii
    """.strip().splitlines()
)


def test_preview_1_is_complete_but_for_sockets() -> None:
    """Every function of the snapshot with its core signature; sockets are not offered."""
    offered = {name: call.core for (owner, name), call in World().calls.items() if owner == P1}
    expected = {name: f"{params}:i" for name, params in WITX.items()}
    assert offered == expected | {"proc_exit": "i:", "sched_yield": ":i"}


def vectors(guest: Guest, at: int, pieces: Iterable[bytes]) -> int:
    """Lays pieces out in memory with a table of vectors at `at`; returns how many."""
    count, data = 0, at + 4096
    for piece in pieces:
        guest.write(at + 8 * count, struct.pack("<II", data, len(piece)))
        guest.write(data, piece)
        data += len(piece)
        count += 1
    return count


def test_fd_write_gathers_and_reports_what_it_took() -> None:
    """Descriptors 1 and 2 go to the log; others are no descriptors."""
    world = World()
    count = vectors(world.guest, 0, [b"he", b"", b"llo\n"])
    assert world.p1("fd_write", 1, 0, count, 2000) == 0
    assert world.guest.u32(2000) == 6
    assert world.p1("fd_write", 2, 0, count, 2000) == 0
    assert world.log.records == [("info", "hello", "stdout"), ("error", "hello", "stderr")]
    assert [world.p1("fd_write", fd, 0, count, 2000) for fd in (0, 3, 0xFFFFFFFF)] == [8, 8, 8]


def test_fd_write_takes_at_most_64_kib_and_1024_vectors() -> None:
    """Vectors that all point at one large piece cost no more than one write (G9)."""
    world = World()
    for index in range(1024):
        world.guest.write(8 * index, struct.pack("<II", 8192, 60_000))
    assert world.p1("fd_write", 1, 0, 1024, 80_000) == 0
    assert world.guest.u32(80_000) == 65536
    assert world.p1("fd_write", 1, 0, 1025, 80_000) == 28


def test_pointers_out_of_bounds_trap() -> None:
    """In the table, in a vector, and for the answer."""
    world = World()
    end = len(world.guest.memory)
    world.guest.write(0, struct.pack("<II", end - 4, 8))
    for args in ((1, end - 4, 1, 100), (1, 0, 1, 100), (1, 16, 1, end - 2)):
        with pytest.raises(Trap):
            world.p1("fd_write", *args)
    with pytest.raises(Trap):
        world.p1("clock_time_get", 0, 0, end - 4)


def test_fd_read_of_standard_input_is_the_end() -> None:
    """Zero bytes and no error."""
    world = World()
    world.guest.write(50, b"\xff" * 4)
    assert world.p1("fd_read", 0, 0, 1, 50) == 0
    assert world.guest.u32(50) == 0
    assert world.p1("fd_read", 1, 0, 1, 50) == 8


def test_there_are_three_descriptors_and_no_files() -> None:
    """No preopen at 3, where every libc looks; every path call answers a bad descriptor."""
    world = World()
    assert [world.p1("fd_close", fd) for fd in (0, 1, 2, 3)] == [0, 0, 0, 8]
    assert [world.p1("fd_seek", fd, 0, 0, 0) for fd in (0, 3)] == [70, 8]
    assert [world.p1("fd_tell", fd, 0) for fd in (1, 3)] == [70, 8]
    assert world.p1("fd_prestat_get", 3, 0) == 8
    assert world.p1("fd_prestat_dir_name", 3, 0, 0) == 8
    assert world.p1("path_open", 3, 0, 0, 0, 0, 0, 0, 0, 0) == 8
    assert world.p1("path_filestat_get", 3, 0, 0, 0, 0) == 8
    assert world.p1("fd_fdstat_get", 3, 0) == 8
    assert world.p1("fd_filestat_get", 3, 0) == 8


def test_stat_of_a_stream_is_of_no_terminal() -> None:
    """Unknown type, its one right and polling, no seek; the layouts are those of the snapshot."""
    world = World()
    world.guest.write(0, b"\xff" * 200)
    assert world.p1("fd_fdstat_get", 1, 0) == 0
    assert world.guest.read(0, 24) == struct.pack("<BxHxxxxQQ", 0, 0, 1 << 6 | 1 << 27, 0)
    assert world.guest.read(24, 1) == b"\xff"
    assert world.p1("fd_filestat_get", 1, 64) == 0
    assert world.guest.read(64, 64) == bytes(24) + struct.pack("<Q", 1) + bytes(32)
    assert world.guest.read(128, 1) == b"\xff"


def test_clocks_of_preview_1_are_those_of_0_2() -> None:
    """Real time and monotonic time; processor time is not supported, others are invalid."""
    world = World()
    assert world.p1("clock_time_get", 0, 0, 8) == 0
    assert world.guest.u64(8) == 1_700_000_000_123_000_000
    assert world.p1("clock_time_get", 1, 2**64 - 1, 8) == 0
    assert world.guest.u64(8) == world.call("clocks/monotonic-clock", "now")
    assert world.p1("clock_res_get", 1, 8) == 0
    assert world.guest.u64(8) == MS
    assert [world.p1("clock_time_get", clock, 0, 8) for clock in (2, 3, 4)] == [58, 58, 28]
    assert [world.p1("clock_res_get", clock, 8) for clock in (2, 4)] == [58, 28]


def subscription(userdata: int, kind: int, subject: int = 0, timeout: int = 0, flags: int = 0) -> bytes:
    return struct.pack("<QBxxxxxxxIxxxxQQHxxxxxx", userdata, kind, subject, timeout, 0, flags)


def poll(world: World, *subscriptions: bytes) -> list[tuple[int, int, int]]:
    """The events as (userdata, error, type)."""
    world.guest.write(0, b"".join(subscriptions))
    assert world.p1("poll_oneoff", 0, 4096, len(subscriptions), 60_000) == 0
    events = [world.guest.read(4096 + 32 * index, 32) for index in range(world.guest.u32(60_000))]
    return [struct.unpack_from("<QHB", event) for event in events]


def test_poll_oneoff_sleeps_until_the_first_timer() -> None:
    """Only the timers that rang are answered; `sleep` of a standard library is this."""
    world = World()
    assert poll(world, subscription(1, 0, 1, 3 * SECOND), subscription(2, 0, 1, SECOND)) == [(2, 0, 0)]
    assert 0.99 < sum(world.clock.naps) < 1.01


def test_poll_oneoff_knows_absolute_times_of_both_clocks() -> None:
    """A deadline on either clock."""
    world = World()
    world.p1("clock_time_get", 1, 0, 8)
    assert poll(world, subscription(1, 0, 1, world.guest.u64(8) + SECOND, 1)) == [(1, 0, 0)]
    assert 0.99 < sum(world.clock.naps) < 1.01
    world = World()
    assert poll(world, subscription(1, 0, 0, world.clock.wall_ns() + SECOND, 1)) == [(1, 0, 0)]
    assert 0.99 < sum(world.clock.naps) < 1.01
    assert poll(world, subscription(1, 0, 0, 5, 1), subscription(2, 0, 1, 5, 1)) == [(1, 0, 0), (2, 0, 0)]


def test_poll_oneoff_of_streams_answers_at_once() -> None:
    """Standard streams are ready, other descriptors and clocks are errors, timers are left alone."""
    world = World()
    events = poll(
        world,
        subscription(1, 1, 0),
        subscription(2, 2, 1),
        subscription(3, 1, 5),
        subscription(4, 9, 0),
        subscription(5, 0, 2, 5),
        subscription(6, 0, 1, SECOND),
        subscription(7, 0, 1, 0),
    )
    assert events == [(1, 0, 1), (2, 0, 2), (3, 8, 1), (4, 28, 9), (5, 58, 0), (7, 0, 0)]
    assert world.clock.naps == []


def test_poll_oneoff_is_bounded_in_number_and_time() -> None:
    """No subscription, or more than 1024, is invalid; the deadline ends a sleep."""
    world = World()
    assert world.p1("poll_oneoff", 0, 0, 0, 0) == 28
    assert world.p1("poll_oneoff", 0, 0, 1025, 0) == 28
    world.run.deadline_ns = world.clock.monotonic_ns() + 300 * MS
    with pytest.raises(DeadlineExceeded):
        poll(world, subscription(1, 0, 1, 2**64 - 1))
    assert sum(world.clock.naps) == pytest.approx(0.3)


def test_the_rest_of_preview_1_answers_an_error_or_nothing() -> None:
    """Yielding succeeds, raising signals does not exist."""
    world = World()
    assert world.p1("sched_yield") == 0
    assert world.p1("proc_raise", 6) == 52
