"""The time for a request is up while its application's thread sends: two threads must not use one connection at once.

Apart from the other tests of `--request-timeout`, because these need TLS, and a Python without the GIL lacks the
library that makes their certificates.
"""

import pytest

from contract.test_request_timeout import TIMEOUT, release
from support.client import Truncated
from support.http2 import Connection as Http2Connection
from support.http2 import get
from support.messages import render
from support.server import Server
from support.tls import Authority, TlsServer
from support.waiting import wait_until


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.mark.parametrize("model", ["iterative", "threaded", "prethreaded"])
@pytest.mark.parametrize("version", ["1.1", "2"])
@pytest.mark.parametrize("secure", [False, True], ids=["plain", "TLS"])
def test_time_is_up_while_the_thread_sends(model: str, version: str, secure: bool, authority: Authority) -> None:
    """Two threads would move one session at the same time, and one cipher."""
    options = ("--model", model, *TIMEOUT, *(() if secure else ("--http2-cleartext",)))
    app = "support.app_late:wsgi"
    with TlsServer(authority, app, *options) if secure else Server(app, *options) as server:
        for _ in range(3):
            context = authority.client_context() if secure else None
            if version == "2":
                with Http2Connection(server.address, context) as client:
                    stream = client.ask(get("/floods"))
                    client.read_to_end()
                    answer = client.client.answers[stream]
                    assert (answer.status, answer.ended) == (200, False)
                    assert not answer.body.strip(b"\0")
                with Http2Connection(server.address, context) as client:
                    assert client.request("/waits").status == 504
            else:
                with server.connect() as connection:
                    connection.send(render("GET", "/floods"))
                    with pytest.raises(Truncated):
                        connection.read_response()
                with server.connect() as connection:
                    assert connection.request("GET", "/waits").status == 504
            release(server)
            wait_until(lambda: server.get("/").status == 200, "its thread is free again")
            (server.directory / "released").unlink()
        assert not server.complaints()
