"""The queue of a listener on this machine: its length and its limit, as the kernel has them.

They are read with sock_diag(7), which needs no privilege; `ss -lt` shows the same. For a listener on another machine or
in another network namespace they are not known.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import struct
from collections.abc import Iterator
from typing import NamedTuple

NETLINK_SOCK_DIAG = 4
SOCK_DIAG_BY_FAMILY = 20
NLM_F_REQUEST, NLM_F_DUMP = 0x1, 0x300
NLMSG_ERROR, NLMSG_DONE = 2, 3
TCP_LISTEN = 10
HEADER = struct.Struct("=IHHII")  # struct nlmsghdr
REQUEST = struct.Struct("=BBBxI48s")  # struct inet_diag_req_v2; the last is a struct inet_diag_sockid
ANSWER = struct.Struct("=BBBBHH16s16sI8sIIIII")  # struct inet_diag_msg
ANSWERS_BYTES = 65536


class ListenQueue(NamedTuple):
    """The queue of a listener: the connections that wait for accept(2). If there are several listeners on one port, it
    is the sum of their queues.
    """

    depth: int
    """Connections in the queue."""
    backlog: int
    """Largest number of connections in the queue: the argument of listen(2), or somaxconn when that is less."""


def listen_queue(family: int, host: str, port: int) -> ListenQueue | None:
    """Return the queue of the listener at this address; None without a listener, or when the kernel gives no figure."""
    try:
        found = [ListenQueue(depth, backlog) for own, depth, backlog in _listeners(family, port) if _takes(own, host)]
    except OSError:
        return None
    return ListenQueue(sum(each.depth for each in found), sum(each.backlog for each in found)) if found else None


def _takes(own: bytes, host: str) -> bool:
    address = ipaddress.ip_address(host)
    return own[: len(address.packed)] == address.packed or not any(own)


def _listeners(family: int, port: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield (packed address, connections in the queue, limit of the queue) for each listener on the port. Listeners of
    IPv6 are always among them, because one on [::] takes IPv4 connections as well.
    """
    for each in {family, socket.AF_INET6}:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_SOCK_DIAG) as netlink:
            request = REQUEST.pack(each, socket.IPPROTO_TCP, 0, 1 << TCP_LISTEN, bytes(48))
            header = HEADER.pack(HEADER.size + len(request), SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST | NLM_F_DUMP, 1, 0)
            netlink.send(header + request)
            for message in _messages(netlink):
                _, _, _, _, sport, _, source, _, _, _, _, depth, backlog, _, _ = ANSWER.unpack_from(message)
                if socket.ntohs(sport) == port:
                    yield source, depth, backlog


def _messages(netlink: socket.socket) -> Iterator[bytes]:
    while True:
        data = netlink.recv(ANSWERS_BYTES)
        while data:
            length, kind, _, _, _ = HEADER.unpack_from(data)
            if kind == NLMSG_DONE:
                return
            if kind == NLMSG_ERROR:
                (number,) = struct.unpack_from("=i", data, HEADER.size)
                raise OSError(-number, os.strerror(-number))
            yield data[HEADER.size : length]
            data = data[(length + 3) & ~3 :]
