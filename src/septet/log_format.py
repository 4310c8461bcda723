r"""The formats of the access log: `common`, `combined`, `json`, or a template.

A template is text with fields in braces, `{client} {status} {total_us}`, or with gunicorn's atoms, `%(h)s %(s)s %(D)s`;
a template may mix both. FIELDS, ATOMS and _OTHER_ATOMS list the names that are allowed. In addition a header field of
the request or the answer may be named: `{request:user-agent}`, `%({user-agent}i)s`, `{response:content-type}`.

What a client has sent cannot forge a line or end its quotation marks: bytes outside of printable ASCII, quotation marks
and backslashes are written as \xHH, \" and \\ (in JSON as JSON escapes them).
"""

import json
import os
import re
import threading
import time
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

from septet.exchange import Request

COMMON = '{client} - - [{time}] "{request}" {status} {bytes} {total_us}'
"""The template of `common`: the common log format of NCSA httpd, followed by the duration."""
COMBINED = '{client} - - [{time}] "{request}" {status} {bytes} "{referer}" "{user_agent}" {total_us}'
JSON = "json"
PRESETS = {"common": COMMON, "combined": COMBINED}

SYNTAX = "common, combined, json, or a template such as '{client} {request} {status} {total_us}'"


class Entry(NamedTuple):
    """One answer that is to be logged."""

    exchange: Any
    request: Request
    status: int
    complete: bool
    """True if the whole answer was sent."""
    time_s: float
    """When the answer ended, in seconds since 1970."""
    now_ns: int
    """When the answer ended, in nanoseconds of CLOCK_MONOTONIC."""
    began_ns: int | None
    """When the head of the request was complete, in nanoseconds of CLOCK_MONOTONIC; None if no valid request was
    received.
    """


Value = str | int | float | bool | None
"""The value of a field. Text is not escaped yet. None: the value is not known."""
Field = Callable[[Entry], Value]
"""A function that returns a field's value for an Entry."""


def _peer(entry: Entry) -> tuple[str, int] | None:
    return entry.request.client or entry.exchange.client


def _client(entry: Entry) -> Value:
    peer = _peer(entry)
    return peer[0] if peer else None


def _port(entry: Entry) -> Value:
    peer = _peer(entry)
    return peer[1] or None if peer else None


def _line(entry: Entry) -> Value:
    request = entry.request
    return f"{request.method} {_target(entry)} HTTP/{request.version}" if request.target else None


def _target(entry: Entry) -> Value:
    return entry.request.target.decode("latin-1") or None


def _of_request(name: bytes) -> Field:
    def field(entry: Entry) -> Value:
        values = [value for key, value in entry.request.fields if key == name]
        return b", ".join(values).decode("latin-1") if values else None

    return field


def _of_response(name: bytes) -> Field:
    def field(entry: Entry) -> Value:
        head = getattr(entry.exchange, "response_head", None)
        values = [value for key, value in head.fields if key.lower() == name] if head else ()
        return b", ".join(values).decode("latin-1") if values else None

    return field


def _took_ns(entry: Entry) -> int | None:
    return None if entry.began_ns is None else entry.now_ns - entry.began_ns


def _in(unit_ns: int) -> Field:
    def field(entry: Entry) -> Value:
        took = _took_ns(entry)
        return None if took is None else took // unit_ns

    return field


def _seconds(entry: Entry) -> Value:
    took = _took_ns(entry)
    return None if took is None else round(took / 1e9, 6)


def _between(first: str | None, last: str | None) -> Field:
    """Return the field that gives the microseconds between two instants. `first` and `last` name the attributes of the
    exchange that have noted them, in nanoseconds. `first` None: the beginning of the request; `last` None: the end of
    the answer.
    """

    def field(entry: Entry) -> Value:
        if entry.began_ns is None:  # there was no request, and the instants are those of the last one
            return None
        begin = entry.began_ns if first is None else getattr(entry.exchange, first, None)
        end = entry.now_ns if last is None else getattr(entry.exchange, last, None)
        return (end - begin) // 1000 if begin and end else None

    return field


def _request_id(entry: Entry) -> Value:
    return getattr(entry.exchange, "request_id", None)


@lru_cache(4)
def _time(second: int) -> str:
    return time.strftime("%d/%b/%Y:%H:%M:%S +0000", time.gmtime(second))


def _iso(entry: Entry) -> str:
    whole, part = divmod(entry.time_s, 1)
    return f"{_iso_second(int(whole))}.{int(part * 1e6):06}Z"


