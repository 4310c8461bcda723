"""Listening unix sockets, and their files in the file system (unix(7))."""

import os
import socket
import stat
from contextlib import suppress

from septet.net.address import Address


def listening(address: Address, backlog: int) -> socket.socket:
    """Return a listening unix socket. If a socket's file lies at its path already and no process listens there,
    the file is replaced. If a process listens there, or the file is not a socket's, OSError (EADDRINUSE) is raised.

    The file is given its rights before listen(2), and so before a client can connect.
    """
    path = address.path
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if path.startswith("@"):
            path = "\0" + path[1:]
        elif os.path.exists(path) and is_socket(path) and not _answers(path):
            with suppress(FileNotFoundError):
                os.unlink(path)
        sock.bind(path)
        if address.has_rights:
            try:
                _give_rights_at(address, path)
            except OSError:
                os.unlink(path)
                raise
        sock.listen(backlog)
    except BaseException:
        sock.close()
        raise
    return sock


def _give_rights_at(address: Address, path: str) -> None:
    """Give the socket's file at this path the mode, user and group of its address. Raises OSError."""
    file = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if stat.S_ISSOCK(os.fstat(file).st_mode):  # else another user has put a file of its own there
            give_rights(address, file)
    finally:
        os.close(file)


def give_rights(address: Address, file: int) -> None:
    """Give the file of a unix socket the user, group and mode that its address has; those that it does not have stay as
    they are. `file`: a descriptor of the file, opened with O_PATH, so that a file which has taken its name meanwhile is
    not changed. Raises OSError.
    """
    name = f"/proc/self/fd/{file}"
    if address.uid >= 0 or address.gid >= 0:
        os.chown(name, address.uid, address.gid)
    if address.mode is not None:
        os.chmod(name, address.mode)


def is_socket(path: str) -> bool:
    """Return True if the file at this path is a unix socket's. Raises OSError if there is none."""
    return stat.S_ISSOCK(os.stat(path).st_mode)


def _answers(path: str) -> bool:
    """True if a process listens at the unix socket `path`, even if its queue is full (EAGAIN)."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            return False
        except OSError:
            pass
        return True
