"""The cache of files: the next request sees each change of a file and of the directories that lead to it."""

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from septet.apps.static import Static
from septet.apps.static.files import IN_MEMORY, REMEMBERED_BYTES, SETTLED_NS, Changed, Files
from septet.apps.static.tree import Tree
from septet.exchange import Response
from support.carrier import Watched
from support.messages import render

Run = Callable[..., Any]
Change = Callable[[Path], object]


@pytest.fixture
def static(root: Path, an_hour_ahead: Callable[[], int]) -> Static:
    return Static("/", str(root / "public"), clock=an_hour_ahead)


def let_clock_tick(root: Path) -> None:
    """Wait until a change gets another time than all changes before it: before Linux 6.13 up to 10 ms."""
    probe = root / "probe"
    probe.write_bytes(b"")
    begun = probe.stat().st_ctime_ns
    while probe.stat().st_ctime_ns == begun:
        probe.write_bytes(b"")


def respond(static: Static, path: str = "/one/two/a.txt", *fields: str) -> Response:
    """The answer itself: a cached one is the same object again."""
    session = Watched()
    session.receive(render("GET", path, *fields))
    return static(session)


def seen(static: Static, path: str = "/one/two/a.txt", *fields: str) -> tuple[int, bytes]:
    """Status and content of an answer that is in memory."""
    head, body, rest = respond(static, path, *fields)
    assert rest is None
    assert isinstance(body, bytes)
    return head.status, body


def rewrite(root: Path) -> None:
    """With content of the same length and the old modification time."""
    path = root / "public/one/two/a.txt"
    before = path.stat()
    path.write_bytes(b"A TEXT")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def replace(root: Path) -> None:
    """By a file of the same length and age."""
    path, other = root / "public/one/two/a.txt", root / "other"
    other.write_bytes(b"A TEXT")
    os.utime(other, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
    other.replace(path)


def append(root: Path) -> None:
    with (root / "public/one/two/a.txt").open("ab") as file:
        file.write(b" and more")


def file_by_link(root: Path) -> None:
    path = root / "public/one/two/a.txt"
    path.unlink()
    path.symlink_to(root / "outside/two/a.txt")


def link_to_itself_moved(root: Path) -> None:
    """The file itself is unchanged, but not in the directory any more."""
    path = root / "public/one/two/a.txt"
    path.rename(root / "a.txt")
    path.symlink_to(root / "a.txt")


def parent_by_link(root: Path) -> None:
    (root / "public/one/two").rename(root / "gone")
    (root / "public/one/two").symlink_to(root / "outside/two")


def grandparent_by_link(root: Path) -> None:
    (root / "public/one").rename(root / "gone")
    (root / "public/one").symlink_to(root / "outside")


def grandparent_moved_out(root: Path) -> None:
    """All files are unchanged, but outside of the directory."""
    (root / "public/one").rename(root / "gone")
    (root / "public/one").symlink_to(root / "gone")


def parent_by_file(root: Path) -> None:
    (root / "public/one/two").rename(root / "gone")
    (root / "public/one/two").write_bytes(b"a file")


def root_gone(root: Path) -> None:
    (root / "public").rename(root / "gone")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (rewrite, (200, b"A TEXT")),
        (replace, (200, b"A TEXT")),
        (append, (200, b"a text and more")),
        (lambda root: (root / "public/one/two/a.txt").unlink(), (404, b"Not Found\n")),
        (lambda root: (root / "public/one").rename(root / "gone"), (404, b"Not Found\n")),
        (file_by_link, (404, b"Not Found\n")),
        (link_to_itself_moved, (404, b"Not Found\n")),
        (parent_by_link, (404, b"Not Found\n")),
        (grandparent_by_link, (404, b"Not Found\n")),
        (grandparent_moved_out, (404, b"Not Found\n")),
        (parent_by_file, (404, b"Not Found\n")),
        (root_gone, (404, b"Not Found\n")),
    ],
)
def test_change_is_seen(static: Static, root: Path, change: Change, expected: tuple[int, bytes]) -> None:
    assert respond(static) is respond(static)
    tag = respond(static)[0].fields
    let_clock_tick(root)
    change(root)
    assert seen(static) == expected
    assert respond(static)[0].fields != tag


def test_link_that_turns_away(static: Static, root: Path) -> None:
    """A link in the middle of a name leads inside first, then out."""
    link = root / "public/link"
    link.symlink_to("one")
    assert seen(static, "/link/two/a.txt") == (200, b"a text")
    link.unlink()
    link.symlink_to(root / "outside")
    assert seen(static, "/link/two/a.txt") == (404, b"Not Found\n")
    link.unlink()
    link.symlink_to("one/two")
    assert seen(static, "/link/a.txt") == (200, b"a text")


def test_absolute_link_inside(static: Static, root: Path) -> None:
    (root / "public/link").symlink_to(root / "public/one/two/a.txt")
    assert seen(static, "/link") == (200, b"a text")


def test_directory_that_is_a_link(root: Path, an_hour_ahead: Callable[[], int]) -> None:
    """The root is a link that is switched from one release to the next."""
    current = root / "current"
    current.symlink_to("public/one")
    static = Static("/", str(current), clock=an_hour_ahead)
    assert respond(static, "/two/a.txt") is respond(static, "/two/a.txt")
    (root / "next").symlink_to("outside")
    (root / "next").replace(current)
    assert seen(static, "/two/a.txt") == (200, b"secret")
    (root / "outside/two/link").symlink_to(root / "public/one/two/a.txt")
    assert seen(static, "/two/link") == (404, b"Not Found\n")


