"""Formats a server's status as text: the lines of `septet status`, and the figures of `septet top`."""

import time
from collections.abc import Iterator
from typing import Any

WIDTH = 10
"""Width, in characters, of the bar that shows a share from 0 to 1."""

LONG_S = 1.0
"""Seconds for which a request has been in flight before `septet status` and `septet top` show it."""
MOST_RUNNING = 10
"""The largest number of requests in flight that `septet status` shows without `--requests`."""


def number(value: float) -> str:
    if value >= 10_000 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 1 else f"{value:.2f}"


def seconds(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{number(value)} s" if value >= 1 else f"{number(value * 1000)} ms"


def size(value: float) -> str:
    for unit, factor in (("GB", 1 << 30), ("MB", 1 << 20)):
        if value >= factor:
            return f"{number(value / factor)} {unit}"
    return f"{number(value / 1024)} KB"


def age(value: float) -> str:
    for unit, factor in (("d", 86400), ("h", 3600), ("min", 60)):
        if value >= factor:
            return f"{number(round(value / factor, 1))} {unit}"
    return f"{value:.0f} s"


def since(value: float) -> str:
    """Return a duration in seconds as text: below a minute to a tenth of a second, else as `age` does."""
    return seconds(value) if value < 60 else age(value)


def meter(share: float | None) -> str:
    if share is None:
        return "-"
    full = round(share * WIDTH)
    return f"{'█' * full}{'░' * (WIDTH - full)} {share:4.0%}"


def headline(status: dict[str, Any]) -> str:
    served = status["app"] or "static files"
    return (
        f"Septet {status['septet']}: {served}, {status['model']}, {status['state']}, "
        f"up {age(status['uptime_s'])}, pid {status['pid']}"
    )


def clock(at: float) -> str:
    """Return the local time of an instant, which is in seconds since 1970."""
    return time.strftime("%H:%M:%S", time.localtime(at))


def problem(status: dict[str, Any]) -> str:
    """Return a sentence if the last order to load the application anew has failed; "" if it has not."""
    last = status.get("orders", {}).get("last")
    if not last or not last["failed"]:
        return ""
    return printable(f"the last {last['kind']} failed at {clock(last['at'])}: {last['text']}")


def figures(status: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Return the figures of the whole server, such as requests and connections, as pairs of name and text."""
    requests, durations = status["requests"], status["durations"]
    failed = requests["by_status"].get("5xx", 0)
    yield (
        "requests",
        f"{number(requests['per_s'])} a second, {requests['in_flight']} in flight, {requests['answered']:,} answered",
    )
    of = f" in the last {'minute' if status['window_s'] == 60 else age(status['window_s'])}"
    yield "durations", _at_most(of, median=durations["p50_s"], p99=durations["p99_s"])
    yield "queue wait", _at_most(of, p99=status["queue_wait"]["p99_s"])
    wait = status["thread_wait"]
    if wait is not None and (wait["waiting"] or wait["mean_s"]):
        mean = "" if wait["mean_s"] is None else f", {seconds(wait['mean_s'])} on average{of}"
        yield "thread wait", f"{wait['waiting']:,} {'waits' if wait['waiting'] == 1 else 'wait'} for a thread{mean}"
    yield "GIL wait", _at_most(of, p99=status["gil_wait"]["p99_s"])
    yield "saturation", meter(status["saturation"])
    if still := [each for each in status["processes"] if each["stands_still_s"] is not None]:
        named = (f"{each['kind']} {each['pid']} for {age(each['stands_still_s'])}" for each in still)
        yield "stand still", ", ".join(named)
    workers = status["workers"]
    if workers is not None and workers["min"] < workers["max"]:
        yield "workers", f"{workers['current']}, by --workers {workers['min']}-{workers['max']}"
    if left := requests["threads_left_behind"]:
        goes = "1 thread runs" if left == 1 else f"{left:,} threads run"
        yield "left behind", f"{goes} for requests that --request-timeout has ended"
    others = (f"{requests[key]} {name}" for name, key in _UNANSWERED.items())
    yield "errors", ", ".join([f"{failed:,} answers 5xx", *others])
    yield "connections", f"{status['connections']['open']:,} open, {status['connections']['accepted']:,} accepted"
    tls, sockets = status["tls"], status["websockets"]
    if tls["certificates"]:
        yield "TLS", f"{tls['open']:,} open, {tls['handshakes']:,} handshakes, {sum(tls['failed'].values()):,} failed"
        soonest = min(tls["certificates"], key=lambda each: each["days_left"])
        yield "certificate", f"{soonest['file']} expires in {number(soonest['days_left'])} days"
    if sockets["accepted"] or sockets["refused"]:
        messages = f"{sockets['messages_received']:,} messages in, {sockets['messages_sent']:,} out"
        yield "WebSockets", f"{sockets['open']:,} open, {sockets['accepted']:,} accepted, {messages}"
    for listener in status["listeners"]:
        yield "listens at", listener["address"] + _waiting(listener, status.get("connections_dropped"))


def _waiting(listener: dict[str, Any], everywhere: int | None) -> str:
    """Return how many connections wait at a listener, and how many it has dropped. everywhere: how many the whole
    network namespace has dropped, which is the most that a listener may have dropped whose own number is not known.
    """
    if "queue" not in listener:
        return ""
    dropped, most = listener["drops"], ""
    if dropped is None:
        dropped, most = everywhere, "at most " if everywhere else ""
    return f": {listener['queue']} wait" + ("" if dropped is None else f", {most}{dropped:,} dropped")


def _at_most(of: str, **bounds: float | None) -> str:
    """Return quantiles as text, such as "median at most 2 ms, p99 at most 8 ms". bounds: upper bound of each in
    seconds, by name; None if it is not known. "-" if none is known. of: names their window, and follows them.
    """
    known = {name: bound for name, bound in bounds.items() if bound is not None}
    if len(known) > 1 and len(set(known.values())) == 1:
        return f"{' and '.join(known)} at most {seconds(min(known.values()))}{of}"
    return ", ".join(f"{name} at most {seconds(bound)}" for name, bound in known.items()) + of if known else "-"


_UNANSWERED = {"timed out": "timed_out", "lost": "lost", "aborted": "aborted"}

COLUMNS = ("process", "busy", "in flight", "answered", "connections", "CPU", "memory", "loop lag", "age")


def in_flight(process: dict[str, Any]) -> str:
    """Return how many requests a process has in flight, and of how many at most: "3 of 4", or "4 of 4, 7 wait"."""
    count, capacity = process["in_flight"], process["capacity"]
    if not capacity:
        pool = process["pool"]
        late = pool["requests"] - pool["threads"] if pool else 0
        return f"{count}, {late} wait" if late > 0 else str(count)
    count = process["threads_taken"]
    return f"{min(count, capacity)} of {capacity}" + (f", {count - capacity} wait" if count > capacity else "")


def busy(process: dict[str, Any]) -> str:
    """Return the busy share of a process as a bar, or for how long the process has stood still, if it does."""
    still_s = process["stands_still_s"]
    return meter(process["saturation"]) if still_s is None else f"stands still {age(still_s)}"


def rows(status: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    """Return a row for each process, with the columns of COLUMNS."""
    for each in status["processes"]:
        yield (
            f"{each['kind']} {each['pid']}",
            busy(each),
            in_flight(each),
            f"{each['answered']:,}",
            f"{each['connections']:,}",
            f"{each['cpu']:.0%}",
            size(each["proportional_bytes"] or each["resident_bytes"]),
            seconds(each["loop_lag_s"]),
            age(each["uptime_s"]),
        )
    if status["children"]:
        yield (f"{status['children']} children, one for each connection", *[""] * (len(COLUMNS) - 1))


def printable(text: str) -> str:
    """Return `text` without control characters, which a client could have sent to change the terminal."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


def running(status: dict[str, Any], least_s: float = LONG_S, most: int = 0) -> Iterator[str]:
    """Return a line for each request in flight that runs for `least_s` seconds or longer, the oldest first. most: how
    many; 0: all that are known.
    """
    late = [each for each in status["running"] if each["age_s"] >= least_s]
    for each in late[: most or None]:
        thread = f", thread {each['thread']}" if each["thread"] else ""
        state = "" if each["begun"] is None else ": no answer yet"
        if each["begun"]:
            state = f": {each['status']}, its answer has begun"
        if each["client_ended"]:
            state += ", its client sends no more"
        who = f" of {each['client']}" if each["client"] else ""
        yield printable(
            f"{since(each['age_s']):>9}  {each['method']} {each['target']}{who}, "
            f"in process {each['pid']}{thread}{state}"
        )


def requests_in_flight(status: dict[str, Any]) -> Iterator[str]:
    """Return the lines that `septet status --requests` prints."""
    known = list(running(status, 0.0))
    count = status["requests"]["in_flight"]
    yield from known
    if (more := count - len(known)) > 0:
        yield f"and {more} more: WebSockets, requests that have just begun, and those there is no room for"
    elif not known:
        yield "no request is in flight"


def ended(record: dict[str, Any]) -> str:
    """Return how a slow request has ended: its status, and, if it was not answered to its end, why not."""
    status, outcome = record["status"], record["outcome"]
    if outcome == "answered" or (outcome == "timed out" and status == 504):
        return str(status)
    return f"{status}, {outcome}" if status else str(outcome)


def slow(status: dict[str, Any]) -> Iterator[str]:
    for each in status["slowest"]:
        phases = ""
        if "app_ms" in each:
            phases = f" (queue {each['queue_ms']} ms, application {each['app_ms']} ms, sending {each['send_ms']} ms)"
        at = clock(each["at"])
        yield printable(
            f"{at}  {seconds(each['ms'] / 1000):>9}  {ended(each)}  {each['method']} {each['target']}{phases}"
        )


def events(status: dict[str, Any], most: int = 0) -> Iterator[str]:
    """Return a line for each of the last events, such as the end of a worker, with its local time. most: how many; 0:
    all that are known.
    """
    for event in status["events"][-most:]:
        yield printable(f"{clock(event['at'])}  {event['text']}")


def lines(status: dict[str, Any]) -> Iterator[str]:
    """Return the lines that `septet status` prints."""
    yield headline(status)
    if failed := problem(status):
        yield f"  {failed}"
    for name, value in figures(status):
        yield f"  {name:<12} {value}"
    yield ""
    yield from _table([COLUMNS, *rows(status)])
    if late := list(running(status, most=MOST_RUNNING)):
        yield ""
        yield f"  in flight for {LONG_S:g} s and longer"
        yield from (f"  {line}" for line in late)
    if status["slowest"]:
        yield ""
        yield "  slowest of the last five minutes"
        yield from (f"  {line}" for line in slow(status))
    if status["events"]:
        yield ""
        yield "  events"
        yield from (f"  {line}" for line in events(status, 5))


def _table(table: list[tuple[str, ...]]) -> Iterator[str]:
    """Return lines in which the columns align: the first two to the left, the others to the right."""
    whole = [row for row in table if row[1]]
    widths = [max(len(row[column]) for row in whole) for column in range(len(COLUMNS))]
    for row in table:
        cells = [cell.ljust(width) for cell, width in zip(row[:2], widths, strict=False)]
        cells += [cell.rjust(width) for cell, width in zip(row[2:], widths[2:], strict=False)]
        yield f"  {'  '.join(cells)}".rstrip()
