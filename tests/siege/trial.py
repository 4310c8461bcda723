"""One attack on one server: what is measured before, the clients beside, and what must be as before afterwards."""

import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from socket import SO_REUSEADDR, SOL_SOCKET, socket
from time import monotonic

from siege.app import BIG
from siege.attacks import Attack
from siege.beside import Regular, WrongAnswer, ask_all
from siege.field import DEADLINES, Field
from support.client import refuses_connections
from support.messages import pattern
from support.processes import open_descriptors, private_memory, threads, tree
from support.server import Server, loopback, serve
from support.waiting import becomes_true

SOON_S = 1.0
"""For an answer when the attack is over, and for the end of a server with nothing in flight."""

PATIENCE_S = 15.0
"""A well-behaved client has its answer within this time, the attack being what it is."""

WAITING_PATIENCE_S = 60.0
"""The same where attackers take all that the model has."""

DESCRIPTORS = 2
"""More or fewer than before, in each process. A thread of a pool has one of its own, from its first client on."""

THREADS = 17
"""More than before in each process: a pool grows with the requests that come at once, up to eight for each CPU."""

MEMORY_BYTES = 48 << 20
"""In all processes together. An allocator keeps what 300 clients have had at once; a leak is for `--memory` to find."""

REQUESTS_AFTER = 20

STEADY = 10
"""Looks at a server that show the same: it rests."""


@dataclass(frozen=True)
class Look:
    """A server at rest."""

    processes: int
    descriptors: int
    threads: int
    memory: int

    @classmethod
    def at(cls, server: Server) -> "Look":
        pid = server.pid
        return cls(len(tree(pid)), open_descriptors(pid), threads(pid), private_memory(pid))

    @property
    def counts(self) -> tuple[int, int, int]:
        return self.processes, self.descriptors, self.threads

    def like(self, before: "Look") -> bool:
        new_threads = max(0, self.threads - before.threads)
        return (
            self.processes == before.processes
            and before.descriptors - DESCRIPTORS * before.processes <= self.descriptors
            and self.descriptors <= before.descriptors + DESCRIPTORS * before.processes + self.threads
            and new_threads <= THREADS * before.processes
        )


@dataclass
class Outcome:
    """What is told of one attack."""

    model: str
    interface: str
    attack: str
    seconds: float = 0.0
    did: str = ""
    answered: int = 0
    lost: int = 0
    longest_s: float = 0.0
    stop_s: float = 0.0
    before: Look | None = None
    after: Look | None = None
    failures: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Settings:
    scale: float = 1.0
    patience: float = 1.0
    """Multiplies SOON_S, for machines that are busy with other things."""
    seed: int = 1


def besiege(attack: Attack, model: str, interface: str, seconds: float, settings: Settings) -> Outcome:
    outcome = Outcome(model, interface, attack.name)
    began = monotonic()
    try:
        with files() as static:
            options = (*DEADLINES, "--static", f"/files={static}", *attack.options(model))
            bind = (f"{loopback()}:0",)  # whose port nobody takes when it is given back
            with serve(model, interface, *options, app=f"siege.app:{interface}", bind=bind) as server:
                _Trial(outcome, server, settings).run(attack, seconds)
    except (AssertionError, OSError, WrongAnswer) as error:
        outcome.failures.append(f"{type(error).__name__}: {str(error)[:500]}")
    outcome.seconds = monotonic() - began
    return outcome


@contextmanager
def files() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="septet-siege-") as directory:
        (Path(directory) / "big").write_bytes(BIG)
        (Path(directory) / "small").write_bytes(b"small\n")
        yield Path(directory)


