"""TLS under every model: what the contract says of HTTP holds over it, and what is TLS's own.

The first part takes tests from the other files and gives them a server with TLS. They are those in which bytes, files
and ends are handled: the rest is decided above TLS, which gives the same bytes.
"""

import asyncio
import json
import re
import shutil
import signal
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import aiohttp
import httpx
import pytest

from contract.test_persistence import (  # noqa: F401  they run here, too
    test_http_1_1_stays_open,
    test_pipelining_of_large_answers,
    test_requests_after_close_are_not_answered,
    test_static_file_keeps_alive,
)
from contract.test_requests import test_head_byte_by_byte  # noqa: F401
from contract.test_response_bodies import (  # noqa: F401
    test_back_pressure,
    test_parts_are_sent_when_they_are_made,
    test_shorter_than_its_content_length,
)
from contract.test_static_files import test_big_file_on_http_1_0, test_pipelined_files  # noqa: F401
from support.client import Connection
from support.messages import pattern, render
from support.models import EVENT_DRIVEN, MODELS
from support.needs import lacking
from support.server import Server
from support.static_tree import BIG
from support.tls import Authority, TlsConnection, TlsServer
from support.waiting import PATIENCE_S, wait_until

#: Each model with one interface, and those with a loop of their own with both.
PAIRS = [(model, "wsgi" if number % 2 else "asgi") for number, model in enumerate(MODELS)] + [
    ("epoll", "wsgi" if MODELS.index("epoll") % 2 == 0 else "asgi"),
]


@pytest.fixture(params=PAIRS, ids="-".join)
def pair(request: pytest.FixtureRequest) -> tuple[str, str]:
    model, interface = request.param
    return model, interface


@pytest.fixture
def model(pair: tuple[str, str]) -> str:
    return pair[0]


@pytest.fixture
def interface(pair: tuple[str, str]) -> str:
    return pair[1]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def tls_servers(authority: Authority, static_tree: Path) -> Iterator[dict[tuple[str, str], TlsServer]]:
    """Servers that tests share, by model and interface."""
    servers: dict[tuple[str, str], TlsServer] = {}
    with ExitStack() as stack:

        class Starting(dict[tuple[str, str], TlsServer]):
            def __missing__(self, pair: tuple[str, str]) -> TlsServer:
                model, interface = pair
                options = ("--model", model, "--static", f"/files={static_tree}", "--graceful-timeout", "5")
                self[pair] = stack.enter_context(TlsServer(authority, f"support.apps_{interface}:app", *options))
                return self[pair]

        servers = Starting()
        yield servers


@pytest.fixture
def server(tls_servers: dict[tuple[str, str], TlsServer], pair: tuple[str, str]) -> Iterator[TlsServer]:
    shared = tls_servers[pair]
    position = len(shared.stderr())
    yield shared
    assert shared.running
    assert not shared.complaints(position), shared.stderr()[position:]


# What is TLS's own


def test_bodies_and_files(server: TlsServer, interface: str, static_tree: Path) -> None:
    with server.connect() as connection:
        assert str(server.ready[0].address[1])  # an https address was announced
        for _ in range(2):
            answer = connection.request("POST", "/read?how=pieces", body=pattern(300_000))
            assert json.loads(answer.body)["length"] == 300_000
            assert connection.request("GET", "/send?size=500000&parts=7").body == pattern(500_000)
            assert connection.request("GET", "/files/big.bin").body == BIG
            assert connection.request("GET", "/files/plain.txt").body == b"plain text\n"
            if interface == "wsgi":
                wrapped = connection.request("GET", f"/wrapper?kind=file&path={static_tree / 'big.bin'}")
                assert wrapped.body == BIG


def test_continue(server: TlsServer) -> None:
    head, _, body = render("POST", "/read?how=all", "Expect: 100-continue", body=b"the body").partition(b"\r\n\r\n")
    with server.connect() as connection:
        connection.send(head + b"\r\n\r\n")
        assert connection.read_head().status == 100
        connection.send(body)
        assert json.loads(connection.read_response().body)["length"] == 8


