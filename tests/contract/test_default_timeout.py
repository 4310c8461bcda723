"""socket.setdefaulttimeout is for the application's sockets, and changes nothing of how clients are served."""

from time import monotonic

import pytest

from support.client import Connection
from support.messages import pattern, render
from support.server import serve

SIZE = 20_000_000

#: s; half of what `app_default_timeout` sets.
SOON_S = 1.0


@pytest.mark.parametrize("model", ["threaded", "poll", "epoll", "io_uring"])
def test_client_that_reads_slowly(model: str, interface: str) -> None:
    """It keeps no other waiting, and has its whole answer when it reads, however late."""
    app = f"support.app_default_timeout:{interface}"
    with serve(model, interface, app=app) as server, Connection(server.address, receive_buffer=4096) as slow:
        slow.send(render("GET", f"/send?size={SIZE}&parts=100&length=auto"))
        assert slow.has_data(10)
        waits = []
        for _ in range(5):
            began = monotonic()
            assert server.get("/").status == 200
            waits.append(monotonic() - began)
        assert min(waits) < SOON_S, waits
        assert sum(waits) < 5 * SOON_S, waits
        assert slow.read_response().body == pattern(SIZE)
