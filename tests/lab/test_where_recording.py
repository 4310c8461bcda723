"""Where a request's time goes, on servers that run, in cases of which it is known. Bounds are ratios, and generous."""

import socket
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from septet.lab.client import Load, Receive
from septet.lab.experiment import Experiment
from septet.lab.load import Plan
from septet.lab.where import parts
from septet.lab.where.recording import LIMIT_S, numbers, record, reserved_s

CAUSES = "septet.examples.causes.wsgi:"
pytestmark = pytest.mark.timeout(120)


def recorded(
    directory: Path, app: str, model: str, users: int, *options: str, load: Load | None = None, **more: Any
) -> dict[str, Any]:
    """The one cell of such an experiment."""
    experiment = Experiment(
        out=directory / "out", models=(model,), users=(users,), app_words=(app,), serve_options=options, **more
    )
    told: list[str] = []
    where = record(experiment, LIMIT_S, told.append, load)
    assert (where["skipped"], told) == (None, [])
    cell: dict[str, Any]
    (cell,) = where["cells"]
    assert cell["failure"] is None
    assert cell["requests"] >= 0.9 * cell["answers"] > 0
    assert sum(cell["parts_us"].values()) == pytest.approx(cell["latency_us"], rel=0.001, abs=1)
    assert not list((directory / "out").iterdir())
    return cell


def share(cell: dict[str, Any], *of: str) -> float:
    return float(sum(cell["parts_us"][part] for part in of) / cell["latency_us"])


def recorded_asleep(*args: Any, **more: Any) -> dict[str, Any]:
    """The cell of an application that sleeps for 20 ms. How much of that it could have run and had no CPU is estimated
    from samples; on a busy machine a short recording may have none that shows it asleep: then it is made again."""
    for _ in range(3):
        cell = recorded(*args, **more)
        application, cpu = cell["parts_us"][parts.APPLICATION], cell["parts_us"][parts.CPU]
        if application > 12_000:
            break
    assert 12_000 < application < 40_000
    assert application + cpu > 19_000
    return cell


@pytest.mark.parametrize("interface", ["wsgi", "asgi"])
def test_application_that_sleeps_20_ms(interface: str, tmp_path: Path) -> None:
    app = f"septet.examples.causes.{interface}:wait"
    for _ in range(3):  # on a busy machine it waits for a CPU before and after
        cell = recorded_asleep(tmp_path, app, "epoll", 2, path="/", mode="keep-alive")
        if share(cell, parts.APPLICATION, parts.CPU) > 0.7:
            break
    assert share(cell, parts.APPLICATION, parts.CPU) > 0.7


def test_one_thread_for_eight_users(tmp_path: Path) -> None:
    cell = recorded_asleep(tmp_path, f"{CAUSES}wait", "prethreaded", 8, "--threads", "1", path="/")
    assert share(cell, parts.LISTEN, parts.BUFFER) > 0.6


def test_loop_with_two_threads_for_eight_users(tmp_path: Path) -> None:
    for _ in range(3):  # on a busy machine it waits for a CPU instead
        cell = recorded(tmp_path, f"{CAUSES}wait", "epoll", 8, "--threads", "2", path="/", mode="keep-alive")
        if share(cell, parts.THREAD) > 0.4:
            break
    assert share(cell, parts.THREAD) > 0.4
    assert share(cell, parts.LISTEN, parts.BUFFER) < 0.3


def test_threads_that_compute(tmp_path: Path) -> None:
    """A page of 5 ms CPU time, which the application has in any case; of the rest its share is small, whatever a busy
    machine makes of the whole. A thread that waits for the GIL wakes every 5 ms (sys.getswitchinterval) to ask for it,
    and there waits for a CPU each time, ten times as long where it has a twentieth of one: what is left to the GIL may
    be little, but it is not nothing. A short recording may have no sample: then it is made again."""
    for _ in range(3):
        cell = recorded(tmp_path, f"{CAUSES}cpu", "threaded", 8, path="/")
        if share(cell, parts.GIL, parts.CPU) > 0.4 and share(cell, parts.GIL) > 0.1:
            break
    assert share(cell, parts.GIL, parts.CPU) > 0.4
    assert share(cell, parts.GIL) > 0.02
    assert cell["parts_us"][parts.APPLICATION] > 4_900  # the joined records may lack a request
    assert share(cell, parts.APPLICATION) < 0.4


BIG = """
BODY = bytes(5_000_000)


def app(environ, start_response):
    start_response("200 OK", [("Content-Length", str(len(BODY)))])
    return [BODY]
"""


def read_slowly(plan: Plan, receive: Receive, scenario: Path | None) -> dict[str, Any]:
    """A load of one user who reads three answers, 64 KiB every 2 ms."""
    port = urlsplit(plan.url).port
    visits = []
    receive("measuring", {})
    for _ in range(3):
        asked, first, left = time.monotonic_ns(), 0, 5_000_000
        with socket.create_connection(("127.0.0.1", port)) as user:
            user.sendall(b"GET / HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n")
            while data := user.recv(65536):
                first = first or time.monotonic_ns()
                left -= len(data)
                time.sleep(0.002)
            assert left < 0  # there is a head as well
            visits.append([*user.getsockname(), asked, first, time.monotonic_ns()])
    receive("measured", {})
    return {"answers": 3, "visits": visits}


@pytest.mark.parametrize("model", ["iterative", "epoll"])
def test_slow_reader_of_5_mb(model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "app_of_large_answers.py").write_text(BIG)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    cell = recorded(tmp_path, "app_of_large_answers:app", model, 1, load=read_slowly, path="/")
    assert cell["latency_us"] > 100_000
    assert share(cell, parts.WRITING) > 0.8


