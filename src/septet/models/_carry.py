"""Carrying a session as far as its socket allows: what all models share.

On a socket that is waited for each time this is a connection's whole life, step by step; on one that is watched by
a loop it is what happens between two events.
"""

import logging
import os
import socket
import struct
from collections.abc import Callable
from contextlib import suppress

from septet.http.events import FileRegion
from septet.http.states import CLOSE, READ, RUN, WRITE, Want
from septet.session import Session

log = logging.getLogger("septet")

RECEIVE_BYTES = 65536
"""One receive: below glibc's threshold for mapping fresh memory, which costs more than the copy."""

_buffers: list[memoryview] = []
"""For `receive_compactly`: as many as threads have received at the same time. Sockets do not wait, so these are few."""

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


def receive_compactly(session: Session, sock: socket.socket) -> Want:
    """`receive`, with nothing in memory but what has come, for models in which many threads receive.

    recv(2) into a new bytes object cuts 64 KiB down to what has come, and what lives on in its place keeps the heap in
    pieces: it grew by 1 KB for each upload that was broken off, without an end. This costs 0.3 us more.
    """
    try:
        buffer = _buffers.pop()
    except IndexError:
        buffer = memoryview(bytearray(RECEIVE_BYTES))
    try:
        data = bytes(buffer[: sock.recv_into(buffer)])
    except BlockingIOError:
        return session.want
    except OSError:
        return session.lose()
    finally:
        _buffers.append(buffer)
    return session.receive(data)


def receive_into(buffer: memoryview, session: Session, sock: socket.socket) -> Want:
    """The same, by way of a buffer that nothing else uses meanwhile: without it poll and epoll grew by 7 MB in 150,000
    mixed requests."""
    try:
        data = bytes(buffer[: sock.recv_into(buffer)])
    except BlockingIOError:
        return session.want
    except OSError:
        return session.lose()
    return session.receive(data)


def expire(session: Session, sock: socket.socket) -> Want:
    """The session's deadline has passed.

    A client that does not read is reset when its socket is closed (SO_LINGER in socket(7)): else the kernel would keep
    what it does not take, some 280 KB, and the connection in FIN-WAIT-1 for minutes.
    """
    want = session.want
    after = session.expire()
    if want is WRITE and after is CLOSE:
        with suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return after


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
