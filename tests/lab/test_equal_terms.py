"""Other servers and interpreters beside the models: found or told what to install, the same pool, compared in pairs."""

import random
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from septet.errors import UsageError
from septet.lab import contenders, interpreters, pool
from septet.lab.beside import UNSURE, beside
from septet.lab.equal_terms import as_they_come
from septet.lab.experiment import Cell, Experiment
from septet.lab.pairs import LIMITED
from septet.lab.pinning import Pinning
from septet.lab.pool import Pool
from septet.lab.ranking import rankings
from septet.lab.report.about import captions
from septet.lab.report.findings import findings
from septet.lab.report.page import title
from septet.lab.results import Results
from septet.lab.summary import summaries
from support.made_up_results import Record, results_of, valid

TAKES = {
    "iterative": frozenset({"workers"}),
    "forking": frozenset[str](),
    "preforked": frozenset({"workers"}),
    "epoll": frozenset({"workers", "threads"}),
}


def test_pools_by_default_are_named_unless_an_option_sets_them() -> None:
    models = ("iterative", "threaded", "preforked", "prethreaded", "poll")
    plain = Experiment(out=Path("out"), models=models, users=(20,), pinned=Pinning((0,), (1,)))
    assert as_they_come(plain).pool_told == (
        "WSGI requests at a time, by default on 1 CPU: prethreaded, poll: 8 (--threads); preforked: 3 (--workers); "
        "iterative: 1; threaded: one for each client."
    )
    assert as_they_come(replace(plain, serve_options=("--threads=4",))).pool_told is None
    assert as_they_come(replace(plain, sweeps=(("workers", ("1", "2")),))).pool_told is None


def test_every_contender_has_the_same_pool() -> None:
    assert pool.model_options(Pool(2, 8), TAKES, "wsgi") == {
        "iterative": ("--workers", "2"),
        "forking": (),
        "preforked": ("--workers", "16"),
        "epoll": ("--workers", "2", "--threads", "8"),
    }
    options = pool.model_options(Pool(1, 8), TAKES, "asgi")
    assert options["epoll"] == (), "an ASGI application runs on the loop: --threads would have no effect"
    gthread, waitress, sync = contenders.read("gunicorn-gthread,waitress,gunicorn-sync")
    whole = Experiment(Path("out"), (), pool=Pool(2, 8), others=(gthread, waitress, sync))
    words = [" ".join(whole.command(Cell(each.name, 1), 80)) for each in whole.others]
    assert "--workers 2 --threads 8" in words[0]
    assert "--threads 16" in words[1]
    assert "--workers 16" in words[2]


def test_the_pool_is_told_for_each() -> None:
    kinds = {"epoll": pool.THREADS, "gunicorn-sync": pool.PROCESSES, "threaded": pool.UNBOUNDED, "mine": None}
    assert pool.describe(Pool(1, 8), kinds) == (
        "The same pool for all, 8 requests at a time: epoll: 8 threads; gunicorn-sync: 8 processes with a request "
        "each; threaded: as many as there are clients; mine: as its command says."
    )
    assert "2 processes of 4 threads" in pool.describe(Pool(2, 4), {"epoll": pool.THREADS})
    assert pool.default(Pinning((0, 1), (2,))) == Pool(1, 16)


@pytest.mark.parametrize(("text", "expected"), [("16", Pool(1, 16)), ("2x8", Pool(2, 8))])
def test_pools_as_they_are_written(text: str, expected: Pool) -> None:
    assert pool.parse(text) == expected


@pytest.mark.parametrize("text", ["0", "2x", "x8", "2x0", "many", "-1", "2*8"])
def test_what_is_no_pool(text: str) -> None:
    with pytest.raises(UsageError, match=r"--pool: .* is neither a number of threads"):
        pool.parse(text)


def test_a_family_of_servers_gives_those_that_fit() -> None:
    named = contenders.read("granian,gunicorn,uvicorn")
    assert [each.name for each in named] == [
        "granian-wsgi",
        "granian-asgi",
        "gunicorn-sync",
        "gunicorn-gthread",
        "gunicorn-asgi",
        "uvicorn",
    ]
    fit = [each for each in named if each.interface == "wsgi"]
    assert contenders.left_out(named, fit, "wsgi") == "left out: uvicorn, for ASGI; the application is WSGI"
    assert contenders.left_out(named, named, None) is None
    explicit = contenders.read("gunicorn-asgi,gunicorn-sync")
    fit = [each for each in explicit if each.interface == "wsgi"]
    assert contenders.left_out(explicit, fit, "wsgi") == "left out: gunicorn-asgi, for ASGI; the application is WSGI"
    with pytest.raises(UsageError, match="none of uvicorn serves an application of WSGI"):
        contenders.fitting(contenders.read("uvicorn"), "wsgi")


def test_what_is_not_installed_says_what_to_install(tmp_path: Path) -> None:
    path = tmp_path / "peers.toml"
    path.write_text(
        '[one]\ncommand = "no-such-server {app}"\npackage = "one-server"\n'
        '[two]\ncommand = "python -m no_such_module {app}"\npackage = "two"\n'
        '[three]\ncommand = "python -m septet serve {app}"\n'
    )
    with pytest.raises(UsageError) as caught:
        contenders.fitting(contenders.read(str(path)), "wsgi")
    assert str(caught.value) == (
        "--servers: one and two are neither beside this Python nor on PATH: pip install one-server two"
    )
    path.write_text('[one]\ncommand = "python -m septet serve {app}"\npool = "fibres"\n')
    with pytest.raises(UsageError, match=r"pool of \[one\] .* is 'fibres', but must be one of threads, processes"):
        contenders.read(str(path))


