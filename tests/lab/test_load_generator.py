"""The generator against a server on real sockets that behaves, and misbehaves, as each test says."""

import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

import pytest

import septet.lab.load
from septet.lab.load import ANY_LENGTH, LoadError, Plan, run
from support.scripted_server import ANSWER, BODY, CLOSING_ANSWER, Connection, ScriptedServer, keep_answering
from support.waiting import in_time_enough


def load(url: str, **changes: Any) -> dict[str, Any]:
    return run(Plan(**{"url": url, "users": 4, "duration_s": 0.3, "warmup_s": 0.0, **changes}))


def answering(*answers: bytes) -> Any:
    """A script that gives these answers in turn on each connection, then closes."""

    def script(connection: Connection) -> None:
        for answer in answers:
            if not connection.request():
                return
            connection.send(answer)

    return script


@pytest.mark.parametrize("mode", ["keep-alive", "close", "http10"])
def test_counts_are_those_of_the_server(mode: str) -> None:
    with ScriptedServer(keep_answering) as server:
        figures = load(server.url, mode=mode)
        assert figures["errors"] == {}
        assert figures["answers"] > 0
        answers = figures["answers"] + figures["warmup"]["answers"]
        assert answers <= server.requests <= answers + 4
        assert figures["body_bytes"] == figures["answers"] * len(BODY)
        assert sum(figures["histogram_us"].values()) == figures["answers"]
        assert figures["reconnects"] == figures["retries"] == figures["users_never_answered"] == 0
        if mode == "keep-alive":
            assert server.connections == 4
        else:
            assert server.connections >= figures["answers"]


@pytest.mark.parametrize(
    ("mode", "head"),
    [
        ("keep-alive", b"GET /path?query HTTP/1.1\r\nHost: %s\r\nAccept: text/html"),
        ("close", b"GET /path?query HTTP/1.1\r\nHost: %s\r\nAccept: text/html\r\nConnection: close"),
        ("http10", b"GET /path?query HTTP/1.0\r\nHost: %s\r\nAccept: text/html"),
    ],
)
def test_request(mode: str, head: bytes) -> None:
    with ScriptedServer(keep_answering) as server:
        load(server.url, mode=mode, headers=("Accept: text/html",))
        host = server.url.removeprefix("http://").partition("/")[0].encode()
        assert server.last_head == head % host


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n",
    ],
)
def test_framings_in_pieces(answer: bytes) -> None:
    def in_two_pieces(connection: Connection) -> None:
        connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while connection.request():
            connection.send(answer[:30])
            connection.send(answer[30:])

    with ScriptedServer(in_two_pieces) as server:
        figures = load(server.url)
        assert figures["errors"] == {}
        assert figures["answers"] > 4


@pytest.mark.parametrize("mode", ["keep-alive", "close"])
def test_body_until_close(mode: str) -> None:
    with ScriptedServer(answering(b"HTTP/1.1 200 OK\r\n\r\nhello")) as server:
        figures = load(server.url, mode=mode)
        assert figures["errors"] == {}
        assert figures["body_bytes"] == 5 * figures["answers"] > 0


def test_large_body() -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + bytes(1_000_000)
    with ScriptedServer(answering(*[answer] * 1000)) as server:
        figures = load(server.url)
        assert figures["errors"] == {}
        assert figures["body_bytes"] == 1_000_000 * figures["answers"] > 0


def reset_in_the_body(connection: Connection) -> None:
    connection.request()
    connection.send(ANSWER[:-5])
    connection.reset()


def reset_at_once(connection: Connection) -> None:
    connection.request()
    connection.reset()


