"""The seam: what a process model knows of a client, and all that it knows.

A process model decides two things: which thread moves the bytes, and where the application runs. Between the two
stands an object that does neither. It has no socket, no clock and no application in it; it speaks one protocol with one
client, and says what it wants next, one word at a time:

    want     what the carrier does                                          and tells the protocol
    ----     ---------------------                                          ----------------------
    READ     receive what the client sends                                  receive(data), b"" at its end
    WRITE    send `output`, then `file`                                     wrote(count), or read_file(data)
    EITHER   send `output` as the socket has room, and receive meanwhile    wrote(count), receive(data)
    RUN      run the application on `exchange`                              the exchange's own verbs
    TURN     begin one of several exchanges, or wake its application        take_turn()
    CLOSE    shut down and close, once `half_close` says no                 close()

Every verb answers with the next want. The *carrier* is the part of a model that owns the socket: a thread that waits
for one client (`models/_blocking.py`), a connection on a readiness loop (`models/_watched.py`), or one whose bytes come
as completions (`models/io_uring.py`). All of them share one function, `models/_drive.py:drive`, which takes a protocol
from want to want as far as its socket allows. On a blocking socket that is the connection's whole life, on a watched
one it is what happens between two events.

Why pull and not push? A carrier asks for the next bytes when the last ones have gone. So a slow client slows its
application down without a line of code for it, and no callback runs inside another.

Why is time an argument? The carrier knows the clock: a thread that is about to poll asks for the `deadline` and sleeps
until then; a loop asks all of its connections about once a second. When the deadline has passed, the carrier calls
`expire`, and the protocol decides what that means: an answer 408, the end of the connection, a handshake that failed.

Why EITHER? HTTP/1.1 never needs it: it reads, then it writes. A protocol with several streams, a tunnel or a cipher may
have bytes to send and must read all the same: a window update permits more output, a ping needs its pong, a TLS record
can only be read after another was sent. Carriers test for it last, so HTTP/1.1 pays nothing for it.

Why TURN, beside RUN? Under RUN the carrier runs the application on one exchange, and until that is answered all other
wants are about it. A protocol with several exchanges at once (HTTP/2) can do no better with a thread that serves one
client: it is given RUN for one after the other. A loop, or a pool of threads, can run them at the same time, and then
the wants are about the connection: it reads and writes for all of them. So such a carrier says that it can
(`rules.Rules.concurrent`) and is told TURN: it takes the exchange whose turn it is (`take_turn`), begins the
application for it if that exchange is new, else wakes the application, and asks what else is wanted. Models know no
more than that of streams. TURN is tested for after the others: HTTP/1.1 pays nothing for it.

Why two ways for a file? sendfile(2) moves a file to a socket without a copy in this process. A protocol that has to see
the bytes, to encrypt or to frame them, says `reads_files`, and is given blocks of it by pread(2) instead.

Which protocol a connection speaks is decided in one place, `Service.accepted`, when the connection is accepted. For
HTTP/1.1 it is `session.http1.Session`, which is its own one exchange, too. A protocol around another (TLS) is a
ServerProtocol that passes on the wants of the inner one and changes its bytes.

Nothing here is thread-safe: a protocol belongs to one carrier at a time. A carrier that shares it holds a lock.
"""

from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from septet.exchange import Delivery, Exchange, FileRegion, Part, Want

READ, RUN, WRITE, CLOSE, EITHER, TURN = Want


class Phase(NamedTuple):
    """One state of a connection: what the code that owns the socket has to do in it, and for how long. Each protocol
    has its own phases.
    """

    name: str
    want: Want
    timeout: Callable[[Any], float] | None
    """Function that returns the time-out of this phase in seconds, given a `rules.Timeouts`. None: there is no
    time-out, because the application decides how long the phase lasts.
    """
    answers: bool = False
    """What happens at the deadline. True: the client is answered 408. False: the connection is closed without an
    answer."""
    paced: bool = False
    """True: bytes that are received or sent extend the deadline, as `session.phases.Pace` computes. False: the time-out
    counts from the beginning of the phase.
    """
    idle: bool = False
    """True if no byte of a request was received. Then the server may close the connection at any time: when it stops,
    or when other clients need the thread that serves this one.
    """
    interruptible: bool = False
    """True if no request is in flight, though the client may have begun to send one. When the server stops, the client
    is waited for in this phase for `rules.STOPPING_S` seconds at most.
    """
    deaf: bool = False
    """True if the client sends no more, although the connection wants READ, because its applications run: then only an
    error of the socket is waited for. (The end of a stream makes a socket readable for ever.)
    """


class ServerExchange(Exchange, Protocol):
    """One request and its answer, as observers and the code that owns the socket see it; applications see an
    `Exchange`.
    """

    observer_state: Any
    """A value that a `rules.Observer` stores when its `began` is called for this exchange, and reads when its `ended`
    is called; the server itself does not read it.
    """

    file: FileRegion | None
    """A part of a file that is to be sent to the client once all of the connection's `output` has been sent; None if
    there is none.
    """
    later: deque[bytes | bytearray | FileRegion] | None
    """Bytes and parts of files that are to be sent to the client once `output` and `file` have been sent, in this
    order; None if nothing is to follow.
    """

    @property
    def in_memory(self) -> int:
        """Bytes of unsent output that are held in memory; parts of files do not count."""

    @property
    def status(self) -> int:
        """Status of the answer; 0 before it has begun."""

    @property
    def sent(self) -> int:
        """Bytes of content that have been added to the answer so far; some may still wait to be sent."""

    def time_out(self) -> None:
        """Called when the application has exceeded its time (`--request-timeout`): from now on `fail` answers 504, if
        no answer has begun.
        """

    def completed_by(self, part: Part) -> bool:
        """True if the answer's content would reach its Content-Length exactly with this part."""


