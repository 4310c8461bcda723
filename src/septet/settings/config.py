"""Every option of `septet serve`: its name, type, default, meaning and rule, each written here and nowhere else.

From the fields of `Config` are made the options of the command line, the SEPTET_* variables, the keys of
septet.toml, `--print-config` and the reference page: an option written in seven places disagrees with itself in
one of them. A new option is one new field. `Config` holds values and knows nothing of where they came from;
`sources` does. Rules that concern one value stand beside it, those that concern several are in `checks`.
"""

import os
import re
from dataclasses import dataclass

from septet import inventory
from septet.net.address import SPELLINGS, parse_address
from septet.proxies.trust import SYNTAX as PEERS
from septet.proxies.trust import UNIX, parse_peers
from septet.settings.extensions import OFFERED, parse_extensions
from septet.settings.extensions import SYNTAX as EXTENSIONS
from septet.settings.mount import CACHE_SYNTAX, SYNTAX, check_cache_control, parse_mount
from septet.settings.options import Number, OneOf, Option, Spelled, option, options_of

# Sections of the help and of the reference page.
_WHAT = "What to serve"
_WHERE = "Where to listen"
_MODEL = "Processes and threads"
_PROXIES = "Behind a proxy"
_LIMITS = "Limits of a request"
_DEADLINES = "Deadlines"
_LOGS = "Answers and logs"

_APPLICATION = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")
_FIELD_VALUE = re.compile(r"|[!-~]([ -~]*[!-~])?")  # RFC 9110, section 5.5, without obs-text

_COUNT = Number("a whole number", 1)
_LIMIT = Number("a whole number of bytes", 1)
# No deadline is finer than poll(2) and epoll_wait(2) can wait (1 ms), nor longer (2**31 ms are 24 days).
_SECONDS = Number("a number of seconds", 0.001, 1_000_000)


def _application(text: str) -> None:
    if not _APPLICATION.fullmatch(text):
        raise ValueError("must be MODULE:ATTRIBUTE, such as shop.web:app")


def _directory(text: str) -> None:
    if not os.path.isdir(text):  # unlike Path.is_dir, not raising for a path that no kernel takes
        raise ValueError("must be a directory that exists")


def _mount(text: str) -> None:
    if not os.path.isdir(parse_mount(text).directory):
        raise ValueError(f"must be {SYNTAX}")


def _log_file(text: str) -> None:
    if not text or "\0" in text or os.path.isdir(text):
        raise ValueError("must be the path of a file, or - for standard output")


def _file(text: str) -> None:
    if not text or "\0" in text or os.path.isdir(text):
        raise ValueError("must be the path of a file")


