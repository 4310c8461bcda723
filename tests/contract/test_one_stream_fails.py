"""Over HTTP/2 what goes wrong on one stream ends that stream, and the others of its connection are answered."""

import resource
from contextlib import suppress
from pathlib import Path

import pytest
from h2.exceptions import ProtocolError

from contract.test_spool import temporary_bytes
from support.client import Truncated
from support.http2 import Answer, Connection, get
from support.messages import render
from support.models import LOOPS, MODELS
from support.processes import tree
from support.server import serve
from support.waiting import wait_until

BODY = b"b" * 2_000_000

#: Bytes that a file may have, or all files together.
ROOM = 1_500_000


def upload(connection: Connection) -> Answer:
    """Send a body as far as the server wants it, and give the answer."""
    stream = connection.ask(get("/read?how=all", method=b"POST"), end=False)
    rest = BODY
    with suppress(ProtocolError):  # the server has reset the stream
        while rest := connection.client.send_body(stream, rest):
            connection.flush()
            assert connection.receive(), "the connection has ended"
    connection.flush()
    return connection.answer(stream)


@pytest.mark.parametrize("model", LOOPS)
def test_body_that_finds_no_room(model: str) -> None:
    """The limit of all temporary files together is reached by two bodies, each of which would have room."""
    with (
        serve(model, "wsgi", "--http2-cleartext", "--limit-spool", str(len(BODY) + ROOM)) as server,
        Connection(server.address) as connection,
    ):
        held = connection.ask(get("/read?how=all", method=b"POST"), end=False)
        rest = BODY
        while rest := connection.client.send_body(held, rest, end=False):
            connection.flush()
            assert connection.receive(), "the connection has ended"
        connection.flush()
        assert upload(connection).status == 503
        assert connection.request("/").status == 200
        connection.client.h2.end_stream(held)
        connection.flush()
        assert connection.answer(held).status == 200
        assert upload(connection).status == 200
        assert not server.complaints()


@pytest.mark.parametrize("model", LOOPS)
def test_body_whose_file_may_not_grow(model: str) -> None:
    with serve(model, "wsgi", "--http2-cleartext") as server, Connection(server.address) as connection:
        assert connection.request("/").status == 200
        for process in tree(server.pid):
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (ROOM, resource.RLIM_INFINITY))
        assert upload(connection).status == 500
        assert connection.request("/").status == 200
        assert "cannot store the body of a request: File too large" in server.stderr()
        assert not server.complaints()


def test_client_that_leaves_before_its_answers_have_gone() -> None:
    """Nothing of them is on the disk afterwards, where it would count for `--limit-spool`."""
    with serve("epoll", "wsgi", "--http2-cleartext") as server:
        with Connection(server.address) as connection:
            for _ in range(3):
                connection.ask(get("/send?size=4000000&parts=10"))
            wait_until(lambda: temporary_bytes(server) >= 3_000_000, "answers are in files")
        wait_until(lambda: not temporary_bytes(server), "the files are gone")


@pytest.mark.parametrize("model", MODELS)
def test_file_that_cannot_be_read(model: str, tmp_path: Path) -> None:
    """Opened for writing alone: reading it fails, as it does on a disk that is broken."""
    file = tmp_path / "file"
    file.write_bytes(BODY)
    options = ("--http2-cleartext", "--asgi-extensions", "zerocopysend")
    with serve(model, "asgi", *options, app="support.app_unreadable:app") as server:
        with Connection(server.address) as connection:
            streams = [connection.ask(get(f"{file}")), connection.ask(get("/"))]
            answers = [connection.answer(stream) for stream in streams]
            assert answers[0].reset is not None, "the stream is reset"
            assert answers[1].body == b"fine"
            assert connection.request("/").body == b"fine"
        with server.connect() as plain:
            plain.send(render("GET", f"{file}"))
            with pytest.raises(Truncated):
                plain.read_response()
        assert server.stderr().count("Bad file descriptor") == 2
        assert not server.complaints()
