"""Serves some requests of the server's own before the first client, for a model whose processes serve one client each.

While a program runs, Python makes its code faster: it rewrites the instructions of a function that has run a few times
for the types that it has met (PEP 659), and notes where it has found the methods of each class. The server adds what it
remembers of itself, such as names of header fields. A process that was forked for one client has what its parent had,
and what it makes itself ends with it: without this module each child would run all of the server's code for the first
time. That costs CPU time, and memory: every note is written to a page that the kernel must copy then, and looking an
attribute up without them writes to its name, its class and its method (they count references), each on another page.

So the parent serves some requests through a pair of sockets, by the functions that its children will use, with an
application of the server's own. Applications are left alone: what a request does there is not ours to repeat. Logs,
metrics and limits see nothing of it.
"""

import gc
import socket
from collections.abc import Callable, Iterable
from contextlib import ExitStack, closing, suppress
from dataclasses import replace
from random import Random
from threading import Thread
from typing import Any, cast
from weakref import WeakSet

from septet.apps.site import Site
from septet.apps.wsgi import Wsgi
from septet.models._acceptor import Acceptor, Client
from septet.models._blocking import serve
from septet.net.listener import Listener
from septet.processes.orders import Stop
from septet.service import Service

CONNECTIONS = 24
"""Python 3.11 begins to rewrite a function at its eighth call, and goes on at those that follow."""

_FIELDS = b"""Host: localhost
User-Agent: septet
Accept: */*
Accept-Encoding: identity
Accept-Language: en
Cookie: a=b
Referer: http://localhost/
Cache-Control: no-cache
"""

REQUESTS = b"".join(
    head.replace(b"\n", b"\r\n")
    for head in (
        b"GET /?a=b HTTP/1.1\n%bConnection: keep-alive\n\n" % _FIELDS,
        b"POST / HTTP/1.1\n%bContent-Type: application/x-www-form-urlencoded\nContent-Length: 3\n\na=b" % _FIELDS,
        b"GET / HTTP/1.1\n%bConnection: close\n\n" % _FIELDS,
    )
)


def warm_up(service: Service) -> None:
    """Serve REQUESTS in this thread, over and over. For the parent process, before its first fork. Does not raise: if
    there are no descriptors, for instance, the children are slower.
    """
    rules = replace(
        service.rules, observer=None, admission=None, traffic=None, identify=None, expects_proxy_header=None
    )
    service = replace(
        service,
        listeners=(),
        site=Site(Wsgi(_greet, multiprocess=True)),
        rules=rules,
        metrics=None,
        monitor=None,
        request_watch=None,
    )
    with suppress(OSError), ExitStack() as stack:
        acceptor = stack.enter_context(closing(Acceptor(service, drops_idle_clients=False)))
        listener = stack.enter_context(closing(Listener(socket.socket(socket.AF_UNIX), ours=False)))  # does not listen
        for _ in range(CONNECTIONS):
            _serve_one(acceptor, listener)
            _begin_a_child(service.stop)
    gc.freeze()  # what was made here belongs to what all children share, see `server.run`


def _serve_one(acceptor: Acceptor, listener: Listener) -> None:
    pair, theirs = socket.socketpair()
    with theirs:
        ours = socket.SocketType(pair.family, pair.type, pair.proto, pair.detach())  # as `Listener.accept` makes it
        ours.setblocking(False)
        theirs.sendall(REQUESTS)
        theirs.shutdown(socket.SHUT_WR)
        sock = cast(socket.socket, ours)
        serve(Client(acceptor, sock, acceptor.service.accepted(listener, sock, ("127.0.0.1", 1)), 0.0), None)


def _begin_a_child(stop: Stop) -> None:
    """Run what a child runs before it serves, and what Python runs in each child (os.register_at_fork), as far as that
    can be done with objects of our own.
    """
    Stop(parent=stop, signals=False).close()
    socket.socket(socket.AF_UNIX).close()  # as listeners are closed
    Random().seed()
    thread = Thread()
    list(WeakSet((thread,)))  # as threading goes through its threads


def _greet(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "1")])
    return [b"."]
