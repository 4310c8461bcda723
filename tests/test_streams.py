"""Standard streams and logs that are closed, full, or a pipe that is not read."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from septet.streams import Sink
from support.server import APP_DIR
from support.waiting import wait_until

COMMAND = f"exec {sys.executable} -m septet serve --app-dir {APP_DIR} support.apps_wsgi:app --model"


def answers(address: Path) -> bool:
    """Whether a server listens at the unix socket and answers."""
    done = subprocess.run(
        ["curl", "-s", "--unix-socket", str(address), "http://septet/"], capture_output=True, check=False
    )
    return done.returncode == 0


@pytest.mark.parametrize("redirection", ["2>&-", "2>/dev/full", "<&- >&- 2>&-", ">/dev/full 2>&1"])
@pytest.mark.parametrize("model", ["epoll", "preforked"])
def test_server_starts_and_stops_without_standard_streams(model: str, redirection: str, tmp_path: Path) -> None:
    address = tmp_path / "socket"
    with subprocess.Popen(["sh", "-c", f"{COMMAND} {model} --bind unix:{address} {redirection}"]) as server:
        try:
            wait_until(lambda: server.poll() is not None or answers(address), "the server answers")
            assert server.poll() is None
            assert os.readlink(f"/proc/{server.pid}/fd/2").startswith("/dev/")
            server.send_signal(signal.SIGTERM)
            assert server.wait(20) == 0
        finally:
            server.kill()


def test_access_log_on_standard_output_that_is_closed(tmp_path: Path) -> None:
    command = f"{COMMAND} epoll --bind unix:{tmp_path}/socket --access-log - >&-"
    done = subprocess.run(["sh", "-c", command], stderr=subprocess.PIPE, text=True, timeout=20, check=False)
    assert done.returncode == 1
    assert done.stderr == "septet: cannot write the access log -: standard output is closed\n"


def test_fifo_without_a_reader_is_an_error(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "log")
    command = f"{COMMAND} epoll --bind unix:{tmp_path}/socket --access-log {tmp_path}/log"
    done = subprocess.run(["sh", "-c", command], stderr=subprocess.PIPE, text=True, timeout=20, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)


def test_one_report_for_an_episode() -> None:
    said: list[str] = []
    with open("/dev/full", "ab", buffering=0) as full:
        sink = Sink(full.fileno(), "the log", said.append)
        for _ in range(3):
            sink.write(b"a line\n")
    assert said == ["cannot write the log: No space left on device; lines are lost until it can be written again"]


def test_end_of_an_episode(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("septet.streams.EPISODE_S", 0.0)
    monkeypatch.setattr("septet.streams.MAX_WAIT_S", 0.0)
    said: list[str] = []
    reading, writing = os.pipe()
    try:
        sink = Sink(writing, "the log", said.append)
        while not said:
            sink.write(b"x" * 4096)
        os.read(reading, 65536)
        sink.write(b"a line\n")
    finally:
        os.close(reading)
        os.close(writing)
    assert said[-1] == "the log is written again; lines that were lost: 1"


def test_next_line_does_not_join_a_torn_one(tmp_path: Path) -> None:
    """In a process of its own, whose files may have ten bytes."""
    code = (
        "import os, resource, signal, sys\n"
        "from septet.streams import Sink\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (10, resource.RLIM_INFINITY))\n"
        "file = open(sys.argv[1], 'ab', buffering=0)\n"
        "sink = Sink(file.fileno(), 'the log', print)\n"
        "sink.write(b'line 1\\n')\n"
        "sink.write(b'line 2\\n')\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))\n"
        "sink.write(b'line 3\\n')\n"
    )
    log = tmp_path / "log"
    done = subprocess.run([sys.executable, "-c", code, log], capture_output=True, text=True, check=True, timeout=20)
    assert log.read_text() == "line 1\nlin\nline 3\n"
    assert done.stdout == "cannot write the log: File too large; lines are lost until it can be written again\n"


def test_torn_line_of_an_earlier_server(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"line 1\nlin")
    with log.open("ab", buffering=0) as file:
        sink = Sink(file.fileno(), "the log", print)
        sink.begin_a_line()
        sink.write(b"line 3\n")
        sink.write(b"line 4\n")
    assert log.read_text() == "line 1\nlin\nline 3\nline 4\n"


def test_pipe_that_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines are dropped after a while, and written again as soon as there is room; the pipe itself keeps its flags."""
    monkeypatch.setattr("septet.streams.MAX_WAIT_S", 0.05)
    said: list[str] = []
    reading, writing = os.pipe()
    try:
        sink = Sink(writing, "the log", said.append)
        for _ in range(1000):
            sink.write(b"x" * 999 + b"\n")
        assert said == ["cannot write the log: its reader does not read; lines are lost until it can be written again"]
        assert os.get_blocking(writing)
        os.read(reading, 65536)
        sink.write(b"at last\n")
        assert os.read(reading, 65536) == b"at last\n"
    finally:
        os.close(reading)
        os.close(writing)


@pytest.mark.parametrize("model", ["epoll", "prethreaded"])
def test_reader_of_the_access_log_that_does_not_read(model: str, tmp_path: Path) -> None:
    address = tmp_path / "socket"
    command = f"{COMMAND} {model} --no-supervisor --bind unix:{address} --access-log -"
    reading, writing = os.pipe()
    with subprocess.Popen(["sh", "-c", command], stdout=writing, stderr=subprocess.PIPE, text=True) as server:
        try:
            os.set_blocking(writing, False)
            wait_until(lambda: answers(address), "the server answers")
            try:
                while os.write(writing, b"x" * 4096):
                    pass
            except BlockingIOError:
                pass
            os.set_blocking(writing, True)
            assert all(answers(address) for _ in range(3))
            server.terminate()
            assert server.stderr is not None
            assert server.stderr.read().count("cannot write the access log: its reader does not read") == 1
            assert server.wait(20) == 0
        finally:
            server.kill()
            os.close(reading)
            os.close(writing)
