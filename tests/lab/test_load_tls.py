"""The generator over TLS: handshakes, answers in pieces, certificates that are not trusted, servers without TLS."""

import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from septet.lab.load import LoadError, Plan, Target, run
from support.scripted_server import ANSWER, Connection, ScriptedServer
from support.tls import Authority, TlsServer


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def server(authority: Authority) -> Iterator[TlsServer]:
    with TlsServer(authority, "support.apps_wsgi:app", "--model", "epoll") as server:
        yield server


def load(server: TlsServer, authority: Authority, *targets: Target, host: str = "localhost", **changes: Any) -> Any:
    assert isinstance(server.address, tuple)
    plan = {"users": 2, "duration_s": 0.5, "warmup_s": 0.0, "ca": authority.pem.read_text(), "targets": targets}
    return run(Plan(url=f"https://{host}:{server.address[1]}/", **{**plan, **changes}))


@pytest.mark.parametrize("mode", ["keep-alive", "close"])
def test_answers_of_all_sizes(server: TlsServer, authority: Authority, mode: str) -> None:
    large = Target("/send?size=200000", expect_length=200_000)
    upload = Target("/read?how=all", method="POST", body="x" * 300_000)
    figures = load(server, authority, Target("/status?code=200&body=x"), large, upload, mode=mode)
    assert figures["errors"] == {}
    assert figures["answers"] > 3


def test_open_loop(server: TlsServer, authority: Authority) -> None:
    figures = load(server, authority, Target("/status?code=200&body=x"), rate=100.0, duration_s=0.5)
    assert figures["errors"] == {}
    assert figures["answers"] >= 45


def test_untrusted_certificate(server: TlsServer, authority: Authority) -> None:
    with pytest.raises(LoadError, match=r"https://localhost:.* is not trusted: .*; --ca FILE .* --insecure"):
        load(server, authority, ca="")
    assert load(server, authority, ca="", insecure=True)["errors"] == {}


@pytest.mark.parametrize(("scheme", "streams", "cure"), [("https", 0, "http"), ("https", 2, "http"), ("wss", 0, "ws")])
def test_server_without_tls(scheme: str, streams: int, cure: str) -> None:
    with ScriptedServer(lambda connection: connection.send(ANSWER)) as plain:
        url = plain.url.replace("http", scheme)
        port = url.rpartition(":")[2].partition("/")[0]
        with pytest.raises(LoadError, match=rf"^127\.0\.0\.1:{port} speaks no TLS: try {cure}://$"):
            run(Plan(url=url, users=1, duration_s=0.5, warmup_s=0.0, insecure=True, streams=streams))


def test_what_is_no_tls_later_is_an_error(authority: Authority) -> None:
    """A proxy may answer so for the moment: the figures of a long run are not given up for it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.server.certificate, authority.server.key)

    def first_with_tls(connection: Connection) -> None:
        if connection.number > 1:
            connection.send(ANSWER)
            return
        with context.wrap_socket(connection.socket, server_side=True) as sock:
            sock.recv(65536)
            sock.sendall(ANSWER)

    with ScriptedServer(first_with_tls) as server:
        url = server.url.replace("http", "https")
        figures = run(Plan(url=url, users=1, duration_s=0.5, warmup_s=0.0, insecure=True, mode="close"))
    assert (figures["answers"], set(figures["errors"])) == (1, {"tls"})


def test_authorities_of_a_file_that_is_not_there() -> None:
    from septet.lab.load import read_authorities

    with pytest.raises(LoadError, match=r"none\.pem cannot be read: No such file"):
        read_authorities(Path("none.pem"))
