"""What passes between the layers: heads of requests and answers, parts of content, errors, and the protocols by which
an application interface, a session and a process model call each other.

Requests are shared: two requests whose heads have the same bytes are one object (see `http.incoming.Limits`). Such a
request must not be changed, except for what `derived` caches; where that is None, the request is not shared.
"""

import enum
from dataclasses import dataclass, field
from typing import Any, Protocol

Fields = tuple[tuple[bytes, bytes], ...]
"""Header fields as (name, value) pairs, in order."""


class Want(enum.Enum):
    """What a connection's protocol asks its carrier, the code that owns the socket, to do next; see
    `septet.protocol`."""

    READ = "feed me what the client sends, b'' when it has ended"
    RUN = "it is the application's turn"
    WRITE = "write my output and tell me how much of it went"
    CLOSE = "nothing more will happen on this connection"
    EITHER = "write my output, and feed me meanwhile"
    TURN = "one of my exchanges has its turn: begin it, or tell it that it can go on"


@dataclass(slots=True, eq=False)
class Request:
    """The head of a request (RFC 9112 section 3): everything but its body."""

    method: str
    target: bytes
    """The request target as received (RFC 9112 section 3.2), for instance `b"/guestbook?page=2"`."""
    path: bytes
    """Path of the target, still percent-encoded; `b"*"` for `OPTIONS *`."""
    query: bytes
    """Query of the target, without the question mark; `b""` if there is none."""
    version: str
    """The version of HTTP: "1.0", "1.1" or "2"."""
    fields: Fields
    """(name, value) pairs in the order received: names in lower case, values without white space around them."""
    content_length: int = 0
    """Bytes of the body; 0 when there is none or when it is chunked."""
    chunked: bool = False
    """True if the body has Transfer-Encoding: chunked (RFC 9112 section 7.1)."""
    keep_alive: bool = True
    """True if the client allows another request on this connection (RFC 9112 section 9.3)."""
    expects_continue: bool = False
    """True if the client may wait for 100 Continue before it sends the body (RFC 9110 section 10.1.1)."""
    has_body: bool = False
    """True if the body is chunked, or has at least one byte."""
    ordinary: bool = False
    """True if this is an HTTP/1.1 request, not HEAD, after which the client lets the connection stay open. The codec
    has a faster way of making answers to such requests.
    """
    untrusted_fields: Fields = ()
    """Fields that are believed only if a trusted proxy has sent them. They are not in `fields`; see `proxies.filter`.
    """
    scheme: str = "http"
    """The scheme that the client used: "https" also if a trusted proxy has ended TLS."""
    upgrade: bytes | None = None
    """The value of Upgrade: the protocol to which the client would like to switch (RFC 9110 section 7.8)."""
    client: tuple[str, int] | None = None
    """Address and port (0: not known) of the client, if a trusted proxy has sent the request on its behalf."""
    derived: dict[Any, Any] | None = None
    """Cache: what an application interface or a filter has computed from the head of this request alone, under a key
    that it chooses. Requests with the same head are one object, and so share it. None: this object is used for this
    request only, so nothing is worth caching.
    """

    def with_trusted(self, fields: Fields, scheme: str, client: tuple[str, int] | None) -> "Request":
        """Return the request with these values and without `untrusted_fields`: a copy if this object is shared, else
        this object. (`dataclasses.replace` takes three times as long.)"""
        if self.derived is None:
            self.fields, self.untrusted_fields = fields, ()
            self.scheme = scheme
            self.client = client
            return self
        return Request(
            self.method,
            self.target,
            self.path,
            self.query,
            self.version,
            fields,
            self.content_length,
            self.chunked,
            self.keep_alive,
            self.expects_continue,
            self.has_body,
            self.ordinary,
            (),
            scheme,
            self.upgrade,
            client,
        )


@dataclass(slots=True, eq=False)
class ResponseHead:
    """Status and fields of an answer. The protocol serialises it and adds what depends on the connection.

    Applications repeat their heads, so one object may serve many answers.
    """

    status: int
    reason: bytes
    fields: Fields
    """The application's fields, names as it wrote them, without those of the connection (RFC 9110 section 7.6.1), and
    with `Content-Length` last if there is one."""
    content_length: int | None
    """Bytes of content that the application announces; None if it does not."""
    closes: bool
    """True if the application asked for `Connection: close`."""
    has_date: bool
    """True if the application gave a Date of its own, so that the server must add none."""
    has_server: bool
    """True if the application gave a Server field of its own, so that the server must add none."""
    serialised: tuple[bytes, bytes, int, bytes] = b"", b"", -1, b""
    """Cache of the codec, for the next answer with this head: the status line and fields as bytes; then, of the last
    answer, its Date and Server lines, its content's length in bytes, and its complete head as bytes. The tuple is
    replaced as a whole, never changed, because threads share it."""


