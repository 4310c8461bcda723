"""What the kernel says, byte by byte: records of perf_event_open(2), and lines of /proc."""

import mmap
import os
import socket
import struct
from contextlib import ExitStack

import pytest

from septet.lab.threads import sockets
from septet.lab.threads.reasons import interpreter_ranges
from septet.lab.threads.sockets import Kind, read_sockets, waits
from septet.lab.threads.states import Call, State
from septet.lab.trace import perf
from septet.lab.trace.timeline import Born, Died, Record, SwitchedIn, SwitchedOut

PID, TID = 10, 11


def record(kind: int, body: bytes, misc: int = 0) -> bytes:
    return struct.pack("<IHH", kind, misc, 8 + len(body)) + body


def identity(time: int, tid: int = TID) -> bytes:
    return struct.pack("<IIQ", PID, tid, time)


def switch(time: int, misc: int = 0, tid: int = TID) -> bytes:
    return record(14, identity(time, tid), misc)


def registers(tid: int = TID, abi: int = 2) -> bytes:
    """A sample: what it has of registers, in the order of their numbers: SI, DI, IP."""
    return record(9, identity(1, tid) + struct.pack("<Q", abi) + (struct.pack("<QQQ", 2, 1, 0x7F00) if abi else b""))


def decoded(*data: bytes) -> tuple[list[Record], int]:
    switches = object.__new__(perf.Switches)
    switches.lost, switches._calls = 0, {}
    return list(switches._decode(b"".join(data))), switches.lost


def test_switches() -> None:
    assert decoded(switch(1), switch(2, 1 << 13), switch(3), switch(4, 1 << 13 | 1 << 14)) == (
        [
            SwitchedIn(1, PID, TID),
            SwitchedOut(2, PID, TID, False, None),
            SwitchedIn(3, PID, TID),
            SwitchedOut(4, PID, TID, True, None),
        ],
        0,
    )


def test_registers_belong_to_the_next_switch_of_their_thread() -> None:
    records, _ = decoded(registers(), switch(1, 1 << 13, TID + 1), switch(2, 1 << 13), switch(3, 1 << 13))
    assert [record.call for record in records] == [None, Call(0x7F00, 1, 2), None]  # type: ignore[union-attr]


def test_kernel_thread_has_no_registers() -> None:
    assert decoded(registers(abi=0), switch(2, 1 << 13))[0] == [SwitchedOut(2, PID, TID, False, None)]


def test_births_deaths_and_losses() -> None:
    task = struct.pack("<IIIIQ", PID, 1, TID, 1, 5)
    lost = record(2, struct.pack("<QQ", 77, 3) + identity(6)), record(13, struct.pack("<Q", 4) + identity(6))
    assert decoded(record(7, task), record(4, task), *lost) == ([Born(5, PID, TID), Died(5, PID, TID)], 7)


def test_what_is_not_known_is_passed_over() -> None:
    assert decoded(record(99, b"12345678"), switch(1)) == ([SwitchedIn(1, PID, TID)], 0)


def test_bytes_that_are_no_record_end_the_reading() -> None:
    """A length of 0 was read again and again, for ever."""
    assert decoded(switch(1), bytes(16), switch(2)) == ([SwitchedIn(1, PID, TID)], 1)


def ring(head: int, tail: int, data: bytes) -> mmap.mmap:
    shared = mmap.mmap(-1, mmap.PAGESIZE + len(data))
    struct.pack_into("<QQ", shared, 1024, head, tail)
    shared[mmap.PAGESIZE :] = data
    return shared


