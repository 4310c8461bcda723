"""--user, --group, --umask and the rights of unix sockets: what root starts, and what the application may do then."""

import grp
import json
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.client import Connection
from support.models import MODELS
from support.processes import children
from support.server import Server, serve
from support.tls import HOST, Authority, TlsConnection
from support.users import NOBODY, AsNobody, as_nobody, python_for_all
from support.waiting import wait_until

GAMES = grp.getgrnam("games").gr_gid


@pytest.mark.parametrize(
    ("how", "interface", "supervisor"),
    [
        # The one Python that another user can read may be too old for interpreters.
        *(((model,), "wsgi", True) for model in MODELS if model != "interpreters"),
        (("epoll", "--workers", "2"), "asgi", True),
        *(((model,), "asgi", False) for model in ("epoll", "preforked")),
    ],
    ids=str,
)
def test_application_runs_as_the_user(how: tuple[str, ...], interface: str, supervisor: bool) -> None:
    model, *options = how
    with AsNobody(model, interface, "--umask", "027", *options, supervisor=supervisor) as server:
        seen = json.loads(server.get("/").body)
        assert seen["imported_as"] == NOBODY.pw_uid
        assert seen["users"] == [NOBODY.pw_uid] * 3
        assert set(seen["groups"]) == {NOBODY.pw_gid}
        assert seen["umask"] == 0o027
        assert seen["home"] == NOBODY.pw_dir
        assert not seen["back"]
        root = [process.pid for process in server.tree() if is_of_root(process.pid)]
        assert root == ([server.pid] if supervisor else [])
        assert seen["dies_with_parent"] or not supervisor
        server.stop()
        assert not server.complaints()


def is_of_root(pid: int) -> bool:
    """False for a child of forking that has ended in the meantime, too."""
    try:
        return os.stat(f"/proc/{pid}").st_uid == 0
    except FileNotFoundError:
        return False


def test_group_in_place_of_the_users_own() -> None:
    with AsNobody("epoll", "wsgi", "--group", "games", supervisor=False) as server:
        seen = json.loads(server.get("/").body)
        assert set(seen["groups"]) == {GAMES}
        assert seen["users"] == [NOBODY.pw_uid] * 3


def test_user_without_an_entry() -> None:
    """As in many containers."""
    with AsNobody("epoll", "wsgi", "--user", "54321", "--group", "54322") as server:
        seen = json.loads(server.get("/").body)
        assert seen["users"] == [54321] * 3
        assert set(seen["groups"]) == {54322}


def test_generation_dies_with_the_supervisor() -> None:
    """The kernel forgets to kill it when the user changes, unless it is asked again."""
    with AsNobody("epoll", "wsgi", "--workers", "1") as server:
        processes = server.tree()
        assert len(processes) == 3
        os.kill(server.pid, signal.SIGKILL)
        wait_until(lambda: not any(process.running for process in processes), "all have ended")
        server.process.wait()


class Reloading(AsNobody):
    """With a port below 1024, a certificate that only root may read, and settings that change at HUP."""

    def __init__(self, authority: Authority) -> None:
        files = authority.server
        for file in (files.certificate, files.key):
            file.chmod(0o600)
        super().__init__("epoll", "wsgi", *files.options)
        self.command = [each for each in self.command if each not in ("--bind", "127.0.0.1:0")]
        self._wait_ready = False

    def prepare(self) -> None:
        super().prepare()
        self.write(1)

    def write(self, *hosts: int) -> None:
        binds = [self.place(host) for host in hosts]
        (self.directory / "septet.toml").write_text(f"bind = {[f'https://{host}:{port}' for host, port in binds]}\n")

    def place(self, host: int) -> tuple[str, int]:
        return f"127.{os.getpid() % 250 + 1}.7.{host}", 443


def test_reload_needs_root_and_has_it(tmp_path: Path) -> None:
    """At HUP the supervisor, which is root still, opens a port below 1024 and reads keys."""
    authority = Authority(tmp_path)
    with Reloading(authority) as server:
        wait_until(lambda: "listening on" in server.stderr(), "it serves")

        def serial(host: int) -> Any:
            with TlsConnection(server.place(host), authority.client_context()) as connection:
                assert json.loads(connection.request("GET", "/").body)["users"] == [NOBODY.pw_uid] * 3
                return connection.socket.getpeercert()["serialNumber"]  # type: ignore[index]

        before = serial(1)
        authority.issue(HOST, *(f"127.{os.getpid() % 250 + 1}.7.{host}" for host in (1, 2)))
        server.write(1, 2)
        server.send_signal(signal.SIGHUP)
        wait_until(lambda: server.stderr().count("listening on") == 3, "the new generation serves")
        assert serial(2) != before
        server.send_signal(signal.SIGUSR2)
        wait_until(lambda: server.stderr().count("finishes its requests") == 2, "the new program serves")
        assert serial(1) == serial(2)


@pytest.fixture
def directory_of_root() -> Iterator[Path]:
    """/tmp is nobody's, so logs are not made by root there."""
    python_for_all()
    directory = Path(f"/run/septet-test-{os.getpid()}")
    directory.mkdir(mode=0o755)
    yield directory
    shutil.rmtree(directory)


