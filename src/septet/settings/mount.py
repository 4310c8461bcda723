"""The syntax of the options for static files: `--static` ROUTE=DIR, a path of the URL and the directory whose files are
served there, and `--static-cache-control`, the Cache-Control field of these files.
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
    """A directory whose files are served under a route.

    The route begins and ends with a slash, even if it was given without: then one `startswith` tells its paths from
    those of a route with the same beginning (`/static/` and `/static-old/`). It is percent-decoded: `/a b` and `/a%20b`
    are one route. Bytes that are not UTF-8 are surrogates (PEP 383).
    """

    route: str
    directory: str


def parse_mount(text: str) -> Mount:
    """Return the mount that `text` describes. Whether DIR exists is not checked.

    Raises ValueError, whose text ("must be ...") completes the sentence about the value.
    """
    route, equals, directory = text.partition("=")
    route = unquote(route, errors="surrogateescape")
    if not (equals and route.startswith("/") and directory) or "\0" in text or "\0" in route:
        raise ValueError(f"must be {SYNTAX}")
    return Mount(route.rstrip("/") + "/", directory)


def check_cache_control(text: str) -> None:
    """Raise ValueError ("must be ...") for text that is not a value of Cache-Control."""
    if not _DIRECTIVES.fullmatch(text):
        raise ValueError(f"must be {CACHE_SYNTAX} (RFC 9111, section 5.2)")
