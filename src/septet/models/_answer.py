"""One answer of a synchronous application (WSGI): the call, every part of its content, and the end.

All of it happens in the thread that calls `answer`, in one context of its own, with no event loop running there and no
code of another request in between: frameworks rely on that (PEP 3333). A generator finds its thread-locals, its context
variables and its SQLite connection as it left them. The model decides which thread that is, and gives an
`exchange.Delivery`, which sends the answer to the client.
"""

import logging
import operator
from collections.abc import Callable
from typing import Any, Protocol

from septet import forked
from septet.apps._diagnostics import log_raised
from septet.exchange import (
    BROKEN,
    ClientGone,
    Exchange,
    FileRegion,
    Part,
    Request,
    Response,
    ResponseHead,
    ResponseParts,
    Want,
    octets,
)
from septet.processes.resource_exhaustion import ResourceExhaustion, reason
from septet.protocol import ServerExchange

log = logging.getLogger("septet")

_refused = ResourceExhaustion()
"""Logs what the system refuses to the server's own applications. Not with what it refuses elsewhere, such as clients
that cannot be accepted: each has its own consequence.
"""

SyncApplication = Callable[[Exchange], Response]

EMPTY_PARTS = 8
"""Most empty parts that are taken of an iterable after its answer's end. a2wsgi gives two: one for the last message of
its ASGI application, which has no content, and one when the application has come to its end.
"""

Call = Callable[..., Any]
"""Calls a function of the application with the given arguments and returns its result: `operator.call`, or
`_member.Member.call`, which lets another thread run the loop meanwhile."""


class Delivery(Protocol):
    """The part of `exchange.Delivery` that `answer` uses, and `give_up` for an application that fails."""

    def deliver(self, head: ResponseHead | None, body: Part, last: bool) -> None: ...

    def check_client(self) -> None: ...

    def give_up(self) -> None:
        """Answer 500 for an application that has failed; if an answer has begun already, close the connection in the
        middle of it.
        """


def answer(
    application: SyncApplication, exchange: ServerExchange, delivery: Delivery, call: Call = operator.call
) -> None:
    """Run the application for the exchange's request, to its end. To be called in a fresh copy of a
    `contextvars.Context`.

    An exception of the application, SystemExit included, is logged and ends this request and nothing else: the client
    gets a 500, or its connection is closed in the middle of an answer that has begun. Raises only if the server itself
    has failed.

    The whole answer has been delivered before the application's `close` is called. If an iterable has given all bytes
    that its Content-Length promised, or a part where none may be sent (to HEAD, with 204 and 304), the answer has been
    delivered also before the iterable is asked for more, so that it can come to its end. Once the answer has been
    delivered, the exchange may belong to the next request.
    """
    parts, over, begun, runs_on = None, False, False, None
    try:
        head, body, parts = call(application, exchange)
        if forked.by_application:
            forked.exit_child()
        if parts is not None and not parts.whole:
            begun, body, runs_on = _deliver_all_but_last(head, body, parts, exchange, delivery, call)
        if type(body) is not bytes and not isinstance(body, FileRegion):
            body = octets(body)
        over = True
        delivery.deliver(None if begun else head, body, True)
    except ClientGone as error:
        if forked.by_application:  # a child of the application must not answer the client
            forked.exit_child()
        log_raised(exchange.request, error)
        if parts is not None:
            parts.detach()
        if exchange.lost or not exchange.content_ended:
            delivery.give_up()
        else:  # the application wrote more than it had promised: the client has the whole answer
            delivery.deliver(None, b"", True)
    except BaseException as error:
        if forked.by_application:
            forked.exit_child(error)
        if over:  # the server has failed, not the application; the exchange may be the next request's
            if parts is not None:
                _close(parts, call)
            raise
        log_raised(exchange.request, error)
        if parts is not None:
            parts.detach()
        delivery.give_up()
    if parts is not None:
        if runs_on is not None:
            _run_out(parts, *runs_on, exchange, call)
        _close(parts, call)
    if forked.by_application:
        forked.exit_child()


def _deliver_all_but_last(
    head: ResponseHead, body: Part, parts: ResponseParts, exchange: ServerExchange, delivery: Delivery, call: Call
) -> tuple[bool, Part, tuple[Request, int | None] | None]:
    """Deliver one part after the other, except the last one.

    Returns three things: whether the head was delivered; the last part; and, if the answer ends before the iterable
    does, what `_run_out` needs: the request, and the Content-Length that is reached, or None in place of it where no
    content may be sent. The third is None if the iterable has come to its end, or has given too much.
    """
    length = head.content_length
    begun = exchange.responding  # by the `write` of WSGI
    if length is not None and not begun and type(body) is bytes and len(body) == length:
        parts.detach()
        return False, body, (exchange.request, length)
    delivery.deliver(None if begun else head, body, False)
    while not exchange.content_ended:
        try:
            part = call(next, parts)
        except StopIteration:
            break
        if forked.by_application:
            forked.exit_child()
        if part or type(part) is not bytes:
            if length is not None and exchange.completed_by(part):
                parts.detach()
                return True, part, (exchange.request, length)
            delivery.deliver(None, part, False)
        elif exchange.lost:
            raise ClientGone("while the application gave empty parts")
        else:
            delivery.check_client()
    else:
        if exchange.request.method == "HEAD" or head.status in (204, 304):
            parts.detach()
            return True, b"", (exchange.request, None)
    if forked.by_application:
        forked.exit_child()
    parts.detach()
    return True, b"", None


def _run_out(
    parts: ResponseParts, request: Request, promised: int | None, exchange: ServerExchange, call: Call
) -> None:
    """Call `next` once more after the answer's end, so that a generator can come to its end; again while it gives empty
    parts. Any other part is dropped, and reported if it exceeds the Content-Length, `promised` bytes (PEP 3333,
    "Handling the Content-Length Header")."""
    try:
        for _ in range(EMPTY_PARTS):
            part = call(next, parts)
            if forked.by_application:
                return
            if part:
                if promised is not None:
                    exchange.complain_of_excess(request, promised + len(part), promised)
                return
    except StopIteration:
        pass
    except BaseException as error:
        if forked.by_application:
            forked.exit_child(error)
        log_raised(request, error)


def _close(parts: ResponseParts, call: Call) -> None:
    try:
        call(parts.close)
    except BaseException as error:
        if forked.by_application:
            forked.exit_child(error)
        log.exception("the application raised while its answer was closed")


def answer_without_waiting(application: SyncApplication, exchange: ServerExchange) -> Want:
    """Answer by an application of the server's own that never waits, such as static files. Returns what the connection
    wants next. If the application raises, that is logged and the answer is 500. What the system or the disk refuses,
    such as a descriptor, it refuses to each request: that is one line for each episode.
    """
    begun = False
    try:
        head, body, parts = application(exchange)
        begun = True
        want = exchange.respond(head, body, parts is None)
        if parts is not None:
            try:
                while True:
                    exchange.push(next(parts), False)
            except StopIteration:
                want = exchange.push(b"", True)
            finally:
                parts.close()
        return want
    except (OSError, MemoryError) as error:
        if begun and isinstance(error, MemoryError):  # some of it may be lost, and of the tables of HTTP/2
            log.error(BROKEN)
            return exchange.lose()
        target = exchange.request.target.decode("ascii")
        _refused.report(f"no answer could be given to {target}: {reason(error)}", "it is answered 500")
        return exchange.fail()
    except BaseException:
        log.exception("no answer could be given to %s", exchange.request.target.decode("ascii"))
        return exchange.fail()
