"""What a trial means, what this machine lets a server use, the queue, and the plan that is made from it."""

from pathlib import Path
from typing import Any

import pytest

from septet.errors import UsageError
from septet.lab.advise.capacity_search import Outcome
from septet.lab.advise.extrapolation import Memory, Service, basis, capacity, latency_s, parse_rate, plan
from septet.lab.advise.machine_limits import machine_limits
from septet.lab.advise.measure import duration_s
from septet.lab.advise.trial import outcome, read_trial
from septet.lab.advise.usl import Usl
from septet.lab.pinning import Pinning
from support.made_up_machine import trial
from support.made_up_results import valid

TARGET_S = 0.05


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, Outcome.HELD),
        ({"p99_s": 0.0501}, Outcome.BROKEN),
        ({"answered_per_s": 900.0}, Outcome.BROKEN),
        ({"errors": 2}, Outcome.BROKEN),
        ({"errors": 1, "answers": 2000}, Outcome.HELD),
        ({"answers": 0, "p99_s": None, "answered_per_s": 0.0}, Outcome.BROKEN),
        ({"failure": "the server ended with status 1"}, Outcome.BROKEN),
        ({"p99_s": 0.06, "client_share": 0.9}, Outcome.LIMITED),
        ({"p99_s": 0.06, "late_p99_s": 0.02}, Outcome.DISTURBED),
        ({"p99_s": 0.06, "verdict": "noisy", "reason": "other programs took a CPU: repeat this"}, Outcome.DISTURBED),
        ({"verdict": "noisy", "client_share": 0.9, "late_p99_s": 0.02}, Outcome.HELD),
    ],
)
def test_what_a_trial_means(values: dict[str, Any], expected: Outcome) -> None:
    how, why = outcome(trial(rate=1000.0, **values), TARGET_S)
    assert how is expected
    assert why


def test_a_trial_is_read_from_the_record_of_a_run() -> None:
    record = valid("epoll", 10, 500)
    record["load"] |= {"due": 1000, "send_late_us": {"p99": 120}}
    record["load"]["plan"] = {"rate": 500.0, "users": 10}
    read = read_trial(record, cpus=4)
    assert (read.rate, read.users, read.answers, read.due) == (500.0, 10, 1000, 1000)
    assert read.p99_s == pytest.approx(0.00199, rel=0.01)
    assert read.cpu_s == pytest.approx(0.05 / 1000)
    assert read.server_share == pytest.approx(0.05 / 2)
    assert read.late_p99_s == pytest.approx(0.00012)
    record["scheduled"] = {"ran_s": 0.06, "delayed_s": 0.02}
    read = read_trial(record, cpus=4)
    assert (read.cpu_s, read.delay_s) == (pytest.approx(0.06 / 1000), pytest.approx(0.02 / 1000))
    record["scheduled"] = {"ran_s": 0.001, "delayed_s": 0.0}
    assert read_trial(record, cpus=4).cpu_s == pytest.approx(0.05 / 1000), "its threads came and went"


def test_a_failed_run_is_a_trial_too() -> None:
    read = read_trial({"failure": "the server ended with status 1"}, cpus=4)
    assert read.answered_nothing
    assert read.failure == "the server ended with status 1"


def test_a_rate_is_offered_until_there_are_answers_enough() -> None:
    assert duration_s(10_000, 0.05) == 1
    assert duration_s(500, 0.05) == 2
    assert duration_s(10, 0.05) == 5
    assert duration_s(10_000, 0.3) == 3


# What may be used.


def group(root: Path, path: str, **files: str) -> None:
    folder = root / path
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("_", ".", 1)).write_text(text + "\n")


PINNED = Pinning(tuple(range(6)), (6, 7))


def test_without_control_groups(tmp_path: Path) -> None:
    found = machine_limits(PINNED, tmp_path / "none", tmp_path / "membership")
    assert found.cpus == 6
    assert found.memory_bytes > 100_000_000
    assert not found.shared


def test_the_group_around_ours_counts(tmp_path: Path) -> None:
    root, membership = tmp_path / "cgroup", tmp_path / "membership"
    membership.write_text("0::/pod/container\n")
    group(root, "pod", cpu_max="400000 100000", memory_max="100000000")
    group(root, "pod/container", cpu_max="max 100000", memory_max="max")
    found = machine_limits(PINNED, root, membership)
    assert found.cpus == 2, "four CPUs' worth of time, of which the users take two"
    assert found.memory_bytes == 100_000_000
    assert any("4 CPUs" in note for note in found.notes)
    assert any("100 MB" in note for note in found.notes)