class ServerProtocol(Protocol):
    """One client's connection, as the code that owns its socket and moves its bytes (the carrier) sees it. Methods that
    return a Want return what the connection wants of the carrier next: to receive, to send, to run the application, or
    to close.
    """

    @property
    def phase(self) -> Phase: ...

    @property
    def since(self) -> float | None:
        """When the present phase began, on the clock of `deadline`; None until `deadline` is called in this phase."""

    @property
    def output(self) -> bytes | memoryview:
        """Bytes that are to be sent to the client next; empty if there are none."""

    @property
    def file(self) -> FileRegion | None:
        """A part of a file that is to be sent to the client once all of `output` has been sent; None if there
        is none.
        """

    @property
    def reads_files(self) -> bool:
        """True if the code that owns the socket must read `file` in blocks and give them to `read_file`, instead of
        calling sendfile(2).
        """

    @property
    def lost(self) -> bool:
        """True if the client cannot be reached any more."""

    @property
    def ended(self) -> bool:
        """True if the client sends no more."""

    delivery: Delivery | None
    """Set by the code that owns the socket: the object by which a WSGI application sends its answer
    (`exchange.Delivery`).
    """

    @property
    def exchange(self) -> ServerExchange:
        """The request and answer for which the carrier is to run the application. It is read when the
        connection wants RUN.
        """

    def take_turn(self) -> ServerExchange:
        """Return the exchange whose application the carrier must call or wake now, and go on to what the connection
        wants next. To be called when the connection wants TURN. The first time an exchange is returned, its application
        is to be called; after that it is to be woken, because content, room for output or the end has come, for which
        it may wait.
        """

    @property
    def gone(self) -> bool:
        """True if the client is lost, sends no more, or has broken the protocol, so that its input is discarded."""

    @property
    def unread(self) -> int:
        """Number of bytes that were received and not used yet. The code that owns the socket stops receiving while
        there are more than `models._watched.UNREAD_LIMIT`.
        """

    @property
    def stopping(self) -> bool:
        """True once `stop` was called."""

    @property
    def closes(self) -> bool:
        """True if the connection closes after the answer that is being sent, instead of waiting for another request."""

    @property
    def yields(self) -> bool:
        """True if the connection may be closed after the answer to the present request, because other clients wait for
        the thread that serves this one. The carrier reads it when the connection wants RUN. It is False for a
        WebSocket, which would end as soon as it is open. For HTTP/2 it is False until the connection has served some
        requests, because clients expect it to stay.
        """

    @property
    def may_have_unread_input(self) -> bool:
        """True if the connection is to be closed because the server decided so, not the client. The carrier reads it
        when the connection wants CLOSE, and then receives once more before it closes: closing with unread data makes
        the kernel send RST, which can destroy the last answer.
        """

    def receive(self, data: bytes) -> Want:
        """Take the bytes that the client sent, in any phase; `b""` means that it sends no more (recv(2) returned 0)."""

    def wrote(self, count: int) -> Want:
        """Report that `count` bytes were sent: of `output`, or of `file` if `output` is empty. 0 bytes of a file mean
        that the file has become shorter; then the connection is closed in the middle of the answer.
        """

    def read_file(self, data: bytes) -> Want:
        """Take the next bytes of `file`, which the carrier has read because `reads_files` is True. `b""` means that the
        file has changed or become shorter; the protocol logs that, and ends the answer before it is complete.
        """

    def deadline(self, now: float) -> float | None:
        """Return the instant at which the phase's time is up, in seconds on the clock of `now`; None if it has no
        time-out. The first call in a phase starts its time."""

    def waited(self, now: float) -> None:
        """Report that the carrier has waited for this client, until the deadline at most, and that the wait has ended
        because the client has sent or taken something. Called by threads that wait for one client alone, so that all of
        the wait counts against the client; see `session.phases.Pace`.
        """

    def expire(self) -> Want:
        """Report that the deadline has passed. The protocol answers 408 if the client has not sent a request in time;
        else it closes the connection, or does what its kind of connection requires, such as to send a ping.
        """

    def stop(self) -> Want:
        """Take no further request: close now if no request is in flight, else after the answer."""

    def drain(self) -> Want:
        """Take no further request once the client has been told in an answer that the connection ends; an idle
        connection is closed after `rules.DRAINING_S` seconds. Called in a process whose successor, a newer process,
        serves new clients already.
        """

    def lose(self) -> Want:
        """Report that the client cannot be reached any more: a send or receive has failed. Drops all output."""

    def half_close(self) -> bool:
        """To be called at CLOSE. Returns True, at most once, if the code that owns the socket must first shut down its
        own side (SHUT_WR in shutdown(2)) and go on receiving; the protocol discards what comes.

        Closing at once would answer further input with RST, which can destroy our last answer (RFC 9112 section 9.6).
        """

    def close(self) -> None:
        """End the connection: close the file of a collected body, no longer count the request as in flight
        (`rules.Admission`), and drop references to the code that owns the socket.
        """
