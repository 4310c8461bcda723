"""The tables: one per scenario, and the budgets. The text is Markdown and reads as well in a terminal."""

from collections.abc import Callable, Iterable, Sequence

from results import Outcome, Row, Verdict, judge
from scenario import CPU, ERRORS, IDLE_MEMORY, Scenario

Cell = Callable[[Row], str]

BUSY_PERCENT = 90  # below this, something else than the server set the pace
LATE_MS = 1.0  # above this, latencies hold a part that is the generator's own
WORDS = ("server", "version")  # columns of words; those that hold nothing but numbers are set to the right


def scenario_text(outcome: Outcome) -> str:
    """The heading and the table of one scenario; under it, in words, who is missing and why."""
    columns = _columns(outcome)
    rows = [[cell(row) for cell in columns.values()] for row in outcome.rows if row.blocks]
    table = _table(list(columns), rows) if rows else "No server was measured."
    notes = [_excuse(row) for row in outcome.rows if row.problem] + _doubts(outcome)
    if outcome.packages:
        notes.append(f"with {outcome.packages}")
    text = "".join(f"- {note}\n" for note in notes)
    return f"### {outcome.scenario.name}: {outcome.scenario.title}\n\n{table}\n" + (f"\n{text}" if text else "")


def _doubts(outcome: Outcome) -> list[str]:
    """Requests per second speak of a server only if it had its CPU to itself and the generator kept it busy."""
    if outcome.scenario.metric is IDLE_MEMORY:
        return []
    if outcome.scenario.mix is not None:
        return _delays(outcome)
    idle = [row.contender.name for row in outcome.rows if row.blocks and row.median("busy_percent") < BUSY_PERCENT]
    if not idle:
        return []
    who = ", ".join(idle)
    return [f"compare CPU time only: other work on the machine, or the generator, kept from being busy: {who}"]


def _delays(outcome: Outcome) -> list[str]:
    """A generator that was kept from sending in time counts its own delay as the server's."""
    late = [row for row in outcome.rows if row.blocks and row.median("late_ms") > LATE_MS]
    if not late:
        return []
    who = ", ".join(f"{row.contender.name} ({_number(row.median('late_ms'))} ms)" for row in late)
    return [f"the generator sent requests late (p99), which is in the latencies of: {who}"]


def _excuse(row: Row) -> str:
    kind = f"only {len(row.blocks)} rounds" if row.blocks else "not measured"
    return f"{row.contender.name}: {kind}: {row.problem}"


def _columns(outcome: Outcome) -> dict[str, Cell]:
    """Heading to cell. The scenario's metric comes first, with its spread and its ratio to the peer."""
    metric = outcome.scenario.metric
    columns: dict[str, Cell] = {
        "server": lambda row: row.contender.name,
        "version": lambda row: row.version,
        metric.heading: lambda row: _number(row.median(metric.key)),
        "min … max": lambda row: f"{_number(min(row.all(metric.key)))} … {_number(max(row.all(metric.key)))}",
    }
    peer = outcome.peer()
    if peer is not None:
        name, base = peer.contender.name, peer.median(metric.key)
        columns[f"× {name}"] = lambda row: f"{row.median(metric.key) / base:.2f}" if base else ""
    if metric is not IDLE_MEMORY:
        columns |= _load_columns(outcome.scenario)
    columns["errors"] = lambda row: f"{row.worst_errors():.0f}"
    return columns


def _load_columns(scenario: Scenario) -> dict[str, Cell]:
    """What else a run under load tells; the scenario's own metric stands in its table already."""
    latency = {"quick p50 ms": "p50_ms"} if scenario.mix else {"p99 ms": "p99_ms"}
    keys = {
        CPU.heading: "cpu_us",
        "user": "user_us",
        "system": "system_us",
        "requests/s": "requests_per_s",
        **latency,
        "CPU busy %": "busy_percent",
    }
    return {
        heading: lambda row, key=key: _number(row.median(key))  # type: ignore[misc]
        for heading, key in keys.items()
        if heading != scenario.metric.heading
    }


def budget_text(outcomes: Iterable[Outcome]) -> str:
    """All budgets of the scenarios that ran: what must hold, what was found, and by how much it falls short."""
    rows = [
        [outcome.scenario.name, "goal" if budget.goal else "budget", *_verdict_cells(judge(outcome, budget))]
        for outcome in outcomes
        for budget in outcome.scenario.budgets
    ]
    return _table(["scenario", "kind", "figure", "limit", "found", "verdict"], rows)


def _verdict_cells(verdict: Verdict) -> list[str]:
    budget = verdict.budget
    bound = "≥" if budget.metric.more_is_better else "≤"
    against = f" / {' or '.join(budget.against)}" if budget.against else ""
    digits = 0 if budget.metric is ERRORS else 2
    found = "" if verdict.figure is None else f"{verdict.figure:.{digits}f}"
    return [f"{budget.metric.heading}{against}", f"{bound} {budget.ratio:.{digits}f}", found, _verdict_word(verdict)]


def _verdict_word(verdict: Verdict) -> str:
    if verdict.figure is None:
        return f"unknown: {verdict.why}"
    if verdict.met:
        return "pass"
    if not verdict.budget.ratio:
        return f"short by {verdict.figure:.0f}"
    high, low = max(verdict.figure, verdict.budget.ratio), min(verdict.figure, verdict.budget.ratio)
    return f"short by {high / low:.2f} x" if low else "short"


def document(head: dict[str, str], outcomes: Sequence[Outcome]) -> str:
    """The Markdown file of a run: what it ran on and by which command, the tables, the budgets."""
    facts = "\n".join(f"- {key}: {value}" for key, value in head.items())
    tables = "\n".join(map(scenario_text, outcomes))
    return f"# Septet beside its peers\n\n{facts}\n\n## Scenarios\n\n{tables}\n## Budgets\n\n{budget_text(outcomes)}\n"


def block_text(figures: dict[str, float]) -> str:
    """One block's figures in a line, for whoever waits."""
    if "idle_kib" in figures:
        return f"{figures['idle_kib']:.2f} KiB/connection, {figures['errors']:.0f} errors"
    return (
        f"{_number(figures['cpu_us'])} µs CPU/request, {figures['requests_per_s']:,.0f} requests/s, "
        f"p99 {_number(figures['p99_ms'])} ms, {figures['errors']:.0f} errors"
    )


def _table(headings: list[str], rows: list[list[str]]) -> str:
    """A Markdown table, padded so that its columns also stand in a terminal; numbers end at the right."""
    widths = [max(len(line[i]) for line in [headings, *rows]) for i in range(len(headings))]
    right = [name not in WORDS and all(row[i][:1].isdigit() for row in rows) for i, name in enumerate(headings)]

    def line(cells: list[str]) -> str:
        padded = [c.rjust(w) if r else c.ljust(w) for c, w, r in zip(cells, widths, right, strict=True)]
        return f"| {' | '.join(padded)} |"

    rule = ["-" * (w - 1) + (":" if r else "-") for w, r in zip(widths, right, strict=True)]
    return "\n".join([line(headings), line(rule), *map(line, rows)])


def _number(value: float) -> str:
    """Three significant digits or whole numbers: more would be noise."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"
