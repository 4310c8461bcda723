"""The HTTP server at `--metrics-bind` and `--control`, step by step."""

from contextlib import suppress
from socket import create_connection

from septet.apps.site import Site
from septet.console.answers import TEXT, Answer, Peer
from septet.console.endpoint import UNREAD_LIMIT, Endpoint
from septet.exchange import Request
from septet.net.address import Address
from septet.net.listener import open_listeners
from septet.processes.orders import Stop
from septet.rules import Rules
from septet.service import Service


class Streaming:
    """Streams to every client."""

    def answer(self, request: Request, peer: Peer | None) -> Answer:
        return Answer(200, TEXT, b"first", more=lambda: b"more")

    def tick(self, now_s: float) -> None: ...


def test_stream_whose_client_never_ceases_to_send() -> None:
    """The supervisor keeps little of it, and what more comes stays in the kernel."""
    listeners = open_listeners([Address("tcp", "127.0.0.1")], 16)
    service = Service(listeners=listeners, site=Site(None), rules=Rules(), stop=Stop(), ready=lambda workers: None)
    endpoint = Endpoint(service, Streaming())
    try:
        with create_connection(listeners[0].sock.getsockname()) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
            client.setblocking(False)
            for _ in range(100):
                with suppress(BlockingIOError):
                    client.send(bytes(UNREAD_LIMIT))
                endpoint.turn()
            (served,) = endpoint._clients.values()
            assert served.answer is not None, "it streams"
            assert UNREAD_LIMIT < served.session.unread <= 4 * UNREAD_LIMIT
    finally:
        endpoint.close()
        listeners[0].close()
        service.stop.close()
