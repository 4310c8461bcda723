"""What is asked before anything is sent, and how fast users may come."""

import os
import socket
from itertools import pairwise
from typing import Any

import pytest

from septet.lab.load import LoadError, Plan, limits, run
from septet.lab.load.closed_loop import ListenQueueGate
from septet.lab.load.limits import prepare
from septet.lab.load.listen_queue import listen_queue
from septet.lab.load.run import Warmup
from support.scripted_server import ScriptedServer, keep_answering


def listener(backlog: int, host: str = "127.0.0.1") -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, 0), family=family, backlog=backlog)


def url_of(sock: socket.socket) -> str:
    return f"http://127.0.0.1:{sock.getsockname()[1]}/"


def test_queue_of_a_listener() -> None:
    with listener(5) as sock:
        port = sock.getsockname()[1]
        assert listen_queue(socket.AF_INET, "127.0.0.1", port) == (0, 5)
        with socket.create_connection(("127.0.0.1", port)), socket.create_connection(("127.0.0.1", port)):
            assert listen_queue(socket.AF_INET, "127.0.0.1", port) == (2, 5)
    assert listen_queue(socket.AF_INET, "127.0.0.1", port) is None


def test_queue_of_a_listener_on_all_addresses() -> None:
    with listener(5, "0.0.0.0") as sock:
        assert listen_queue(socket.AF_INET, "127.0.0.1", sock.getsockname()[1]) == (0, 5)


def test_the_door_keeps_the_queue_half_empty() -> None:
    with listener(8) as sock:
        route = prepare(Plan(url_of(sock)))
        gate = ListenQueueGate(route)
        assert gate.admissible() == 4
        with socket.create_connection(route.address):
            assert gate.admissible() == 3
    assert gate.admissible() == 1  # who knocks is told that it has gone
    elsewhere = ListenQueueGate(route._replace(queue=None))
    assert elsewhere.admissible() == 64
    elsewhere.entering = 60
    assert elsewhere.admissible() == 4


def test_users_come_no_faster_than_a_short_queue_takes_them() -> None:
    with ScriptedServer(keep_answering, backlog=4) as server:
        figures = run(Plan(server.url, users=200, warmup_s=0.2, duration_s=0.3))
        assert figures["users_never_answered"] == 0
        assert figures["connect_us"]["max"] is None or figures["connect_us"]["max"] < 900_000
        assert figures["latency_us"]["max"] < 900_000  # a SYN that was dropped comes again after 1 s


@pytest.mark.parametrize("mode", ["close", "http10"])
def test_users_who_overflow_the_queue_are_refused(mode: str) -> None:
    with listener(10) as sock:
        with pytest.raises(LoadError, match=r"100 users .* queue of 10 \(its own backlog\): raise that"):
            prepare(Plan(url_of(sock), users=100, mode=mode))
        prepare(Plan(url_of(sock), users=100, mode=mode, overflow=True))
        prepare(Plan(url_of(sock), users=100))  # who keeps his connection stands there once, and is let in slowly
        prepare(Plan(url_of(sock), users=10, mode=mode))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"net.core.somaxconn": "10"}, r"net\.core\.somaxconn"),
        ({"net.ipv4.tcp_max_syn_backlog": "4", "net.ipv4.tcp_syncookies": "0"}, "tcp_max_syn_backlog = 4: raise it"),
    ],
)
def test_kernel_limits(values: dict[str, str], said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "sysctl", lambda name: values.get(name, "4096"))
    monkeypatch.setattr(limits, "_ports", lambda: 28000)
    users = 11 if "net.core.somaxconn" in values else 9
    with listener(10) as sock, pytest.raises(LoadError, match=said):
        prepare(Plan(url_of(sock), users=users, mode="close"))


def test_few_ports_are_spread_over_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "_ports", lambda: 100)
    with listener(10) as sock:
        assert prepare(Plan(url_of(sock), users=50)).sources == ()
        assert prepare(Plan(url_of(sock), users=120)).sources == ("127.0.0.1", "127.0.0.2", "127.0.0.3")
        assert len(prepare(Plan(url_of(sock), users=10, mode="close")).sources) == 8
        monkeypatch.setattr(limits, "check_descriptors", lambda users: None)
        with pytest.raises(LoadError, match="100000 users do not fit into the 12500 local ports"):
            prepare(Plan(url_of(sock), users=100_000))


