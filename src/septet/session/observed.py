"""Sessions that record more about a request than its beginning and its end, for access logs, metrics and request ids.

They are made in place of `Session` only when an option asks for it (`Service.accepted`), so that other servers pay
nothing.
"""

from collections.abc import Callable

from septet.exchange import Fields, Part, ProtocolError, Request, ResponseHead, Want
from septet.http.head import with_fields
from septet.rules import Rules
from septet.session.http1 import Session


class ObservedSession(Session):
    """A session that can tell how long the client's last bytes lay in the kernel before they were read, where the
    kernel says so.
    """

    __slots__ = ("unread_ms",)

    def __init__(
        self,
        rules: Rules,
        client: tuple[str, int] | None,
        server: tuple[str, int | None],
        unread_ms: Callable[[], int | None],
        scheme: str = "http",
    ) -> None:
        super().__init__(rules, client, server, scheme)
        self.unread_ms = unread_ms
        """A function that returns how many milliseconds ago the client's last bytes came; None if that is not known."""


class NotingSession(ObservedSession):
    """A session that records when its client was accepted, when its application was called and when the answer was
    complete (on `rules.clock`), gives each request an id (`rules.identify`), and adds header fields to answers
    (`rules.more_fields`).
    """

    __slots__ = ("accepted_ns", "answered_ns", "called_ns", "request_id", "response_head")

    def __init__(
        self,
        rules: Rules,
        client: tuple[str, int] | None,
        server: tuple[str, int | None],
        unread_ms: Callable[[], int | None],
        scheme: str = "http",
    ) -> None:
        super().__init__(rules, client, server, unread_ms, scheme)
        self.accepted_ns = rules.clock()
        """When the server accepted the connection, in ns on `rules.clock`; the session is made right after that."""
        self._forget_notes()

    def _forget_notes(self) -> None:
        self.called_ns = 0
        """When the application was called, in ns on `rules.clock`; 0 if it was not. Set by the modules in `apps`."""
        self.answered_ns = 0
        """When the application had given its whole answer, in ns on `rules.clock`; 0 before."""
        self.request_id: str | None = None
        self.response_head: ResponseHead | None = None

    def _admit(self, request: Request) -> bool:
        self._forget_notes()
        if self._rules.identify is not None:
            request, self.request_id = self._rules.identify(request, self.peer)
            self.http.request = self.request = request
        return super()._admit(request)

    def _refuse_head(self, fault: ProtocolError) -> Want:
        self._forget_notes()  # the answer to what is no request does not bear the id of the request before
        return super()._refuse_head(fault)

    def respond(self, head: ResponseHead, body: Part, last: bool) -> Want:
        if self._rules.more_fields is not None:
            head = with_fields(head, self._rules.more_fields(self))
        self.response_head = head
        if last:
            self.answered_ns = self._rules.clock()
        return super().respond(head, body, last)

    def push(self, body: Part, last: bool) -> Want:
        if last:
            self.answered_ns = self._rules.clock()
        return super().push(body, last)

    def finish(self, trailers: Fields) -> Want:
        self.answered_ns = self._rules.clock()
        return super().finish(trailers)
