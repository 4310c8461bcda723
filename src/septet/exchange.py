"""What passes between the layers: a request's head, an answer's head, a stretch of a file, and an error.

Requests are shared: two requests with the same bytes are one object (see `head`), so nobody changes one.
"""

import enum
from dataclasses import dataclass, field
from typing import Any, Protocol

Fields = tuple[tuple[bytes, bytes], ...]


class Want(enum.Enum):
    """What a client's protocol asks of its carrier; see `septet.protocol`."""

    READ = "feed me what the client sends, b'' when it has ended"
    RUN = "it is the application's turn"
    WRITE = "write my output and tell me how much of it went"
    CLOSE = "nothing more will happen on this connection"
    EITHER = "write my output, and feed me meanwhile"


@dataclass(slots=True, eq=False)
class Section:
    """The header section of a request, and what it says of the message. Requests that differ at `varying` share it."""

    fields: Fields
    host: bytes | None
    content_length: int
    chunked: bool
    keep_alive: bool
    expects_continue: bool
    has_body: bool
    ordinary: bool
    """See `Request`; as far as the fields decide it."""
    count: int
    """Field lines, for their limit: those that were set aside are counted too."""
    untrusted_fields: Fields
    varying: tuple[int, ...] = ()
    """Where among the fields those stand whose values are each request's own."""
    upgrade: bytes | None = None
    """See `Request`."""
    derived: dict[Any, Any] = field(default_factory=dict)
    """What an application interface makes of the fields alone."""


@dataclass(slots=True, eq=False)
class Request:
    """The head of a request (RFC 9112 section 3): everything but its body."""

    method: str
    target: bytes
    """As sent."""
    path: bytes
    """Still percent-encoded; `b"*"` for `OPTIONS *`."""
    query: bytes
    """Without the question mark."""
    version: str
    """"1.1", "1.0", or another protocol's."""
    fields: Fields
    """In order, names in lower case, values without white space around them."""
    content_length: int = 0
    """Bytes of the body; 0 when there is none or when it is chunked."""
    chunked: bool = False
    keep_alive: bool = True
    """The client will take another answer on this connection (RFC 9112 section 9.3)."""
    expects_continue: bool = False
    has_body: bool = False
    line_length: int = 0
    """Bytes of the request line, for its limit."""
    field_count: int = 0
    """Field lines, for their limit: those that were dropped are counted too."""
    ordinary: bool = False
    """HTTP/1.1, to be answered with content, on a connection that stays open."""
    untrusted_fields: Fields = ()
    """Fields that are not to be believed from everybody, and so are none of `fields`; see `vetting`."""
    scheme: str = "http"
    """In which the client asked: "https" where a proxy of ours has ended TLS."""
    client: tuple[str, int] | None = None
    """Address and port (0: not known) of who asked, if that is not the peer but someone for whom it asks."""
    section: Section | None = None
    """Of which `fields` are those, with `changed` at the section's places; None if they are not."""
    varying_fields: Fields = ()
    upgrade: bytes | None = None
    """The Upgrade field: to what other protocol the client would go over."""
    derived: dict[Any, Any] = field(default_factory=dict)
    """What an application interface makes of the head alone, by interface; kept here because heads repeat."""

    def with_trusted(self, fields: Fields, scheme: str, client: tuple[str, int] | None) -> "Request":
        """The same with these, and nothing doubtful. (`dataclasses.replace` takes three times as long.)"""
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
            self.line_length,
            self.field_count,
            self.ordinary,
            (),
            scheme,
            client,
            upgrade=self.upgrade,
        )


@dataclass(slots=True, eq=False)
class ResponseHead:
    """Status and fields of an answer; a protocol puts them into bytes, and adds what depends on the connection.

    Applications repeat their heads, and `http.head` may give one object for many answers.
    """

    status: int
    reason: bytes
    fields: Fields
    """The application's, without those that belong to the connection (RFC 9110 section 7.6.1), and with
    `Content-Length` last, if there is one. Names as the application wrote them."""
    content_length: int | None
    """What the application promises; None when it does not say."""
    closes: bool
    """The application asked for `Connection: close`."""
    dated: bool
    """The application gave its own Date."""
    named: bool
    """The application gave its own Server."""
    serialised: tuple[bytes, bytes, int, bytes] = b"", b"", -1, b""
    """The protocol's own: what it has made of this head, for the next answer with it. One object, for threads share it.
    """


@dataclass(slots=True, eq=False)
class FileRegion:
    """`count` bytes from `offset` of an open regular file, to be sent by sendfile(2)."""

    descriptor: int
    offset: int
    count: int
    version: tuple[int, int] | None = None
    """Size, and time of the last modification in ns, that the file must keep until all of it has gone. A file that does
    not is not sent on, and the connection is cut: the client must not take a mixture for a file. None: no matter."""
    owner: object = None
    """Closes the descriptor when the last region that refers to it is gone. None: the application keeps it open."""


Part = bytes | FileRegion


def octets(content: object) -> bytes:
    """Content that an application gave as some kind of bytes. Raises TypeError for anything else, text included."""
    if not isinstance(content, (bytes, bytearray, memoryview)):
        raise TypeError(f"the content of an answer is bytes, not {type(content).__name__}")
    return bytes(content)


