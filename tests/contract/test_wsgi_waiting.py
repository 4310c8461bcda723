"""What waits for what where WSGI applications run in threads, beside a loop or without one.

An answer that waits in its application leaves the others alone, as far as there are threads; so does one that waits for
its client, for which the server keeps what it does not take, up to a bound. None of this is measured: an application
that waits stands at a gate, see `support.journal`, and the journal tells in which order things happened.
"""

import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path

import pytest

from support.client import Connection
from support.messages import render
from support.models import CONFIGURATIONS, LOOPS, Configuration
from support.observed import assert_own, observed, read_in_turns
from support.processes import await_idle
from support.server import Server, serve
from support.waiting import wait_until

APP = "support.apps_execution:app"

#: s; far from the 20 s that a client waits otherwise: what is right comes at once.
PROMPT_S = 5.0

SMALL_BUFFER = 1 << 16
#: Bytes of an answer that no kernel keeps for a client that does not read.
LARGE = 5_000_000
#: Requests one after the other.
SEQUENCE = 200


@pytest.fixture
def server(shared_server: Callable[[str], Server]) -> Server:
    return shared_server(APP)


def these(*configurations: Configuration) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("configuration", configurations, ids=str)


def loops_with(*threads: str) -> list[Configuration]:
    return [Configuration(model, ("--threads", number)) for model in LOOPS for number in threads]


def serve_with(configuration: Configuration, *options: str) -> Server:
    return serve(configuration.model, "wsgi", *configuration.options, *options, app=APP)


@contextmanager
def clients_of(server: Server, count: int, receive_buffer: int = 0, gate: str = "") -> Iterator[list[Connection]]:
    """So many connections. The gate is opened in any case, for a shared server must not wait there for ever."""
    with ExitStack() as stack:
        if gate:
            stack.callback(server.journal.open_gate, gate)
        yield [
            stack.enter_context(Connection(server.address, receive_buffer=receive_buffer, timeout_s=PROMPT_S))
            for _ in range(count)
        ]


def ask_at_gate(clients: Sequence[Connection], gate: str, more: str = "") -> list[str]:
    """Each client asks for an answer that waits at the gate; their tokens."""
    tokens = [f"{gate}x{number}" for number in range(len(clients))]
    for client, token in zip(clients, tokens, strict=True):
        client.send(render("GET", f"/observe?how=gate&gate={gate}&token={token}{more}", "Connection: close"))
    return tokens


def await_at_gate(server: Server, gate: str, count: int) -> None:
    wait_until(lambda: server.journal.count(f"at gate {gate}") >= count, f"{count} answers are at the gate")


# Answers that wait in the application


@these(*(one for one in CONFIGURATIONS if not one.one_at_a_time and one.model not in ("preforked", "interpreters")))
@pytest.mark.parametrize("more", ["", "&bare"], ids=["between parts", "in the first next"])
def test_an_answer_that_waits_does_not_stop_others(server: Server, token: str, more: str) -> None:
    """Three of them wait, and a quick one is answered; also one on a connection that was there before."""
    with server.connect() as before, clients_of(server, 3, gate=token) as waiting:
        assert before.request("GET", f"/enter?token={token}before").status == 200
        tokens = ask_at_gate(waiting, token, more)
        await_at_gate(server, token, 3)
        for _ in range(3):
            with clients_of(server, 1) as (quick,):
                assert quick.request("GET", f"/enter?token={token}new", "Connection: close").status == 200
            before.send(render("GET", f"/enter?token={token}old"))
            assert before.has_data(PROMPT_S)
            assert before.read_response().status == 200
        assert f"left gate {token}" not in server.journal.lines()
        server.journal.open_gate(token)
        for client in waiting:
            assert client.read_response().body == (b"rest" if more else b"firstrest")
    for own in tokens:
        observed(server, own)