def test_ring_is_drained_and_room_given_back() -> None:
    data = bytes(range(256)) * (mmap.PAGESIZE // 256)
    shared = ring(30, 10, data)
    assert perf._take(shared) == data[10:30]
    assert struct.unpack_from("<QQ", shared, 1024) == (30, 30)
    assert perf._take(shared) == b""


def test_ring_goes_round() -> None:
    data = bytes(range(256)) * (mmap.PAGESIZE // 256)
    size = len(data)
    assert perf._take(ring(3 * size + 5, 3 * size - 7, data)) == data[-7:] + data[:5]


def test_interpreter_lies_where_its_files_are_mapped() -> None:
    maps = [
        "00400000-00500000 r-xp 00000000 fe:00 1    /usr/bin/python3.11",
        "00500000-00600000 rw-p 00100000 fe:00 1    /usr/bin/python3.11",
        "00600000-00700000 rw-p 00000000 00:00 0 ",
        "01000000-02000000 rw-p 00000000 00:00 0    [heap]",
        "02000000-03000000 rw-p 00000000 00:00 0 ",
        "7f000000-7f100000 r-xp 00000000 fe:00 2    /usr/lib/libpython3.12.so.1.0",
        "7f100000-7f200000 rw-p 00000000 fe:00 3    /usr/lib/python3/dist-packages/_queue.so",
    ]
    assert interpreter_ranges(maps) == [
        (0x400000, 0x500000),
        (0x500000, 0x600000),
        (0x600000, 0x700000),  # .bss
        (0x7F000000, 0x7F100000),
    ]


@pytest.mark.parametrize(
    ("kinds", "state"),
    [
        ([Kind.CLIENT], State.CLIENT),
        ([Kind.LISTENER, Kind.INTERNAL], State.ACCEPT),
        ([Kind.BACKEND, None], State.BACKEND),
        ([Kind.CLIENT, Kind.LISTENER], State.EVENTS),
        ([Kind.INTERNAL], State.EVENTS),
        ([None], None),
        ([], None),
    ],
)
def test_waits_for_descriptors(kinds: list[Kind | None], state: State | None) -> None:
    assert waits(kinds, State.EVENTS) is state


def test_sockets_of_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    head = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode"
    rest = "00000000:00000000 00:00000000 00000000     0        0"
    tcp = [
        f"   0: 0100007F:1F40 00000000:0000 0A {rest} 101 1 0000 100 0 0 10 0",
        f"   1: 0100007F:1F40 0100007F:9C40 01 {rest} 102 1 0000 20 4 30 10 -1",
        f"   2: 0100007F:9C41 0100007F:18EB 01 {rest} 103 1 0000 20 4 30 10 -1",
    ]
    tables = {
        "/proc/7/net/tcp": [head, *tcp],
        "/proc/7/net/unix": ["Num RefCount Protocol Flags Type St Inode", "0: 2 0 0 1 3 104", "0: 2 0 0 1 1 105 /s"],
    }
    monkeypatch.setattr(sockets, "_network_of", lambda pid: None)  # /proc, as where sock_diag is not ours to ask
    monkeypatch.setattr("septet.lab.threads.sockets._lines", lambda path: tables.get(path, [""])[1:])
    assert read_sockets(7, frozenset([8000])) == {
        "101": Kind.LISTENER,
        "102": Kind.CLIENT,
        "103": Kind.BACKEND,
        "104": Kind.BACKEND,
        "105": Kind.BACKEND,
    }


def test_sockets_are_the_same_by_netlink_and_by_proc(monkeypatch: pytest.MonkeyPatch) -> None:
    """And none in TIME_WAIT is looked through."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()) as client,
        listener.accept()[0] as accepted,
        socket.create_server(("::1", 0), family=socket.AF_INET6) as other,
    ):
        ports = frozenset([listener.getsockname()[1]])
        inodes = [str(os.fstat(each.fileno()).st_ino) for each in (listener, accepted, client, other)]
        for network in (sockets._network_of, lambda pid: None):
            monkeypatch.setattr(sockets, "_network_of", network)
            found = read_sockets(os.getpid(), ports)
            assert [found[each] for each in inodes] == [Kind.LISTENER, Kind.CLIENT, Kind.BACKEND, Kind.BACKEND]


def test_reading_sockets_takes_a_tenth_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many are new: each of them made the kernel list all connections once more."""
    now_ns, reads = 0, 0

    def read(pid: int, ports: frozenset[int]) -> dict[str, Kind]:
        nonlocal now_ns, reads
        now_ns += 200_000_000
        reads += 1
        return {}

    monkeypatch.setattr(sockets, "read_sockets", read)
    monkeypatch.setattr("septet.lab.threads.sockets.time.monotonic_ns", lambda: now_ns)
    with ExitStack() as stack:
        descriptors = sockets.Descriptors(frozenset())
        for _ in range(100):
            new = stack.enter_context(socket.socket())
            now_ns += 40_000_000
            assert descriptors.kind(os.getpid(), new.fileno()) is None
    assert 2 <= reads <= 4, "100 new sockets in 4 s"
