"""The corpus parsed by Septet, h11 and httptools: `tests/corpus/differences.toml` explains each difference.

It is not that they are right, or we: a difference is a place where two programs in one chain would disagree about where
a request ends or whom it is for, so each of ours has to be meant.
"""

import tomllib
from dataclasses import dataclass
from functools import cache

import pytest

from corpus.cases import CASES, HERE, Case
from support.feeding import TAIL
from support.parsers import OTHERS, Reading, ours


@dataclass(frozen=True)
class Difference:
    """One entry of the file."""

    what: str
    way: str
    who: tuple[str, ...]
    why: str
    cases: tuple[str, ...]

    def explains(self, other: str, way: str, case: Case) -> bool:
        return other in self.who and way == self.way and case.name.startswith(self.cases)


def load() -> list[Difference]:
    entries = tomllib.loads((HERE / "differences.toml").read_text("utf-8"))["difference"]
    return [Difference(e["what"], e["way"], tuple(e["who"]), e["why"], tuple(e["cases"])) for e in entries]


def way(mine: Reading, other: Reading) -> str | None:
    """Which of the two is stricter; None if both read the same."""
    if (mine.refused is None) != (other.refused is None):
        return "we refuse" if other.refused is None else "they refuse"
    if mine.requests == other.requests:
        return None
    if mine.refused is not None:
        return "we refuse" if len(mine.requests) < len(other.requests) else "they refuse"
    return "read otherwise"


@cache
def found(other: str) -> dict[Case, tuple[str, str]]:
    """The cases with two readings: which parser is stricter, and both readings as text."""
    differences = {}
    for case in CASES:
        data = case.data if case.ends else case.data + TAIL
        mine, theirs = ours(data), OTHERS[other](data)
        differs = way(mine, theirs)
        if differs is not None:
            differences[case] = differs, f"{case}: {differs}; here {mine}; there {theirs}"
    return differences


@pytest.mark.parametrize("other", OTHERS)
def test_every_difference_is_explained(other: str) -> None:
    known = load()
    unexplained = [
        said
        for case, (differs, said) in found(other).items()
        if not any(each.explains(other, differs, case) for each in known)
    ]
    assert not unexplained, "\n".join(unexplained)


@pytest.mark.parametrize("other", OTHERS)
def test_every_explanation_explains_something(other: str) -> None:
    """Entries that are not true any more are found, since they would mislead."""
    for entry in load():
        if other in entry.who:
            explained = [case for case, (differs, _) in found(other).items() if entry.explains(other, differs, case)]
            assert explained, f"{other} does not differ in {entry.what!r}"
    everything = [case.name for parser in OTHERS for case in found(parser)]
    idle = [name for entry in load() for name in entry.cases if not any(each.startswith(name) for each in everything)]
    assert not idle, f"no case is read in two ways whose name begins with {idle}"
