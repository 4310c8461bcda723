"""The access log, line by line, and the log on standard error."""

import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from septet.access_log import AccessLog
from septet.errors import Failed
from septet.logs import _GuardedLogger
from septet.protocol import RUN
from septet.rules import Rules
from support.carrier import CLIENT, Watched, ok, write_all
from support.messages import render

LINE = re.compile(r'(\S+) - - \[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d \+0000\] "([^"\\]|\\.)*" \d{3} \d+ (\d+|-)\n')


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "access.log"


def served(path: Path, data: bytes, client: tuple[str, int] | None = CLIENT) -> str:
    """What is logged of these requests, each answered with `hello`."""
    with path.open("ab", buffering=0) as file:
        session = Watched(Rules(observer=AccessLog(file)))
        session.client = client
        session.receive(data)
        while session.want is RUN:
            session.respond(ok(), b"hello", True)
            write_all(session)
        write_all(session)
    return path.read_text()


def test_line_of_an_answer(path: Path) -> None:
    line = served(path, render("GET", "/a?b"))
    assert LINE.fullmatch(line)
    assert line.startswith("192.0.2.1 - - [")
    assert '] "GET /a?b HTTP/1.1" 200 5 ' in line


def test_line_for_every_answer(path: Path) -> None:
    lines = served(path, render("GET", "/1") + render("HEAD", "/2", version="1.0")).splitlines(keepends=True)
    assert all(LINE.fullmatch(line) for line in lines)
    assert ['"GET /1 HTTP/1.1" 200 5 ' in lines[0], '"HEAD /2 HTTP/1.0" 200 0 ' in lines[1], len(lines)] == [
        True,
        True,
        2,
    ]


def test_line_of_what_was_not_a_request(path: Path) -> None:
    line = served(path, b"nonsense\r\n\r\n")
    assert LINE.fullmatch(line)
    assert re.search(r'"-" 400 \d+ -$', line)


def test_client_on_a_unix_socket(path: Path) -> None:
    assert served(path, render("GET", "/"), None).startswith("- - - [")


def test_client_cannot_write_a_line_or_end_a_word(path: Path) -> None:
    line = served(path, render("GET", '/"x" 200 5 7\\'.replace(" ", "%20")))
    assert LINE.fullmatch(line)
    assert r"GET /\"x\"%20200%205%207\\ HTTP/1.1" in line


def test_file_is_appended_to(path: Path) -> None:
    path.write_text("before\n")
    assert served(path, render("GET", "/")).startswith("before\n192.0.2.1 ")


def test_file_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(Failed, match=r"cannot write the access log .*: No such file or directory"):
        AccessLog.open(str(tmp_path / "none" / "access.log"))


def test_full_disk_does_not_end_connections() -> None:
    """A log is not worth an outage: what cannot be written is let go."""
    with open("/dev/full", "ab", buffering=0) as full:
        session = Watched(Rules(observer=AccessLog(full)))
        session.receive(render("GET", "/"))
        session.respond(ok(), b"hello", True)
        assert write_all(session).endswith(b"hello")


@pytest.mark.parametrize(("level", "shown"), [("debug", 4), ("info", 3), ("warning", 2), ("error", 1)])
def test_levels_on_standard_error(level: str, shown: int) -> None:
    """In a process of its own, for it is the root logger that is configured. Applications' logs go the same way."""
    code = (
        "import logging, septet.logs\n"
        f"septet.logs.configure({level!r})\n"
        "for level in ('debug', 'info', 'warning', 'error'):\n"
        "    getattr(logging.getLogger('some.application'), level)('said %s', level)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    lines = done.stderr.splitlines()
    assert (done.stdout, len(lines)) == ("", shown)
    assert re.fullmatch(r"\d{4}-\S+ \S+ \d+ ERROR some.application: said error", lines[-1])


@pytest.mark.parametrize("logger", ["septet", "septet.access"])
def test_a_configuration_of_the_application_does_not_disable_the_server_s_loggers(logger: str) -> None:
    """By default it disables all loggers that were there before, and then no line says why a request was answered 500.
    A program that sets `disabled` itself is obeyed."""
    code = (
        "import io, logging.config, septet.logs\n"
        "septet.logs.configure('info')\n"
        f"log, other = logging.getLogger({logger!r}), logging.getLogger('some.application')\n"
        "logging.config.dictConfig({'version': 1})\n"
        "logging.config.fileConfig(io.StringIO('[loggers]\\nkeys=root\\n[handlers]\\nkeys=h\\n[formatters]\\nkeys=\\n'\n"
        "    '[logger_root]\\nhandlers=h\\n[handler_h]\\nclass=StreamHandler\\nargs=()\\n'))\n"
        "other.error('disabled')\n"
        "log.error('heard')\n"
        "log.disabled = True\n"
        "log.error('disabled by hand')\n"
        "log.disabled = False\n"
        "log.error('heard again')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stderr.splitlines() == ["heard", "heard again"]


def test_values_of_fields_are_not_logged_at_debug() -> None:
    code = "import logging, septet.logs; septet.logs.configure('debug'); logging.getLogger('hpack.hpack').debug('a: b')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stderr == ""


def test_standard_output_is_a_dash() -> None:
    code = "import septet.access_log; septet.access_log.AccessLog.open('-')._file.fileno() == 1 or exit(1)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60, env=os.environ).returncode == 0


class Unspeakable(SystemExit):
    def __repr__(self) -> str:
        raise SystemExit("deliberate")


def refuse(*_: object) -> bool:
    raise SystemExit("deliberate")


@pytest.mark.parametrize("how", ["filter", "factory", "argument"])
def test_what_an_application_does_to_logging_does_not_come_back(how: str) -> None:
    """Else it would end a thread of the server, or the server, where that says something of a request."""
    log = logging.getLogger("septet")
    kind, factory = log.__class__, logging.getLogRecordFactory()
    log.__class__ = _GuardedLogger
    try:
        if how == "filter":
            log.addFilter(refuse)
        elif how == "factory":
            logging.setLogRecordFactory(refuse)  # type: ignore[arg-type]
        log.error("a task raised %r", Unspeakable() if how == "argument" else "something")
    finally:
        log.removeFilter(refuse)
        logging.setLogRecordFactory(factory)
        log.__class__ = kind
