"""What the report says in words: only what the figures support."""

import random
from collections.abc import Sequence
from typing import Any

import pytest

from septet.lab.report.figure_text import number
from septet.lab.report.findings import findings, focus, landmarks
from septet.lab.results import Results
from septet.lab.summary import summaries
from septet.lab.tables import costs
from support.made_up_results import Record, failed, results_of, valid, with_errors


def thrice(model: str, users: int, rate: float, around: float = 0.01) -> list[Record]:
    """Three rounds, in which each model has its good and bad luck in an order of its own."""
    luck = random.Random(model).sample((-1, 0, 1), 3)
    return [valid(model, users, rate * (1 + around * each), repeat=place) for place, each in enumerate(luck, 1)]


def drifting(speeds: Sequence[float], **rates: float) -> list[Record]:
    """Rounds of a machine whose speed changes from one to the next."""
    return [
        valid(model, 100, rate * speed, repeat=place)
        for place, speed in enumerate(speeds, 1)
        for model, rate in rates.items()
    ]


def finished(*records: Record) -> Results:
    return {**results_of(*records, repeats=3), "finished": "2026-11-23T10:00:00+00:00"}


def sentences(recorded: Results) -> list[str]:
    return findings(recorded, summaries(recorded))


def of_rates(recorded: Results) -> list[str]:
    return [sentence for sentence in sentences(recorded) if "requests/s" in sentence]


def test_one_is_ahead() -> None:
    said = of_rates(finished(*thrice("epoll", 1000, 4312), *thrice("threaded", 1000, 2500)))
    assert said == ["At 1,000 users epoll served 4,310 requests/s, 1.64 to 1.81 times threaded."]


def test_a_tie_is_called_one() -> None:
    said = of_rates(finished(*thrice("epoll", 100, 4000), *thrice("io_uring", 100, 4050)))
    assert said == [
        "At 100 users none is surely ahead in requests per second: io_uring 4,050 and epoll 4,000 requests/s, "
        "equal within 5%."
    ]


def test_a_tie_at_the_top() -> None:
    records = [*thrice("epoll", 100, 4000), *thrice("io_uring", 100, 4050), *thrice("forking", 100, 400)]
    assert of_rates(finished(*records)) == [
        "At 100 users io_uring served 4,050 requests/s, 9.8 to 10 times forking. epoll equals it within 5%."
    ]


def test_of_many_the_next_and_the_last() -> None:
    rates = {"epoll": 4000, "poll": 3000, "threaded": 2000, "preforked": 1500, "forking": 400}
    records = [record for model, rate in rates.items() for record in thrice(model, 100, rate, 0.001)]
    assert of_rates(finished(*records)) == [
        "At 100 users epoll served 4,000 requests/s, 1.33 to 1.34 times poll (next) and 10 times forking (last)."
    ]


def test_one_run_is_no_ranking() -> None:
    said = of_rates(finished(valid("epoll", 100, 4000), valid("threaded", 100, 100)))
    assert said == [
        "At 100 users epoll 4,000 and threaded 100 requests/s; too few rounds, so differences cannot be told "
        "from noise."
    ]
    assert "cannot be told" in of_rates(finished(valid("epoll", 100, 4000)))[0]


def test_an_order_is_sure_where_no_figure_is() -> None:
    said = sentences(finished(*drifting([1, 2, 1.1, 1.9], epoll=4000, threaded=2000, forking=400)))
    assert said[:2] == [
        "At 100 users epoll served about 6,000 requests/s, 2.0 times threaded and 10 times forking.",
        "At 100 users, the fastest first: epoll; threaded; forking.",
    ]
    noisy = "At 100 users the figures of epoll, threaded and forking are noisy; the stated order is sure all the same."
    assert noisy in said
    assert not any("not ranked" in sentence for sentence in said)


def test_what_is_not_decided_is_said_to_be_open() -> None:
    said = of_rates(finished(*thrice("epoll", 100, 4000, 0.2), *thrice("poll", 100, 4300, 0.2)))
    assert said == [
        "At 100 users none is surely ahead in requests per second: poll about 4,300 and epoll about 4,000 requests/s."
    ]
    records = [*thrice("epoll", 100, 4000), *thrice("poll", 100, 4020), *thrice("forking", 100, 40)]
    records += [*thrice("iterative", 100, 30)]
    assert "At 100 users, the fastest first: poll and epoll (equal within 5%); forking; iterative." in sentences(
        finished(*records)
    )


