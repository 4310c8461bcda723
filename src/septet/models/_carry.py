"""Carrying a session as far as its socket allows: what all models share.

On a socket that is waited for each time this is a connection's whole life, step by step; on one that is watched by
a loop it is what happens between two events.
"""

import logging
import os
import socket
from collections.abc import Callable

from septet.apps._websocket import log_raised
from septet.http.events import ClientGone, Exchange, FileRegion, Response
from septet.http.states import CLOSE, READ, RUN, WRITE, Want
from septet.session import Session

log = logging.getLogger("septet")

RECEIVE_BYTES = 65536
"""One receive: below glibc's threshold for mapping fresh memory, which costs more than the copy."""

Turn = Callable[[Session], Want | None]
"""Gives the application its turn. None: it runs elsewhere, and whoever runs it carries the session on."""


def carry(want: Want, session: Session, sock: socket.socket, turn: Turn) -> Want:
    """Carry on from `want` until the session waits for the client (READ), the socket is full (WRITE), the application
    runs elsewhere (RUN), or all is over (CLOSE)."""
    while True:
        if want is RUN:
            after = turn(session)
            if after is None:
                return RUN
            want = after
        elif want is WRITE:
            try:
                sent = sock.send(session.output) if session.file is None else _send_file(session, sock, session.file)
                want = session.wrote(sent)
            except BlockingIOError:
                return WRITE
            except OSError:
                want = session.lose()
        elif want is CLOSE:
            if session.unaware:
                receive(session, sock)
            if not session.half_close():
                return CLOSE
            want = _shut_down(session, sock)
        else:
            return want


def receive(session: Session, sock: socket.socket) -> Want:
    """Feed the session what the client has sent."""
    try:
        data = sock.recv(RECEIVE_BYTES)
    except BlockingIOError:
        return session.want
    except OSError:
        return session.lose()
    return session.receive(data)


def _send_file(session: Session, sock: socket.socket, file: FileRegion) -> int:
    if session.output:
        return sock.send(session.output, socket.MSG_MORE)  # the file's first bytes join it in one segment
    if file.version is not None:
        now = os.fstat(file.descriptor)
        if (now.st_size, now.st_mtime_ns) != file.version:
            return _cut_short(session)
    return os.sendfile(sock.fileno(), file.descriptor, file.offset, file.count) or _cut_short(session)


def _cut_short(session: Session) -> int:
    """What was promised of a file cannot be sent; to the session that is a file that ends here."""
    target = session.request.target.decode("ascii")
    log.warning("the file at %s changed while it was sent; the connection is cut", target)
    return 0


def _shut_down(session: Session, sock: socket.socket) -> Want:
    try:
        sock.shutdown(socket.SHUT_WR)
    except OSError:
        return session.lose()
    return READ


def take_turn(application: Callable[[Exchange], Response], session: Session) -> Want:
    """The turn of an application that is called: its answer or the next part of it, here and now.

    Whatever it raises is logged, and the client gets a 500 or a cut connection: an application that calls sys.exit, or
    lets a cancellation out, ends its request and nothing else. Called in the thread where the application is to run;
    the session is this thread's meanwhile.
    """
    try:
        if session.parts is None:
            head, body, session.parts = application(session)
            last = session.parts is None
            # An application that called WSGI's `write` has begun its answer already.
            return session.push(body, last) if session.http.status else session.respond(head, body, last)
        try:
            part = next(session.parts)
        except StopIteration:
            close_parts(session)
            return session.push(b"", True)
        return session.push(part, False)
    except ClientGone as error:
        log.debug("the client went away: %s", error)
    except BaseException:
        log_raised(session.request)
    close_parts(session)  # or they would be taken for the next answer's
    return session.fail()


def release(session: Session) -> None:
    """Let go of everything that a session holds. Called once its connection is over."""
    close_parts(session)
    session.close()


def close_parts(session: Session) -> None:
    """Close what is left of an answer, of which no more is wanted."""
    parts, session.parts = session.parts, None
    if parts is not None:
        try:
            parts.close()
        except BaseException:
            log.exception("the application raised while its answer was closed")