@dataclass(slots=True, eq=False)
class FileRegion:
    """`count` bytes from `offset` of an open regular file, to be sent by sendfile(2)."""

    descriptor: int
    offset: int
    """Offset in the file, in bytes. It grows as the region is sent, and `count` shrinks."""
    count: int
    version: tuple[int, int] | None = None
    """Size in bytes and time of the last modification in ns, as the file had them when it was opened. If the file no
    longer has them when a part of it is to be sent, the answer is broken off (the connection is closed; in HTTP/2 the
    stream is reset), so that the client does not take a mixture of two states for a file. None: this is not checked.
    """
    owner: object = None
    """An object that closes the descriptor when it is freed: all regions of the file refer to it, so that happens after
    the last one was sent. None: the application itself keeps the descriptor open.
    """


Part = bytes | FileRegion
"""A part of the content of an answer: bytes, or a region of a file."""


def octets(content: object) -> bytes:
    """Return the application's content as bytes. Raises TypeError for anything but bytes, bytearray and memoryview."""
    if not isinstance(content, (bytes, bytearray, memoryview)):
        raise TypeError(f"the content of an answer is bytes, not {type(content).__name__}")
    return bytes(content)


Response = tuple[ResponseHead, Part, "ResponseParts | None"]
"""What a synchronous application (WSGI, static files) returns: the head of the answer, the first part of its content,
and an iterator of further parts; None if the first part is all. Its `close` is called once, exhausted or not."""


class ResponseParts(Protocol):
    """Iterator over the parts of an answer after the first. `next()` runs the application until it gives a part."""

    @property
    def whole(self) -> bool:
        """True if the first part was all of the content: only `close` is left to call."""

    def __next__(self) -> Part: ...

    def detach(self) -> None:
        """Separate the application from its exchange, because the answer's content is complete: from now on
        `wsgi.input` and `write` fail, if the application has kept them."""

    def close(self) -> None:
        """Close the application's iterable (PEP 3333). Called once."""


class Delivery(Protocol):
    """How a WSGI application sends and receives before it has returned, in the thread in which it runs.

    The process model provides it. All methods raise ClientGone if the client cannot be reached any more.
    """

    @property
    def turn(self) -> Any:
        """A context manager, entered by a thread that reads the request's body: another one may send the answer
        meanwhile."""

    def deliver(self, head: ResponseHead | None, body: Part, last: bool) -> None:
        """Begin the answer with `head`, or continue it if `head` is None. `last`: there is no other part. On return
        `body` has been sent, or is queued and sent while the application runs on."""

    def inform(self, status: int, fields: Fields) -> None:
        """Send an interim answer (1xx) at once, unless the client speaks HTTP/1.0. Raises ValueError for a malformed
        field."""

    def check_client(self) -> None:
        """Raise ClientGone if the client has left. Called when an application yields an empty part: nothing is sent
        then that could show it."""

    def await_body(self) -> None:
        """Block until more of the request's body has come, or it has ended. Not called in models that collect the whole
        body before they call the application."""

    def interrupt_reading(self) -> None:
        """Have `await_body` raise ClientGone in another thread that is in it."""

    def break_off(self) -> None:
        """End the connection, because another thread does not cease to use it. Called for what is the application's
        fault. It may go on if other requests share it."""


@dataclass(slots=True, eq=False)
class TlsInfo:
    """What the server and a client agreed on in a TLS handshake. Connections that agreed on the same share one."""

    version: str
    """"TLSv1.3" or "TLSv1.2"."""
    cipher: str
    """OpenSSL's name of the cipher suite, such as TLS_AES_256_GCM_SHA384."""
    cipher_number: int
    """Number of the cipher suite (IANA's registry of TLS parameters); 0 if unknown."""
    bits: int
    """Length of the cipher's key, in bits."""
    server_name: str | None
    """The name that the client asked for (SNI, RFC 6066 section 3); None if it named none."""
    server_certificate: str
    """The server's certificate that the client was shown, in PEM."""
    resumed: bool
    """True if the handshake resumed the session of an earlier connection."""
    client_chain: tuple[str, ...] = ()
    """The client's certificate and the intermediate certificates that it sent, in PEM. Empty if it sent none."""
    client_certificate: dict[str, Any] = field(default_factory=dict)
    """The client's certificate as `ssl.SSLSocket.getpeercert` decodes it."""
    derived: dict[Any, Any] = field(default_factory=dict)
    """Cache for application interfaces: what one has made of these values, under a key that it chooses."""


