"""Memory that does not grow with the clients that were served."""

from concurrent.futures import ThreadPoolExecutor
from random import Random

import pytest

from support.messages import pattern, render
from support.processes import private_memory
from support.server import Server, serve

pytestmark = pytest.mark.usefixtures("executed")

UPLOADS = 4000

#: Bytes; with receive buffers among which small objects survived it was 2 to 4 MB for so many uploads.
GROWTH = 1 << 20


@pytest.mark.parametrize(("model", "options"), [("prethreaded", ["--threads", "4"]), ("preforked", ["--workers", "1"])])
def test_uploads_that_are_broken_off(model: str, options: list[str]) -> None:
    random = Random(32)
    with serve(model, "wsgi", *options) as server:
        break_off_uploads(server, random)
        before = private_memory(server.pid)
        break_off_uploads(server, random)
        grown = private_memory(server.pid) - before
        assert grown < GROWTH


def break_off_uploads(server: Server, random: Random) -> None:
    for _ in range(UPLOADS):
        fields = f"X-Filler: {'y' * random.randrange(2000)}", "Content-Length: 1000000"
        with server.connect() as client:
            client.send_if_possible(render("POST", "/read?how=all", *fields) + b"x" * random.randrange(1000, 70000))
            client.reset()


CLIENTS = 8

#: Bytes; it is 3 to 7 MB, 13 on a busy machine; with a heap for each thread of the pool it was 22 to 26 MB.
GROWTH_OF_ONE_HEAP = 17 << 20


@pytest.mark.parametrize("model", ["poll", "epoll"])
def test_bodies_that_all_threads_have_held(model: str) -> None:
    """Threads take turns at collecting bodies: what one of them gives back has to be there for the next."""

    def upload(seed: int) -> None:
        random = Random(seed)
        for _ in range(50):
            body = pattern(random.randrange(200_000, 1_800_000))
            assert server.request("POST", "/read?how=all", body=body).status == 200

    with serve(model, "wsgi", "--threads", "16") as server, ThreadPoolExecutor(CLIENTS) as clients:
        upload(0)
        before = private_memory(server.pid)
        list(clients.map(upload, range(CLIENTS)))
        grown = private_memory(server.pid) - before
        assert grown < GROWTH_OF_ONE_HEAP
