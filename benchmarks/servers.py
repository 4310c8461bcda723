"""Start one server for one block, wait until it answers correctly, and end it with all its processes."""

import http.client
import os
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from contenders import Contender, Site
from environment import HERE, program
from scenario import Scenario

START_WITHIN_S = 20.0
STOP_WITHIN_S = 5.0


class BlockFailed(Exception):
    """A block gave no figures; the text says why."""


@contextmanager
def started(contender: Contender, scenario: Scenario, site: Site, cpu: int) -> Iterator[int]:
    """Run the contender's server on one CPU for as long as the context lasts; gives its process id.

    Raises:
        BlockFailed: it ends, does not answer in time, or answers something else than the others.
    """
    log = site.scratch / "server.log"
    command = [program("taskset", "util-linux"), "-c", str(cpu), *contender.command(site)]
    with log.open("wb") as output:
        # A session of its own: whatever the server starts can be ended with it, by the group's id.
        server = subprocess.Popen(
            command, stdout=output, stderr=output, cwd=HERE, env=_variables(site), start_new_session=True
        )
    try:
        _wait_until_it_answers(server, scenario, site, log)
        yield server.pid
    finally:
        _end(server)


def _variables(site: Site) -> dict[str, str]:
    """Only what a server needs: variables such as SEPTET_MODEL or WEB_CONCURRENCY must not bend the comparison."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    return {**kept, "PYTHONPATH": str(HERE), "BENCH_FILES": str(site.files)}


def _wait_until_it_answers(server: subprocess.Popen[bytes], scenario: Scenario, site: Site, log: Path) -> None:
    deadline = time.monotonic() + START_WITHIN_S
    while True:
        if server.poll() is not None:
            raise BlockFailed(f"ended at start with status {server.returncode}: {_last_line(log)}")
        try:
            status, body = _ask(site.port, scenario)
            break
        except (OSError, http.client.HTTPException) as problem:
            if time.monotonic() > deadline:
                raise BlockFailed(f"no answer within {START_WITHIN_S:g} s: {problem}") from problem
            time.sleep(0.02)
    if status != 200 or body != scenario.answer:
        raise BlockFailed(
            f"answered {status} with {len(body)} bytes ({body[:40]!r}) instead of 200 with the "
            f"{len(scenario.answer)} bytes that all must give"
        )


def _ask(port: int, scenario: Scenario) -> tuple[int, bytes]:
    """Status and body of the answer to the scenario's request."""
    if scenario.http2:
        return _ask_by_http2(port, scenario)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    if scenario.tls:
        anyone = ssl.create_default_context()
        anyone.check_hostname, anyone.verify_mode = False, ssl.CERT_NONE
        connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=5, context=anyone)
    try:
        connection.request("POST" if scenario.posted else "GET", scenario.path, body=scenario.posted or None)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def _ask_by_http2(port: int, scenario: Scenario) -> tuple[int, bytes]:
    """The same by curl; the standard library has no HTTP/2. Raises OSError."""
    post = ["--data-binary", "@-"] if scenario.posted else []
    how = ["-sS", "--http2-prior-knowledge", "--max-time", "5", "-w", "%{stderr}%{http_code}", *post]
    command = [program("curl"), *how, f"http://127.0.0.1:{port}{scenario.path}"]
    done = subprocess.run(command, input=scenario.posted, capture_output=True)
    if done.returncode:
        raise OSError(done.stderr.decode(errors="replace").strip())
    return int(done.stderr), done.stdout


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")[:200]


def _end(server: subprocess.Popen[bytes]) -> None:
    """Ask it to stop; connections that a generator left behind may keep it from doing so in good time."""
    server.terminate()
    try:
        server.wait(STOP_WITHIN_S)
    except subprocess.TimeoutExpired:
        pass
    try:
        os.killpg(server.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    server.wait()


def free_port() -> int:
    """A port that nobody listens at now. Another one for each block: connections of the last may linger."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
