"""Listening sockets, made from addresses, at which clients are accepted."""

import errno
import fcntl
import os
import socket
from collections.abc import Iterable, Sequence
from contextlib import ExitStack, suppress
from itertools import repeat
from typing import Any, NamedTuple

from septet import forked, remains
from septet.errors import Failed
from septet.net import unix_socket
from septet.net.address import Address, speaks_tls
from septet.net.certificates import Certificates

_FAILED_EARLIER = {
    errno.EPERM,
    errno.EPROTO,
    errno.ENOPROTOOPT,
    errno.EOPNOTSUPP,
    errno.ETIMEDOUT,
    errno.ENETDOWN,
    errno.ENETUNREACH,
    errno.ENONET,
    errno.EHOSTDOWN,
    errno.EHOSTUNREACH,
}
"""Errors with which accept(2) reports that a connection failed before it was accepted, or that a firewall forbids
it."""


_TOTAL_RETRANS = 100
"""Offset in bytes of tcpi_total_retrans in struct tcp_info (linux/tcp.h)."""


def is_of_one_client(number: int) -> bool:
    """True if `number`, an errno of accept(2), concerns one client only, so that the next one can be accepted at
    once."""
    return number in _FAILED_EARLIER or number in (errno.ECONNABORTED, errno.EAGAIN, errno.EINTR)


