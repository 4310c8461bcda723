"""From raw blocks to figures and verdicts: the median of the rounds, and whether a budget is met."""

import statistics
from dataclasses import dataclass, field
from typing import Any

from contenders import Contender
from measure import Block, figures
from scenario import Budget, Scenario


@dataclass
class Row:
    """What one contender did in one scenario: its raw blocks, one a round, and why there are none."""

    contender: Contender
    version: str = ""
    problem: str = ""
    blocks: list[Block] = field(default_factory=list)

    def all(self, key: str) -> list[float]:
        return [figures(block)[key] for block in self.blocks]

    def median(self, key: str) -> float:
        return statistics.median(self.all(key))

    def worst_errors(self) -> float:
        """Errors of the worst round: a median would hide a round that failed."""
        return max(self.all("errors"))

    def record(self) -> dict[str, Any]:
        name, version = self.contender.name, self.version
        return {"server": name, "version": version, "problem": self.problem, "blocks": self.blocks}


@dataclass
class Outcome:
    """One scenario's rows, in the order of its contenders. `packages` names the application's, with versions."""

    scenario: Scenario
    rows: list[Row]
    packages: str = ""

    def row(self, name: str) -> Row | None:
        """The row of a contender that took part and gave figures."""
        return next((row for row in self.rows if row.contender.name == name and row.blocks), None)

    def peer(self) -> Row | None:
        """The row that the table's ratios refer to: the first peer of the first budget that gave figures."""
        names = [name for budget in self.scenario.budgets for name in budget.against]
        return next(filter(None, map(self.row, names)), None)

    def record(self) -> dict[str, Any]:
        return {
            "scenario": self.scenario.name,
            "title": self.scenario.title,
            "packages": self.packages,
            "rows": [row.record() for row in self.rows],
        }


@dataclass(frozen=True)
class Verdict:
    """How a budget came out. `figure` is None when our server or every peer is missing; `why` then says which."""

    budget: Budget
    figure: float | None
    why: str = ""

    @property
    def met(self) -> bool | None:
        if self.figure is None:
            return None
        if self.budget.metric.more_is_better:
            return self.figure >= self.budget.ratio
        return self.figure <= self.budget.ratio


def judge(outcome: Outcome, budget: Budget) -> Verdict:
    """Hold our median against the best median of the budget's peers."""
    name = budget.of or outcome.scenario.contenders[0].name
    ours = outcome.row(name)
    if ours is None:
        return Verdict(budget, None, f"{name} was not measured")
    key = budget.metric.key
    if not budget.against:
        return Verdict(budget, ours.worst_errors() if key == "errors" else ours.median(key))
    peers = [row.median(key) for row in map(outcome.row, budget.against) if row]
    if not peers:
        return Verdict(budget, None, f"{' and '.join(budget.against)} not measured")
    best = max(peers) if budget.metric.more_is_better else min(peers)
    return Verdict(budget, ours.median(key) / best) if best else Verdict(budget, None, "the peer's figure is 0")