def test_directory_relative_to_where_the_server_was_started(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)
    static = Static("/", "public")
    monkeypatch.chdir("/")
    assert seen(static) == (200, b"a text")


def test_coded_file_comes_and_goes(static: Static, root: Path) -> None:
    coded, accepts = root / "public/one/two/a.txt.gz", "Accept-Encoding: gzip"
    assert seen(static, "/one/two/a.txt", accepts) == (200, b"a text")
    coded.write_bytes(b"coded")
    assert seen(static, "/one/two/a.txt", accepts) == (200, b"coded")
    let_clock_tick(root)
    coded.write_bytes(b"CODED")
    assert seen(static, "/one/two/a.txt", accepts) == (200, b"CODED")
    os.utime(coded, (0, 0))
    assert seen(static, "/one/two/a.txt", accepts) == (200, b"a text")
    coded.unlink()
    assert b"Vary" not in dict(respond(static, "/one/two/a.txt", accepts)[0].fields)


def test_file_that_has_just_changed_is_not_remembered(root: Path) -> None:
    """A second change within the same tick of the file system's clock would not be seen."""
    changed_ns = (root / "public/one/two").stat().st_ctime_ns
    young = Static("/", str(root / "public"), clock=lambda: changed_ns + SETTLED_NS - 1)
    assert respond(young) is not respond(young)


def test_different_spellings_are_remembered_once(static: Static) -> None:
    known = respond(static)
    for path in ("/one/two/%61.txt", "/one//two/a.txt", "/one/./two/../two/a.txt", "/one%2ftwo/a.txt"):
        assert respond(static, path) is known


def test_memory_is_bounded(static: Static, root: Path) -> None:
    """The oldest is dropped first."""
    names = [f"/{number}" for number in range(REMEMBERED_BYTES // IN_MEMORY + 1)]
    for name in names:
        (root / "public" / name[1:]).write_bytes(bytes(IN_MEMORY))
    first = {name: respond(static, name) for name in names}
    assert respond(static, names[-1]) is first[names[-1]]
    assert respond(static, names[0]) is not first[names[0]]


def test_many_names_are_bounded(root: Path, an_hour_ahead: Callable[[], int]) -> None:
    """Empty files count as well."""
    files = Files(Tree(str(root / "public")), b"", an_hour_ahead)
    names = [b"%d" % number for number in range(REMEMBERED_BYTES // 4096 + 1)]
    for name in names:
        (root / "public" / name.decode()).touch()
    first = {name: files.find(name) for name in names}
    assert files.find(names[-1]) is first[names[-1]]
    assert files.find(names[0]) is not first[names[0]]


def test_open_file_is_the_one_that_was_found(root: Path, an_hour_ahead: Callable[[], int]) -> None:
    """The file may be replaced between the check and the opening; then its head would be wrong."""
    path = root / "public/large"
    path.write_bytes(bytes(IN_MEMORY + 1))
    files = Files(Tree(str(root / "public")), b"", an_hour_ahead)
    found = files.find(b"large").sole
    assert found is not None
    files.open(found)
    let_clock_tick(root)
    path.write_bytes(bytes(IN_MEMORY + 1))
    with pytest.raises(Changed):
        files.open(found)


def test_no_content_is_ever_mixed(root: Path) -> None:
    """While a thread replaces a file again and again, each answer is one of its states, with the tag of that state."""
    path = root / "public/one/two/a.txt"
    path.write_bytes(b"9" * 50_000)
    static = Static("/", str(root / "public"))
    done = threading.Event()

    def keep_replacing() -> None:
        other = root / "other"
        for number in range(400):
            other.write_bytes(b"%d" % (number % 10) * 50_000)
            other.replace(path)
        done.set()

    writer = threading.Thread(target=keep_replacing)
    writer.start()
    contents: dict[bytes, set[bytes]] = {}
    while not done.is_set():
        head, body, _ = respond(static)
        assert isinstance(body, bytes)
        if head.status == 200:
            contents.setdefault(dict(head.fields)[b"ETag"], set()).add(body)
    writer.join()
    assert contents
    for tag, states in contents.items():
        assert tag.startswith((b'"', b'W/"'))
        assert len(states) == 1
        assert len(set(states.pop())) == 1


def test_race_between_link_and_directory(root: Path) -> None:
    """While a directory and a link that leads out are swapped as fast as possible, no answer has the secret."""
    public = root / "public"
    (public / "link").symlink_to(root / "outside")
    static = Static("/", str(public))
    done = threading.Event()

    def keep_swapping() -> None:
        for _ in range(1000):
            (public / "one").rename(public / "away")
            (public / "link").rename(public / "one")
            (public / "one").rename(public / "link")
            (public / "away").rename(public / "one")
        done.set()

    swapper = threading.Thread(target=keep_swapping)
    swapper.start()
    while not done.is_set():
        assert seen(static) in ((200, b"a text"), (404, b"Not Found\n"), (503, b"Service Unavailable\n"))
    swapper.join()
