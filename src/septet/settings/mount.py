"""The syntax of the options that say what is served where: `--static` ROUTE=DIR and `--mount` ROUTE=APP, a path of the
URL and the directory or the application that answers there; `--root-path`, the path of the URL under which a proxy
publishes the server; and `--static-cache-control`, the Cache-Control field of static files.
"""

import re
from dataclasses import dataclass
from urllib.parse import unquote

APPLICATION = r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*"
"""A regular expression for MODULE:ATTRIBUTE."""

SYNTAX = "ROUTE=DIR with a ROUTE that begins with / and a DIR that exists"
MOUNT_SYNTAX = (
    "ROUTE=MODULE:ATTRIBUTE such as /api=shop.api:app, with () at the end if the attribute is to be called to get the "
    "application, and with wsgi: or asgi: before MODULE if its interface is not to be detected"
)
ROOT_SYNTAX = "a path that begins with / and does not end with it, such as /shop"
CACHE_SYNTAX = "cache directives such as public, max-age=3600"

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_DIRECTIVE = rf'{_TOKEN}(?:=(?:{_TOKEN}|"(?:[ !#-\[\]-~]|\\[ -~])*"))?'
_DIRECTIVES = re.compile(rf"{_DIRECTIVE}(?:, *{_DIRECTIVE})*")
"""Matches a value of Cache-Control (RFC 9111 section 5.2), on one line and in ASCII."""


@dataclass(frozen=True, slots=True)
class Mount:
    """A directory whose files are served under a route, as `--static` describes it.

    The route begins and ends with a slash, even if it was given without: then one `startswith` tells its paths from
    those of a route with the same beginning (`/static/` and `/static-old/`). It is percent-decoded: `/a b` and `/a%20b`
    are one route. Bytes that are not UTF-8 are surrogates (PEP 383).
    """

    route: str
    directory: str


@dataclass(frozen=True, slots=True)
class ApplicationMount:
    """An application that answers under a route, as `--mount` describes it.

    The route is percent-decoded, as that of `Mount`, and has no slash at its end.
    """

    route: str
    application: str
    """The application's name, MODULE:ATTRIBUTE."""
    interface: str
    """The application's interface: "auto", "wsgi" or "asgi"."""
    factory: bool
    """True if the attribute is called without arguments to get the application."""


_TARGET = re.compile(rf"(?:(?P<interface>wsgi|asgi):)?(?P<name>{APPLICATION})(?P<factory>\(\))?")


def parse_application_mount(text: str) -> ApplicationMount:
    """Return the mount that a value of `--mount` describes. Nothing is imported.

    Raises ValueError, whose text ("must be ...") completes the sentence about the value.
    """
    route, _, target = text.partition("=")
    found = _TARGET.fullmatch(target)
    if found is None:
        raise ValueError(f"must be {MOUNT_SYNTAX}")
    return ApplicationMount(
        parse_application_route(route), found["name"], found["interface"] or "auto", found["factory"] is not None
    )


def parse_application_route(text: str) -> str:
    """Return the ROUTE of a mounted application, percent-decoded and without a slash at its end. Raises ValueError."""
    route = unquote(text, errors="surrogateescape").rstrip("/")
    if not text.strip("/"):
        raise ValueError("must have a ROUTE such as /api: what has no other route is for APP")
    if not route.startswith("/") or "\0" in route:
        raise ValueError(f"must be {MOUNT_SYNTAX}")
    return route


def parse_root_path(text: str) -> str:
    """Return a value of `--root-path`, percent-decoded. Raises ValueError ("must be ...")."""
    path = unquote(text, errors="surrogateescape")
    if not path.startswith("/") or path.endswith("/") or path.startswith("//") or re.search(r"[\0?#]", text + path):
        raise ValueError(f"must be {ROOT_SYNTAX}")
    return path


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
