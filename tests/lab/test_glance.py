"""The first picture: its titles say what the figures allow, and its ranks how far the order is sure."""

import random
import re
from pathlib import Path

import pytest

from septet.lab import results
from septet.lab.pairs import standings
from septet.lab.report.command import pages_of
from septet.lab.report.drawing import NARROW, WIDE
from septet.lab.report.glance import RULES, Page, rank, section
from septet.lab.report.page import page as html
from septet.lab.report.page import specifications
from septet.lab.report.save import sections_of
from septet.lab.summary import summaries
from support.made_up_results import Record, failed, results_of, valid

NEW = "a new connection for every request"


def turns(model: str, users: int, rate: float, around: float = 0.01) -> list[Record]:
    luck = random.Random(model).sample((-1.5, -0.5, 0.5, 1.5), 4)
    return [valid(model, users, rate * (1 + around * each), repeat=place) for place, each in enumerate(luck, 1)]


def titles(*records: Record) -> list[str]:
    recorded = results_of(*records)
    (picture,) = section([Page(recorded, summaries(recorded), "A page")]).pictures
    assert picture.draw(WIDE)
    assert picture.draw(NARROW)
    return picture.shows.split("; ")


def test_the_title_is_the_finding() -> None:
    pool, own = turns("prethreaded", 20, 6000), turns("threaded", 20, 2000)
    assert titles(*pool, *own) == [
        f"A page, 20 users, {NEW}: A pool of threads (prethreaded) serves 3 times what a thread per client "
        "(threaded) does"
    ]
    waiting = titles(*turns("prethreaded", 10, 400), *turns("threaded", 10, 400), *turns("iterative", 10, 47))
    assert waiting == [
        f"A page, 10 users, {NEW}: A thread per client (threaded) serves 9 times what one client at a time "
        "(iterative) does"
    ]
    compared = titles(*turns("a", 5, 100), *turns("b", 5, 250))
    assert compared == [f"A page, 5 users, {NEW}: b serves 2.5 times what a does"]


def test_every_title_names_the_models_that_it_compares() -> None:
    assert all({"{0}", "{1}", "{times}"} <= set(re.findall(r"{\w+}", words)) for _, _, words in RULES)


def test_no_title_claims_what_is_not_decided() -> None:
    open_pair = [*turns("prethreaded", 20, 2100, 0.3), *turns("threaded", 20, 2000, 0.3)]
    few, alone = [valid("a", 20, 9.0), valid("b", 20, 1.0)], [*turns("epoll", 20, 2100), failed("poll", 20, "it died")]
    assert [titles(*each)[0].removeprefix(f"A page, 20 users, {NEW}: ") for each in (open_pair, few, alone)] == [
        "None is surely ahead of another",
        "Too few visits to tell who is ahead",
        "One contender",
    ]


@pytest.mark.parametrize(("second", "ranks"), [(1000.0, ["1=2", "1=2", "3"]), (800.0, ["1", "2", "3"])])
def test_ranks_are_as_sure_as_the_order(second: float, ranks: list[str]) -> None:
    chance = random.Random(2)
    levels = {"a": 1000.0, "b": second, "c": 400.0}
    values = {
        label: {turn: level * (1 + chance.gauss(0, 0.005)) for turn in range(1, 9)} for label, level in levels.items()
    }
    found = standings(values, True, 3)
    assert [rank(found, label) for label in levels] == ranks
    assert rank(found, "missing") == "-"


def test_two_pages_are_in_one_report(tmp_path: Path) -> None:
    """As `septet report` finds them below one directory; the page that computes comes first."""
    for profile, users, mode in (("computes", 20, "close"), ("waits", 10, "keep-alive")):
        records = [*turns("epoll", users, 4000), *turns("threaded", users, 2000)]
        recorded = results_of(*records, profile=profile, mode=mode)
        (tmp_path / profile).mkdir()
        results.write(recorded, tmp_path / profile)
    pages, place = pages_of(tmp_path)
    assert place == tmp_path
    assert [page.title for page in pages] == ["A page that computes", "A page that waits 20 ms for a backend"]
    own = [sections_of(each, None, True) for each in pages]
    for sections, connections in zip(own, (NEW, "connections kept alive"), strict=True):
        assert {each.about.split("; ")[1] for each in sections} == {connections}
    found = [section(pages), own[1][0]]
    assert [head.split(" users, ")[1] for head in found[0].table[0][1:]] == [NEW, "connections kept alive"]
    text = html(pages, found, specifications(found), None)
    for said in ("h3>A page that computes; " + NEW, '"pale about">A page that waits 20 ms for a backend; connections'):
        assert said in text, "it stands above the findings, and above each picture"
    assert "<dt>epoll</dt><dd>One thread for all clients:" in text
    assert "<dt>threaded</dt><dd>A new thread for every client.</dd>" in text
    assert "<dt>forking" not in text
    assert "Under epoll threads of a pool" in text
    assert "A page that computes and a page that waits 20 ms for a backend, under 2 process models" in text
    assert text.count("p99 that of 99 visitors in 100") == 1
    assert "epoll serves 2.0 times what threaded does" in text
    assert text.index('data-picture="glance"') < text.index("What the figures say")
