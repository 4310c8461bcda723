"""Every option of `septet serve`: its name, type, default, meaning and rule, each written here and nowhere else.

The options of the command line, the SEPTET_* variables, the keys of septet.toml, the keywords of `septet.run`,
`--print-config` and the reference page are all made from the fields of `Config`, so they cannot disagree. A new option
is one new field. `Config` holds values; `sources` collects them and records where each came from. A rule about one
value is written in its field; rules about several are in `checks`.
"""

import os
import re
from dataclasses import dataclass

from septet import inventory
from septet.accounts import GROUP, UMASK, USER, group_id, parse_umask, user_id
from septet.log_format import SYNTAX as FORMATS
from septet.log_format import formatter
from septet.net.address import SPELLINGS, parse_address
from septet.proxies.trust import SYNTAX as PEERS
from septet.proxies.trust import UNIX, parse_peers
from septet.settings.extensions import OFFERED, parse_extensions
from septet.settings.extensions import SYNTAX as EXTENSIONS
from septet.settings.http_versions import SYNTAX as VERSIONS
from septet.settings.http_versions import parse_versions
from septet.settings.mount import (
    APPLICATION,
    CACHE_SYNTAX,
    MOUNT_SYNTAX,
    ROOT_SYNTAX,
    SYNTAX,
    check_cache_control,
    parse_application_mount,
    parse_mount,
    parse_root_path,
)
from septet.settings.options import Number, OneOf, Option, Spelled, option, options_of
from septet.settings.units import OF_BYTES, OF_TIME, parse_size
from septet.settings.units import SYNTAX as SIZES
from septet.settings.workers import CountOrRange, WorkerCount

# Sections of the help and of the reference page.
_WHAT = "What to serve"
_WHERE = "Where to listen"
_TLS = "TLS"
_MODEL = "Processes and threads"
_PROXIES = "Behind a proxy"
_LIMITS = "Limits of a request"
_DEADLINES = "Deadlines"
_WEBSOCKET = "WebSocket"
_LOGS = "Answers and logs"

_APPLICATION = re.compile(APPLICATION)
_FIELD_NAME = re.compile(r"[!#$%&'*+.^`|~0-9A-Za-z-]+")  # without an underscore, which WSGI cannot tell from a hyphen
_FIELD_VALUE = re.compile(r"|[!-~]([ -~]*[!-~])?")  # RFC 9110, section 5.5, without obs-text

_COUNT = Number("a whole number", 1)
_LIMIT = Number("a whole number of bytes", 1, units=OF_BYTES)
# The shortest and the longest time that poll(2) and epoll_wait(2) can wait: 1 ms, and 2**31 ms, which are 24 days.
_SECONDS = Number("a number of seconds", 0.001, 1_000_000, OF_TIME)


def _application(text: str) -> None:
    if not _APPLICATION.fullmatch(text):
        raise ValueError("must be MODULE:ATTRIBUTE, such as shop.web:app")


def _directory(text: str) -> None:
    if not os.path.isdir(text):  # Path.is_dir raises for a path that holds a NUL byte
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


def _regular_file(text: str) -> None:
    """For a file that is replaced (that would be the end of /dev/null) or read by several processes (each of which
    would wait at a named pipe).
    """
    if not text or "\0" in text or (os.path.exists(text) and not os.path.isfile(text)):
        raise ValueError("must be the path of a regular file")


def _socket_path(text: str) -> None:
    if not text or text.startswith("@") or "?" in text:
        raise ValueError("must be the path of a unix socket, of at most 107 bytes")
    parse_address(f"unix:{text}")


_PLAIN = SPELLINGS.replace("https://HOST:PORT, ", "")
"""The forms that the address of a listener without TLS may have, in words, for help and error messages."""


def _plain_address(text: str) -> None:
    try:
        address = parse_address(text)
    except ValueError as error:
        raise ValueError(str(error).replace(SPELLINGS, _PLAIN)) from None
    if address.tls:
        raise ValueError(f"must be {_PLAIN}: no TLS is spoken there")


def _path(text: str) -> None:
    if not text.startswith("/"):
        raise ValueError("must be a path that begins with /")


def _field_name(text: str) -> None:
    if not _FIELD_NAME.fullmatch(text):
        raise ValueError("must be the name of a header field, such as X-Request-ID (RFC 9110, section 5.1)")


def _pattern(text: str) -> None:
    if not text:
        raise ValueError("must be a pattern such as build or *_test.py")


