"""What is measured: cells, settings, the order of the runs, other servers, profiles, applications, CPUs."""

import asyncio
import json
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from septet.errors import UsageError
from septet.examples.causes import asgi, burn, number, wsgi
from septet.interpreter import is_free_threaded
from septet.lab import contenders, known_models, profiles
from septet.lab.applications import SMALL, application
from septet.lab.experiment import Cell, Experiment, Run
from septet.lab.interpreters import Interpreter
from septet.lab.pinning import Pinning, pinning
from septet.lab.threads.gil import GilWatch
from support.waiting import wait_until


def experiment(**changes: Any) -> Experiment:
    return Experiment(**{"out": Path("out"), "models": ("poll", "epoll"), "users": (5, 50), **changes})


def test_cells_and_settings() -> None:
    swept = experiment(sweeps=(("backlog", ("10", "128")), ("workers", ("1", "2"))))
    assert len(swept.cells()) == 2 * 2 * 4
    assert swept.cells()[0] == Cell("poll", 5, (("backlog", "10"), ("workers", "1")))
    assert swept.cells()[0].label == "poll backlog=10 workers=1"
    assert swept.command(swept.cells()[1], 80)[-4:] == ["--backlog", "10", "--workers", "2"]


def test_a_model_is_measured_once_without_the_options_that_it_lacks() -> None:
    swept = experiment(users=(5,), sweeps=(("backlog", ("1", "2")), ("threads", ("1", "2", "3"))))
    assert len(swept.cells()) == 2 * 6
    lacking = replace(swept, lacking={"poll": ("threads",)})
    assert [cell.setting for cell in lacking.cells() if cell.model == "poll"] == [
        (("backlog", "1"),),
        (("backlog", "2"),),
    ]
    assert len([cell for cell in lacking.cells() if cell.model == "epoll"]) == 6
    assert Experiment.from_values(json.loads(json.dumps(lacking.values()))) == lacking
    values = lacking.values()
    del values["lacking"]  # by an older version
    assert Experiment.from_values(values) == swept


def test_which_options_models_lack() -> None:
    """Asked of the server; --backlog is for all."""
    found = known_models.unsupported_options(("iterative", "forking", "epoll"), ("threads", "workers", "backlog"))
    assert found == {"iterative": ("threads",), "forking": ("threads", "workers")}
    with pytest.raises(UsageError, match="--sweep: iterative, forking cannot be told --threads"):
        known_models.unsupported_options(("iterative", "forking"), ("backlog", "threads"))


def test_each_repeat_has_its_own_order() -> None:
    many = experiment(users=(1, 2, 3, 4, 5), repeats=3, seed=7)
    runs = many.runs()
    assert Counter(run.cell for run in runs) == dict.fromkeys(many.cells(), 3)
    orders = [[run.cell for run in runs if run.repeat == repeat] for repeat in (1, 2, 3)]
    assert [run.repeat for run in runs] == [1] * 10 + [2] * 10 + [3] * 10
    assert orders[0] != orders[1] != orders[2] != many.cells()
    assert many.runs() == runs  # the seed tells all
    assert experiment().runs() == [Run(cell) for cell in experiment().cells()]


def test_experiment_survives_json() -> None:
    other = contenders.OtherServer("peer", "peer {port}", {"A": "b"})
    whole = experiment(
        sweeps=(("backlog", ("10",)),),
        others=(other,),
        pinned=Pinning((0, 1), (2,)),
        model_options={"poll": ("--x", "y")},
        scenario=Path("/s.toml"),
    )
    assert Experiment.from_values(json.loads(json.dumps(whole.values()))) == whole


def test_other_servers(tmp_path: Path) -> None:
    path = tmp_path / "peers.toml"
    path.write_text(
        "[plain]\ncommand = \"serve 'a b' --bind {host}:{port} {app}\"\nenvironment = { N = 3 }\n"
        '[swept]\ncommand = "python -m serve -w {workers} {port}"\n'
    )
    plain, swept = contenders.read(str(path), frozenset({"workers"}))
    whole = experiment(models=(), users=(5,), others=(plain, swept), sweeps=(("workers", ("1", "2")),))
    cells = whole.cells()
    assert [cell.label for cell in cells] == ["plain", "swept workers=1", "swept workers=2"]
    assert whole.command(cells[0], 80) == ["serve", "a b", "--bind", "127.0.0.1:80", whole.app_words[0]]
    assert whole.command(cells[2], 80)[1:] == ["-m", "serve", "-w", "2", "80"]
    assert "python" in whole.command(cells[2], 80)[0]
    assert whole.environment(tmp_path, cells[0])["N"] == "3"
    path.write_text('[swept]\ncommand = "python -m serve -c {cores} {port}"\n')
    with pytest.raises(UsageError, match=r"swept has \{cores\}, which nothing fills in"):
        contenders.read(str(path))


def test_examples_of_other_servers() -> None:
    names = [server.name for server in contenders.read("gunicorn-gthread, granian-wsgi")]
    assert names == ["gunicorn-gthread", "granian-wsgi"]