@pytest.mark.parametrize(
    ("script", "kind"),
    [
        (reset_at_once, "reset"),
        (answering(ANSWER[:-5]), "short body"),
        (answering(b"HTTP/1.1 200 OK\r\nContent-"), "short body"),
        (answering(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"), "status 503"),
        (answering(b"HTTP/1.1 404 None\r\nContent-Length: 13\r\n\r\n" + BODY), "status 404"),
        (answering(b"220 mail.example.org ESMTP\r\n\r\n"), "malformed"),
        (answering(ANSWER + ANSWER), "malformed"),
        (answering(b""), "closed early"),
    ],
)
def test_errors_by_kind(script: Any, kind: str) -> None:
    with ScriptedServer(script) as server:
        figures = load(server.url)
        assert set(figures["errors"]) == {kind}
        assert figures["answers"] == 0
        assert figures["latency_us"]["p50"] is None
        # Each user waits 0.1 s after an error: with one more at the beginning and one at the end.
        assert 1 <= figures["errors"][kind] <= 4 * 5


def test_reset_in_the_body_is_an_error() -> None:
    with ScriptedServer(reset_in_the_body) as server:
        errors = in_time_enough(lambda duration_s: load(server.url, duration_s=duration_s)["errors"], bool, 0.3)
        assert set(errors) <= {"reset", "short body"}  # the kernel may drop what came before the RST
        assert sum(errors.values()) > 0


def test_a_port_on_which_nobody_listens_is_told_at_once() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # and does not listen
        url = f"http://127.0.0.1:{bound.getsockname()[1]}/"
        begun = time.monotonic()
        for cpus in ((), tuple(os.sched_getaffinity(0))):
            with pytest.raises(LoadError, match="nothing listens at http://127"):
                load(url, duration_s=60.0, cpus=cpus)
        assert time.monotonic() - begun < 30


def test_refused_after_it_had_listened() -> None:
    def listens_no_more(connection: Connection) -> None:
        keep_answering(connection)
        server.close_listener()

    with ScriptedServer(listens_no_more) as server:
        figures = load(server.url, users=1, mode="close")
        assert figures["errors"].keys() <= {"refused", "closed early", "reset"}
        assert figures["errors"]["refused"] > 0
        assert figures["answers"] > 0


@pytest.mark.parametrize("think_s", [0.0, 0.01])
def test_users_who_have_not_arrived_go_on_trying(think_s: float) -> None:
    def late(connection: Connection) -> None:
        if connection.number > 3:
            keep_answering(connection)

    begun = time.monotonic()
    with ScriptedServer(late) as server:
        figures = load(server.url, users=3, warmup_s=0.1, think_s=think_s)
    assert time.monotonic() - begun < 10, "users who had met an error did nothing for 10 s"
    assert figures["answers"] > 3
    assert figures["errors"] == {}


def test_time_out() -> None:
    def never(connection: Connection) -> None:
        while connection.request():
            pass

    with ScriptedServer(never) as server:
        figures = load(server.url, timeout_s=0.1)
        assert set(figures["errors"]) == {"time-out"}
        assert figures["answers"] == 0


def test_lengths_are_compared_with_the_first() -> None:
    other = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nfoo"
    with ScriptedServer(answering(ANSWER, ANSWER, other)) as server:
        figures = load(server.url, users=1)
        assert figures["expected_length"] == 13
        assert set(figures["errors"]) == {"length"}
        assert 0 <= figures["answers"] - 2 * figures["errors"]["length"] <= 2


@pytest.mark.parametrize(("expected", "kinds"), [(12, {"length"}), (13, set()), (ANY_LENGTH, set())])
def test_expected_length(expected: int, kinds: set[str]) -> None:
    with ScriptedServer(keep_answering) as server:
        assert set(load(server.url, expect_length=expected)["errors"]) == kinds


def test_announced_close_is_a_reconnect() -> None:
    with ScriptedServer(answering(ANSWER, CLOSING_ANSWER)) as server:
        figures = load(server.url)
        assert figures["errors"] == {}
        assert figures["retries"] == 0
        assert figures["reconnects"] == pytest.approx(figures["answers"] / 2, abs=4)


def test_connection_given_up_between_requests_is_retried_once() -> None:
    def gives_up(connection: Connection) -> None:
        connection.request()
        connection.send(ANSWER)
        connection.request()
        connection.reset()

    with ScriptedServer(gives_up) as server:
        figures = load(server.url)
        assert figures["errors"] == {}
        assert figures["answers"] > 4
        assert figures["retries"] == pytest.approx(figures["answers"], abs=8)


def test_second_loss_is_an_error() -> None:
    def only_the_first(connection: Connection) -> None:
        if connection.number == 1:
            connection.request()
            connection.send(ANSWER)
        connection.request()
        connection.reset()

    with ScriptedServer(only_the_first) as server:
        figures = load(server.url, users=1)
        assert figures["answers"] == figures["retries"] == 1
        assert set(figures["errors"]) == {"reset"}


def test_latency_is_that_of_the_server() -> None:
    def slow(connection: Connection) -> None:
        while connection.request():
            time.sleep(0.05)
            connection.send(ANSWER)

    with ScriptedServer(slow) as server:
        figures = load(server.url, duration_s=1.0)
        latency = figures["latency_us"]
        assert latency["p50"] >= 50_000
        # Little's law: N users = rate x latency. One request of each user at either end is not in the window.
        users = figures["requests_per_s"] * latency["mean"] / 1e6
        assert users == pytest.approx(4, rel=0.2)


def test_a_user_goes_on_before_the_server_has_closed() -> None:
    def lingers(connection: Connection) -> None:
        connection.request()
        connection.send(CLOSING_ANSWER)
        connection.request()  # comes back when the client has closed

    with ScriptedServer(lingers) as server:
        figures = in_time_enough(
            lambda duration_s: load(server.url, mode="close", duration_s=duration_s),
            lambda figures: figures["answers"] > 4,
            0.3,
        )
        assert figures["errors"] == {}
        assert figures["answers"] > 4


def test_warm_up_is_counted_apart() -> None:
    with ScriptedServer(keep_answering) as server:
        figures = load(server.url, warmup_s=0.3)
        assert figures["warmup"]["answers"] > 0
        total = figures["answers"] + figures["warmup"]["answers"]
        assert total <= server.requests <= total + 4


@pytest.mark.parametrize("mode", ["keep-alive", "close"])
def test_visits(mode: str) -> None:
    with ScriptedServer(keep_answering) as server:
        assert "visits" not in load(server.url, mode=mode)
        for duration_s in (0.3, 1.0, 3.0):  # on a very busy machine nothing may come in a short window
            figures = load(server.url, mode=mode, warmup_s=0.1, duration_s=duration_s, visits=100_000)
            if figures["answers"] > 5:
                break
        assert len(figures["visits"]) == figures["answers"]
        latencies = [answered - asked for _, _, asked, _, answered in figures["visits"]]
        assert max(latencies) // 1000 == figures["latency_us"]["max"]
        assert sum(latencies) / len(latencies) / 1000 == pytest.approx(figures["latency_us"]["mean"], rel=0.01, abs=2)
        assert all(first == answered for _, _, _, first, answered in figures["visits"])  # the answers are short
        clients = {(address, port) for address, port, *_ in figures["visits"]}
        assert len(clients) == (4 if mode == "keep-alive" else figures["answers"])
        assert len(load(server.url, mode=mode, visits=5)["visits"]) == 5


def test_visits_with_answers_in_pieces() -> None:
    def in_two(connection: Connection) -> None:
        while connection.request():
            connection.send(ANSWER[:-1])
            time.sleep(0.02)
            connection.send(ANSWER[-1:])

    with ScriptedServer(in_two) as server:
        visits = load(server.url, visits=100)["visits"]
        assert visits
        # A busy machine may let this process see the first piece late, now and then.
        assert median(answered - first for _, _, _, first, answered in visits) > 10_000_000


def test_events() -> None:
    events = []
    with ScriptedServer(keep_answering) as server:
        plan = Plan(server.url, users=1, duration_s=0.6, warmup_s=0.1)
        run(plan, lambda event, details: events.append(event))
    assert events.count("measuring") == events.count("measured") == 1
    assert "progress" in events[events.index("measuring") : events.index("measured")]
    assert events[-1] == "measured"


def test_more_users_than_arrive_at_once() -> None:
    with ScriptedServer(keep_answering) as server:
        figures = load(server.url, users=300, warmup_s=0.5)
        assert figures["users_never_answered"] == 0
        assert figures["errors"] == {}


def test_no_descriptor_is_left_open() -> None:
    with ScriptedServer(keep_answering) as server:
        before = len(os.listdir("/proc/self/fd"))
        load(server.url, mode="close")
        # The server's own end of each connection lives in this process too, until its thread has ended.
        assert len(os.listdir("/proc/self/fd")) <= before + 8


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"url": "ftp://127.0.0.1/"}, r"http\[s\]://HOST"),
        ({"url": "127.0.0.1:8000"}, r"http\[s\]://HOST"),
        ({"url": "https://127.0.0.1:1/", "ca": "-----BEGIN CERTIFICATE-----"}, "not in PEM"),
        ({"url": "http://127.0.0.1:99999/"}, "99999"),
        ({"url": "http://127.0.0.1/a b"}, "%XX"),
        ({"url": "http://nosuchhost.invalid/"}, "nosuchhost.invalid"),
        ({"headers": ("A: b\r\nC: d",)}, "printable"),
        ({"users": 0}, "more than 0"),
        ({"mode": "pipelined"}, "keep-alive, close, http10"),
        ({"visits": 5, "rate": 10.0}, "visits are recorded of users who send the next HTTP request at once"),
        ({"visits": 5, "url": "unix:/run/web"}, "visits are recorded"),
        ({"users": 10_000_000}, "10000000 users do not fit"),
    ],
)
def test_refusals(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(LoadError, match=said):
        load(**{"url": "http://127.0.0.1:1/", **changes})


def command(directory: Path, url: str, *options: str) -> list[str]:
    """The package alone, copied elsewhere, without site packages: what it needs is the standard library."""
    shutil.copytree(Path(septet.lab.load.__file__).parent, directory / "load")
    return [sys.executable, "-S", "-E", "-m", "load", url, *options]


def test_runs_where_nothing_else_is_installed(tmp_path: Path) -> None:
    with ScriptedServer(keep_answering) as server:
        words = command(tmp_path, server.url, "--users", "2", "--duration", "0.3", "--warmup", "0")
        output = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    events = [json.loads(line) for line in output.splitlines()]
    assert events[-1]["event"] == "figures"
    assert events[-1]["answers"] > 0


def test_interrupted_it_gives_the_figures_so_far(tmp_path: Path) -> None:
    with ScriptedServer(keep_answering) as server:
        words = command(tmp_path, server.url, "--duration", "60", "--warmup", "0")
        with subprocess.Popen(words, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            while json.loads(process.stdout.readline())["event"] != "measuring":
                pass
            process.send_signal(signal.SIGINT)
            *_, last = map(json.loads, process.stdout)
    assert last["event"] == "figures"
    assert last["interrupted"] is True


def test_few_descriptors_are_refused_with_a_sentence(tmp_path: Path) -> None:
    def few() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))

    words = command(tmp_path, "http://127.0.0.1:1/", "--users", "50")
    result = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, preexec_fn=few)
    assert result.returncode == 2
    assert "at most 32 users" in json.loads(result.stdout)["reason"]
