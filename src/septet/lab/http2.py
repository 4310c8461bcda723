"""HTTP/2 in a measurement: the options --http2 and --streams, and the check that no option excludes them."""

from __future__ import annotations

from typing import Any

from septet.errors import UsageError
from septet.lab import profiles
from septet.lab.load import LoadError, check_http2

STREAMS = 10
"""Over HTTP/2: number of users who share a connection, each of them one stream of it, if --streams is not given."""
HELP = "HTTP/2 on kept connections: with --tls by ALPN, else in clear (needs the extra [http2])."
LOAD_HELP = "HTTP/2: with https by ALPN, in clear by prior knowledge (needs the extra [http2])."
STREAMS_HELP = f"--http2: users who share a connection, each of them one stream of it.  [default: {STREAMS}]"


def streams(http2: bool, number: int | None) -> int:
    """Return how many users share a connection, each of them one stream of it, from the values of --http2 and
    --streams; 0 without HTTP/2.
    """
    if number is not None and not http2:
        raise UsageError("--streams: they are those of a connection of --http2, so take that as well")
    return (number or STREAMS) if http2 else 0


def mode(http2: bool) -> str:
    """Return how the users of `septet bench` connect if no option says how: over HTTP/2 "keep-alive", else "close",
    which is a new connection for each request.
    """
    return "keep-alive" if http2 else "close"


def check(options: dict[str, Any]) -> None:
    """Raise UsageError if --http2 is given together with options of `septet bench` that exclude it, or if the library
    for HTTP/2 is not installed.
    """
    if not streams(options["http2"], options["streams"]):
        return
    for name in ("drill", "trace"):
        if options[name]:
            raise UsageError(f"--{name}: it speaks HTTP/1.1, so not with --http2")
    if options["mode"] in ("close", "http10"):
        raise UsageError(f"--{options['mode']}: over HTTP/2 users keep their connections")
    pages = profiles.PAGES if options["profile"] == profiles.TWO_PAGES else [options["profile"]]
    if any(profiles.profile(name).mode != "keep-alive" for name in pages if name):
        raise UsageError(f"--profile {options['profile']}: its users connect anew for requests, so not with --http2")
    try:
        check_http2()
    except LoadError as error:
        raise UsageError(str(error)) from None