def test_control_groups_of_version_1(tmp_path: Path) -> None:
    root = tmp_path / "cgroup"
    (root / "cpu").mkdir(parents=True)
    (root / "memory").mkdir()
    (root / "cpu/cpu.cfs_quota_us").write_text("150000\n")
    (root / "cpu/cpu.cfs_period_us").write_text("100000\n")
    (root / "memory/memory.limit_in_bytes").write_text("50000000\n")
    found = machine_limits(PINNED, root, tmp_path / "membership")
    assert found.cpus == 1
    assert found.memory_bytes == 50_000_000


def test_one_cpu_is_shared(tmp_path: Path) -> None:
    found = machine_limits(Pinning(), tmp_path / "none", tmp_path / "membership")
    assert found.shared
    assert "share" in found.notes[0]


# The queue.


def test_an_idle_server_adds_nothing() -> None:
    assert latency_s(Service(0.005, 0.02, 1, 100), rate=1) == pytest.approx(0.025, abs=0.001)


def test_random_arrivals_as_the_theory_of_queues_has_them() -> None:
    """M/D/1 at a load of 0.8: 99 % wait no longer than about 9.3 service times (Erlang's formula; Tijms 2003, 9.6)."""
    service = Service(0.005, 0.0, 1, 1)
    waits = [(latency_s(service, 160, seed) - 0.005) / 0.005 for seed in range(8)]
    assert sum(waits) / len(waits) == pytest.approx(9.3, rel=0.15)


def test_capacity_is_below_what_saturates_and_grows_with_the_target() -> None:
    service = Service(0.005, 0.0, 1, 1)
    tight, loose = capacity(service, 0.02), capacity(service, 0.2)
    assert 0 < tight < loose < service.rate_max
    assert capacity(service, 0.004) == 0


def test_many_servers_carry_more_than_their_sum() -> None:
    """Sixteen CPUs behind one queue: one of them is free when another is busy."""
    one, many = Service(0.005, 0.0, 1, 1), Service(0.005, 0.0, 16, 16)
    assert capacity(many, 0.05) > 16 * capacity(one, 0.05)


def test_threads_bound_what_waits() -> None:
    assert Service(0.0003, 0.02, 1, 8).rate_max == pytest.approx(8 / 0.0203)
    assert capacity(Service(0.0003, 0.02, 1, 64), 0.05) > 5 * capacity(Service(0.0003, 0.02, 1, 8), 0.05)


# The plan.


@pytest.mark.parametrize(
    ("text", "rate"), [("100000rps", 1e5), ("100k", 1e5), ("2.5k/s", 2500), ("1M rps", 1e6), ("100_000", 1e5)]
)
def test_rates_are_read(text: str, rate: float) -> None:
    assert parse_rate(text) == rate


@pytest.mark.parametrize("text", ["", "many", "-5", "0", "100kk", "10 users"])
def test_what_is_no_rate(text: str) -> None:
    with pytest.raises(UsageError, match="is not a rate"):
        parse_rate(text)


def test_a_plan_is_an_interval() -> None:
    rows = plan(100_000, Service(0.0003, 0.02, 1, 64), TARGET_S, None, Memory(0, 30_000_000), cores=(4, 16))
    assert [row.cores for row in rows] == [4, 16]
    for row in rows:
        assert row.few <= row.machines <= row.many
        assert row.rate_low < row.rate < row.rate_high
        assert row.rate < row.cores / 0.0003
        assert row.memory_bytes == 30_000_000 * row.cores
    assert rows[0].machines > 2 * rows[1].machines
    assert rows[0].many > rows[0].few


def test_a_measured_law_narrows_it() -> None:
    law = Usl(3000, 0.02, 0.0, error=0.01, points=5)
    service = Service(0.0003, 0.02, 1, 64)
    (row,) = plan(100_000, service, TARGET_S, law, None, cores=(16,))
    (assumed,) = plan(100_000, service, TARGET_S, None, None, cores=(16,))
    assert row.rate < assumed.rate, "it is more friction than was assumed"
    assert "as measured" in basis(law)
    assert "is assumed" in basis(None)
    assert "follows no law" in basis(Usl(3000, 0.02, 0.0, error=0.3, points=5))