def test_how_an_experiment_with_a_limit_in_time_ended() -> None:
    decided = finished(*drifting([1, 2, 1.1, 1.9], epoll=4000, threaded=2000))
    assert sentences({**decided, "ended": "decided"})[0] == (
        "Every pair of neighbours is decided, or equal within 5%: it ended with that."
    )
    undecided = finished(*thrice("epoll", 100, 4000, 0.2), *thrice("poll", 100, 4300, 0.2))
    assert sentences({**undecided, "ended": "time"})[0] == (
        "Time was up with 1 of 1 pairs of neighbours open; a longer --for may decide them."
    )


def test_other_programs_are_on_top() -> None:
    disturbed = finished(*thrice("epoll", 100, 4000), *thrice("threaded", 100, 2000))
    for record in disturbed["runs"]:
        busy_s = record["usage"]["machine_busy_s"] + 0.3 * record["load"]["window_s"] * disturbed["machine"]["cpus"]
        record["usage"] = {**record["usage"], "machine_busy_s": busy_s}
    assert sentences(disturbed)[0].startswith("Other programs used 3")
    assert "of the CPUs meanwhile" in sentences(disturbed)[0]


def test_errors_are_not_ranked() -> None:
    several = [with_errors("poll", 100, 9000, "120 of 8,000 requests failed") for _ in range(3)]
    said = sentences(finished(*thrice("epoll", 100, 4000), *({**each, "repeat": n} for n, each in enumerate(several))))
    assert said[0] == "At 100 users epoll served 4,000 requests/s."
    assert said[-1] == "Answered with errors: poll at 100 users."


def limited(records: list[Record]) -> list[Record]:
    return [{**record, "verdict": "client-limited", "reason": "the load generator was busy"} for record in records]


def test_a_busy_client_makes_at_least() -> None:
    """Of the limited one that leads the lead is a lower bound; of the limited one that follows nobody is ahead."""
    leading = of_rates(finished(*limited(thrice("epoll", 100, 4000)), *thrice("threaded", 100, 2000)))
    assert leading == ["At 100 users epoll served at least 4,000 requests/s, at least 1.90 times threaded."]
    following = of_rates(finished(*thrice("epoll", 100, 4000), *limited(thrice("threaded", 100, 2000))))
    assert following == [
        "At 100 users none is surely ahead in requests per second: epoll 4,000 and threaded at least 2,000 requests/s."
    ]


def test_a_cliff_and_failures() -> None:
    lost = [failed("poll", users, "no answer", repeat) for users in (100, 1000) for repeat in (1, 2, 3)]
    said = sentences(
        finished(
            *thrice("epoll", 10, 2000), *thrice("epoll", 100, 2100), *thrice("epoll", 1000, 500),
            *thrice("poll", 10, 2000), *lost,
        )
    )  # fmt: skip
    assert "epoll fell from 2,100 requests/s at 100 users to 500 at 1,000." in said
    assert said[-1] == "Failed: poll from 100 users on."


def test_nothing_at_all() -> None:
    assert sentences(finished(failed("epoll", 10, "no"))) == ["Every cell failed; the reasons are below."]
    assert sentences({**results_of(), "finished": "now"}) == ["Nothing has been measured yet."]
    interrupted = sentences(results_of(*thrice("epoll", 10, 100)))
    assert interrupted[0] == "The experiment was interrupted: some of its cells are missing."


def test_latencies_that_the_end_of_the_window_cut_off() -> None:
    """Of a model that answers few of its users, only those who came first have a latency: it is a lower bound."""
    slow = thrice("iterative", 100, 50)
    for record in slow:
        record["load"] = {**record["load"], "answers": 40, "requests_per_s": 50.0, "unanswered": 100}
    recorded = finished(*thrice("epoll", 100, 4000), *thrice("poll", 100, 3000), *slow)
    said = sentences(recorded)
    assert not [sentence for sentence in said if "p99" in sentence and "iterative" in sentence]
    assert "At 100 users the runs were too short for the latencies of iterative: true ones are longer." in said
    assert "78 to 82 times iterative" in said[0], "requests per second are what they are"
    rows = {row.split()[0]: row for row in costs(summaries(recorded), 100).splitlines()}
    assert rows["iterative"].count("≥") == 2
    assert "≥" not in rows["poll"]


def test_users_without_an_answer_are_no_errors_of_the_server() -> None:
    waiting = thrice("forking", 100, 50)
    for record in waiting:
        load = {**record["load"], "answers": 40, "users_never_answered": 60}
        record |= {"load": load, "verdict": "errors", "reason": "60 users had no answer by the end"}
    said = sentences(finished(*thrice("epoll", 100, 4000), *waiting))
    assert said[-1] == "Not every user had an answer in the measured time: forking at 100 users."


