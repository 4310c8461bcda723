"""`septet load` as a user runs it, against servers that answer as they are told."""

import json
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from support.commands import septet, septet_here
from support.http2_server import Http2Server
from support.marks import draws
from support.scripted_server import ANSWER, Connection, ScriptedServer, answering_status, keep_answering


@pytest.mark.parametrize("mode", ["--keep-alive", "--close", "--http10"])
def test_load(mode: str) -> None:
    with ScriptedServer(keep_answering) as server:
        result = septet("load", server.url, "--users", "3", "--duration", "1", "--warmup", "0", mode)
    assert result.returncode == 0, result.stderr
    rows = dict(line.split("  ", 1) for line in result.stdout.splitlines())
    assert float(rows["requests/s"].replace(",", "")) > 10
    assert {"latency p99", "first byte p50, p99"} <= rows.keys()
    assert "latency p99.99" not in rows  # of so few answers it would say nothing


def test_load_over_http2() -> None:
    with Http2Server(lambda peer, stream: peer.answer(stream)) as server:
        words = ["--users", "6", "--duration", "1", "--warmup", "0", "--http2", "--streams", "4"]
        result = septet("load", server.url, *words)
    assert result.returncode == 0, result.stderr
    rows = dict(line.split("  ", 1) for line in result.stdout.splitlines())
    assert rows["over HTTP/2"].strip() == "2 connections of 4 streams"
    assert "requests sent again" not in rows


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--streams", "4"], "--streams: they are those of a connection of --http2"),
        (["--http2", "--close"], "over HTTP/2 connections are kept: without --close"),
        (["--http2", "--slow", "3"], "slow clients (--slow) speak HTTP/1.1"),
        (["--http2"], "does not speak HTTP/2 in clear, by prior knowledge"),
    ],
)
def test_what_does_not_go_with_http2(words: list[str], said: str) -> None:
    with ScriptedServer(keep_answering) as server:
        result = septet_here("load", server.url, *words)
    assert (result.returncode, result.stdout) == (2, "")
    assert said in result.stderr


def test_load_as_json() -> None:
    with ScriptedServer(keep_answering) as server:
        result = septet("load", server.url, "--duration", "0.3", "--warmup", "0", "--header", "A: b", "--json")
    figures = json.loads(result.stdout)
    assert figures["answers"] > 10
    assert figures["plan"]["headers"] == ["A: b"]


def test_redirects_are_no_silent_success() -> None:
    with ScriptedServer(answering_status(302)) as server:
        result = septet("load", server.url, "--users", "2", "--duration", "0.3", "--warmup", "0")
    assert result.returncode == 0
    rows = dict(line.split("  ", 1) for line in result.stdout.splitlines())
    assert rows["statuses"].strip().startswith("302: ")
    assert "answers were redirects, which users do not follow" in result.stderr


def test_a_rate_that_is_too_much() -> None:
    """One definition of each figure: what came in that time is what the rate is made of."""

    def slow(connection: Connection) -> None:
        while connection.request():
            time.sleep(0.02)
            connection.send(ANSWER)

    words = ["--users", "2", "--rate", "1000", "--duration", "1", "--warmup", "0", "--timeout", "1"]
    with ScriptedServer(slow) as server:
        result = septet("load", server.url, *words)
        figures = json.loads(septet("load", server.url, *words, "--json").stdout)
    assert "offered 1,000, carried " in result.stderr
    assert "requests/s: too much for this server" in result.stderr
    assert figures["requests_per_s"] == pytest.approx(figures["came"] / figures["window_s"])
    assert figures["offered_per_s"] == 1000
    assert figures["came"] <= 110


def test_a_time_out_holds_where_no_answer_ever_comes() -> None:
    """It is not waited for users to arrive whom the server does not answer."""

    def silent(connection: Connection) -> None:
        while connection.request():
            pass

    begun = time.monotonic()
    with ScriptedServer(silent) as server:
        result = septet("load", server.url, "--users", "3", "--duration", "0.5", "--timeout", "1", "--warmup", "0.5")
    assert result.returncode == 1
    assert "errors in the warm-up: time-out" in result.stdout
    assert time.monotonic() - begun < 20, "users were waited for for 30 s"


