"""Moves the bytes of one connection: does what its protocol wants, again and again, as far as the socket allows. All
models share it (see `septet.protocol`).

For a thread that waits for its socket this is the connection's whole life, step by step; for a loop that watches the
socket it is what happens between two events.
"""

import logging
import os
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from threading import Condition
from typing import NoReturn

from septet.errors import is_raised_at
from septet.exchange import BROKEN, REFUSALS, ClientGone, FileRegion, Want
from septet.pollers import Poll
from septet.protocol import CLOSE, EITHER, READ, RUN, TURN, WRITE, ServerExchange, ServerProtocol

log = logging.getLogger("septet")

RECEIVE_BYTES = 65536
"""Most bytes of one recv(2). This is below glibc's threshold, above which each allocation maps fresh memory
(mallopt(3), M_MMAP_THRESHOLD); that costs more than copying the bytes.
"""

_buffers: list[memoryview] = []
"""Buffers that `receive_compactly` can use. Each call takes one from the list, or makes one if the list is
empty, and puts it back before it returns. As calls do not block, there are never more buffers than threads that
were in the function at the same time.
"""

READ_BYTES = 65536
"""Most bytes of a file that are read at once, for a protocol that has to see a file's bytes before they are
sent (`ServerProtocol.reads_files`), as TLS has to encrypt them.
"""

Dispatch = Callable[[ServerExchange], Want | None]
"""Runs the application for an exchange, and returns what the connection wants next. None: the application runs
elsewhere, and its thread or task calls `drive` when it has output.
"""


def drive(want: Want, protocol: ServerProtocol, sock: socket.socket, dispatch: Dispatch) -> Want:
    """Do what the protocol wants, beginning with `want`, until it waits for the client (READ), the socket is full
    (WRITE, EITHER), the application runs elsewhere (RUN), one of several exchanges has its turn (TURN), or the
    connection is over (CLOSE). Returns that want. Never waits; the caller closes the socket at CLOSE, and takes the
    turn at TURN."""
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
            except BaseException:  # perhaps it was sent, and not noted: it would be sent again
                protocol.lose()
                raise
        elif want is READ:
            return READ
        elif want is CLOSE:
            # An exchange says so, which may not know of a protocol around its own: that one may have an end to send.
            want = protocol.phase.want
            if want is not CLOSE:
                continue
            if protocol.may_have_unread_input:
                receive(protocol, sock)
            if not protocol.half_close():
                return CLOSE
            want = _shut_down(protocol, sock)
        elif want is TURN:
            return TURN
        else:  # EITHER: send what the socket takes; then the carrier waits until it can send or receive
            try:
                if protocol.file is None:
                    want = protocol.wrote(sock.send(protocol.output))
                else:
                    want = _send_file(protocol, sock, protocol.file)
            except BlockingIOError:
                return want
            except OSError:
                want = protocol.lose()
            except BaseException:  # as above
                protocol.lose()
                raise


def receive(protocol: ServerProtocol, sock: socket.socket) -> Want:
    """Receive what the client has sent, give it to the protocol, and return what the protocol wants next. The socket
    does not block: if nothing has come, nothing changes.
    """
    try:
        data = sock.recv(RECEIVE_BYTES)
    except BlockingIOError:
        return protocol.phase.want
    except OSError:
        return protocol.lose()
    return protocol.receive(data)


def receive_compactly(protocol: ServerProtocol, sock: socket.socket) -> Want:
    """Do what `receive` does, but receive into a buffer that is kept for later calls. For models in which many
    threads receive.

    `socket.recv` allocates 64 KiB and shrinks them to the data received, which fragments the heap: it grew by 1 KB
    for each upload that a client broke off, without bound. Copying from the buffer costs 0.3 us more.
    """
    try:
        buffer = _buffers.pop()
    except IndexError:
        buffer = memoryview(bytearray(RECEIVE_BYTES))
    try:
        try:
            data = bytes(buffer[: sock.recv_into(buffer)])
        except BlockingIOError:
            return protocol.phase.want
        except OSError:
            return protocol.lose()
        finally:
            _buffers.append(buffer)
        return protocol.receive(data)
    except BaseException:  # what was received is lost, or may be, and what follows would be misread
        protocol.lose()
        raise


def receive_into(buffer: memoryview, protocol: ServerProtocol, sock: socket.socket) -> Want:
    """Do what `receive` does, but receive into `buffer`, which no other thread may use during the call. For the
    models that run a loop. With a new buffer for each call, the memory of poll and epoll grew by 7 MB in 150,000
    mixed requests.
    """
    try:
        try:
            data = bytes(buffer[: sock.recv_into(buffer)])
        except BlockingIOError:
            return protocol.phase.want
        except OSError:
            return protocol.lose()
        return protocol.receive(data)
    except BaseException:  # as in `receive_compactly`
        protocol.lose()
        raise