def test_users_come_from_several_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "_ports", lambda: 8)
    seen: set[Any] = set()

    def notes_the_peer(connection: Any) -> None:
        seen.add(connection.socket.getpeername()[0])
        keep_answering(connection)

    with ScriptedServer(notes_the_peer) as server:
        assert run(Plan(server.url, users=12, warmup_s=0.0, duration_s=1.0))["errors"] == {}
    assert seen == {"127.0.0.1", "127.0.0.2", "127.0.0.3"}


def test_cpus_that_are_not_there() -> None:
    with pytest.raises(LoadError, match="CPU 4000 is not usable here; there are "):
        run(Plan("http://127.0.0.1:1/", cpus=(4000,)))


def test_one_cpu_needs_no_other_process() -> None:
    before = os.sched_getaffinity(0)
    seen = []
    with ScriptedServer(keep_answering) as server:
        plan = Plan(server.url, users=2, warmup_s=0.1, duration_s=0.2, cpus=(max(before),))
        figures = run(plan, lambda event, details: seen.append(os.sched_getaffinity(0)))
    assert figures["errors"] == {}
    assert set(map(frozenset, seen)) == {frozenset({max(before)})}
    assert os.sched_getaffinity(0) == before


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="there is one CPU only")
def test_a_process_on_each_cpu() -> None:
    cpus = tuple(sorted(os.sched_getaffinity(0)))[:2]
    events = []
    with ScriptedServer(keep_answering) as server:
        plan = Plan(server.url, users=5, warmup_s=0.1, duration_s=0.4, cpus=cpus)
        figures = run(plan, lambda event, details: events.append(event))
        assert figures["errors"] == {}
        assert figures["client"]["processes"] == len(cpus)
        assert figures["plan"]["users"] == 5
        assert server.connections == 5
        counted = figures["answers"] + figures["warmup"]["answers"]
        # Between the start signal and the window users go on, and are counted in neither process's window.
        assert 0 < counted <= server.requests
        assert sum(figures["histogram_us"].values()) == figures["answers"]
    assert {"came", "progress", "measuring", "measured"} <= set(events)
    assert [events.count(event) for event in ("came", "measuring", "measured")] == [1, 1, 1]


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="there is one CPU only")
def test_processes_share_a_rate() -> None:
    cpus = tuple(sorted(os.sched_getaffinity(0)))[:2]
    with ScriptedServer(keep_answering) as server:
        figures = run(Plan(server.url, users=8, rate=200.0, warmup_s=0.1, duration_s=0.5, cpus=cpus))
        assert figures["errors"] == {}
        # A process that is late for its window misses what was due before. With the whole rate each, it would be 200.
        assert figures["due"] == figures["answers"] == pytest.approx(100, rel=0.3)


def over_after(counts: list[int], at_least_s: float, at_most_s: float, step_s: float = 0.25) -> float | None:
    """When a warm-up ends whose answers come as counted, in seconds; None when they do not suffice."""
    warmup, answers = Warmup(at_least_s, at_most_s), 0
    for step, count in enumerate([0, *counts]):
        answers += count
        if warmup.over(step * step_s, answers):
            return step * step_s
    return None


def test_warm_up_of_a_fixed_time() -> None:
    assert over_after([100] * 20, 1.0, 0.0) == 1.0
    assert over_after([100] * 20, 0.0, 0.0) == 0.0


def test_warm_up_until_steady() -> None:
    assert over_after([10_000] * 20, 0.5, 10.0) == 1.0  # four windows alike
    rising = [1000, 2000, 4000, 8000, 10_000, 10_000, 10_000, 10_000]
    assert over_after(rising, 0.5, 10.0) == 2.0
    assert over_after([1000, 2000] * 20, 0.5, 3.0) == 3.0  # never steady: no longer than that
    assert over_after([0] * 20, 0.5, 3.0) == 3.0


def test_low_rates_may_differ_more() -> None:
    """12 and 13 answers in a quarter of a second are the same rate, as far as chance lets anybody tell."""
    assert over_after([12, 13, 12, 14], 0.5, 10.0) == 1.0


def test_steadiness_is_told_later_by_longer_windows() -> None:
    ends = [over_after([10_000] * 40, 0.5, 10.0, step) for step in (0.25, 0.5, 1.0)]
    assert all(earlier is not None and later is not None and earlier < later for earlier, later in pairwise(ends))