def _field_value(text: str) -> None:
    if not _FIELD_VALUE.fullmatch(text):
        raise ValueError("must be printable ASCII without blanks at its ends (RFC 9110, section 5.5)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What `septet serve` was asked to do; `checks` tell whether it makes sense.

    Sizes are bytes, deadlines seconds. Paths are relative to the working directory, wherever they were written.
    """

    app: str | None = option(
        None,
        _WHAT,
        "The application: a WSGI or ASGI callable, found as an attribute of a module.",
        rule=Spelled("MODULE:ATTRIBUTE, such as shop.web:app", _application),
        metavar="APP",
        unset="static files only",
    )
    factory: bool = option(False, _WHAT, "Call APP without arguments to get the application.", needs="app")
    interface: str = option(
        "auto",
        _WHAT,
        "The interface that the application speaks; auto looks at it.",
        rule=OneOf(lambda: ("auto", "wsgi", "asgi")),
        needs="app",
    )
    asgi_extensions: tuple[str, ...] = option(
        OFFERED,
        _WHAT,
        "Which extensions of ASGI the application is offered. With pathsend, Starlette and FastAPI send files "
        "uncompressed, GZipMiddleware or not. May be repeated.",
        rule=Spelled(EXTENSIONS, parse_extensions),
        metavar="NAMES",
        needs="app",
    )
    app_dir: str = option(
        ".",
        _WHAT,
        "Where modules are looked for first.",
        rule=Spelled("a directory that exists", _directory),
        metavar="DIR",
        needs="app",
    )
    static: tuple[str, ...] = option(
        (),
        _WHAT,
        "Serve the files of a directory under a path of the URL; may be repeated.",
        rule=Spelled(SYNTAX, _mount),
        metavar="ROUTE=DIR",
        unset="none",
    )
    static_cache_control: str | None = option(
        None,
        _WHAT,
        "The Cache-Control field of static files.",
        rule=Spelled(CACHE_SYNTAX, check_cache_control),
        metavar="TEXT",
        unset="no such field: browsers use their own judgement",
        needs="static",
    )

    bind: tuple[str, ...] = option(
        ("127.0.0.1:8000",),
        _WHERE,
        f"Where to listen: {SPELLINGS}; may be repeated. Port 0 lets the kernel choose one.",
        rule=Spelled(SPELLINGS, parse_address),
        metavar="ADDRESS",
    )
    backlog: int = option(
        4096,
        _WHERE,
        "How many connections may wait to be accepted, see listen(2); the kernel caps it at net.core.somaxconn.",
        rule=Number("a whole number", 1, 2**31 - 1),
        metavar="N",
    )

    model: str = option(
        "epoll",
        _MODEL,
        "The process model; `septet models` lists them.",
        rule=OneOf(inventory.names),
    )
    workers: int | None = option(
        None,
        _MODEL,
        "How many processes run the model side by side; not with forking, which has one per connection.",
        rule=_COUNT,
        metavar="N",
        unset="the model's own number",
    )
    threads: int | None = option(
        None,
        _MODEL,
        "prethreaded: threads in the pool. poll, epoll, io_uring: how many requests a WSGI application may have at the "
        "same time, each in a thread of its own if it waits; 0 runs it on the loop alone, for applications that never "
        "wait.",
        rule=Number("a whole number", 0),
        metavar="N",
        unset="eight for each CPU",
    )

    forwarded_allow_ips: tuple[str, ...] = option(
        ("127.0.0.1", "::1", UNIX),
        _PROXIES,
        "Proxies whose word about their clients is believed (X-Forwarded-For, -Proto and -Host, Forwarded, the PROXY "
        "protocol); from others such header fields are removed. unix: is everybody on a unix socket. May be repeated.",
        rule=Spelled(PEERS, parse_peers),
        metavar="PEERS",
    )
    forwarded_fields: str = option(
        "either",
        _PROXIES,
        "Which fields these proxies write; the others are removed, for they come from their clients. either: "
        "X-Forwarded-* where they are, else Forwarded.",
        rule=OneOf(lambda: ("either", "x-forwarded", "forwarded")),
    )
    proxy_protocol: bool = option(
        False,
        _PROXIES,
        "Each connection from these proxies begins with a header of the PROXY protocol, version 1 or 2; other peers "
        "speak HTTP at once.",
    )
    underscore_headers: str = option(
        "drop",
        _PROXIES,
        "What becomes of header fields with an underscore in the name, which WSGI cannot tell from a hyphen; "
        "refuse answers 400.",
        rule=OneOf(lambda: ("drop", "refuse", "allow")),
    )

    limit_request_line: int = option(
        8192, _LIMITS, "Longest request line; a longer one is answered 414.", rule=_LIMIT, metavar="BYTES"
    )
    limit_header_block: int = option(
        65536, _LIMITS, "Largest header block of a request; a larger one is answered 431.", rule=_LIMIT, metavar="BYTES"
    )
    limit_header_count: int = option(
        100, _LIMITS, "Most header fields of a request; more are answered 431.", rule=_COUNT, metavar="N"
    )
    limit_body: int = option(
        0,
        _LIMITS,
        "Largest body of a request; a larger one is answered 413. 0 is no limit.",
        rule=Number("a whole number of bytes", 0),
        metavar="BYTES",
    )

    limit_spool: int = option(
        1 << 30,
        _LIMITS,
        "poll, epoll, io_uring with WSGI: most bytes of bodies and answers in temporary files, in all processes "
        "together. A body that finds no room is answered 503, one that is larger alone 413; an answer waits. 0 is no "
        "limit.",
        rule=Number("a whole number of bytes", 0),
        metavar="BYTES",
    )

    limit_concurrency: int = option(
        0,
        _LIMITS,
        "Most requests in flight at the same time, in all processes together; what comes beyond is answered 503. "
        "Connections without a request do not count. 0 is no limit.",
        rule=Number("a whole number", 0),
        metavar="N",
    )

    keep_alive_timeout: float = option(
        75.0, _DEADLINES, "For the first byte of the first or the next request.", rule=_SECONDS, metavar="SECONDS"
    )
    header_timeout: float = option(
        30.0, _DEADLINES, "From a request's first byte to the end of its header.", rule=_SECONDS, metavar="SECONDS"
    )
    body_timeout: float = option(
        30.0, _DEADLINES, "Waiting for a request's body; progress wins it back.", rule=_SECONDS, metavar="SECONDS"
    )
    write_timeout: float = option(
        30.0, _DEADLINES, "Waiting for the client to read; progress wins it back.", rule=_SECONDS, metavar="SECONDS"
    )
    min_rate: int = option(
        240,
        _DEADLINES,
        "How many bytes, of a body or of an answer, win a second of its time back, up to the whole time: "
        "a client that is slower for long is cut off. With 0 any progress wins back all.",
        rule=Number("a whole number of bytes a second", 0),
        metavar="BYTES",
    )
    graceful_timeout: float = option(
        30.0, _DEADLINES, "For requests in flight when the server is told to stop.", rule=_SECONDS, metavar="SECONDS"
    )

    server_header: str = option(
        "septet",
        _LOGS,
        "The Server field of every answer; empty leaves it out.",
        rule=Spelled("printable ASCII without blanks at its ends", _field_value),
        metavar="TEXT",
    )
    date_header: bool = option(
        True, _LOGS, "Give every answer a Date field. RFC 9110 wants one of whoever has a clock; a proxy may add it."
    )
    access_log: str | None = option(
        None,
        _LOGS,
        "Write a line for each answer to this file, or to standard output if it is -.",
        rule=Spelled("the path of a file, or - for standard output", _log_file),
        metavar="FILE",
        unset="no access log",
    )
    span_log: str | None = option(
        None,
        _LOGS,
        "Write when each request began, had its turns and ended to this file, for pictures of it; see `septet trace`.",
        rule=Spelled("the path of a file", _file),
        metavar="FILE",
        unset="no span log",
    )
    metrics_interval: float = option(
        0.0,
        _LOGS,
        "Every so many seconds each process logs a line about how busy it is; not with forking, whose processes end "
        "with their client. 0 is never.",
        rule=Number("a number of seconds", 0, 1_000_000),
        metavar="SECONDS",
    )
    log_level: str = option(
        "info",
        _LOGS,
        "The least severe message that is logged, to standard error.",
        rule=OneOf(lambda: ("debug", "info", "warning", "error")),
    )


OPTIONS: tuple[Option, ...] = options_of(Config)