def _field_value(text: str) -> None:
    if not _FIELD_VALUE.fullmatch(text):
        raise ValueError("must be printable ASCII without blanks at its ends (RFC 9110, section 5.5)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The values of all options of `septet serve`. `checks.check` raises UsageError unless they are allowed.

    Sizes are bytes, deadlines seconds. Paths are relative to the working directory, whichever source they came from.
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
        "The interface of the application. auto: detected from the callable.",
        rule=OneOf(lambda: ("auto", "wsgi", "asgi")),
        needs="app",
    )
    asgi_extensions: tuple[str, ...] = option(
        OFFERED,
        _WHAT,
        "ASGI extensions that the application is offered. With pathsend, Starlette and FastAPI send files "
        "uncompressed, even with GZipMiddleware. May be repeated.",
        rule=Spelled(EXTENSIONS, parse_extensions),
        metavar="NAMES",
        needs="app mount",
    )
    app_dir: str = option(
        ".",
        _WHAT,
        "Directory in which modules are looked for first.",
        rule=Spelled("a directory that exists", _directory),
        metavar="DIR",
        needs="app mount",
    )
    mount: tuple[str, ...] = option(
        (),
        _WHAT,
        "Serve another application under a path of the URL; it is told which (SCRIPT_NAME, root_path). The longest "
        "route wins. What has no route is for APP, or answered 404. May be repeated.",
        rule=Spelled(MOUNT_SYNTAX, parse_application_mount),
        metavar="ROUTE=APP",
        unset="none",
    )
    static: tuple[str, ...] = option(
        (),
        _WHAT,
        "Serve the files of a directory under a path of the URL. May be repeated.",
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
        unset="no such field: caches decide by themselves",
        needs="static",
    )

    bind: tuple[str, ...] = option(
        ("127.0.0.1:8000",),
        _WHERE,
        f"Address to listen at: {SPELLINGS}. May be repeated. http://: without TLS, https://: with it. Port 0: the "
        "kernel chooses a port. unix:PATH?mode=660&user=USER&group=GROUP gives rights to the socket's file; unix:@NAME "
        "has no file (unix(7)). fd://NAME: the sockets that a service manager hands over by this name.",
        rule=Spelled(SPELLINGS, parse_address),
        metavar="ADDRESS",
    )
    backlog: int = option(
        4096,
        _WHERE,
        "Connections that may wait to be accepted, see listen(2). The kernel limits it to net.core.somaxconn.",
        rule=Number("a whole number", 1, 2**31 - 1),
        metavar="N",
    )

    tls_certificate: tuple[str, ...] = option(
        (),
        _TLS,
        "Speak TLS, with the certificate and its chain in this PEM file: at the addresses of --bind with https://, or, "
        "if there are none, at all but those with http://. May be repeated, each with its --tls-key: the name that a "
        "client asks for (SNI) chooses, and the first is for all other clients.",
        rule=Spelled("the path of a file", _file),
        metavar="FILE",
        unset="no TLS",
    )
    tls_key: tuple[str, ...] = option(
        (),
        _TLS,
        "The certificate's private key, in PEM. Repeated in the order of the certificates.",
        rule=Spelled("the path of a file", _file),
        metavar="FILE",
        unset="the keys are in the files of the certificates",
        needs="tls_certificate",
    )
    tls_key_password_file: tuple[str, ...] = option(
        (),
        _TLS,
        "The first line of this file is the key's password. Repeated in the order of the keys; one is for all of them.",
        rule=Spelled("the path of a file", _file),
        metavar="FILE",
        unset="the keys are not encrypted",
        needs="tls_key",
    )
    tls_client_ca: str | None = option(
        None,
        _TLS,
        "Certificates of the authorities whose clients' certificates are accepted, in PEM.",
        rule=Spelled("the path of a file", _file),
        metavar="FILE",
        unset="clients are not asked for a certificate",
        needs="tls_certificate",
    )
    tls_client_auth: str = option(
        "none",
        _TLS,
        "Whether clients have to show a certificate. optional: a client without one is served as well.",
        rule=OneOf(lambda: ("none", "optional", "required")),
        needs="tls_certificate",
    )
    tls_crl: str | None = option(
        None,
        _TLS,
        "Lists of revoked certificates (CRL), in PEM, of every authority in --tls-client-ca. A file with certificates "
        "in it is refused: those of authorities are for --tls-client-ca.",
        rule=Spelled("the path of a file", _file),
        metavar="FILE",
        unset="no certificate of a client is taken for revoked",
        needs="tls_client_ca",
    )
    tls_min_version: str = option(
        "1.2", _TLS, "The oldest version of TLS.", rule=OneOf(lambda: ("1.2", "1.3")), needs="tls_certificate"
    )
    tls_ciphers: str = option(
        "ECDHE+AESGCM:ECDHE+CHACHA20",
        _TLS,
        "Ciphers of TLS 1.2, in OpenSSL's syntax (openssl-ciphers(1)). TLS 1.3 has its own.",
        rule=Spelled("a list of ciphers that OpenSSL knows", _field_value),
        metavar="CIPHERS",
        needs="tls_certificate",
    )
    tls_watch: bool = option(
        False,
        _TLS,
        "Load the files of TLS anew when they have changed, without a restart. They are looked at when a client comes, "
        "once a second at most. A file that cannot be used is named in the log, and those before stay in use.",
        needs="tls_certificate",
    )

    http: str = option(
        "auto",
        _TLS,
        "Versions of HTTP that clients are offered (ALPN), the preferred one first: h2 is HTTP/2, h1 is HTTP/1.1. "
        "auto: h2,h1 if the extra septet[http2] is installed, else h1.",
        rule=Spelled(VERSIONS, parse_versions),
        metavar="VERSIONS",
        needs="tls_certificate",
    )
    http2_cleartext: bool = option(
        False,
        _WHERE,
        "Speak HTTP/2 without TLS, too, with clients that begin with it (prior knowledge), such as proxies and gRPC; "
        "needs the extra septet[http2]. Others are served by HTTP/1.1.",
    )

    model: str = option(
        "epoll",
        _MODEL,
        "The process model; `septet models` lists them. interpreters is experimental.",
        rule=OneOf(inventory.names),
    )
    workers: WorkerCount | None = option(  # noqa: RUF009 - it gives a field, and nothing that changes
        None,
        _MODEL,
        "Number of processes that run the model; MIN-MAX: it follows how busy they are. Not for forking, which has a "
        "process for each connection.",
        rule=CountOrRange(),
        metavar="N|MIN-MAX",
        unset="the model's own number",
    )
    threads: int | None = option(
        None,
        _MODEL,
        "prethreaded: threads in the pool. interpreters (experimental): interpreters in the pool, of one thread each. "
        "poll, epoll, io_uring: WSGI requests in progress at the same time, in each "
        "process; 0: run WSGI applications in the event loop itself, which is for applications that never wait.",
        rule=Number("a whole number", 0),
        metavar="N",
        unset="eight for each CPU; interpreters: two for each, and one",
    )
    loops: int | None = option(
        None,
        _MODEL,
        "poll, epoll, io_uring: event loops in each process, each in a thread of its own; they share the application "
        "and its memory. Its lifespan runs once on each loop. For a Python without a global lock (the GIL).",
        rule=Number("a whole number", 1),
        metavar="N",
        unset="one",
    )

    supervisor: bool = option(
        True,
        _MODEL,
        "Have a process above the server that runs no code of the application: it loads the application anew at HUP, "
        "and replaces what has died. Not under septet.run and septet.Server.",
    )
    startup_timeout: float = option(
        60.0,
        _MODEL,
        "Time that the application has to start when an older process of it serves meanwhile. Then the older one goes "
        "on, and the log says so. A first start has no limit.",
        rule=_SECONDS,
        metavar="SECONDS",
        needs="supervisor",
    )

    user: str | None = option(
        None,
        _MODEL,
        "Run the application as this user, with its groups, if root starts the server. Addresses are opened, and "
        "certificates read, before; the supervisor stays root. Not under septet.run and septet.Server.",
        rule=Spelled(USER, user_id),
        metavar="USER",
        unset="the user who starts the server",
    )
    group: str | None = option(
        None,
        _MODEL,
        "Run the application with this group in place of the first one of --user. Not under septet.run and "
        "septet.Server.",
        rule=Spelled(GROUP, group_id),
        metavar="GROUP",
        unset="the first group of --user",
    )
    umask: str | None = option(
        None,
        _MODEL,
        "Rights that files are made without, the application's and those of unix sockets included. Not under "
        "septet.run and septet.Server.",
        rule=Spelled(UMASK, parse_umask),
        metavar="OCTAL",
        unset="that of the program that starts the server",
    )
    pid_file: str | None = option(
        None,
        _MODEL,
        "Write the pid of the first process to this file, which is removed at the end. Refused if it names another "
        "process that runs. Not under septet.run and septet.Server.",
        rule=Spelled("the path of a regular file", _regular_file),
        metavar="FILE",
        unset="no such file",
    )

    reload: bool = option(
        False,
        _MODEL,
        "For development: load the application anew when a file .py or .toml has changed. While the newest code does "
        "not run, the old code goes on, and browsers see the error. Needs the extra septet[reload].",
        needs="supervisor",
    )
    reload_dir: tuple[str, ...] = option(
        (),
        _MODEL,
        "Directory to watch in place of --app-dir. May be repeated.",
        rule=Spelled("a directory that exists", _directory),
        metavar="DIR",
        unset="that of --app-dir",
        needs="reload",
    )
    reload_include: tuple[str, ...] = option(
        (),
        _MODEL,
        "Other files whose changes count, beside .py and .toml: a pattern of a path in that directory, or of one of "
        "its names, such as *.html or templates. --reload-exclude has precedence. May be repeated.",
        rule=Spelled("a pattern such as *.html or templates", _pattern),
        metavar="PATTERN",
        unset="none",
        needs="reload",
    )
    reload_exclude: tuple[str, ...] = option(
        (),
        _MODEL,
        "Paths whose changes do not count: a pattern of a path in that directory, or of one of its names, such as "
        "build or *_test.py. May be repeated.",
        rule=Spelled("a pattern such as build or *_test.py", _pattern),
        metavar="PATTERN",
        unset="none",
        needs="reload",
    )
    max_requests: int = option(
        0,
        _MODEL,
        "Replace a process after so many requests. The replacement is ready before the old one takes no more. 0: "
        "never.",
        rule=Number("a whole number", 0),
        metavar="N",
    )
    max_requests_jitter: int = option(
        0,
        _MODEL,
        "Add up to so many requests to --max-requests, at random for each process.",
        rule=Number("a whole number", 0),
        metavar="N",
        needs="max_requests",
    )
    max_worker_memory: str | None = option(
        None,
        _MODEL,
        "Replace a process that uses more memory (proportional set size, looked at every 5 s; up to a tenth is added, "
        "at random).",
        rule=Spelled(SIZES, parse_size),
        metavar="SIZE",
        unset="no limit",
    )
    max_worker_age: float = option(
        0.0,
        _MODEL,
        "Replace a process that is older (up to a tenth is added, at random). 0: never.",
        rule=Number("a number of seconds", 0, 1_000_000_000, OF_TIME),
        metavar="SECONDS",
    )

    forwarded_allow_ips: tuple[str, ...] = option(
        ("127.0.0.1", "::1", UNIX),
        _PROXIES,
        "Proxies that are trusted to name their client (X-Forwarded-For, -Proto and -Host, Forwarded, the PROXY "
        "protocol). From other peers these header fields are removed. unix: means all peers on unix sockets. May be "
        "repeated.",
        rule=Spelled(PEERS, parse_peers),
        metavar="PEERS",
    )
    forwarded_fields: str = option(
        "either",
        _PROXIES,
        "Header fields that these proxies write. The other kind is removed, because it comes from the proxy's client. "
        "either: X-Forwarded-* where there are any, else Forwarded.",
        rule=OneOf(lambda: ("either", "x-forwarded", "forwarded")),
    )
    proxy_protocol: bool = option(
        False,
        _PROXIES,
        "Expect a header of the PROXY protocol, version 1 or 2, at the beginning of each connection from these "
        "proxies. Other peers begin with HTTP.",
    )
    root_path: str | None = option(
        None,
        _PROXIES,
        "Path of the URL under which a proxy publishes this server. Applications are told, and put it before the "
        "paths of their links (SCRIPT_NAME, root_path).",
        rule=Spelled(ROOT_SYNTAX, parse_root_path),
        metavar="PATH",
        unset="none",
    )
    root_path_kept: bool = option(
        False,
        _PROXIES,
        "The proxy leaves that path in the requests, and one without it is answered 404. Else the proxy takes it off.",
        needs="root_path",
    )
    underscore_headers: str = option(
        "drop",
        _PROXIES,
        "What to do with header fields that have an underscore in the name, which WSGI cannot tell from a hyphen. "
        "drop: remove them. refuse: answer 400. allow: keep them.",
        rule=OneOf(lambda: ("drop", "refuse", "allow")),
    )

    limit_request_line: int = option(
        8192, _LIMITS, "Longest request line. A longer one is answered 414.", rule=_LIMIT, metavar="BYTES"
    )
    limit_header_block: int = option(
        65536, _LIMITS, "Largest header block of a request. A larger one is answered 431.", rule=_LIMIT, metavar="BYTES"
    )
    limit_header_count: int = option(
        100, _LIMITS, "Most header fields of a request. More are answered 431.", rule=_COUNT, metavar="N"
    )
    limit_body: int = option(
        0,
        _LIMITS,
        "Largest body of a request. A larger one is answered 413. 0: no limit.",
        rule=Number("a whole number of bytes", 0, units=OF_BYTES),
        metavar="BYTES",
    )

    limit_spool: int = option(
        1 << 30,
        _LIMITS,
        "poll, epoll, io_uring with WSGI: most bytes of bodies and answers in temporary files, in all processes "
        "together. A body for which there is no room is answered 503, one that is larger than the limit 413. An answer "
        "waits for room. 0: no limit.",
        rule=Number("a whole number of bytes", 0, units=OF_BYTES),
        metavar="BYTES",
    )

    limit_concurrency: int = option(
        0,
        _LIMITS,
        "Most requests in flight at the same time, in all processes together. Further requests are answered 503. "
        "Connections without a request do not count. 0: no limit.",
        rule=Number("a whole number", 0),
        metavar="N",
    )

    tls_handshake_timeout: float = option(
        10.0,
        _DEADLINES,
        "Time for a client to connect and to complete the TLS handshake.",
        rule=_SECONDS,
        metavar="SECONDS",
        needs="tls_certificate",
    )
    keep_alive_timeout: float = option(
        75.0, _DEADLINES, "Time for the first byte of the first or the next request.", rule=_SECONDS, metavar="SECONDS"
    )
    header_timeout: float = option(
        30.0, _DEADLINES, "Time from a request's first byte to the end of its header.", rule=_SECONDS, metavar="SECONDS"
    )
    body_timeout: float = option(
        30.0,
        _DEADLINES,
        "Longest wait for a request's body. Progress extends it, see --min-rate.",
        rule=_SECONDS,
        metavar="SECONDS",
    )
    write_timeout: float = option(
        30.0,
        _DEADLINES,
        "Longest wait for a client to read. Progress extends it, see --min-rate.",
        rule=_SECONDS,
        metavar="SECONDS",
    )
    min_rate: int = option(
        240,
        _DEADLINES,
        "Minimum transfer rate in bytes/s: each so many bytes of a body or an answer extend its deadline by one "
        "second, up to the full timeout. A client that is slower for long is cut off. 0: any progress restarts the "
        "timeout.",
        rule=Number("a whole number of bytes a second", 0, units=OF_BYTES),
        metavar="BYTES",
    )
    graceful_timeout: float = option(
        30.0,
        _DEADLINES,
        "Time that requests in flight have to end when the server is told to stop.",
        rule=_SECONDS,
        metavar="SECONDS",
    )

    request_timeout: float = option(
        0.0,
        _DEADLINES,
        "Time that an application has for a whole answer, from the request's complete header, or after a body from its "
        "call. Then the client is answered 504, or its stream is cut; the log has the stacks of all threads and tasks; "
        "an ASGI application is cancelled; a thread that does not end costs its worker. 0: no limit.",
        rule=Number("a number of seconds", 0, 1_000_000, OF_TIME),
        metavar="SECONDS",
    )

    worker_timeout: float = option(
        0.0,
        _DEADLINES,
        "Time for which the event loop of a worker, or its interpreter where there is no loop, may stand still. Then "
        "the worker's stacks are logged, and it is ended and replaced. 0: no limit.",
        rule=Number("a number of seconds", 0, 1_000_000, OF_TIME),
        metavar="SECONDS",
    )

    ws: str = option(
        "auto",
        _WEBSOCKET,
        "Whether an ASGI application is offered WebSockets. auto: if the extra septet[websocket] is installed. none: a "
        "request for one is served as an ordinary request.",
        rule=OneOf(lambda: ("auto", "none")),
    )
    ws_max_message: int = option(
        16 << 20,
        _WEBSOCKET,
        "Longest message that a client may send, after it is expanded. A longer one is answered 1009.",
        rule=_LIMIT,
        metavar="BYTES",
    )
    ws_deflate: bool = option(
        True,
        _WEBSOCKET,
        "Compress messages for clients that offer permessage-deflate, with a window of 4 KiB. It costs 32 KiB of "
        "memory for each connection that is not idle.",
    )
    ws_ping_interval: float = option(
        20.0,
        _WEBSOCKET,
        "Send a ping to a client from which nothing has come for so long. 0: never.",
        rule=Number("a number of seconds", 0, 1_000_000, OF_TIME),
        metavar="SECONDS",
    )
    ws_ping_timeout: float = option(
        20.0,
        _WEBSOCKET,
        "Close the connection if nothing comes in answer to a ping for so long.",
        rule=_SECONDS,
        metavar="SECONDS",
    )

    server_header: str = option(
        "septet",
        _LOGS,
        "The Server field of every answer. Empty: no such field.",
        rule=Spelled("printable ASCII without blanks at its ends", _field_value),
        metavar="TEXT",
    )
    date_header: bool = option(
        True, _LOGS, "Give every answer a Date field, which RFC 9110 requires. Without it a proxy has to add one."
    )
    access_log: str | None = option(
        None,
        _LOGS,
        "Write a line for each answer to this file. -: to standard output. logger: to the logger septet.access, see "
        "--log-config.",
        rule=Spelled("the path of a file, or - for standard output", _log_file),
        metavar="FILE",
        unset="no access log",
    )
    access_log_format: str = option(
        "common",
        _LOGS,
        "Format of these lines: common and combined as in NCSA httpd with the duration in microseconds, json, or a "
        "template with the fields of the access log in braces, or with gunicorn's atoms.",
        rule=Spelled(FORMATS, formatter),
        metavar="FORMAT",
        needs="access_log",
    )
    access_log_exclude: tuple[str, ...] = option(
        (),
        _LOGS,
        "Paths of requests that are not written to the access log, such as /healthz; one that ends with * stands for "
        "all that begin so. May be repeated.",
        rule=Spelled("a path that begins with /", _path),
        metavar="PATH",
        unset="none",
        needs="access_log",
    )
    request_id: str | None = option(
        None,
        _LOGS,
        "Give each request an id in this header field, such as X-Request-ID: that of a trusted proxy, else a new one. "
        "The application sees it, the answer has it, and so has the access log.",
        rule=Spelled("the name of a header field", _field_name),
        metavar="NAME",
        unset="no ids",
    )
    server_timing: bool = option(
        False,
        _LOGS,
        "Add the field Server-Timing to answers: how long the request waited, and how long the application took.",
    )
    span_log: str | None = option(
        None,
        _LOGS,
        "Write to this file when each request began and ended, and when the application ran for it. `septet trace` "
        "draws pictures of it.",
        rule=Spelled("the path of a file", _file),
        metavar="FILE",
        unset="no span log",
    )
    metrics_interval: float = option(
        0.0,
        _LOGS,
        "Interval at which each process logs how busy it is. Not for forking, whose processes end with their client. "
        "0: never.",
        rule=Number("a number of seconds", 0, 1_000_000, OF_TIME),
        metavar="SECONDS",
    )
    metrics_bind: str | None = option(
        None,
        _LOGS,
        f"Answer /metrics (Prometheus), /healthz, /readyz, /status.json and a page for the operator at this address: "
        f"{_PLAIN}. Whoever reaches it may read: choose 127.0.0.1, or an address that only your own programs reach.",
        rule=Spelled(_PLAIN, _plain_address),
        metavar="ADDRESS",
        unset="nothing is counted",
    )
    control: str | None = option(
        None,
        _LOGS,
        "Take orders on a unix socket at this path, from the user of the server and from root: see septet control. "
        "septet status and septet top ask there as well.",
        rule=Spelled("the path of a unix socket, of at most 107 bytes", _socket_path),
        metavar="PATH",
        unset="no such socket",
    )
    log_level: str = option(
        "info",
        _LOGS,
        "Lowest level of the messages that are logged, to standard error.",
        rule=OneOf(lambda: ("debug", "info", "warning", "error")),
    )
    log_format: str = option(
        "text",
        _LOGS,
        "Format of these messages.",
        rule=OneOf(lambda: ("text", "json")),
    )
    log_config: str | None = option(
        None,
        _LOGS,
        "Configure logging by this file besides, in TOML or, if its name ends with .json, in JSON, as "
        "logging.config.dictConfig has it.",
        rule=Spelled("the path of a regular file", _regular_file),
        metavar="FILE",
        unset="messages go to standard error",
    )


OPTIONS: tuple[Option, ...] = options_of(Config)