class Exchange(Protocol):
    """One request and its answer, as an application interface (WSGI, ASGI, static files) sees it. Methods that return a
    Want return what the connection wants next, for its carrier: the code that owns the socket.
    """

    @property
    def request(self) -> Request:
        """The head of the request, with the fields that the application may see."""

    client: tuple[str, int] | None
    """Address and port of the peer of the connection; None on a unix socket. Behind a trusted proxy this is the proxy,
    and `request.client` is the client."""

    server: tuple[str, int | None]
    """Address and port that the client connected to; (path, None) on a unix socket."""

    tls: TlsInfo | None
    """The TLS parameters of the connection; None if the client does not speak TLS with this server."""

    body: Any
    """A readable binary file with the whole request body, or None if the application reads it as it comes (`read`)."""

    @property
    def lost(self) -> bool:
        """True if the client cannot be reached any more: nothing that is sent will arrive."""

    def read(self) -> bytes:
        """Block until the next piece of the body has come and return it; `b""` at its end. Raises ClientGone if the
        client leaves or breaks the protocol before it."""

    def poll(self) -> bytes | None:
        """Return the next piece of the body without waiting: `b""` at its end, None if no more has come yet. Raises
        ClientGone if the client leaves or breaks the protocol before the end.
        """

    def want_body(self) -> Want:
        """Ask the connection for more of the body, after `poll` has returned None. Returns what the connection wants
        next, for the code that owns its socket.
        """

    @property
    def body_complete(self) -> bool:
        """True if `poll` or `read` has returned the last piece of the body, or there is no body."""

    @property
    def gone(self) -> bool:
        """True if the client is lost, sends no more, or has broken the protocol."""

    @property
    def half_closed(self) -> bool:
        """True if the client has sent its whole request and then the end of its stream (FIN). It may still read (RFC
        9112 section 9.6), or it may have left: with TCP the server cannot know which until it sends something."""

    @property
    def waits(self) -> bool:
        """True if the client must send more of the body, or read queued output, before the exchange can go on."""

    @property
    def blocked(self) -> bool:
        """True if output is queued that the socket has not taken yet."""

    @property
    def responding(self) -> bool:
        """True if the answer has begun: its status cannot be changed any more."""

    @property
    def content_ended(self) -> bool:
        """True if no more content of the answer may be sent: the request's method or the status allows none, or the
        application has given more than its Content-Length."""

    @property
    def content_complete(self) -> bool:
        """True if the application has given as many bytes as the answer's Content-Length says."""

    def complain_of_excess(self, request: Request, given: int, promised: int) -> None:
        """Have it logged that the application has given `given` bytes of content, more than the `promised` bytes of its
        Content-Length.

        Called after the client has got its complete answer. `request` is the request that was answered: the exchange
        object may hold the connection's next request by now.
        """

    @property
    def answered(self) -> bool:
        """True if the application has given its whole answer. Some of it may not be sent yet."""

    def respond(self, head: ResponseHead, body: Part, last: bool) -> Want:
        """Begin the answer with its head and the first part of its content. `last`: True if there is no other part.
        Returns what the connection wants next, for the code that owns its socket. Raises TypeError for content that is
        not bytes.
        """

    def push(self, body: Part, last: bool) -> Want:
        """Continue the answer with another part of its content. `last`: True if this is the last part. Returns what the
        connection wants next, for the code that owns its socket.
        """

    def finish(self, trailers: Fields) -> Want:
        """End an answer whose content is complete. Trailers are sent if the answer is chunked, and else dropped.
        Returns what the connection wants next, for the code that owns its socket.

        The caller has checked the trailers (`http.head.check_trailers`).
        """

    def inform(self, status: int, fields: Fields) -> Want:
        """Send an interim answer (1xx), to be followed by the answer itself, unless the client speaks HTTP/1.0. Returns
        what the connection wants next, for the code that owns its socket. Raises ValueError for a malformed field.
        """

    @property
    def extended(self) -> bool:
        """True if the client understands interim answers and trailers: it speaks HTTP/1.1 or later."""

    def fail(self) -> Want:
        """End the exchange after a failure: answer with an error status, usually 500. An answer that has begun is
        broken off: the connection is closed (in HTTP/2 the stream is reset). Returns what the connection wants next,
        for the code that owns its socket.
        """

    def lose(self) -> Want:
        """Close the connection without a further byte: what was sent of the answer cannot be relied on. Returns what
        the connection wants next, for the code that owns its socket.
        """

    delivery: Delivery | None
    """How a WSGI application sends its answer; None while an ASGI application has the exchange."""


