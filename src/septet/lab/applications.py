"""The applications that have a name of one word for the argument APP of `septet bench` and others: the guestbook, and
small ones, each of which isolates one cause of cost.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import septet
from septet.errors import UsageError

GUESTBOOK = "septet.examples.guestbook:wsgi"
GUESTBOOK_PATH = "/guestbook"
FILES = Path(septet.__file__).parent / "examples" / "guestbook" / "static"
_CAUSES = "septet.examples.causes"


@dataclass(frozen=True, slots=True)
class Application:
    """An application that the laboratory can measure: the arguments with which `septet serve` serves it, and the path
    that users request.
    """

    name: str
    words: tuple[str, ...]
    """The arguments with which `septet serve` serves it: MODULE:ATTRIBUTE, or --static and its value."""
    path: str = "/"
    """The path that users request unless --path names another."""

    @property
    def is_callable(self) -> bool:
        """True for MODULE:ATTRIBUTE, which other servers can serve as well; False for static files."""
        return not self.words[0].startswith("--")


def application(name: str | None) -> Application:
    """Return the application that APP names: a word of `SMALL`, "static", or MODULE:ATTRIBUTE; None: the guestbook.

    Raises UsageError for any other text.
    """
    if name is None or name == GUESTBOOK:
        return Application(GUESTBOOK, (GUESTBOOK,), GUESTBOOK_PATH)
    if name == "static":
        return Application(name, ("--static", f"/={FILES}"), "/style.css")
    if name in SMALL:
        target = SMALL[name]
        return Application(target, (target,), GUESTBOOK_PATH if name.startswith("guestbook") else "/")
    if ":" not in name:
        raise UsageError(f"APP {name!r} is neither MODULE:ATTRIBUTE nor one of {', '.join([*SMALL, 'static'])}")
    return Application(name, (name,))


SMALL = {
    **{word: f"{_CAUSES}.wsgi:{word}" for word in ("hello", "cpu", "wait", "stream")},
    **{f"{word}-asgi": f"{_CAUSES}.asgi:{word}" for word in ("hello", "cpu", "wait", "stream")},
    "guestbook": GUESTBOOK,
    "guestbook-asgi": "septet.examples.guestbook:asgi",
}
