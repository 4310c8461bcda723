"""What the threads of a process share, used by many at the same time: nothing is lost, counted twice or mixed up.

With a GIL these tests find what goes wrong when threads take turns at the wrong moment; without one, also what goes
wrong when they run at the same moment. `docs/discussion/gil.md` lists what is shared, and what protects it.
"""

import asyncio
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from septet.apps.static.files import REMEMBERED_BYTES, Files, _weight
from septet.apps.static.tree import Tree
from septet.apps.wsgi import Wsgi
from septet.date_and_server import date_and_server_fields
from septet.http.cache import BoundedCache
from septet.http.request_head import parse_request
from septet.loop import EpollLoop, PollLoop, ReadinessLoop
from septet.metrics.lanes import ABORTED, ANSWERS, ANSWERS_END, HTTP2_REQUESTS, WS_RECEIVED_BYTES, WS_SENT
from septet.metrics.observer import LockedRequestMetrics, RequestMetrics, request_metrics
from septet.metrics.table import Table
from septet.metrics.traffic import traffic_metrics
from septet.models._slow_paths import REMEMBERED_PATHS, SlowPaths
from septet.processes.in_flight import InFlight
from septet.processes.metrics import ProcessMetrics
from septet.processes.recycling import RequestCount
from septet.processes.spool import Spool
from septet.processes.threads import ThreadGroup
from septet.rules import Rules
from support.carrier import ByHand, Watched, ok, take_turn, write_all
from support.messages import render
from support.stress import THREADS, in_threads, restless

ROUNDS = 300


def head(number: int, turn: int) -> bytes:
    """Heads that are sometimes the same, differ in known fields, and bring names that no other has brought."""
    lines = [
        f"GET /{turn % 7} HTTP/1.1",
        "Host: example.org",
        f"Cookie: session={number}-{turn}",
        f"User-Agent: {turn % 3}",
        f"X-New-{turn % 50}: {turn // 50}",
        f"X-Request-Id: {number}.{turn}",
    ]
    return "\r\n".join(lines).encode()