class _Trial:
    def __init__(self, outcome: Outcome, server: Server, settings: Settings) -> None:
        self.outcome = outcome
        self.server = server
        self.settings = settings
        self.regulars: list[Regular] = []

    def run(self, attack: Attack, seconds: float) -> None:
        outcome, waits = self.outcome, self.outcome.model in attack.waits
        warm_up(self.server)
        outcome.before = before = self._rest(None)
        patience = WAITING_PATIENCE_S if waits else PATIENCE_S
        self.regulars = [Regular(self.server.address, anew, patience) for anew in (False, True)]
        for regular in self.regulars:
            regular.start()
            assert regular.first_answer.wait(PATIENCE_S), "a well-behaved client was not answered before the attack"
        random = Random(f"{self.settings.seed} {attack.name} {outcome.model} {outcome.interface}")
        field = Field(
            self.server,
            self.regulars,
            outcome.model,
            outcome.interface,
            random,
            self.settings.scale,
            monotonic() + seconds,
            self._stop,
            waits,
        )
        try:
            attack.run(field)
        finally:
            for regular in self.regulars:
                regular.leave()
            outcome.did = field.did
            outcome.failures += list(dict.fromkeys(field.failures))[:5]
        self._judge_regulars(field)
        if self.server.running:
            self._after(before, field)
        self._judge_log()

    def _judge_regulars(self, field: Field) -> None:
        outcome = self.outcome
        for regular in self.regulars:
            outcome.answered += regular.answered
            outcome.lost += len(regular.lost)
            outcome.longest_s = max(outcome.longest_s, regular.longest_s)
            outcome.failures += regular.wrong[:3]
        if outcome.lost > field.may_lose:
            lost = [sentence for regular in self.regulars for sentence in regular.lost]
            outcome.failures.append(f"{outcome.lost} requests lost, {field.may_lose} allowed: {'; '.join(lost[:3])}")

    def _after(self, before: Look, field: Field) -> None:
        """The server lives, answers at once, has given back what it took, and ends at once."""
        server, outcome = self.server, self.outcome
        soon_s = SOON_S * self.settings.patience
        if field.takes_all:  # clients who have left are in the queue, before ours
            becomes_true(self._is_answered, WAITING_PATIENCE_S)
        for number in range(REQUESTS_AFTER):
            began = monotonic()
            ask_all(server.address, f"after-{number}")
            took_s = monotonic() - began
            if took_s > soon_s:
                outcome.failures.append(f"request {number} after the attack took {took_s:.1f} s")
        outcome.after = after = self._rest(before)
        if not after.like(before):
            outcome.failures.append(f"not all is given back: {before} before, {after} after")
        if after.memory > before.memory + MEMORY_BYTES:
            outcome.failures.append(f"memory grew from {before.memory >> 20} to {after.memory >> 20} MB")
        self._stop()

    def _is_answered(self) -> bool:
        try:
            ask_all(self.server.address, "at-last")
        except (AssertionError, OSError):
            return False
        return True

    def _rest(self, before: Look | None) -> Look:
        """When nothing changes any more, or all is as before."""
        looks = [Look.at(self.server)]

        def rests() -> bool:
            looks.append(Look.at(self.server))
            if before:
                return looks[-1].like(before)
            return len(looks) > STEADY and len({look.counts for look in looks[-STEADY:]}) == 1

        becomes_true(rests, PATIENCE_S)
        return looks[-1]

    def _stop(self) -> None:
        server, outcome = self.server, self.outcome
        for regular in self.regulars:
            regular.excused = True
        began = monotonic()
        server.stop()
        outcome.stop_s = monotonic() - began
        if outcome.stop_s > SOON_S * self.settings.patience:
            outcome.failures.append(f"the server took {outcome.stop_s:.1f} s to end")
        if not refuses_connections(server.address) or not is_free(server.address):
            outcome.failures.append("the port is not free")

    def _judge_log(self) -> None:
        self.outcome.failures += [f"logged: {line}" for line in dict.fromkeys(self.server.complaints())][:5]


def is_free(address: object) -> bool:
    with socket() as sock:
        sock.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
        try:
            sock.bind(address)  # type: ignore[arg-type]
            sock.listen()
        except OSError:
            return False
    return True


def warm_up(server: Server) -> None:
    """Have what is made once and kept: imports, threads of pools, buffers; in each worker, with some luck."""

    def ask(number: int) -> None:
        ask_all(server.address, f"warm-{number}")
        for answer in (
            server.get("/files/small"),
            server.request("POST", "/upload", body=pattern(2_000_000)),
            server.get("/big"),
        ):
            assert answer.status == 200, answer

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(ask, range(12)))
