"""The shapes that a load can have: arrivals at random, ramps, think times, slow clients."""

import dataclasses
import itertools
import statistics
import time
from typing import Any

import pytest

from septet.lab.load import LoadError, Plan, run
from septet.lab.load.open_loop import Schedule
from support.scripted_server import ANSWER, Connection, ScriptedServer, answering_status, keep_answering
from support.waiting import in_time_enough

ANY = "http://127.0.0.1/"


def gaps_s(plan: Plan, number: int) -> list[float]:
    schedule = Schedule(plan)
    schedule.begin(0)
    found = []
    for _ in range(number):
        found.append(schedule.due_ns)
        schedule.advance()
    return [(later - earlier) / 1e9 for earlier, later in itertools.pairwise(found)]


def test_uniform_arrivals_are_even() -> None:
    assert gaps_s(Plan(ANY, rate=250.0), 1000) == pytest.approx([1 / 250] * 999, abs=1e-8)


def test_poisson_arrivals_have_exponential_gaps() -> None:
    """Their standard deviation is their mean, and one in e is longer than that: bounds that chance passes once in
    10,000 runs."""
    gaps = gaps_s(Plan(ANY, rate=250.0, arrivals="poisson"), 20_000)
    assert statistics.fmean(gaps) == pytest.approx(1 / 250, rel=0.03)
    assert statistics.stdev(gaps) == pytest.approx(1 / 250, rel=0.06)
    assert sum(gap > 1 / 250 for gap in gaps) / len(gaps) == pytest.approx(0.3679, abs=0.015)


