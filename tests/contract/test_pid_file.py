"""--pid-file: what it has while the server runs, who may take it over, and what is left of it at the end."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from septet.errors import Failed
from septet.processes.pid_file import PidFile
from support.server import serve
from support.waiting import wait_until


@pytest.mark.parametrize("how", [("epoll",), ("preforked", "--workers", "2")], ids=" ".join)
@pytest.mark.parametrize("supervisor", ["--supervisor", "--no-supervisor"])
def test_pid_is_there_while_the_server_runs(how: tuple[str, ...], supervisor: str, tmp_path: Path) -> None:
    model, *options = how
    path = tmp_path / "shop.pid"
    with serve(model, "wsgi", "--pid-file", str(path), supervisor, *options) as server:
        assert path.read_text() == f"{server.pid}\n"
        assert path.stat().st_mode & 0o777 == 0o644 & ~_umask()
        assert os.listdir(tmp_path) == ["shop.pid"]
        if supervisor == "--supervisor":
            for number, times in ((signal.SIGHUP, 1), (signal.SIGUSR2, 2)):
                server.send_signal(number)
                wait_until(
                    lambda times=times: server.stderr().count("finishes its requests") == times,  # type: ignore[misc]
                    "another generation serves",
                )
                assert path.read_text() == f"{server.pid}\n"
            wait_until(lambda: len(os.listdir(f"/proc/{server.pid}/task")) == 1, "it is idle")
    assert os.listdir(tmp_path) == []


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_stop_at_once_removes_it(tmp_path: Path) -> None:
    path = tmp_path / "shop.pid"
    with serve("epoll", "wsgi", "--supervisor", "--pid-file", str(path)) as server:
        server.send_signal(signal.SIGQUIT)
        assert server.wait() == 1
    assert not path.exists()


def test_other_path_after_an_upgrade(tmp_path: Path) -> None:
    one, two = tmp_path / "one.pid", tmp_path / "two.pid"
    server = serve("epoll", "wsgi", "--supervisor")
    server.prepare = lambda: write(one)  # type: ignore[method-assign]

    def write(path: Path) -> None:
        (server.directory / "septet.toml").write_text(f"pid_file = '{path}'\n")

    with server:
        write(two)
        server.send_signal(signal.SIGHUP)
        wait_until(lambda: "--pid-file keeps its value until the next start" in server.stderr(), "it is said")
        assert (one.exists(), two.exists()) == (True, False)
        server.send_signal(signal.SIGUSR2)
        wait_until(lambda: server.stderr().count("finishes its requests") == 2, "the new program serves")
        assert (one.exists(), two.exists()) == (False, True)
    assert not two.exists()


def test_file_of_another_that_runs_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "shop.pid"
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        path.write_text(f"{other.pid}\n")
        for supervisor in ("--supervisor", "--no-supervisor"):
            with serve("epoll", "wsgi", supervisor, "--pid-file", str(path), wait_ready=False) as server:
                assert server.wait() == 1
                assert server.stderr() == (
                    f"septet: --pid-file is {str(path)!r}, which names process {other.pid}, and that one runs\n"
                )
        assert path.read_text() == f"{other.pid}\n"
        os.utime(path, (1e9, 1e9))  # the file is older than the process: another had its pid then
        PidFile(str(path)).write()
        assert path.read_text() == f"{os.getpid()}\n"


@pytest.mark.parametrize("text", ["", "x", "-1", "0", "99999999999999999999", "4194999", "1 2"])
def test_file_of_no_process_is_replaced(text: str, tmp_path: Path) -> None:
    path = tmp_path / "shop.pid"
    path.write_text(text)
    file = PidFile(str(path))
    file.write()
    assert path.read_text() == f"{os.getpid()}\n"
    file.remove_file()
    assert not path.exists()


def test_file_that_has_another_pid_by_now_is_left(tmp_path: Path) -> None:
    path = tmp_path / "shop.pid"
    file = PidFile(str(path))
    file.write()
    path.write_text("1\n")
    file.remove_file()
    assert path.read_text() == "1\n"


def test_link_is_replaced_and_not_followed(tmp_path: Path) -> None:
    path, target = tmp_path / "shop.pid", tmp_path / "target"
    target.write_text("kept")
    path.symlink_to(target)
    PidFile(str(path)).write()
    assert target.read_text() == "kept"
    assert not path.is_symlink()


@pytest.mark.parametrize("linked", [False, True], ids=["itself", "by a link"])
def test_what_is_no_regular_file_is_neither_read_nor_replaced(linked: bool, tmp_path: Path) -> None:
    """As /dev/null is not, which every program of the machine would miss. A named pipe would be waited for."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    path = tmp_path / "link" if linked else pipe
    if linked:
        path.symlink_to(pipe)
    for options in ([], ["--check"]):
        command = [sys.executable, "-m", "septet", "serve", "--static", f"/={tmp_path}", "--pid-file", str(path)]
        command += ["--bind", "127.0.0.1:0", *options]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=20)
        assert ended.returncode == 2
        assert ended.stderr == f"septet: --pid-file is '{path}', but must be the path of a regular file\n"
    assert pipe.is_fifo()


def test_named_pipe_that_is_there_at_the_end_is_left(tmp_path: Path) -> None:
    """The end does not wait for it."""
    path = tmp_path / "shop.pid"
    file = PidFile(str(path))
    file.write()
    path.unlink()
    os.mkfifo(path)
    file.remove_file()
    assert path.is_fifo()


def test_directory_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(Failed, match=r"--pid-file '.*' cannot be written: No such file or directory"):
        PidFile(str(tmp_path / "no" / "shop.pid")).write()
