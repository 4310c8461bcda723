"""One block: one server in one scenario, loaded once. Its figures are written down raw, as a dictionary.

The figure that compares servers is CPU time per request: what the kernel charged the server's processes, user and
system, between the start and the end of the load, divided by the answers that arrived. It depends far less than
requests per second on what else the machine does, and its inverse is the throughput that one CPU can reach.
"""

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contenders import Contender, Site
from environment import CHECKOUT, HERE, program
from idle import measure_idle
from procfs import cpu_time, memory_kib
from scenario import IDLE_MEMORY, KIB, Scenario
from servers import BlockFailed, free_port, started

Block = dict[str, Any]

# A few hundred thousand requests are behind an interpreter's warm-up (adaptive bytecode, caches) on any machine.
WARM_UP_S = 1
WARM_UP_CONNECTIONS = 64
# wrk leaves latencies beyond its time-out out of its percentiles; with 15,000 users on one CPU they are seconds.
TIMEOUT_S = 30
# Of HTTP/2, on each connection.
STREAMS = 10


@dataclass(frozen=True)
class Bench:
    """What all blocks of a run share. The generator has a CPU of its own, or it would be measured with the server."""

    duration_s: int
    server_cpu: int
    client_cpu: int
    files: Path


def measure(bench: Bench, scenario: Scenario, contender: Contender) -> Block:
    """Run one block.

    Raises:
        BlockFailed: the server did not run or answer, or the generator failed.
    """
    with _scratch() as scratch:
        site = Site(scenario.app, free_port(), scratch, bench.files, scenario.tls, scenario.websocket, scenario.http2)
        with started(contender, scenario, site, bench.server_cpu) as pid:
            if scenario.metric is IDLE_MEMORY:
                return measure_idle(pid, site.port, scenario.connections, len(scenario.answer), scenario.tls)
            return _measure_load(bench, scenario, site.port, pid)


@contextmanager
def _scratch() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="bench-peers-") as name:
        yield Path(name)


def _measure_load(bench: Bench, scenario: Scenario, port: int, pid: int) -> Block:
    load = _septet_load if scenario.mix else _wrk
    if scenario.websocket or scenario.http2:
        load = _websocket_load if scenario.websocket else _h2load
    warm_up = min(scenario.connections, WARM_UP_CONNECTIONS)
    load(bench, scenario, port, WARM_UP_S, warm_up)
    before = cpu_time(pid)
    block = load(bench, scenario, port, bench.duration_s * scenario.stretch, scenario.connections)
    spent = cpu_time(pid) - before
    if not block["requests"]:
        raise BlockFailed(f"no request was answered: {block['errors']}")
    if block["bytes"] < block["requests"] * len(scenario.answer):
        raise BlockFailed(f"{block['requests']} answers held {block['bytes']} bytes: some were cut short")
    block |= {"cpu_user_s": round(spent.user_s, 2), "cpu_system_s": round(spent.system_s, 2)}
    block["memory_kib"] = memory_kib(pid)
    return block


def _wrk(bench: Bench, scenario: Scenario, port: int, duration_s: int, connections: int) -> Block:
    """Load the server with wrk, or with the scenario's own program, and return what wrk/report.lua or it printed."""
    if scenario.script.endswith(".py"):
        how = [str(HERE / scenario.script), str(port), str(connections), str(duration_s), str(len(scenario.posted))]
        return _result(*_generate(bench, [sys.executable, *how], HERE, duration_s))
    how = ["-t1", f"-c{connections}", f"-d{duration_s}", "--timeout", f"{TIMEOUT_S}", "-s", scenario.script]
    scheme = "https" if scenario.tls else "http"
    command = [program("wrk"), *how, f"{scheme}://127.0.0.1:{port}{scenario.path}"]
    # Lua finds report.lua in the working directory.
    return _result(*_generate(bench, command, HERE / "wrk", duration_s))


def _result(lines: list[str], complaint: str) -> Block:
    marked = [line for line in lines if line.startswith("RESULT ")]
    if not marked:
        raise BlockFailed(f"the generator gave no result: {complaint}")
    result: Block = json.loads(marked[0].removeprefix("RESULT "))
    return result


