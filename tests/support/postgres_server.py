"""A real PostgreSQL server on a unix socket of its own directory, for the tests that need one, and gone afterwards."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.waiting import PATIENCE_S, wait_until

USER = "postgres"
"""The first role. Also the account for root to run the server as, which refuses root; the Debian package makes it."""


def postgres_programs() -> Path | None:
    """Their directory, or None; Debian keeps those of the server off PATH, apart for each major version."""
    on_path = shutil.which("initdb")
    if on_path is not None:
        return Path(on_path).resolve().parent
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    return versions[-1].parent if versions else None


@contextmanager
def postgres_server(programs: Path) -> Iterator[dict[str, str]]:
    """Yields what a client needs to connect. The cluster is new, and trusts whoever reaches its socket."""
    account = USER if os.geteuid() == 0 else None
    # Not pytest's directory: the path of a unix socket has 107 bytes at most.
    with tempfile.TemporaryDirectory(prefix="septet-pg-") as directory:
        if account is not None:
            shutil.chown(directory, account)
        initdb = [programs / "initdb", "-D", f"{directory}/data", "-U", USER, "-A", "trust", "-E", "UTF8", "--no-sync"]
        made = subprocess.run(initdb, user=account, cwd=directory, capture_output=True, text=True)
        assert made.returncode == 0, made.stderr
        with _running(programs, directory, account):
            yield {"host": directory, "user": USER, "database": "postgres"}


@contextmanager
def _running(programs: Path, directory: str, account: str | None) -> Iterator[None]:
    log = Path(directory, "log")
    options = f"-c listen_addresses= -c unix_socket_directories={directory} -c fsync=off"
    command = [programs / "postgres", "-D", f"{directory}/data", *options.split()]
    with log.open("wb") as output, subprocess.Popen(command, user=account, stdout=output, stderr=output) as process:
        try:
            wait_until(lambda: _answers(programs, directory) or process.poll() is not None, "PostgreSQL is up or gone")
            assert process.poll() is None, log.read_text()
            yield
        finally:
            process.terminate()
            process.wait(PATIENCE_S)


def _answers(programs: Path, directory: str) -> bool:
    return subprocess.run([programs / "pg_isready", "-q", "-h", directory, "-U", USER]).returncode == 0
