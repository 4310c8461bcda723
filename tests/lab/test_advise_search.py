"""Which candidates are looked at, and which is advised, on machines that are made up: right answers are known there."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from septet.lab.advise.advice import Advice, decide
from septet.lab.advise.advice_text import answer, not_held, other_server_commands, values
from septet.lab.advise.bottleneck import bottleneck
from septet.lab.advise.candidates import Candidate, Finding, Look, Search, Step
from septet.lab.advise.capacity_search import Bracket
from septet.lab.advise.choice import rank
from septet.lab.advise.search import next_step
from septet.lab.advise.workload_profile import WorkloadProfile, profile_with_others, workload_profile
from septet.lab.experiment import Experiment
from support.made_up_machine import World, trial

HELLO = WorkloadProfile(asynchronous=False, wall_s=0.0002, cpu_s=0.0001)
CPU = WorkloadProfile(asynchronous=False, wall_s=0.0052, cpu_s=0.0051)
WAIT = WorkloadProfile(asynchronous=False, wall_s=0.0203, cpu_s=0.0003)
AWAIT = WorkloadProfile(asynchronous=True, wall_s=0.0203, cpu_s=0.0002)
TARGET_S = 0.05


def waits(candidate: Candidate) -> float:
    """Each place carries 50/s, until the CPU is used up; a pool suffers from clients that keep their connections."""
    places = candidate.at_once(False, 200)
    most = min(49.0 * places, 3000.0)
    return most if candidate.model != "prethreaded" or (candidate.threads or 0) >= 64 else 0.9 * most


def computes(cpus: int) -> Callable[[Candidate], float]:
    def carries(candidate: Candidate) -> float:
        processes = min(cpus, candidate.processes)
        return 195.0 * processes * (0.8 if candidate.threads else 1.0)

    return carries


def experiment(*serve_options: str) -> Experiment:
    return Experiment(Path("out"), ("epoll",), app_words=("shop.web:app",), serve_options=serve_options)


def advised(world: World) -> tuple[Advice, Search, list[Step]]:
    search = world.search()
    steps = world.explore(search)
    advice = decide(search, TARGET_S)
    assert advice is not None
    return advice, search, steps


def test_what_waits_gets_threads() -> None:
    advice, _, steps = advised(World(WAIT, waits))
    assert (advice.chosen.candidate.threads or 0) >= 64 or advice.chosen.candidate.model == "threaded"
    assert advice.chosen.capacity > 2500
    assert Step(Candidate("epoll"), Look.CAPACITY, "") not in [Step(s.candidate, s.look, "") for s in steps]
    pool = next(scale for scale in advice.scales if scale.by == "threads")
    assert [number for number, _ in pool.points][:4] == [8, 16, 32, 64]
    assert pool.law is not None


def test_what_computes_on_one_cpu_gets_one_process() -> None:
    advice, _, _ = advised(World(CPU, computes(1)))
    assert advice.chosen.candidate == Candidate("epoll")
    assert advice.limit.what == "CPU"
    assert advice.runner_up is not None


def test_what_computes_on_eight_cpus_gets_eight_workers() -> None:
    advice, _, steps = advised(World(CPU, computes(8), cpus=8))
    assert advice.chosen.candidate.processes == 8
    workers = {step.candidate.workers for step in steps if step.candidate.model == "epoll"}
    assert workers == {None, 2, 4, 8}
    law = advice.law_of_cpus
    assert law is None or law.sigma < 0.01


def test_what_is_quick_gets_a_loop() -> None:
    cost = {"epoll": 14, "io_uring": 14, "prethreaded": 31, "preforked": 33, "threaded": 30}
    advice, _, _ = advised(World(HELLO, lambda candidate: 1e6 / cost[candidate.model]))
    assert advice.chosen.candidate == Candidate("epoll")


def test_what_awaits_gets_a_loop_and_no_threads() -> None:
    advice, _, steps = advised(World(AWAIT, lambda candidate: 5000.0))
    assert advice.chosen.candidate == Candidate("epoll")
    assert {step.candidate.model for step in steps} == {"epoll", "io_uring"}


def test_limited_by_the_load_generator_the_one_that_costs_less_is_taken() -> None:
    cost = {"epoll": 40, "io_uring": 14, "prethreaded": 31, "preforked": 33, "threaded": 30}
    world = World(HELLO, lambda candidate: 1e6 / cost[candidate.model], client_max=20_000)
    advice, _, _ = advised(world)
    assert advice.chosen.candidate == Candidate("io_uring")
    assert advice.chosen.bracket is not None
    assert advice.chosen.bracket.at_least


def test_of_those_that_carry_the_same_the_simplest() -> None:
    def found(candidate: Candidate, low: float, high: float) -> Finding:
        return Finding(candidate, trial(answered_per_s=high), Bracket(low, high))

    pool = found(Candidate("prethreaded", threads=64), 1000, 1060)
    best = found(Candidate("epoll", threads=64), 1020, 1080)
    worse = found(Candidate("epoll"), 700, 740)
    assert [each.candidate for each in rank([worse, best, pool])] == [
        best.candidate,
        pool.candidate,
        worse.candidate,
    ]


@pytest.mark.parametrize(
    ("cpu_us", "in_doubt", "chosen"), [(10, True, "epoll"), (10, False, "io_uring"), (20, True, "io_uring")]
)
def test_doubt_is_in_favour_of_the_simpler_one_that_costs_no_more(cpu_us: float, in_doubt: bool, chosen: str) -> None:
    simple = Finding(Candidate("epoll"), trial(answered_per_s=800, cpu_s=cpu_us / 1e6))
    simple.bracket = Bracket(800, 850, in_doubt=in_doubt)
    best = Finding(Candidate("io_uring"), trial(answered_per_s=1000, cpu_s=1e-5), Bracket(1000, 1060))
    assert rank([simple, best])[0].candidate.model == chosen


def test_few_steps_each_with_a_reason() -> None:
    for world in (World(WAIT, waits), World(CPU, computes(1)), World(HELLO, lambda candidate: 50_000.0)):
        _, search, steps = advised(world)
        assert len(search.findings) <= 12
        assert all(len(step.reason) > 10 for step in steps)
        assert len({(step.candidate, step.look) for step in steps}) == len(steps)
        assert [step.look for step in steps[-2:]] == [Look.CHECK, Look.CHECK]


def test_only_what_is_allowed_is_looked_at() -> None:
    world = World(WAIT, waits)
    search = world.search(models=("preforked", "epoll"), named=True)
    steps = world.explore(search)
    assert {step.candidate.model for step in steps} == {"preforked", "epoll"}
    assert max(step.candidate.threads or 0 for step in steps) >= 32, "threads beside the loop, without the pool"


def test_memory_bounds_the_number_of_processes() -> None:
    world = World(WAIT, waits)
    search = world.search(memory_bytes=200_000_000)
    steps = world.explore(search)
    assert max(step.candidate.workers or 0 for step in steps) == 5


def test_who_does_not_start_is_left() -> None:
    world = World(CPU, computes(1))
    search = world.search()
    search.of(Candidate("epoll")).saturation = trial(answers=0, failure="the server ended with status 1")
    steps = world.explore(search)
    assert Candidate("epoll") not in {step.candidate for step in steps}
    advice = decide(search, TARGET_S)
    assert advice is not None
    assert advice.chosen.candidate.model != "epoll"


def test_no_time_left_means_checking_what_is_known() -> None:
    world = World(WAIT, waits)
    search = world.search()
    search.of(Candidate("threaded")).saturation = trial()
    search.of(Candidate("threaded")).bracket = Bracket(900, 950)
    step = next_step(search, in_time=False)
    assert step is not None
    assert (step.candidate.model, step.look) == ("threaded", Look.CHECK)


@pytest.mark.parametrize(("profile", "carries"), [(WAIT, waits), (CPU, computes(1))])
def test_what_is_advised_has_been_checked(profile: WorkloadProfile, carries: Callable[[Candidate], float]) -> None:
    world = World(profile, carries)
    search = world.search()
    world.explore(search)
    advice = decide(search, TARGET_S)
    assert advice is not None
    assert advice.chosen.checked
    assert advice.runner_up is None or advice.runner_up.checked


def test_the_simple_one_is_checked_though_others_carry_a_little_more() -> None:
    search = World(WAIT, waits).search()
    carried = {
        Candidate("prethreaded", threads=64): 1000.0,
        Candidate("prethreaded", threads=128): 990.0,
        Candidate("epoll", threads=64): 980.0,
    }
    for candidate, low in carried.items():
        finding = search.of(candidate)
        finding.saturation, finding.bracket = trial(), Bracket(low, low * 1.05)
    checked = []
    while (step := next_step(search, in_time=False)) is not None:
        checked.append(step.candidate.label)
        search.of(step.candidate).checked = True
    assert checked == ["epoll, 64 threads", "prethreaded, 64 threads"]


@pytest.mark.parametrize(
    ("candidate", "values", "what"),
    [
        (Candidate("epoll"), {"server_share": 0.97}, "CPU"),
        (Candidate("prethreaded", threads=8), {"server_share": 0.05, "answered_per_s": 390.0}, "threads"),
        (Candidate("prethreaded", threads=64), {"server_share": 0.2, "gil_share": 0.5}, "GIL"),
        (Candidate("prethreaded", threads=64), {"server_share": 0.2, "memory_bytes": 7_000_000_000}, "memory"),
        (Candidate("prethreaded", threads=64), {"server_share": 0.2, "queue_overflows": 12}, "backlog"),
        (Candidate("prethreaded", threads=64), {"server_share": 0.2, "p50_s": 0.045}, "backend"),
        (Candidate("prethreaded", threads=64), {"server_share": 0.2, "p50_s": 0.021}, "latency"),
    ],
)
def test_what_limits_it(candidate: Candidate, values: dict[str, float], what: str) -> None:
    situation = World(WAIT, waits).search().situation
    one = trial(**values)
    finding = Finding(candidate, saturation=one, bracket=Bracket(300, 320), highest_held=one, lowest_failed=one)
    found = bottleneck(finding, situation)
    assert found.what == what
    assert found.sentence


def test_one_process_among_many_cpus_is_limited_by_the_gil() -> None:
    situation = World(CPU, computes(8), cpus=8).search().situation
    one = trial(server_share=0.99)
    assert bottleneck(Finding(Candidate("epoll"), one, Bracket(190, 200), one, one), situation).what == "GIL"


def test_nature_is_measured() -> None:
    quick = workload_profile(trial(p50_s=0.0003, cpu_s=0.0002), asynchronous=False)
    assert not quick.waits
    sleepy = workload_profile(trial(p50_s=0.0204, cpu_s=0.0003, answered_per_s=48), asynchronous=False)
    assert sleepy.blocks
    assert sleepy.at_once(cpus=1) in (68, 69)
    crowded = workload_profile(trial(p50_s=0.033, cpu_s=0.005, delay_s=0.027), asynchronous=False)
    assert not crowded.waits, "it was ready to run, and another program had the CPU"


def test_what_does_not_gain_from_company_does_not_wait() -> None:
    """A request alone may wait for what others would have to wait for as well, such as a lock."""
    alone = trial(p50_s=0.02, cpu_s=0.001, answered_per_s=49)
    found = profile_with_others(workload_profile(alone, False), alone, trial(answered_per_s=52))
    assert not found.waits
    assert profile_with_others(workload_profile(alone, False), alone, trial(answered_per_s=1200)).waits


def test_the_answer_in_words_and_in_json() -> None:
    advice, search, _ = advised(World(WAIT, waits))
    lines = answer(advice, search, experiment("--limit-body", "1000"))
    candidate = advice.chosen.candidate
    assert f"    septet serve shop.web:app {' '.join(candidate.options)} --limit-body 1000" in lines
    text = "\n".join(lines)
    assert "gunicorn --worker-class gthread" in text
    assert "with 99 % within 50 ms" in text
    told = json.loads(json.dumps(values(advice, search, experiment())))
    assert told["advice"]["requests_per_s"] == advice.chosen.capacity
    assert told["advice"]["serve"].startswith("septet serve shop.web:app --model")
    assert len(told["findings"]) == len(search.findings)


def test_there_may_be_no_answer() -> None:
    world = World(WAIT, waits, in_time=lambda candidate: 0.0)
    search = world.search()
    world.explore(search)
    assert decide(search, 0.01) is None
    assert not_held(search, 0.01) == "one request alone takes 20.3 ms: no model brings 99 % of many below 10 ms"
    assert values(None, search, experiment())["advice"] is None


def test_requests_that_fail_are_not_called_slow() -> None:
    world = World(WAIT, waits, in_time=lambda candidate: 0.0)
    search = world.search()
    world.explore(search)
    assert not_held(search, 0.05) == "no candidate held a p99 of 50 ms at any rate that was tried"
    for each in search.findings.values():
        if each.saturation is not None:
            each.lowest_failed = replace(each.saturation, answers=990, errors=10)
    assert not_held(search, 0.05).startswith("requests fail at every rate that was tried, 1.00% of them at best")


@pytest.mark.parametrize(
    ("candidate", "profile", "line"),
    [
        (Candidate("epoll"), CPU, "gunicorn --worker-class sync --workers 4 shop:app"),
        (
            Candidate("epoll", threads=64),
            WAIT,
            "gunicorn --worker-class gthread --workers 1 --threads 64 shop:app",
        ),
        (Candidate("threaded"), WAIT, "gunicorn --worker-class gthread --workers 1 --threads 26 shop:app"),
        (Candidate("preforked", workers=9), WAIT, "gunicorn --worker-class sync --workers 9 shop:app"),
        (Candidate("epoll", workers=4), AWAIT, "uvicorn --workers 4 shop:app"),
    ],
)
def test_for_other_servers(candidate: Candidate, profile: WorkloadProfile, line: str) -> None:
    finding = Finding(candidate, bracket=Bracket(1000, 1060))
    assert other_server_commands(finding, profile, "shop:app", cpus=4)[0] == line
