"""Results as text tables with fixed columns, for the terminal and for pipes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from septet.lab.metric import Metric
from septet.lab.metrics import COLUMNS, P50, P99
from septet.lab.summary import Summary
from septet.lab.verdicts import DOUBT_MARK

AT_LEAST = "≥"
"""Precedes a latency that is a lower bound, because the measured window was too short for it."""
ANSWERS_FOR = {"p99.9": 10_000, "p99.99": 100_000}
"""Least number of answers with which a percentile is printed in the table of a run. With fewer, too few answers took
longer than it to be sure of it. Percentiles that are not listed are always printed.
"""


def rates(cells: Sequence[Summary], users: Sequence[int]) -> str:
    """Return a table of requests per second: a row for each contender (server or process model), a column for each
    number of users. "!" follows a figure whose verdict is not "valid": it may not be relied on.
    """
    found = {(cell.label, cell.users): cell for cell in cells}
    headings = ["requests/s", *(f"{number:,} users " for number in users)]
    labels = dict.fromkeys(label for label, _ in found)
    return aligned([headings, *([label, *(_rate(found.get((label, number))) for number in users)] for label in labels)])


def costs(cells: Sequence[Summary], users: int) -> str:
    """Return a table of what requests cost at one number of users: a row for each contender (server or process model),
    a column for each metric that has a `column` in the table (see `septet.lab.metrics`).
    """
    headings = [f"at {users:,} users", *(metric.column.heading for metric in COLUMNS if metric.column is not None)]
    measured = [cell for cell in cells if cell.users == users and cell.figures]
    return aligned([headings, *([cell.label, *(_column(metric, cell) for metric in COLUMNS)] for cell in measured)])


def is_lower_bound(metric: Metric, cell: Summary) -> bool:
    """True if the figure is a latency that the end of the measured window has cut off: the true one is higher."""
    return cell.is_cut and metric in (P50, P99)


def _column(metric: Metric, cell: Summary) -> str:
    assert metric.column is not None, "it is one of COLUMNS"
    found = metric.estimate(cell.figures)
    if found is None:
        return "-"
    return (
        AT_LEAST * is_lower_bound(metric, cell) + format(found.median, metric.column.form) + "%" * (metric.unit == "%")
    )


def load_figures(figures: dict[str, Any]) -> str:
    """Return the table that `septet load` prints: the figures of one run of the load generator, one on each line."""
    rows = [
        ["requests/s", f"{figures['requests_per_s']:,.0f}"],
        *_http2(figures),
        *_answers(figures),
        ["statuses", ", ".join(f"{status}: {count:,}" for status, count in figures["statuses"].items()) or "none"],
        ["body bytes", f"{figures['body_bytes']:,}"],
        *_latencies(figures),
        *([f"errors: {kind}", f"{count:,}"] for kind, count in sorted(figures["errors"].items())),
        *([f"errors in the warm-up: {kind}", f"{count:,}"] for kind, count in figures["warmup"]["errors"].items()),
        ["reconnects", f"{figures['reconnects']:,}"],
        *_broken(figures),
        ["unanswered at the end", f"{figures['unanswered']:,}, longest {_ms(figures['longest_unanswered_us'])}"],
        ["users never answered", f"{figures['users_never_answered']:,}"],
        ["load generator's CPU", f"{figures['client']['cpu_share']:.0%} of one"],
        *_slow(figures),
        *_workers(figures),
    ]
    return aligned(rows)


def error_text(figures: dict[str, Any]) -> str:
    """Return what the first error with a short text said, such as 'status 400 says "use https://"'; "" if there was no
    such error.
    """
    found = figures.get("error_text")
    return f'{found["kind"]} says "{found["line"]}"' if found else ""


def no_answer(url: str, figures: dict[str, Any]) -> str:
    """Return the sentence about a run in which no answer was right."""
    said = error_text(figures)
    return f"{url} answered no request as it should{said and ': ' + said}"


def _http2(figures: dict[str, Any]) -> Iterator[list[str]]:
    """Yield a row for the table of a run: the number of connections and of streams on each. Yields nothing for a run
    that was not over HTTP/2.
    """
    if streams := figures["plan"].get("streams"):
        connections = -(-figures["plan"]["users"] // streams)
        yield [
            "over HTTP/2",
            f"{connections:,} {'connection' if connections == 1 else 'connections'} of {streams} streams",
        ]


def _broken(figures: dict[str, Any]) -> Iterator[list[str]]:
    """Yield a row about requests that were sent again, if there were any: the server had ended the connection just when
    a request was sent on it, or had said over HTTP/2 that it had not processed the request.
    """
    if figures["retries"] and figures["plan"].get("streams"):
        yield ["requests sent again", f"{figures['retries']:,}, which the server had not processed"]
    elif figures["retries"]:
        what = "by the server before an answer, without notice; their requests were sent again"
        yield ["connections broken", f"{figures['retries']:,}, {what}"]


def _slow(figures: dict[str, Any]) -> Iterator[list[str]]:
    """Yield rows with the figures of slow clients (`--slow`): clients beside the users that send and read slowly. No
    other figure includes them.
    """
    if "slow" in figures:
        slow = figures["slow"]
        yield ["slow clients: answers", f"{slow['answers']:,}, longest {_ms(slow['longest_us'])}"]
        for kind, count in sorted(slow["errors"].items()):
            yield [f"slow clients: {kind}", f"{count:,}"]


def _answers(figures: dict[str, Any]) -> Iterator[list[str]]:
    """Yield rows that count answers. With a fixed rate (`--rate`), latencies are those of the requests that were due in
    the measured window, some of which are answered after it; the rows say how many these are.
    """
    window = f"in {figures['window_s']:.2f} s"
    if "due" not in figures:
        yield ["answers", f"{figures['answers']:,} {window}"]
        return
    yield ["offered, carried", f"{figures['offered_per_s']:,.0f}, {figures['requests_per_s']:,.0f} requests/s"]
    yield ["answers that came", f"{figures['came']:,} {window}"]
    yield ["requests due", f"{figures['due']:,}"]
    yield ["of these answered", f"{figures['answers']:,}, some after that time"]


def _latencies(figures: dict[str, Any]) -> Iterator[list[str]]:
    """Yield rows of latencies: those of whole requests, and of parts such as connecting and the time to the first byte.
    If there are several kinds of requests (targets), each has a row, too.
    """
    latency = figures["latency_us"]
    for name, value in latency.items():
        if figures["answers"] >= ANSWERS_FOR.get(name, 0):
            yield [f"latency {name}", _ms(value)]
    parts = {
        "connect": "connect_us",
        "first byte": "first_byte_us",
        "service": "service_us",
        "sent late": "send_late_us",
    }
    for title, key in parts.items():
        if figures.get(key, {}).get("p50") is not None:
            yield [f"{title} p50, p99", f"{_ms(figures[key]['p50'])}, {_ms(figures[key]['p99'])}"]
    if "due" in figures:
        yield ["requests that found no free connection", f"{figures['no_free_connection']:,}"]
    if len(figures["targets"]) > 1:
        for each in figures["targets"]:
            us = each["latency_us"]
            yield [f"{each['target']}: answers, p50, p99", f"{each['answers']:,}, {_ms(us['p50'])}, {_ms(us['p99'])}"]


def _workers(figures: dict[str, Any]) -> Iterator[list[str]]:
    """Yield a row for each worker of a cluster (a machine, or part of one, that sent load): its users, its answers and
    its CPU use.
    """
    for each in figures["client"].get("workers", []):
        part = f"{each['users']:,}, {each['answers']:,}, {each['cpu_share']:.0%} of one"
        yield [f"worker {each['worker']}: users, answers, CPU", part]


def aligned(rows: Iterable[list[str]]) -> str:
    """Return a table as text: the first column is aligned to the left, the others to the right."""
    table = list(rows)
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = []
    for first, *others in table:
        texts = [first.ljust(widths[0]), *(text.rjust(width) for text, width in zip(others, widths[1:], strict=True))]
        lines.append("  ".join(texts).rstrip())
    return "\n".join(lines)


def _rate(cell: Summary | None) -> str:
    if cell is None:
        return "- "  # not measured: the run was interrupted before
    rate = cell.figures.get("requests_per_s")
    if rate is None:
        return "failed "
    form = ",.0f" if rate.median >= 10 else ".1f"
    half_s = "" if rate.low is None or rate.high is None else f" ±{(rate.high - rate.low) / 2:{form}}"
    return format(rate.median, form) + half_s + (" " if cell.verdict == "valid" else DOUBT_MARK)


def _ms(us: float | None) -> str:
    return "-" if us is None else f"{us / 1000:,.2f} ms"