def expire(protocol: ServerProtocol, sock: socket.socket) -> Want:
    """Tell the protocol that its deadline has passed, and return what it wants next.

    If output was waiting to be sent, the client does not read: then closing the socket will send it a RST
    (SO_LINGER in socket(7)). Else the kernel would keep the unsent output, some 280 KB, and the connection in
    FIN-WAIT-1 for minutes.
    """
    want = protocol.phase.want
    after = protocol.expire()
    if (want is WRITE or want is EITHER) and after is CLOSE:
        with suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return after


def _send_file(protocol: ServerProtocol, sock: socket.socket, file: FileRegion) -> Want:
    """Send what the protocol still has in `output`, if anything; if nothing is left there, send some of `file`.
    Returns what the protocol wants next. Raises OSError, of which BlockingIOError means that the socket is full.
    """
    if protocol.output:  # the file's first bytes join it in one segment
        return protocol.wrote(sock.send(protocol.output, socket.MSG_MORE))
    if file.version is not None:
        try:
            now = os.fstat(file.descriptor)
        except OSError as error:
            return _give_up_file(protocol, error)
        if (now.st_size, now.st_mtime_ns) != file.version:
            return _cut_short(protocol)
    if protocol.reads_files:
        try:
            data = os.pread(file.descriptor, min(file.count, READ_BYTES), file.offset)
        except OSError as error:
            return _give_up_file(protocol, error)
        return protocol.read_file(data) if data else _cut_short(protocol)
    try:
        sent = os.sendfile(sock.fileno(), file.descriptor, file.offset, file.count)
    except BlockingIOError:
        raise
    except OSError:
        try:  # the error may be the socket's or the file's
            os.pread(file.descriptor, 1, file.offset)
        except OSError as error:
            return _give_up_file(protocol, error)
        raise
    return protocol.wrote(sent) if sent else _cut_short(protocol)


def leaves_whole(error: BaseException) -> bool:
    """True if `error`, which comes out of a step of an answer, has left the session as it was, or at a step's end: the
    server has raised it because of what the application gave, or it came while the thread waited.

    Any other may come from a signal handler of the application or from another thread (PyThreadState_SetAsyncExc), and
    anywhere: bytes may be lost, or sent twice, if the application catches it and goes on. So may they for want of
    memory or of frames.
    """
    if isinstance(error, (MemoryError, RecursionError)):
        return False
    trace, is_own = error.__traceback__, False
    while trace is not None:
        if trace.tb_frame.f_code in _WAITS:
            return True
        is_own = trace.tb_frame.f_globals.get("__name__", "").startswith("septet.") and is_raised_at(trace)
        trace = trace.tb_next
    return is_own and type(error) in REFUSALS


_WAITS = (Poll.wait.__code__, Condition.wait.__code__)
"""What waits and changes nothing. An event that comes with an exception is found again."""


def lose_broken(protocol: ServerProtocol) -> Want:
    """Cut a connection, and log why, on which the sending of an answer was interrupted. Returns what the connection
    wants next.
    """
    if not protocol.lost:
        log.error(BROKEN)
    return protocol.lose()


def refuse_broken(protocol: ServerProtocol) -> NoReturn:
    """Cut such a connection, and raise ClientGone to an application that goes on with its answer."""
    lose_broken(protocol)
    raise ClientGone("an earlier part of the answer could not be sent")


def _give_up_file(protocol: ServerProtocol, error: OSError) -> Want:
    """Handle a file that cannot be read, for the reason `error`: log that, and break off the answer as `_cut_short`
    does. Over HTTP/2 that ends one stream, and not the others of the connection.
    """
    log.warning("a file that is sent cannot be read: %s", error.strerror)
    return protocol.read_file(b"") if protocol.reads_files else protocol.lose()


def _cut_short(protocol: ServerProtocol) -> Want:
    """Handle a file that has become shorter, or was otherwise changed, while it was being sent: log that and close
    the connection, because the answer can no longer be what its head has promised. A protocol that reads files
    itself (`reads_files`) is told instead, and does the same. Returns what the protocol wants next.
    """
    if protocol.reads_files:
        return protocol.read_file(b"")
    target = protocol.exchange.request.target.decode("ascii")
    log.warning("the file at %s changed while it was sent; the connection is cut", target)
    return protocol.lose()


def _shut_down(protocol: ServerProtocol, sock: socket.socket) -> Want:
    try:
        sock.shutdown(socket.SHUT_WR)
    except OSError:
        return protocol.lose()
    return READ
