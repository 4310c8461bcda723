"""Taking a protocol from want to want as far as its socket allows: what all models share (see `septet.protocol`).

On a socket that is waited for each time this is a connection's whole life, step by step; on one that is watched by
a loop it is what happens between two events.
"""

import logging
import os
import socket
import struct
from collections.abc import Callable
from contextlib import suppress

from septet.exchange import FileRegion, Want
from septet.protocol import CLOSE, READ, RUN, WRITE, ServerExchange, ServerProtocol

log = logging.getLogger("septet")

RECEIVE_BYTES = 65536
"""One receive: below glibc's threshold for mapping fresh memory, which costs more than the copy."""

_buffers: list[memoryview] = []
"""For `receive_compactly`: as many as threads have received at the same time. Sockets do not wait, so these are few."""

READ_BYTES = 65536
"""One block of a file that a protocol wants to see."""

Dispatch = Callable[[ServerExchange], Want | None]
"""Gives the application its turn. None: it runs elsewhere, and whoever runs it carries the protocol on."""


def drive(want: Want, protocol: ServerProtocol, sock: socket.socket, dispatch: Dispatch) -> Want:
    """Carry on from `want` until the protocol waits for the client (READ), the socket is full (WRITE, EITHER), the
    application runs elsewhere (RUN), or all is over (CLOSE)."""
    while True:
        if want is RUN:
            after = dispatch(protocol.exchange)
            if after is None:
                return RUN
            want = after
        elif want is WRITE:
            try:
                if protocol.file is None:
                    want = protocol.wrote(sock.send(protocol.output))
                else:
                    want = _send_file(protocol, sock, protocol.file)
            except BlockingIOError:
                return WRITE
            except OSError:
                want = protocol.lose()
        elif want is READ:
            return READ
        elif want is CLOSE:
            if protocol.may_have_unread_input:
                receive(protocol, sock)
            if not protocol.half_close():
                return CLOSE
            want = _shut_down(protocol, sock)
        else:  # EITHER: what the socket takes; then its carrier waits for room and for the client
            try:
                want = protocol.wrote(sock.send(protocol.output))
            except BlockingIOError:
                return want
            except OSError:
                want = protocol.lose()


def receive(protocol: ServerProtocol, sock: socket.socket) -> Want:
    """Feed the protocol what the client has sent."""
    try:
        data = sock.recv(RECEIVE_BYTES)
    except BlockingIOError:
        return protocol.phase.want
    except OSError:
        return protocol.lose()
    return protocol.receive(data)


def receive_compactly(protocol: ServerProtocol, sock: socket.socket) -> Want:
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
        return protocol.phase.want
    except OSError:
        return protocol.lose()
    finally:
        _buffers.append(buffer)
    return protocol.receive(data)


def receive_into(buffer: memoryview, protocol: ServerProtocol, sock: socket.socket) -> Want:
    """The same, by way of a buffer that nothing else uses meanwhile: without it poll and epoll grew by 7 MB in 150,000
    mixed requests."""
    try:
        data = bytes(buffer[: sock.recv_into(buffer)])
    except BlockingIOError:
        return protocol.phase.want
    except OSError:
        return protocol.lose()
    return protocol.receive(data)


def expire(protocol: ServerProtocol, sock: socket.socket) -> Want:
    """The protocol's deadline has passed.

    A client that does not read is reset when its socket is closed (SO_LINGER in socket(7)): else the kernel would keep
    what it does not take, some 280 KB, and the connection in FIN-WAIT-1 for minutes.
    """
    want = protocol.phase.want
    after = protocol.expire()
    if want is WRITE and after is CLOSE:
        with suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return after


def _send_file(protocol: ServerProtocol, sock: socket.socket, file: FileRegion) -> Want:
    if protocol.output:  # the file's first bytes join it in one segment
        return protocol.wrote(sock.send(protocol.output, socket.MSG_MORE))
    if file.version is not None:
        now = os.fstat(file.descriptor)
        if (now.st_size, now.st_mtime_ns) != file.version:
            return _cut_short(protocol)
    if protocol.reads_files:
        data = os.pread(file.descriptor, min(file.count, READ_BYTES), file.offset)
        return protocol.read_file(data) if data else _cut_short(protocol)
    sent = os.sendfile(sock.fileno(), file.descriptor, file.offset, file.count)
    return protocol.wrote(sent) if sent else _cut_short(protocol)


def _cut_short(protocol: ServerProtocol) -> Want:
    """What was promised of a file cannot be sent, so neither can the rest of the answer."""
    target = protocol.exchange.request.target.decode("ascii")
    log.warning("the file at %s changed while it was sent; the connection is cut", target)
    return protocol.lose()


def _shut_down(protocol: ServerProtocol, sock: socket.socket) -> Want:
    try:
        sock.shutdown(socket.SHUT_WR)
    except OSError:
        return protocol.lose()
    return READ
