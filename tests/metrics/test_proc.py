"""What the kernel tells about listening sockets."""

import socket
from contextlib import ExitStack, suppress

import pytest

from septet.metrics.proc import connections_dropped, listen_queue
from support.waiting import wait_until


@pytest.mark.parametrize("deferred", [False, True])
def test_dropped_connections(deferred: bool) -> None:
    """With TCP_DEFER_ACCEPT the socket's own count has every client in it that was held back, so it is not told."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=1))
        if deferred:
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, 1)
        before = connections_dropped()
        assert before is not None
        for _ in range(6):
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(listener.getsockname())
            if deferred:
                with suppress(BlockingIOError):  # its SYN was dropped
                    client.sendall(b"x")
        wait_until(lambda: (connections_dropped() or 0) >= before + 3, "the queue has dropped some")
        queue = listen_queue(listener)
        assert queue is not None
        assert (queue.depth, queue.limit) == (2, 1)
        assert queue.drops is None if deferred else queue.drops is not None and queue.drops >= 3
