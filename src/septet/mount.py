"""Static files as `--static` spells them: ROUTE=DIR, a path of the URL and the directory that it shows."""

from dataclasses import dataclass

SYNTAX = "ROUTE=DIR with a ROUTE that begins with / and a DIR that exists"


@dataclass(frozen=True, slots=True)
class Mount:
    """A directory shown under a route.

    The route begins and ends with a slash, whether typed so or not: then one `startswith` tells its own
    paths from those of a sibling that begins alike (`/static/` and `/static-old/`).
    """

    route: str
    directory: str


def parse_mount(text: str) -> Mount:
    """The mount that `text` spells; whether DIR exists is not looked at.

    Raises ValueError, whose text ("must be ...") completes a sentence about the value.
    """
    route, equals, directory = text.partition("=")
    if not (equals and route.startswith("/") and directory) or "\0" in text:
        raise ValueError(f"must be {SYNTAX}")
    return Mount(route.rstrip("/") + "/", directory)
