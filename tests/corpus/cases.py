"""Raw requests and what must come of them: the rules of RFC 9110 and RFC 9112, and the public history of failures.

The cases are data, in the TOML files beside this one, so that they can be read, corrected and added to without reading
Python. One file is one subject. A case is

    [[case]]
    name = "Content-Length that is not a number"
    why = "RFC 9110 section 8.6: 1*DIGIT; CVE-2022-24761"
    send = '''POST / HTTP/1.1\\r ... Content-Length: <>\\r ...'''    # in TOML's double quotes, where \\r is a CR
    answers = [400]
    [case.each]                     # optional: one case for each, its text in the place of <>
    "a plus sign" = "+5"

`send` is text whose characters are the bytes' numbers (latin-1): `\\r` at the end of a line makes it a CRLF, without it
there is a bare LF. It may also be a list of texts and of `{ times = 9000, of = "a" }`.

`answers` lists what comes back, in order. A number is the status of an answer whose content does not matter, as the
server gives it by itself; a list of numbers, any of them, and with 0 the last may be missing. A table is what the
application saw of a request that it answered: method, path, query, version, body, fields. What is not written there is
GET, /, nothing, 1.1, nothing, and fields that do not matter; a field that is `false` must not be there.

`connection` says what must be true then: "open" (the request that follows is answered), "closed" (it is not, and the
connection has ended) or "either". Left out, it is closed after a refusal and open otherwise. `ends = true`: the client
says that it sends no more, and no request follows.
"""

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent

BLANK = "<>"

KEYS = {"name", "why", "send", "answers", "each", "connection", "ends"}


@dataclass(frozen=True)
class Seen:
    """A request as the application sees it."""

    method: str = "GET"
    path: str = "/"
    query: str = ""
    version: str = "1.1"
    body: str = ""
    fields: Mapping[str, str | bool] = field(default_factory=dict)

    def difference(self, other: "Seen") -> str | None:
        """How `other`, which has all its fields, differs from what was expected; None if it does not."""
        for name in ("method", "path", "query", "version", "body"):
            expected, found = getattr(self, name), getattr(other, name)
            if expected != found:
                return f"{name} is {found[:200]!r}, not {expected[:200]!r}"
        for name, value in self.fields.items():
            if other.fields.get(name, False) != value:
                return f"the field {name} is {other.fields.get(name)!r}, not {value!r}"
        return None


@dataclass(frozen=True)
class Answer:
    """One answer that came; `seen` is None where its content does not tell."""

    status: int
    seen: Seen | None = None


Expected = frozenset[int] | Seen


@dataclass(frozen=True, eq=False)
class Case:
    name: str
    why: str
    data: bytes
    answers: tuple[Expected, ...]
    connection: str
    ends: bool

    def __str__(self) -> str:
        return self.name

    def difference(self, answers: list[Answer], closed: bool) -> str | None:
        """What is wrong with the answers to this case and the request behind it; None if nothing is."""
        rest = answers[len(self.answers) :]
        if len(answers) < self._fewest:
            return f"only {len(answers)} answers: {answers}"
        for expected, answer in zip(self.answers, answers, strict=False):
            if wrong := _wrong(expected, answer):
                return wrong
        follows = not self.ends and [answer.seen and answer.seen.path for answer in rest] == ["/tail"]
        if rest and not follows:
            return f"answers too many: {rest}"
        if self.connection == "open" and not follows:
            return "the request that follows was not answered"
        if self.connection == "closed" and (rest or not closed):
            return "the connection stayed open"
        return None

    @property
    def _fewest(self) -> int:
        return len(self.answers) - sum(isinstance(each, frozenset) and 0 in each for each in self.answers)


def _wrong(expected: Expected, answer: Answer) -> str | None:
    if isinstance(expected, Seen):
        if answer.status != 200:
            return f"status {answer.status}, but the application should have answered"
        return expected.difference(answer.seen) if answer.seen else None
    return None if answer.status in expected else f"status {answer.status}, not one of {sorted(expected)}"


def load() -> Iterator[Case]:
    """All cases, file by file."""
    for path in sorted(HERE.glob("*.toml")):
        if path.name != "differences.toml":
            for entry in tomllib.loads(path.read_text("utf-8"))["case"]:
                yield from _cases(path.stem, entry)


def _cases(subject: str, entry: dict[str, Any]) -> Iterator[Case]:
    assert not set(entry) - KEYS, f"{subject}: {entry['name']} has the unknown keys {set(entry) - KEYS}"
    for label, text in entry.get("each", {"": ""}).items():
        name = f"{subject}: {entry['name']}" + (f": {label}" if label else "")
        answers = tuple(_expected(answer, text) for answer in entry["answers"])
        served = bool(answers) and (isinstance(answers[-1], Seen) or min(answers[-1]) < 400)
        yield Case(
            name=name,
            why=entry["why"],
            data=_text(entry["send"], text).encode("latin-1"),
            answers=answers,
            connection=entry.get("connection", "open" if served and not entry.get("ends") else "closed"),
            ends=entry.get("ends", False),
        )


def _text(send: Any, text: str) -> str:
    if isinstance(send, list):
        return "".join(_text(each, text) for each in send)
    if isinstance(send, dict):
        return str(send["of"] * send["times"])
    return str(send).replace(BLANK, text)


def _expected(answer: Any, text: str) -> Expected:
    if isinstance(answer, dict):
        return Seen(**_filled(answer, text))
    return frozenset(answer if isinstance(answer, list) else [answer])


def _filled(table: dict[str, Any], text: str) -> dict[str, Any]:
    """The same with the text in the blanks."""
    filled: dict[str, Any] = {}
    for key, value in table.items():
        filled[key] = _filled(value, text) if isinstance(value, dict) else value and value.replace(BLANK, text)
    return filled


CASES = tuple(load())