def test_less_is_better_for_what_it_costs() -> None:
    dear = thrice("forking", 100, 4000)
    for record in dear:
        record["usage"] = {**record["usage"], "cpu_s": 0.32, "pss_bytes": 90_000_000}
    said = sentences(finished(*thrice("epoll", 100, 4000), *dear))
    assert "At 100 users a request cost epoll 50 µs of CPU time; forking 6.4 times that." in said
    assert "At 100 users epoll took 25 MB; forking 3.6 times that." in said


def test_cpu_time_is_that_of_the_tables() -> None:
    """The order is that of evened CPU times; two figures for one case would be a riddle."""
    records = []
    for model, probes, base in (("epoll", (80.0, 95.0, 120.0), 1.0), ("forking", (40.0, 50.0, 65.0), 5.0)):
        for record, probe_us in zip(thrice(model, 100, 4000), probes, strict=True):
            used = {"cpu_s": base * probe_us / 1000, "probe_us": probe_us}
            records.append({**record, "usage": {**record["usage"], **used}})
    recorded = finished(*records)
    (epoll, _) = summaries(recorded)
    assert (epoll.median("cpu_us"), epoll.median("even_cpu_us")) == (pytest.approx(95), pytest.approx(72, abs=2))
    (told,) = [sentence for sentence in sentences(recorded) if "CPU time" in sentence]
    assert told.startswith("At 100 users a request cost epoll 95 µs of CPU time; forking ")


def test_landmarks() -> None:
    served = [valid(model, users, 10) for model in "abcd" for users in (1, 10, 100)]
    served += [valid("b", 1000, 10), valid("c", 1000, 10)]
    cells = summaries(finished(*served[1:], failed("a", 1, "no"), failed("a", 1000, "no")))
    assert focus(cells) == 100
    assert landmarks(cells) == [100, 1000]


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (0.0123, "0.012"), (1.5, "1.5"), (42.25, "42.2"), (4312.4, "4,312"), (100, "100")]
)
def test_numbers_of_three_digits(value: float, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize(("grain_s", "told"), [(0.001, True), (0.02, False)])
def test_no_sentence_from_a_coarse_figure(grain_s: float, told: bool) -> None:
    records = [*thrice("epoll", 100, 4000), *thrice("forking", 100, 400)]
    for record, cpu_s in zip(records, [0.05] * 3 + [0.15] * 3, strict=True):
        record["usage"] = {**record["usage"], "cpu_s": cpu_s, "cpu_grain_s": grain_s}
    assert (
        any("µs of CPU time" in sentence and "forking" in sentence for sentence in sentences(finished(*records)))
        is told
    )


def waiting(**changes: Any) -> Results:
    """A page that waits 20 ms, on one CPU: a pool of 8 threads gives 400 requests a second, 3 processes 150."""
    rates = {"threaded": 4800, "prethreaded": 396, "epoll": 390, "preforked": 147, "iterative": 49, "poll": 250}
    records = [record for model, rate in rates.items() for record in thrice(model, 100, rate)]
    recorded = finished(*records)
    recorded["alone"] = {"least_us": 20_000, "cpu_us": 100}
    recorded["experiment"] |= {"pinned": [[0], [1]], "pool_told": "By default ...", **changes}
    return recorded


def of_pools(recorded: Results) -> list[str]:
    return [sentence for sentence in sentences(recorded) if "the size of the pool" in sentence]


def test_a_full_pool_is_named_as_the_limit() -> None:
    """Of poll something else is the limit; iterative and threaded have no pool."""
    assert of_pools(waiting()) == [
        "At 100 users the size of the pool was the limit of prethreaded and epoll (8 at a time) and preforked (3 at a "
        "time): an answer takes 20 ms, so 8 at a time are 400 requests/s. With more of them (--threads, --workers) "
        "they serve more; that was not measured here."
    ]


def test_the_size_that_is_given_counts() -> None:
    assert of_pools(waiting(pool={"workers": 2, "threads": 16})) == []
    (said,) = of_pools(waiting(pool={"workers": 1, "threads": 3}))
    assert "of preforked (3 at a time)" in said


def test_a_pool_is_no_limit_where_the_page_computes_or_options_set_it() -> None:
    recorded = waiting(pool_told=None)
    assert of_pools(recorded) == []
    recorded = waiting()
    recorded["alone"] = {"least_us": 20_000, "cpu_us": 19_000}
    assert of_pools(recorded) == []