@pytest.mark.parametrize("arrivals", ["uniform", "poisson"])
def test_a_ramp_of_the_rate_grows_evenly(arrivals: str) -> None:
    """In the first half of the ramp are a quarter of its requests, and half of what the full rate would send."""
    schedule = Schedule(Plan(ANY, rate=10_000.0, ramp_s=2.0, arrivals=arrivals))
    schedule.begin(0)
    counts = [0] * 3
    while schedule.due_ns < 3_000_000_000:
        counts[schedule.due_ns // 1_000_000_000] += 1
        schedule.advance()
    assert counts == pytest.approx([2_500, 7_500, 10_000], rel=0.08)


def test_random_arrivals_are_sent_and_answered() -> None:
    with ScriptedServer(keep_answering) as server:
        figures = run(Plan(server.url, users=20, rate=300.0, duration_s=1.0, warmup_s=0.1, arrivals="poisson"))
    assert figures["errors"] == {}
    assert figures["answers"] == figures["due"] == pytest.approx(300, abs=6 * 300**0.5)


def test_a_ramp_of_the_rate_is_not_measured() -> None:
    with ScriptedServer(keep_answering) as server:
        figures = run(Plan(server.url, users=20, rate=300.0, duration_s=0.5, warmup_s=0.0, ramp_s=1.0))
    assert figures["due"] == pytest.approx(150, abs=3)
    assert figures["warmup"]["answers"] > 130, "those of the ramp, and what came late for want of a CPU"


def test_users_arrive_in_a_ramp() -> None:
    """The first arrive at the beginning and work at once, the last a second later; then the window begins."""
    arrivals: list[float] = []

    def note(connection: Connection) -> None:
        arrivals.append(time.monotonic() - begun)
        keep_answering(connection)

    def arrive(duration_s: float) -> dict[str, Any]:
        nonlocal begun
        arrivals.clear()
        begun = time.monotonic()
        return run(Plan(server.url, users=10, duration_s=duration_s, warmup_s=0.0, ramp_s=1.0, think_s=0.02))

    begun = 0.0
    with ScriptedServer(note) as server:
        figures = in_time_enough(
            arrive, lambda figures: figures["users_never_answered"] == 0 and figures["warmup"]["answers"] > 20, 0.2
        )
    assert len(arrivals) == 10
    assert max(arrivals) >= 0.9
    assert min(arrivals) < 0.7
    assert figures["warmup"]["answers"] > 20, "those who came first did not wait for the last"
    assert figures["users_never_answered"] == 0


@pytest.mark.parametrize("kind", ["constant", "exponential"])
def test_users_think_between_requests(kind: str) -> None:
    """At most one answer per think time and user; on a busy machine fewer."""
    with ScriptedServer(keep_answering) as server:
        plan = Plan(server.url, users=20, duration_s=1.0, warmup_s=0.1, think_s=0.1, think_times=kind)
        figures = run(plan)
    assert figures["errors"] == {}
    allowed = 20 * 10 * (1.0 if kind == "constant" else 1.3) + 20
    assert 20 <= figures["answers"] <= allowed
    assert figures["latency_us"]["p50"] < 90_000, "a think time is no latency"


def test_thinking_users_do_not_march_in_step() -> None:
    """They would be a burst of requests each think time, as no visitors are."""
    arrivals: list[float] = []

    def note(connection: Connection) -> None:
        while connection.request():
            arrivals.append(time.monotonic())
            connection.send(ANSWER)

    with ScriptedServer(note) as server:
        run(Plan(server.url, users=16, duration_s=0.9, warmup_s=0.1, think_s=0.4))
    late = [each for each in arrivals if each > arrivals[0] + 0.3]
    tenths = {int((each - arrivals[0]) * 20) % 8 for each in late}
    assert len(tenths) >= 4, "the requests of 16 users fall into few of the eighths of a think time"


def test_slow_clients_are_slow_and_counted_apart() -> None:
    """A request of about 100 bytes and an answer of 51 take a tenth of a second at 1,000 bytes/s, at least."""
    spans: list[float] = []

    def note(connection: Connection) -> None:
        connection.socket.setsockopt(6, 1, 1)  # TCP_NODELAY
        begun = time.monotonic()
        while head := connection.request():
            if b"slow" not in head:
                spans.append(time.monotonic() - begun)
            connection.send(ANSWER)
            begun = time.monotonic()

    with ScriptedServer(note) as server:
        plan = Plan(server.url, users=1, rate=20.0, duration_s=2.0, warmup_s=0.1, slow=3, slow_rate=1000)
        figures = run(dataclasses.replace(plan, timeout_s=5.0))
    assert figures["answers"] == figures["due"] == pytest.approx(40, abs=2)
    slow = figures["slow"]
    assert slow["errors"] == {}
    assert 1 <= slow["answers"] <= 3 * 2 * 1000 / (len(ANSWER) + 60)
    assert slow["longest_us"] >= 100_000


def test_what_slow_clients_are_refused_is_counted() -> None:
    with ScriptedServer(answering_status(408)) as server:
        figures = run(Plan(server.url, users=1, duration_s=1.5, warmup_s=0.0, slow=2, slow_rate=100_000))
    assert figures["slow"]["answers"] == 0
    assert figures["slow"]["errors"]["status 408"] >= 1


def test_a_slow_reader_holds_a_long_answer_back() -> None:
    """Its receive buffer is small: the kernel does not take the answer for it."""
    sent: list[int] = []
    body = bytes(4 << 20)

    def long(connection: Connection) -> None:
        connection.socket.settimeout(10)
        connection.request()
        connection.socket.setsockopt(1, 7, 4096)  # SO_SNDBUF
        data = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        count = 0
        try:
            while count < len(data):
                count += connection.socket.send(data[count : count + 4096])
                sent.append(count)
        except OSError:
            return

    with ScriptedServer(long) as server:
        plan = Plan(server.url, users=1, duration_s=1.0, warmup_s=0.0, slow=1, slow_rate=10_000, timeout_s=1.0)
        figures = run(dataclasses.replace(plan, url=server.url, expect_length=-1))
    assert figures["slow"]["answers"] == 0


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"arrivals": "poisson"}, "without one each user sends after the answer"),
        ({"rate": 5.0, "think_s": 1.0}, "no think time"),
        ({"rate": 5.0, "arrivals": "bursts"}, "arrivals 'bursts' is not one of uniform, poisson"),
        ({"think_times": "normal"}, "think times 'normal' is not one of"),
        ({"slow_rate": 0}, "slow rate at least 1"),
        ({"ramp_s": -1.0}, "at least 0"),
        ({"url": "ws://127.0.0.1/", "slow": 1}, "not to a WebSocket"),
    ],
)
def test_what_does_not_go_together_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(LoadError, match=words):
        Plan(**{"url": ANY, **changes})


def test_processes_share_the_slow_clients() -> None:
    plan = Plan(ANY, users=4, slow=5)
    assert [plan.share(index, 2).slow for index in range(2)] == [3, 2]