def test_logs_are_the_users_and_opened_anew(directory_of_root: Path) -> None:
    log = directory_of_root / "access.log"
    log.write_text("")  # of root, from an earlier time
    with AsNobody("epoll", "wsgi", "--access-log", str(log), "--workers", "2") as server:
        assert log.stat().st_uid == NOBODY.pw_uid
        server.get("/before")
        wait_until(lambda: "/before" in log.read_text(), "it is written")
        log.rename(directory_of_root / "old.log")
        server.send_signal(signal.SIGUSR1)
        wait_until(log.exists, "it is made anew")

        def written() -> bool:
            server.get("/after")
            return "/after" in log.read_text()

        wait_until(written, "the new file is written")
        assert log.stat().st_uid == NOBODY.pw_uid
        assert "cannot open" not in server.stderr()


@pytest.mark.parametrize(("where", "mode"), [("", 0o755), ("below", 0o755), ("below", 0o1777)])
def test_link_that_the_user_has_made_is_not_followed_by_root(where: str, mode: int, directory_of_root: Path) -> None:
    """Otherwise whoever gets into the application could have root give it any file, or write to it."""
    target = directory_of_root / "secret"
    target.mkdir() if where else target.write_text("of root\n")
    theirs = directory_of_root / "logs"
    theirs.mkdir()
    (theirs / (where or "access.log")).symlink_to(target)
    os.chown(theirs / (where or "access.log"), NOBODY.pw_uid, NOBODY.pw_gid, follow_symlinks=False)
    theirs.chmod(mode)
    if mode == 0o755:  # else it is one for all, such as /tmp
        os.chown(theirs, NOBODY.pw_uid, NOBODY.pw_gid)
    server = AsNobody("epoll", "wsgi", "--access-log", str(theirs / where / "access.log"))
    server._wait_ready = False
    with server:
        assert server.wait() == 1
        assert "cannot write the access log" in server.stderr()
    assert os.stat(target).st_uid == 0
    assert os.listdir(target) == [] if where else target.read_text() == "of root\n"


def test_worker_is_measured_by_its_parent() -> None:
    """Which reads /proc, where a process that has changed its user looks like root's."""
    with AsNobody("epoll", "wsgi", "--workers", "1", "--max-worker-memory", "1M") as server:
        before = server.get("/").body
        wait_until(lambda: server.get("/").body != before, "another worker serves", 30.0)


@pytest.mark.parametrize("option", [("--user", "root"), ("--group", "root")], ids=" ".join)
def test_other_user_than_root_cannot_change(option: tuple[str, str]) -> None:
    command = [python_for_all(), "-m", "septet", "serve", "shop:app", "--bind", "127.0.0.1:0", *option]
    done = as_nobody(*command)
    assert done.returncode == 1
    assert done.stderr == (
        f"septet: {option[0]} is 'root', but Septet runs as user {NOBODY.pw_uid}, which may not change users: "
        "start it as root, or leave it out\n"
    )


def test_directory_that_the_user_cannot_read(tmp_path: Path) -> None:
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    server = AsNobody("epoll", "wsgi", "--app-dir", str(private))
    server._wait_ready = False
    with server:
        assert server.wait() == 1
        assert server.stderr().endswith(f"which user {NOBODY.pw_uid} (--user, --group) cannot read\n")


class Sockets(Server):
    def prepare(self) -> None:
        self.write("mode=660&group=games")
        self._wait_ready = False

    def write(self, rights: str) -> None:
        (self.directory / "septet.toml").write_text(f"bind = 'unix:a.sock?{rights}'\n")

    def rights(self) -> tuple[int, int, int]:
        found = (self.directory / "a.sock").stat()
        return found.st_mode & 0o777, found.st_uid, found.st_gid


def test_rights_of_a_unix_socket() -> None:
    """They may change at HUP, and the listening socket is the same."""
    if os.geteuid() != 0:
        pytest.skip("only root can give files away")
    with Sockets("support.apps_wsgi:app", "--supervisor", bind=()) as server:
        path = str(server.directory / "a.sock")
        wait_until(lambda: f"listening on unix:{path} " in server.stderr(), "it serves")
        assert server.rights() == (0o660, 0, GAMES)
        inode = os.stat(path).st_ino
        server.write("mode=600&user=nobody")
        server.send_signal(signal.SIGHUP)
        wait_until(lambda: server.rights() == (0o600, NOBODY.pw_uid, GAMES), "it has other rights")
        server.send_signal(signal.SIGUSR2)
        wait_until(lambda: server.stderr().count("finishes its requests") == 2, "the new program serves")
        assert os.stat(path).st_ino == inode
        with Connection(path) as connection:
            assert connection.request("GET", "/hello").status == 200
    assert not os.path.exists(path)


def test_umask_of_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "a.sock"
    with serve("epoll", "wsgi", "--umask", "0177", bind=(f"unix:{path}",)):
        assert path.stat().st_mode & 0o777 == 0o600


def test_living_unix_socket_is_not_replaced(tmp_path: Path) -> None:
    bind = f"unix:{tmp_path / 'a.sock'}?mode=600"
    with serve("epoll", "wsgi", "--supervisor", bind=(bind,)) as server:
        second = serve("epoll", "wsgi", "--supervisor", bind=(bind,), wait_ready=False)
        with second:
            assert second.wait() == 1
            assert second.stderr().count("\n") == 1
            assert "the address is in use; choose another --bind, or stop the program that listens there" in (
                second.stderr()
            )
        assert server.get("/hello").status == 200
        assert len(children(server.pid)) == 1