@lru_cache(4)
def _iso_second(second: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))


def _server(entry: Entry) -> Value:
    host, port = entry.exchange.server
    return f"unix:{host}" if port is None else f"{host}:{port}"


_CALLED, _ANSWERED = "called_ns", "answered_ns"

FIELDS: dict[str, tuple[Field, str]] = {
    "client": (_client, "address of the client; behind a trusted proxy the one that it names"),
    "client_port": (_port, "its port"),
    "server": (_server, "address and port that the client connected to"),
    "time": (lambda entry: _time(int(entry.time_s)), "when the answer ended, in UTC, as in the common log format"),
    "time_iso": (_iso, "the same by ISO 8601, with microseconds"),
    "time_s": (lambda entry: round(entry.time_s, 6), "the same in seconds since 1970"),
    "request": (_line, "the request line"),
    "method": (lambda entry: entry.request.method if entry.request.target else None, "its method"),
    "target": (_target, "its target: path and query"),
    "path": (lambda entry: entry.request.path.decode("latin-1") or None, "the path, still encoded"),
    "query": (lambda entry: entry.request.query.decode("latin-1") or None, "the query, without its question mark"),
    "version": (lambda entry: entry.request.version if entry.request.target else None, "version of HTTP"),
    "scheme": (lambda entry: entry.request.scheme, "http or https"),
    "host": (_of_request(b"host"), "the field Host"),
    "referer": (_of_request(b"referer"), "the field Referer"),
    "user_agent": (_of_request(b"user-agent"), "the field User-Agent"),
    "status": (lambda entry: entry.status, "status; 499: the client left before the answer began"),
    "bytes": (lambda entry: entry.exchange.sent, "bytes of content that were sent"),
    "complete": (lambda entry: entry.complete, "whether the whole answer was sent: true or false"),
    "total_us": (_in(1000), "microseconds from the complete header to the last byte that the kernel took"),
    "total_ms": (_in(1_000_000), "the same in milliseconds"),
    "total_s": (_seconds, "the same in seconds"),
    "queue_us": (_between(None, _CALLED), "of these until the application was called"),
    "app_us": (_between(_CALLED, _ANSWERED), "of these until the application had given its whole answer"),
    "send_us": (_between(_ANSWERED, None), "of these until that was sent"),
    "request_id": (_request_id, "the request's id, with --request-id"),
    "pid": (lambda entry: os.getpid(), "process"),
    "thread": (lambda entry: threading.get_native_id(), "the thread that sent the end of the answer"),
}
"""The fields that a template may name, with a description of each for the documentation."""

ATOMS = {
    "h": "client",
    "r": "request",
    "m": "method",
    "U": "path",
    "q": "query",
    "s": "status",
    "B": "bytes",
    "b": "bytes",
    "f": "referer",
    "a": "user_agent",
    "D": "total_us",
    "M": "total_ms",
}
"""gunicorn's atoms that are fields."""


def _seconds_in_digits(entry: Entry) -> Value:
    took = _took_ns(entry)
    return None if took is None else f"{took / 1e9:.6f}"


_OTHER_ATOMS: dict[str, Field] = {
    "l": lambda entry: None,
    "u": lambda entry: None,
    "t": lambda entry: f"[{_time(int(entry.time_s))}]",
    "T": _in(1_000_000_000),
    "L": _seconds_in_digits,
    "H": lambda entry: f"HTTP/{entry.request.version}",
    "p": lambda entry: f"<{os.getpid()}>",
}
"""gunicorn's atoms that are written otherwise than a field, with the brackets that gunicorn gives them."""

IN_JSON = (
    *("time_iso", "client", "client_port", "method", "target", "version", "host", "status", "bytes", "complete"),
    *("total_us", "queue_us", "app_us", "send_us", "referer", "user_agent", "request_id", "pid"),
)
"""The fields of the format `json`. A field whose value is not known is left out of the line."""

NOTED = frozenset({"queue_us", "app_us", "send_us", "request_id"})
"""Fields that cost something in each request: if a format has one, the session notes when the application was called
and when it had answered, or makes a request id.
"""

_TOKEN = re.compile(r"\{\{|\}\}|\{(?P<field>[^{}]*)\}|%%|%\((?P<atom>\{[^{}]*\}[ioe]|[^()]*)\)s|(?P<wrong>[{}]|%\(.?)")
_HEADER = re.compile(r"(request|response):([!#$%&'*+.^_`|~0-9A-Za-z-]+)")
_ESCAPED = re.compile(r"[^ !#-\[\]-~]")