def test_files_have_no_application(tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "a.txt").write_text("a")
    experiment = Experiment(
        out=tmp_path / "out",
        models=("epoll",),
        users=(2,),
        app_words=("--static", f"/={tmp_path / 'files'}"),
        path="/a.txt",
    )
    (cell,) = record(experiment, LIMIT_S, lambda line: None)["cells"]
    assert cell["parts_us"][parts.APPLICATION] == cell["parts_us"][parts.THREAD] == 0


def test_server_that_cannot_start(tmp_path: Path) -> None:
    experiment = Experiment(out=tmp_path / "out", models=("epoll",), users=(2, 4), app_words=("no_such_module:app",))
    cells = record(experiment, LIMIT_S, lambda line: None)["cells"]
    assert [cell["users"] for cell in cells] == [2, 4]
    assert all("no_such_module" in cell["failure"] for cell in cells)


def answer_nobody(plan: Plan, receive: Receive, scenario: Path | None) -> dict[str, Any]:
    return {"answers": 0, "errors": {"reset": 2}, "window_s": plan.duration_s, "visits": []}


def test_why_a_recording_has_no_request(tmp_path: Path) -> None:
    experiment = Experiment(out=tmp_path / "out", models=("epoll",), users=(2,), app_words=(f"{CAUSES}hello",))
    (cell,) = record(experiment, LIMIT_S, lambda line: None, answer_nobody)["cells"]
    assert cell["failure"] == "no request was answered rightly in 1.4 s: 2 x reset"
    strangers = [["127.0.0.1", 1, 5, 6, 7]]
    load: Load = lambda plan, receive, scenario: {"answers": 1, "visits": strangers}  # noqa: E731
    (cell,) = record(experiment, LIMIT_S, lambda line: None, load)["cells"]
    assert cell["failure"] == "the span log has none of the 1 requests that were answered"


def test_few_users_come_first(tmp_path: Path) -> None:
    """The server of forking still forked for a thousand users when twenty came, who had no answer in time."""
    came: list[int] = []

    def load(plan: Plan, receive: Receive, scenario: Path | None) -> dict[str, Any]:
        came.append(plan.users)
        return {"answers": 1, "visits": []}

    experiment = Experiment(out=tmp_path / "out", models=("epoll",), users=(3, 1, 2), app_words=(f"{CAUSES}hello",))
    record(experiment, LIMIT_S, lambda line: None, load)
    assert came == [1, 2, 3]


def test_no_time(tmp_path: Path) -> None:
    told: list[str] = []
    experiment = Experiment(out=tmp_path / "out", models=("epoll", "poll"), users=(2,))
    assert record(experiment, 1.0, told.append) == {"cells": [], "skipped": told[0]}
    assert told == ["Where the time goes was not recorded: there was no time left."]
    assert not experiment.out.exists()


def test_time_for_one_of_two(tmp_path: Path) -> None:
    told: list[str] = []
    experiment = Experiment(
        out=tmp_path / "out", models=("epoll", "poll"), users=(2,), app_words=(f"{CAUSES}hello",), path="/"
    )
    where = record(experiment, 1.51, told.append)
    assert [cell["model"] for cell in where["cells"]] == ["poll"]  # iterative, which takes longest, comes last
    assert told == [where["skipped"]] == ["Where the time goes was not recorded for epoll: there was no time left."]


def take_two_seconds(plan: Plan, receive: Receive, scenario: Path | None) -> dict[str, Any]:
    """A load of one user who sends one request, and rests."""
    asked = time.monotonic_ns()
    with socket.create_connection(("127.0.0.1", urlsplit(plan.url).port)) as user:
        user.sendall(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")
        assert user.recv(65536).startswith(b"HTTP/1.1 200")
        now = time.monotonic_ns()
        time.sleep(2.0)
        return {"answers": 1, "visits": [[*user.getsockname(), asked, now, now]]}


def test_time_for_one_number_of_users(tmp_path: Path) -> None:
    """All models with one number of users, rather than some models with all."""
    experiment = Experiment(
        out=tmp_path / "out", models=("epoll", "poll"), users=(1, 2, 3), app_words=(f"{CAUSES}hello",), path="/"
    )
    told: list[str] = []
    where = record(experiment, 11.0, told.append, take_two_seconds)  # each model takes 6 s and its start
    assert told == [where["skipped"]]
    assert "was not recorded with other numbers of users than" in told[0]
    cells = {(cell["users"], cell["model"]) for cell in where["cells"]}
    assert cells >= {(3, "epoll"), (3, "poll")}
    assert len(cells) < 6
    assert len(cells) % 2 == 0


def test_of_a_cluster_nothing_is_recorded(tmp_path: Path) -> None:
    experiment = Experiment(out=tmp_path / "out", models=("epoll",), users=(2,), cluster="ssh:anna")
    told: list[str] = []
    assert record(experiment, LIMIT_S, told.append)["cells"] == []
    assert "on other machines" in told[0]


def test_some_numbers_of_users() -> None:
    assert numbers((1000, 20)) == [20, 1000]
    assert numbers(range(1, 25)) == [1, 9, 16, 24]
    assert [numbers((20, 100, 1000), most) for most in (3, 2, 1)] == [[20, 100, 1000], [20, 1000], [1000]]


def test_time_that_is_kept() -> None:
    assert reserved_s(250) == pytest.approx(30)
    assert reserved_s(5) == 0