@these(Configuration("io_uring", ("--threads", "4")), Configuration("epoll", ("--threads", "4")))
@pytest.mark.parametrize("kept", [True, False], ids=["kept", "anew"])
def test_a_thread_that_ran_the_loop_once_sleeps(configuration: Configuration, token: str, kept: bool) -> None:
    """The kernel wakes a thread to carry out what it has put into a ring: so its successor puts that in anew."""
    with serve_with(configuration) as server, server.connect() as before:
        assert before.request("GET", "/hello").status == 200
        with clients_of(server, 1, gate=token) as waiting:
            ask_at_gate(waiting, token)
            await_at_gate(server, token, 1)
            assert before.request("GET", "/hello").status == 200
            server.journal.open_gate(token)
            assert waiting[0].read_response().status == 200
        await_idle(server.pid)
        began = switches(server.pid)
        for _ in range(SEQUENCE):
            with nullcontext(before) if kept else server.connect() as client:
                assert client.request("GET", "/hello").status == 200
        spent = {thread: count - began[thread] for thread, count in switches(server.pid).items() if thread in began}
        assert sum(spent.values()) < SEQUENCE * 1.5, f"one thread waits for clients: {spent}"


def switches(pid: int) -> dict[int, int]:
    """How often each thread of a server has given up its CPU, without the main thread, which looks after them."""
    found = {}
    for path in Path(f"/proc/{pid}/task").iterdir():
        if int(path.name) != pid:
            status = dict(line.split(":", 1) for line in (path / "status").read_text().splitlines())
            found[int(path.name)] = int(status["voluntary_ctxt_switches"])
    return found


@these(*(one for one in CONFIGURATIONS if one.one_at_a_time))
def test_one_answer_at_a_time_to_its_end(server: Server, token: str) -> None:
    """The next begins after it, though it has begun to arrive."""
    with clients_of(server, 2, gate=token) as (waiting, quick):
        (own,) = ask_at_gate([waiting], token)
        await_at_gate(server, token, 1)
        quick.send(render("GET", f"/enter?token={token}", "Connection: close"))
        await_idle(server.pid)
        assert not quick.has_data()
        server.journal.open_gate(token)
        assert waiting.read_response().body == b"firstrest"
        assert quick.read_response().status == 200
    observed(server, own)
    lines = server.journal.lines()
    assert lines.index(f"left gate {token}") < lines.index(f"entered {token}")


@these(
    Configuration("iterative"),
    Configuration("prethreaded", ("--threads", "4")),
    *loops_with("4", "1", "0"),
)
@pytest.mark.parametrize("more", ["", "&bare"], ids=["between parts", "in the first next"])
def test_as_many_at_a_time_as_threads(server: Server, configuration: Configuration, token: str, more: str) -> None:
    """The others wait for their turn, and get it."""
    at_once, clients = configuration.threads or 1, 10
    with clients_of(server, clients, gate=token) as waiting:
        tokens = ask_at_gate(waiting, token, more)
        await_at_gate(server, token, at_once)
        await_idle(server.pid)
        assert server.journal.count(f"at gate {token}") == at_once
        server.journal.open_gate(token)
        for client in waiting:
            assert client.read_response().body == (b"rest" if more else b"firstrest")
    for own in tokens:
        observed(server, own)
    assert max(map(int, server.journal.starting(f"inside {token}: "))) == at_once


# What leaves while the application waits


def test_a_part_is_sent_before_the_next_is_made(server: Server, token: str) -> None:
    """PEP 3333, "Buffering and Streaming": no server may delay a block until the next one."""
    with clients_of(server, 1, gate=token) as (client,):
        ask_at_gate([client], token)
        assert client.read_head().status == 200
        assert client.read_chunk() == b"first"
        server.journal.open_gate(token)
        assert [client.read_chunk(), client.read_chunk()] == [b"rest", b""]
    observed(server, f"{token}x0")


def test_what_was_written_is_sent_at_once(server: Server, token: str) -> None:
    """The same of write(), called by the application's own thread."""
    with clients_of(server, 1, gate=token) as (client,):
        client.send(render("GET", f"/write-first?token={token}&gate={token}"))
        assert client.read_head().status == 200
        assert client.read_chunk() == b"first"
        server.journal.open_gate(token)
        assert [client.read_chunk() for _ in range(3)] == [b"second", b"rest", b""]
    observed(server, token)


