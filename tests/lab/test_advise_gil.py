"""What `septet advise` looks at and says where a Python runs without the GIL, on machines that are made up; and what
`septet serve` tells it of the Python.
"""

import platform
from collections.abc import Callable
from pathlib import Path

import pytest

from septet.interpreter import is_free_threaded
from septet.lab.advise.advice import Advice, decide, memory_of_cores, service, shares_cores
from septet.lab.advise.advice_text import answer, build, extrapolation, other_server_commands, values
from septet.lab.advise.bottleneck import bottleneck
from septet.lab.advise.candidates import Candidate, Finding, Search, Step
from septet.lab.advise.capacity_search import Bracket
from septet.lab.advise.extrapolation import plan
from septet.lab.advise.workload_profile import WorkloadProfile
from septet.lab.experiment import Experiment
from septet.lab.interface import served
from support import thoughtless
from support.made_up_machine import World, trial

CPU = WorkloadProfile(asynchronous=False, wall_s=0.0052, cpu_s=0.0051)
QUICK_ASGI = WorkloadProfile(asynchronous=True, wall_s=0.0002, cpu_s=0.0001)
WAIT = WorkloadProfile(asynchronous=False, wall_s=0.0203, cpu_s=0.0003)
TARGET_S = 0.05
EXPERIMENT = Experiment(Path("out"), ("epoll",), app_words=("shop.web:app",))


def on_cpus(cpus: int, of_loops: float = 1.0, of_workers: float = 1.0) -> Callable[[Candidate], float]:
    """Loops and workers use a CPU each. `of_loops`, `of_workers`: what several carry, as a share of as many alone."""

    def carries(candidate: Candidate) -> float:
        loops = candidate.loops or 1
        share = of_loops if loops > 1 else of_workers if candidate.processes > 1 else 1.0
        return 5000.0 * min(cpus, candidate.processes * loops) * share

    return carries


def advised(world: World, has_gil: bool = False) -> tuple[Advice, Search, list[Step]]:
    search = world.search(has_gil=has_gil)
    steps = world.explore(search)
    advice = decide(search, TARGET_S)
    assert advice is not None
    return advice, search, steps


def numbers(steps: list[Step], model: str, name: str) -> set[int]:
    return {getattr(step.candidate, name) for step in steps if step.candidate.model == model} - {None}


@pytest.mark.parametrize("profile", [QUICK_ASGI, CPU], ids=["ASGI", "WSGI"])
def test_loops_are_measured_beside_workers(profile: WorkloadProfile) -> None:
    _, search, steps = advised(World(profile, on_cpus(4), cpus=4))
    assert numbers(steps, "epoll", "loops") == numbers(steps, "epoll", "workers") == {2, 4}
    assert all(each.loops is None or each.workers is None for each in search.findings), "one or the other"
    reason = next(step.reason for step in steps if step.candidate.loops)
    assert reason.startswith("this Python runs without the GIL")


def test_of_loops_and_workers_that_carry_the_same_workers_are_advised_and_loops_named() -> None:
    advice, search, _ = advised(World(QUICK_ASGI, on_cpus(4), cpus=4))
    assert advice.chosen.candidate == Candidate("epoll", workers=4)
    assert advice.instead is not None
    assert advice.instead.candidate == Candidate("epoll", loops=4)
    lines = answer(advice, search, EXPERIMENT)
    (line,) = [line for line in lines if line.startswith("instead")]
    assert "epoll, 4 loops: " in line
    assert "code that is safe in threads" in line
    told = values(advice, search, EXPERIMENT)
    assert told["has_gil"] is False
    assert told["advice"]["instead"]["candidate"]["loops"] == 4


