"""What stands above the figures: the page, its cost, its connections, and the CPUs that the server had."""

from typing import Any

import pytest

from septet.lab.report.about import captions, cpus_line, heading, page_line
from septet.lab.results import Results
from septet.lab.summary import summaries
from support.made_up_results import failed, results_of, valid


def results(profile: str, mode: str, **changes: Any) -> Results:
    recorded = results_of(valid("epoll", 20, 1000.0), valid("poll", 20, 900.0), profile=profile, mode=mode, **changes)
    recorded["runs"][1]["usage"] = {**recorded["runs"][1]["usage"], "cpu_s": 5.0}
    return recorded


def test_the_line_of_a_page_says_what_it_computes_or_waits_for() -> None:
    computes, waits = results("computes", "close"), results("waits", "keep-alive")
    said = page_line(computes, summaries(computes))
    assert said.startswith("A page that computes (GET /guestbook of septet.examples.guestbook:wsgi): a small one, ")
    assert "; a request takes 0.05 ms of CPU time or more, the server's work included; a new connection for" in said
    said = page_line(waits, summaries(waits))
    assert "it sleeps for that time, in place of a database or another service; " in said
    assert "; connections kept alive; " in said
    assert heading("A page", waits) == "A page; connections kept alive"
    assert heading("", waits) == ""


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"short": ()}, "; one run of 0.8 s"),
        ({"short": [[20, 0.2]]}, "; one run of 0.8 s (0.2 s of fast servers at 20 users)"),
        ({"users_per_window": 800, "users": [20, 1000]}, "; one run of 0.8 s (longer above 800 users)"),
        (
            {"short": [[20, 0.2], [100, 0.3]], "users_per_window": 800, "users": [20, 100, 1000]},
            "; one run of 0.8 s (0.2 s of fast servers at 20 and 100 users; longer above 800 users)",
        ),
    ],
)
def test_how_long_runs_measure(changes: dict[str, Any], told: str) -> None:
    recorded = results("computes", "close")
    recorded["experiment"] |= {"duration_s": 0.8, "repeats": 1, **changes}
    assert page_line(recorded, summaries(recorded)).endswith(told)


def test_a_page_of_which_all_failed_has_no_cost() -> None:
    recorded = results_of(failed("epoll", 20, "it died"))
    assert "CPU time" not in page_line(recorded, summaries(recorded))


def test_what_pages_share_is_said_once_and_after_them() -> None:
    pages = [(each, summaries(each)) for each in (results("computes", "close"), results("waits", "keep-alive"))]
    one, other, *shared = captions(pages)
    titles = ["A page that computes", "A page that waits 20 ms for a backend"]
    assert [line.split(" (")[0] for line in (one, other)] == titles
    assert len(shared) == len({*shared}) == 1


@pytest.mark.parametrize(
    ("server", "cpus", "told"),
    [
        ([0], 2, "The server had 1 of the machine's 2 CPUs: what a model gains from several (--workers) is not "),
        ([0, 1, 2], 4, "The server had 3 of the machine's 4 CPUs."),
        ([], 1, "The machine has one CPU: what a model gains from several (--workers) is not compared here."),
        ([], 4, None),
    ],
)
def test_how_many_cpus_the_server_had(server: list[int], cpus: int, told: str | None) -> None:
    recorded = results("computes", "close")
    recorded["machine"] |= {"cpus": cpus, "cpus_usable": cpus}
    recorded["experiment"]["pinned"] = [server, [cpus - 1] if server else []]
    said = cpus_line(recorded)
    assert said == told if told is None or said is None else said.startswith(told)
