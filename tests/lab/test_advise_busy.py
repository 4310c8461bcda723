"""What `septet advise` says on a machine that others use: nothing that they may have caused, and lower bounds else."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from septet.errors import Failed
from septet.lab.advise.advice import decide, loop_alone
from septet.lab.advise.advice_file import AdviceFile
from septet.lab.advise.advice_text import answer, capacity, not_held
from septet.lab.advise.advice_text import loop_alone as told_of_the_loop
from septet.lab.advise.candidates import Candidate, Look, Step
from septet.lab.advise.capacity_search import Bracket, Outcome
from septet.lab.advise.machine_limits import GIVE_UP, WAIT, await_quiet
from septet.lab.advise.measure import TrialRunner
from septet.lab.advise.search import next_step
from septet.lab.advise.search_run import SearchRun
from septet.lab.advise.trial import outcome, read_trial
from septet.lab.advise.workload_profile import WorkloadProfile, workload_profile
from septet.lab.experiment import Experiment
from support.made_up_machine import World, trial
from support.made_up_results import valid

TARGET_S = 0.05
QUICK = WorkloadProfile(asynchronous=False, wall_s=0.0003, cpu_s=0.0002)
SLEEPY = WorkloadProfile(asynchronous=False, wall_s=0.02, cpu_s=0.0002, gain=30.0)
BUSY = {"disturbance": "others took 40% of the server's CPUs"}


def test_requests_that_fail_while_others_have_the_cpus_are_not_the_servers_fault() -> None:
    """The verdict of such a run is "errors", not "noisy"."""
    failing = {"verdict": "errors", "errors": 500, "kinds": (("timeout", 400), ("refused", 100))}
    how, why = outcome(trial(rate=1000.0, **failing, **BUSY), TARGET_S)
    assert how is Outcome.DISTURBED
    assert "400 x timeout, 100 x refused" in why
    assert outcome(trial(rate=1000.0, **failing), TARGET_S)[0] is Outcome.BROKEN


def record(others_s: float) -> dict[str, Any]:
    """A run of an open loop on CPU 0 of two, in which other programs used so many CPU seconds there."""
    found = valid("epoll", 10, 500)
    window_s = found["load"]["window_s"]
    found["load"] |= {"due": 1000, "send_late_us": {"p99": 120}}
    found["load"]["plan"] = {"rate": 500.0, "users": 10, "cpus": [1]}
    own_s = found["usage"]["user_s"] + found["usage"]["system_s"]
    quiet = {"server_cpus_steal_s": 0.0, "client_cpus_busy_s": 0.0, "client_cpus_steal_s": 0.0, "cpu_s": own_s}
    found["usage"] |= {"server_cpus_busy_s": own_s + others_s, **quiet}
    return {**found, "pinned": [[0], [1]], "window_s": window_s}


def test_a_third_of_the_servers_cpu_is_a_disturbance_though_little_of_the_machine() -> None:
    window_s = record(0.0)["window_s"]
    assert read_trial(record(0.05 * window_s), cpus=2).disturbance is None, "work of the kernel"
    read = read_trial(record(0.33 * window_s), cpus=2)
    assert read.verdict == "valid"
    assert read.disturbance == "others took 33% of the server's CPUs"
    assert outcome(replace(read, p99_s=0.06), TARGET_S)[0] is Outcome.DISTURBED


class Disturbed:
    """A `TrialRunner` on whose machine nothing is held any more, by the fault of others."""

    def replace_server(self) -> None:
        pass

    def offer(self, candidate: Candidate, rate: float, users: int, window_s: float) -> Any:
        return trial(rate=rate, answered_per_s=rate, p99_s=0.2, **BUSY)


class Silent:
    def __getattr__(self, name: str) -> Any:
        return lambda *_: None


def test_what_cannot_be_checked_is_not_refuted() -> None:
    search = World(QUICK, carries=lambda _: 2000.0).search()
    finding = search.of(Candidate("epoll"))
    finding.saturation = trial(answered_per_s=2000.0)
    finding.bracket, finding.highest_held = Bracket(low=1000.0, high=1060.0), trial(rate=1000.0, p99_s=0.02)
    run = SearchRun(cast(TrialRunner, Disturbed()), TARGET_S, 60.0, cast(Any, Silent()))
    run._take(search, Step(finding.candidate, Look.CHECK, ""))
    assert finding.capacity == 1000.0
    assert finding.highest_held is not None
    text = capacity(finding, TARGET_S)
    assert text.startswith("at least 1,000 requests/s")
    assert "between" not in text
    assert "not even for a longer check" in text


def test_a_rate_that_was_held_and_was_not_held_is_no_upper_bound() -> None:
    assert Bracket(low=1000.0, high=1060.0, wavered=True).is_lower_bound
    assert not Bracket(low=1000.0, high=1060.0).is_lower_bound


def test_candidates_that_others_kept_from_showing_what_they_carry_are_named() -> None:
    search = World(SLEEPY, carries=lambda _: 2000.0).search()
    best = search.of(Candidate("prethreaded", threads=64))
    best.saturation, best.bracket = trial(answered_per_s=800.0), Bracket(735.0, 767.0)
    best.highest_held, best.checked = trial(rate=735.0), True
    dropped = search.of(Candidate("epoll", threads=64))
    dropped.saturation = trial(answered_per_s=568.0, **BUSY)
    slow = search.of(Candidate("threaded"))
    slow.saturation = trial(answered_per_s=426.0)
    advice = decide(search, TARGET_S)
    assert advice is not None
    assert [each.candidate for each in advice.not_told_apart] == [dropped.candidate]
    lines = answer(advice, search, Experiment(Path("out"), ("epoll",), app="a:b", app_words=("a:b",)))
    assert any(line.startswith("undecided") and "epoll, 64 threads" in line for line in lines)


def test_on_a_busy_machine_the_load_generators_own_waiting_is_not_the_applications() -> None:
    alone = trial(p50_s=0.0084, cpu_s=0.0037, least_s=0.0041, answered_per_s=110.0)
    assert workload_profile(alone, False).waits
    assert not workload_profile(replace(alone, **BUSY), False).waits
    assert workload_profile(replace(alone, least_s=0.0205, p50_s=0.03, **BUSY), False).wall_s == 0.0205


def test_a_machine_too_busy_for_any_rate_is_named_as_the_reason() -> None:
    search = World(QUICK, carries=lambda _: 2000.0).search()
    search.of(Candidate("epoll")).lowest_failed = trial(p99_s=0.2, **BUSY)
    assert "this machine is too busy now to say more" in not_held(search, TARGET_S)


def test_when_time_is_up_a_second_model_is_tried_before_nothing_is_said_to_hold() -> None:
    search = World(SLEEPY, carries=lambda _: 400.0).search()
    for threads, most in ((8, 400.0), (64, 1000.0), (32, 900.0)):
        search.of(Candidate("prethreaded", threads=threads)).saturation = trial(answered_per_s=most)
    search.of(Candidate("epoll")).saturation = trial(answered_per_s=350.0)
    looked_at = []
    while (step := next_step(search, in_time=False)) is not None:
        looked_at.append((step.candidate, step.look))
        search.of(step.candidate).bracket = Bracket(low=0.0, high=40.0, in_doubt=True)
    assert looked_at == [
        (Candidate("prethreaded", threads=64), Look.CAPACITY),
        (Candidate("epoll"), Look.CAPACITY),
    ]


def test_what_the_time_was_too_short_for_is_said() -> None:
    world = World(SLEEPY, carries=lambda each: 50.0 * (each.threads or 8))
    search = world.search()
    first = search.of(Candidate("epoll"))
    first.saturation, first.bracket = trial(answered_per_s=400.0), Bracket(380.0, None, at_least=True)
    first.highest_held, first.checked = trial(rate=380.0), True
    advice = decide(search, TARGET_S)
    assert advice is not None
    lines = answer(advice, search, Experiment(Path("out"), ("epoll",), app="a:b", app_words=("a:b",)))
    (said,) = [line for line in lines if line.startswith("unfinished")]
    assert "prethreaded, 8 threads" in said
    assert "longer --budget" in said
    whole = world.search()
    world.explore(whole)
    done = decide(whole, TARGET_S)
    assert done is not None
    assert done.unfinished is None


def shares(*values: float) -> Iterator[float]:
    yield from values
    while True:
        yield values[-1]


def test_a_busy_machine_is_waited_for_or_given_up() -> None:
    said: list[str] = []
    await_quiet(said.append, 5.0, WAIT, shares(0.9, 0.9, 0.1).__next__)
    assert said == ["other programs use 90% of the CPUs: waiting up to 3600 s for them"]
    with pytest.raises(Failed, match="other programs use 80% of the CPUs, so only lower bounds"):
        await_quiet(said.append, 0.0, GIVE_UP, shares(0.8).__next__)
    said.clear()
    await_quiet(said.append, 0.0, busy_share=shares(0.8).__next__)
    assert "capacities will be lower bounds" in said[-1]


def test_a_loop_has_eight_threads_for_each_cpu_unless_it_is_told() -> None:
    assert Candidate("epoll").at_once(False, 200, cpus=2) == 16
    assert Candidate("epoll", threads=0).at_once(False, 200, cpus=2) == 1
    assert Candidate("epoll").at_once(True, 200, cpus=2) == 200


def test_what_the_loop_alone_would_bring_is_said_with_its_risk_and_never_advised() -> None:
    world = World(QUICK, carries=lambda each: 30_000.0 if each.threads == 0 else 20_000.0)
    search = world.search()
    world.explore(search)
    alone = search.findings[Candidate("epoll", threads=0)]
    assert (alone.most, alone.bracket) == (30_000.0, None)
    advice = decide(search, TARGET_S)
    assert advice is not None
    assert advice.chosen.candidate.threads != 0
    assert advice.loop_alone is not None
    text = told_of_the_loop(advice.loop_alone)
    assert text.startswith("under epoll: 33% less CPU time a request, 50% more requests/s; the risk: ")


def test_where_requests_wait_the_loop_alone_is_not_tried() -> None:
    world = World(SLEEPY, carries=lambda each: 1000.0)
    search = world.search()
    world.explore(search)
    assert Candidate("epoll", threads=0) not in search.findings
    found = loop_alone(search)
    assert found is not None
    assert "50/s at most" in told_of_the_loop(found)


def test_failed_requests_are_told_by_kind() -> None:
    search = World(QUICK, carries=lambda _: 2000.0).search()
    finding = search.of(Candidate("epoll"))
    finding.lowest_failed = trial(answers=990, errors=10, kinds=(("status 503", 10),))
    assert "1.00% of them at best (10 x status 503)" in not_held(search, TARGET_S)


def test_runs_of_an_interrupted_search_are_taken_from_its_file(tmp_path: Path) -> None:
    """No server is started for them, and the time that they took counts."""
    experiment = Experiment(tmp_path, ("epoll",), app="no_such_module:app", app_words=("no_such_module:app",))
    known = [{**record(0.0), "rate": 500.0, "took_s": 2.5}, {**record(0.0), "rate": 500.0, "took_s": 1.0}]
    with TrialRunner(experiment, TARGET_S, [], known) as runner:
        for spent_s in (2.5, 3.5):
            assert runner.offer(Candidate("epoll"), 500.0, 10, 1.0).answers == 1000
            assert runner.spent_s() == spent_s
        assert runner.offer(Candidate("epoll"), 500.0, 10, 1.0).failure is not None, "the file has no third"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "is not there"),
        ("{", "cannot be read"),
        ('{"schema": 7}', "is no file of schema 1"),
        ('{"schema": 1, "finished": "2026-11-29"}', "is finished"),
        ('{"schema": 1, "finished": null, "experiment": {}}', "is damaged"),
    ],
)
def test_files_that_cannot_be_resumed(content: str | None, said: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "advice.json").write_text(content)
    with pytest.raises(Failed, match=said):
        AdviceFile.interrupted(tmp_path)


def test_a_file_is_resumed_as_it_was(tmp_path: Path) -> None:
    experiment = Experiment(tmp_path / "out", ("epoll",))
    asked = {"p99_s": 0.05, "budget_s": 60.0, "plan": None, "users": None, "named": True}
    written = AdviceFile(experiment, ["septet", "advise"], asked)
    written.runs.append({**record(0.0), "rate": None})
    with written.kept():
        written.write({"advice": None})
    again, same, found = AdviceFile.interrupted(tmp_path / "out" / "advice.json")
    assert (same, found, len(again.runs)) == (experiment, asked, 1)
    again.write({"advice": None}, finished=True)
    stored = json.loads(again.path.read_text())
    assert len(stored["resumed"]) == 1
    assert len(stored["runs"]) == 1
