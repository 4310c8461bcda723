"""Coverage-guided fuzzing of what comes before and around TLS: whatever bytes a client sends, nothing raises.

The input is what the client sends, in pieces. Its first byte says what comes before: nothing, the client's part of a
handshake that is whole but for one byte, or a whole handshake after which records follow that are broken. What is held:
no exception, never RUN without a request in a whole record, an end once the client has left, and no output after it.
"""

import ssl
import sys
from pathlib import Path
from tempfile import mkdtemp

import atheris

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

with atheris.instrument_imports(include=["septet"]):
    from septet.net.certificates import Certificates
    from septet.net.tls_files import Pair, TlsOptions
    from septet.protocol import CLOSE, EITHER, RUN, WRITE
    from septet.rules import Rules
    from septet.session.http1 import Session
    from septet.session.tls import Tls
    from support.carrier import CLIENT, SERVER
    from support.tls import Authority

authority = Authority(Path(mkdtemp(prefix="septet-fuzz-")))
files = authority.server
certificates = Certificates(TlsOptions(pairs=(Pair(str(files.certificate), str(files.key)),)))
context = authority.client_context()
RULES = (Rules(), Rules(expects_proxy_header=lambda peer: True))


def flush(server: Tls) -> bytes:
    sent = b""
    while server.phase.want in (WRITE, EITHER):
        data = bytes(server.output)
        assert data, f"{server.phase.name} wants to send, and has nothing"
        sent += data
        server.wrote(len(data))
    return sent


def shake_hands(server: Tls, spoilt: int) -> ssl.SSLObject:
    """A handshake, of which the byte at `spoilt`, if there is one, arrives changed."""
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(to_client, to_server, server_hostname="localhost")
    for _ in range(3):
        try:
            client.do_handshake()
        except ssl.SSLError:
            pass
        data = bytearray(to_server.read())
        if 0 <= spoilt < len(data):
            data[spoilt] ^= 1
        spoilt -= len(data)
        if data:
            server.receive(bytes(data))
        to_client.write(flush(server))
    return client


def test_one_input(data: bytes) -> None:
    source = atheris.FuzzedDataProvider(data)
    kind = source.ConsumeIntInRange(0, 3)
    rules = RULES[kind == 3]
    server = Tls(Session(rules, CLIENT, SERVER, "https"), certificates.wrap, rules)
    if kind in (1, 2):
        shake_hands(server, source.ConsumeIntInRange(0, 700) if kind == 1 else -1)
    while source.remaining_bytes():
        piece = source.ConsumeBytes(source.ConsumeIntInRange(1, 64)) or b"\0"
        if server.phase.want is CLOSE and not server.half_close():
            break
        server.receive(piece)
        assert server.phase.want is not RUN, "a request without a record"
        flush(server)
    if server.phase.want is not CLOSE:
        server.receive(b"")
        flush(server)
    assert server.phase.want is CLOSE or server.half_close()
    server.close()


if __name__ == "__main__":
    atheris.Setup(sys.argv, test_one_input)
    atheris.Fuzz()
