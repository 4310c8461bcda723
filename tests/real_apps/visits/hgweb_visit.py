"""hg at hgweb, and a browser.

hgweb calls `write` from its iterable, which PEP 3333 forbids, for archives; and its streams are generators.
"""

import io
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from real_apps.sizes import FILE_BYTES
from real_apps.visit import Site, expect, expect_status, pattern, step

COMMAND_S = 60
SETTINGS = "[web]\npush_ssl = false\nallow-push = *\nallow-archive = zip\n"


def prepare(directory: Path) -> None:
    """A repository with one change, which is always the same."""
    repository = directory / "repository"
    _hg("init", str(repository), at=directory)
    (repository / ".hg" / "hgrc").write_text(SETTINGS)
    _commit(repository, "pattern.txt")


@step
def pages(site: Site) -> None:
    with site.client() as browser:
        for target in ("/", "/log", "/file/0", "/rev/0", "/static/mercurial.js", "/?cmd=capabilities"):
            expect_status(browser.get(target))
        expect(expect_status(browser.get("/raw-file/0/pattern.txt")).content, pattern(FILE_BYTES), "the file")
        expect_status(browser.get("/rev/nosuch"), 404)


@step
def archive(site: Site) -> None:
    """Two on one connection: the first one's end is seen by the second."""
    with site.client() as browser:
        for _ in range(2):
            content = expect_status(browser.get("/archive/0.zip")).content
            with zipfile.ZipFile(io.BytesIO(content)) as files:
                name = next(name for name in files.namelist() if name.endswith("/pattern.txt"))
                expect(files.read(name), pattern(FILE_BYTES), "the file in the archive")


@step
def clone_and_push(site: Site) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        here = Path(temporary)
        for way in ("--pull", "--stream"):
            _hg("clone", way, site.url, way.strip("-"), at=here)
        _commit(here / "pull", "pushed.txt")
        _hg("push", at=here / "pull")
        _hg("pull", "--update", at=here / "stream")
        expect((here / "stream" / "pushed.txt").read_bytes(), pattern(FILE_BYTES), "what was pushed")


def _commit(repository: Path, name: str) -> None:
    (repository / name).write_bytes(pattern(FILE_BYTES))
    _hg("commit", "--addremove", "--message", name, "--date", "0 0", "--user", "somebody", at=repository)


def _hg(command: str, *arguments: str, at: Path) -> None:
    done = subprocess.run(
        [str(Path(sys.executable).with_name("hg")), command, *arguments],
        cwd=at,
        env=os.environ | {"HGRCPATH": "", "HGPLAIN": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=COMMAND_S,
    )
    assert done.returncode == 0, f"hg {command} failed: {(done.stderr or done.stdout)[-300:]}"