def test_loops_that_carry_more_are_advised_and_planned_with() -> None:
    advice, search, _ = advised(World(QUICK_ASGI, on_cpus(4, of_workers=0.8), cpus=4))
    assert advice.chosen.candidate == Candidate("epoll", loops=4)
    assert advice.instead is not None
    assert advice.instead.candidate == Candidate("epoll", workers=4)
    assert "    septet serve shop.web:app --model epoll --loops 4" in answer(advice, search, EXPERIMENT)
    assert [scale.points[-1][0] for scale in advice.scales if scale.by == "loops"] == [4]
    one = service(advice.chosen, search)
    assert one.cpus == 4
    rows = plan(1e5, one, TARGET_S, advice.law_of_cpus, memory_of_cores(advice.chosen, search))
    text = extrapolation(1e5, rows, advice, search.situation)
    assert text[0].endswith("under epoll, 4 loops, with a loop of one process for each core: an EXTRAPOLATION")


def test_with_a_gil_there_are_no_loops() -> None:
    advice, search, steps = advised(World(QUICK_ASGI, on_cpus(4), cpus=4), has_gil=True)
    assert numbers(steps, "epoll", "workers") == {2, 4}
    assert not numbers(steps, "epoll", "loops")
    assert advice.instead is None
    lines = answer(advice, search, EXPERIMENT)
    assert not [line for line in lines if line.startswith(("build", "instead"))]
    assert values(advice, search, EXPERIMENT)["has_gil"] is True


def test_on_one_cpu_there_are_no_loops() -> None:
    _, _, steps = advised(World(QUICK_ASGI, on_cpus(1)))
    assert not numbers(steps, "epoll", "loops")


@pytest.mark.parametrize(("has_gil", "threads"), [(True, 8), (False, 16)])
def test_a_pool_that_computes_has_a_thread_for_each_cpu(has_gil: bool, threads: int) -> None:
    _, _, steps = advised(World(CPU, on_cpus(16), cpus=16), has_gil=has_gil)
    assert numbers(steps, "prethreaded", "threads") == {threads}


def test_loops_have_as_many_threads_each_as_the_best_alone_has() -> None:
    def waits(candidate: Candidate) -> float:
        places = candidate.at_once(False, 2000, 4)
        return min(49.0 * places, 3000.0 * min(4, candidate.processes * (candidate.loops or 1)))

    _, search, _ = advised(World(WAIT, waits, cpus=4, users=2000))
    first = Candidate("epoll", threads=64, loops=2)
    assert next(each for each in search.findings if each.loops) == first
    assert first.label == "epoll, 2 loops, 64 threads each"
    assert first.at_once(False, 2000, 4) == 128


@pytest.mark.parametrize(
    ("candidate", "profile", "with_gil", "without"),
    [
        (Candidate("epoll"), QUICK_ASGI, 1, 1),
        (Candidate("epoll", loops=2), QUICK_ASGI, 1, 2),
        (Candidate("epoll", workers=3), QUICK_ASGI, 3, 3),
        (Candidate("prethreaded", threads=8), QUICK_ASGI, 1, 1),
        (Candidate("epoll"), CPU, 1, 4),
        (Candidate("epoll", threads=0, loops=2), CPU, 1, 2),
        (Candidate("epoll", threads=0), CPU, 1, 1),
        (Candidate("prethreaded", threads=2), CPU, 1, 2),
        (Candidate("prethreaded", threads=8), CPU, 1, 4),
        (Candidate("threaded"), CPU, 1, 4),
        (Candidate("preforked", workers=2), CPU, 2, 2),
    ],
)
def test_cpus_that_python_code_can_use(
    candidate: Candidate, profile: WorkloadProfile, with_gil: int, without: int
) -> None:
    world = World(profile, on_cpus(4), cpus=4)
    assert candidate.cpus_at_most(world.search(has_gil=True).situation) == with_gil
    assert candidate.cpus_at_most(world.search(has_gil=False).situation) == without


