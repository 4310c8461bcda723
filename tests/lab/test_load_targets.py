"""What users ask for: methods, headers, bodies, several targets, cookies; and what a right answer is."""

import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from septet.lab.load import ANY_LENGTH, LoadError, Plan, Target, read_scenario, run
from septet.lab.load.requests import target_order
from support.scripted_server import ANSWER, BODY, CLOSING_ANSWER, Connection, ScriptedServer, keep_answering


def load(url: str, *targets: Target, **changes: Any) -> dict[str, Any]:
    return run(Plan(**{"url": url, "users": 4, "duration_s": 0.3, "warmup_s": 0.0, "targets": targets, **changes}))


def answering_head(connection: Connection) -> None:
    while head := connection.request():
        connection.send(ANSWER.removesuffix(BODY) if head.startswith(b"HEAD") else ANSWER)


def test_method_and_body_of_a_plan() -> None:
    with ScriptedServer(keep_answering) as server:
        figures = load(server.url, method="POST", body="name=grüße", headers=("Content-Type: text/plain",))
        assert figures["errors"] == {}
        head, body = server.messages[0]
        assert head.startswith(b"POST /path?query HTTP/1.1\r\n")
        assert b"\r\nContent-Length: 12\r\n" in head + b"\r\n"
        assert body == "name=grüße".encode()


def test_body_of_any_bytes() -> None:
    with ScriptedServer(keep_answering) as server:
        load(server.url, method="PUT", body=bytes(range(256)).decode("utf-8", "surrogateescape"))
        assert server.messages[0][1] == bytes(range(256))


def test_head_has_no_body() -> None:
    with ScriptedServer(answering_head) as server:
        figures = load(server.url, method="HEAD")
        assert figures["errors"] == {}
        assert figures["answers"] > 4
        assert figures["body_bytes"] == 0


def test_weights_are_kept() -> None:
    targets = (Target("/read", weight=9), Target("/write", method="POST", body="x=1", weight=1))
    with ScriptedServer(keep_answering) as server:
        figures = load(server.url, *targets, users=2)
        assert figures["errors"] == {}
        methods = Counter(head.split()[0] for head, _ in server.messages)
        assert methods[b"POST"] == pytest.approx(sum(methods.values()) / 10, abs=3)
        assert [each["target"] for each in figures["targets"]] == ["GET /read", "POST /write"]
        assert sum(each["answers"] for each in figures["targets"]) == figures["answers"]
        assert all(each["latency_us"]["p50"] > 0 for each in figures["targets"])


@pytest.mark.parametrize("weights", [[1], [9, 1], [20, 30, 50], [1, 1]])
def test_deck_has_exact_shares(weights: list[int]) -> None:
    cards = Counter(target_order(weights))
    for index, weight in enumerate(weights):
        assert cards[index] * sum(weights) == weight * sum(cards.values())


def test_number_of_the_user() -> None:
    target = Target("/basket/{user}", method="POST", headers=("X-User: {user}",), body="id={user}")
    seen = set()

    def notes_the_user(connection: Connection) -> None:
        while head := connection.request():
            seen.add(re.findall(rb"POST /basket/(\d+) |\r\nX-User: (\d+)", head)[1][1])
            connection.send(ANSWER)

    with ScriptedServer(notes_the_user) as server:
        assert load(server.url, target, users=12, warmup_s=0.1)["errors"] == {}  # a warm-up waits for all to come
        for head, body in server.messages:
            found = re.search(rb"POST /basket/(\d+) .*\r\nX-User: (\d+)", head, re.DOTALL)
            assert found is not None
            assert body == b"id=" + found[1]
            assert found[1] == found[2]
    assert seen == {b"%d" % user for user in range(12)}


def test_users_of_several_processes_have_different_numbers() -> None:
    plan = Plan("http://h/", users=7, rate=9.0, cpus=(1, 2, 3))
    shares = [plan.share(index, 3) for index in range(3)]
    assert [(share.first_user, share.users) for share in shares] == [(0, 3), (3, 2), (5, 2)]
    assert [share.cpus for share in shares] == [(1,), (2,), (3,)]
    assert {share.rate for share in shares} == {3.0}


def test_cookies_are_each_users_own() -> None:
    sent = set()

    def gives_a_cookie(connection: Connection) -> None:
        while head := connection.request():
            known = re.search(rb"\r\nCookie: (.*)", head)
            sent.add((connection.number, known[1] if known else b""))
            cookies = b"" if known else b"Set-Cookie: session=s%d; Path=/; HttpOnly\r\n" % connection.number
            connection.send(b"HTTP/1.1 200 OK\r\n%bContent-Length: 2\r\n\r\nok" % cookies)

    with ScriptedServer(gives_a_cookie) as server:
        assert load(server.url, cookies=True, warmup_s=0.1)["errors"] == {}
        without = sum(b"Cookie:" not in head for head, _ in server.messages)
        assert without == 4  # his first request, and no other
    assert sent == {(number, cookie) for number in range(1, 5) for cookie in (b"", b"session=s%d" % number)}


