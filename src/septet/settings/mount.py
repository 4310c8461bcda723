"""Static files as options spell them: `--static` ROUTE=DIR, a path of the URL and the directory that it shows, and
`--static-cache-control`, what caches are told of its files.
"""

import re
from dataclasses import dataclass
from urllib.parse import unquote

SYNTAX = "ROUTE=DIR with a ROUTE that begins with / and a DIR that exists"
CACHE_SYNTAX = "cache directives such as public, max-age=3600"

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_DIRECTIVE = rf'{_TOKEN}(?:=(?:{_TOKEN}|"(?:[ !#-\[\]-~]|\\[ -~])*"))?'
_DIRECTIVES = re.compile(rf"{_DIRECTIVE}(?:, *{_DIRECTIVE})*")
"""Cache-Control of RFC 9111 section 5.2, on one line and in ASCII."""


@dataclass(frozen=True, slots=True)
class Mount:
    """A directory shown under a route.

    The route begins and ends with a slash, whether typed so or not: then one `startswith` tells its own
    paths from those of a sibling that begins alike (`/static/` and `/static-old/`). It is decoded: `/a b` and `/a%20b`
    are one route. Bytes that are not UTF-8 stand in it as PEP 383 has them.
    """

    route: str
    directory: str


def parse_mount(text: str) -> Mount:
    """The mount that `text` spells; whether DIR exists is not looked at.

    Raises ValueError, whose text ("must be ...") completes a sentence about the value.
    """
    route, equals, directory = text.partition("=")
    route = unquote(route, errors="surrogateescape")
    if not (equals and route.startswith("/") and directory) or "\0" in text or "\0" in route:
        raise ValueError(f"must be {SYNTAX}")
    return Mount(route.rstrip("/") + "/", directory)


def check_cache_control(text: str) -> None:
    """Raises ValueError, in the words of `parse_mount`, for what may not be the value of Cache-Control."""
    if not _DIRECTIVES.fullmatch(text):
        raise ValueError(f"must be {CACHE_SYNTAX} (RFC 9111, section 5.2)")