class Listener:
    """A non-blocking listening socket, and the address at which it can be reached.

    `ours` is True if this server has bound the socket. If it is False, another program has passed the socket: when
    the listener is closed, the socket gets its old options back, and the file of a unix socket is not removed.
    `inherited` is the descriptor of which `sock` is a copy; -1: it is not a copy. `file` is a descriptor of the file of
    a unix socket that this server has bound, which the listener takes over; -1: the file lies at the socket's path.
    """

    def __init__(self, sock: socket.socket, ours: bool, inherited: int = -1, file: int = -1) -> None:
        self._pid = os.getpid()
        self._given = None if ours else _options(sock)
        """The options of a socket that another program has passed to this server, as they were then; `shut` restores
        them for the next program that uses the socket. None: this server has bound the socket itself.
        """
        self.inherited = inherited
        """The descriptor of which `sock` is a copy; it stays open in this process. -1: `sock` is not a copy."""
        self._file = -1
        """Descriptor of the file of a unix socket that this server has bound; -1: there is none. It is kept open so
        that no other file can get the same inode number, by which `close` recognises the file.
        """
        self.alone = False
        """True if no other process accepts from the socket: then `shut` also calls shutdown(2). That ends the accepting
        even if an io_uring that is being closed still refers to the socket.
        """
        self.certificates: Certificates | None = None
        """The certificates with which TLS is spoken at this listener; None: no TLS is spoken here."""
        sock.setblocking(False)
        if sock.family != socket.AF_UNIX:
            # Connections inherit it: the last, short segment of an answer does not wait for an acknowledgement.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = sock
        self.family = int(sock.family)
        self._accepted = iter(sock._accept, None)  # type: ignore[attr-defined]
        name = sock.getsockname()
        self.unix_path: str | None = None
        if sock.family == socket.AF_UNIX:
            self.unix_path = name if isinstance(name, str) else "@" + name.decode("latin-1")[1:]
            self.server: tuple[str, int | None] = (self.unix_path, None)
        else:
            self.server = (name[0], name[1])
        if ours and self.unix_path and not self.unix_path.startswith("@"):
            self._path = os.path.abspath(self.unix_path)  # the application may change the working directory
            self._file = os.open(self._path, os.O_PATH | os.O_CLOEXEC | os.O_NOFOLLOW) if file < 0 else file
            remains.register(self)
        forked.register(self)
        self._wildcard = name[0] in ("0.0.0.0", "::") if self.unix_path is None else False

    @classmethod
    def of_copy(cls, descriptor: int, certificates: "Certificates | None") -> "Listener":
        """Return a listener for `descriptor`, a copy of a listening socket's descriptor, which the new listener will
        close. The socket's options and its file are left to the listener that opened it. `certificates` are those with
        which TLS is spoken here; None: no TLS.
        """
        listener = cls(socket.socket(fileno=descriptor), ours=False)
        listener._given = None
        listener.certificates = certificates
        return listener

    def fileno(self) -> int:
        return self.sock.fileno()

    def __str__(self) -> str:
        host, port = self.server
        if port is None:
            return f"unix:{host}"
        scheme = "http" if self.certificates is None else "https"
        return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"

    def accept(self) -> tuple[socket.socket, tuple[str, int] | None]:
        """Accept the next client. Returns its socket, which does not block, and its (address, port); None on a unix
        socket.

        Raises BlockingIOError if no client waits, ConnectionError if the client has left already, other OSErrors and
        MemoryError if there are no descriptors or no memory for it.
        """
        try:
            # socket.accept calls `_accept`, too, but takes half as long again, for it makes enums of family and type.
            # Here the descriptor comes from a step of an iterator, which is no call: an exception that another thread
            # raises in this one arrives at calls, so it cannot come while only the interpreter knows the descriptor.
            for descriptor, name in self._accepted:  # noqa: B007
                break
            sock: Any = None
            try:  # in two steps, so that it is known who closes the descriptor
                sock = socket.SocketType.__new__(socket.SocketType)
                sock.__init__(self.family, socket.SOCK_STREAM, 0, descriptor)
                sock.setblocking(False)
            except BaseException:
                os.close(descriptor) if sock is None or sock.fileno() < 0 else sock.close()
                raise
        except OSError as error:
            if error.errno in _FAILED_EARLIER:
                raise ConnectionAbortedError(error.errno, error.strerror) from error
            raise
        return sock, None if self.unix_path is not None else (name[0], name[1])

    def reached(self, sock: socket.socket) -> tuple[str, int | None]:
        """Return the address and port that the client of `sock` has connected to; (path, None) on a unix socket.

        A listener at a wildcard address has to ask the kernel (3 us), since the wildcard would tell applications
        nothing; any other listener has one address only.
        """
        if not self._wildcard:
            return self.server
        try:
            name = sock.getsockname()
        except OSError:
            return self.server
        host = name[0]
        # An IPv4 client at an inherited socket that takes both (RFC 4291 section 2.5.5.2); sockets of our own take IPv6
        # alone.
        return host.removeprefix("::ffff:") if "." in host else host, name[1]

    def address_of(self, sock: socket.socket) -> tuple[str, int] | None:
        """Return the (address, port) of a client; None on a unix socket, or if the client has left."""
        if self.unix_path is not None:
            return None
        try:
            name = sock.getpeername()
        except OSError:  # it has left already: the next read will say so
            return None
        return name[0], name[1]

    def defer(self, seconds: float) -> int:
        """Have the kernel hold each new client back until it has sent something, or for about this many seconds
        (TCP_DEFER_ACCEPT in tcp(7)).

        Returns the seconds for which the kernel does so. It can do 1, 3, 7, 15, ... seconds (the times at which it
        would repeat its SYN-ACK); `seconds` is rounded down to one of these. 0: not at all, as on unix sockets.
        """
        whole = (1 << (int(seconds) + 1).bit_length() - 1) - 1
        if self.sock.family == socket.AF_UNIX or not whole:
            return 0
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, whole)
        return whole

    def undefer(self) -> None:
        """Have the kernel no longer hold clients back. Called when a model with an event loop begins to serve: a
        blocking model that served at this socket before may have called `defer`.
        """
        if self.sock.family != socket.AF_UNIX and self.sock.fileno() >= 0:  # else the order to stop has shut it already
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, 0)

    def shut(self) -> None:
        """Close this process's copy of the socket. A socket that another program has passed to the server gets its old
        options back first. The kernel refuses clients once every process that shares the socket has closed it. May be
        called more than once.
        """
        if self._given is not None and self._pid == os.getpid() and self.sock.fileno() >= 0:
            for level, option, value in self._given.options:
                with suppress(OSError):
                    self.sock.setsockopt(level, option, value)
            self.sock.setblocking(self._given.blocking)
        elif self.alone:
            with suppress(OSError):  # it has been shut already
                self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()

    def give_rights(self, address: Address) -> None:
        """Give the file of a unix socket the mode, user and group of `address`, which may differ from those that it
        was made with. Does nothing unless this server has bound the socket. Raises Failed.
        """
        try:
            if self._file >= 0:
                unix_socket.give_rights(address, self._file)
        except OSError as error:
            raise Failed(f"cannot change the rights of {address}: {_reason(error, address, '--bind')}") from error

    @property
    def file(self) -> int:
        """A descriptor of the file of a unix socket that this server has bound (open(2), O_PATH); -1: there is none."""
        return self._file

    def has_lost_its_file(self) -> bool:
        """True if this server has made the file of this unix socket, and somebody has removed it, or has put another
        one in its place: then no client can connect. False for a file that was only given another name.
        """
        return self._file >= 0 and not os.fstat(self._file).st_nlink

    def close_in_child(self) -> None:
        """Called in a child that the application has forked: close its copies of the descriptors, so that the port is
        free when the server ends."""
        self.sock.close()
        if self.inherited >= 0:
            with suppress(OSError):
                os.close(self.inherited)
        self._let_go_of_file()

    def close(self) -> None:
        """Call `shut`, and remove the file of a unix socket that this server has bound, unless another program has put
        its own file in that place. Only the process that has bound the socket removes the file.
        """
        self.shut()
        self.remove_file()

    def remove_file(self) -> None:
        """Remove the file of a unix socket, as `close` does, which calls this."""
        if self._file < 0 or self._pid != os.getpid():
            return
        with suppress(OSError):
            if os.path.samestat(os.lstat(self._path), os.fstat(self._file)):
                os.unlink(self._path)
        self._let_go_of_file()

    def _let_go_of_file(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


class _Options(NamedTuple):
    """The state in which another program has passed a socket to this server: whether the socket blocks, and
    (level, option, value) of setsockopt(2) for each option that the server may change.
    """

    blocking: bool
    options: tuple[tuple[int, int, int], ...]


def _options(sock: socket.socket) -> _Options:
    """Return those options of a socket that `Listener` may change, so that `shut` can restore them."""
    names = ((socket.IPPROTO_TCP, socket.TCP_NODELAY), (socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT))
    of_tcp = names if sock.family != socket.AF_UNIX else ()
    # `getblocking` reports the state of the Python object only.
    blocking = not fcntl.fcntl(sock, fcntl.F_GETFL) & os.O_NONBLOCK
    return _Options(blocking, tuple((level, name, sock.getsockopt(level, name)) for level, name in of_tcp))


def has_been_deferred(sock: socket.socket) -> bool:
    """True if the kernel has held this client, which has sent nothing yet, back for the whole time of `Listener.defer`.

    At the end of that time the kernel repeats its SYN-ACK, and the count of repetitions can be read from the accepted
    socket. A kernel under a SYN flood stores nothing about a client (tcp_syncookies in tcp(7)), so it neither holds the
    client back nor repeats the SYN-ACK: then this is False.
    """
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TOTAL_RETRANS + 4)
    except OSError:
        return True
    return any(info[_TOTAL_RETRANS:])


