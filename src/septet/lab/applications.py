"""The applications that can be measured by a single word: the guestbook, and small ones that isolate one cause."""

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
    """An application to serve."""

    name: str
    words: tuple[str, ...]
    """The arguments of `septet serve`."""
    path: str = "/"
    """What users request by default."""

    @property
    def is_callable(self) -> bool:
        """Whether it is MODULE:ATTRIBUTE, which any server can serve, and not static files."""
        return not self.words[0].startswith("--")


def application(name: str | None) -> Application:
    """The application of that name: without a name the guestbook, for a known word a small one, else the user's.

    Raises UsageError for an unknown word.
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