def test_cookies_can_be_taken_back() -> None:
    def takes_back(connection: Connection) -> None:
        while head := connection.request():
            age = b"0" if b"Cookie:" in head else b"60"
            connection.send(b"HTTP/1.1 200 OK\r\nSet-Cookie: a=b; Max-Age=%b\r\nContent-Length: 2\r\n\r\nok" % age)

    with ScriptedServer(takes_back) as server:
        load(server.url, cookies=True, users=1)
        assert [b"Cookie: a=b" in head for head, _ in server.messages[:4]] == [False, True, False, True]


@pytest.mark.parametrize(
    ("target", "kinds"),
    [
        (Target(status=200), set()),
        (Target(status=201), {"status 200"}),
        (Target(expect_text="world"), set()),
        (Target(expect_text="moon"), {"body"}),
        (Target(same_body=True), set()),
        (Target(expect_length=12), {"length"}),
    ],
)
def test_right_answers(target: Target, kinds: set[str]) -> None:
    with ScriptedServer(keep_answering) as server:
        assert set(load(server.url, target)["errors"]) == kinds


def test_another_body_of_the_same_length() -> None:
    def forgets(connection: Connection) -> None:
        for body in (BODY, BODY, BODY.upper()):
            if not connection.request():
                return
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\n" + body)

    with ScriptedServer(forgets) as server:
        assert load(server.url, users=1)["errors"] == {}
    with ScriptedServer(forgets) as server:
        figures = load(server.url, Target(same_body=True), users=1)
        assert set(figures["errors"]) == {"body"}


@pytest.mark.parametrize("each", [1, 2, 5])
def test_requests_per_connection(each: int) -> None:
    def answers(connection: Connection) -> None:
        while head := connection.request():
            connection.send(CLOSING_ANSWER if b"Connection: close" in head else ANSWER)

    with ScriptedServer(answers) as server:
        figures = load(server.url, requests_per_connection=each)
        assert figures["errors"] == {}
        assert figures["reconnects"] == 0
        assert server.requests == pytest.approx(server.connections * each, abs=4 * each)
        closes = sum(b"Connection: close" in head for head, _ in server.messages)
        assert closes == pytest.approx(len(server.messages) / each, abs=4)


def test_what_must_not_be_repeated_is_not() -> None:
    """A POST may have been carried out although no answer came (RFC 9110 section 9.2.2)."""

    def gives_up(connection: Connection) -> None:
        connection.request()
        connection.send(ANSWER)
        connection.request()
        connection.reset()

    with ScriptedServer(gives_up) as server:
        figures = load(server.url, method="POST", body="x")
        assert figures["retries"] == 0
        assert set(figures["errors"]) <= {"reset", "closed early"}
        assert sum(figures["errors"].values()) > 0


SCENARIO = """
cookies = true
headers = { Accept = "text/html" }

[[target]]
path = "/guestbook"
weight = 9

[[target]]
name = "write"
path = "/guestbook"
method = "POST"
headers = { Content-Type = "text/plain" }
body_file = "body.txt"
status = 303
length = "any"
"""


def test_scenario(tmp_path: Path) -> None:
    (tmp_path / "body.txt").write_text("hello")
    path = tmp_path / "scenario.toml"
    path.write_text(SCENARIO)
    assert read_scenario(path) == {
        "cookies": True,
        "headers": ("Accept: text/html",),
        "targets": (
            Target("/guestbook", weight=9),
            Target(
                "/guestbook",
                "POST",
                ("Content-Type: text/plain",),
                "hello",
                name="write",
                status=303,
                expect_length=ANY_LENGTH,
            ),
        ),
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", r"no \[\[target\]\]"),
        ("[[target]]\npaht = '/'", "no key 'paht'"),
        ("speed = 3\n[[target]]", "no key 'speed'"),
        ("[[target]]\nweight = 'much'", "weight = 'much' is of the wrong type"),
        ("[[target]]\nweight = true", "wrong type"),
        ("[[target]]\nweight = 0", "weight of GET / is not"),
        ("[[target]]\npath = 'guestbook'", "does not begin with /"),
        ("[[target]]\nbody_file = 'none'", "cannot be read"),
        ("[[target]]\nlength = 'long'", "neither a number of bytes nor 'any'"),
        ("headers = 'A: b'\n[[target]]", "headers are written as"),
        ("cookies = 1\n[[target]]", "neither true nor false"),
        ("[[target", "cannot be read"),
    ],
)
def test_scenarios_that_are_wrong(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "scenario.toml"
    path.write_text(text)
    with pytest.raises(LoadError, match=said):
        read_scenario(path)


def test_plan_survives_json() -> None:
    import json

    plan = Plan("http://h/", cpus=(1,), headers=("A: b",), targets=(Target("/", headers=("C: d",)),))
    assert Plan.from_values(json.loads(json.dumps(plan.values()))) == plan
