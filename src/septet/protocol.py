"""The seam: what a process model knows of a client, and all that it knows.

A process model decides two things: who moves the bytes, and where the application runs. Between the two stands an
object that does neither. It has no socket, no clock and no application in it; it speaks one protocol with one client,
and says what it wants next, one word at a time:

    want     what the carrier does                                          and tells the protocol
    ----     ---------------------                                          ----------------------
    READ     receive what the client sends                                  receive(data), b"" at its end
    WRITE    send `output`, then `file`                                     wrote(count), or read_file(data)
    EITHER   send `output` as the socket has room, and receive meanwhile    wrote(count), receive(data)
    RUN      run the application on `exchange`                              the exchange's own verbs
    CLOSE    shut down and close, once `half_close` says no                 close()

Every verb answers with the next want. The *carrier* is the part of a model that owns the socket: a thread that waits
for one client (`models/_blocking.py`), a connection on a readiness loop (`models/_watched.py`), or one whose bytes come
as completions (`models/io_uring.py`). All of them share one function, `models/_drive.py:drive`, which takes a protocol
from want to want as far as its socket allows. On a blocking socket that is the connection's whole life, on a watched
one it is what happens between two events.

Why pull and not push? A carrier asks for the next bytes when the last ones have gone. So a slow client slows its
application down without a line of code for it, and no callback runs in the midst of another.

Why is time an argument? Who waits knows the clock: a thread that is about to poll asks for the `deadline` and sleeps
until then; a loop asks all of its connections once in a while. When the instant has passed it calls `expire`, and the
protocol decides what that means: an answer 408, an end, a handshake that failed.

Why EITHER? HTTP/1.1 never needs it: it reads, then it writes. A protocol with several streams, a tunnel or a cipher may
have bytes to send and must read all the same: a window update opens the way for more output, a ping wants its pong, a
TLS record can only be read after another was sent. It is looked at last, so HTTP/1.1 pays nothing for it.

Why two ways for a file? sendfile(2) moves a file to a socket without a copy in this process. A protocol that has to see
the bytes, to encrypt or to frame them, says `reads_files`, and is given blocks of it by pread(2) instead.

Which protocol a connection speaks is decided in one place, `Service.accepted`, when it is accepted. HTTP/1.1's is
`session.Session`, which is its one exchange, too. A protocol around another (TLS) is a ServerProtocol that passes the
inner one's wants on and changes its bytes.

Nothing here is safe in threads: a protocol is one carrier's at a time. A carrier that shares it takes a lock.
"""

from collections import deque
from typing import Any, NamedTuple, Protocol

from septet.exchange import Delivery, Exchange, FileRegion, Part, Want

READ, RUN, WRITE, CLOSE, EITHER = Want


class Phase(NamedTuple):
    """Where a connection stands, as far as its carrier has to know. Each protocol has its own."""

    name: str
    want: Want
    timeout: str | None
    """The field of `rules.Timeouts` that bounds the phase; None where the application decides."""
    answers: bool = False
    """When time is up: True, the client is told (408); False, the connection just ends."""
    paced: bool = False
    """Progress extends the deadline: see `session.phases`. Else it runs from the beginning of the phase."""
    idle: bool = False
    """Nothing of a request has come: the connection may be let go, for a stop or for others who wait."""
    interruptible: bool = False
    """Nothing is in flight, though the client has begun something: a stop does not wait for it."""


class ServerExchange(Exchange, Protocol):
    """One request and its answer, as carriers and observers see it; applications see an `Exchange`."""

    observer_state: Any
    """The observer's own."""

    file: FileRegion | None
    later: deque[bytes | bytearray | FileRegion] | None
    """Output that has lined up behind other output and behind `file`, in order; None while nothing has."""

    @property
    def in_memory(self) -> int:
        """Bytes of output that wait for the client in memory."""

    @property
    def status(self) -> int:
        """Of the answer; 0 before it has begun."""

    @property
    def sent(self) -> int:
        """Bytes of content in the answer so far."""

    def completed_by(self, part: Part) -> bool:
        """With this part the answer's Content-Length is reached."""


class ServerProtocol(Protocol):
    """One client's connection, for whoever moves its bytes. All verbs give the next want."""

    phase: Phase
    since: float | None
    """When the phase began, on the clock of `deadline`; None until that is asked."""
    output: bytes | memoryview
    """Bytes for the client."""
    file: FileRegion | None
    """To be sent after `output`."""
    reads_files: bool
    """A file is given to `read_file` in blocks, rather than sent by sendfile(2)."""
    lost: bool
    """The client cannot be reached any more."""
    ended: bool
    """The client sends no more."""
    delivery: Delivery | None
    """Set by the carrier: how applications that are called reach their client."""

    @property
    def exchange(self) -> ServerExchange:
        """At RUN, the one whose turn it is."""

    @property
    def gone(self) -> bool:
        """The client is lost, sends no more, or what it sends is of no use."""

    @property
    def unread(self) -> int:
        """Bytes that were received and are not used yet; from some number on a carrier stops receiving."""

    @property
    def stopping(self) -> bool:
        """`stop` was called."""

    @property
    def closes(self) -> bool:
        """The connection ends with what is sent now."""

    @property
    def may_have_unread_input(self) -> bool:
        """True at CLOSE when we, not the client, decided to close: call `receive` once more first. Closing with unread
        data makes the kernel send RST, which can destroy our last answer."""

    def receive(self, data: bytes) -> Want:
        """Take what the client sent, at any time; `b""` says that it sends no more."""

    def wrote(self, count: int) -> Want:
        """So many bytes of `output`, or of `file` when `output` is empty, went to the client. 0 of a file: it is
        shorter than it was."""

    def read_file(self, data: bytes) -> Want:
        """The next bytes of `file`, where `reads_files`; `b""`: it is shorter than it was."""

    def deadline(self, now: float) -> float | None:
        """The instant at which the phase's time is up, on the clock of `now` (seconds); None: it has no bound."""

    def waited(self, now: float) -> None:
        """What `deadline` was asked for has come; for a carrier that has waited for this client alone."""

    def expire(self) -> Want:
        """The deadline has passed."""

    def stop(self) -> Want:
        """Take no further request: end now if nothing is in flight, else after the answer."""

    def lose(self) -> Want:
        """The client cannot be reached any more."""

    def half_close(self) -> bool:
        """At CLOSE, once: True when our side is to be shut down first, and the client's rest read and discarded.

        Closing at once would answer that rest with RST, which can overtake our last answer (RFC 9112 section 9.6).
        """

    def close(self) -> None:
        """The connection is over: give back what the protocol holds of the server's, and let go of its carrier."""