def test_early_hints_are_sent_at_once(server: Server, token: str) -> None:
    with clients_of(server, 1, gate=token) as (client,):
        client.send(render("GET", f"/hint-first?token={token}&gate={token}"))
        hint = client.read_head()
        assert (hint.status, hint.get("link")) == (103, "</style.css>; rel=preload")
        server.journal.open_gate(token)
        response = client.read_response()
        assert (response.status, response.body, response.interim) == (200, b"rest", ())
    observed(server, token)


# Clients that do not read


@these(*loops_with("2", "0"))
@pytest.mark.parametrize("kind", ["parts", "write", "file", "whole"])
def test_a_client_that_does_not_read_keeps_no_thread(server: Server, token: str, kind: str) -> None:
    """Six of them and two threads: a seventh client is answered. What they did not take, they get when they read."""
    target, parts, size = {
        "parts": ("/observe?parts=50", 50, LARGE // 50),
        "write": ("/observe?parts=50&write", 50, LARGE // 50),
        "file": ("/file?", 1, LARGE),
        "whole": ("/big?", 1, LARGE),
    }[kind]
    tokens = [f"{token}x{number}" for number in range(6)]
    with clients_of(server, 6, receive_buffer=SMALL_BUFFER) as waiting, clients_of(server, 1) as (seventh,):
        for client, own in zip(waiting, tokens, strict=True):
            client.send(render("GET", f"{target}&token={own}&size={size}"))
        if kind in ("parts", "write"):
            for own in tokens:
                observed(server, own)  # closed, though nothing is read of it
        for client in waiting:
            assert client.has_data(PROMPT_S)
        assert seventh.request("GET", f"/enter?token={token}").status == 200
        for client in waiting:
            client.send(render("GET", f"/enter?token={token}", "Connection: close"))
        read = zip(read_in_turns(waiting), waiting, tokens, strict=True)
        for response, client, own in read:
            assert_own(response, own, size, parts)
            assert client.read_response().status == 200
    if kind == "file":
        for own in tokens:
            observed(server, own)


@these(*(Configuration(model) for model in LOOPS), *loops_with("4", "0"))
def test_an_endless_answer_ends_with_its_clients_time(configuration: Configuration, token: str) -> None:
    """It is taken up to a bound, then waits for its client under --write-timeout, and is closed where it ran."""
    with serve_with(configuration, "--write-timeout", "0.5") as server:
        with clients_of(server, 1, receive_buffer=SMALL_BUFFER) as (client,):
            client.send(render("GET", f"/endless?token={token}"))
            observed(server, token)
            (given,) = server.journal.starting(f"parts of {token}: ")
            assert int(given) < 1024, "64 MiB were taken for a client that reads nothing"
            assert not client.read_to_end().endswith(b"\r\n0\r\n\r\n")
        assert server.get(f"/enter?token={token}").status == 200
        assert not server.complaints()


# The order to stop


def test_answers_in_threads_are_finished_at_a_stop(configuration: Configuration, token: str) -> None:
    count = 1 if configuration.one_at_a_time else 3
    with serve_with(configuration) as server, clients_of(server, count, gate=token) as clients:
        tokens = ask_at_gate(clients, token)
        await_at_gate(server, token, count)
        server.send_signal(signal.SIGTERM)
        await_idle(server.pid)
        assert server.running
        server.journal.open_gate(token)
        for client in clients:
            assert client.read_response().body == b"firstrest"
            client.assert_closed_in_order()
        assert server.wait() == 0
        for own in tokens:
            observed(server, own)
        assert not server.complaints()


@these(*loops_with("2", "0"))
def test_what_is_kept_for_clients_is_sent_at_a_stop(configuration: Configuration, token: str) -> None:
    tokens = [f"{token}x{number}" for number in range(3)]
    with serve_with(configuration) as server, clients_of(server, 3, receive_buffer=SMALL_BUFFER) as clients:
        for client, own in zip(clients, tokens, strict=True):
            client.send(render("GET", f"/observe?token={own}&parts=50&size={LARGE // 50}"))
        for own in tokens:
            observed(server, own)
        server.send_signal(signal.SIGTERM)
        await_idle(server.pid)
        assert server.running
        for response, own in zip(read_in_turns(clients), tokens, strict=True):
            assert_own(response, own, LARGE // 50, 50)
        assert server.wait() == 0
        assert not server.complaints()