def escape(text: str) -> str:
    """Return `text` in ASCII, with control characters, quotation marks and backslashes escaped."""
    return _ESCAPED.sub(_escape, text) if _ESCAPED.search(text) else text


def _escape(found: re.Match[str]) -> str:
    character = found[0]
    return "\\" + character if character in '"\\' else f"\\x{ord(character):02x}"


def formatter(text: str) -> Callable[[Entry], str]:
    """Return the function that formats an Entry as a line. Raises ValueError("must be ...") for a malformed format."""
    if text == JSON:
        return _json
    pieces = _compile(PRESETS.get(text, text))
    if text == "common":
        pieces = [*pieces, _over_tls]

    def line(entry: Entry) -> str:
        return "".join([piece if type(piece) is str else _text(piece(entry)) for piece in pieces])  # type: ignore[operator]

    return line


def _over_tls(entry: Entry) -> Value:
    """Return a blank, the TLS version, a blank and the cipher, for a request that came over TLS; else ""."""
    tls = getattr(entry.exchange, "tls", None)
    return f" {tls.version} {tls.cipher}" if tls is not None else ""


def _text(value: Value) -> str:
    if type(value) is str:
        return escape(value)
    if value is None:
        return "-"
    return str(value).lower() if type(value) is bool else str(value)


def fields_of(text: str) -> set[str]:
    """Return the names of the fields that a format uses; a header field is named `request:NAME` or `response:NAME`.
    Raises ValueError if the format is malformed.
    """
    return set(IN_JSON) if text == JSON else set(_names(PRESETS.get(text, text)))


def _names(template: str) -> list[str]:
    return [name for found in _TOKEN.finditer(template) if (name := _name(found)) is not None]


def _compile(template: str) -> list[str | Field]:
    if not re.search(r"\{[^{}]+\}|%\(", template):
        raise ValueError(f"must be {SYNTAX}")
    pieces: list[str | Field] = []
    end = 0
    for found in _TOKEN.finditer(template):
        pieces.append(template[end : found.start()])
        name = _name(found)
        pieces.append(found[0][0] if name is None else _field(name))
        end = found.end()
    pieces.append(template[end:])
    if "\n" in template or "\r" in template:
        raise ValueError("must be a single line")
    return [piece for piece in pieces if piece != ""]


def _name(found: re.Match[str]) -> str | None:
    """Return the name of the field that a token of a template stands for; None if the token is a doubled brace or
    percent sign, which stands for itself.
    """
    if found["wrong"]:
        raise ValueError(f"must be {SYNTAX}; {found[0]!r} begins no field: double it to write it ({{{{, }}}}, %%)")
    if found["field"] is not None:
        return found["field"]
    if found["atom"] is None:
        return None
    atom = found["atom"]
    if atom.startswith("{"):
        kind = {"i": "request", "o": "response"}.get(atom[-1])
        if kind is None:
            raise ValueError(f"must be {SYNTAX}; %({atom})s is not known: an environment belongs to one interface")
        return f"{kind}:{atom[1:-2]}"
    if atom not in ATOMS and atom not in _OTHER_ATOMS:
        names = ", ".join([*ATOMS, *_OTHER_ATOMS])
        raise ValueError(f"must be {SYNTAX}; there is no atom %({atom})s: there are {names}")
    return ATOMS.get(atom, atom)


def _field(name: str) -> Field:
    if name in _OTHER_ATOMS:
        return _OTHER_ATOMS[name]
    if name in FIELDS:
        return FIELDS[name][0]
    if matched := _HEADER.fullmatch(name):
        make = _of_request if matched[1] == "request" else _of_response
        return make(matched[2].lower().encode("ascii"))
    import difflib

    close = difflib.get_close_matches(name, FIELDS, n=1)
    cure = f"did you mean {{{close[0]}}}?" if close else f"there are {', '.join(FIELDS)}"
    raise ValueError(f"must be {SYNTAX}; there is no field {{{name}}} ({cure})")


_encode = json.JSONEncoder(separators=(",", ":")).encode
_fields_in_json = [(name, FIELDS[name][0]) for name in IN_JSON]


def _json(entry: Entry) -> str:
    values = ((name, field(entry)) for name, field in _fields_in_json)
    return _encode({name: value for name, value in values if value is not None})
