"""Formats of the access log: what fields and atoms give, that nothing a client sends leaves its place, and mistakes."""

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from septet.access_log import AccessLog
from septet.log_format import ATOMS, FIELDS, escape, fields_of, formatter
from septet.protocol import RUN
from septet.rules import Rules
from support.carrier import Watched, ok, write_all
from support.messages import render

REQUEST = render("GET", "/a?b=1", "User-Agent: Mozilla", "Referer: http://x/")


def lines(path: Path, format: str, *requests: bytes, exclude: tuple[str, ...] = ()) -> list[str]:
    """What is logged of these requests, each answered with `hello`."""
    with path.open("ab", buffering=0) as file:
        session = Watched(Rules(observer=AccessLog(file, formatter(format), exclude)))
        for data in requests:
            session.receive(data)
            while session.want is RUN:
                session.respond(ok(), b"hello", True)
                write_all(session)
            write_all(session)
    return path.read_text().splitlines()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "access.log"


@pytest.mark.parametrize(
    ("format", "line"),
    [
        ("{client}:{client_port} {method} {path} {query} {version}", "192.0.2.1:50000 GET /a b=1 1.1"),
        ('"{request}" {status} {bytes} {complete}', '"GET /a?b=1 HTTP/1.1" 200 5 true'),
        ("{request:user-agent} {request:x-none} {referer} {host}", "Mozilla - http://x/ example.test"),
        ("{scheme} {server} {{{status}}} 100%%", "http 192.0.2.2:80 {200} 100%"),
        ('%(h)s %(l)s %(u)s "%(r)s" %(s)s %(b)s', '192.0.2.1 - - "GET /a?b=1 HTTP/1.1" 200 5'),
        ('"%(f)s" "%(a)s"', '"http://x/" "Mozilla"'),
        ("%(m)s %(U)s %(q)s %(H)s %(B)s %(T)s %({user-agent}i)s", "GET /a b=1 HTTP/1.1 5 0 Mozilla"),
    ],
)
def test_fields_and_atoms(path: Path, format: str, line: str) -> None:
    assert lines(path, format, REQUEST) == [line]


def test_atoms_that_are_written_otherwise_than_the_fields(path: Path) -> None:
    """As gunicorn writes them: what reads its lines expects the time in brackets, and seconds without an exponent."""
    (line,) = lines(path, "%(h)s %(l)s %(u)s %(t)s %(s)s %(L)s %(p)s", REQUEST)
    assert re.fullmatch(
        r"192\.0\.2\.1 - - \[\d\d/\w{3}/\d{4}:\d\d:\d\d:\d\d \+0000\] 200 \d+\.\d{6} <\d+>",
        line,
    )
    (line,) = lines(path, "%(t)s %(L)s %(p)s", b"nonsense\r\n\r\n")[1:]
    assert re.fullmatch(r"\[.+\] - <\d+>", line)


def test_combined(path: Path) -> None:
    (line,) = lines(path, "combined", REQUEST)
    assert re.fullmatch(
        r'192\.0\.2\.1 - - \[\d\d/\w{3}/\d{4}:\d\d:\d\d:\d\d \+0000\] "GET /a\?b=1 HTTP/1\.1" 200 5 '
        r'"http://x/" "Mozilla" \d+',
        line,
    )


def test_json(path: Path) -> None:
    (line,) = lines(path, "json", REQUEST)
    found = json.loads(line)
    assert (found["client"], found["target"], found["status"], found["complete"]) == ("192.0.2.1", "/a?b=1", 200, True)
    assert isinstance(found["total_us"], int)
    assert "request_id" not in found


def test_every_field_is_told_of_what_was_no_request(path: Path) -> None:
    format = " ".join(f"{{{name}}}" for name in FIELDS) + " " + " ".join(f"%({atom})s" for atom in ATOMS)
    (line,) = lines(path, format, b"nonsense\r\n\r\n")
    assert " 400 " in line


def test_client_that_left(path: Path) -> None:
    with path.open("ab", buffering=0) as file:
        for begun in (False, True):
            session = Watched(Rules(observer=AccessLog(file, formatter("{status} {complete}"))))
            session.receive(REQUEST)
            if begun:
                session.respond(ok(), b"x" * 100, False)
            session.lose()
            session.close()
            session.close()
    assert path.read_text().splitlines() == ["499 false", "200 false"]


@pytest.mark.parametrize(
    ("exclude", "logged"),
    [(("/healthz",), ["/healthz/", "/h"]), (("/healthz*", "/h"), []), (("/other",), ["/healthz", "/healthz/", "/h"])],
)
def test_excluded_paths(path: Path, exclude: tuple[str, ...], logged: list[str]) -> None:
    requests = [render("GET", target) for target in ("/healthz?x", "/healthz/", "/h")]
    assert lines(path, "{path}", *requests, exclude=exclude) == logged


@given(st.text(st.characters(max_codepoint=255)))
def test_escaped_text_stays_in_its_quotation_marks(text: str) -> None:
    escaped = escape(text)
    assert re.fullmatch(r'(?:[ !#-\[\]-~]|\\["\\]|\\x[0-9a-f]{2})*', escaped)
    back = re.sub(r"\\(?:x(..)|(.))", lambda found: chr(int(found[1], 16)) if found[1] else found[2], escaped)
    assert back == text


def test_header_cannot_forge(path: Path) -> None:
    request = render("GET", "/", 'User-Agent: a" 200 9 \\ \x80\xff\tz')
    (line,) = lines(path, '"{user_agent}"', request)
    assert line == r'"a\" 200 9 \\ \x80\xff\x09z"'
    (line,) = [lines(path, "json", request)[-1]]
    assert json.loads(line)["user_agent"] == 'a" 200 9 \\ \x80\xff\tz'


@pytest.mark.parametrize(
    ("format", "complaint"),
    [
        ("plain", "must be common, combined, json"),
        ("{clint}", r"there is no field \{clint\} \(did you mean \{client\}\?\)"),
        ("%(z)s", r"there is no atom %\(z\)s"),
        ("%({X}e)s", "an environment belongs to one interface"),
        ("{status} {", "begins no field"),
        ("{status}\n{client}", "must be a single line"),
    ],
)
def test_mistakes(format: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        formatter(format)


def test_fields_of_a_format() -> None:
    assert fields_of("{status} %(D)s {response:etag}") == {"status", "total_us", "response:etag"}
    assert "app_us" in fields_of("json")