def open_listeners(
    addresses: Sequence[Address],
    backlog: int,
    certificates: Certificates | None = None,
    options: Iterable[str] = repeat("--bind"),
) -> tuple[Listener, ...]:
    """Listen at all addresses, or at none if one fails. If `certificates` are given, TLS is spoken at the
    addresses for which `speaks_tls` returns True. `options` has, for each address, the option that names it, for
    error messages. Raises Failed.
    """
    with ExitStack() as undo:
        listeners = []
        for address, option in zip(addresses, options, strict=False):
            try:
                sock = _open(address, backlog)
                listener = Listener(sock, address.kind != "fd", address.fd if address.kind == "fd" else -1)
            except OSError as error:
                raise cannot_listen(error, address, option) from error
            undo.callback(listener.close)
            if certificates is not None and speaks_tls(address, addresses):
                listener.certificates = certificates
            listeners.append(listener)
        undo.pop_all()
    return tuple(listeners)


def cannot_listen(error: OSError, address: Address, option: str = "--bind") -> Failed:
    """Return the error for an address that cannot be opened. `option`: the option that names it."""
    return Failed(f"cannot listen at {address} ({option}): {_reason(error, address, option)}")


def _reason(error: OSError, address: Address, option: str) -> str:
    if error.errno == errno.EADDRINUSE:
        if address.kind == "unix" and os.path.exists(address.path) and not unix_socket.is_socket(address.path):
            return f"a file lies there that is no socket; choose another {option}, or remove the file"
        return f"the address is in use; choose another {option}, or stop the program that listens there"
    if error.errno == errno.EPERM and address.has_rights:
        return "its file cannot be given to that user or group: only root, or a member of the group, may do so"
    return error.strerror or str(error)


def _open(address: Address, backlog: int) -> socket.socket:
    if address.kind == "fd":
        return _inherited(address.fd, backlog)
    if address.kind == "unix":
        return unix_socket.listening(address, backlog)
    family, kind, protocol, _, name = socket.getaddrinfo(
        address.host or None, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(name)
        sock.listen(backlog)
    except BaseException:
        sock.close()
        raise
    return sock


def _inherited(descriptor: int, backlog: int) -> socket.socket:
    """Return a copy of a socket that the parent process has opened (systemd, a supervisor, a test), and have it
    listen.

    The original descriptor is no longer inherited by programs that the application starts: they would keep the port
    in use after the server has ended.
    """
    copy = os.dup(descriptor)
    os.set_inheritable(descriptor, False)
    try:
        sock = socket.socket(fileno=copy)
    except OSError:
        os.close(copy)
        raise
    try:
        if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            sock.listen(backlog)
    except BaseException:
        sock.close()
        raise
    return sock


def check_place(address: Address) -> None:
    """Check whether an address could be opened, as far as that can be told without opening it: a host must have an
    address, and a unix socket a directory. Raises OSError as opening would.
    """
    if address.kind == "tcp":
        socket.getaddrinfo(address.host or None, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    elif address.kind == "unix" and not address.path.startswith("@"):
        if os.path.exists(address.path) and not unix_socket.is_socket(address.path):
            raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
        check_directory(address.path)


def check_directory(path: str) -> None:
    """Raise OSError if no file can be made at this path."""
    directory = os.path.dirname(os.path.abspath(path))
    os.stat(os.path.join(directory, "."))
    if not os.access(directory, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