def test_load_without_any_answer() -> None:
    with ScriptedServer(answering_status(503)) as server:
        result = septet("load", server.url, "--duration", "0.3", "--warmup", "0")
    assert result.returncode == 1
    assert "errors: status 503" in result.stdout
    assert "answered no request" in result.stderr


def answering_text(text: bytes, *, only_first: bool = False) -> Callable[[Connection], None]:
    head = b"HTTP/1.1 400 Bad Request\r\nContent-Length: %d\r\n\r\n" % len(text)

    def script(connection: Connection) -> None:
        while connection.request():
            connection.send(ANSWER if only_first and connection.number > 1 else head + text)

    return script


@draws
def test_load_says_what_the_server_said() -> None:
    words = ["--users", "2", "--duration", "0.3", "--warmup", "0"]
    with ScriptedServer(answering_text(b"this port speaks TLS\nand so on\n")) as server:
        result = septet("load", server.url, *words)
        searched = septet("load", server.url, "--slo", "p99<50ms", "--users", "2", "--duration", "0.3")
        said = f'septet: {server.url} answered no request as it should: status 400 says "this port speaks TLS"\n'
    assert (result.returncode, result.stderr) == (1, said)
    assert (searched.returncode, searched.stderr.splitlines(keepends=True)[-1]) == (1, said)
    with ScriptedServer(answering_text(b"not yet", only_first=True)) as server:
        result = septet("load", server.url, *words)
    assert (result.returncode, result.stderr) == (0, 'status 400 says "not yet"\n')


def test_load_over_http2_says_what_the_server_said() -> None:
    with Http2Server(lambda peer, stream: peer.answer(stream, status=429)) as server:
        result = septet("load", server.url, "--users", "2", "--duration", "0.3", "--warmup", "0", "--http2")
    assert result.returncode == 1
    assert result.stderr.endswith('answered no request as it should: status 429 says "hello"\n')


def test_load_of_a_port_on_which_nobody_listens() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # and does not listen
        url = f"http://127.0.0.1:{bound.getsockname()[1]}/"
        result = septet("load", url, "--duration", "60")
    assert result.returncode == 1
    assert result.stderr == f"septet: nothing listens at {url}: the connection was refused\n"
    assert result.stdout == ""


def test_load_at_a_rate_of_a_scenario(tmp_path: Path) -> None:
    (tmp_path / "scenario.toml").write_text('[[target]]\npath = "/a"\n[[target]]\npath = "/b"\nmethod = "POST"\n')
    words = ["--rate", "100", "--duration", "0.5", "--warmup", "0.1", "--scenario", "scenario.toml"]
    with ScriptedServer(keep_answering) as server:
        result = septet("load", server.url, *words, "--body", "@scenario.toml", cwd=tmp_path)
        assert {head.split()[1] for head, _ in server.messages} == {b"/a", b"/b"}
    assert result.returncode == 0, result.stderr
    rows = dict(line.split("  ", 1) for line in result.stdout.splitlines())
    assert int(rows["requests due"]) in (49, 50, 51)
    assert {"service p50, p99", "sent late p50, p99", "POST /b: answers, p50, p99"} <= rows.keys()


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/", "127.0.0.1", "http://nosuchhost.invalid/"])
def test_usage_errors_of_load(url: str) -> None:
    result = septet_here("load", url)
    assert result.returncode == 2
    assert result.stderr.startswith("septet: ")
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--cpus", "two"], "--cpus: 'two' is not a list of whole numbers"),
        (["--cpus", "4000"], "CPU 4000 is not usable here"),
        (["--body", "@none"], "--body: none cannot be read"),
        (["--scenario", "none"], "the scenario none cannot be read"),
        (["--per-connection", "2", "--close"], "go with kept connections only"),
        (["--rate", "0"], "--rate"),
    ],
)
def test_usage_errors_of_load_options(words: list[str], said: str, tmp_path: Path) -> None:
    result = septet_here("load", "http://127.0.0.1:1/", *words, cwd=tmp_path)
    assert result.returncode == 2
    assert said in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize("verb", [pytest.param("bench", marks=draws), "load"])
def test_help_has_examples(verb: str) -> None:
    result = septet_here(verb, "--help")
    assert result.returncode == 0
    assert f"  septet {verb} " in result.stdout