@pytest.mark.parametrize(
    "text", ["[a]", "a = 1", "[a]\ncommand = ''", '[a]\ncommand = "x \'"', "[a]\ncommand = 'x'\nport = 1", "["]
)
def test_tables_that_are_wrong(text: str, tmp_path: Path) -> None:
    (tmp_path / "peers.toml").write_text(text)
    with pytest.raises(UsageError, match="--servers: "):
        contenders.read(str(tmp_path / "peers.toml"))


def test_profile_of_the_seed() -> None:
    seed = profiles.profile("seed")
    assert (seed.users[0], seed.users[-1], len(seed.users)) == (20, 15_000, 24)
    assert seed.options == ("--backlog", "10")
    curves = profiles.seed_curves()
    assert set(curves) == {"iterative", "forking", "preforked", "threaded", "prethreaded", "poll", "epoll"}
    assert curves["epoll"][-1] == (15_000, 1281.0)
    assert curves["iterative"] == [(20, 7.0), (50, 7.0), (100, 7.0), (200, 7.0)]
    whole = experiment(models=("prethreaded",), serve_options=seed.options, model_options=seed.model_options)
    assert whole.command(Cell("prethreaded", 20), 80)[-4:] == ["--backlog", "10", "--threads", "100"]


def test_pinning_keeps_apart() -> None:
    assert pinning([0]) == ((), ())
    assert pinning([0, 1]) == ((0,), (1,))
    assert pinning([0, 1, 2, 3]) == ((0, 1, 2), (3,))
    assert pinning(list(range(16))) == (tuple(range(12)), (12, 13, 14, 15))
    found = pinning()
    assert not set(found.server) & set(found.client)


def test_applications_by_name() -> None:
    assert application(None).path == "/guestbook"
    assert application("shop.web:app").words == ("shop.web:app",)
    assert application("wait").words == ("septet.examples.causes.wsgi:wait",)
    option, value = application("static").words
    assert option == "--static"
    assert Path(value.removeprefix("/="), application("static").path[1:]).is_file()


def answer_of_wsgi(app: Any, query: str) -> bytes:
    return b"".join(app({"QUERY_STRING": query}, lambda status, headers: None))


def answer_of_asgi(app: Any, query: str) -> bytes:
    parts: list[bytes] = []

    async def send(message: dict[str, Any]) -> None:
        parts.append(message.get("body", b""))

    async def receive() -> dict[str, Any]:
        raise AssertionError("none of them reads a body")

    asyncio.run(app({"type": "http", "query_string": query.encode()}, receive, send))
    return b"".join(parts)


@pytest.mark.parametrize("word", ["hello", "cpu", "wait", "stream"])
def test_small_applications_do_the_same_in_both_interfaces(word: str) -> None:
    assert {word, f"{word}-asgi"} <= SMALL.keys()
    query = "ms=1&pieces=3"
    answer = answer_of_wsgi(getattr(wsgi, word), query)
    assert answer == answer_of_asgi(getattr(asgi, word), query)
    assert len(answer) == (3 * 1024 if word == "stream" else 13)


def test_small_applications_take_their_time() -> None:
    begun, cpu = time.monotonic(), time.thread_time()
    answer_of_wsgi(wsgi.wait, "ms=50")
    assert time.monotonic() - begun >= 0.05
    burn(20)
    assert time.thread_time() - cpu >= 0.02
    assert number("ms=x", "ms", 7) == number("", "ms", 7) == 7


SPINNERS = """
import threading
def spin():
    while True:
        pass
for _ in range(3):
    threading.Thread(target=spin).start()
print("ready", flush=True)
"""


def test_the_gil_is_that_of_the_cell(tmp_path: Path) -> None:
    pythons = (
        Interpreter("3.13.0", "python3.13", "3.13.0 (main, Oct 7 2024, 09:38:07) [GCC 13.2.0]"),
        Interpreter("3.13.5t", "python3.13t", "3.13.5 experimental free-threading build (main, Nov 29 2026) [GCC 12]"),
        Interpreter("3.14.0t", "python3.14t", "3.14.0 free-threading build (main, Oct 7 2025, 09:34:55) [GCC 13.3.0]"),
    )
    experiment = Experiment(out=tmp_path, models=("epoll",), users=(1,), pythons=pythons)
    assert [experiment.has_gil(cell) for cell in experiment.cells()] == [True, False, False]


@pytest.mark.skipif(is_free_threaded(), reason="without a GIL no thread waits for it")
def test_gil_share() -> None:
    """Three threads that want the GIL: two thirds of their time they wait for it, or for a CPU."""
    shares: list[float] = []
    with subprocess.Popen(
        [sys.executable, "-c", SPINNERS], start_new_session=True, stdout=subprocess.PIPE, text=True
    ) as process:
        watch = GilWatch(process.pid, 1)
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            assert watch.share() is None  # nothing was seen yet

            def looked_enough() -> bool:
                watch.look()
                share = watch.share()
                shares.extend([] if share is None else [share])
                return len(shares) > 100

            wait_until(looked_enough, "enough looks have been taken")
        finally:
            process.kill()
            watch.close()
    assert 0.2 < shares[-1] < 0.95