class WebSocketExchange(Exchange, Protocol):
    """An exchange whose request asks for a WebSocket.

    Until `upgrade` accepts the WebSocket, the request may be answered like any other. After `upgrade` the exchange
    carries messages: the methods that this class adds take the place of `respond`, `push` and `finish`.
    """

    def upgrade(self, subprotocol: str | None, fields: Fields) -> Want:
        """Accept the WebSocket: answer 101 (in HTTP/2: 200) with these fields and the subprotocol. Returns what the
        connection wants next, for the code that owns its socket. Raises ValueError for fields that are malformed or
        reserved.
        """

    def refused_websocket(self) -> None:
        """Have the metrics count a request for a WebSocket that gets an ordinary answer instead, from the application
        or the server.
        """

    @property
    def closed(self) -> tuple[int, str] | None:
        """Code and reason with which the WebSocket has ended; None while it is open. The code is 1006 if the client
        left without a Close frame.
        """

    def noticed(self) -> None:
        """Called when the application has been woken because there are messages, or because the WebSocket has ended.
        Until this call the exchange asks the code that owns the socket to wake the application; from then on it does
        not, until there is something new.
        """

    @property
    def behind(self) -> bool:
        """True if received frames are not parsed yet, because the client sent very many small ones. The code that runs
        the application must then call `catch_up` in the loop's next iteration, after other clients were served.
        """

    def catch_up(self) -> Want:
        """Parse some of the received frames that are not parsed yet. Afterwards there may be messages, and `behind` may
        still be true. Returns what the connection wants next, for the code that owns its socket.
        """

    def next_message(self) -> str | bytes | None:
        """Return the next message of the client; None if no message has come."""

    @property
    def held(self) -> bool:
        """True if nothing is read from the client for now, because too many messages wait for the application, or too
        much output for the client. When the application takes messages, it calls `resume`.
        """

    def resume(self) -> Want:
        """Called when the application has taken messages: read from the client again if there is room for more. Returns
        what the connection wants next, for the code that owns its socket.
        """

    def send_message(self, message: str | bytes) -> Want:
        """Send a message to the client. Returns what the connection wants next, for the code that owns its socket.
        Raises ClientGone if the WebSocket has ended.
        """

    def awaits_room(self) -> bool:
        """True if output waits for the client to read it. When it has been sent, the code that owns the socket wakes
        the application.
        """

    def close_websocket(self, code: int, reason: str) -> Want:
        """Send a Close frame with this code and reason. Returns at once what the connection wants next; the WebSocket
        ends when the client's Close frame has come. Raises ValueError for a code or a reason that cannot be sent.
        """

    def detach(self) -> Want:
        """Called when the application has ended: messages that still come are discarded. Returns what the connection
        wants next, for the code that owns its socket.
        """


class ProtocolError(Exception):
    """The client broke the protocol or a limit. `status` (400, 413, ...) is sent to it, and then the connection is
    closed."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


BROKEN = "a connection is cut: want of memory or an exception from elsewhere has come while its answer was sent"
"""Logged when the server cannot rely on what it has sent, because an exception has interrupted the sending."""


class ClientGone(ConnectionError):
    """The client cannot be reached any more, or ended its body before it was complete."""


REFUSALS = (ClientGone, RuntimeError, TypeError, ValueError)
"""The types of what the server raises to an application because of what that gives, or of its client."""


def stems_from_client(error: BaseException | None, above: frozenset[int] = frozenset()) -> bool:
    """True if `error` is ClientGone, was raised because of one (`__cause__`, `__context__`), or is a group of such
    exceptions only. `above`: the `id` of each exception from which the search has come to `error`. The only exception
    of a group that is raised where the group was caught, as Starlette does it, has the group as its context.
    """
    seen = set(above)
    while error is not None and not isinstance(error, ClientGone):
        if id(error) in seen:  # `raise error from error` makes a ring of causes
            return False
        seen.add(id(error))
        if isinstance(error, BaseExceptionGroup):
            return all(stems_from_client(each, frozenset(seen)) for each in error.exceptions)
        error = error.__cause__ if error.__cause__ is not None else error.__context__
    return error is not None