def test_an_interpreter_answers_with_its_version() -> None:
    (one,) = interpreters.read(sys.executable)
    assert one.name.startswith(".".join(map(str, sys.version_info[:3])))
    assert one.version == sys.version
    two = interpreters.read(f"{sys.executable},{sys.executable}")
    assert two[1].name == f"{one.name}:{sys.executable}", "two of one version are told apart"


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (None, "is no program that can be started"),
        ('echo \'["3.9.1", "/python", "3.9.1 (x)", [3, 9]]\'', "is Python 3.9.1, but must be 3.11 or newer"),
        ("echo 'ModuleNotFoundError: what?' >&2; exit 1", "cannot run Septet: ModuleNotFoundError: what?"),
        ("echo hello", "does not answer as a Python does"),
    ],
)
def test_what_is_no_interpreter(script: str | None, said: str, tmp_path: Path) -> None:
    program = tmp_path / "python0"
    if script is not None:
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
    with pytest.raises(UsageError, match=said):
        interpreters.read(str(program))


def test_cells_of_several_interpreters(tmp_path: Path) -> None:
    (one,) = interpreters.read(sys.executable)
    other = interpreters.Interpreter("3.99.0t", "/opt/python", "3.99.0 free-threading build")
    (peer,) = contenders.read("waitress")
    whole = Experiment(tmp_path, ("epoll",), users=(5,), pythons=(one, other), others=(peer,))
    cells = whole.cells()
    assert [cell.label for cell in cells] == [f"epoll python={one.name}", "epoll python=3.99.0t", "waitress"]
    command = whole.command(cells[1], 80)
    assert command[0] == "/opt/python"
    assert "--python" not in command
    assert (Path(whole.environment(tmp_path, cells[1])["PYTHONPATH"].split(":")[0]) / "septet").is_dir()
    assert "PYTHONPATH" not in whole.environment(tmp_path, cells[2])
    assert Experiment.from_values(whole.values()) == whole


def thrice(model: str, rate: float, **setting: str) -> list[Record]:
    luck = random.Random(f"{model}{setting}").sample((-1, 0, 1), 3)
    return [valid(model, 8, rate * (1 + 0.002 * each), repeat=place, **setting) for place, each in enumerate(luck, 1)]


def recorded(*records: Record, pythons: tuple[str, ...] = ()) -> Results:
    found = results_of(*records, repeats=3)
    found["experiment"]["others"] = [{"name": "waitress", "command": "", "environment": {}}]
    found["experiment"]["pythons"] = [{"name": name, "executable": "", "version": ""} for name in pythons]
    return found


def test_models_beside_what_is_run_today() -> None:
    found = recorded(*thrice("epoll", 2000), *thrice("threaded", 500), *thrice("waitress", 1000))
    (table,) = beside(found, summaries(found), 8)
    assert table.title == "Beside waitress, at 8 users"
    assert table.lines[0] == ["", "requests/s", "CPU a request", "memory", "p99", "errors"]
    assert table.lines[1][:2] == ["waitress", "1,000"]
    rates = {line[0]: line[1] for line in table.lines[2:]}
    assert rates["epoll"].startswith("2.00 (1.9"), rates
    assert rates["threaded"].startswith("0.50 (0.50-"), rates
    assert all("=" in line[2] for line in table.lines[2:]), "made-up CPU times are alike"


def test_interpreters_beside_the_first() -> None:
    names = ("3.11.7", "3.13.0")
    found = recorded(*thrice("epoll", 1000, python="3.11.7"), *thrice("epoll", 1100, python="3.13.0"), pythons=names)
    found["experiment"]["others"] = []
    (table,) = beside(found, summaries(found), 8)
    assert table.title == "Beside epoll python=3.11.7, at 8 users"
    assert table.lines[2][1].startswith("1.10 (1.0"), table.lines
    assert any("Python 3.11.7 and 3.13.0" in line for line in captions([(found, summaries(found))]))
    assert title(found).endswith(", Python 3.11.7 and 3.13.0")


def test_a_rate_that_others_made_is_not_compared_with_an_evened_one() -> None:
    """On a busy machine one contender's rate is computed from CPU time, and the other's is what was left for it."""
    found = recorded(*thrice("epoll", 2000), *thrice("waitress", 1000))
    for run in found["runs"]:
        wanted = 1.0 if run["model"] == "epoll" else 0.1
        run["usage"] |= {"server_cpus_busy_s": 50.0, "server_cpus_steal_s": 0.0, "cpus_wanted": wanted}
        run["load"]["histogram_us"] = {"100": run["load"]["answers"]}
    (table,) = beside(found, summaries(found), 8)
    assert "evened" in table.lines[0][1]
    assert table.lines[2][1] == UNSURE
    assert rankings(found, summaries(found))[8].pair("epoll", "waitress").outcome == LIMITED, "nor is it ranked by that"
    for run in found["runs"]:
        run["usage"]["cpus_wanted"] = 0.1
    (table,) = beside(found, summaries(found), 8)
    assert table.lines[0][1] == "requests/s", "nothing is evened"
    (said,) = [each for each in findings(found, summaries(found)) if "epoll" in each and "requests/s" in each]
    assert "had its CPUs alone" not in said
    assert "epoll served" in said


def test_without_others_there_is_no_such_page() -> None:
    found = results_of(*thrice("epoll", 1000))
    assert beside(found, summaries(found), 8) == []