def _h2load(bench: Bench, scenario: Scenario, port: int, duration_s: int, connections: int) -> Block:
    """Load the server with h2load, which tells the latency of each request in a file."""
    with _scratch() as scratch:
        log, body = scratch / "latencies", scratch / "body"
        body.write_bytes(scenario.posted)
        how = ["-t1", f"-c{connections}", f"-m{STREAMS}", f"-D{duration_s}", f"--log-file={log}"]
        how += [f"-d{body}"] if scenario.posted else []
        command = [program("h2load", "nghttp2-client"), *how, f"http://127.0.0.1:{port}{scenario.path}"]
        lines, complaint = _generate(bench, command, scratch, duration_s)
        counted = re.search(r"(\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", "\n".join(lines))
        data = re.search(r"\((\d+)\) data", "\n".join(lines))
        if counted is None or data is None:
            raise BlockFailed(f"h2load gave no result: {complaint}")
        waits = sorted(int(line.split("\t")[2]) for line in log.read_text().splitlines()) or [0]
    succeeded, failed, errored, late = map(int, counted.groups())
    return {
        "requests": succeeded,
        "duration_us": duration_s * 1_000_000,
        "bytes": int(data[1]),
        "p50_us": waits[len(waits) // 2],
        "p99_us": waits[len(waits) * 99 // 100],
        "max_us": waits[-1],
        "errors": {"failed": failed, "errored": errored, "timeout": late},
    }


def _septet_load(bench: Bench, scenario: Scenario, port: int, duration_s: int, connections: int) -> Block:
    """Load the server with Septet's generator; latencies are those of the target `quick`, the rest is of all."""
    assert scenario.mix is not None, "wrk loads this scenario"
    rate = [] if scenario.mix.rate is None else ["--rate", str(scenario.mix.rate)]
    how = ["--users", str(connections), "--duration", str(duration_s), "--warmup", "0", "--timeout", str(TIMEOUT_S)]
    url = f"http://127.0.0.1:{port}/"
    command = [sys.executable, "-m", "load", url, "--scenario", str(HERE / scenario.mix.file), *how, *rate]
    last = _figures_of_septet_load(bench, command, duration_s)
    quick = next(target for target in last["targets"] if target["target"] == "quick")
    if not quick["answers"]:
        raise BlockFailed(f"no quick request was answered: {last['errors']}")
    return {
        "requests": last["answers"],
        "quick_requests": quick["answers"],
        "duration_us": round(last["window_s"] * 1e6),
        "bytes": last["body_bytes"],
        "p50_us": quick["latency_us"]["p50"],
        "p99_us": quick["latency_us"]["p99"],
        "max_us": quick["latency_us"]["max"],
        "late_p99_us": last["send_late_us"]["p99"] or 0 if scenario.mix.rate else 0,
        "errors": last["errors"],
    }


def _websocket_load(bench: Bench, scenario: Scenario, port: int, duration_s: int, connections: int) -> Block:
    """Load the server with messages, one at a time on each connection."""
    how = ["--users", str(connections), "--duration", str(duration_s), "--warmup", "0", "--timeout", str(TIMEOUT_S)]
    command = [sys.executable, "-m", "load", f"ws://127.0.0.1:{port}/", *how]
    last = _figures_of_septet_load(bench, command, duration_s)
    return {
        "requests": last["answers"],
        "duration_us": round(last["window_s"] * 1e6),
        "bytes": last["body_bytes"],
        "p50_us": last["latency_us"]["p50"],
        "p99_us": last["latency_us"]["p99"],
        "max_us": last["latency_us"]["max"],
        "errors": last["errors"],
    }


def _figures_of_septet_load(bench: Bench, command: list[str], duration_s: int) -> Block:
    """The generator runs from its directory: it needs no installation, nor any server of the comparison."""
    lines, complaint = _generate(bench, command, CHECKOUT / "src" / "septet" / "lab", duration_s)
    last: Block = json.loads(lines[-1]) if lines else {}
    if last.get("event") != "figures":
        raise BlockFailed(f"septet load gave no figures: {last or complaint}")
    return last


def _generate(bench: Bench, command: list[str], directory: Path, duration_s: int) -> tuple[list[str], str]:
    """Run a load generator on its CPU; returns the lines that it wrote, and the end of its complaint if any."""
    pinned = [program("taskset", "util-linux"), "-c", str(bench.client_cpu), *command]
    within_s = duration_s + 2 * TIMEOUT_S
    try:
        done = subprocess.run(pinned, capture_output=True, text=True, cwd=directory, timeout=within_s)
    except subprocess.TimeoutExpired as problem:
        raise BlockFailed(f"the load generator did not end within {within_s} s") from problem
    return done.stdout.splitlines(), (done.stderr or done.stdout).strip()[-200:]


def figures(block: Block) -> dict[str, float]:
    """The block's figures by the keys of the metrics of scenario.py."""
    errors = sum(block["errors"].values())
    if "idle_bytes" in block:
        return {"idle_kib": block["idle_bytes"] / KIB / block["connections"], "errors": errors}
    wall_s = block["duration_us"] / 1e6
    user, system, requests = block["cpu_user_s"], block["cpu_system_s"], block["requests"]
    return {
        "cpu_us": (user + system) / requests * 1e6,
        "user_us": user / requests * 1e6,
        "system_us": system / requests * 1e6,
        "requests_per_s": requests / wall_s,
        "p50_ms": block["p50_us"] / 1e3,
        "p99_ms": block["p99_us"] / 1e3,
        "late_ms": block.get("late_p99_us", 0) / 1e3,
        "busy_percent": (user + system) / wall_s * 100,
        "errors": errors,
    }
