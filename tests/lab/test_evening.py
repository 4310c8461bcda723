"""Figures evened, on results that were made up: of machines that change their speed, and that others use."""

import math
import random
from typing import Any

import pytest

from septet.lab.evening import disturbed, evened, fitted, page_computes
from septet.lab.metrics import EVEN_RATE, P99, RATE
from septet.lab.pairs import DECIDED, OPEN
from septet.lab.ranking import basis, rankings
from septet.lab.report.findings import findings
from septet.lab.statistics import variation
from septet.lab.summary import summaries
from support.made_up_results import Record, results_of, valid

CPU_US = {"epoll": 60.0, "prethreaded": 75.0, "threaded": 170.0}


def on_a_drifting_machine(chance: random.Random, follows: float, runs: int = 12) -> list[Record]:
    """Runs of a machine whose speed changes by up to two, and of servers whose CPU time follows it so far."""
    records = []
    for turn in range(1, runs + 1):
        slowness = chance.uniform(1, 2)
        for model, cpu_us in CPU_US.items():
            record = valid(model, 20, 1000.0, repeat=turn)
            record["usage"]["probe_us"] = 50.0 * slowness * math.exp(chance.gauss(0, 0.005))
            _set_cpu(record, cpu_us * slowness**follows * math.exp(chance.gauss(0, 0.02)))
            records.append(record)
    return records


def _set_cpu(record: Record, cpu_us: float) -> None:
    record["usage"]["cpu_s"] = cpu_us * 1e-6 * record["load"]["requests_per_s"] * record["load"]["window_s"]


@pytest.mark.parametrize("follows", [0.0, 0.5, 1.0])
def test_how_far_cpu_time_follows_the_probe_is_found(follows: float) -> None:
    records = on_a_drifting_machine(random.Random(4), follows)
    _set_cpu(records[3], 5000.0)  # a stray one
    cells = [[record for record in records if record["model"] == model] for model in CPU_US]
    assert fitted(cells).slope == pytest.approx(follows, abs=0.08)


def test_evened_cpu_time_is_steadier() -> None:
    found = evened(results_of(*on_a_drifting_machine(random.Random(5), 0.8)))
    runs = [record for record in found if record["model"] == "epoll"]
    as_measured = [record["usage"]["cpu_s"] for record in runs]
    assert variation(as_measured) > 0.1
    assert variation([record["evened"]["cpu_us"] for record in runs]) < 0.05


def test_nothing_is_corrected_where_the_speed_was_steady_or_is_not_known() -> None:
    steady = [valid("epoll", 20, 1000.0, repeat=turn) for turn in range(1, 9)]
    assert fitted([steady]).slope == 0.0
    for record in steady:
        record["usage"]["probe_us"] = None
    assert fitted([steady]).cpu_factor(steady[0]) == 1.0


def on_a_busy_machine(chance: random.Random, least_us: int = 400, wanted: float = 0.9, **changes: Any) -> Any:
    """Others leave the server between a tenth and a half of its CPU, so its rate says little of it."""
    records = []
    for turn in range(1, 9):
        for model, cpu_us in CPU_US.items():
            share = chance.uniform(0.1, 0.5)
            record = valid(model, 20, share * 1e6 / cpu_us, repeat=turn)
            _set_cpu(record, cpu_us * math.exp(chance.gauss(0, 0.03)))
            window_s = record["load"]["window_s"]
            record["usage"] |= {"server_cpus_busy_s": window_s, "machine_busy_s": window_s, "cpus_wanted": wanted}
            record["load"]["histogram_us"] = {str(least_us): 1000}
            records.append(record)
    recorded = results_of(*records, **changes)
    recorded["experiment"]["pinned"] = ((0,), (1,))
    recorded["machine"]["cpus"] = 2
    return recorded


def test_on_a_busy_machine_the_order_rests_on_cpu_time() -> None:
    recorded = on_a_busy_machine(random.Random(6))
    cells = summaries(recorded)
    assert disturbed(recorded)
    assert basis(recorded, RATE) is EVEN_RATE
    assert basis(recorded, P99) is P99
    found = rankings(recorded, cells)[20]
    assert found.order == ("epoll", "prethreaded", "threaded")
    assert {pair.outcome for pair in found.pairs.values()} == {DECIDED}
    low, high = found.pair("epoll", "prethreaded").ratio[1:]
    assert low is not None
    assert high is not None
    assert low < CPU_US["prethreaded"] / CPU_US["epoll"] < high
    said = findings(recorded, cells)
    assert said[0].endswith("so the order rests on CPU time of a request, which they change little.")
    assert any("epoll would serve about 16" in each and "if it had its CPUs alone (evened)" in each for each in said)


@pytest.mark.parametrize("why_not", [{"least_us": 20_000}, {"wanted": 0.2}])
def test_rates_are_as_measured_where_cpu_time_is_not_the_limit(why_not: Any) -> None:
    recorded = on_a_busy_machine(random.Random(7), **why_not)
    for record in evened(recorded):
        assert record["evened"]["requests_per_s"] == record["load"]["requests_per_s"]
    assert rankings(recorded, summaries(recorded))[20].pair("epoll", "prethreaded").outcome == OPEN


def test_a_page_that_waits_is_ranked_by_its_rates() -> None:
    recorded = on_a_busy_machine(random.Random(7), least_us=20_000)
    assert disturbed(recorded)
    assert basis(recorded, RATE) is RATE


def test_a_single_user_tells_that_a_page_computes_though_lines_are_long() -> None:
    (record,) = on_a_busy_machine(random.Random(8), least_us=20_000)["runs"][:1]
    assert not page_computes([record], {})
    assert page_computes([record], {"least_us": 300, "cpu_us": 60.0})
    assert not page_computes([record], {"least_us": 20_300, "cpu_us": 150.0})


def test_on_a_quiet_machine_the_order_rests_on_what_was_measured() -> None:
    recorded = results_of(*(valid("epoll", 20, 4000.0, repeat=turn) for turn in (1, 2, 3)))
    assert not disturbed(recorded)
    assert basis(recorded, RATE) is RATE
