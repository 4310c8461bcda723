"""An HTTP/2 server on a real socket that does to each request what a test says, right or wrong."""

from collections.abc import Callable

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import ConnectionTerminated, DataReceived, RequestReceived, StreamEnded, StreamReset
from h2.exceptions import StreamClosedError
from h2.settings import SettingCodes, Settings

from support.http2 import GOAWAY, frame
from support.scripted_server import Connection, ScriptedServer

BODY = b"hello"


class Peer:
    """The server's side of one connection."""

    def __init__(self, connection: Connection, answer: "Answerer", settings: dict[SettingCodes, int]) -> None:
        self.connection = connection
        self.number = connection.number
        self._answer = answer
        self.h2 = H2Connection(H2Configuration(client_side=False, header_encoding="ascii"))
        self.h2.local_settings = Settings(client=False, initial_values=settings)
        self.h2.initiate_connection()
        self.bodies: dict[int, bytes] = {}
        self.fields: dict[int, dict[str, str]] = {}
        self.resets: list[int] = []
        self.requests = 0
        self.over = False
        self.went_away = False

    def serve(self) -> None:
        """Answer until the client ends, or the test sets `over`."""
        self.connection.socket.sendall(self.h2.data_to_send())
        while not self.over and (data := self.connection.socket.recv(65536)):
            for event in self.h2.receive_data(data):
                if isinstance(event, RequestReceived):
                    self.bodies[event.stream_id] = b""
                    self.fields[event.stream_id] = dict(event.headers)
                elif isinstance(event, DataReceived):
                    self.bodies[event.stream_id] += event.data
                    self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                elif isinstance(event, StreamEnded):
                    self.requests += 1
                    self._answer(self, event.stream_id)
                elif isinstance(event, StreamReset):
                    self.resets.append(event.stream_id)
                elif isinstance(event, ConnectionTerminated):
                    return
            self.connection.socket.sendall(self.h2.data_to_send())

    def answer(self, stream: int, status: int = 200, length: int = len(BODY)) -> None:
        try:
            self.h2.send_headers(stream, [(":status", str(status)), ("content-length", str(length))])
            self.h2.send_data(stream, BODY, end_stream=True)
        except StreamClosedError:  # it was cancelled
            pass

    def go_away(self, last_stream: int, code: int = 0) -> None:
        """Send GOAWAY, which does not end the library's connection."""
        payload = last_stream.to_bytes(4) + code.to_bytes(4)
        self.connection.socket.sendall(self.h2.data_to_send() + frame(GOAWAY, payload=payload))
        self.went_away = True


Answerer = Callable[[Peer, int], None]


class Http2Server(ScriptedServer):
    """Calls `answer` for each request with the connection and the number of the stream."""

    def __init__(self, answer: Answerer, **settings: int) -> None:
        self.peers: list[Peer] = []
        self._settings = {SettingCodes[name]: value for name, value in settings.items()}

        def script(connection: Connection) -> None:
            peer = Peer(connection, answer, self._settings)
            with self.lock:
                self.peers.append(peer)
            peer.serve()

        super().__init__(script)
