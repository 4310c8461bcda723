"""One answer of an application that is called: the call, every part, and the end.

All of it happens in the thread that calls `answer`, in one context of its own, with no event loop running there and
nothing of another request in between: that is PEP 3333 as frameworks live by it. A generator finds its thread-locals,
its context variables and its SQLite connection as it left them. A model decides which thread that is, and gives an
`http.events.Delivery`, by which the answer goes to the client.
"""

import logging
import operator
from collections.abc import Callable
from typing import Any, Protocol

from septet import forked
from septet.apps._websocket import log_raised
from septet.http.events import ClientGone, Exchange, Part, Parts, Response, ResponseHead
from septet.http.states import Want
from septet.session import Session

log = logging.getLogger("septet")

Called = Callable[[Exchange], Response]

Call = Callable[..., Any]
"""Calls a function of the application with these arguments, and gives what it returns."""


class Delivery(Protocol):
    """`http.events.Delivery`, and its end."""

    def deliver(self, head: ResponseHead | None, body: Part, last: bool) -> None: ...

    def give_up(self) -> None:
        """The application has failed: 500, or a cut connection once an answer has begun."""


def answer(application: Called, session: Session, delivery: Delivery, call: Call = operator.call) -> None:
    """Run the application for the session's request, to its end. To be called in a fresh copy of a context.

    What it raises, SystemExit included, is logged and ends this request and nothing else: the client gets a 500 or a
    cut connection. The client has the whole answer before the application's `close` is called.
    """
    parts = None
    try:
        head, body, parts = call(application, session)
        if forked.stranger:
            forked.leave()
        last = parts is None or parts.whole
        # An application that called WSGI's `write` has begun its answer already.
        delivery.deliver(None if session.http.status else head, body, last)
        if not last:
            _deliver_rest(parts, session, delivery, call)
    except ClientGone as error:
        if forked.stranger:  # it gives what is not its own to give
            forked.leave()
        log.debug("the client went away: %s", error)
        delivery.give_up()
    except BaseException as error:
        if forked.stranger:
            forked.leave(error)
        log_raised(session.request)
        delivery.give_up()
    if parts is not None:
        _close(parts, call)
    if forked.stranger:
        forked.leave()


def _deliver_rest(parts: Parts, session: Session, delivery: Delivery, call: Call) -> None:
    """One part after the other, until there are no more, or no more may be sent."""
    while not session.http.content_ended:
        try:
            part = call(next, parts)
        except StopIteration:
            break
        if forked.stranger:
            forked.leave()
        if part or type(part) is not bytes:
            delivery.deliver(None, part, False)
        elif session.lost:
            raise ClientGone("while the application gave empty parts")
    if forked.stranger:
        forked.leave()
    delivery.deliver(None, b"", True)


def _close(parts: Parts, call: Call) -> None:
    try:
        call(parts.close)
    except BaseException as error:
        if forked.stranger:
            forked.leave(error)
        log.exception("the application raised while its answer was closed")


def answer_at_once(application: Called, session: Session) -> Want:
    """The answer of an application that is ours and never waits, such as static files; what the session wants then."""
    try:
        head, body, parts = application(session)
        want = session.respond(head, body, parts is None)
        if parts is not None:
            try:
                while True:
                    session.push(next(parts), False)
            except StopIteration:
                want = session.push(b"", True)
            finally:
                parts.close()
        return want
    except Exception:
        log.exception("no answer could be given to %s", session.request.target.decode("ascii"))
        return session.fail()