def test_heads_are_parsed_as_alone() -> None:
    """Lines, names and request lines are remembered for all connections of the process."""

    def parse(number: int) -> None:
        for turn in range(ROUNDS):
            request = parse_request(head(number, turn).split(b"\r\n"), 100)
            fields = dict(request.fields)
            assert request.path == b"/%d" % (turn % 7)
            assert fields[b"cookie"] == b"session=%d-%d" % (number, turn)
            assert fields[b"x-request-id"] == b"%d.%d" % (number, turn)
            assert fields[b"x-new-%d" % (turn % 50)] == b"%d" % (turn // 50)
            assert len(fields) == 5

    in_threads(parse)


def test_environments_are_those_of_their_requests() -> None:
    """A head that comes again gives a request, and a template of its environment, that all connections share."""
    rules = Rules()

    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        start_response("200 OK", [])
        environ["HTTP_COOKIE"] = "changed by the application, in its copy"
        return [f"{environ['PATH_INFO']} {environ['REMOTE_PORT']}".encode()]

    wsgi = Wsgi(application)

    def serve(number: int) -> None:
        session = Watched(rules, ("192.0.2.1", 1000 + number))
        for turn in range(ROUNDS):
            by_hand = ByHand(session)
            session.trail.clear()
            session.receive(render("GET", f"/{turn % 5}", "Cookie: a=1"))
            take_turn(wsgi, session)
            assert by_hand.written.endswith(f"\r\n\r\n/{turn % 5} {1000 + number}".encode())

    in_threads(serve)


def test_a_bounded_cache_stays_bounded() -> None:
    cache: BoundedCache[int, int] = BoundedCache(100)

    def use(number: int) -> None:
        for turn in range(20 * ROUNDS):
            key = turn * THREADS + number if turn % 2 else turn % 50
            found = cache.get(key)
            assert found is None or found == -key
            if found is None:
                cache.add(key, -key)

    in_threads(use)
    assert len(cache) <= 100 + THREADS


def test_the_date_is_never_older_than_a_second() -> None:
    fields = date_and_server_fields("septet")

    def read(number: int) -> None:
        for _ in range(10 * ROUNDS):
            date, server, end = fields(True, True).split(b"\r\n")
            assert date.startswith(b"Date: ")
            assert (server, end) == (b"Server: septet", b"")

    in_threads(read)


class Unread(Watched):
    def unread_ms(self) -> None:
        return None


def test_requests_are_counted_once() -> None:
    metrics = request_metrics(Table.with_row())
    rules = Rules(observer=metrics)

    def serve(number: int) -> None:
        session = Unread(rules)
        for turn in range(ROUNDS):
            session.trail.clear()
            session.receive(render("GET", "/"))
            session.respond(ok(), b"hello", True)
            write_all(session)
            if turn % 10 == 0:
                metrics.flush()  # as at the end of a connection

    in_threads(serve)
    metrics.flush()
    row = metrics._table.row
    assert sum(row[ANSWERS:ANSWERS_END]) == THREADS * ROUNDS
    assert row[ABORTED] == 0
    assert not metrics._in_flight
    assert not metrics._measured


def test_requests_are_counted_with_locks_where_there_is_no_gil(monkeypatch: pytest.MonkeyPatch) -> None:
    for has_gil, kind in ((True, RequestMetrics), (False, LockedRequestMetrics)):
        monkeypatch.setattr("septet.metrics.observer.has_gil", lambda has_gil=has_gil: has_gil)
        assert type(request_metrics(Table.with_row())) is kind


def test_messages_are_counted_once() -> None:
    traffic = traffic_metrics(Table.with_row())

    def send(number: int) -> None:
        for _ in range(10 * ROUNDS):
            traffic.http2_request()
            traffic.message_sent()
            traffic.bytes_received(3)
            if number == 0:
                traffic.flush()

    in_threads(send)
    traffic.flush()
    row, count = traffic._table.row, 10 * ROUNDS * THREADS
    assert (row[HTTP2_REQUESTS], row[WS_SENT], row[WS_RECEIVED_BYTES]) == (count, count, 3 * count)


def test_the_limit_of_requests_in_flight_holds() -> None:
    in_flight = InFlight(limit=3)
    inside: Counter[str] = Counter()
    lock = threading.Lock()

    def ask(number: int) -> None:
        for _ in range(ROUNDS):
            if in_flight.enter():
                with lock:
                    inside["now"] += 1
                    inside["most"] = max(inside["most"], inside["now"])
                with lock:
                    inside["now"] -= 1
                in_flight.leave()

    in_threads(ask)
    assert 1 <= inside["most"] <= 3
    assert [in_flight.enter() for _ in range(4)] == [True, True, True, False]


def test_counts_come_back_to_zero() -> None:
    spool, metrics = Spool(8, limit=1000), ProcessMetrics(10.0)

    def count(number: int) -> None:
        for _ in range(ROUNDS):
            if spool.take(200):
                spool.give(200)
            with metrics.connection():
                assert metrics.enter()
                metrics.leave()

    in_threads(count)
    assert spool.used == 0
    assert (metrics._requests, metrics._in_flight, metrics._connections) == (THREADS * ROUNDS, 0, 0)


def test_a_process_is_replaced_once() -> None:
    """By the thread that answers the last request of --max-requests."""
    count, over = RequestCount(THREADS * ROUNDS // 2, 0), []
    count.begin(lambda: over.append(threading.get_ident()))
    in_threads(lambda number: [count.ended(None) for _ in range(ROUNDS)])
    assert len(over) == 1


def test_paths_that_wait_are_remembered_within_bounds() -> None:
    paths = SlowPaths()

    def meet(number: int) -> None:
        for turn in range(10 * ROUNDS):
            path = b"/%d/%d" % (number, turn)
            paths.remember(path)
            paths.answered(path, 0.0)
            paths.answered(b"/%d/%d" % (turn % THREADS, turn - 1), 0.0)

    in_threads(meet)
    assert len(paths) <= REMEMBERED_PATHS


def test_files_are_remembered_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(20):
        (tmp_path / f"{number}.txt").write_text(f"{number}" * 1000)
    monkeypatch.setattr("septet.apps.static.files.REMEMBERED_BYTES", REMEMBERED_BYTES // 1000)
    files = Files(Tree(str(tmp_path)), b"", lambda: 2**62)

    def find(number: int) -> None:
        for turn in range(ROUNDS):
            which = (turn * (number + 1)) % 20
            found = files.find(b"%d.txt" % which).representations[b"identity"]
            assert found.content == b"%d" % which * 1000

    in_threads(find)
    assert files._bytes == sum(map(_weight, files._remembered.values())) <= REMEMBERED_BYTES // 1000


@pytest.mark.parametrize("kind", [PollLoop, EpollLoop])
def test_calls_from_other_threads_are_made_once_and_in_order(kind: type[ReadinessLoop]) -> None:
    loop = kind()
    made: list[tuple[int, int]] = []
    all_made = asyncio.Event()

    def note(number: int, turn: int) -> None:
        made.append((number, turn))
        if len(made) == THREADS * ROUNDS:
            all_made.set()

    def call(number: int) -> None:
        for turn in range(ROUNDS):
            loop.call_soon_threadsafe(note, number, turn)

    caller = threading.Thread(target=in_threads, args=(call,))

    async def until_all_are_made() -> None:
        caller.start()
        await all_made.wait()  # the loop blocks in its poller, and is woken by the calls

    try:
        loop.run_until_complete(asyncio.wait_for(until_all_are_made(), 60))
    finally:
        caller.join()
        loop.close()
    for number in range(THREADS):
        assert [turn for which, turn in made if which == number] == list(range(ROUNDS))


def test_loops_of_several_threads_do_not_disturb_each_other() -> None:
    """Tasks, timers, connections: asyncio's own structures that loops of one process share, too."""

    async def visit(number: int) -> None:
        over = asyncio.Event()

        async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while data := await reader.read(1000):
                writer.write(data)
                await writer.drain()
            writer.close()
            await writer.wait_closed()
            over.set()

        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        for turn in range(ROUNDS // 3):
            sent = b"%d %d\n" % (number, turn)
            writer.write(sent)
            task = asyncio.ensure_future(reader.readline())
            async with asyncio.timeout(20):
                assert await task == sent
            assert len(asyncio.all_tasks()) >= 1
        writer.close()
        await writer.wait_closed()
        await over.wait()
        server.close()
        await server.wait_closed()

    def run(number: int) -> None:
        with asyncio.Runner(loop_factory=(PollLoop, EpollLoop)[number % 2]) as runner:
            runner.run(visit(number))

    in_threads(run)


def test_a_group_of_threads_knows_who_works() -> None:
    group, ended = ThreadGroup(), []
    with restless():
        for number in range(100):
            group.start(ended.append, number)
        group.wait()
    assert sorted(ended) == list(range(100))
    assert not group._working
