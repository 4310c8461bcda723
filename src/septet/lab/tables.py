"""Results as text tables of fixed columns, for the terminal and for wherever its output is piped to."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from septet.lab.results import Results, cpu_us_per_request, requests_per_s, switches_per_request

Cell = dict[str, Any]
DOUBT_MARK = "!"


def rates(results: Results) -> str:
    """Requests per second of each model and number of users; "failed", and a "!" after figures that are not valid."""
    cells = {(cell["model"], cell["users"]): cell for cell in results["cells"]}
    users = results["experiment"]["users"]
    headings = ["requests/s", *(f"{number:,} users " for number in users)]
    models = results["experiment"]["models"]
    return aligned([headings, *([model, *(_rate(cells.get((model, number))) for number in users)] for model in models)])


def costs(results: Results, users: int) -> str:
    """What each model took, and what its users waited, at one number of users."""
    columns: list[tuple[str, Callable[[Cell], str]]] = [
        ("p50 ms", lambda cell: f"{cell['load']['latency_us']['p50'] / 1000:,.1f}"),
        ("p99 ms", lambda cell: f"{cell['load']['latency_us']['p99'] / 1000:,.1f}"),
        ("CPU µs/request", lambda cell: _number(cpu_us_per_request(cell))),
        ("switches/request", lambda cell: _number(switches_per_request(cell), ".2f")),
        ("memory MB", lambda cell: _number(_memory_mb(cell))),
        ("processes", lambda cell: f"{cell['usage']['processes']:,}"),
        ("threads", lambda cell: f"{cell['usage']['threads']:,}"),
    ]
    headings = [f"at {users:,} users", *(heading for heading, _ in columns)]
    measured = [cell for cell in results["cells"] if cell["users"] == users and requests_per_s(cell) is not None]
    return aligned([headings, *([cell["model"], *(text(cell) for _, text in columns)] for cell in measured)])


def load_figures(figures: dict[str, Any]) -> str:
    """The outcome of one load run."""
    latency = figures["latency_us"]
    rows = [
        ["requests/s", f"{figures['requests_per_s']:,.0f}"],
        ["answers", f"{figures['answers']:,} in {figures['window_s']:.2f} s"],
        ["body bytes", f"{figures['body_bytes']:,}"],
        *([f"latency {name}", _ms(latency[name])] for name in latency),
        *([f"errors: {kind}", f"{count:,}"] for kind, count in sorted(figures["errors"].items())),
        *([f"errors in the warm-up: {kind}", f"{count:,}"] for kind, count in figures["warmup"]["errors"].items()),
        ["reconnects", f"{figures['reconnects']:,}"],
        ["retries", f"{figures['retries']:,}"],
        ["unanswered at the end", f"{figures['unanswered']:,}, longest {_ms(figures['longest_unanswered_us'])}"],
        ["users never answered", f"{figures['users_never_answered']:,}"],
        ["load generator's CPU", f"{figures['client']['cpu_share']:.0%} of one"],
    ]
    return aligned(rows)


def aligned(rows: Iterable[list[str]]) -> str:
    """The first column to the left, the others to the right."""
    table = list(rows)
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = []
    for first, *others in table:
        texts = [first.ljust(widths[0]), *(text.rjust(width) for text, width in zip(others, widths[1:], strict=True))]
        lines.append("  ".join(texts).rstrip())
    return "\n".join(lines)


def _rate(cell: Cell | None) -> str:
    if cell is None:
        return "- "  # not measured: the run was interrupted before
    rate = requests_per_s(cell)
    if rate is None:
        return "failed "
    return _number(rate, ",.0f" if rate >= 10 else ".1f") + (" " if cell["verdict"] == "valid" else DOUBT_MARK)


def _memory_mb(cell: Cell) -> float | None:
    return cell["usage"]["pss_bytes"] / 1e6 if cell["usage"]["pss_bytes"] else None


def _number(value: float | None, form: str = ",.0f") -> str:
    return "-" if value is None else format(value, form)


def _ms(us: float | None) -> str:
    return "-" if us is None else f"{us / 1000:,.2f} ms"
