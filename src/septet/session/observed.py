"""A session for observers that want to know more of a request than when it began and ended.

It is made in place of `Session` only when an option asks for it (`Service.accepted`), so that other servers pay
nothing.
"""

from collections.abc import Callable

from septet.rules import Rules
from septet.session.http1 import Session


class ObservedSession(Session):
    """A session that knows how long its last bytes lay unread, where the kernel tells."""

    __slots__ = ("unread_ms",)

    def __init__(
        self,
        rules: Rules,
        client: tuple[str, int] | None,
        server: tuple[str, int | None],
        unread_ms: Callable[[], int | None],
    ) -> None:
        super().__init__(rules, client, server)
        self.unread_ms = unread_ms
        """Milliseconds since the client's last bytes came; None if not known."""