def test_an_answer_that_closes_ends_with_close_notify(server: TlsServer) -> None:
    with server.connect() as connection:
        assert connection.request("GET", "/", "Connection: close").closes
        connection.assert_closed_in_order()


def test_client_that_says_that_it_leaves(server: TlsServer) -> None:
    """Our close_notify comes in answer to the client's."""
    with server.connect() as connection:
        assert connection.request("GET", "/").status == 200
        connection.socket.unwrap().close()


def test_plain_http_is_told_so(server: TlsServer) -> None:
    with Connection(server.address) as connection:
        answer = connection.request("GET", "/")
        assert (answer.status, answer.closes) == (400, True)
        assert b"https://" in answer.body
        connection.assert_closed_in_order()


def test_failed_handshake_gets_an_alert(server: TlsServer) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("AES128-SHA:@SECLEVEL=0")
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError, match=r"(?i)handshake.failure"):
        TlsConnection(server.address, context)


def test_half_handshakes_keep_nobody_out(server: TlsServer, model: str) -> None:
    """Clients that have begun a handshake and send no more; blocking models let them go when another client waits."""
    hello = client_hello()
    with ExitStack() as stack:
        for _ in range({"iterative": 2}.get(model, 300 if model in EVENT_DRIVEN else 20)):
            half = stack.enter_context(Connection(server.address))
            half.send(hello[: len(hello) // 2])
        assert server.get("/").status == 200


def client_hello() -> bytes:
    sent = ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), sent, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return sent.read()


def test_stop_says_close_notify(authority: Authority, model: str, interface: str) -> None:
    with TlsServer(authority, f"support.apps_{interface}:app", "--model", model) as server:
        with server.connect() as connection:
            assert connection.request("GET", "/").status == 200
            server.send_signal(signal.SIGTERM)
            connection.assert_closed_in_order()
        assert server.wait() == 0


@pytest.mark.parametrize("pair", [("epoll", "wsgi"), ("threaded", "asgi")], indirect=True, ids="-".join)
def test_handshake_has_a_deadline(authority: Authority, model: str, interface: str) -> None:
    options = ("--model", model, "--tls-handshake-timeout", "0.3")
    with TlsServer(authority, f"support.apps_{interface}:app", *options) as server:
        with Connection(server.address) as half:
            half.send(client_hello()[:100])
            half.assert_closed()
        with server.connect() as connection:  # a whole handshake, and then the keep-alive time-out's time
            assert not connection.has_data(0.6)
            assert connection.request("GET", "/").status == 200


@pytest.mark.parametrize("pair", [("epoll", "wsgi"), ("prethreaded", "asgi")], indirect=True, ids="-".join)
def test_what_applications_and_logs_are_told(
    authority: Authority, model: str, interface: str, static_tree: Path, tmp_path: Path
) -> None:
    """The client's certificate and the rest; a client without one is served as well, and told apart."""
    log = tmp_path / "access.log"
    ask = ("--tls-client-ca", str(authority.pem), "--tls-client-auth", "optional", "--access-log", str(log))
    context = authority.client_context()
    with TlsServer(authority, f"support.app_tls:{interface}", "--model", model, *ask) as server:
        with server.connect() as connection:
            stranger = json.loads(connection.request("GET", "/").body)
        context.load_cert_chain(authority.issue("ada@localhost", common_name="Ada").both)
        with TlsConnection(server.address, context) as connection:
            told = json.loads(connection.request("GET", "/").body)
            leaf = ssl.DER_cert_to_PEM_cert(connection.socket.getpeercert(True) or b"")
            cipher = connection.socket.cipher()[0]  # type: ignore[index]
        context.load_cert_chain(Authority(tmp_path / "others").issue("eve@localhost").both)
        with TlsConnection(server.address, context) as connection:  # TLS 1.3: the client learns of it when it reads
            connection.send_if_possible(render("GET", "/"))
            with pytest.raises(ssl.SSLError, match=r"(?i)unknown.ca"):
                connection.socket.recv(1)
    if interface == "wsgi":
        assert (told["HTTPS"], told["wsgi.url_scheme"], told["SSL_TLS_SNI"]) == ("on", "https", "localhost")
        assert (told["SSL_CLIENT_S_DN_CN"], told["SSL_CLIENT_SAN_Email_0"]) == ("Ada", "ada@localhost")
        assert (told["SSL_CLIENT_VERIFY"], stranger["SSL_CLIENT_VERIFY"]) == ("SUCCESS", "NONE")
    else:
        assert told["scheme"] == "https"
        assert told["tls"]["server_cert"] == leaf
        assert told["tls"]["client_cert_name"].startswith("CN=Ada,")
        assert told["tls"]["client_cert_chain"]  # all that it sent, from Python 3.13 on
        assert stranger["tls"]["client_cert_chain"] == []
        assert (told["tls"]["tls_version"], told["tls"]["cipher_suite"]) == (0x0304, 0x1302)
    assert [line.split()[-2:] for line in log.read_text().splitlines()] == [["TLSv1.3", cipher]] * 2


def hello_with(name: bytes) -> bytes:
    """A ClientHello with this name of nine bytes in place of localhost."""
    return client_hello().replace(b"localhost", name)


@pytest.mark.parametrize("pair", [("epoll", "wsgi")], indirect=True, ids="-".join)
def test_names_that_are_none(server: TlsServer) -> None:
    """Nothing that a client sends writes a traceback into the log (`server` looks)."""
    before = server.stderr()
    for name in (b"local\xffost", b"localh\0st", b"........."):
        with Connection(server.address) as connection:
            connection.send(hello_with(name))
            connection.has_more()
    assert server.stderr() == before


@pytest.mark.parametrize("pair", [("epoll", "asgi")], indirect=True, ids="-".join)
def test_python_clients(server: TlsServer, authority: Authority) -> None:
    assert isinstance(server.address, tuple)
    url, context = f"https://localhost:{server.address[1]}", authority.client_context()
    with httpx.Client(verify=context) as client:
        for _ in range(2):
            assert client.post(f"{url}/read?how=all", content=pattern(100_000)).json()["length"] == 100_000
            assert client.get(f"{url}/send?size=300000&parts=3").content == pattern(300_000)

    async def by_aiohttp() -> list[bytes]:
        async with aiohttp.ClientSession() as session:

            async def one() -> bytes:
                async with session.get(f"{url}/send?size=50000&parts=2", ssl=context) as answer:
                    return await answer.read()

            return await asyncio.gather(*(one() for _ in range(20)))

    assert asyncio.run(by_aiohttp()) == [pattern(50_000)] * 20


@pytest.mark.parametrize("pair", [("epoll", "asgi")], indirect=True, ids="-".join)
def test_openssl_and_curl(server: TlsServer, authority: Authority) -> None:
    for program in ("openssl", "curl"):
        if shutil.which(program) is None:
            lacking(program, program)
    assert isinstance(server.address, tuple)
    port = server.address[1]
    curl = ["curl", "-sS", "--cacert", str(authority.pem), f"https://localhost:{port}/send?size=100000", "-o", "-"]
    for version in ("--tlsv1.3", "--tls-max=1.2"):
        done = subprocess.run([*curl, *version.split("=")], check=True, capture_output=True)
        assert done.stdout == pattern(100_000)
    s_client = ["openssl", "s_client", "-connect", f"localhost:{port}", "-CAfile", str(authority.pem)]
    ask = render("GET", "/", "Connection: close")
    done = subprocess.run([*s_client, "-quiet", "-verify_return_error"], input=ask, check=True, capture_output=True)
    assert done.stdout.startswith(b"HTTP/1.1 200 ")
    renegotiate = subprocess.run([*s_client, "-tls1_2"], input=b"R\n", capture_output=True)
    assert b"no renegotiation" in renegotiate.stderr


@pytest.mark.parametrize("pair", [("epoll", "wsgi")], indirect=True, ids="-".join)
def test_scan_by_sslyze(tmp_path: Path, pair: tuple[str, str]) -> None:
    """It looks for old versions, weak ciphers, compression, renegotiation, Heartbleed, ROBOT and others, and compares
    with Mozilla's "intermediate" configuration. Left of that is what Python cannot set (groups: X448 and P-521 are not
    weak) and what a certificate of our own cannot have."""
    authority = Authority(tmp_path / "authority", days=30)
    with TlsServer(authority, "support.apps_wsgi:app", "--model", "epoll") as server:
        assert isinstance(server.address, tuple)
        scan = [sys.executable, "-W", "ignore", "-m", "sslyze", "--mozilla_config", "intermediate"]
        done = subprocess.run(
            [*scan, f"localhost:{server.address[1]}"], capture_output=True, text=True, timeout=PATIENCE_S
        )
    assert "SCANS COMPLETED" in done.stdout, done.stdout + done.stderr
    compared = done.stdout.partition("COMPLIANCE AGAINST")[2]
    found = set(re.findall(r"^ +\* (\w+): ", compared, re.MULTILINE))
    assert found == {"certificate_path_validation", "tls_curves"}, done.stdout


@pytest.mark.parametrize("pair", [("epoll", "wsgi")], indirect=True, ids="-".join)
def test_some_addresses_only(authority: Authority, pair: tuple[str, str]) -> None:
    bind = ("https://127.0.0.1:0", "http://127.0.0.1:0")
    with Server("support.apps_wsgi:app", *authority.server.options, bind=bind) as server:
        over_tls, plain = (ready.address for ready in server.ready)
        with TlsConnection(over_tls, authority.client_context()) as connection:
            assert json.loads(connection.request("GET", "/").body)["scheme"] == "https"
        with Connection(plain) as other:
            assert json.loads(other.request("GET", "/").body)["scheme"] == "http"
        assert "listening on https://127.0.0.1:" in server.stderr()
        assert "listening on http://127.0.0.1:" in server.stderr()


def test_session_is_resumed_in_another_process(authority: Authority) -> None:
    """A worker of preforked serves one client at a time, so the second one's is another."""
    context = authority.client_context(maximum_version=ssl.TLSVersion.TLSv1_2)  # whose tickets come in the handshake
    with TlsServer(authority, "support.apps_wsgi:app", "--model", "preforked", "--workers", "2") as server:
        with TlsConnection(server.address, context) as first:
            pid = json.loads(first.request("GET", "/info").body)["pid"]
            with TlsConnection(server.address, context, session=first.socket.session) as second:
                assert second.socket.session_reused
                assert json.loads(second.request("GET", "/info").body)["pid"] != pid


@pytest.mark.parametrize(
    "pair", [("preforked", "wsgi"), ("forking", "wsgi"), ("epoll", "asgi")], indirect=True, ids="-".join
)
def test_renewal(tmp_path: Path, model: str, interface: str) -> None:
    """With --tls-watch the next clients see the new certificate, and a bad file changes nothing."""
    authority = Authority(tmp_path / "authority")
    files = authority.server
    with TlsServer(authority, f"support.apps_{interface}:app", "--model", model, "--tls-watch") as server:
        with server.connect() as kept:
            first = kept.socket.getpeercert(True)
            renewed = authority.issue("renewed.test", "localhost")
            renewed.key.replace(files.key)
            renewed.certificate.replace(files.certificate)
            wait_until(lambda: shown(server) != first, "the new certificate is shown")
            if model == "preforked":  # another worker may not have had a client, and not have looked, since
                return
            files.certificate.write_text("-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n")
            wait_until(lambda: shown(server) and "stay in use" in server.stderr(), "the bad file is reported")
            last = server.stderr().splitlines()[-1]
            assert "ERROR septet: SEP171 the certificates were not renewed" in last
            assert str(files.certificate) in last
            assert shown(server) != first
            assert kept.request("GET", "/").status == 200


def shown(server: TlsServer) -> bytes | None:
    with server.connect() as connection:
        return connection.socket.getpeercert(True)