Response = tuple[ResponseHead, Part, "ResponseParts | None"]
"""An answer, as an application that is called (rather than one that calls) gives it: its head, the first part of its
content, which often is the only one, and the parts after it. Those are closed, once, when no more will be asked for,
exhausted or not.
"""


class ResponseParts(Protocol):
    """The rest of an answer, as far as it is not there yet."""

    @property
    def whole(self) -> bool:
        """The first part was all of the content: nothing is left to do but `close`."""

    def __next__(self) -> Part: ...

    def detach(self) -> None:
        """The answer's content is complete: what the application has kept of its exchange is void from now on."""

    def close(self) -> None: ...


class Delivery(Protocol):
    """How an application that is called reaches its client in the midst of its turn, in the thread in which it runs.

    The process model provides it. All of these raise ClientGone when the client cannot be reached any more.
    """

    def deliver(self, head: ResponseHead | None, body: Part, last: bool) -> None:
        """Begin the answer with `head`, or go on with it where that is None. On return `body` has gone to the client,
        or will go by itself while the application runs on."""

    def inform(self, status: int, fields: Fields) -> None:
        """Send an interim answer (1xx) at once, as far as the client takes it. Raises ValueError."""

    def check_client(self) -> None:
        """See whether the client is still there, for an application that gives nothing by which that would show."""

    def await_body(self) -> None:
        """Wait until more of the request's body has come. Not where the body is collected before the turn."""


class Exchange(Protocol):
    """One request and its answer, as an application interface sees the session."""

    @property
    def request(self) -> Request: ...

    client: tuple[str, int] | None
    """Address and port of the peer; None on a unix socket. A request may have a client of its own."""

    server: tuple[str, int | None]
    """Address and port that the client connected to; (path, None) on a unix socket."""

    body: Any
    """A readable binary file with the whole request body, or None where it is still to come: see `read`."""

    @property
    def lost(self) -> bool:
        """The client is gone; nothing that is sent will arrive."""

    def read(self) -> bytes:
        """The next piece of the body, waiting for it; `b""` at its end. Raises ClientGone."""

    def poll(self) -> bytes | None:
        """The next piece of the body, `b""` at its end, None when it has not come. Raises ClientGone."""

    def want_body(self) -> Want:
        """Ask for more of the body, after `poll` had nothing."""

    @property
    def body_complete(self) -> bool:
        """`poll` has given all of the body."""

    @property
    def gone(self) -> bool:
        """The client is lost, or sends no more."""

    @property
    def half_closed(self) -> bool:
        """The client has sent its whole request and sends no more. It may still read (RFC 9112 section 9.6), or it may
        have left: TCP does not tell these apart until something is sent."""

    @property
    def waits(self) -> bool:
        """The client has to do something before the exchange can go on."""

    @property
    def blocked(self) -> bool:
        """What was pushed has not all gone to the client."""

    @property
    def responding(self) -> bool:
        """An answer has begun; its status cannot be changed any more."""

    @property
    def content_ended(self) -> bool:
        """Nothing more of the answer's content may be sent, though the application has not said that it is complete."""

    @property
    def content_complete(self) -> bool:
        """All that the answer's Content-Length has promised was given."""

    def complain_of_excess(self, request: Request, given: int, promised: int) -> None:
        """The application has given more bytes of content than its Content-Length says, after the answer has ended for
        the client. `request` is the one that it answered: the exchange may be at the next one."""

    @property
    def answered(self) -> bool:
        """The answer is complete as far as the application is concerned."""

    def respond(self, head: ResponseHead, body: Part, last: bool) -> Want:
        """Begin the answer with a head and the first part of its body."""

    def push(self, body: Part, last: bool) -> Want:
        """Go on with the answer."""

    def finish(self, trailers: Fields) -> Want:
        """End an answer whose content is complete; the trailer section goes where the framing has room for one.

        Trailers have been checked by `http.head.check_trailers`.
        """

    def inform(self, status: int, fields: Fields) -> Want:
        """Send an interim answer (1xx) before the answer. A client of HTTP/1.0 is spared it. Raises ValueError."""

    @property
    def extended(self) -> bool:
        """The client can be sent interim answers and trailers."""

    def fail(self) -> Want:
        """Give up: 500, or a cut connection once an answer has begun."""

    delivery: Delivery | None
    """For an application that is called; None for one that is awaited."""


class ProtocolError(Exception):
    """The client broke the protocol or a limit. `status` is the answer it gets before the connection closes."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class ClientGone(ConnectionError):
    """The client went away, or broke its body off, before the application had read the whole of it."""


def stems_from_client(error: BaseException | None) -> bool:
    """Whether an exception is ClientGone, was raised because of one, or is a group of nothing else."""
    seen: set[int] = set()
    while error is not None and not isinstance(error, ClientGone):
        if id(error) in seen:  # `raise error from error` makes a ring of causes
            return False
        seen.add(id(error))
        if isinstance(error, BaseExceptionGroup):
            return all(map(stems_from_client, error.exceptions))
        error = error.__cause__ if error.__cause__ is not None else error.__context__
    return error is not None