@pytest.mark.parametrize(
    ("candidate", "profile", "share", "what", "sentence"),
    [
        (Candidate("epoll"), QUICK_ASGI, 0.99, "loop", "one event loop computes on 1 of 4 CPUs at a time"),
        (Candidate("epoll", loops=2), QUICK_ASGI, 1.9, "loop", "2 event loops compute on 2 of 4 CPUs at a time"),
        (Candidate("prethreaded", threads=8), QUICK_ASGI, 1.1, "loop", "one event loop computes on 1 of 4 CPUs"),
        (Candidate("epoll"), CPU, 1.2, "loop", "one event loop moves the bytes of all clients"),
        (Candidate("prethreaded", threads=8), CPU, 1.2, "latency", ""),
        (Candidate("prethreaded", threads=8), CPU, 3.9, "CPU", "it uses 98% of its 4 CPUs"),
        (Candidate("preforked", workers=2), CPU, 1.9, "processes", "2 processes compute on 2 of 4 CPUs at a time"),
    ],
)
def test_what_limits_it(candidate: Candidate, profile: WorkloadProfile, share: float, what: str, sentence: str) -> None:
    situation = World(profile, on_cpus(4), cpus=4).search(has_gil=False).situation
    one = trial(server_share=share)
    found = bottleneck(Finding(candidate, one, Bracket(190, 200), one, one), situation)
    assert found.what == what
    assert sentence in found.sentence
    assert "GIL" not in found.sentence


def test_memory_of_more_cores() -> None:
    search = World(QUICK_ASGI, on_cpus(4), cpus=4).search(has_gil=False)

    def found(candidate: Candidate, megabytes: int) -> Finding:
        finding = search.of(candidate)
        finding.saturation = trial(memory_bytes=megabytes * 1_000_000)
        return finding

    found(Candidate("epoll"), 30)
    memory = memory_of_cores(found(Candidate("epoll", loops=3), 34), search)
    assert memory is not None
    assert (memory.at(1), memory.at(10)) == (30_000_000, 48_000_000)
    memory = memory_of_cores(found(Candidate("epoll", workers=2), 40), search)
    assert memory is not None
    assert memory.at(10) == 400_000_000
    assert not shares_cores(Candidate("prethreaded", threads=8), search.situation), "an ASGI application has one loop"
    search = World(CPU, on_cpus(4), cpus=4).search(has_gil=False)
    memory = memory_of_cores(found(Candidate("prethreaded", threads=8), 40), search)
    assert memory is not None
    assert memory.at(10) == 40_000_000


def test_threads_of_loops_for_other_servers() -> None:
    finding = Finding(Candidate("epoll", threads=64, loops=2), bracket=Bracket(1000, 1060))
    line = "gunicorn --worker-class gthread --workers 1 --threads 128 shop:app"
    assert other_server_commands(finding, WAIT, "shop:app", cpus=4)[0] == line


def test_the_build_is_said() -> None:
    world = World(CPU, on_cpus(1))
    version = platform.python_version()
    assert build(world.search().situation) is None
    said = build(world.search(has_gil=False).situation)
    assert said is not None
    assert said.startswith(f"This Python ({version}) runs without the GIL: ")
    said = build(world.search(gil_turned_on_by="shop._fast").situation)
    assert said is not None
    assert "but the module shop._fast has turned it on" in said


def test_the_server_tells_of_itself(tmp_path: Path) -> None:
    words = ("septet.examples.causes.asgi:hello",)
    found = served(Experiment(tmp_path, ("epoll",), app="hello", app_words=words, path="/"), "epoll")
    assert found.asynchronous
    assert found.has_gil is not is_free_threaded()
    assert found.gil_turned_on_by is None


@pytest.mark.skipif(not is_free_threaded(), reason="this Python has a GIL in any case")
def test_a_module_that_turns_the_gil_on_is_named(tmp_path: Path) -> None:
    thoughtless.build(tmp_path)
    (tmp_path / "slow_shop.py").write_text(
        "import thoughtless\ndef app(environ, start_response):\n    start_response('200 OK', [])\n    return [b'']\n"
    )
    options = ("--app-dir", str(tmp_path))
    experiment = Experiment(tmp_path, ("epoll",), app_words=("slow_shop:app",), path="/", serve_options=options)
    found = served(experiment, "epoll")
    assert (found.asynchronous, found.has_gil, found.gil_turned_on_by) == (False, True, "thoughtless")
